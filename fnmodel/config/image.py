"""The container image and who signs it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from fnmodel.config.base import Strict


class ImageConfig(Strict):
    """The container image."""

    python: Literal["3.11", "3.12", "3.13", "3.14"] = Field(
        default="3.13", description="Python of the image; the embedded cloud uses the host's"
    )
    architecture: Literal["x86_64", "arm64"] = Field(
        default="x86_64", description="the function's architecture"
    )
    base: str | None = Field(
        default=None,
        description="base image: a reference pinned by digest (NAME@sha256:…) or oci:DIR. "
        "AWS needs one; the embedded cloud does not",
    )


class SigningConfig(Strict):
    """Who signs images, and whose signatures a deploy asks for."""

    key: Path | None = Field(
        default=None,
        description="private key (PEM, ECDSA P-256) that signs what is deployed; the variable "
        "FNMODEL_SIGNING_KEY wins over it, FNMODEL_SIGNING_PASSWORD opens an encrypted one",
    )
    trusted: tuple[Path, ...] = Field(
        default=(),
        description="public keys (PEM); an image that none of them signed is not deployed",
    )
