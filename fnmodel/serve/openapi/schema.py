"""The pieces that schemas are put together from, and the names that they go by."""

import re
import sys
from dataclasses import dataclass
from typing import Any

from fnmodel.model import Datatype
from fnmodel.values import KINDS, limits

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_NO_NUL = "^[^\\u0000]*$"
_LARGEST = {
    "FP16": 65_504.0,
    "FP32": (2 - 2.0**-23) * 2.0**127,
    "FP64": sys.float_info.max,
}


@dataclass(frozen=True)
class Names:
    """Names of schemas and operations, which begin with the model's where there are several."""

    prefix: str = ""

    @classmethod
    def of(cls, model: str, *, alone: bool) -> "Names":
        """Return the names of a model's schemas and operations."""
        return cls("" if alone else f"{_UNFIT.sub('-', model)}.")

    def __call__(self, name: str) -> str:
        """Return this model's name for a schema or an operation."""
        return f"{self.prefix}{name}"

    def ref(self, name: str) -> Schema:
        """Return a reference to a schema of this model."""
        return ref(self(name))


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(properties: dict[str, Any], *required: str, closed: bool = False) -> Schema:
    """Return the schema of an object; `closed` has no other properties."""
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


def array(items: Schema, **more: Any) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **more}


def element(datatype: Datatype) -> Schema:
    """Return the schema of one value of a tensor, with the limits of its datatype.

    `integer` admits 3.0, as JSON Schema says and the endpoint accepts.
    """
    match KINDS[datatype]:
        case "text":
            return {"type": "string", "pattern": _NO_NUL}
        case "boolean":
            return {"type": "boolean"}
        case "integer":
            least, largest = limits(datatype)
            return {"type": "integer", "minimum": least, "maximum": largest}
        case "floating":
            bound = _LARGEST[datatype]
            return {"type": "number", "minimum": -bound, "maximum": bound}
