"""A prediction as JSON in, columns out, named as a reference profile names them."""

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]


def prediction_columns(prediction: Any) -> Row:
    """Turn one captured prediction into columns, named as a reference profile names them.

    `{"label": …, "probabilities": {…}}` gives `label`, `probability:CLASS`, `margin` and
    `confidence`; a lone number `value`; other keys go by their names.
    """
    if not isinstance(prediction, Mapping):
        return {"value": prediction}
    row: Row = {}
    for name, value in prediction.items():
        if name == "probabilities" and isinstance(value, Mapping):
            row |= _probabilities(value)
        elif isinstance(value, list):
            row |= {f"{name}:{at}": one for at, one in enumerate(value)}
        else:
            row[name] = value
    if len(row) == 1 and "label" not in row:
        row.setdefault("value", next(iter(row.values())))
    return row


def _probabilities(values: Mapping[str, Any]) -> Row:
    row = {f"probability:{name}": value for name, value in values.items()}
    best = sorted((v for v in values.values() if isinstance(v, int | float)), reverse=True)
    if len(best) > 1:
        row |= {"margin": best[0] - best[1], "confidence": best[0]}
    return row
