"""What a person or a program sees: data on stdout, everything else on stderr."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from fnmodel.units import Passing


class Output(StrEnum):
    """Form of the data on stdout."""

    table = "table"
    json = "json"


class Console:
    """Prints data once, in the form asked for, and progress while it is under way.

    On a terminal a long step shows a spinner; elsewhere each step is one line. NO_COLOR,
    TERM=dumb and CI switch the spinner off.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        plain = os.environ.get("TERM") == "dumb" or "CI" in os.environ
        self.live = sys.stderr.isatty() and not plain

    def data(self, value: Any, text: str) -> None:
        """Print `value` as JSON, or `text` for a person."""
        if self.output is Output.json:
            import orjson

            options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            text = orjson.dumps(value, default=str, option=options).decode()
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print one line for a person."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    @contextmanager
    def step(self, name: str, about: str = "", *, spinner: bool = True) -> Iterator["Step"]:
        """Show a step of a longer work while the block runs, and how long it took.

        `about` is which of several things it is done to. Without a spinner the block shows itself
        how it goes.
        """
        import time

        began = time.monotonic()
        step = Step(name, about, live=self.live and spinner)
        try:
            yield step
        finally:
            step.stop()
        if step.result:
            self.note(f"{name:<10} {step.told(step.result)}  ({time.monotonic() - began:.1f} s)")

    def ask(self, question: str, *, yes: bool) -> bool:
        """Return whether the person agrees; without a terminal only `--yes` does."""
        if yes:
            return True
        return (self.typed(f"{question} [y/N]") or "").lower() in {"y", "yes"}

    def typed(self, question: str) -> str | None:
        """Return what the person types; without a terminal None."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        sys.stderr.write(f"{question} ")
        sys.stderr.flush()
        return sys.stdin.readline().strip()


class Step:
    """One step under way: `progress` says what it does now, `done` what came of it."""

    def __init__(self, name: str, about: str = "", *, live: bool) -> None:
        self.name = name
        self._about = about
        self.result = ""
        self._status: Any = None
        if live:
            from rich.console import Console as RichConsole

            self._status = RichConsole(stderr=True).status(name)
            self._status.start()

    def progress(self, text: str) -> None:
        """Say what the step does now."""
        if self._status is not None:
            from rich.markup import escape

            self._status.update(f"{self.name}: {escape(self.told(text))}")
        elif not isinstance(text, Passing):
            sys.stderr.write(f"{self.name:<10} {self.told(text)} …\n")
            sys.stderr.flush()

    def told(self, text: str) -> str:
        """Return words with what they are about in front."""
        return f"{self._about}: {text}" if self._about else text

    def done(self, text: str) -> None:
        """Say what came of the step; printed once it has ended."""
        self.result = text

    def stop(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return aligned columns; numbers stand to the right."""
    if not rows:
        return "nothing to show"
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(header), *cells]
    ]
    return "\n".join(lines)


def pairs(values: Mapping[str, Any]) -> str:
    """Return one `key  value` line a pair, aligned; empty values are left out."""
    shown = {key: value for key, value in values.items() if value not in (None, "", [], {})}
    width = max((len(key) for key in shown), default=0)
    return "\n".join(f"{key:<{width}}  {_cell(value)}" for key, value in shown.items())


def shortened(text: str, most: int) -> str:
    """Return a text of so many characters at most; an ellipsis stands for the rest."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(words: Sequence[str], most: int) -> str:
    """Return words with commas between them, and how many there are beyond `most`."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
