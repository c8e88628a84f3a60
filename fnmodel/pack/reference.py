"""Image references: `host/repository[:tag][@digest]`."""

import re
from dataclasses import dataclass

from fnmodel.errors import PackError
from fnmodel.pack.image import is_digest

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")


@dataclass(frozen=True)
class Reference:
    """Where an image is: a registry's host, a repository, and a tag or digest or both."""

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @staticmethod
    def parse(text: str) -> "Reference":
        """Read a reference.

        Raises:
            PackError: it is not one.

        """
        rest, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise PackError(f"{text!r}: {digest!r} is not a sha256 digest")
        # Docker would put its own hub in front; a pinned base should say where it comes from.
        host, slash, path = rest.partition("/")
        if not slash or not (host == "localhost" or any(mark in host for mark in ".:[")):
            raise PackError(
                f"{text!r} names no registry", hint="write host/repository[:tag][@sha256:…]"
            )
        repository, colon, tag = path.partition(":")
        if (
            not _HOST.fullmatch(host)
            or not _REPOSITORY.fullmatch(repository)
            or (colon and not _TAG.fullmatch(tag))
        ):
            raise PackError(
                f"{text!r} is not an image reference",
                hint="write host/repository[:tag][@sha256:…]",
            )
        return Reference(host, repository, tag or None, digest or None)

    @property
    def url(self) -> str:
        """The registry's address: plain HTTP on this machine only."""
        scheme = "http" if is_loopback(self.host) else "https"
        return f"{scheme}://{self.host}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine."""
    return _LOOPBACK.fullmatch(host) is not None
