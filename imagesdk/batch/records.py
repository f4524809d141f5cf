"""The record of a job, which is a line of ``manifest.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from imagesdk.errors import (
    BadRequestError,
    ImageSDKError,
    LedgerError,
    ModerationError,
)
from imagesdk.models.requests import Endpoint

__all__ = ("MANIFEST", "Record", "Status", "error_fields", "read_manifest", "status_of")

MANIFEST = "manifest.jsonl"

Status: TypeAlias = Literal["done", "partial", "failed", "rejected", "in_doubt"]


@attrs.frozen(kw_only=True)
class Record:
    """What became of one job: a line of the manifest.

    Attributes:
        custom_id: Of the job.
        line: Of the job in the input file.
        status: ``"done"``; ``"partial"``, fewer images than asked for; ``"failed"``, nothing was made;
            ``"rejected"``, the server refused the request for what it is; ``"in_doubt"``, images may have
            been made, and billed, that did not arrive.
        endpoint: ``"generations"``, ``"edits"`` or ``"variations"``.
        params: The body as it stands in the input file.
        key: Hash of the request.
        images: A mapping for each image: file, mime_type, width, height, bytes, sha256, revised_prompt.
        usage: Tokens, if the server counts them.
        request_id: The server's.
        attempts: HTTP exchanges that it took.
        elapsed: Seconds that it took.
        waited: Seconds of them outside of exchanges: in the queue, in pauses, in downloads. 0 for a
            request that was split.
        error: type, message, status, code and may_be_billed; None for ``"done"``.
        finished_at: UTC, ISO 8601.
        cost: What it cost, at most, in the currency of the price table; None without one.
        prices: Version of that table.
        batch_id: Of the server's own batch that it was in, at half the price; None if it was sent by itself.
    """

    custom_id: str
    line: int = 0
    status: Status
    endpoint: Endpoint
    params: Mapping[str, Any]
    key: str
    images: Sequence[Mapping[str, Any]]
    usage: Mapping[str, Any] | None
    request_id: str | None
    attempts: int
    elapsed: float = 0.0
    waited: float = 0.0
    error: Mapping[str, Any] | None
    finished_at: str
    cost: float | None = None
    prices: str | None = None
    batch_id: str | None = None


def status_of(error: ImageSDKError | None, saved: int) -> Status:
    """Return what an error, and the number of images that are there all the same, make of a job."""
    if error is None:
        return "done"
    if saved:
        return "partial"
    if error.may_be_billed:
        return "in_doubt"
    return "rejected" if isinstance(error, BadRequestError | ModerationError) else "failed"


def error_fields(error: ImageSDKError) -> Mapping[str, Any]:
    """Return what a record says of an error."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "status": error.status,
        "code": getattr(error, "code", None),
        "may_be_billed": error.may_be_billed,
    }


def read_manifest(path: Path) -> Iterator[Record]:
    """Yield the records of a manifest; a last line that a crash cut off is passed over.

    Raises:
        LedgerError: A line is no record; it names file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield msgspec.json.decode(line, type=Record)
            except (msgspec.DecodeError, UnicodeError) as error:
                raise LedgerError(f"{path}: line {number} is no record of a run: {error}") from None
