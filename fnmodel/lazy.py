"""Puts off modules of the standard library that a cold start names and does not use.

Other modules of the library import these at their top, for rare cases. Here such a module is made
empty, and executed when the first of its names is asked for: in `import inspect` nothing happens,
`inspect.signature` wakes it. Python 3.15 has this as a statement (PEP 810).
"""

import sys
from _frozen_importlib import _ModuleLockManager  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

LAZY = frozenset({"ast", "inspect", "ipaddress", "textwrap", "tokenize"})
"""Named by inspect, dataclasses, urllib.parse, traceback and linecache."""

# The import system looks whether a module has these.
_NOT_WAKING = ("__file__", "__cached__", "__path__")


def install() -> None:
    """Put the modules of LAZY off, as far as they are not imported yet."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds what the other finders find, and puts it off."""

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the spec of a lazy module; None for any other."""
        if name not in LAZY:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Module(ModuleType):
    """A module that was not executed yet."""

    def __getattr__(self, name: str) -> "Any":
        if name not in _NOT_WAKING:
            self.__spec__.loader.wake(self)  # type: ignore[union-attr]
            if type(self) is not _Module:
                return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: "Any") -> None:
        # What somebody puts there must not be overwritten when it wakes.
        if name[:2] != "__":
            self.__spec__.loader.wake(self)  # type: ignore[union-attr]
        ModuleType.__setattr__(self, name, value)  # it is no _Module any more


class _Loader:
    """Makes a lazy module; in all else it is the loader that loads it when it is needed."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader
        self._waking = False

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType":
        """Return a module that is not executed."""
        return _Module(spec.name)

    def exec_module(self, module: "ModuleType") -> None:
        """Execute a module only when it is awake, which means that it is reloaded."""
        if type(module) is not _Module:
            self._loader.exec_module(module)

    def wake(self, module: "ModuleType") -> None:
        """Execute a module; other threads wait for that, this one may see it half done."""
        with _ModuleLockManager(module.__name__):
            if type(module) is _Module and not self._waking:
                self._waking = True
                try:
                    self._loader.exec_module(module)
                    module.__class__ = ModuleType  # type: ignore[assignment]
                finally:
                    self._waking = False
