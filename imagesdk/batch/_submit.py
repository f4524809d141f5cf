"""Lay out the lines of batches, upload them, and have the server run them; see `imagesdk.batch.provider`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from io import FileIO
from pathlib import Path

import attrs

from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.rows import line_error
from imagesdk.batch.submissions import AtServer, Submission, now
from imagesdk.client.batches import ServerBatch
from imagesdk.errors import ImageSDKError
from imagesdk.protocol.jsonbody import JSONBody
from imagesdk.retry import classify

__all__ = ("Submit", "Submitted")

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


@attrs.define(kw_only=True, eq=False)
class Submit(AtServer):
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
        # What was found may be of another input, whose jobs are not counted here.
        self.summary.waiting = max(0, states.get("submitted", 0) - self.summary.requests)

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
            file.mark, file.endpoint, file_id, now(), file.jobs
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
                f"the server lists no batch of what was asked for (requests: {submission.requests:,}): the same "
                "command looks once more, and submits it again if there is still none"
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
