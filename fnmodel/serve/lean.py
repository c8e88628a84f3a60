"""The way of a few rows to the model and back without numpy, whose import a cold start would pay.

Its answers are those of `Predictor` to the byte.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from fnmodel.binary import of_texts
from fnmodel.buffers import CODES, Buffer, nested
from fnmodel.encoding import Inference
from fnmodel.engine import refused
from fnmodel.model import Datatype, Signature
from fnmodel.ort.session import Session
from fnmodel.serve.singles import singles
from fnmodel.values import at_once

# numpy writes more numbers than this in less time than its import takes.
_FEW_SINGLES = 4096


class Lean(Inference[Buffer]):
    """Encodes, runs and decodes in buffers; for models of tensors that `fits`."""

    def __init__(self, signature: Signature, session: Session) -> None:
        super().__init__(signature, Buffers())
        self._session = session
        self._outputs = [tensor.name for tensor in signature.outputs]

    @staticmethod
    def fits(signature: Signature, session: Any) -> bool:
        """Whether there are arrays for all tensors, and a session that takes them."""
        tensors = (*signature.inputs, *signature.outputs)
        return isinstance(session, Session) and all(t.datatype != "FP16" for t in tensors)

    def run(
        self, tensors: Mapping[str, Buffer], outputs: Sequence[str] | None = None
    ) -> dict[str, Buffer]:
        """As `Inference.run`."""
        names = self._outputs if outputs is None else outputs
        if any(tensor.shape[:1] == (0,) for tensor in tensors.values()):
            return self.no_rows(names)
        try:
            made = self._session.call(names, tensors)
        except Exception as error:
            raise refused(error) from error
        return dict(zip(names, made, strict=True))


class Buffers:
    """`Kind` of the tensors that are buffers."""

    few = 0

    def make(self, datatype: Datatype, values: Sequence[Any]) -> Buffer:
        """As `Kind.make`."""
        return Buffer.of(datatype, values)

    def at_once(
        self, datatype: Datatype, values: Sequence[Any], *, nullable: bool
    ) -> Buffer | None:
        """As `Kind.at_once`."""
        fitted = at_once(datatype, values, nullable=nullable)
        return None if fitted is None else Buffer.of(datatype, fitted)

    def plain(self, tensor: Buffer) -> list[Any]:
        """As `Kind.plain`."""
        flat = tensor.flat()
        if tensor.datatype.startswith("FP") and not self.finite(tensor):
            flat = [value if math.isfinite(value) else None for value in flat]
        plain: list[Any] = nested(flat, tensor.shape)
        return plain

    def datatype(self, tensor: Buffer) -> Datatype:
        """As `Kind.datatype`."""
        return tensor.datatype

    def flat(self, tensor: Buffer) -> Any:
        """As `Kind.flat`; FP32 as the shortest decimals that are read as the same FP32."""
        if tensor.datatype != "FP32":
            return tensor.flat()
        few = len(tensor.data) <= _FEW_SINGLES
        written = singles(tensor.data.tolist()) if few else None
        if written is not None:
            return written
        from fnmodel.arrays import to_array

        return to_array(tensor).reshape(-1)

    def read(self, datatype: Datatype, raw: bytes) -> Buffer:
        """As `Kind.read`."""
        data = array(CODES[datatype], raw)
        return Buffer(datatype, (len(data),), data)

    def written(self, tensor: Buffer) -> bytes:
        """As `Kind.written`."""
        written: bytes = (
            of_texts(tensor.data) if tensor.datatype == "BYTES" else tensor.data.tobytes()
        )
        return written

    def finite(self, tensor: Buffer) -> bool:
        """As `Kind.finite`."""
        return math.isfinite(sum(tensor.data))
