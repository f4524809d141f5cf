"""Run the jobs of a batch and keep what they bring: image files and a manifest.

An image is written before its line in ``manifest.jsonl`` is, so the manifest never names a file that is
not there. Running the same batch again skips what the manifest says is done.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec

from imagesdk.batch.jobs import Job
from imagesdk.client.fanout import Outcome
from imagesdk.client.results import Image, ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AuthenticationError,
    BatchError,
    ImageSDKError,
    PartialResultError,
    PermissionDeniedError,
    QuotaExceededError,
)
from imagesdk.models.requests import ImageRequest

__all__ = ("MANIFEST", "Record", "Summary", "run_jobs")

MANIFEST = "manifest.jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_STOPS = (AuthenticationError, PermissionDeniedError, QuotaExceededError)
"""What the next job would meet, too."""


@attrs.frozen(kw_only=True)
class Record:
    """What became of one job: a line of the manifest.

    Attributes:
        custom_id: Of the job.
        status: ``"done"``, ``"partial"`` (fewer images than asked for) or ``"failed"``.
        endpoint: ``"generations"``, ``"edits"`` or ``"variations"``.
        params: The body as it stands in the input file.
        key: Hash of the request.
        images: A mapping for each image: file, mime_type, width, height, bytes, sha256, revised_prompt.
        usage: Tokens, if the server counts them.
        request_id: The server's.
        attempts: HTTP exchanges that it took.
        error: type, message, status, code and may_be_billed; None for ``"done"``.
        finished_at: UTC, ISO 8601.
    """

    custom_id: str
    status: str
    endpoint: str
    params: Mapping[str, Any]
    key: str
    images: Sequence[Mapping[str, Any]]
    usage: Mapping[str, Any] | None
    request_id: str | None
    attempts: int
    error: Mapping[str, Any] | None
    finished_at: str


@attrs.define(kw_only=True)
class Summary:
    """The count of a run.

    Attributes:
        skipped: Jobs that an earlier run had done.
        done: Jobs that are done now.
        failed: Jobs that failed, or brought fewer images than asked for.
        images: Images that were saved now.
        stopped: Why the run was ended early; None if it was not.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0
    images: int = 0
    stopped: ImageSDKError | None = None


async def run_jobs(
    session: ImageSession,
    jobs: Iterable[Job],
    out: Path,
    *,
    concurrency: int = 16,
    on_record: Callable[[Record, bool], None] = lambda _record, _is_new: None,
) -> Summary:
    """Run *jobs* and save what they bring into *out*.

    Args:
        session: Sends the requests.
        jobs: From `imagesdk.batch.jobs.read_jobs`.
        out: Folder for images and manifest; made if need be.
        concurrency: Most requests in flight.
        on_record: Called with each record, and whether it is new or from an earlier run.

    Returns:
        What was done. Failed jobs are counted, not raised. An error that every job would meet (a wrong
        key, no credit) ends the run: what is in flight is finished first.

    Raises:
        BatchError: The manifest of an earlier run does not fit to the jobs.
        OSError: A file cannot be written; what was saved before stays.
    """
    every = await asyncio.to_thread(list[Job], jobs)  # read_jobs looks for files
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    earlier = await asyncio.to_thread(_read_manifest, out / MANIFEST)
    run = _Run(out=out, stems=_stems(every), on_record=on_record)
    todo: list[Job] = []
    for job in every:
        record = earlier.get(job.custom_id)
        if record is not None and await asyncio.to_thread(_is_done, record, job, out):
            run.summary.skipped += 1
            on_record(record, False)  # noqa: FBT003 - the callback's second argument is its own
        else:
            todo.append(job)
    await run.run(session, todo, concurrency)
    return run.summary


@attrs.define(kw_only=True)
class _Run:
    """What is left to do of a batch, while it is done."""

    out: Path
    stems: Mapping[str, str]
    on_record: Callable[[Record, bool], None]
    summary: Summary = attrs.field(factory=Summary)

    async def run(self, session: ImageSession, jobs: Sequence[Job], concurrency: int) -> None:
        """Send the jobs; images are saved side by side with the requests."""
        async with AsyncExitStack() as stack:
            arriving = await asyncio.to_thread(tempfile.mkdtemp, prefix=".arriving-", dir=self.out)
            stack.push_async_callback(
                asyncio.to_thread, shutil.rmtree, arriving, ignore_errors=True
            )
            outcomes = session.map(self._requests(jobs), concurrency=concurrency, save_to=arriving)
            manifest = await asyncio.to_thread((self.out / MANIFEST).open, "ab")
            stack.push_async_callback(asyncio.to_thread, manifest.close)
            writing, saving = asyncio.Lock(), asyncio.Semaphore(concurrency)

            async def keep(job: Job, outcome: Outcome[ImageRequest]) -> None:
                try:
                    record = await _save(job, outcome, self.out / self.stems[job.custom_id])
                    async with writing:
                        await asyncio.to_thread(_append, manifest.fileno(), record)
                finally:
                    saving.release()
                self._count(record)

            try:
                async with asyncio.TaskGroup() as group, outcomes:
                    async for outcome in outcomes:
                        if isinstance(outcome.error, _STOPS):
                            self.summary.stopped = self.summary.stopped or outcome.error
                        await saving.acquire()  # a slow disk slows the requests down
                        group.create_task(keep(jobs[outcome.index], outcome))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None  # the others are about the same disk

    def _requests(self, jobs: Sequence[Job]) -> Iterator[ImageRequest]:
        for job in jobs:
            if self.summary.stopped is not None:
                return
            yield job.request

    def _count(self, record: Record) -> None:
        self.summary.images += len(record.images)
        if record.status == "done":
            self.summary.done += 1
        else:
            self.summary.failed += 1
        self.on_record(record, True)  # noqa: FBT003


async def _save(job: Job, outcome: Outcome[ImageRequest], stem: Path) -> Record:
    """Save the images of an outcome as ``stem-1.png`` and so on, and return its record."""
    error = outcome.error
    result: ImagesResponse | None = outcome.response
    if isinstance(error, PartialResultError):
        result = error.result
        if len(error.result.data) >= error.requested:  # all arrived: saving is tried once more
            error = None
    images: list[Mapping[str, Any]] = []
    for number, image in enumerate(result.data if result is not None else (), start=1):
        try:
            path = await _keep(image, f"{stem}-{number}")
        except ImageSDKError as failure:  # a download that failed
            error = error or failure
        else:
            images.append(await asyncio.to_thread(_describe, image, path))
    status = "done" if error is None else "partial" if images else "failed"
    answered = result if result is not None else error
    return Record(
        custom_id=job.custom_id,
        status=status,
        endpoint=job.request.endpoint,
        params=job.params,
        key=job.key,
        images=images,
        usage=result.usage if result is not None else None,
        request_id=answered.request_id if answered is not None else None,
        attempts=len(answered.attempts) if answered is not None else 0,
        error=_error_fields(error) if error is not None else None,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


async def _keep(image: Image, path: str) -> Path:
    """Move an image that is on disk to *path*, with its suffix; save one that is not."""
    if image.path is None:
        return await image.save(path)
    target = Path(f"{path}{image.path.suffix}")
    image.path = await asyncio.to_thread(image.path.replace, target)
    return target


def _describe(image: Image, path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        size_bytes, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256")
    return {
        "file": path.name,
        "mime_type": image.mime_type,
        "width": image.width,
        "height": image.height,
        "bytes": size_bytes,
        "sha256": digest.hexdigest(),
        "revised_prompt": image.revised_prompt,
    }


def _error_fields(error: ImageSDKError) -> Mapping[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "status": error.status,
        "code": getattr(error, "code", None),
        "may_be_billed": error.may_be_billed,
    }


def _append(descriptor: int, record: Record) -> None:
    line = msgspec.json.encode(record) + b"\n"
    while line:
        line = line[os.write(descriptor, line) :]
    os.fsync(descriptor)


def _read_manifest(path: Path) -> dict[str, Record]:
    """Return the last record of each job; a last line that was torn by a crash is cut off."""
    records: dict[str, Record] = {}
    if not path.exists():
        return records
    with path.open("r+b") as file:
        whole = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                record = msgspec.json.decode(line, type=Record)
            except msgspec.DecodeError as error:
                raise BatchError(f"{path}: line {number} is no record of a run: {error}") from None
            records[record.custom_id] = record
        file.truncate(whole)
    return records


def _is_done(record: Record, job: Job, out: Path) -> bool:
    if record.key != job.key and record.images:
        raise BatchError(
            f"line {job.line}: {job.custom_id!r} was made with other parameters by an earlier run "
            f"into {out}; give it another id, or choose another --out",
            line=job.line,
        )
    return record.status == "done" and all((out / i["file"]).is_file() for i in record.images)


def _stems(jobs: Sequence[Job]) -> dict[str, str]:
    """Return a file name for each job, from its id: safe anywhere, and never the same for two."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for job in jobs:
        stem = _UNSAFE.sub("-", job.custom_id).strip(".-")[:100] or "job"
        if stem.lower() != job.custom_id.lower() or stem.lower() in taken:
            stem = f"{stem}-{hashlib.sha256(job.custom_id.encode()).hexdigest()[:8]}"
        taken.add(stem.lower())
        stems[job.custom_id] = stem
    return stems
