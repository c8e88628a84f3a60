"""Credentials for a registry: given by the caller, or found where `docker login` put them.

They are held in memory, never written, and their `repr` does not show them.
"""

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnmodel.errors import RegistryError


@dataclass(frozen=True)
class Credentials:
    """A user name and a password or token."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def from_docker(host: str, environment: Mapping[str, str] | None = None) -> Credentials | None:
    """Return what `docker login` keeps for a registry's host, or None.

    Reads `config.json` below DOCKER_CONFIG or `~/.docker`; asks a credential helper if it names
    one.

    Raises:
        RegistryError: the file is not readable, or the helper failed.

    """
    environment = os.environ if environment is None else environment
    chosen = environment.get("DOCKER_CONFIG")
    path = (Path(chosen) if chosen else Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path} cannot be read: {error}") from error
    helper = _section(config, "credHelpers").get(host) or config.get("credsStore")
    if helper:
        return _from_helper(str(helper), host)
    auths = _section(config, "auths")
    entry = next(
        (auths[k] for k in (host, f"https://{host}", f"http://{host}") if k in auths), None
    )
    encoded = entry.get("auth") if isinstance(entry, dict) else None
    if not encoded:
        return None
    try:
        user, _, password = base64.b64decode(encoded).decode().partition(":")
    except ValueError as error:
        raise RegistryError(f"{path}: the entry of {host} is not base64") from error
    return Credentials(user, password)


def _section(config: Any, name: str) -> dict[str, Any]:
    section = config.get(name) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def _from_helper(helper: str, key: str) -> Credentials | None:
    if not re.fullmatch(r"[\w.-]+", helper):
        raise RegistryError(f"{helper!r} is not the name of a Docker credential helper")
    program = f"docker-credential-{helper}"
    try:
        asked = subprocess.run(
            [program, "get"], input=key, capture_output=True, text=True, timeout=60, check=False
        )
        if asked.returncode:
            # By the helpers' protocol the reason stands on standard output.
            if "not found" in asked.stdout:
                return None
            raise RegistryError(f"{program} failed for {key}", hint=f"docker login {key}")
        answer = json.loads(asked.stdout)
        return Credentials(answer["Username"], answer["Secret"])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"{program} cannot run: {error}") from error
    except (ValueError, KeyError, TypeError):
        # Its output may hold the secret, so it is not part of the message.
        raise RegistryError(f"{program} did not answer as a credential helper") from None
