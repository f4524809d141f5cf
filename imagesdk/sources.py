"""The bytes of an upload, as often as they are asked for: from memory, from a file, from a stream.

They are what `imagesdk.protocol.multipart.Source` describes. A file is read in pieces and is never held whole:
in a thread, or at once where the system has it in memory and says so.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncGenerator, Callable
from typing import IO, TypeVar

import attrs

from imagesdk.errors import InvalidImageError

__all__ = ("PIECE_BYTES", "FileSource", "MemorySource", "StreamSource", "unusable")

PIECE_BYTES = 128 * 1024
"""An upload holds at most two pieces: one from its source, and what the socket did not take of it."""
_UNCHANGED = "it must not change while a call uses it"
_T = TypeVar("_T")


def unusable(name: str, what: str, hint: str) -> InvalidImageError:
    """Return the error for the input *name*: what is wrong, and what to do."""
    message = f"{name}: {what}; {hint}" if hint else f"{name}: {what}"
    return InvalidImageError(
        message, field=name, value=what, limit="an image file", problems=(message,)
    )


@attrs.frozen(kw_only=True)
class MemorySource:
    """Bytes that are in memory; sent in slices, without a copy."""

    data: memoryview = attrs.field(repr=False)
    label: str = "the image"
    hint: str = ""
    replayable: bool = True

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""
        return self.data.nbytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes by offset."""
        return bytes(self.data[offset : offset + size])

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes in slices."""
        for start in range(0, self.data.nbytes, PIECE_BYTES):
            yield self.data[start : start + PIECE_BYTES]


class _Reader:
    """A file that is opened at the first `read_at`, and read by offset from *start* on.

    All but `read_cached` may wait for the disk, and belongs into a thread. Opening, reading and closing
    exclude each other: `close` closes whatever was opened, even by a thread whose task was cancelled
    meanwhile, and nothing is opened after it.
    """

    def __init__(self, open_: Callable[[], io.FileIO], *, start: int = 0) -> None:
        self._open = open_
        self._start = start
        self._file: io.FileIO | None = None
        self._closed = False
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from *offset* on."""
        with self._lock:
            if self._closed:
                raise ValueError("read of a closed reader")
            if self._file is None:
                self._file = self._open()
            descriptor, position = self._file.fileno(), self._start + offset
            if hasattr(os, "pread"):
                return os.pread(descriptor, size, position)
            os.lseek(descriptor, position, os.SEEK_SET)  # Windows; the descriptor is our own
            return os.read(descriptor, size)

    def read_cached(self, offset: int, size: int) -> memoryview | None:
        """Return what of that the system has in memory; None if a thread must read it. It never waits.

        A thread costs more than to copy a piece. RWF_NOWAIT of Linux:
        https://man7.org/linux/man-pages/man2/readv.2.html (read 2026-11-26)
        """
        if not hasattr(os, "RWF_NOWAIT") or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._file is None or self._closed:
                return None
            buffer = bytearray(size)
            position = self._start + offset
            count = os.preadv(self._file.fileno(), (buffer,), position, os.RWF_NOWAIT)
        except OSError:  # it is not in memory, or the file system does not tell
            return None
        finally:
            self._lock.release()
        return memoryview(buffer)[:count] if count else None

    def close(self) -> None:
        """Close the file if it was opened."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()


@attrs.frozen(kw_only=True)
class FileSource:
    """A file on disk, or a file object; read in pieces, which never keep the event loop waiting.

    Attributes:
        name: Name of the input, for messages.
        label: What it is, for messages.
        hint: What to do if it is empty.
        size_bytes: Number of bytes.
        start: Where the first of them is.
        open: Opens it for one attempt, with a file descriptor of its own; blocks.
    """

    name: str
    label: str
    hint: str = ""
    size_bytes: int
    start: int = 0
    open: Callable[[], io.FileIO] = attrs.field(repr=False)
    replayable: bool = True

    def reader(self) -> _Reader:
        """Return a reader, which opens the file at its first read; the caller closes it."""
        return _Reader(self._open, start=self.start)

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes in pieces; a file that became shorter ends the call."""
        reader = self.reader()
        sent = 0
        try:
            while sent < self.size_bytes:
                size = min(PIECE_BYTES, self.size_bytes - sent)
                piece = reader.read_cached(sent, size)
                if piece is None:
                    try:
                        piece = memoryview(await _in_thread(reader.read_at, sent, size))
                    except OSError as error:
                        raise self._changed(f"can no longer be read: {error}") from None
                if not piece:
                    left = f"{sent:,} of {self.size_bytes:,} bytes are left"
                    raise self._changed(f"became shorter: {left}")
                sent += len(piece)
                yield piece  # a part of it is no copy
                del piece  # while the next one is read
        finally:
            await asyncio.shield(_in_thread(reader.close))

    def _open(self) -> io.FileIO:
        try:
            return self.open()
        except OSError as error:
            raise self._changed(f"can no longer be opened: {error.strerror}") from None
        except ValueError as error:  # the caller closed it
            raise self._changed(f"can no longer be read: {error}") from None

    def _changed(self, what: str) -> InvalidImageError:
        return unusable(self.name, f"{self.label} {what}", _UNCHANGED)


def _in_thread(function: Callable[..., _T], *args: object) -> asyncio.Future[_T]:
    """Run *function*; unlike to_thread() with no task that the end of the loop could cancel first."""
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


@attrs.define(kw_only=True)
class StreamSource:
    """A long stream that cannot go back: read in pieces, in a thread, while it is sent, once.

    Attributes:
        name: Name of the input, for messages.
        label: What it is, for messages.
        hint: Not used: it is not empty.
        size_bytes: Number of bytes, as ``len()`` told it; what follows them is not read.
        file: What is read; it is not closed.
        head: Its first bytes, read already; empty once they are sent.
    """

    name: str
    label: str
    hint: str = ""
    size_bytes: int
    file: IO[bytes] = attrs.field(repr=False)
    head: bytes = attrs.field(repr=False)
    replayable: bool = False
    _taken: bool = attrs.field(default=False, init=False)

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes in pieces, the first time; a stream that ends early ends the call."""
        if self._taken:
            hint = "pass bytes or a path, which can be sent any number of times"
            raise unusable(self.name, f"{self.label} can be read once, and was", hint)
        self._taken = True
        piece, sent = self.head, 0
        self.head = b""  # or it stays in memory to the end
        while True:
            sent += len(piece)
            yield memoryview(piece)
            if sent == self.size_bytes:
                return
            del piece
            size = min(PIECE_BYTES, self.size_bytes - sent)
            try:
                piece = await _in_thread(self.file.read, size)
            except (OSError, ValueError) as error:  # ValueError: the caller closed it
                what = f"can no longer be read: {error}"
                raise unusable(self.name, f"{self.label} {what}", _UNCHANGED) from None
            if not piece:
                what = f"ended early: {sent:,} of {self.size_bytes:,} bytes came"
                raise unusable(self.name, f"{self.label} {what}", "its len() must be exact")
