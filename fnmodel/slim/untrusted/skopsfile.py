"""Reads skops files with the same list of known names as pickles."""

import io
import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from fnmodel.errors import FnmodelError, MissingExtraError, SlimError
from fnmodel.slim.untrusted import allowed, archive, unpickle
from fnmodel.slim.untrusted.bounds import check_indices

_SCHEMA = "schema.json"
_LARGEST_SCHEMA = 512 << 20
_HINT = "save the model again with skops.io.dump, or with joblib.dump"


def load(path: Path, trust: Collection[str] = frozenset()) -> Any:
    """Return the object in a skops file.

    `trust` holds the full names of classes and functions of the user's own code.

    Raises:
        UntrustedModelError: the file uses names that are neither known nor trusted; lists them.
        SlimError: the file is damaged, unpacks without bound, or needs what is not installed.
        MissingExtraError: skops is not installed.
        UsageError: `trust` holds a pattern or a name of Python itself.

    """
    allowed.check_trust(trust)
    try:
        from skops import io as skops
    except ImportError as error:
        raise MissingExtraError(
            "reading a skops file needs skops, which is not installed", hint="pip install skops"
        ) from error
    data = archive.read_checked(path)
    try:
        # From here on the bytes in memory: a file could change between the two looks.
        listed = skops.get_untrusted_types(data=data)
        _check_names(path, listed, _called(data), trust)
        model = skops.loads(data, trusted=listed)
    except (FnmodelError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise SlimError(
            f"{path.name} needs the module {error.name!r}, which is not installed here",
            hint=f"install the package that provides {error.name!r} beside fnmodel",
        ) from error
    except Exception as error:
        # A damaged file makes skops raise nearly any class.
        raise SlimError(
            f"{path.name} is not a complete skops file ({type(error).__name__}: "
            f"{str(error)[:200]})",
            hint=_HINT,
        ) from error
    check_indices(model)
    return model


def _check_names(
    path: Path, listed: Collection[str], called: Collection[str], trust: Collection[str]
) -> None:
    unknown = {name for name in listed if not _known(name)}
    unknown |= {name for name in called if not _may_be_called(name)}
    if unknown - set(trust):
        raise unpickle.untrusted(path.name, unknown - set(trust))


def _called(data: bytes) -> set[str]:
    """Return the names that the file calls with arguments of its own, as constructors."""
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        if members.getinfo(_SCHEMA).file_size > _LARGEST_SCHEMA:
            raise SlimError("the file's schema is too large", hint=_HINT)
        schema = json.loads(members.read(_SCHEMA))
    return {
        f"{node.get('__module__')}.{node.get('__class__')}"
        for node in _nodes(schema)
        if node.get("__loader__") == "ConstructorFromReduceNode"
    }


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _known(full: str) -> bool:
    module, _, name = full.rpartition(".")
    try:
        permit = allowed.permit(module, name)
    except allowed.NotHereError:
        return True  # skops says what is missing
    # skops looks a name up by itself: only what is harmless as it stands may be known here.
    return permit is not None and permit.as_it_stands


def _may_be_called(full: str) -> bool:
    module, _, name = full.rpartition(".")
    try:
        permit = allowed.permit(module, name)
    except allowed.NotHereError:
        return True
    return permit is not None and permit.call is not None and isinstance(permit.value, type)
