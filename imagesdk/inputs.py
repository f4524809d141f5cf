"""Turn whatever a user calls an image into bytes that can be sent, again and again if need be.

Each input becomes an `InputFile`: a name, a MIME type that comes from the bytes, and a source that
yields the same bytes for every attempt (`imagesdk.sources`). A caller's file object is never closed,
and its position never moves: it is read by offset through a duplicate of its file descriptor, so that
any number of calls can use it side by side. A file object without one (gzip, zip, spooled, a pipe) is
read into memory once; only a stream that is too long for that, cannot go back and tells its length is
sent while it is read, by one attempt.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator, Sequence, Sized
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeGuard, cast
from weakref import WeakValueDictionary

import attrs
import pybase64

from imagesdk.errors import InvalidImageError
from imagesdk.models.requests import FILE_ID, ImageInfo, ImageInput
from imagesdk.protocol.encode import InputFile
from imagesdk.protocol.imageinfo import MIME_TYPES, SUFFIXES, probe, sniff
from imagesdk.sources import PIECE_BYTES, FileSource, MemorySource, StreamSource, unusable

__all__ = ("ResolvedInput", "as_list", "by_reference", "resolve", "resolve_path")

_MAX_STREAM_BYTES = 64 * 1024 * 1024
_PROBED_AT_ONCE_BYTES = 32 * 1024
"""What is larger is looked at in a thread: a file can have a chunk or a marker for every few bytes."""
_LONG_PATH = 1024
"""Characters. What is longer and no file is meant to be the image itself, and not for a message."""
_URL_BEGINNINGS = ("http://", "https://")
_NO_FILE = "a URL is no file"
_SAVE_IT = "save it to a file and pass the path"
# Not state: who reads a caller's file object at this moment, whatever session it is for.
_GUARD = threading.Lock()
_LOCKS: WeakValueDictionary[int, threading.Lock] = WeakValueDictionary()
_PNG_MODES = frozenset({"L", "LA", "RGB", "RGBA", "I;16"})


@attrs.frozen(kw_only=True)
class ResolvedInput:
    """An image input that can be sent.

    Attributes:
        file: What is sent.
        info: What its header says; None if it is no image that we know.
        problem: Why info is None.
    """

    file: InputFile
    info: ImageInfo | None
    problem: InvalidImageError | None = None


def as_list(image: ImageInput | Sequence[ImageInput]) -> list[ImageInput]:
    """Return the images of an ``image`` argument: one, or a sequence of several.

    A tuple is (filename, content) or (filename, content, MIME type) if it looks like that, else
    several images.
    """
    if isinstance(image, list) or (isinstance(image, tuple) and not _is_named(image)):
        return list(cast("Sequence[ImageInput]", image))
    return [cast("ImageInput", image)]


def _is_named(value: object) -> bool:
    """Tell (filename, content) and (filename, content, MIME type) from a tuple of several images."""
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        return False
    name, content, kind = (*value, None)[:3]
    if not (name is None or isinstance(name, str)) or isinstance(content, str):
        return False
    if len(value) == 2:
        in_memory = isinstance(content, bytes | bytearray | memoryview)
        return in_memory or callable(getattr(content, "read", None))
    return kind is None or (isinstance(kind, str) and kind.count("/") == 1 and "." not in kind)


async def resolve(name: str, value: ImageInput) -> ResolvedInput:
    """Make one image input ready to be sent.

    Args:
        name: ``"image"``, ``"image[1]"``, ``"mask"`` or ``"markup"``, for messages and file names.
        value: See `imagesdk.ImageInput`.

    Raises:
        InvalidImageError: It cannot be sent at all: nothing there, not readable, empty.
    """
    filename: str | None = None
    content_type: str | None = None
    if _is_named(value):
        named = (*cast("tuple[Any, ...]", value), None)
        filename, value, content_type = named[0], cast("ImageInput", named[1]), named[2]
    source: _Source
    own_name: str | None = None
    if isinstance(value, io.BytesIO) and value.closed:
        raise unusable(name, "the BytesIO is closed", "pass it before it is closed")
    if isinstance(value, bytes | bytearray | memoryview | io.BytesIO):
        source = _from_memory(name, value)
    else:  # everything else may block
        source, own_name = await asyncio.to_thread(_from_blocking, name, value)
    in_memory = isinstance(source, MemorySource) and source.size_bytes <= _PROBED_AT_ONCE_BYTES
    if source.size_bytes and not in_memory:
        info, problem = await asyncio.to_thread(_probe, name, source)
    else:
        info, problem = _probe(name, source)
    return _resolved(name, source, filename or own_name, content_type, info, problem)


def by_reference(name: str, value: ImageInput) -> ResolvedInput | None:
    """Return an image that the server fetches by itself: a URL, or the id of an uploaded file.

    Returns:
        None if *value* is neither.
    """
    if not isinstance(value, str) or not value.startswith((*_URL_BEGINNINGS, FILE_ID)):
        return None
    nothing = MemorySource(data=memoryview(b""))
    field = name.partition("[")[0]
    file = InputFile(field=field, filename="", content_type="", source=nothing, reference=value)
    return ResolvedInput(file=file, info=None)


def resolve_path(name: str, path: str | os.PathLike[str]) -> ResolvedInput:
    """Make an image file, or a data URL, ready to be sent, as `resolve` does; blocks.

    Raises:
        InvalidImageError: It is not there, cannot be read, or is empty.
    """
    source: _Source
    if _is_data_url(path):
        source, own_name = _from_data_url(name, path), None
    else:
        source, own_name = _from_path(name, path)
    return _resolved(name, source, own_name, None, *_probe(name, source))


def _resolved(  # noqa: PLR0917
    name: str,
    source: _Source,
    filename: str | None,
    content_type: str | None,
    info: ImageInfo | None,
    problem: InvalidImageError | None,
) -> ResolvedInput:
    field = name.partition("[")[0]
    kind = info.format if info is not None else _told(source)
    file = InputFile(
        field=field,
        filename=_filename(filename or field, kind),
        content_type=MIME_TYPES[kind] if kind else content_type or "application/octet-stream",
        source=source,
    )
    return ResolvedInput(file=file, info=info, problem=problem)


def _probe(name: str, source: _Source) -> tuple[ImageInfo | None, InvalidImageError | None]:
    if source.size_bytes == 0:
        raise unusable(name, f"{source.label} is empty (0 bytes)", source.hint)
    if isinstance(source, StreamSource):
        what = f"{source.label} of {source.size_bytes:,} bytes can be read only once, not checked first"
        return None, unusable(name, what, f"{_SAVE_IT}, or send it with validate='off'")
    try:
        if isinstance(source, MemorySource):
            return probe(source.read_at, source.size_bytes), None
        return _probe_file(source), None
    except InvalidImageError:  # the file went away meanwhile
        raise
    except ValueError as error:
        hint = "pass a PNG, JPEG or WebP file"
        return None, unusable(name, f"{source.label} {error}", hint)


def _probe_file(source: FileSource) -> ImageInfo:
    with closing(source.reader()) as reader:
        return probe(reader.read_at, source.size_bytes)


def _filename(given: str, kind: str | None) -> str:
    """Return a name whose suffix agrees with the bytes: servers look at either."""
    if kind is None:
        return given
    stem, dot, suffix = given.rpartition(".")
    known = {"png", "jpg", "jpeg", "webp", "gif", "bin", "tmp"}
    if dot and stem and suffix.lower() in {"jpeg" if kind == "jpeg" else kind, SUFFIXES[kind][1:]}:
        return given
    return (stem if dot and stem and suffix.lower() in known else given) + SUFFIXES[kind]


# Memory ---------------------------------------------------------------------------------------


def _from_memory(name: str, value: bytes | bytearray | memoryview | io.BytesIO) -> MemorySource:
    if isinstance(value, io.BytesIO):
        # All of it, wherever its position is, as the guide does it with getvalue(), which shares
        # the buffer: https://platform.openai.com/docs/guides/images (2023)
        data, label = memoryview(value.getvalue()), "the BytesIO"
    elif isinstance(value, bytearray):  # may change while it is sent
        data, label = memoryview(bytes(value)), "the bytearray"
    elif isinstance(value, memoryview):
        data, label = value if value.c_contiguous else memoryview(value.tobytes()), "the memory"
    else:
        data, label = memoryview(value), "the bytes object"
    hint = f"pass the bytes of an image file as {name}"
    return MemorySource(data=data.cast("B"), label=label, hint=hint)


def _is_data_url(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith("data:")


def _from_data_url(name: str, url: str) -> MemorySource:
    head, comma, payload = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise unusable(name, "the data URL is not 'data:<type>;base64,<data>'", "")
    try:
        data = pybase64.b64decode(payload, validate=True)
    except ValueError as error:
        raise unusable(name, f"the data URL holds no base64: {error}", "") from None
    return MemorySource(data=memoryview(data), label="the data URL")


# Files ----------------------------------------------------------------------------------------


_Source: TypeAlias = MemorySource | FileSource | StreamSource


def _told(source: _Source) -> str | None:
    """Return the format that a stream's first bytes tell; of others more is known than that."""
    return sniff(source.head) if isinstance(source, StreamSource) else None


def _from_blocking(name: str, value: object) -> tuple[_Source, str | None]:
    """Open a path, a file object or a picture, or decode a data URL; runs in a thread."""
    if _is_data_url(value):
        return _from_data_url(name, value), None
    if isinstance(value, str | os.PathLike):
        return _from_path(name, value)
    if _is_picture(value):
        return _from_picture(name, value), None
    if callable(getattr(value, "read", None)):
        return _from_file(name, cast("IO[bytes]", value))
    raise unusable(
        name,
        f"{type(value).__name__} is no image input",
        "pass bytes, a path, a binary file object, a data URL, (filename, content, type) or a PIL image",
    )


def _from_path(name: str, value: str | os.PathLike[str]) -> tuple[FileSource, str]:
    text = os.fspath(value)
    if text.startswith((*_URL_BEGINNINGS, FILE_ID)):
        what = "a file_id is no file" if text.startswith(FILE_ID) else _NO_FILE
        hint = "download it first and pass the bytes; servers with JSON edits take it: see docs/servers.md"
        raise unusable(name, what, hint)
    path = Path(text)
    label = f"the file {text!r}"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        if len(text) > _LONG_PATH:
            what = f"a str is a path, and this one, {text[:20]!r}…, has {len(text):,} characters"
            hint = "an image in base64 is passed as base64.b64decode(text)"
            raise unusable(name, what, hint) from None
        if "://" in text:  # and is not shown: it may hold a password
            raise unusable(name, _NO_FILE, "download it first and pass the bytes") from None
        if isinstance(error, FileNotFoundError):
            hint = f"looked in {Path.cwd()}"
            raise unusable(name, f"{label} does not exist", hint) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise unusable(name, f"{label} cannot be read: {reason}", "") from None
    source = FileSource(
        name=name,
        label=label,
        size_bytes=size,
        open=lambda: path.open("rb", buffering=0),
    )
    return source, path.name


def _from_file(name: str, file: IO[bytes]) -> tuple[_Source, str | None]:
    label = "the file object"
    raw_name = getattr(file, "name", None)
    own_name = Path(raw_name).name if isinstance(raw_name, str) else None
    with _exclusive(file):
        if getattr(file, "closed", False):
            raise unusable(name, f"{label} is closed", "pass it before it is closed")
        try:
            nothing = cast("object", file.read(0))
        except OSError as error:
            raise unusable(
                name, f"{label} cannot be read: {error}", "open it with mode 'rb'"
            ) from None
        if isinstance(nothing, str):
            raise unusable(name, f"{label} is open in text mode", "open it with mode 'rb'")
        if inspect.iscoroutine(nothing):  # FastAPI's UploadFile, aiofiles
            nothing.close()
            raise unusable(
                name,
                f"{label} is read with await",
                "pass the bytes: await file.read(), or what is behind it: file.file of FastAPI's UploadFile",
            )
        if _is_real(file):
            return _from_real(name, label, file), own_name
        return _from_stream(name, label, file), own_name


@contextmanager
def _exclusive(file: object) -> Iterator[None]:
    """Keep other threads of ours away from a file object whose position is moved for a moment."""
    with _GUARD:
        lock = _LOCKS.setdefault(id(file), threading.Lock())
    with lock:
        yield


def _is_real(file: object) -> bool:
    """Tell whether the bytes of a file object are those of its file descriptor, by offset.

    Exact types: a subclass may decode or count what is read.
    """
    if isinstance(file, tempfile._TemporaryFileWrapper):  # noqa: SLF001 - it has no public name
        file = file.file
    if type(file) in (io.BufferedReader, io.BufferedRandom):
        file = cast("io.BufferedReader", file).raw
    if type(file) is not io.FileIO or not hasattr(os, "pread"):
        return False
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _from_real(name: str, label: str, file: IO[bytes]) -> FileSource:
    file.flush()  # what was written to it; does nothing to a file that is only read
    start = file.tell()
    size = os.fstat(file.fileno()).st_size - start

    def duplicate() -> io.FileIO:
        if file.closed:
            raise ValueError("it is closed")
        return io.FileIO(os.dup(file.fileno()))

    return FileSource(
        name=name,
        label=label,
        hint=_at_its_end(start),
        size_bytes=max(0, size),
        start=start,
        open=duplicate,
    )


def _at_its_end(start: int | None) -> str:
    return f"it is at its end, position {start:,}: call seek(0) first" if start else ""


def _from_stream(name: str, label: str, file: IO[bytes]) -> MemorySource | StreamSource:
    """Keep what has no file descriptor to read by offset, from its position on, and go back there.

    A pipe or a socket cannot go back: it can be used by one call only. One that is too long to be
    kept is sent while it is read, if its len() says how long it is: the body's length is exact.
    """
    start: int | None = None
    with suppress(AttributeError, OSError):
        start = file.seek(file.tell())
    if start is None:
        label = "the stream"
    data = bytearray()
    try:
        size = _length(file) if start is None else 0
        if size > _MAX_STREAM_BYTES and (head := file.read(PIECE_BYTES)):
            return StreamSource(name=name, label=label, size_bytes=size, file=file, head=head)
        while piece := file.read(PIECE_BYTES):
            data += piece
            if len(data) > _MAX_STREAM_BYTES:
                raise unusable(
                    name,
                    f"{label} is longer than {_MAX_STREAM_BYTES:,} bytes",
                    _SAVE_IT,
                )
    except (EOFError, OSError, zlib.error) as error:  # a gzip file that is cut or damaged
        raise unusable(name, f"{label} cannot be read: {error}", "") from error
    finally:
        if start is not None:
            with suppress(OSError):  # gzip over a pipe says that it can go back
                file.seek(start)
    return MemorySource(data=memoryview(data), label=label, hint=_at_its_end(start))


def _length(file: object) -> int:
    """Return the bytes that are left of a stream, as its ``len()`` tells; 0 if it does not."""
    try:
        return len(cast("Sized", file))
    except (TypeError, OverflowError, ValueError):
        return 0


# Pictures -------------------------------------------------------------------------------------


def _is_picture(value: object) -> bool:
    return all(hasattr(value, attribute) for attribute in ("mode", "size", "save", "convert"))


def _from_picture(name: str, picture: Any) -> MemorySource:  # noqa: ANN401 - PIL is not a dependency
    """Encode a PIL image as PNG; modes that PNG or the servers do not take are converted."""
    label = "the PIL image"
    buffer = io.BytesIO()
    try:
        if picture.mode not in _PNG_MODES:
            has_alpha = picture.mode in ("PA", "La", "RGBa") or "transparency" in picture.info
            picture = picture.convert("RGBA" if has_alpha else "RGB")
        picture.save(buffer, format="PNG")
    except (OSError, ValueError) as error:
        raise unusable(name, f"{label} cannot be encoded as PNG: {error}", "") from error
    return MemorySource(data=memoryview(buffer.getvalue()), label=label)
