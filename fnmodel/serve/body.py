"""A request's bytes in, a JSON object out; whatever is wrong with them is the caller's to mend."""

from collections.abc import Mapping
from typing import Any

import orjson

from fnmodel.errors import InputError
from fnmodel.serve.refusal import RefusalError

# Lambda takes an event of 6 MiB: the body, its escapes, and the headers.
LIMIT = 6_000_000


def check_size(size: int, limit: int) -> None:
    """Refuse a body over the limit; both are bytes.

    Raises:
        RefusalError: 413.

    """
    if size > limit:
        raise too_large(limit)


def too_large(limit: int) -> RefusalError:
    """Return the refusal of a body with more than `limit` bytes."""
    return RefusalError(
        413, f"the body is larger than {limit:,} bytes; send fewer rows, or use batch"
    )


def split(raw: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the JSON of a body and the binary tensors behind it.

    Raises:
        InputError: Inference-Header-Content-Length is no number, or more than the body has.

    """
    given = headers.get(b"inference-header-content-length")
    if given is None:
        return raw, b""
    if not given.isdigit() or len(given) > 10 or int(given) > len(raw):
        raise InputError(
            "Inference-Header-Content-Length is not how much of the body is JSON: "
            f"a number of bytes from 1 to {len(raw):,}"
        )
    return raw[: int(given)], raw[int(given) :]


def read_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object; the Content-Type is not looked at, since clients send many or none.

    orjson refuses NaN, Infinity, 1e999, lone surrogates, invalid UTF-8 and a nesting over 1,024.

    Raises:
        InputError: it is not JSON, or not an object.

    """
    value = parse(raw)
    if not isinstance(value, dict):
        raise InputError("the body is not a JSON object")
    return value


def parse(raw: bytes) -> Any:
    """Parse any JSON value; as `read_object`."""
    if not raw:
        raise InputError("the body is empty; send a JSON object")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}") from None
