"""Where the images of a run go: a folder, or (`imagesdk.batch.store`) a store of objects.

An image arrives in a local folder first, and is put in its place as a whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from imagesdk.batch.entries import Entry
from imagesdk.batch.files import describe, in_place, is_there, place
from imagesdk.errors import ConfigurationError

__all__ = ("Destination", "LocalFolder", "destination_of", "folder_of", "is_url")


class Destination(Protocol):
    """Where the images of a run go.

    Attributes:
        folder: Local folder for the ledger and the manifest.
        here: Local folder in which images arrive, below `imagesdk.batch.files.ARRIVING`.
        lists: True if it may hold images of which the ledger knows nothing, and that `complete` finds.
    """

    folder: Path
    here: Path
    lists: bool

    async def prepare(self) -> None:
        """Make sure that images can be put there, before anything is paid for; the folders are there.

        Raises:
            OSError: They cannot.
        """
        ...

    async def keep(self, path: Path, entry: Entry, number: int) -> Mapping[str, Any]:
        """Put an image in its place, durably; return what the manifest says of it.

        Args:
            path: The file in which it arrived, on the disk of `here`; it goes.
            entry: Its job.
            number: Of the image within its job, from 1.

        Raises:
            OSError: It cannot be put there; the file stays.
        """
        ...

    async def find(self, entry: Entry, number: int) -> Mapping[str, Any] | None:
        """Return what the manifest says of the image in a place, None if there is none."""
        ...

    async def gone(self, page: Sequence[Entry]) -> list[Entry]:
        """Return the jobs that are done and whose images are not all there."""
        ...

    async def complete(self, page: Sequence[Entry]) -> list[Entry]:
        """Return the jobs whose images are all there, whatever the ledger says; none without `lists`."""
        ...


class LocalFolder:
    """A folder on this machine, or one that several machines share.

    Args:
        out: For the images.
        ledger: For ledger and manifest, on a local disk; None for the same.
    """

    lists = False

    def __init__(self, out: Path, ledger: Path | None = None) -> None:
        self.here = out
        self.folder: Path = ledger or out

    def __str__(self) -> str:
        return str(self.here)

    async def prepare(self) -> None:
        """Do nothing: the folders are made with the ledger."""

    async def keep(self, path: Path, entry: Entry, number: int) -> Mapping[str, Any]:
        """Rename an image; see `Destination`."""
        return await asyncio.to_thread(self._keep, path, entry, number)

    async def find(self, entry: Entry, number: int) -> Mapping[str, Any] | None:
        """Look for an image; see `Destination`."""
        return await asyncio.to_thread(self._find, entry, number)

    async def gone(self, page: Sequence[Entry]) -> list[Entry]:
        """Look for the files of the records; see `Destination`."""
        return await asyncio.to_thread(self._gone, page)

    async def complete(self, page: Sequence[Entry]) -> list[Entry]:
        """Return none: here, the ledger knows."""
        del page
        return []

    def _keep(self, path: Path, entry: Entry, number: int) -> Mapping[str, Any]:
        target = self.here / f"{place(entry.stem, entry.first, number)}{path.suffix}"
        if path != target:
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        return describe(self.here, target)

    def _find(self, entry: Entry, number: int) -> Mapping[str, Any] | None:
        path = in_place(self.here, place(entry.stem, entry.first, number))
        return None if path is None else describe(self.here, path)

    def _gone(self, page: Iterable[Entry]) -> list[Entry]:
        return [
            entry
            for entry in page
            if entry.state == "done"
            and entry.record
            and not is_there(self.here, entry.record.images)
        ]


def is_url(out: str | os.PathLike[str]) -> bool:
    """Return whether *out* names a store of objects, and no folder."""
    return isinstance(out, str) and "://" in out


def folder_of(out: str | os.PathLike[str]) -> Path:
    """Return *out*, which must be a folder.

    Raises:
        ConfigurationError: It names a store.
    """
    if is_url(out):
        raise ConfigurationError(
            f"{out} is a store of objects; this needs a folder on this machine"
        )
    return Path(out)


def destination_of(
    out: str | os.PathLike[str] | Destination, ledger: str | os.PathLike[str] | None = None
) -> Destination:
    """Return where images go.

    Args:
        out: A folder, or the URL of a store such as ``s3://bucket/prefix``.
        ledger: Local folder for ledger and manifest; None for *out*, or for a folder that is called after the
            URL, below the working directory.

    Raises:
        ConfigurationError: The URL cannot be used, or the package obstore is missing.
    """
    if not isinstance(out, str | os.PathLike):
        return out
    if isinstance(out, str) and is_url(out):
        from imagesdk.batch.store import ObjectStore

        return ObjectStore(out, None if ledger is None else Path(ledger))
    return LocalFolder(Path(out), None if ledger is None else Path(ledger))
