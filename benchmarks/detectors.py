"""Detectors of rising errors, ours and River's, on the same streams. A part of `drift.py`."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fnmodel.watch.detectors import Adwin, Ddm, Detector, PageHinkley

AT = 3000
"""The row from which errors are others, in every second stream."""

_MAKERS: Mapping[str, Callable[[], Detector]] = {
    "adwin": Adwin, "page-hinkley": PageHinkley, "ddm": Ddm
}  # fmt: skip
_REGRESSION = {"friedman"}


class Peer(Protocol):
    """Runs a peer's script in its environment."""

    def __call__(self, name: str, *arguments: str, script: str = "peer") -> Any:
        """Return what it prints."""


def measured(folder: Path, peer: Peer) -> dict[str, Any]:
    """Return, by kind of stream and detector, what each tool finds; streams lie in `folder`."""
    kinds = {"errors": errors(), **peer("river", script="streams")}
    result: dict[str, Any] = {}
    for kind, streams in kinds.items():
        path = folder / f"streams-{kind}.json"
        path.write_text(json.dumps(streams))
        names = [name for name in _MAKERS if not (name == "ddm" and kind in _REGRESSION)]
        theirs = peer("river", str(path), *names)
        result[kind] = {
            name: {"fnmodel": told(fed(_MAKERS[name], streams)), "river": told(theirs[name])}
            for name in names
        }
    return result


def errors() -> list[list[float]]:
    """Return twenty streams of wrong answers, 11.5 % of them; half have 20.7 % from row AT on."""
    rng = np.random.default_rng(0)
    streams = []
    for at in range(20):
        late = 0.207 if at % 2 else 0.115
        parts = [rng.random(AT) < 0.115, rng.random(AT) < late]
        streams.append(np.concatenate(parts).astype(float).tolist())
    return streams


def fed(make: Callable[[], Detector], streams: list[list[float]]) -> dict[str, Any]:
    """Return the rows of a detector's alarms by stream, and the seconds that a value takes."""
    began = time.perf_counter()
    alarms = []
    for stream in streams:
        one = make()
        alarms.append([at for at, x in enumerate(stream) if one.update(x)])
    took = (time.perf_counter() - began) / sum(map(len, streams))
    return {"alarms": alarms, "seconds": took}


def told(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return false alarms a stream, changes that were found, and the median of their delays."""
    alarms = found["alarms"]
    early = sum(at < AT for stream in alarms for at in stream)
    early += sum(at >= AT for stream in alarms[::2] for at in stream)
    late = [next((at - AT for at in stream if at >= AT), None) for stream in alarms[1::2]]
    delays = [delay for delay in late if delay is not None]
    return {
        "false": early / len(alarms),
        "found": f"{len(delays)} of {len(late)}",
        "delay": float(np.median(delays)) if delays else None,
        "seconds": found["seconds"],
    }


def show(result: Mapping[str, Any]) -> None:
    """Print all as tables."""
    for kind, names in result.items():
        print(f"\ndetectors on streams of {kind}, half of which change at row {AT:,}")
        for name, tools in names.items():
            for tool, one in tools.items():
                print(
                    f"    {name:<13} {tool:<8} false {one['false']:.2f} a stream, found "
                    f"{one['found']}, delay {one['delay']}, {one['seconds'] * 1e9:,.0f} ns a value"
                )
