"""Pages and the JSON beside them, in files."""

from pathlib import Path
from typing import Any

import orjson

from fnmodel.errors import UsageError


def page(path: Path, html: str, data: dict[str, Any]) -> None:
    """Write a page, and its JSON beside it.

    Raises:
        UsageError: a file cannot be written.

    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    try:
        path.write_text(html, "utf-8")
        path.with_suffix(".json").write_bytes(orjson.dumps(data, default=str, option=options))
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be written: {error.strerror}",
            hint="--to FILE.html in a folder that you may write",
        ) from error


def show(path: Path) -> None:
    """Open a page in the browser."""
    import webbrowser

    webbrowser.open(path.resolve().as_uri())
