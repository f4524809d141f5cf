"""Read answers that are no JSON: one image as it is, or several in a zip archive.

vLLM-omni sends these for ``response_format="file"``. Zip: APPNOTE.TXT 4.3; the names in an archive
are never used.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from imagesdk.protocol.imageinfo import HEAD_BYTES, sniff
from imagesdk.protocol.parts import PartSink

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ("MAX_UNPACKED_BYTES", "ImageBody", "ZipBody", "body_kind")

MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
_MAX_MEMBERS = 1000
_PIECE_BYTES = 256 * 1024
_ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_ZIP_BEGIN, _ZIP_MEMBER = b"PK\x03\x04", b"PK\x01\x02"


def body_kind(content_type: str, begin: bytes | bytearray) -> Literal["json", "image", "zip"]:
    """Return what the body of an answer is.

    Args:
        content_type: The header; it is believed unless the bytes are JSON.
        begin: The first bytes of the body, `HEAD_BYTES` or more if there are as many. They decide
            if the server names no type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return "json"
    head = bytes(begin[:HEAD_BYTES])
    if head.lstrip()[:1] in (b"{", b"["):
        return "json"
    untyped = kind in _UNTYPED
    if kind in _ZIP_TYPES or (untyped and head.startswith(_ZIP_BEGIN)):
        return "zip"
    if kind.startswith("image/") or (untyped and sniff(head) not in (None, "svg")):
        return "image"
    return "json"


class ImageBody:
    """A body that is one image."""

    def __init__(self, new_sink: Callable[[], PartSink]) -> None:
        self._new_sink = new_sink
        self._sink: PartSink | None = None

    def feed(self, piece: bytes | bytearray) -> None:
        """Take the next bytes."""
        if piece:
            if self._sink is None:
                self._sink = self._new_sink()
            self._sink.write(bytes(piece))

    def end(self) -> PartSink:
        """Return the image.

        Raises:
            ValueError: There is not a byte; the message is the end of a sentence.
        """
        if self._sink is None:
            raise ValueError("is empty")
        self._sink.finish()
        return self._sink

    def discard(self) -> None:
        """Drop the image."""
        if self._sink is not None:
            self._sink.discard()


class ZipBody:
    """A body that is a zip archive of images.

    It is kept in memory up to its end, where its list of contents stands. `end` unpacks it, which
    takes time: call it in a thread if the archive is large.
    """

    def __init__(
        self,
        new_sink: Callable[[], PartSink],
        *,
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    ) -> None:
        self._new_sink = new_sink
        self._left_bytes = self._max_unpacked_bytes = max_unpacked_bytes
        self._archive = io.BytesIO()
        self._sinks: list[PartSink] = []

    def feed(self, piece: bytes | bytearray) -> None:
        """Take the next bytes."""
        self._archive.write(piece)

    def end(self) -> list[PartSink | str]:
        """Return the images in the archive's order; one that is broken as what is wrong with it.

        Raises:
            ValueError: It is no archive; the message is the end of a sentence.
        """
        import zipfile

        # Each member that is listed costs memory, before anything of it is read.
        if self._archive.getvalue().count(_ZIP_MEMBER) > _MAX_MEMBERS:
            raise ValueError(f"has more than {_MAX_MEMBERS:,} members")
        try:
            archive = zipfile.ZipFile(self._archive)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ValueError(f"is no zip archive: {error}") from None
        found = []
        with archive:
            for member in archive.infolist():
                try:
                    image = self._unpack(archive, member)
                except ValueError as error:
                    image = str(error)
                if image is not None:
                    found.append(image)
        return found

    def discard(self) -> None:
        """Drop the archive and all images."""
        self._archive = io.BytesIO()
        for sink in self._sinks:
            sink.discard()

    def _unpack(self, archive: ZipFile, member: ZipInfo) -> PartSink | str | None:
        """Return the image in *member*, None if it is something else.

        Raises:
            ValueError: It is broken.
        """
        sink: PartSink | None = None
        try:
            for piece in self._pieces(archive, member):
                if sink is None:
                    if sniff(piece[:HEAD_BYTES]) is None:
                        return None
                    self._sinks.append(sink := self._new_sink())
                sink.write(piece)
        except ValueError:
            if sink is not None:
                sink.discard()
            raise
        if sink is not None:
            sink.finish()
        return sink

    def _pieces(self, archive: ZipFile, member: ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of *member*.

        Raises:
            ValueError: They cannot be read, or are too many.
        """
        import zipfile

        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # The others are unpacked without a bound.
            raise ValueError(f"is compressed by method {member.compress_type}, which is not read")
        try:
            with archive.open(member) as file:
                while piece := file.read(_PIECE_BYTES):
                    self._left_bytes -= len(piece)
                    if self._left_bytes < 0:
                        raise ValueError(
                            f"does not fit: the archive unpacks to more than "
                            f"{self._max_unpacked_bytes:,} bytes"
                        )
                    yield piece
        except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error, struct.error) as error:
            raise ValueError(f"cannot be unpacked: {error}") from None
