"""An image of the store as a process starts it: its files in a folder of this home."""

import json
from pathlib import Path

from fnmodel.home import folder
from fnmodel.local.launch import RootFs
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack


def unpacked(image: Image, store: Store) -> RootFs:
    """Unpack an image once and return it with what its config says of starting it.

    Raises:
        PackError: a layer is damaged, or holds an entry that is refused.

    """
    root: Path = folder("local", "images") / image.digest.removeprefix("sha256:")
    unpack(image, store, root)
    config = json.loads(image.config)["config"]
    return RootFs(
        root=root,
        env=dict(entry.split("=", 1) for entry in config.get("Env", ())),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        working_dir=config.get("WorkingDir") or "/",
        python=config.get("Labels", {})["io.fnmodel.python"],
    )
