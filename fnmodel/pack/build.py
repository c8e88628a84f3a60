"""Builds the image: base, dependencies, code and model, from what changes least to most.

    base           its own blobs, untouched
    imports        in the base's standard library: a bundle of what a cold start imports of it
    dependencies   /opt/python    hash-locked wheels, pruned and compiled, with a bundle
    tracing        /opt/python    OpenTelemetry's SDK and exporter, where a stage asks for them
    project        /opt/python    hash-locked wheels that the project asks for, where it does
    formats        /opt/python    hash-locked wheels for what batch jobs read and write, where
                                  they need more than CSV and JSON Lines
    code           /var/task      fnmodel's runtime part and the handlers, compiled, with a bundle
    model          /opt/ml/model  the model directory; several, a layer each: `models.py`

Each layer is kept under the digest of what went into it, so a retrained model makes one new layer
and an unchanged project makes none.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import fnmodel
from fnmodel.model import OnnxModel
from fnmodel.pack import base, bundle, bytecode, compression, layer, limits, requirements
from fnmodel.pack.dependencies import AT as DEPENDENCIES
from fnmodel.pack.dependencies import Install, Lock, dependency_layer
from fnmodel.pack.formats import formats_layer
from fnmodel.pack.image import CREATED, Architecture, Image, Layer, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.models import Packed
from fnmodel.pack.requirements import extra_layer, tracing_lock
from fnmodel.pack.stdlib import stdlib_layer
from fnmodel.pack.tree import entry_python
from fnmodel.shipped import shipped

CODE = "var/task"
CMD = ("handlers.model.handler",)
ENTRYPOINT = ("-P", "-s", "-S", "-m", "handlers.start")
"""After the base's Python: neither the working folder nor the base's packages are on its path."""

LAYERS: Mapping[str, str] = {
    name: f"fnmodel pack: {what}" for name, what in requirements.WHAT.items()
}
"""What the history of an image says of layers that not every project has."""

# Where the embedded cloud's host stands in for a base, nobody looks at this path.
_PYTHON = "/usr/bin/python3"
# What the image runs of this package; a test imports it without what only a build needs.
_MODULES = (
    "__init__.py", "apikey.py", "arrays.py", "aws.py", "binary.py", "buffers.py", "cloudevents.py",
    "deadline.py", "distribution.py", "encoding.py", "engine.py", "errors.py", "fields.py",
    "histogram.py", "imports.py", "inference.py", "lazy.py", "model.py", "paired.py",
    "processing.py", "profile.py", "sequential.py", "sigv4.py", "values.py",
)  # fmt: skip
_PACKAGES = ("capture", "front", "ort", "release", "serve", "batch", "watch")
# They make pages, of what `fnmodel.pages` has; that is at home on the machine of whoever reads.
_PAGES = frozenset(
    f"fnmodel/watch/{name}.py" for name in ("letter", "page", "panels", "trend_page")
)
# Code, and what the page under /docs is made of.
_SHIPPED = frozenset({".py", ".html", ".css", ".js"})
_FORMAT = 2


@dataclass(frozen=True)
class Recipe:
    """What the image is to be; `base` is None, `oci:DIR`, or a reference pinned by digest.

    With `tracing` it can send traces, where OpenTelemetry's variables ask for them.
    """

    name: str
    python: str
    architecture: Architecture
    base: str | None = None
    tracing: bool = False


def has_base(image: Image) -> bool:
    """Whether an image stands on a base, as AWS needs it, or is for the embedded cloud alone."""
    return bool(image.layers) and not image.layers[0].created_by.startswith("fnmodel pack:")


def build(
    models: OnnxModel | Mapping[str, OnnxModel],
    recipe: Recipe,
    store: Store,
    *,
    progress: Callable[[str], None] = lambda _: None,
    own: Lock | None = None,
    formats: Sequence[str] = (),
    install: Install | None = None,
    pull: base.Pull = base.pull,
    choose: bytecode.Choose = bytecode.choose,
) -> Image:
    """Build an image into the store and return it; the same inputs give the same digest.

    Of one model it has the recipe's name; several have names of their own, the first one first.
    `own` is the lock of the project's own packages; `formats` are those of `layers/formats` that
    batch jobs need; `choose` gives the Python that compiles.

    Raises:
        LockError: a dependency cannot be had.
        ImageLimitError: Lambda would refuse the image.
        RegistryError: the base image cannot be fetched.
        PackError: anything else that keeps it from being built.

    """
    lock = Lock.load(recipe.python)
    image = base.resolve(recipe.base, recipe.architecture, store, pull, progress)
    target = recipe.architecture
    program = entry_python(image, recipe.python, store) or _PYTHON
    with choose(image, recipe.python, store) as compiler:
        first = stdlib_layer(store, image, recipe.python, compiler, progress=progress)
        layers = [first] if first else []
        layers.append(
            dependency_layer(store, lock, target, compiler, progress=progress, install=install)
        )
        beside = [tracing_lock(recipe.python)] if recipe.tracing else []
        layers += [
            extra_layer(store, one, lock, target, compiler, progress=progress, install=install)
            for one in (*beside, *([own] if own is not None else []))
        ]
        for name in formats:
            made = formats_layer(store, name, lock, target, compiler, progress, install)
            layers += [made] if made else []
        layers.append(code_layer(store, recipe.python, compiler, progress=progress))
    packed = Packed.of(models, recipe.name)
    layers += packed.layers(store, progress)
    for one in layers:
        image = image.append(one)
    image = image.configure(
        env={
            "PYTHONPATH": f"/{DEPENDENCIES}:/{CODE}",
            **packed.env(recipe.name),
            "ORT_DISABLE_TELEMETRY": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYDANTIC_DISABLE_PLUGINS": "__all__",
        },
        labels=_labels(packed, recipe, lock, own),
        entrypoint=(program, *ENTRYPOINT),
        cmd=CMD,
        working_dir=f"/{CODE}",
    )
    limits.check(image, recipe.architecture, recipe.python, store)
    store.save(image)
    return image


def code_layer(
    store: Store, python: str, compiler: bytecode.Compiler, *, progress: Callable[[str], None]
) -> Layer:
    """Return the layer of fnmodel's runtime part and the handlers, with bytecode.

    Raises:
        PackError: a file does not compile.

    """
    files = _code()
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    key = f"code-{_key([_FORMAT, compiler.identity, compression.DEFLATED, digests])}"
    known = store.recall_layer(key)
    if known:
        progress("code: unchanged")
        return known
    progress("compiling code")
    with tempfile.TemporaryDirectory(prefix=".code-", dir=store.root) as name:
        folder = Path(name)
        for path, data in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        compiler.compile(folder, f"/{CODE}")
        bundle.write(folder, python, bundle.modules(folder))
        tree = layer.tree(folder, CODE)
        made = layer.write(store, tree, "fnmodel pack: code", compression.deflated)
        shutil.rmtree(folder, ignore_errors=True)
    store.remember_layer(key, made)
    return made


def _code() -> dict[str, bytes]:
    """Return the files of the code layer by their path below /var/task."""
    package = Path(fnmodel.__file__).parent
    files = {f"fnmodel/{name}": package / name for name in _MODULES}
    roots = {f"fnmodel/{name}": package / name for name in _PACKAGES}
    for at, root in {**roots, "handlers": shipped("handlers")}.items():
        for path in root.rglob("*"):
            name = f"{at}/{path.relative_to(root).as_posix()}"
            if path.suffix in _SHIPPED and name not in _PAGES:
                files[name] = path
    return {at: files[at].read_bytes() for at in sorted(files)}


def _labels(packed: Packed, recipe: Recipe, lock: Lock, own: Lock | None) -> dict[str, str]:
    tool = version("fnmodel")
    labels = {
        # Lambda takes snapshots of an image on a base that is not AWS's only where it says so.
        "com.amazonaws.lambda.feature.snapstart": "Allow",
        "io.fnmodel.name": recipe.name,
        "io.fnmodel.python": recipe.python,
        **packed.labels(),
        "io.fnmodel.lock": lock.digest,
        "io.fnmodel.tool": tool,
        "org.opencontainers.image.title": recipe.name,
        "org.opencontainers.image.created": CREATED,
    }
    if own is not None:
        labels["io.fnmodel.requirements"] = own.digest
    name, _, digest = (recipe.base or "").partition("@")
    if digest:
        labels["org.opencontainers.image.base.name"] = name
        labels["org.opencontainers.image.base.digest"] = digest
    return labels


def _key(inputs: object) -> str:
    return hashlib.sha256(encode(inputs)).hexdigest()
