"""The keys of a project: which one signs its images, and which are trusted."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.config import SigningConfig
from fnmodel.errors import SigningError

if TYPE_CHECKING:
    from fnmodel.pack.keys import PrivateKey, PublicKey

KEY = "FNMODEL_SIGNING_KEY"


@dataclass(frozen=True)
class Keys:
    """The keys of a project: `key` signs, `trusted` are asked for."""

    key: "PrivateKey | None" = None
    trusted: "tuple[PublicKey, ...]" = ()


def keys(config: SigningConfig) -> Keys:
    """Read a project's keys; where none is configured nothing is loaded.

    Raises:
        SigningError: a key cannot be used, or nobody trusts the one that would sign.

    """
    found = trusted(config.trusted)
    named = os.environ.get(KEY)
    path = Path(named).expanduser() if named else config.key
    if path is None:
        return Keys(None, found)
    from fnmodel.pack.keys import PASSWORD, PrivateKey

    key = PrivateKey.load(path, os.environ.get(PASSWORD))
    if found and key.public.fingerprint not in {one.fingerprint for one in found}:
        raise SigningError(
            f"{path} would sign, and `signing.trusted` does not hold its public key",
            hint="add it there, or sign with the key that is trusted",
        )
    return Keys(key, found)


def trusted(paths: Sequence[Path]) -> "tuple[PublicKey, ...]":
    """Read public keys; where there are none nothing is loaded.

    Raises:
        SigningError: a key cannot be used.

    """
    if not paths:
        return ()
    from fnmodel.pack.keys import PublicKey

    return tuple(map(PublicKey.load, paths))
