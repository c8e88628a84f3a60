"""Writes measures as a person reads them."""


class Passing(str):
    """Words of progress that are out of date at once: a terminal shows them, a log does not."""

    __slots__ = ()


def size(count: float) -> str:
    """Return bytes as a person reads them: 512 B, 1.5 kB, 35.1 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def milliseconds(time: float | None) -> str:
    """Return milliseconds with three digits, 0.0917 ms or 1,234 ms; nothing for None."""
    if time is None:
        return ""
    return f"{time:.3g} ms" if time < 100 else f"{time:,.0f} ms"
