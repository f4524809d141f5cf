"""Hold the bytes of one image while they arrive."""

from __future__ import annotations

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

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    @property
    def content(self) -> bytes:
        """What has been written; joined when it is asked for first, which grows no buffer meanwhile."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def write(self, piece: bytes) -> None:
        """Append *piece*."""
        self._pieces.append(piece)

    def finish(self) -> None:
        """Do nothing: the bytes are there."""

    def discard(self) -> None:
        """Give the memory back."""
        self._pieces.clear()
