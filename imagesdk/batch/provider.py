"""Run requests in the server's own batches: at half the price, within a day.

Only one step is paid for: asking the server to run a file that was uploaded. It is noted in the
ledger before and after. If the process ends in between, or no answer comes, the server's list of
batches tells whether it was taken: each batch has a mark of its own in its metadata. So nothing is
submitted twice silently, and no batch is lost. What a batch did not do is a failed request like any
other: `imagesdk batch run` with the same folder does it at the full price.

What is not known: for how long a server may fail to list a batch that it has taken. A minute is
granted; requests that are then submitted again are counted.

https://platform.openai.com/docs/guides/batch (read 2026-11-26)
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import attrs

from imagesdk.batch.files import ARRIVING, arrived
from imagesdk.batch.launch import SessionLike, the_session
from imagesdk.batch.ledger import Entry, Ledger
from imagesdk.batch.records import Record
from imagesdk.batch.rows import Format, line_error
from imagesdk.batch.source import Source, open_source
from imagesdk.batch.submissions import Submission, Submissions, read_submissions
from imagesdk.batch.worker import Worker
from imagesdk.client.batches import ArrivedLine, BatchCalls, ServerBatch
from imagesdk.client.fanout import Outcome
from imagesdk.client.session import batches_of
from imagesdk.errors import (
    BadRequestError,
    BatchError,
    ConfigurationError,
    ImageSDKError,
    NotFoundError,
)
from imagesdk.models.requests import ImageRequest
from imagesdk.protocol.jsonbody import JSONBody
from imagesdk.retry import classify
from imagesdk.sinks import Folder

__all__ = (
    "MAX_BYTES",
    "MAX_LINES",
    "BatchState",
    "Fetched",
    "Submitted",
    "cancel",
    "fetch",
    "status",
    "submit",
)

# images-api.md section 3.6, read 2026-11-20
MAX_LINES = 50_000
MAX_BYTES = 200 * 1000 * 1000
_SETTLE = 60.0
_LOOKS = 20
_CLOCK_SKEW = 3600.0
_DUE_BYTES = 256 * 1024
_NOT_TAKEN = frozenset({"not_sent", "throttled", "final"})


@attrs.define(kw_only=True)
class Submitted:
    """What `submit` did.

    Attributes:
        batches: The server's ids of the batches that it runs now.
        requests: Requests in them.
        found: Of those batches, how many an earlier call had asked for without hearing that they were made.
        again: Requests that an earlier call had asked for in a batch that the server does not list, and
            that are in a new one now: if it made that one all the same, they are billed twice.
        waiting: Requests that were in a batch at the server before.
        done: Requests that were done before.
        rejected: Requests that the server refused before for what they are: not submitted.
        in_doubt: Requests that were sent one by one before, and may have been billed: not submitted.
    """

    batches: list[str] = attrs.field(factory=list)
    requests: int = 0
    found: int = 0
    again: int = 0
    waiting: int = 0
    done: int = 0
    rejected: int = 0
    in_doubt: int = 0


@attrs.define(kw_only=True)
class Fetched:
    """What `fetch` did.

    Attributes:
        done: Requests whose images are here now.
        failed: Requests that brought none, or fewer than asked for.
        images: Images that were saved now.
        ended: Batches that have ended, and of which everything is here now.
        waiting: Batches that have not ended.
        lost: Requests that were asked for in a batch that the server does not list: they are not done.
    """

    done: int = 0
    failed: int = 0
    images: int = 0
    ended: list[ServerBatch] = attrs.field(factory=list)
    waiting: list[ServerBatch] = attrs.field(factory=list)
    lost: int = 0


@attrs.frozen(kw_only=True)
class BatchState:
    """How far one batch is.

    Attributes:
        requests: In it.
        is_fetched: True if all that it brings is here.
        batch: What the server says; None if it is not known whether it has it, or if it was fetched.
        batch_id: The server's id, None if it is not known.
        status: What the server said last.
    """

    requests: int
    is_fetched: bool
    batch: ServerBatch | None
    batch_id: str | None
    status: str | None


async def submit(
    source: Source,
    out: str | os.PathLike[str],
    *,
    session: SessionLike = None,
    kind: Format | None = None,
    max_lines: int = MAX_LINES,
    max_bytes: int = MAX_BYTES,
    settle: float = _SETTLE,
    on_batch: Callable[[ServerBatch], None] = lambda _batch: None,
) -> Submitted:
    """Have requests run by the server in batches of its own, at half the price; `fetch` brings the images.

    All are checked before anything is uploaded. A batch is for one endpoint and one model, so there
    is at least one for each. To call it again submits what is neither done nor at the server.

    Args:
        source: As for `imagesdk.batch.run`, but generations and edits only.
        out: Folder for ledger, images and manifest, on a local disk; made if need be.
        session: As for `imagesdk.batch.run`. Its limiter has no part in it: batches have limits of their own.
        kind: As for `imagesdk.batch.run`.
        max_lines: Most requests in one batch, 1 or more.
        max_bytes: Most bytes in one batch's file, above 0. The file is written into *out*, and not held
            in memory.
        settle: Seconds, above 0, after which a batch that the server was asked for, without an answer,
            and that it does not list, is taken for one that it does not have.
        on_batch: Called with each batch that the server has taken.

    Returns:
        What was submitted, and what was not.

    Raises:
        ConfigurationError: A number is out of range.
        BatchError: A line cannot be used: a variation, more images than one request may ask for, a rule
            of its model. Nothing was sent.
        LedgerError: Somebody works in *out*, or its ledger cannot be used.
        ImageSDKError: The server refused or did not answer. What it had taken before is in the ledger.
        OSError: A file cannot be written.

    Example:
        >>> import asyncio, tempfile
        >>> from imagesdk import batch
        >>> rows = [{"id": "fox", "prompt": "a fox", "size": "1024x1024"}]
        >>> options = {"api_key": key, "base_url": url, "model": "gpt-image-2"}
        >>> async def main(out):
        ...     submitted = await batch.submit(rows, out, session=options)
        ...     fetched = await batch.fetch(out, session=options, wait=True, every=0.2)
        ...     states = await batch.status(out, session=options)
        ...     return submitted.requests, fetched.images, [state.is_fetched for state in states]
        >>> with tempfile.TemporaryDirectory() as out:
        ...     asyncio.run(main(out))
        (1, 1, [True])
    """
    if max_lines < 1 or max_bytes < 1 or not settle > 0:
        raise ConfigurationError(
            f"max_lines is {max_lines!r}, max_bytes {max_bytes!r}, settle {settle!r}; they must be 1 or "
            "more, and settle above 0 seconds"
        )
    folder = Path(out)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with the_session(session) as opened, Ledger(folder) as ledger:
        await ledger.load(open_source(source, kind))
        run = _Submit(
            calls=batches_of(opened),
            ledger=ledger,
            submissions=Submissions(ledger),
            out=folder,
            settle=settle,
            on_batch=on_batch,
            max_lines=max_lines,
            max_bytes=max_bytes,
        )
        await run.check()
        await run.reconcile()
        await run.count()
        try:
            await run.submit()
        except ImageSDKError as error:
            if run.summary.batches:
                taken = ", ".join(run.summary.batches)
                error.add_note(f"the server has taken these batches: {taken}")
            raise
        return run.summary


async def fetch(
    out: str | os.PathLike[str],
    *,
    session: SessionLike = None,
    wait: bool = False,
    every: float = 30.0,
    settle: float = _SETTLE,
    on_batch: Callable[[ServerBatch], None] = lambda _batch: None,
    on_record: Callable[[Record], None] = lambda _record: None,
) -> Fetched:
    """Bring what the server's batches have made: images, manifest and ledger are those of any run.

    Images go to the disk while they arrive. What a batch that expired, was cancelled or failed has not
    done is recorded as failed. To call it again goes on where it was.

    Args:
        out: The folder that they were submitted from.
        session: As for `imagesdk.batch.run`, of the account that submitted them.
        wait: Wait until all have ended; nobody else can work in *out* meanwhile.
        every: Seconds between two looks, if *wait*; above 0.
        settle: As in `submit`.
        on_batch: Called with each batch, each time that it was looked at.
        on_record: Called with each new record.

    Returns:
        What was brought, and what still runs.

    Raises:
        ConfigurationError: A number is out of range.
        BatchError: Nothing was submitted from *out*.
        LedgerError: Somebody works in *out*, or its ledger cannot be used.
        ImageSDKError: The server refused or did not answer.
        OSError: A file cannot be written.
    """
    for name, value in (("every", every), ("settle", settle)):
        if not value > 0:
            raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds")
    folder = Path(out)
    await asyncio.to_thread(read_submissions, folder)  # makes no ledger where there is none
    async with the_session(session) as opened, Ledger(folder) as ledger:
        run = _Fetch(
            calls=batches_of(opened),
            ledger=ledger,
            submissions=Submissions(ledger),
            out=folder,
            settle=settle,
            worker=Worker(opened, folder),
            on_batch=on_batch,
            on_record=on_record,
        )
        if not await run.submissions.count():
            raise BatchError(f"nothing was submitted from {folder}: see imagesdk batch submit")
        await run.reconcile()
        await run.tidy()
        while True:
            await run.look()
            if not (wait and run.summary.waiting):
                break
            await asyncio.sleep(every)
        with suppress(OSError):  # a local run may have left something for the next one
            await asyncio.to_thread((folder / ARRIVING).rmdir)
        return run.summary


async def status(out: str | os.PathLike[str], *, session: SessionLike = None) -> list[BatchState]:
    """Ask the server how far the batches are that were submitted from *out*; changes nothing.

    Args:
        out: The folder that they were submitted from.
        session: As for `imagesdk.batch.run`, of the account that submitted them.

    Returns:
        Their states, in the order in which they were submitted.

    Raises:
        LedgerError: There is no ledger, or it cannot be read.
        ImageSDKError: The server refused or did not answer.
    """
    states = []
    async with the_session(session) as opened:
        for submission in await asyncio.to_thread(read_submissions, Path(out)):
            batch = None
            if submission.batch_id is not None and not submission.closed:
                batch = await batches_of(opened).get(submission.batch_id)
            states.append(
                BatchState(
                    requests=submission.requests,
                    is_fetched=bool(submission.closed),
                    batch=batch,
                    batch_id=submission.batch_id,
                    status=submission.status if batch is None else batch.status,
                )
            )
    return states


async def cancel(out: str | os.PathLike[str], *, session: SessionLike = None) -> list[ServerBatch]:
    """Let the batches end early that were submitted from *out*; what they have done is paid for, and fetched.

    Args:
        out: The folder that they were submitted from.
        session: As for `imagesdk.batch.run`, of the account that submitted them.

    Returns:
        Those that were running.

    Raises:
        LedgerError: There is no ledger, or it cannot be read.
        ImageSDKError: The server refused or did not answer.
    """
    cancelled = []
    async with the_session(session) as opened:
        calls = batches_of(opened)
        for submission in await asyncio.to_thread(read_submissions, Path(out)):
            if submission.batch_id is None or submission.closed:
                continue
            if not (await calls.get(submission.batch_id)).has_ended:
                cancelled.append(await calls.cancel(submission.batch_id))
    return cancelled


@attrs.define(kw_only=True, eq=False)
class _AtServer:
    """What submitting and fetching have in common."""

    calls: BatchCalls
    ledger: Ledger
    submissions: Submissions
    out: Path
    settle: float
    on_batch: Callable[[ServerBatch], None]

    async def reconcile(self) -> None:
        """Find out what became of batches that were asked for without an answer."""
        for submission in await self.submissions.open():
            if submission.batch_id is None:
                batch = await self.look_for(submission)
                if batch is None:
                    await self.submissions.abandon(submission)
                    self.has_none(submission)
                else:
                    await self.submissions.found(submission, batch.id, batch.status)
                    self.has_found(submission, batch)

    def has_none(self, submission: Submission) -> None:
        """Take note that the server has no such batch."""

    def has_found(self, submission: Submission, batch: ServerBatch) -> None:
        """Take note that the server has taken a batch."""

    async def look_for(self, submission: Submission) -> ServerBatch | None:
        """Return the server's batch, None if it lists none even *settle* seconds after it was asked for."""
        since = submission.begun_at - _CLOCK_SKEW
        while (batch := await self.calls.find(submission.mark, since)) is None:
            if _now() - submission.begun_at > self.settle:
                return None
            await asyncio.sleep(self.settle / _LOOKS)
        return batch


@attrs.define(kw_only=True, eq=False)
class _Submit(_AtServer):
    """One call of `submit`."""

    max_lines: int
    max_bytes: int
    summary: Submitted = attrs.field(factory=Submitted, init=False)
    _files: dict[tuple[str, str | None], _LinesFile] = attrs.field(factory=dict, init=False)

    def has_none(self, submission: Submission) -> None:
        """Count what is submitted again."""
        self.summary.again += submission.requests

    def has_found(self, submission: Submission, batch: ServerBatch) -> None:
        """Count a batch of an earlier call."""
        self.summary.found += 1
        self._taken(submission, batch)

    async def check(self) -> None:
        """See that a line can be made of each request that is left; nothing was sent yet."""
        async for page in self._pages():
            await asyncio.to_thread(self._check_page, page)

    async def count(self) -> None:
        """Count the requests that are not submitted, and why."""
        states = await self.ledger.count()
        self.summary.done = states.get("done", 0)
        self.summary.rejected = states.get("rejected", 0)
        self.summary.in_doubt = states.get("in_doubt", 0) + states.get("started", 0)
        self.summary.waiting = states.get("submitted", 0) - self.summary.requests

    async def submit(self) -> None:
        """Upload the requests that are left and have them run."""
        try:
            async for page in self._pages():
                for entry in page:
                    await self._add(entry)
            for key in list(self._files):
                await self._send(self._files.pop(key))
        finally:
            for file in self._files.values():
                await asyncio.to_thread(file.remove)
            with suppress(OSError):
                await asyncio.to_thread((self.out / ARRIVING).rmdir)

    async def _pages(self) -> AsyncIterator[list[Entry]]:
        after = 0
        while page := await self.ledger.page(("pending", "failed"), after=after):
            after = page[-1].job.line
            yield page

    def _check_page(self, page: list[Entry]) -> None:
        for entry in page:
            self._lay_out(entry)

    def _lay_out(self, entry: Entry) -> tuple[str | None, JSONBody]:
        """Return model and line of a job; blocks."""
        job = entry.job
        try:
            model, line = self.calls.lay_out(job.custom_id, job.request)
        except ImageSDKError as error:
            raise line_error(job.line, str(error)) from None
        if line.size_bytes > self.max_bytes:
            raise line_error(
                job.line,
                f"takes {line.size_bytes:,} bytes with its images; the file of a batch may have "
                f"{self.max_bytes:,}: make the images smaller, or run it with `imagesdk batch run`",
            )
        return model, line

    async def _add(self, entry: Entry) -> None:
        """Write the line of a job into the file of its endpoint and model; send that if it is full."""
        model, line = await asyncio.to_thread(self._lay_out, entry)
        key = entry.job.endpoint, model
        file = self._files.get(key)
        if file is not None and (
            len(file.jobs) >= self.max_lines or file.size_bytes + line.size_bytes > self.max_bytes
        ):
            await self._send(self._files.pop(key))
            file = None
        if file is None:
            file = _LinesFile(folder=self.out / ARRIVING, endpoint=entry.job.endpoint)
            self._files[key] = file
        await file.add(entry.id, line)

    async def _send(self, file: _LinesFile) -> None:
        """Upload a file and have it run."""
        try:
            path = await file.finish()
            file_id = await self.calls.upload(path, f"imagesdk-{file.mark}.jsonl")
        finally:
            await asyncio.to_thread(file.remove)
        submission = await self.submissions.begin(
            file.mark, file.endpoint, file_id, _now(), file.jobs
        )
        batch = await self._create(submission)
        await self.submissions.found(submission, batch.id, batch.status)
        self._taken(submission, batch)

    async def _create(self, submission: Submission) -> ServerBatch:
        """Ask for a batch; if no answer comes, look whether there is one."""
        try:
            return await self.calls.create(submission.file_id, submission.endpoint, submission.mark)
        except ImageSDKError as error:
            failure = error
        if classify(failure) in _NOT_TAKEN:
            await self.submissions.abandon(submission)
            raise failure
        batch = await self.look_for(submission)
        if batch is None:
            failure.add_note(
                f"the server lists no batch of these {submission.requests} requests: the same command "
                "looks once more, and submits them again if there is still none"
            )
            raise failure
        return batch

    def _taken(self, submission: Submission, batch: ServerBatch) -> None:
        self.summary.batches.append(batch.id)
        self.summary.requests += submission.requests
        self.on_batch(batch)


@attrs.define(kw_only=True, eq=False)
class _LinesFile:
    """The file of a batch while it is written."""

    folder: Path
    endpoint: str
    mark: str = attrs.field(factory=lambda: secrets.token_hex(16))
    jobs: list[int] = attrs.field(factory=list)
    size_bytes: int = 0
    _file: FileIO | None = None
    _pending: list[bytes] = attrs.field(factory=list)
    _pending_bytes: int = 0

    @property
    def path(self) -> Path:
        """Where it is; what is left of it after a crash is removed like any half-written image."""
        return self.folder / f"{self.mark}.part"

    async def add(self, job: int, line: JSONBody) -> None:
        """Write a line, the images in it piece by piece."""
        for segment in line.segments:
            if isinstance(segment, bytes):
                await self._write(segment)
            else:
                async with aclosing(segment.chunks()) as chunks:
                    async for chunk in chunks:
                        await self._write(bytes(chunk))
        self.jobs.append(job)
        self.size_bytes += line.size_bytes

    async def finish(self) -> Path:
        """Return where the whole file is."""
        await asyncio.to_thread(self._flush)
        return self.path

    def remove(self) -> None:
        """Remove the file; blocks."""
        if self._file is not None:
            self._file.close()
        self.path.unlink(missing_ok=True)

    async def _write(self, piece: bytes) -> None:
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if self._pending_bytes >= _DUE_BYTES:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        if self._file is None:
            self.folder.mkdir(exist_ok=True)
            self._file = FileIO(self.path, "xb")
        rest = memoryview(b"".join(self._pending))
        while rest:
            rest = rest[self._file.write(rest) :]
        self._pending, self._pending_bytes = [], 0


@attrs.define(kw_only=True, eq=False)
class _Fetch(_AtServer):
    """One call of `fetch`."""

    worker: Worker
    on_record: Callable[[Record], None]
    summary: Fetched = attrs.field(factory=Fetched, init=False)

    def has_none(self, submission: Submission) -> None:
        """Count what is to be done again."""
        self.summary.lost += submission.requests

    async def tidy(self) -> None:
        """Remove what arrived of our batches and was not put in its place: it comes again."""
        marks = {submission.mark for submission in await self.submissions.open()}

        def remove() -> None:
            for mark, images in arrived(self.out).items():
                for path in images.values() if mark in marks else ():
                    path.unlink()

        await asyncio.to_thread(remove)

    async def look(self) -> None:
        """Look at each batch, and bring what those have made that have ended."""
        self.summary.waiting = []
        for submission in await self.submissions.open():
            if submission.batch_id is None:
                continue
            batch = await self.calls.get(submission.batch_id)
            self.on_batch(batch)
            await self.submissions.found(submission, batch.id, batch.status)
            if batch.has_ended:
                await self._bring(submission, batch)
                self.summary.ended.append(batch)
            else:
                self.summary.waiting.append(batch)

    async def _bring(self, submission: Submission, batch: ServerBatch) -> None:
        """Bring the images of a batch; what it has not done has failed."""

        async def keep(line: ArrivedLine) -> None:
            entry = await self.submissions.entry(submission, line.custom_id)
            if entry is not None:  # or it is here already
                outcome = await line.outcome(entry.job.request, entry.images)
                await self._finish(entry, batch, outcome, line.request_id)

        folder = Folder(self.out / ARRIVING, name=submission.mark)
        lost: list[str] = []
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                try:
                    await self.calls.read_file(file_id, folder, keep)
                except NotFoundError:
                    lost.append(file_id)
        named = _errors_by_line(batch)
        while left := await self.submissions.left(submission):
            for place, entry in left:
                error = named.get(place) or _why_not(batch, lost)
                outcome = Outcome(index=0, request=entry.job.request, error=error)
                await self._finish(entry, batch, outcome, None)
        await self.submissions.close(submission)

    async def _finish(
        self,
        entry: Entry,
        batch: ServerBatch,
        outcome: Outcome[ImageRequest],
        request_id: str | None,
    ) -> None:
        elapsed = float(max(0, (batch.ended_at or batch.created_at) - batch.created_at))
        record = await self.worker.save(entry, outcome, elapsed)
        record = attrs.evolve(record, batch_id=batch.id, request_id=record.request_id or request_id)
        await self.ledger.finish(entry, record)
        self.summary.images += len(record.images)
        if record.status == "done":
            self.summary.done += 1
        else:
            self.summary.failed += 1
        self.on_record(record)


def _errors_by_line(batch: ServerBatch) -> Mapping[int, ImageSDKError]:
    """Return what a batch that failed says of single lines: those are wrong, the others are not."""
    found = {}
    for error in batch.errors:
        line, code = error.get("line"), error.get("code")
        if isinstance(line, int):
            found[line] = BadRequestError(
                f"{batch.id} failed at this request: {error.get('message')}",
                error=error,
                code=None if code is None else str(code),
            )
    return found


def _why_not(batch: ServerBatch, lost: list[str]) -> ImageSDKError:
    """Return the error for a request of which the files of its batch say nothing."""
    again = "`imagesdk batch run` with the same folder does it, at the full price"
    if lost:
        return BatchError(
            f"the server no longer has {' and '.join(lost)}, in which its answer was: it was billed "
            f"if it was done before {batch.id} ended as {batch.status}",
            may_be_billed=True,
        )
    if batch.status == "completed":
        return BatchError(
            f"{batch.id} has ended, and its files say nothing of this request: it may have been billed",
            may_be_billed=True,
        )
    said = "; ".join(str(error.get("message")) for error in batch.errors[:3])
    return BatchError(
        f"{batch.id} ended as {batch.status}{f' ({said})' if said else ''} before this request was run; {again}"
    )


def _now() -> float:
    return datetime.now(UTC).timestamp()
