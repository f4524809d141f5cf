"""Write image files so that they appear complete or not at all.

A file is written under a temporary name in the same folder, forced to the disk, and then renamed.
Everything blocks and belongs into a thread, but what a `FileSink` says otherwise about.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TypeAlias

import attrs

from imagesdk.errors import InvalidRequestError
from imagesdk.protocol.imageinfo import HEAD_BYTES, SUFFIXES, probe, sniff

__all__ = ("FileSink", "Folder", "StoredImage", "check_folder", "check_name", "save_as", "save_new")

Content: TypeAlias = bytes | Path
"""The bytes of an image, or the file that holds them."""

_MAX_NAME_BYTES = 200
_UNSAFE_IN_NAME = re.compile(r"[/\\:\x00-\x1f\x7f]")
_DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10)))
)
_IMAGE_SUFFIXES = frozenset({*SUFFIXES.values(), ".jpeg"})
_DEFAULT_SUFFIX = ".bin"
_DUE_BYTES = 512 * 1024
"""What a `FileSink` keeps in memory before it wants to be flushed."""
_BEGIN_BYTES = 4 * 1024 * 1024
"""What a `FileSink` writes before the kernel is to begin to put it on the disk."""
_MAX_PIECES = 1024
"""Most pieces of one write: IOV_MAX of Linux and macOS."""


def check_name(name: str) -> None:
    """Check the first part of file names: it must lead to no other folder and be a name on every system.

    Raises:
        InvalidRequestError: It has a separator, a colon or a control character, begins with a dot, is
            a device of Windows, is empty or longer than 200 bytes in UTF-8.
    """
    # https://learn.microsoft.com/windows/win32/fileio/naming-a-file (read 2026-11-26)
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        problem = f"it must have 1 to {_MAX_NAME_BYTES} bytes"
    elif _UNSAFE_IN_NAME.search(name) or name.startswith("."):
        problem = "it must have no /, \\, colon or control character, and not begin with a dot"
    elif name.partition(".")[0].rstrip().upper() in _DEVICES:
        problem = "Windows has a device of that name"
    else:
        return
    raise InvalidRequestError(
        f"name is {name[:_MAX_NAME_BYTES]!r}, for the first part of file names: {problem}",
        field="name",
        value=name,
    )


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check that a folder is meant, and not the one file that `Image.save` takes.

    Raises:
        InvalidRequestError: It has the name of an image file, and is no folder.
    """
    if _names_an_image(Path(path)):
        text = os.fspath(path)
        raise InvalidRequestError(
            f"folder is {text!r}, the name of an image file: name a folder, or save one image with "
            f"result.data[0].save({text!r})",
            field="folder",
            value=text,
            limit="a folder",
        )


def _names_an_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES and not path.is_dir()


class Folder:
    """A folder that images are saved into, each under the first name that is free.

    The names are ``name-1.png``, ``name-2.png`` and so on. Calls that share the object do not look
    at the same names again; it may be used from several threads.

    Args:
        path: Where it is.
        name: First part of the file names: see `check_name`.

    Raises:
        InvalidRequestError: The name cannot be one.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str = "image") -> None:
        check_name(name)
        self.path: Path = Path(path)
        self.name = name
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}

    def __fspath__(self) -> str:
        return str(self.path)

    def prepare(self) -> None:
        """Make the folder if need be, and see whether files can be written there.

        Raises:
            InvalidRequestError: They cannot.
        """
        try:
            if _names_an_image(self.path):
                raise NotADirectoryError("it has the name of an image file")
            self.path.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError("it may not be written to")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, FileExistsError):
                reason = "there is a file of that name"
            raise InvalidRequestError(
                f"save_to is a folder: images cannot be written into {str(self.path)!r}: {reason}; "
                "nothing was sent",
                field="save_to",
                value=str(self.path),
            ) from error

    def take(self, temporary: Path, suffix: str) -> Path:
        """Give *temporary*, a file in this folder, the first free name; return it.

        An existing file is never replaced, even if two programs write at the same time. The old name
        may stay, too.
        """
        with self._lock:
            last = self._last.get(suffix)
            # Only saves attempts: later files are noticed all the same.
            taken = _names(self.path) if last is None else frozenset[str]()
            for number in count((last or 0) + 1):
                entry = f"{self.name}-{number}{suffix}"
                if entry not in taken and _move_unless_exists(
                    temporary, target := self.path / entry
                ):
                    self._last[suffix] = number
                    return target
        raise AssertionError("count() does not end")


@attrs.frozen(kw_only=True)
class StoredImage:
    """An image file that was saved while it arrived, and what its header says.

    Attributes:
        path: The file.
        kind: What `imagesdk.protocol.imageinfo.sniff` says.
        dimensions: Width and height in pixels, None if the header does not tell.
        size_bytes: Number of bytes.
    """

    path: Path
    kind: str | None
    dimensions: tuple[int, int] | None
    size_bytes: int


class FileSink:
    """Takes one image on its way to a folder: an `imagesdk.protocol.parts.PartSink`.

    `write`, `finish` and `discard` never block and are for the event loop; `flush`, `publish` and
    `close` are for a thread. They exclude each other, and after `close` no file is made or left.

    What was paid for is not lost with the disk: when it fails, the image is read back and goes on in
    memory; `failure` says why.

    Args:
        folder: Where the temporary file is made, at the first flush.

    Attributes:
        size_bytes: Bytes that were written so far.
        failure: Why the image is not on the disk, None as long as it can be.
        stored: The file, once `publish` has given it its name.
    """

    def __init__(self, folder: Folder) -> None:
        self.size_bytes: int = 0
        self.failure: OSError | None = None
        self.stored: StoredImage | None = None
        self._folder = folder
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._lock = threading.Lock()
        self._temporary: Path | None = None
        self._file: io.FileIO | None = None
        self._on_disk = 0
        self._begun = 0  # up to here the kernel writes already
        self._memory: io.BytesIO | None = None
        self._info: tuple[str | None, tuple[int, int] | None] = (None, None)
        self._finished = self._synced = self._closed = False

    @property
    def is_due(self) -> bool:
        """True if `flush` has enough to do."""
        if self._closed:
            return self._temporary is not None
        return self._pending_bytes >= _DUE_BYTES or (self._finished and not self._synced)

    @property
    def content(self) -> bytes | None:
        """The image if it is in memory because of `failure`."""
        memory = self._memory
        return memory.getvalue() if memory is not None else None

    def write(self, piece: bytes) -> None:
        """Queue *piece* for the next flush."""
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        self.size_bytes += len(piece)

    def finish(self) -> None:
        """Let the next flush force the file to the disk: the image is complete."""
        self._finished = True

    def discard(self) -> None:
        """Forget what there is; the file goes at the next `flush` or `close`."""
        self._closed = True
        self._pending.clear()
        self._memory = None

    def flush(self) -> None:
        """Write what is queued; after `finish`, force it to the disk and read its header.

        It does not raise when the disk fails: see `failure`.
        """
        with self._lock:
            if self._closed:
                self._remove()
                return
            finished = self._finished  # and so everything is queued
            pieces, self._pending, self._pending_bytes = self._pending, [], 0
            done, memory = self._on_disk, self._memory
            if self.failure is None:
                try:
                    self._write(pieces)
                    if finished and not self._synced:
                        self._sync()
                except OSError as error:
                    self._fall_back(error, b"".join(pieces)[self._on_disk - done :])
            elif memory is not None:
                memory.writelines(pieces)
            self._synced = finished

    def publish(self) -> None:
        """Give the complete image its name in the folder; `stored` or `failure` says how it went."""
        self.flush()
        with self._lock:
            if self._temporary is None or self._closed:
                return
            kind, size = self._info
            suffix = SUFFIXES[kind] if kind else _DEFAULT_SUFFIX
            try:
                path = self._folder.take(self._temporary, suffix)
            except OSError as error:
                self._fall_back(error, b"")
                return
            self._remove()
            self.stored = StoredImage(
                path=path, kind=kind, dimensions=size, size_bytes=self.size_bytes
            )

    def close(self) -> None:
        """Remove the file if it was not published, and make none any more."""
        with self._lock:
            self._closed = True
            self._remove()

    def _write(self, pieces: Sequence[bytes]) -> None:
        if self._file is None:
            self._temporary = _temporary_name(self._folder.path)
            self._file = self._temporary.open("x+b", buffering=0)
        waiting = pieces
        while waiting:
            written = _write_some(self._file.fileno(), waiting[:_MAX_PIECES])
            self._on_disk += written
            waiting = _without(waiting, written)
        if self._on_disk - self._begun >= _BEGIN_BYTES:
            _begin_to_write(self._file.fileno(), self._begun, self._on_disk - self._begun)
            self._begun = self._on_disk

    def _sync(self) -> None:
        """Force the file to the disk, look into it and close it."""
        assert self._file is not None  # noqa: S101 - _write opens it
        descriptor = self._file.fileno()

        def read_at(offset: int, size: int) -> bytes:
            return _read_at(descriptor, offset, size)

        os.fsync(descriptor)
        kind = sniff(read_at(0, HEAD_BYTES))
        try:
            info = probe(read_at, self._on_disk, whole=False)
        except ValueError:
            self._info = (kind, None)
        else:
            self._info = (kind, (info.width, info.height))
        self._file.close()

    def _fall_back(self, error: OSError, rest: bytes) -> None:
        """Go on in memory: with what is on the disk and *rest*."""
        self.failure = error
        try:
            memory = self._read_back()
        except OSError as second:  # the disk takes it back: the image is lost
            self.failure = second
        else:
            memory.write(rest)
            self._memory = memory
        self._remove()

    def _read_back(self) -> io.BytesIO:
        memory = io.BytesIO()
        if self._temporary is not None and self._file is not None:
            with self._temporary.open("rb") if self._file.closed else self._file as file:
                file.seek(0)
                shutil.copyfileobj(file, memory)
        if memory.tell() != self._on_disk:
            raise OSError(f"{memory.tell():,} of {self._on_disk:,} bytes are left")
        return memory

    def _remove(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a disk that tells only now; nothing more can be done
                self._file.close()
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
        self._file = self._temporary = None


def save_as(path: str | os.PathLike[str], content: Content) -> Path:
    """Write *content* to *path*, replacing what is there, and return the path that was written.

    The suffix is that of the bytes: ``cat`` and ``cat.png`` become ``cat.jpg`` for a JPEG image.

    Raises:
        FileExistsError: Another suffix was given, and the file with the right one exists.
        OSError: It cannot be written; nothing is left behind.
    """
    given = Path(path)
    if given.is_dir():
        raise IsADirectoryError(f"{given} is a folder: name a file, or save the whole result there")
    target = _with_suffix(given, _kind(content))
    if target != given and given.suffix.lower() in _IMAGE_SUFFIXES and target.exists():
        raise FileExistsError(
            f"the image is no {given.suffix} file, and {target} exists: give a name of its own"
        )
    with _temporary(target.parent, content) as temporary:
        temporary.replace(target)
    return target


def save_new(folder: str | os.PathLike[str], name: str, content: Content) -> Path:
    """Write *content* into *folder* as ``name-1``, ``name-2``, …, the first that is free; return its path.

    An existing file is never replaced, even if two programs write at the same time.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    kind = _kind(content)
    with _temporary(Path(folder), content) as temporary:
        suffix = SUFFIXES[kind] if kind else _DEFAULT_SUFFIX
        return Folder(folder, name=name).take(temporary, suffix)


def _with_suffix(path: Path, kind: str | None) -> Path:
    """Return *path* with the suffix that an image of this kind has; None is of no known kind."""
    if kind is None:
        return path if path.suffix else path.with_name(path.name + _DEFAULT_SUFFIX)
    right = {SUFFIXES[kind], f".{kind}"}
    if path.suffix.lower() in right:
        return path
    stem = path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name
    return path.with_name(stem + SUFFIXES[kind])


def _names(folder: Path) -> set[str]:
    with suppress(OSError):  # a folder that may be written to and not listed
        return set(os.listdir(folder))  # noqa: PTH208 - a Path for each of thousands is slow
    return set()


@contextmanager
def _temporary(folder: Path, content: Content) -> Iterator[Path]:
    """Write *content* durably under a name that nobody looks at; it is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(folder)
    try:
        with temporary.open("xb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        if error.filename is None:  # a write names no file
            error.filename = os.fspath(folder)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(folder: Path) -> Path:
    return folder / f".imagesdk-{secrets.token_hex(8)}.part"


def _begin_to_write(descriptor: int, offset: int, size: int) -> None:
    """Let the kernel begin to put dirty pages on the disk: fsync() then has little left to wait for.

    Linux does so for pages that it is told are not needed, and drops none that is dirty:
    https://github.com/torvalds/linux/blob/master/mm/fadvise.c (read 2026-11-21)
    """
    if hasattr(os, "posix_fadvise"):  # macOS and Windows have none
        with suppress(OSError):  # only advice
            os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)


def _write_some(descriptor: int, pieces: Sequence[bytes]) -> int:
    """Write *pieces*, all at once where that can be done; return how many bytes were taken."""
    if hasattr(os, "writev"):
        return os.writev(descriptor, pieces)
    return os.write(descriptor, b"".join(pieces))  # Windows


def _without(pieces: Sequence[bytes], size: int) -> Sequence[bytes]:
    """Return *pieces* without their first *size* bytes."""
    for index, piece in enumerate(pieces):
        if size < len(piece):
            return [piece[size:], *pieces[index + 1 :]]
        size -= len(piece)
    return ()


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; nobody writes any more
    return os.read(descriptor, size)


def _move_unless_exists(temporary: Path, target: Path) -> bool:
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: claim the name first
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return False
        try:
            temporary.replace(target)
        except OSError:
            target.unlink(missing_ok=True)  # nothing but the name is there
            raise
    return True


def _kind(content: Content) -> str | None:
    if isinstance(content, Path):
        with content.open("rb") as file:
            return sniff(file.read(HEAD_BYTES))
    return sniff(content[:HEAD_BYTES])
