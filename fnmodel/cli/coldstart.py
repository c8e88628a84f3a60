"""`pack --explain`: where the time of a cold start goes, measured in the image that was built."""

import json
import platform
from typing import Any

from fnmodel.cli.console import pairs, table
from fnmodel.cli.unpacked import unpacked
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import UsageError
from fnmodel.local.coldstart import ColdStart, explain
from fnmodel.model import OnnxModel
from fnmodel.pack.image import Image
from fnmodel.release.probe import infer_event
from fnmodel.units import size

_ROWS = 15
_MACHINES = {"x86_64": ("x86_64", "AMD64"), "arm64": ("aarch64", "arm64")}


def measured(
    work: Workspace, name: str, model: OnnxModel, image: Image, *, runs: int = 5
) -> ColdStart:
    """Start the image with a model's own probe and return what takes the time.

    Raises:
        UsageError: the image is for another processor.
        LocalError: it does not start here, or does not answer.

    """
    architecture = work.recipe.architecture
    if platform.machine() not in _MACHINES[architecture]:
        raise UsageError(
            f"the image is for {architecture}, and this machine is {platform.machine()}: "
            "it cannot be started here",
            hint="add `--local`, which builds the image for this machine, or run the command on "
            "a machine of that kind",
        )
    event = json.dumps(infer_event(name, model.probe()["request"])).encode()
    with work.console.step("explain") as step:
        found = explain(
            unpacked(image, work.store), event, name=work.name, memory=work.function.memory,
            runs=runs, progress=step.progress,
        )  # fmt: skip
        step.done(f"{found.init:.0f} ms to start, {found.first:.1f} ms for the first answer")
    return found


def to_text(found: ColdStart) -> str:
    """Return what a person reads: the steps, the packages, and the imports that take longest."""
    steps = [[name, _ms(took)] for name, took in found.steps.items()]
    groups = [
        [group.name, group.modules or "", _ms(group.own), group.files or "", size(group.size)]
        for group in found.groups
        if group.own >= 0.05 or group.files
    ]
    longest = sorted(found.imports, key=lambda row: -row.own)[:_ROWS]
    rows = [[row.name, _ms(row.own), _ms(row.whole)] for row in longest]
    return "\n\n".join(
        [
            pairs(
                {
                    "start": f"{found.init:.1f} ms until it asks for an event",
                    "first answer": f"{found.first:.1f} ms",
                    "measured": f"median of {found.runs} starts, by {found.driver}",
                }
            ),
            table([f"step, of {found.timed_init:.0f} ms with import timing", "ms"], steps),
            table(["package", "modules", "ms", "files", "their size"], groups),
            table(["import", "own ms", "with its own imports"], rows),
        ]
    )


def to_json(found: ColdStart) -> dict[str, Any]:
    """Return the same as plain data, with every import and file."""
    return {
        "driver": found.driver,
        "runs": found.runs,
        "init_ms": _ms(found.init),
        "first_answer_ms": _ms(found.first),
        "timed_init_ms": _ms(found.timed_init),
        "steps_ms": {name: _ms(took) for name, took in found.steps.items()},
        "packages": [
            {
                "name": group.name, "modules": group.modules, "ms": _ms(group.own),
                "files": group.files, "bytes": group.size,
            }
            for group in found.groups
        ],
        "imports": [
            {
                "name": row.name, "own_ms": _ms(row.own), "whole_ms": _ms(row.whole),
                "depth": row.depth, "init": row.init,
            }
            for row in found.imports
        ],
        "files": dict(found.files),
    }  # fmt: skip


def _ms(time: float) -> float:
    return round(time, 2)
