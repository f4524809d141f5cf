"""Lay out a JSON body with image files in it as data URLs, so that its exact length is known before it is sent.

As with a form (`imagesdk.protocol.multipart`), the layout holds no data of the files: whoever sends it
asks each source for its bytes, and base64 is made of them on the way.

Data URLs: https://www.rfc-editor.org/rfc/rfc2397 · base64: RFC 4648 section 4
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import attrs
import msgspec
import pybase64

from imagesdk.protocol.multipart import Source

__all__ = ("DataURL", "JSONBody", "encode_json")


class DataURL:
    """A file that stands in JSON as a text: ``data:image/png;base64,…``. Itself a source, of that text.

    No attrs class: msgspec would write its fields.

    Args:
        content_type: MIME type.
        source: The bytes of the file.
    """

    def __init__(self, content_type: str, source: Source) -> None:
        self._head = f"data:{content_type};base64,".encode()
        self._source = source

    @property
    def size_bytes(self) -> int:
        """Exact length of the text."""
        return len(self._head) + (self._source.size_bytes + 2) // 3 * 4

    @property
    def replayable(self) -> bool:
        """True if the file can be read more than once."""
        return self._source.replayable

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the text in pieces, while the file is read."""
        yield self._head
        rest = b""  # less than three bytes
        async with aclosing(self._source.chunks()) as chunks:
            async for chunk in chunks:
                piece = rest + chunk if rest else memoryview(chunk)
                whole = len(piece) - len(piece) % 3
                rest = bytes(piece[whole:])
                if whole:
                    yield pybase64.b64encode(piece[:whole])
        if rest:
            yield pybase64.b64encode(rest)


@attrs.frozen(kw_only=True)
class JSONBody:
    """A JSON document that is ready to be sent.

    Attributes:
        segments: Byte strings and sources, in order.
        content_type: Value of the Content-Type header.
    """

    segments: tuple[bytes | Source, ...]
    content_type: str = "application/json"

    @property
    def size_bytes(self) -> int:
        """Exact length of the body."""
        return sum(len(s) if isinstance(s, bytes) else s.size_bytes for s in self.segments)


def encode_json(value: Mapping[str, Any], *, boundary: str) -> JSONBody:
    """Lay out *value*, in which `DataURL` objects stand where texts may.

    Args:
        value: Mappings, lists and scalars.
        boundary: Random text of letters and digits that occurs nowhere in *value*.

    Raises:
        TypeError: A value has no form in JSON.
    """
    urls: list[DataURL] = []

    def replace(found: object) -> object:
        if isinstance(found, DataURL):
            urls.append(found)
            return boundary
        if isinstance(found, Mapping):
            return dict(found)
        raise TypeError(f"{found!r} has no form in JSON")

    first, *others = msgspec.json.encode(value, enc_hook=replace).split(boundary.encode())
    segments: list[bytes | Source] = [first]
    for url, text in zip(urls, others, strict=True):
        segments += (url, text)
    return JSONBody(segments=tuple(segments))
