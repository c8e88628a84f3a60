"""Writes the page of the matrix: pure, results in, Markdown out."""

import platform
from collections.abc import Mapping, Sequence

import numpy as np
from result import VERDICTS, Result

_HEAD = """\
# What converts

<!-- written by `make matrix`; do not edit -->

{kinds} kinds of models, each trained small, saved, converted and compared as `fnmodel slim` does \
it: on rows of its sample, on rows with values missing where it copes with that, on categories \
that it never saw, in batches of 0, 1 and 7, and, for trees, on up to 1,000 rows next to their \
splits. After that the original, by its own methods, and what would be served, as its callers ask \
it, get rows that the conversion never saw: new combinations of values with noise, texts that are \
put together anew, unknown categories, emptied fields, numbers far outside of training, and \
numbers at and next to the middle between two of training, where trees split. There the answers \
must lie ten times closer than the budget asks, and what the original refuses must be refused.

| verdict | kinds | |
| --- | --- | --- |
{verdicts}

For comparison: of 147 kinds, converters as they come (skl2onnx 1.20, onnxmltools 1.16) converted \
122, of which 22 answered otherwise without a word, and failed on 25. All those kinds are among \
these, under names of their own.

## How it was made

`make matrix` writes this page: {machine}, one thread, {versions}. A kind whose framework is not \
installed is not run and not counted{absent}. `build/matrix.json` keeps the result of each kind; \
after `python run.py --only WORD --merge` in `benchmarks/matrix` the page has the new results of \
some kinds and the kept ones of the others.

What the columns say: *largest difference* is the next power of ten above it, over all rows that \
the report compares. *Label flips* count rows with another label; *ties*, in brackets, are rows \
where the original itself was undecided. *Edge flips* count rows next to splits. *Fresh rows* are \
those that the conversion never saw and both answered.
"""
_COLUMNS = (
    "model", "verdict", "largest difference", "label flips (ties)", "edge flips", "per 1,000",
    "fresh rows", "how, or why not",
)  # fmt: skip


def render(
    groups: Mapping[str, Sequence[Result]], absent: Sequence[str], versions: Mapping[str, str]
) -> str:
    """Return the page: a summary, how it was made, and one table for each group."""
    every = [result for results in groups.values() for result in results]
    counts = {v: sum(result.verdict == v for result in every) for v in VERDICTS}
    lines = [
        _HEAD.format(
            kinds=len(every),
            verdicts="\n".join(f"| {v} | {counts[v]} | {words} |" for v, words in VERDICTS.items()),
            machine=f"{platform.system()} on {platform.machine()}, Python "
            f"{'.'.join(platform.python_version_tuple()[:2])}",
            versions=", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
            absent=f" (here: {', '.join(absent)})" if absent else "",
        )
    ]
    for title, results in groups.items():
        same = sum(result.verdict == "same" for result in results)
        lines += [
            f"## {title}",
            "",
            f"{same} of {len(results)} the same.",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            f"|{' --- |' * len(_COLUMNS)}",
            *map(_line, results),
            "",
        ]
    return "\n".join(lines)


def _line(result: Result) -> str:
    how = result.how.splitlines()[0].replace("|", "\\|")[:200]
    if result.verdict in ("refused", "broken"):
        return f"| {result.name} | {result.verdict} | | | | | | {how} |"
    edges = per = ""
    if result.edges:
        edges = f"{result.edge_flips} of {result.edges:,}"
        per = f"{1000 * result.edge_flips / result.edges:g}"
    fresh = result.differs.replace("|", "\\|") or (f"{result.fresh} same" if result.fresh else "")
    return (
        f"| {result.name} | {result.verdict} | {_power(result.difference)} "
        f"| {result.flips} ({result.ties}) | {edges} | {per} | {fresh} | {how} |"
    )


def _power(value: float) -> str:
    """Return the next power of ten, which is the same on every machine where digits are not."""
    return "0" if value == 0 else f"< 1e{int(np.floor(np.log10(value))) + 1}"
