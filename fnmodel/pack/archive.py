"""Reads the tar of a layer entry by entry, checked, and with bounded memory."""

import tarfile
from collections.abc import Iterator
from typing import Any

from fnmodel.errors import PackError
from fnmodel.pack.compression import Inflated
from fnmodel.pack.image import Layer
from fnmodel.pack.layout import Store, damaged

UNCOMPRESSED = 10 * 1024**3
"""Bytes that all layers of a Lambda image may unpack to.
https://docs.aws.amazon.com/lambda/latest/dg/images-create.html"""

# A header's long name or pax record; PATH_MAX is 4,096.
_LARGEST_HEADER = 1 << 20


def entries(layer: Layer, store: Store) -> Iterator[tuple[tarfile.TarInfo, Inflated]]:
    """Yield each entry of a layer with the stream in which a file's content comes next.

    After the last, the layer has been checked against its digest and diff_id.

    Raises:
        PackError: the layer's blob is missing or damaged, or is not a tar archive.

    """
    stream = Inflated(store.chunks(layer.descriptor), limit=2 * UNCOMPRESSED)
    # tarfile parses the headers; it only reads, tells, and seeks forward.
    source: Any = _Headers(stream)
    where = f"layer {layer.descriptor.digest}"
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            for member in archive:
                yield member, stream
                # It would keep every header of the layer.
                archive.members = []  # type: ignore[attr-defined]
        stream.drain()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise PackError(f"{where} is not a tar archive: {error}") from error
    if stream.diff_id != layer.diff_id:
        raise damaged(layer.descriptor)


class _Headers:
    """The stream as tarfile may use it: a long name is read whole, so its length is bounded."""

    def __init__(self, stream: Inflated) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            message = f"a header of {size:,} bytes"
            raise tarfile.ReadError(message)
        return self._stream.read(size)
