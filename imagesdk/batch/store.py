"""Images in a store of objects: Amazon's S3 and what speaks its language, Google's, Azure's, through obstore.

The only module that uses obstore. Ledger and manifest stay in a local folder: neither can live in a store.
An image is put there whole, and nothing is ever replaced (``If-None-Match: *``): its name holds the
hash of its request, so what is there under it was made from that request, by this run or one before
it. So a run whose ledger was lost, or that goes on elsewhere, finds what was made.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html (read 2026-11-26)
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagesdk.batch.entries import Entry
from imagesdk.batch.files import SUFFIXES_IN_PLACE, describe, look_of
from imagesdk.errors import ConfigurationError
from imagesdk.protocol.refusals import shown_url

__all__ = ("ObjectStore",)

_MARK = ".imagesdk"
"""Written before anything is paid for: a store that takes it takes images."""
# https://docs.rs/object_store (read 2026-11-26), which obstore is made of
_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT_URL for a server other than Amazon's, "
    "and AWS_ALLOW_HTTP=true if that has no TLS",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, the path of the key file of a service account",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_METADATA = re.compile("/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity")
"""What a store asks its cloud's machine for where the settings hold no credentials."""
_HEAD = 64 * 1024
"""Bytes of an object that are read to tell what it is."""


class ObjectStore:
    """A store of objects: an `imagesdk.batch.destination.Destination`.

    Credentials come from where the store's own tools look for them: for S3 ``AWS_ACCESS_KEY_ID`` and its
    like, and ``AWS_ENDPOINT_URL`` for a server other than Amazon's.

    Args:
        url: ``s3://bucket/prefix``, ``gs://``, ``az://``, ``file:///``.
        folder: Local folder for ledger, manifest and what arrives; None for one that is called after the URL.

    Raises:
        ConfigurationError: The URL cannot be used, holds credentials, or the package obstore is missing.
    """

    lists = True

    def __init__(self, url: str, folder: Path | None = None) -> None:
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise ConfigurationError(
                f"{shown_url(url)} must not hold a user name or password: credentials come from the environment"
            )
        try:
            import obstore
            from obstore.exceptions import BaseError, GenericError
            from obstore.store import from_url
        except ImportError as error:
            raise ConfigurationError(
                f"{url} needs obstore: python -m pip install 'imagesdk[store]'"
            ) from error
        self.url: str = url.rstrip("/")
        self.folder: Path = folder or Path(_slug(self.url))
        self.here: Path = self.folder
        self._obstore = obstore
        self._errors = (BaseError, OSError)
        self._settings = _SETTINGS.get(urlsplit(url).scheme)
        try:
            more: dict[str, Any] = {"mkdir": True} if urlsplit(url).scheme == "file" else {}
            self._store = from_url(self.url, **more)
        except (GenericError, ValueError) as error:
            needed = "It must be like s3://bucket/prefix"
            if self._settings is not None:
                needed = f"It needs {self._settings}"
            raise ConfigurationError(
                f"{url!r} is no store: {_first_line(error)}. {needed}"
            ) from error
        self._listed: tuple[frozenset[str], frozenset[str]] | None = None

    def __str__(self) -> str:
        return self.url

    async def prepare(self) -> None:
        """Write a small object."""
        try:
            with self._said("cannot be written to"):
                await self._obstore.put_async(self._store, _MARK, b"")
        except OSError as error:
            if self._settings is not None:
                error.add_note(f"see to these variables of the environment: {self._settings}")
            raise

    async def keep(self, path: Path, entry: Entry, number: int) -> Mapping[str, Any]:
        """Upload an image, unless there is one; see `imagesdk.batch.destination.Destination`."""
        name = f"{_stem(entry, number)}{path.suffix}"
        described: Mapping[str, Any] = await asyncio.to_thread(describe, path.parent, path)
        described = {**described, "file": name}
        with self._said(f"does not take {name}"):
            try:
                await self._put(path, name, described)
            except self._obstore.exceptions.AlreadyExistsError:
                described = await self._describe(name)
        await asyncio.to_thread(path.unlink)
        return described

    async def find(self, entry: Entry, number: int) -> Mapping[str, Any] | None:
        """Look for an image; see `imagesdk.batch.destination.Destination`."""
        with self._said("cannot be read"):
            for suffix in SUFFIXES_IN_PLACE:
                try:
                    return await self._describe(f"{_stem(entry, number)}{suffix}")
                except FileNotFoundError:
                    continue
        return None

    async def gone(self, page: Sequence[Entry]) -> list[Entry]:
        """Compare the records with the listing; see `imagesdk.batch.destination.Destination`."""
        names, _ = await self._listing()
        return [
            entry
            for entry in page
            if entry.state == "done"
            and entry.record
            and not names.issuperset(image["file"] for image in entry.record.images)
        ]

    async def complete(self, page: Sequence[Entry]) -> list[Entry]:
        """Compare the jobs with the listing; see `imagesdk.batch.destination.Destination`."""
        _, stems = await self._listing()
        return [
            entry
            for entry in page
            if all(_stem(entry, number) in stems for number in range(1, entry.images + 1))
        ]

    async def _put(self, path: Path, name: str, described: Mapping[str, Any]) -> None:
        said = {"sha256": described["sha256"]}
        if described["mime_type"] is not None:
            said["Content-Type"] = described["mime_type"]
        try:
            await self._obstore.put_async(self._store, name, path, mode="create", attributes=said)
        except NotImplementedError:  # a folder keeps no attributes
            await self._obstore.put_async(self._store, name, path, mode="create")

    async def _describe(self, name: str) -> Mapping[str, Any]:
        """Describe an object by its beginning.

        Raises:
            FileNotFoundError: There is none.
        """
        found = await self._obstore.get_async(self._store, name, options={"range": (0, _HEAD)})
        head = bytes(await found.bytes_async())
        looks = look_of(lambda offset, size: head[offset : offset + size], found.meta["size"])
        digest = found.attributes.get("sha256") or await self._hash(name)
        return {"file": name, **looks, "sha256": digest}

    async def _hash(self, name: str) -> str:
        """Read a whole object: it does not say its hash, because a folder keeps no attributes."""
        digest = hashlib.sha256()
        async for piece in (await self._obstore.get_async(self._store, name)).stream():
            digest.update(piece)
        return digest.hexdigest()

    async def _listing(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names of all objects, and those names without suffix; listed once, and held."""
        if self._listed is None:
            names: set[str] = set()
            with self._said("cannot be listed"):
                async for page in self._obstore.list(self._store):
                    names.update(each["path"] for each in page)
            stems = frozenset(name.rpartition(".")[0] for name in names)
            self._listed = frozenset(names), stems
        return self._listed

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Raise what the store says as an OSError that names it."""
        try:
            yield
        except self._errors as error:
            raise OSError(f"{self.url} {what}: {_first_line(error)}") from error


def _stem(entry: Entry, number: int) -> str:
    """Return the name of an object without its suffix: it says which image of which request it is."""
    return f"{entry.stem}-{entry.job.key[:8]}-{number}"


def _slug(url: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", url).strip(".-")


def _first_line(error: Exception) -> str:
    """Return what a store says, without the debugging lines that may hold what nobody shall see."""
    if _METADATA.search(str(error)):
        return "no credentials were found"
    return str(error).partition("\n")[0].strip()
