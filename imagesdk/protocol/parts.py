"""Hold the bytes of one image while they arrive."""

from __future__ import annotations

import io
from typing import Protocol

__all__ = ("MemorySink", "PartSink")


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
    """Keeps an image in memory, once."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = io.BytesIO()

    @property
    def content(self) -> bytes:
        """What has been written; no copy of it once the image is complete."""
        return self._buffer.getvalue()

    def write(self, piece: bytes) -> None:
        """Append *piece*."""
        self._buffer.write(piece)

    def finish(self) -> None:
        """Do nothing: the bytes are there."""

    def discard(self) -> None:
        """Give the memory back."""
        self._buffer = io.BytesIO()
