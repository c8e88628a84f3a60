"""Who may call the endpoint."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fnmodel.config.base import LOOPBACK, Strict

AccessMode = Literal["iam", "jwt", "api_key", "public"]
ACCESS_MODES: tuple[AccessMode, ...] = ("iam", "jwt", "api_key", "public")


class JwtAccess(Strict):
    """Callers with a token of an OpenID Connect provider."""

    issuer: str = Field(description="URL of the provider, exactly as `iss` in its tokens")
    audience: tuple[str, ...] = Field(
        min_length=1, description="`aud` (or `client_id`) of a token must be one of these"
    )
    scopes: tuple[str, ...] = Field(
        default=(), description="a token needs one of these scopes; none are asked for by default"
    )

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        if not re.fullmatch(rf"(https://[a-z0-9.-]+(:\d+)?|{LOOPBACK})(/[^\s?#]*)?", value):
            raise ValueError("write the provider's URL: https://…; http is for 127.0.0.1 only")
        return value


class ApiKeyAccess(Strict):
    """Callers with a key that `fnmodel keys add` made; it has no settings."""


class Access(Strict):
    """Who may call the endpoint: exactly one of `iam`, `jwt`, `api_key` and `public`."""

    iam: Literal[True] | None = Field(
        default=None, description="callers whose IAM policy allows it; they sign with SigV4"
    )
    jwt: JwtAccess | None = Field(
        default=None, description="callers with a token of an OpenID Connect provider"
    )
    api_key: ApiKeyAccess | None = Field(
        default=None, description="callers with a key of `fnmodel keys`: `api_key: {}`"
    )
    public: Literal[True] | None = Field(
        default=None, description="everybody; in AWS `deploy` asks for the stage's name first"
    )
    health: Literal["protected", "public"] = Field(
        default="protected",
        description="whether `/v2/health/live` and `/v2/health/ready` answer everybody",
    )
    docs: Literal["protected", "public"] = Field(
        default="protected",
        description="whether `/docs` and `/openapi.json` answer everybody: they name the features",
    )

    @property
    def mode(self) -> AccessMode:
        """The one that is set."""
        return next(mode for mode in ACCESS_MODES if getattr(self, mode) is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [mode for mode in ACCESS_MODES if getattr(self, mode) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(
                f"write exactly one of iam, jwt, api_key and public; {found} is written"
            )
        return self


class CorsConfig(Strict):
    """Web pages that may call the endpoint from a browser."""

    origins: tuple[str, ...] = Field(
        min_length=1,
        description="origins of the pages, as https://app.example; each is written out, for `*`, "
        "`null` and patterns are refused; http is for 127.0.0.1 and localhost only",
    )

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            host = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
            if not re.fullmatch(rf"https://{host}(\.{host})*(:\d{{1,5}})?|{LOOPBACK}", origin):
                raise ValueError(
                    f"{origin!r} is not an origin: write scheme and host, as https://app.example, "
                    "in lower case, without a path and without *"
                )
        return value
