"""Hold the bytes of one image while they arrive."""

from __future__ import annotations

import io
from typing import Protocol

__all__ = ("MemorySink", "PartSink")

_JOINED_BYTES = 4 * 1024 * 1024
"""What is joined at once: 1 to 2 ms of work."""
_MOST_PIECES = 1000
"""A piece costs some 40 bytes more than what is in it."""


class PartSink(Protocol):
    """Takes the bytes of one image as they are decoded."""

    def write(self, piece: bytes) -> None:
        """Keep or queue *piece*; never blocks."""
        ...

    def finish(self) -> None:
        """The image is complete: what was decoded was valid to its end. Nothing is written after."""
        ...

    def discard(self) -> None:
        """Drop what there is: the image is broken or not used.

        May come at any time, also after `finish`, and more than once; never raises.
        """
        ...


class MemorySink:
    """Keeps an image in memory, once.

    A small image is joined at its end: side by side, buffers that grow are copied again and again. A
    large one is moved into a buffer meanwhile, which the system extends without a copy: to join that
    would keep the event loop, and need its memory twice.
    """

    __slots__ = ("_buffer", "_pieces", "_pieces_bytes")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._buffer = io.BytesIO()

    @property
    def content(self) -> bytes:
        """What has been written; no copy of it once the image is complete."""
        self.finish()
        return self._buffer.getvalue() if self._buffer.tell() else self._pieces[0]

    def write(self, piece: bytes) -> None:
        """Append *piece*."""
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if self._pieces_bytes > _JOINED_BYTES or len(self._pieces) > _MOST_PIECES:
            self._move()

    def finish(self) -> None:
        """Put the pieces together."""
        if self._buffer.tell():
            self._move()
        elif len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]

    def discard(self) -> None:
        """Give the memory back."""
        self._buffer = io.BytesIO()
        self._pieces = []
        self._pieces_bytes = 0

    def _move(self) -> None:
        self._buffer.writelines(self._pieces)
        self._pieces = []
        self._pieces_bytes = 0
