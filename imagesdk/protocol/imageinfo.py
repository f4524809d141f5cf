"""Read the header of a PNG, JPEG, WebP or GIF file, without Pillow and without decoding a pixel.

The type comes from the bytes: file names and servers' words are often wrong. Reading is by offset
(`ReadAt`), so that a file of 50 MB costs a few hundred bytes of memory.

PNG: https://www.w3.org/TR/png-3/#5DataRep · JPEG: ITU-T T.81 B.1 ·
WebP: https://developers.google.com/speed/webp/docs/riff_container · GIF: GIF89a section 18.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TypeAlias

from imagesdk.models.requests import ImageInfo

__all__ = ("HEAD_BYTES", "MIME_TYPES", "SUFFIXES", "ReadAt", "dimensions", "probe", "sniff")

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""(offset, size) -> at most size bytes."""

HEAD_BYTES = 512
"""Bytes of a file that `sniff` needs."""

MIME_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "gif": ".gif", "svg": ".svg"}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_PIECE_BYTES = 64 * 1024
_JPEG_END = b"\xff\xd9"
# Start of frame markers; C4, C8 and CC in that range are not frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))


def sniff(head: bytes) -> str | None:
    """Return the format that the first bytes of a file tell.

    Args:
        head: The first `HEAD_BYTES` bytes, or fewer if the file is shorter.

    Returns:
        ``"png"``, ``"jpeg"``, ``"webp"``, ``"gif"``, ``"svg"``, or None for anything else.
    """
    if head.startswith(_PNG_SIGNATURE):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "svg"
    return None


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Return width and height of an image in memory, None if its header does not tell them."""
    try:
        info = probe(lambda offset, size: data[offset : offset + size], len(data), whole=False)
    except ValueError:
        return None
    return info.width, info.height


def probe(read_at: ReadAt, size_bytes: int, *, whole: bool = True) -> ImageInfo:
    """Read format, dimensions and transparency from an image file.

    Args:
        read_at: Reads the file by offset.
        size_bytes: Size of the file.
        whole: Also check that the file does not end too early.

    Raises:
        ValueError: The file is empty, is no PNG, JPEG, WebP or GIF, or is truncated or damaged; the
            message says which, as the end of a sentence that begins with the file's name.
    """
    if size_bytes == 0:
        raise ValueError("is empty (0 bytes)")
    head = read_at(0, HEAD_BYTES)
    kind = sniff(head)
    readers = {"png": _png, "jpeg": _jpeg, "webp": _webp, "gif": _gif}
    if kind not in readers:
        raise ValueError(f"is no PNG, JPEG, WebP or GIF image: it begins with {bytes(head[:12])!r}")
    try:
        width, height, has_alpha = readers[kind](read_at, size_bytes, whole)
    except (struct.error, IndexError):
        raise ValueError(f"is a {kind.upper()} file that ends inside its header") from None
    if width < 1 or height < 1:
        raise ValueError(f"is a {kind.upper()} file of {width}x{height} pixels")
    return ImageInfo(
        format=kind, width=width, height=height, has_alpha=has_alpha, size_bytes=size_bytes
    )


def _png(read_at: ReadAt, size_bytes: int, whole: bool) -> tuple[int, int, bool]:  # noqa: FBT001
    length, kind, width, height, _depth, colour = struct.unpack(">I4sIIBB", read_at(8, 18))
    if kind != b"IHDR" or length != 13:
        raise ValueError("is a damaged PNG file: its first chunk is not IHDR")
    has_alpha = colour in (4, 6)
    last = kind
    for kind, end in _png_chunks(read_at, size_bytes):
        last = kind
        if kind == b"IDAT" and not whole:  # tRNS comes before IDAT
            return width, height, has_alpha
        if end > size_bytes:
            raise ValueError(
                f"is a truncated PNG file: it has {size_bytes:,} bytes, and chunk "
                f"{kind.decode('latin-1')} would end at {end:,}"
            )
        has_alpha = has_alpha or kind == b"tRNS"
        if kind == b"IEND":
            return width, height, has_alpha
    if whole:
        raise ValueError(
            f"is a truncated PNG file: it ends after chunk {last.decode('latin-1')}, without IEND"
        )
    return width, height, has_alpha


def _png_chunks(read_at: ReadAt, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield (type, offset of the end) of each chunk whose head is there."""
    offset = len(_PNG_SIGNATURE)
    while offset + 8 <= size_bytes:
        length, kind = struct.unpack(">I4s", read_at(offset, 8))
        offset += 12 + length
        yield kind, offset


def _jpeg(read_at: ReadAt, size_bytes: int, whole: bool) -> tuple[int, int, bool]:  # noqa: FBT001
    size: tuple[int, int] | None = None
    offset = 2
    while offset < size_bytes and (whole or size is None):
        marker = read_at(offset, 4)
        if marker[0] != 0xFF:
            raise ValueError("is a damaged JPEG file: no marker where one must be")
        code = marker[1]
        if code == 0xFF:  # fill byte
            offset += 1
        elif code in _JPEG_STANDALONE:
            offset += 2
        elif code in (0xD9, 0xDA):
            break
        else:
            if code in _JPEG_FRAMES:
                height, width = struct.unpack(">HH", read_at(offset + 5, 4))
                size = width, height
            (length,) = struct.unpack(">H", marker[2:])
            offset += 2 + length
    if size is None:
        raise ValueError("is a damaged JPEG file: it has no frame header")
    if whole and not _jpeg_ends(read_at, offset, size_bytes):
        raise ValueError("is a truncated JPEG file: its end marker is missing")
    return *size, False


def _jpeg_ends(read_at: ReadAt, start: int, end: int) -> bool:
    """Return whether there is an end marker behind the headers, which may hold a thumbnail's own.

    It is searched for from the end: cameras append films and other things to their photos.
    """
    while end - start >= len(_JPEG_END):
        piece = max(start, end - _JPEG_PIECE_BYTES)
        if _JPEG_END in read_at(piece, end - piece):
            return True
        end = piece + 1
    return False


def _webp(read_at: ReadAt, size_bytes: int, whole: bool) -> tuple[int, int, bool]:  # noqa: FBT001
    head = read_at(0, 30)
    (declared,) = struct.unpack("<I", head[4:8])
    if whole and declared + 8 > size_bytes:
        raise ValueError(
            f"is a truncated WebP file: it has {size_bytes:,} bytes of {declared + 8:,}"
        )
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = _uint24(head[24:27]) + 1, _uint24(head[27:30]) + 1
        return width, height, bool(head[20] & 0x10)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF, False
    raise ValueError(f"is a damaged WebP file: its first chunk is {bytes(kind)!r}")


def _uint24(data: bytes) -> int:
    (value,) = struct.unpack("<I", data + b"\0")
    return int(value)


def _gif(read_at: ReadAt, _size_bytes: int, _whole: bool) -> tuple[int, int, bool]:  # noqa: FBT001
    width, height = struct.unpack("<HH", read_at(6, 4))
    return width, height, True  # transparency is a property of each frame
