"""The image files of a run: what they are called, where they are, what is in them.

Everything here blocks and belongs into a thread.

An image is written into the folder `ARRIVING`, forced to the disk and named after its request; then it
is renamed to its place in the run's folder, and then the ledger is told. So whatever is lost in
between is found by `arrived` and `in_place`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from imagesdk.errors import ConfigurationError
from imagesdk.protocol.imageinfo import HEAD_BYTES, MIME_TYPES, SUFFIXES, ReadAt, probe, sniff

__all__ = (
    "ARRIVING",
    "SUFFIXES_IN_PLACE",
    "arrived",
    "describe",
    "force_names",
    "free_bytes",
    "in_place",
    "is_there",
    "look_of",
    "missing_folders",
    "place",
    "stems",
    "whole_file",
)

ARRIVING = ".arriving"

_FILES_A_FOLDER = 990
"""Images in one folder; there is room for ledger, manifest and a page within a thousand."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ARRIVED = re.compile(r"([0-9a-f]{32})-([1-9][0-9]*)\.[a-z]+")
SUFFIXES_IN_PLACE = (*SUFFIXES.values(), ".bin")


def stems(custom_id: str) -> Iterator[str]:
    """Yield names for the files of a job, the best one first; safe anywhere, and never a path."""
    stem = _UNSAFE.sub("-", custom_id).strip(".-")[:100] or "job"
    digest = hashlib.sha256(custom_id.encode()).hexdigest()
    if stem.lower() == custom_id.lower():
        yield stem
    yield f"{stem}-{digest[:8]}"
    yield f"{stem}-{digest}"


def place(stem: str, first: int, number: int) -> str:
    """Return where an image goes, relative to the run's folder and without a suffix.

    Args:
        stem: Of its job.
        first: Images of the jobs before.
        number: Of the image within its job, from 1.
    """
    folder, name = (first + number - 1) // _FILES_A_FOLDER, f"{stem}-{number}"
    return f"{folder:05d}/{name}" if folder else name


def describe(out: Path, path: Path) -> dict[str, Any]:
    """Return what the manifest says about an image file of the run in *out*."""
    with path.open("rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        looks = look_of(read_at, os.fstat(file.fileno()).st_size)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.relative_to(out).as_posix(), **looks, "sha256": digest}


def look_of(read_at: ReadAt, size_bytes: int) -> dict[str, Any]:
    """Return what the beginning of an image says of it, None where it says nothing.

    Args:
        read_at: Reads it by offset.
        size_bytes: Its size.
    """
    kind = sniff(read_at(0, HEAD_BYTES))
    width = height = None
    with suppress(ValueError):
        info = probe(read_at, size_bytes, whole=False)
        width, height = info.width, info.height
    return {
        "mime_type": MIME_TYPES.get(kind) if kind else None,
        "width": width,
        "height": height,
        "bytes": size_bytes,
    }


def free_bytes(out: Path) -> int:
    """Return the room on the disk; a file system that does not know its size has any."""
    usage = shutil.disk_usage(out)
    return usage.free if usage.total else sys.maxsize


def missing_folders(*folders: Path) -> list[Path]:
    """Return which of some folders, and of those that lead to them, are not there, the inner ones first.

    Raises:
        ConfigurationError: There is a file in the place of one.
    """
    wanted = {each for folder in folders for each in (folder, *folder.parents)}
    missing = sorted(wanted, key=lambda each: len(each.parts), reverse=True)
    for each in missing:
        if each.exists() and not each.is_dir():
            raise ConfigurationError(f"{each} is a file, and must be a folder: choose another one")
    return [each for each in missing if not each.exists()]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears complete or not at all, in the place of what is there."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def force_names(folder: Path) -> None:
    """Force the names in a folder to the disk, where a folder can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # pragma: no cover - Windows
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_there(out: Path, images: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all files of a record are there."""
    return all((out / image["file"]).is_file() for image in images)


def arrived(out: Path, key: str | None = None) -> dict[str, dict[int, Path]]:
    """Return the images that were received and not put in their place, by request and number.

    Args:
        out: The run's folder.
        key: Idempotency-Key of the one request that is meant. None for all; then nobody writes here,
            and half-written images are removed.
    """
    found: dict[str, dict[int, Path]] = {}
    if not (out / ARRIVING).is_dir():
        return found
    for path in (out / ARRIVING).iterdir() if key is None else (out / ARRIVING).glob(f"{key}-*"):
        if match := _ARRIVED.fullmatch(path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
        elif key is None and path.name.endswith(".part"):
            path.unlink()
    return found


def in_place(out: Path, name: str) -> Path | None:
    """Return the image that `place` calls *name*, None if it is not there."""
    for suffix in SUFFIXES_IN_PLACE:
        if (path := out / f"{name}{suffix}").is_file():
            return path
    return None
