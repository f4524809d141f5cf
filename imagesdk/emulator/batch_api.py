"""The routes of files and batches, without HTTP: what was asked for in, the answer's body out.

Sources: shared/reference/images-api.md section 3.6; openai-python 3.52, ``types/batch*.py`` and
``types/file*.py`` (read 2026-11-26).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs

from imagesdk.emulator.batches import BATCH_ENDPOINTS, Batch, BatchPlan, BatchRunner
from imagesdk.emulator.filestore import PURPOSES, FileStore, StoredFile
from imagesdk.emulator.forms import UploadedFile, media_type, parse_json, parse_multipart
from imagesdk.emulator.refusals import (
    Refusal,
    invalid_type,
    invalid_value,
    missing_parameter,
    unsupported_content_type,
)
from imagesdk.emulator.rules import Choice, Integer, Opaque, Rule, Text, Upload
from imagesdk.emulator.service import ImageService
from imagesdk.emulator.spec import check_parameters, read_form

__all__ = (
    "BATCHES_A_PAGE",
    "BATCH_RULES",
    "FILES_A_PAGE",
    "FILE_RULES",
    "LIFETIME",
    "REQUIRED_OF_A_BATCH",
    "REQUIRED_OF_A_FILE",
    "BatchApi",
    "Query",
)

_MAX_BATCH_FILE_BYTES = 200 * 1000 * 1000
FILE_RULES: Mapping[str, Rule] = {
    "file": Upload(),
    "purpose": Choice(PURPOSES),
    "expires_after": Opaque(dict),
}
BATCH_RULES: Mapping[str, Rule] = {
    "input_file_id": Text(1),
    "endpoint": Choice(tuple(BATCH_ENDPOINTS)),
    "completion_window": Choice(("24h",)),
    "metadata": Opaque(dict),
    "output_expires_after": Opaque(dict),
}
REQUIRED_OF_A_FILE = ("file", "purpose")
REQUIRED_OF_A_BATCH = ("input_file_id", "endpoint", "completion_window")
LIFETIME = Integer(3600, 2_592_000)
FILES_A_PAGE = Integer(1, 10_000)
BATCHES_A_PAGE = Integer(1, 100)


@attrs.define(kw_only=True)
class Query:
    """A request for one of these routes.

    Attributes:
        api_key: Who asks.
        id: The part of the path that names a file or a batch.
        query: Decoded query.
        content_type: The whole Content-Type header.
        body: The whole body.
        params: Parameters, once they are read; for whoever records the request.
        files: Uploads, once they are read.
    """

    api_key: str
    id: str = ""
    query: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str = ""
    body: bytes = b""
    params: Mapping[str, Any] = attrs.field(factory=dict)
    files: tuple[UploadedFile, ...] = ()


Answer: TypeAlias = dict[str, Any] | StoredFile | Refusal
"""A JSON object, the content of a file, or why not."""


class _Listed(Protocol):
    @property
    def id(self) -> str: ...

    def describe(self) -> dict[str, Any]: ...


L = TypeVar("L", bound=_Listed)


class BatchApi:
    """Files and batches of one server.

    Args:
        service: Answers the lines of batches.
        plan: How batches are run.
        url_prefix: Returns the address below which pictures are served.
        rng: Makes the ids of files and batches.
    """

    def __init__(
        self,
        service: ImageService,
        plan: BatchPlan,
        url_prefix: Callable[[], str],
        rng: random.Random,
    ) -> None:
        self._rng = rng
        self._files = FileStore(service.clock, rng)
        self._runner = BatchRunner(
            service=service, files=self._files, plan=plan, url_prefix=url_prefix
        )
        self._batches: dict[str, Batch] = {}

    def routes(self) -> Sequence[tuple[str, str, Callable[[Query], Awaitable[Answer]]]]:
        """Return method, path and handler of each route."""
        return (
            ("POST", "/v1/files", self.upload),
            ("GET", "/v1/files", self.list_files),
            ("GET", "/v1/files/{id}", self.show_file),
            ("DELETE", "/v1/files/{id}", self.delete_file),
            ("GET", "/v1/files/{id}/content", self.file_content),
            ("POST", "/v1/batches", self.create_batch),
            ("GET", "/v1/batches", self.list_batches),
            ("GET", "/v1/batches/{id}", self.show_batch),
            ("POST", "/v1/batches/{id}/cancel", self.cancel_batch),
        )

    def reset(self) -> None:
        """Forget all files and batches."""
        self._runner.stop()
        self._batches.clear()
        self._files.clear()

    def find_image(self, file_id: str) -> UploadedFile | None:
        """Return a file as an image that is edited, None if there is none of that id; blocks."""
        return self._files.read_image(file_id)

    async def aclose(self) -> None:
        """End all batches, and remove all files."""
        await self._runner.aclose()
        await asyncio.to_thread(self._files.close)

    # Files

    async def upload(self, query: Query) -> Answer:
        """Take a file in."""
        if media_type(query.content_type) != "multipart/form-data":
            return unsupported_content_type(query.content_type, "'multipart/form-data'")
        form = await asyncio.to_thread(parse_multipart, query.body, query.content_type)
        if isinstance(form, Refusal):
            return form
        params = read_form(FILE_RULES, form.fields)
        query.params, query.files = params, form.files
        lifetime = _read_lifetime("expires_after", params)
        refusal = (
            check_parameters(FILE_RULES, params, [file.field for file in form.files])
            or _check_required(REQUIRED_OF_A_FILE, {f.field: f for f in form.files} | params)
            or _check_batch_file(params, form.files)
        )
        if refusal is not None:
            return refusal
        if isinstance(lifetime, Refusal):
            return lifetime
        (file,) = form.files
        stored = await asyncio.to_thread(self._files.put, file, params["purpose"], lifetime)
        return stored.describe()

    async def list_files(self, query: Query) -> Answer:
        """List files, the newest one first."""
        purpose, order = query.query.get("purpose"), query.query.get("order", "desc")
        if order not in {"asc", "desc"}:
            return invalid_value("order", "'order' must be 'asc' or 'desc'.")
        files = [f for f in self._files.living() if purpose in {None, f.purpose}]
        return _page(files[:: -1 if order == "asc" else 1], query.query, FILES_A_PAGE, 10_000)

    async def show_file(self, query: Query) -> Answer:
        """Describe a file."""
        file = self._files.get(query.id)
        return _no_such_file(query.id) if file is None else file.describe()

    async def delete_file(self, query: Query) -> Answer:
        """Remove a file."""
        if not await asyncio.to_thread(self._files.delete, query.id):
            return _no_such_file(query.id)
        return {"id": query.id, "object": "file", "deleted": True}

    async def file_content(self, query: Query) -> Answer:
        """Hand out what is in a file."""
        return self._files.get(query.id) or _no_such_file(query.id)

    # Batches

    async def create_batch(self, query: Query) -> Answer:
        """Begin to run a file; whether it can be run is found out later."""
        if media_type(query.content_type) != "application/json":
            return unsupported_content_type(query.content_type, "'application/json'")
        params = parse_json(query.body)
        if isinstance(params, Refusal):
            return params
        query.params = params
        lifetime = _read_lifetime("output_expires_after", params)
        refusal = (
            check_parameters(BATCH_RULES, params, ())
            or _check_required(REQUIRED_OF_A_BATCH, params)
            or _check_metadata(params.get("metadata"))
        )
        if refusal is not None:
            return refusal
        if isinstance(lifetime, Refusal):
            return lifetime
        now = self._runner.service.clock()
        batch = Batch(
            id=f"batch_{self._rng.randbytes(16).hex()}",
            endpoint=params["endpoint"],
            input_file_id=params["input_file_id"],
            metadata=params.get("metadata"),
            output_lifetime=lifetime,
            created_at=int(now),
            expires_at=now + self._runner.plan.window,
        )
        self._batches[batch.id] = batch
        self._runner.start(batch, query.api_key)
        return batch.describe()

    async def list_batches(self, query: Query) -> Answer:
        """List batches, the newest one first."""
        return _page([*reversed(self._batches.values())], query.query, BATCHES_A_PAGE, 20)

    async def show_batch(self, query: Query) -> Answer:
        """Describe a batch."""
        batch = self._batches.get(query.id)
        return _no_such_batch(query.id) if batch is None else batch.describe()

    async def cancel_batch(self, query: Query) -> Answer:
        """Let a batch end after the line that is run."""
        batch = self._batches.get(query.id)
        if batch is None:
            return _no_such_batch(query.id)
        if batch.has_ended:
            message = f"Cannot cancel a batch with status '{batch.status}'."
            return Refusal(message=message, status=409)
        self._runner.cancel(batch)
        return batch.describe()


def _page(
    things: Sequence[L], query: Mapping[str, str], limits: Integer, otherwise: int
) -> dict[str, Any] | Refusal:
    """Return the page of a list that a query asks for."""
    limit = limits.from_text(query["limit"]) if "limit" in query else otherwise
    refusal = limits.check("limit", limit)
    if refusal is not None:
        return refusal
    after = query.get("after")
    rest: Iterable[L] = things
    if after is not None:
        ids = [thing.id for thing in things]
        if after not in ids:
            return invalid_value("after", f"No object with id '{after[:200]}' to go on after.")
        rest = things[ids.index(after) + 1 :]
    found = list(islice(rest, int(str(limit)) + 1))
    page = found[: int(str(limit))]
    return {
        "object": "list",
        "data": [thing.describe() for thing in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(found) > len(page),
    }


def _check_required(names: Iterable[str], given: Mapping[str, Any]) -> Refusal | None:
    return next((missing_parameter(name) for name in names if given.get(name) is None), None)


def _check_batch_file(params: Mapping[str, Any], files: Sequence[UploadedFile]) -> Refusal | None:
    if params.get("purpose") != "batch":
        return None
    (file,) = files
    if not file.filename.endswith(".jsonl"):  # BerriAI/litellm#37527, read 2026-11-26
        return Refusal(message="Invalid file format for Batch API. Must be .jsonl")
    if len(file.data) > _MAX_BATCH_FILE_BYTES:
        return Refusal(message=f"The file is larger than {_MAX_BATCH_FILE_BYTES} bytes.")
    return None


def _check_metadata(metadata: Mapping[str, Any] | None) -> Refusal | None:
    """Refuse metadata beyond 16 pairs of 64 and 512 characters."""
    if not metadata:
        return None
    if len(metadata) > 16:
        return invalid_value("metadata", "Invalid 'metadata': at most 16 pairs.")
    for name, value in metadata.items():
        if not isinstance(value, str):
            return invalid_type(f"metadata.{name[:64]}", "a string", value)
        if len(name) > 64 or len(value) > 512:
            message = "Invalid 'metadata': keys have at most 64 characters, values 512."
            return invalid_value("metadata", message)
    return None


def _read_lifetime(name: str, params: Mapping[str, Any]) -> int | Refusal | None:
    """Return the seconds after which a file expires, None if that is not said."""
    asked = params.get(name)
    if not isinstance(asked, dict):
        return None  # what it is instead is refused by its rule
    if asked.get("anchor") != "created_at" or len(asked) != 2 or "seconds" not in asked:
        return invalid_value(name, f"'{name}' must have anchor 'created_at', and seconds.")
    seconds: Any = asked["seconds"]
    if isinstance(seconds, str):
        seconds = LIFETIME.from_text(seconds)
    refusal = LIFETIME.check(f"{name}.seconds", seconds)
    return int(seconds) if refusal is None else refusal


def _no_such_file(file_id: str) -> Refusal:
    return Refusal(message=f"No such File object: {file_id[:200]}", param="id", status=404)


def _no_such_batch(batch_id: str) -> Refusal:
    return Refusal(message=f"No batch found with id '{batch_id[:200]}'.", status=404)
