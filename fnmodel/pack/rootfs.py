"""Unpacks an image into a folder, trusting nothing in its layers.

An entry may come from any base image, so no path leaves the folder, nothing is written through a
symbolic link, and every layer is checked against its digest and diff_id on the way.
"""

import os
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path

from fnmodel.errors import PackError
from fnmodel.pack.archive import entries
from fnmodel.pack.compression import Inflated
from fnmodel.pack.image import Image, Layer
from fnmodel.pack.layout import Store

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_CHUNK = 1 << 20


def unpack(image: Image, store: Store, into: Path) -> Path:
    """Unpack all layers into the folder `into` and return it.

    The folder appears only when it is complete. If it is there already it is returned as it is,
    so two processes may unpack the same image at a time.

    Owners are not set, and of the modes only the permission bits; device nodes below `/dev` are
    left out, since whatever runs the tree brings its own.

    Raises:
        PackError: a layer is damaged, or holds an entry that is refused.

    """
    if into.exists():
        return into
    into.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
    try:
        temporary.chmod(0o755)
        for layer in image.layers:
            _apply(layer, store, temporary)
        try:
            temporary.rename(into)
        except OSError:
            if not into.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return into


def _apply(layer: Layer, store: Store, root: Path) -> None:
    where = f"layer {layer.descriptor.digest}"
    tree = _Tree(str(root), where)
    try:
        for member, stream in entries(layer, store):
            tree.add(member, stream)
    except OSError as error:
        raise PackError(f"{where} cannot be unpacked: {error}") from error


class _Tree:
    """The folder that one layer is written into, and what this layer has written there."""

    def __init__(self, root: str, where: str) -> None:
        self._root = root
        self._where = where
        # Relative paths: what is known to be a real folder, and what no whiteout here may hide.
        self._folders = {""}
        self._written = {""}

    def add(self, member: tarfile.TarInfo, stream: Inflated) -> None:
        """Write one entry; a file's content is next in the stream."""
        path = self._place(member, member.name)
        if not path:
            return
        parent, _, name = path.rpartition("/")
        self._enter(member, parent)
        if name.startswith(_WHITEOUT):
            self._hide(member, parent, name)
            return
        full = f"{self._root}/{path}"
        if member.isdir():
            if path not in self._folders and not _is_folder(full):
                self._remove(path)
                os.mkdir(full)  # noqa: PTH102 - thousands of entries, and Path costs a third
            os.chmod(full, member.mode & 0o777 | 0o700)  # noqa: PTH101
            self._folders.add(path)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
            self._remove(path)
            _write(full, member, stream)
        elif member.issym():
            self._remove(path)
            os.symlink(member.linkname, full)  # noqa: PTH211
        elif member.islnk():
            self._link(member, path)
        elif member.isdev() and path.startswith("dev/"):
            return
        else:
            raise self._refused(member, "is a device or of an unknown kind")
        while path not in self._written:
            self._written.add(path)
            path = path.rpartition("/")[0]

    def _place(self, member: tarfile.TarInfo, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise self._refused(member, "leads out of the image")
        return "/".join(parts)

    def _enter(self, member: tarfile.TarInfo, folder: str) -> None:
        """Make sure that a folder and its parents are there and are folders, not links."""
        if folder in self._folders:
            return
        self._enter(member, folder.rpartition("/")[0])
        full = f"{self._root}/{folder}"
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            os.mkdir(full, 0o755)  # noqa: PTH102
        else:
            if not stat.S_ISDIR(mode):
                raise self._refused(member, "would be written through a link or a file")
        self._folders.add(folder)

    def _link(self, member: tarfile.TarInfo, path: str) -> None:
        target = self._place(member, member.linkname)
        self._enter(member, target.rpartition("/")[0])
        full = f"{self._root}/{target}"
        if not os.path.lexists(full) or not stat.S_ISREG(os.lstat(full).st_mode):
            raise self._refused(member, "is a hardlink to what is no file of the image")
        if target != path:
            self._remove(path)
            os.link(full, f"{self._root}/{path}", follow_symlinks=False)

    def _hide(self, member: tarfile.TarInfo, parent: str, name: str) -> None:
        """Apply a whiteout to what lower layers left here."""
        if name == _OPAQUE:
            for child in os.listdir(f"{self._root}/{parent}"):  # noqa: PTH208
                path = f"{parent}/{child}".lstrip("/")
                if path not in self._written:
                    self._remove(path)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise self._refused(member, "is a whiteout of nothing")
        self._remove(f"{parent}/{hidden}".lstrip("/"))

    def _remove(self, path: str) -> None:
        full = f"{self._root}/{path}"
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(full)
            self._folders = {""}
        else:
            os.unlink(full)  # noqa: PTH108

    def _refused(self, member: tarfile.TarInfo, reason: str) -> PackError:
        return PackError(
            f"{self._where}: {member.name!r} {reason}",
            hint="do not use this image; rebuild it from a source that you trust",
        )


def _write(full: str, member: tarfile.TarInfo, stream: Inflated) -> None:
    # The path was just cleared, so anything there now is someone else's: never follow or replace.
    handle = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as file:
        left = member.size
        while left:
            chunk = stream.read(min(_CHUNK, left))
            if not chunk:
                raise PackError(f"{member.name!r} ends early: the layer is damaged")
            left -= len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
        os.fchmod(handle, member.mode & 0o777 | 0o400)


def _is_folder(full: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(full).st_mode)
    except FileNotFoundError:
        return False
