"""Renews `layers/runtime/imports.txt`: what cold starts import, beside fnmodel's own modules.

    PYTHONPATH=benchmarks python benchmarks/startup/record.py

The image is built for each Python that this machine has, and started once with each kind of
request. What one of them imports is in the list, in the order of the imports. A list that was
recorded with more Pythons than are here is left as it is.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import classifier
import cold

from fnmodel import interpreter
from fnmodel.local.coldstart import imported
from fnmodel.local.launch import RootFs
from fnmodel.model import OnnxModel
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import AT, runtime_folder
from fnmodel.pack.image import host_architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack

NAME = "bench"
HEADER = """\
# What cold starts import beside fnmodel's own modules: the bundles of the image hold these, and
# docs/pack.md says why. Made by `make imports`; a name that a Python has not is passed over.
# Recorded with Python {}
"""
_LIBRARY = "import sysconfig; print(sysconfig.get_path('stdlib'))"


def main() -> None:
    """Start the image in every Python that is here, and write the list."""
    path = runtime_folder() / "imports.txt"
    said = re.search(r"^# Recorded with Python (.*)$", path.read_text(), re.MULTILINE)
    before = said[1].split(", ") if said else []
    pythons = [python for python in interpreter.MINORS if interpreter.find(python) is not None]
    if missing := set(before) - set(pythons):
        raise SystemExit(f"{path} was recorded with Python {sorted(missing)} too: put it on PATH")
    names: dict[str, None] = {}
    cold.BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imports-", dir=cold.BUILD) as folder:
        for python in pythons:
            names |= dict.fromkeys(recorded(python, Path(folder) / python))
    path.write_text(HEADER.format(", ".join(pythons)) + "\n".join(names) + "\n")
    print(f"{len(names)} modules, from starts of Python {', '.join(pythons)}")


def recorded(python: str, folder: Path) -> list[str]:
    """Return the modules with a source that starts for one Python import, without ours."""
    rootfs = image(python, folder)
    program = str(interpreter.find(python))
    asked = subprocess.run([program, "-c", _LIBRARY], capture_output=True, text=True, check=True)
    folders = [rootfs.root / AT, Path(asked.stdout.strip())]
    names = [name for event in events() for name in imported(rootfs, event, name=NAME)]
    return [name for name in dict.fromkeys(names) if any(_source(at, name) for at in folders)]


def image(python: str, folder: Path) -> RootFs:
    """Build and unpack the image of the benchmark's model."""
    folder = folder.resolve()
    (folder / "model").mkdir(parents=True)
    classifier.write_model(folder / "model")
    store = Store(folder / "store")
    recipe = Recipe(NAME, python, host_architecture())
    made = build(OnnxModel.load(folder / "model"), recipe, store)
    config = made.settings["config"]
    return RootFs(
        unpack(made, store, folder / "root"),
        dict(entry.split("=", 1) for entry in config["Env"]),
        tuple(config["Entrypoint"]),
        tuple(config["Cmd"]),
        config["WorkingDir"],
        python,
    )


def events() -> list[bytes]:
    """Return one event of each kind that the endpoint answers by itself."""
    predict = classifier.request()
    row = list(json.loads(predict["body"])["records"][0].values())
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, len(row)], "data": [row]}
    return [
        json.dumps(event).encode()
        for event in (
            predict,
            at(predict, "POST", f"/v2/models/{NAME}/infer", {"inputs": [tensor]}),
            at(predict, "GET", "/v2/health/ready", None),
        )
    ]


def at(event: dict[str, object], method: str, path: str, body: object) -> dict[str, object]:
    """Return an event with another method, path and body."""
    context: object = event["requestContext"]
    assert isinstance(context, dict)
    http = {**context["http"], "method": method, "path": path}
    made = {**event, "rawPath": path, "requestContext": {**context, "http": http}}
    return {**made, "body": json.dumps(body)} if body else {**made, "body": ""}


def _source(folder: Path, name: str) -> bool:
    place = folder.joinpath(*name.split("."))
    return (place / "__init__.py").is_file() or place.with_name(f"{place.name}.py").is_file()


if __name__ == "__main__":
    main()
