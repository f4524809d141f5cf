"""Lay out a ``multipart/form-data`` body, so that its exact length is known before it is sent.

The layout is a list of byte strings and sources. It holds no data of the files: whoever sends it
asks each source for its bytes, and asks anew for every attempt.

Format: https://www.rfc-editor.org/rfc/rfc7578 · names and file names are escaped as browsers do it:
https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

import attrs

__all__ = ("FilePart", "MultipartBody", "Source", "encode_multipart")

_MAX_FILENAME_BYTES = 255


class Source(Protocol):
    """Where the bytes of an upload come from, as often as they are asked for."""

    @property
    def size_bytes(self) -> int:
        """Exact number of bytes that `chunks` yields."""
        ...

    @property
    def replayable(self) -> bool:
        """True if `chunks` may be called more than once; if not, a call makes one attempt."""
        ...

    def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes from the beginning, in pieces, without blocking the event loop."""
        ...


@attrs.frozen(kw_only=True)
class FilePart:
    """A file of a form.

    Attributes:
        name: Field name, for example ``"image"`` or ``"image[]"``.
        filename: Shown to the server; only its last path component is sent.
        content_type: MIME type.
        source: The bytes.
    """

    name: str
    filename: str
    content_type: str
    source: Source


@attrs.frozen(kw_only=True)
class MultipartBody:
    """A form that is ready to be sent.

    Attributes:
        content_type: Value of the Content-Type header, with the boundary.
        segments: Byte strings and sources, in order.
        size_bytes: Exact length of the body.
    """

    content_type: str
    segments: tuple[bytes | Source, ...]
    size_bytes: int


def encode_multipart(
    fields: Iterable[tuple[str, str]], files: Sequence[FilePart], *, boundary: str
) -> MultipartBody:
    """Lay out a form.

    Args:
        fields: (name, value) of the plain fields, sent before the files.
        files: File parts, in order.
        boundary: Random text of 1 to 70 letters and digits that occurs in none of the parts.
    """
    segments: list[bytes | Source] = []
    pending = bytearray()
    for name, value in fields:
        pending += _head(boundary, name) + b"\r\n" + value.encode() + b"\r\n"
    for part in files:
        pending += _head(boundary, part.name, part.filename)
        pending += f"Content-Type: {_one_line(part.content_type)}\r\n\r\n".encode()
        segments += (bytes(pending), part.source)
        pending = bytearray(b"\r\n")
    pending += f"--{boundary}--\r\n".encode()
    segments.append(bytes(pending))
    return MultipartBody(
        content_type=f"multipart/form-data; boundary={boundary}",
        segments=tuple(segments),
        size_bytes=sum(len(s) if isinstance(s, bytes) else s.size_bytes for s in segments),
    )


def _head(boundary: str, name: str, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{_escape(name)}"'
    if filename is not None:
        disposition += f'; filename="{_basename(_escape(filename))}"'
    return f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode()


def _escape(text: str) -> str:
    """Escape what would end a quoted name, as browsers do."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").replace("\0", "")


def _basename(filename: str) -> str:
    """Return the last component of a path of any system, short enough for any server."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", ".."):
        return "image"
    encoded = name.encode("utf-8", "replace")
    name = encoded.decode()  # a name from the file system may hold lone surrogates
    if len(encoded) <= _MAX_FILENAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    keep = _MAX_FILENAME_BYTES - len(suffix.encode()) - 1
    if not dot or keep < 1:
        return encoded[:_MAX_FILENAME_BYTES].decode("utf-8", "ignore")
    return stem.encode()[:keep].decode("utf-8", "ignore") + dot + suffix


def _one_line(text: str) -> str:
    return "".join(text.split("\r")).replace("\n", "")
