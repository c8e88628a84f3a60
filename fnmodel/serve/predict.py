"""`POST /predict`: rows by feature name in, one prediction a row out.

The body has one form, `{"records": [{feature: value, …}, …]}`; a single row is a list of one.
"""

from collections.abc import Sequence
from typing import Any

from fnmodel.errors import InputError
from fnmodel.model import Signature


def records_of(body: dict[str, Any], signature: Signature) -> Sequence[dict[str, Any]]:
    """Return the rows of a request.

    Raises:
        InputError: the body has another form; the message shows the right one.

    """
    records = body.get("records")
    if not isinstance(records, list) or len(body) != 1:
        names = [feature.name for feature in signature.asked[:2]]
        fields = ", ".join(f'"{name}": …' for name in names)
        more = ", …" if len(signature.asked) > len(names) else ""
        raise InputError(
            f'the body must be {{"records": [{{{fields}{more}}}, …]}}, one object a row'
        )
    return records
