"""Run the jobs of a batch and keep what they bring: image files, a ledger and a manifest.

Running the same batch again does what is left. What was in flight when a run was killed is looked for
on the disk first; what is not there is in doubt: it may have been billed, and is sent again with the
Idempotency-Key that it had, so that a server that honours it bills it once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import attrs

from imagesdk.batch.engine import Engine
from imagesdk.batch.files import ARRIVING, arrived, is_there
from imagesdk.batch.jobs import Job
from imagesdk.batch.ledger import Entry, Ledger, State, Total
from imagesdk.batch.records import Record
from imagesdk.batch.worker import recover
from imagesdk.errors import ConfigurationError, ImageSDKError, LedgerError

__all__ = ("InDoubt", "Summary", "run_jobs")

InDoubt = Literal["retry", "skip"]


@attrs.define(kw_only=True)
class Summary:
    """The count of a run.

    Attributes:
        skipped: Jobs that an earlier run had done.
        done: Jobs that are done now.
        failed: Jobs that failed now, or brought fewer images than asked for.
        images: Images that were saved now.
        recovered: Jobs that were in flight when an earlier run ended, and whose images had arrived.
        rejected: Jobs that the server refused in an earlier run for what they are: not sent again.
        in_doubt: Jobs that may have been billed in an earlier run, and were not sent again.
        submitted: Jobs that are in a batch of the server's; `imagesdk.batch.provider.fetch` brings them.
        resent: Jobs that may have been billed in an earlier run, and were sent again.
        resent_images: Images that those asked for: so many may have been billed twice.
        left: Jobs that were not begun, because the run was ended early.
        stopped: Why it was; None if it was not.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0
    images: int = 0
    recovered: int = 0
    rejected: int = 0
    in_doubt: int = 0
    submitted: int = 0
    resent: int = 0
    resent_images: int = 0
    left: int = 0
    stopped: ImageSDKError | None = None


async def run_jobs(
    engine: Engine,
    jobs: Iterable[Job],
    out: Path,
    *,
    concurrency: int = 16,
    in_doubt: InDoubt = "retry",
    on_begin: Callable[[Total], None] = lambda _total: None,
    on_start: Callable[[Job], None] = lambda _job: None,
    on_record: Callable[[Record, bool], None] = lambda _record, _is_new: None,
) -> Summary:
    """Run *jobs* and save what they bring into *out*.

    Args:
        engine: Does the jobs: a `imagesdk.batch.worker.Worker`, to do them in this event loop.
        jobs: From `imagesdk.batch.jobs.read_jobs`. They are read to the end, in a thread, before
            anything is sent, and none is held in memory: the ledger has them.
        out: Folder for images, ledger and manifest on a local disk; made if need be.
        concurrency: Most requests in flight.
        in_doubt: What to do with jobs that an earlier run sent without hearing of their end, so that they
            may have been billed: ``"retry"`` sends them again with the same Idempotency-Key,
            ``"skip"`` leaves them.
        on_begin: Called once the jobs are counted.
        on_start: Called when a request is about to be sent: its wait for the limit is over.
        on_record: Called with each record, and whether it is new or from an earlier run.

    Returns:
        What was done. Failed jobs are counted, not raised. An error that every job would meet (a wrong
        key, no credit) ends the run: what is in flight is finished first.

    Raises:
        BatchError: A job cannot be used, or was done with other parameters; nothing was sent.
        LedgerError: Another runner works in *out*, or the ledger cannot be read or written.
        OSError: A file cannot be written; what is in flight is finished first. What was saved stays.
    """
    if concurrency < 1:
        raise ConfigurationError(f"concurrency is {concurrency!r}; it must be 1 or more")
    if in_doubt not in ("retry", "skip"):
        raise ConfigurationError(f"in_doubt is {in_doubt!r}; it must be 'retry' or 'skip'")
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    async with Ledger(out) as ledger:
        run = _Run(engine=engine, out=out, ledger=ledger, on_start=on_start, on_record=on_record)
        await run.recover()
        total = await ledger.load(jobs)
        on_begin(total)
        await run.look_back(in_doubt)
        await run.work(concurrency, in_doubt)
        with suppress(OSError):  # what is still in it is for the next run
            await asyncio.to_thread((out / ARRIVING).rmdir)
    summary = run.summary
    if run.failure is not None:
        run.failure.add_note(
            f"{summary.images} images were saved now in {out}; run it again once that is put right"
        )
        raise run.failure
    begun = summary.skipped + summary.done + summary.failed + summary.rejected + summary.in_doubt
    summary.left = total.jobs - begun - summary.submitted
    return summary


@attrs.define(kw_only=True, eq=False)
class _Run:
    """One run, while it lasts."""

    engine: Engine
    out: Path
    ledger: Ledger
    on_start: Callable[[Job], None]
    on_record: Callable[[Record, bool], None]
    summary: Summary = attrs.field(factory=Summary)
    failure: OSError | LedgerError | None = None
    _next: deque[Entry] = attrs.field(factory=deque[Entry], init=False)
    _after: int = attrs.field(default=0, init=False)
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    async def recover(self) -> None:
        """Find what arrived of the requests that were in flight when the last run ended."""
        found = await asyncio.to_thread(arrived, self.out)
        for entry in await self.ledger.started():
            record = await asyncio.to_thread(recover, self.out, entry, found)
            self.summary.recovered += record.status == "done"
            await self.ledger.finish(entry, record)

    async def look_back(self, in_doubt: InDoubt) -> None:
        """Tell what earlier runs did; what they did and is no longer there is to be done again."""
        states: list[State] = ["done", "rejected", "submitted"]
        if in_doubt == "skip":
            states.append("in_doubt")
        after = 0
        while page := await self.ledger.page(states, after=after):
            after = page[-1].job.line
            gone = await asyncio.to_thread(_gone, self.out, page)
            if gone:
                await self.ledger.reset(gone)
            for entry in page:
                if entry.state == "submitted":
                    self.summary.submitted += 1
                elif entry not in gone and entry.record is not None:
                    self.summary.skipped += entry.state == "done"
                    self.summary.rejected += entry.state == "rejected"
                    self.summary.in_doubt += entry.state == "in_doubt"
                    self.on_record(entry.record, False)  # noqa: FBT003 - the callback's own

    async def work(self, concurrency: int, in_doubt: InDoubt) -> None:
        """Do what is left, *concurrency* requests side by side."""
        states: list[State] = ["pending", "failed"]
        if in_doubt == "retry":
            states.append("in_doubt")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._worker(states))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _worker(self, states: Sequence[State]) -> None:
        """Do one job after the other, until there is none or the run is to end."""
        try:
            while (entry := await self._take(states)) is not None:
                await self._do(entry)
        except (OSError, LedgerError) as error:  # the others finish what is paid for
            self.failure = self.failure or error

    async def _take(self, states: Sequence[State]) -> Entry | None:
        async with self._turn:
            if not self._next:
                self._next += await self.ledger.page(states, after=self._after)
                if self._next:
                    self._after = self._next[-1].job.line
            if not self._next or self.summary.stopped is not None or self.failure is not None:
                return None
            return self._next.popleft()

    async def _do(self, entry: Entry) -> None:
        """Let the engine do a job, and keep the books."""
        in_doubt = entry.state == "in_doubt"
        key = (entry.idempotency_key if in_doubt else None) or secrets.token_hex(16)
        entry = attrs.evolve(entry, idempotency_key=key)
        sent = False

        async def before_send() -> None:
            nonlocal sent
            await self.ledger.start(entry, key)
            if not sent:
                sent = True
                self.on_start(entry.job)

        report = await self.engine.do(entry, before_send)
        if in_doubt and sent:
            self.summary.resent += 1
            self.summary.resent_images += entry.images
        self.summary.stopped = self.summary.stopped or report.stop
        await self.ledger.finish(entry, report.record)
        self._count(report.record)

    def _count(self, record: Record) -> None:
        self.summary.images += len(record.images)
        if record.status == "done":
            self.summary.done += 1
        else:
            self.summary.failed += 1
        self.on_record(record, True)  # noqa: FBT003


def _gone(out: Path, page: Iterable[Entry]) -> list[Entry]:
    """Return the jobs that are done and whose files are no longer there."""
    return [
        entry
        for entry in page
        if entry.state == "done" and entry.record and not is_there(out, entry.record.images)
    ]
