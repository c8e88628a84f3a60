"""What Lambda would refuse, or could not run, checked in one place before anything is pushed.

Lambda's own message comes minutes later and names neither the layer nor the limit. The rules are
those of https://docs.aws.amazon.com/lambda/latest/dg/images-create.html, and what a process needs
to start.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from fnmodel.errors import ImageLimitError
from fnmodel.pack.archive import UNCOMPRESSED
from fnmodel.pack.image import LAYER_TYPE, MANIFEST_TYPE, Architecture, Image, oci_architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.survey import Survey, Version, survey
from fnmodel.pack.tree import Tree, plain

MANIFEST = 25_400

_FORMAT = 1


@dataclass(frozen=True)
class _Problem:
    what: str
    hint: str


def check(image: Image, architecture: Architecture, python: str, store: Store) -> None:
    """Refuse an image that Lambda would refuse, or could not start; all findings at once.

    An image without a base, which only the embedded cloud runs, is not asked for an interpreter.

    Raises:
        ImageLimitError: too large, of another architecture, with files that nobody may read, …
        PackError: a layer is damaged.

    """
    key = f"{image.digest.removeprefix('sha256:')}-{python}-{architecture}"
    if store.recall("checked", key) == _FORMAT:
        return
    surveys = [survey(layer, store) for layer in image.layers]
    problems = [
        *_of_documents(image, architecture),
        *_of_layers(image, surveys),
        *_of_files(image, surveys, python),
    ]
    if problems:
        hints = dict.fromkeys(problem.hint for problem in problems)
        raise ImageLimitError(
            "this image would not run on Lambda: " + "; ".join(one.what for one in problems),
            hint="; ".join(hints),
        )
    store.remember("checked", key, _FORMAT)


def _of_documents(image: Image, architecture: Architecture) -> Iterator[_Problem]:
    settings, manifest = image.settings, json.loads(image.manifest)
    other = "take another base (`image.base` in fnmodel.yaml)"
    if manifest.get("mediaType") != MANIFEST_TYPE:
        yield _Problem("it is not a single image manifest", other)
    if len(image.manifest) >= MANIFEST:
        yield _Problem(
            f"its manifest has {len(image.manifest):,} bytes; Lambda allows {MANIFEST - 1:,}",
            "take a base with fewer layers or labels",
        )
    found = f"{settings.get('os')}/{settings.get('architecture')}"
    wanted = f"linux/{oci_architecture(architecture)}"
    if found != wanted:
        yield _Problem(
            f"it is for {found}, and the function for {wanted}",
            "set `image.architecture`, or take another base",
        )
    entries = sum(not item.get("empty_layer") for item in settings.get("history") or ())
    if entries != len(image.layers):
        yield _Problem(f"it has {len(image.layers)} layers and {entries} entries of history", other)
    for layer in image.layers:
        if layer.descriptor.media_type != LAYER_TYPE:
            yield _Problem(
                f"layer {layer.descriptor.digest} is {layer.descriptor.media_type}", other
            )
    config = settings.get("config") or {}
    if config.get("User"):
        yield _Problem(
            f"it sets the user {config['User']!r}, and Lambda brings its own",
            "take a base that sets no USER",
        )
    entry_point = (config.get("Entrypoint") or config.get("Cmd") or [""])[0]
    if not entry_point.startswith("/"):
        yield _Problem(
            f"its entry point {entry_point!r} is not an absolute path",
            "take a base whose ENTRYPOINT starts with /, or that has none",
        )


def _of_layers(image: Image, surveys: list[Survey]) -> Iterator[_Problem]:
    size = sum(one.size for one in surveys)
    if size > UNCOMPRESSED:
        yield _Problem(
            f"it unpacks to {size / 1024**3:.1f} GB; Lambda allows 10 GB",
            "use a smaller model, or another base",
        )
    for layer, found in zip(image.layers, surveys, strict=True):
        inside = {entry.path for entry in found.entries}
        for entry in found.entries:
            # Within one layer they are common (perl of Debian has one) and Lambda takes them.
            if entry.kind == "hardlink" and plain(entry.target) not in inside:
                yield _Problem(
                    f"layer {layer.descriptor.digest[:19]} has a hard link {entry.path} to a file "
                    "of another layer",
                    "rebuild the base with one layer, or without hard links",
                )
                break


def _of_files(image: Image, surveys: list[Survey], python: str) -> Iterator[_Problem]:
    tree = Tree(surveys)
    closed = sorted(entry.path for entry in tree.unreadable())
    if closed:
        more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        yield _Problem(
            f"Lambda's user may not read /{closed[0]}{more}",
            "`chmod -R o+rX` them where the base is built",
        )
    # The code layer holds this; with nothing below it the host's Python stands in.
    if not tree.has_system:
        return
    entry_point = (image.settings["config"].get("Entrypoint") or ["/"])[0]
    program = tree.find(entry_point)
    if program is None or program.kind != "file" or not program.mode & 0o001:
        yield _Problem(
            f"its entry point {entry_point} is not a program that Lambda's user may start",
            "take a base with Python in it, or one with an entry point of its own",
        )
    pythons = dict(tree.pythons())
    started = pythons.get(program.path) if program else None
    wrong = started or min(pythons.values(), default=python)
    if (started and started != python) or (pythons and python not in pythons.values()):
        yield _Problem(
            f"its base has Python {wrong}, and the packages are for {python}",
            f'set `image.python: "{wrong}"`, or take a base with Python {python}',
        )
    needs = max((one.needs for one in surveys if one.needs), default=None)
    has = next((one.has for one in reversed(surveys) if one.has), None)
    if tree.is_musl:
        yield _Problem(
            "its base has the C library musl, and the wheels are for glibc",
            "take a base made of Debian, Amazon Linux, Ubuntu or the like",
        )
    elif has and needs and has < needs:
        yield _Problem(
            f"its libraries need glibc {_dotted(needs)}, and the base has {_dotted(has)}",
            "take a newer base",
        )


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
