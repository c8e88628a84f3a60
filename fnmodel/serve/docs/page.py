"""The page under /docs: HTML, style and script in one, with the document inside.

Nothing is asked of any other host, and nothing but this page's own script runs: the policy names
its hash. The document lies in the page as data, which a browser does not run, and is escaped so
that no text in it can end it.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import orjson

from fnmodel.serve.endpoint import Answer

_HERE = Path(__file__).parent
# Of JSON's characters those that mean something to HTML, or end a line in old scripts.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def page(document: dict[str, Any]) -> Answer:
    """Return the page of an OpenAPI document, with the headers that keep it to itself."""
    style, script = (_read(name) for name in ("page.css", "page.js"))
    html = Template(_read("page.html")).substitute(
        title=escape(document["info"]["title"]),
        style=style,
        script=script,
        document=orjson.dumps(document).decode().translate(_ESCAPES),
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    extra = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Answer(html.encode(), media="text/html; charset=utf-8", extra=extra)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
