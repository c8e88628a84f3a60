"""Versions of a function: immutable, published once a build, each with its image's digest."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ConflictError, ReleaseError
from fnmodel.release.alias import AliasState, state_of
from fnmodel.release.probe import http_event
from fnmodel.release.reasons import remedy

_LATEST = "$LATEST"

_READY = json.dumps(http_event("/v2/health/ready", "", method="GET")).encode()

# What makes a version differ from the next one, besides its image.
_SETTINGS = (
    "Architectures", "Environment", "EphemeralStorage", "ImageConfigResponse", "LoggingConfig",
    "MemorySize", "Role", "SnapStart", "Timeout", "TracingConfig", "VpcConfig",
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """A function's code and settings at one time; `number` is `$LATEST` or a published number.

    `digest` is the image's, `sha256:…`. `settings` are comparable between versions.
    """

    number: str
    digest: str
    description: str
    settings: tuple[tuple[str, str], ...]

    def same_build(self, other: "Version") -> bool:
        """Whether both run the same image with the same settings."""
        return self.digest == other.digest and self.settings == other.settings


class Publisher:
    """The versions of one function. `interval` and `timeout` are seconds."""

    def __init__(
        self,
        client: Any,
        function: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 1.0,
        timeout: float = 600.0,
    ) -> None:
        self._client = client
        self.function = function
        self._sleep = sleep
        self._clock = clock
        self._interval = interval
        self._timeout = timeout

    def latest(self) -> Version:
        """Return what the function is now, before it is published.

        Raises:
            ReleaseError: there is no such function.

        """
        return _version(self._get(_LATEST))

    def exists(self) -> bool:
        """Whether there is such a function."""
        try:
            self._get(_LATEST)
        except ReleaseError:
            return False
        return True

    def versions(self) -> tuple[Version, ...]:
        """Return all published versions, oldest first."""
        return tuple(_version(self._get(number)) for number in self.numbers())

    def ready(self, number: str) -> Version:
        """Return one version that can take requests.

        Raises:
            ReleaseError: it does not exist, or Lambda cannot load it, as when its image is gone.

        """
        return _version(self._settled(number))

    def awake(self, number: str) -> Version:
        """Return one version that takes requests now; one that sleeps is woken first.

        Lambda reclaims what nobody has invoked for weeks, and rejects the first invocation after
        that while it loads the image again.
        https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html

        Raises:
            ReleaseError: as `ready`.

        """
        if self._get(number)["Configuration"].get("State") == "Inactive":
            self.touch(number)
        return self.ready(number)

    def touch(self, number: str) -> None:
        """Invoke a version with a question that costs next to nothing, so that it does not sleep.

        What it answers is of no matter: one that sleeps refuses, and begins to wake.
        """
        errors = self._client.exceptions
        with translated():
            try:
                self._client.invoke(FunctionName=self.function, Qualifier=number, Payload=_READY)
            except (errors.ResourceNotReadyException, errors.ResourceConflictException):
                return

    def remove(self, number: str) -> None:
        """Delete a version and its snapshot; one that is gone is no error.

        Raises:
            ConflictError: an alias uses it.

        """
        errors = self._client.exceptions
        with translated():
            try:
                self._client.delete_function(FunctionName=self.function, Qualifier=number)
            except errors.ResourceNotFoundException:
                return
            except errors.ResourceConflictException as error:
                raise ConflictError(
                    f"{self.function}:{number} is used: {error.response['Error']['Message']}",
                    hint="an alias was pointed to it just now; run the same command again",
                ) from error

    def aliases(self) -> dict[str, AliasState]:
        """Return what each alias of the function says, by name."""
        with translated():
            pages = self._client.get_paginator("list_aliases").paginate(FunctionName=self.function)
            return {item["Name"]: state_of(item) for page in pages for item in page["Aliases"]}

    def configuration(self, number: str) -> Mapping[str, Any]:
        """Return a version's configuration as Lambda shows it.

        Raises:
            ReleaseError: it does not exist.

        """
        found: Mapping[str, Any] = self._get(number)["Configuration"]
        return found

    def published(self) -> Version | None:
        """Return the version that holds the function as it is now, or None; reads only.

        Lambda compares with the newest version alone, and so does this.
        """
        numbers = self.numbers()
        newest = _version(self._get(numbers[-1])) if numbers else None
        return newest if newest is not None and newest.same_build(self.latest()) else None

    def publish(self, digest: str) -> Version:
        """Publish the function as it is now, which must run the image `digest`.

        Waits for an update in progress. A function that has not changed since its newest version
        is not published again, so that this can be repeated.

        Raises:
            ConflictError: the function runs another image; someone else deployed meanwhile.
            ReleaseError: Lambda could not load the image, with its reason.

        """
        current = self._settled(_LATEST)
        self._refuse_other(_version(current), digest)
        known = self.published()
        if known is not None:
            return known
        with translated():
            try:
                answer = self._client.publish_version(
                    FunctionName=self.function,
                    RevisionId=current["Configuration"]["RevisionId"],
                )
            except self._client.exceptions.PreconditionFailedException as error:
                raise self._moved() from error
        version = _version(self._settled(answer["Version"]))
        # Not every cloud honours RevisionId here; the version itself tells what was published.
        self._refuse_other(version, digest)
        return version

    def _refuse_other(self, version: Version, digest: str) -> None:
        if version.digest != digest:
            raise self._moved()

    def _moved(self) -> ConflictError:
        return ConflictError(
            f"{self.function} was given another image or setting while it was being released",
            hint="look at `fnmodel status`, then run `fnmodel deploy` again",
        )

    def numbers(self) -> list[str]:
        """Return the numbers of all published versions, oldest first.

        Raises:
            ReleaseError: there is no such function.

        """
        with translated():
            try:
                pages = self._client.get_paginator("list_versions_by_function").paginate(
                    FunctionName=self.function
                )
                found = [item["Version"] for page in pages for item in page["Versions"]]
            except self._client.exceptions.ResourceNotFoundException as error:
                raise self._missing(_LATEST) from error
        return sorted((number for number in found if number != _LATEST), key=int)

    def _get(self, number: str) -> Mapping[str, Any]:
        with translated():
            try:
                answer: Mapping[str, Any] = self._client.get_function(
                    FunctionName=self.function, Qualifier=number
                )
            except self._client.exceptions.ResourceNotFoundException as error:
                raise self._missing(number) from error
        return answer

    def _missing(self, number: str) -> ReleaseError:
        if number == _LATEST:
            return ReleaseError(
                f"there is no function {self.function}", hint="run `fnmodel deploy`"
            )
        return ReleaseError(
            f"{self.function} has no version {number}", hint="`fnmodel status` lists the versions"
        )

    def _settled(self, number: str) -> Mapping[str, Any]:
        """Wait until Lambda has loaded the image; return GetFunction's answer."""
        deadline = self._clock() + self._timeout
        while True:
            answer = self._get(number)
            configuration = answer["Configuration"]
            state = configuration.get("State", "Active")
            update = configuration.get("LastUpdateStatus", "Successful")
            if state == "Failed":
                raise self._failed(number, configuration, "State")
            if update == "Failed":
                raise self._failed(number, configuration, "LastUpdateStatus")
            if state != "Pending" and update != "InProgress":
                return answer
            if self._clock() >= deadline:
                raise ReleaseError(
                    f"{self.function}:{number} is still {state} after {self._timeout:.0f} s",
                    hint="AWS is still at it; run the same command again and it waits on",
                )
            self._sleep(self._interval)

    def _failed(self, number: str, configuration: Mapping[str, Any], what: str) -> ReleaseError:
        code = configuration.get(f"{what}ReasonCode", "")
        reason = configuration.get(f"{what}Reason", "") or "Lambda gives no reason"
        return ReleaseError(
            f"{self.function}:{number} failed to load: {reason} ({code or 'no code'})",
            hint=remedy(code),
        )


def _version(answer: Mapping[str, Any]) -> Version:
    configuration, code = answer["Configuration"], answer["Code"]
    uri = code.get("ResolvedImageUri") or code.get("ImageUri", "")
    return Version(
        number=configuration["Version"],
        digest=uri.partition("@")[2],
        description=configuration.get("Description", ""),
        settings=tuple((key, _stable(_asked(configuration, key))) for key in _SETTINGS),
    )


def _asked(configuration: Mapping[str, Any], key: str) -> Any:
    value = configuration.get(key)
    if key != "SnapStart" or not value:
        return value
    # Its status differs between a function and the version of it that has a snapshot.
    return value["ApplyOn"].replace("None", "")


def _stable(value: Any) -> str:
    # Absent and empty settings are the same to Lambda.
    return json.dumps(value, sort_keys=True, default=str) if value else ""
