"""Bodies in gzip and deflate, whose size is known before it is in memory."""

import zlib

from fnmodel.errors import InputError
from fnmodel.serve.body import too_large
from fnmodel.serve.refusal import RefusalError

# What zlib takes for the two formats: a gzip header, or zlib's own, which HTTP calls deflate.
_FORMATS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

# Most of what can be saved, for a third of the time of the default.
_LEVEL = 1


def unpacked(raw: bytes, encoding: str, limit: int) -> bytes:
    """Return a request's body without its Content-Encoding.

    Raises:
        RefusalError: 415, another encoding or several; 413, over `limit` bytes.
        InputError: the body is not what the header says, or not all of it.

    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return raw
    if name not in _FORMATS:
        raise RefusalError(415, "Content-Encoding must be one of gzip, deflate and identity")
    machine = zlib.decompressobj(_FORMATS[name])
    try:
        # A byte more than allowed shows that there is more.
        body = machine.decompress(raw, limit + 1)
    except zlib.error:
        raise InputError(f"the body is not {name}, as Content-Encoding says") from None
    if len(body) > limit:
        raise too_large(limit)
    if not machine.eof or machine.unused_data:
        raise InputError(f"the body is not one whole {name} stream")
    return body


def chosen(accepted: str) -> str:
    """Return the encoding that an Accept-Encoding allows and we prefer; empty where none is."""
    allowed = {}
    for item in accepted.lower().split(","):
        name, _, weight = item.partition(";")
        allowed[name.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    for name in ("gzip", "deflate"):
        if allowed.get(name, allowed.get("*", False)):
            return name
    return ""


def packed(body: bytes, encoding: str) -> bytes:
    """Return a body in gzip or deflate; the same bytes for the same body."""
    machine = zlib.compressobj(_LEVEL, wbits=_FORMATS[encoding])
    return machine.compress(body) + machine.flush()
