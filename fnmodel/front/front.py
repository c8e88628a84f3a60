"""The steps of `front.json`, applied between the signature's inputs and the graph's."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fnmodel.errors import InputError, SlimError
from fnmodel.model import FRONT

Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
_BYTES = 256 << 20


class Step(Protocol):
    """One operation on whole columns; a row's result depends on that row alone."""

    @property
    def rows_at_once(self) -> int:
        """How many rows keep its outputs small."""

    def weight(self, outputs: Sequence[Array]) -> int:
        """Return the bytes that the graph makes of these outputs, where they may be too many."""

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Turn input arrays, rows along axis 0, into output arrays."""


@dataclass(frozen=True)
class Front:
    """Steps in order, each with the names that it reads and writes.

    `passes` names what a step reads and the graph reads too. May be used from several threads.
    """

    steps: tuple[tuple[Step, tuple[str, ...], tuple[str, ...]], ...]
    passes: frozenset[str] = frozenset()

    @staticmethod
    def load(folder: Path) -> "Front | None":
        """Read `front.json` of a model directory; None when there is none.

        Raises:
            SlimError: it is not JSON, or not a front that this version knows.

        """
        path = folder / FRONT
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Front.from_json(json.loads(content))
        except ValueError as error:
            raise _damaged(str(error)) from error

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Front":
        """Make the steps of `front.json`'s data.

        Raises:
            SlimError: a step is unknown, or a parameter is missing or of another form.

        """
        try:
            if data["version"] != VERSION:
                raise _damaged(f"version {data['version']!r} is not {VERSION}")
            return Front(
                tuple(
                    (_step(step), tuple(step["inputs"]), tuple(step["outputs"]))
                    for step in data["steps"]
                ),
                frozenset(data.get("passes", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError, re.error) as error:
            raise _damaged(repr(error)) from error

    def __call__(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Turn the signature's input tensors into the graph's; what no step reads passes through.

        Raises:
            InputError: an input is missing, or holds what a step cannot read.

        """
        return self._run(tensors)[0]

    def batches(self, tensors: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """Yield the graph's inputs for a few rows at a time, so that wide ones stay small.

        Raises:
            InputError: as calling it.

        """
        rows = max((len(array) for array in tensors.values()), default=0)
        size = min((step.rows_at_once for step, _, _ in self.steps), default=rows)
        if rows > size:
            for start in range(0, rows, size):
                yield from self.batches(_rows(tensors, start, start + size))
            return
        made, weight = self._run(tensors)
        if weight > _BYTES and rows > 1:
            yield from self.batches(_rows(tensors, 0, rows // 2))
            yield from self.batches(_rows(tensors, rows // 2, rows))
            return
        yield made

    def _run(self, tensors: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        values = dict(tensors)
        read: set[str] = set()
        weight = 0
        for step, inputs, outputs in self.steps:
            for name in inputs:
                if name not in values:
                    raise InputError(f"input {name!r} is missing")
            made = step([values[name] for name in inputs])
            weight = max(weight, step.weight(made))
            read.update(name for name in inputs if name not in self.passes)
            read.difference_update(outputs)
            values.update(zip(outputs, made, strict=True))
        return {name: array for name, array in values.items() if name not in read}, weight


def _rows(tensors: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: array[start:stop] for name, array in tensors.items()}


def _step(data: Mapping[str, Any]) -> Step:
    # Each kind's module is imported by the models that need it alone: a cold start pays for it.
    match data["op"]:
        case "words":
            from fnmodel.front.words import Words

            return Words.from_json(data)
        case "codes":
            from fnmodel.front.codes import Codes

            return Codes.from_json(data)
        case "fill":
            from fnmodel.front.codes import Fill

            return Fill.from_json(data)
        case "stack":
            from fnmodel.front.codes import Stack

            return Stack.from_json(data)
        case "wordpiece":
            from fnmodel.front.wordpiece import wordpiece

            return wordpiece(data)
        case "bytepairs":
            from fnmodel.front.bytepairs import bytepairs

            return bytepairs(data)
        case unknown:
            raise _damaged(f"there is no step {unknown!r}")


def _damaged(reason: str) -> SlimError:
    return SlimError(
        f"{FRONT} is not a front of this version: {reason}", hint="run `fnmodel slim` again"
    )
