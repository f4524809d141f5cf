"""Write image files so that they appear complete or not at all.

Each function blocks: call it in a thread. A file is written under a temporary name in the same
folder, forced to the disk, and then renamed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from imagesdk.protocol.imageinfo import HEAD_BYTES, SUFFIXES, sniff

__all__ = ("save_as", "save_new")

_IMAGE_SUFFIXES = frozenset({*SUFFIXES.values(), ".jpeg"})
_DEFAULT_SUFFIX = ".bin"


def save_as(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write *content* to *path*, replacing what is there, and return the path that was written.

    The suffix is that of the bytes: ``cat`` and ``cat.png`` become ``cat.jpg`` for a JPEG image.

    Raises:
        FileExistsError: Another suffix was given, and the file with the right one exists.
        OSError: It cannot be written; nothing is left behind.
    """
    given = Path(path)
    if given.is_dir():
        raise IsADirectoryError(f"{given} is a folder: name a file, or save the whole result there")
    target = _with_suffix(given, content)
    if target != given and given.suffix.lower() in _IMAGE_SUFFIXES and target.exists():
        raise FileExistsError(
            f"the image is no {given.suffix} file, and {target} exists: give a name of its own"
        )
    with _temporary(target.parent, content) as temporary:
        temporary.replace(target)
    return target


def save_new(folder: str | os.PathLike[str], name: str, content: bytes) -> Path:
    """Write *content* into *folder* as ``name-1``, ``name-2``, …, the first that is free; return its path.

    An existing file is never replaced, even if two programs write at the same time.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    directory, suffix = Path(folder), _suffix(content)
    with _temporary(directory, content) as temporary:
        taken = _names(directory)  # only saves attempts: later files are noticed all the same
        for number in count(1):
            entry = f"{name}-{number}{suffix}"
            if entry not in taken and _move_unless_exists(temporary, target := directory / entry):
                return target
    raise AssertionError("count() does not end")


def _names(folder: Path) -> set[str]:
    with suppress(OSError):  # a folder that may be written to and not listed
        return set(os.listdir(folder))  # noqa: PTH208 - a Path for each of thousands is slow
    return set()


@contextmanager
def _temporary(folder: Path, content: bytes) -> Iterator[Path]:
    """Write *content* durably under a name that nobody looks at; it is gone after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".imagesdk-{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


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
        temporary.replace(target)
    return True


def _suffix(content: bytes) -> str:
    kind = sniff(content[:HEAD_BYTES])
    return SUFFIXES[kind] if kind else _DEFAULT_SUFFIX


def _with_suffix(path: Path, content: bytes) -> Path:
    kind = sniff(content[:HEAD_BYTES])
    if kind is None:
        return path if path.suffix else path.with_name(path.name + _DEFAULT_SUFFIX)
    right = {SUFFIXES[kind], f".{kind}"}
    if path.suffix.lower() in right:
        return path
    stem = path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name
    return path.with_name(stem + SUFFIXES[kind])
