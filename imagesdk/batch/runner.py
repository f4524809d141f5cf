"""Run the jobs of a batch and keep what they bring: image files, a ledger and a manifest.

Running the same batch again does what is left. What was in flight when a run was killed is looked for
on the disk first; what is not there is in doubt: it may have been billed, and is sent again with the
Idempotency-Key that it had, so that a server that honours it bills it once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import attrs

from imagesdk.batch.destination import Destination, destination_of
from imagesdk.batch.engine import Engine, Report, WorkerLost
from imagesdk.batch.entries import Entry, State, Total
from imagesdk.batch.files import ARRIVING, arrived, free_bytes
from imagesdk.batch.jobs import Job
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.limits import Budget, Limits, Stop, StopReason, disk_is_full
from imagesdk.batch.records import Record
from imagesdk.batch.worker import record_of, recover
from imagesdk.errors import Attempt, BatchError, ConfigurationError, ImageSDKError, LedgerError

__all__ = ("InDoubt", "Summary", "run_jobs")

InDoubt = Literal["retry", "skip"]

_MEASURE_EVERY = 1.0
"""Seconds between two looks at the room on the disk."""
_GRACE = 0.5
"""Seconds for a request whose last attempt has failed to report so."""
_ASKED = Stop(reason="asked", message="the run was asked to end")
_ENDED: tuple[State, ...] = ("done", "rejected", "submitted", "in_doubt")
_MOST_LOST = 3
"""Workers that a job may lose in one run: it may be the job that kills them."""


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
        left: Jobs that were not begun, because the run was ended early, or was a sample.
        cost: What the run cost, at most; None without a price table.
        stopped: Why it was ended early; None if it was not.
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
    cost: float | None = None
    stopped: Stop | None = None


async def run_jobs(
    engine: Engine,
    jobs: Iterable[Job] | None,
    out: Path | Destination,
    *,
    concurrency: int = 16,
    in_doubt: InDoubt = "retry",
    allow_changed: bool = False,
    sample: int | None = None,
    only: Collection[State] | None = None,
    limits: Limits | None = None,
    stop: asyncio.Event | None = None,
    on_begin: Callable[[Total], None] = lambda _total: None,
    on_due: Callable[[Total], None] = lambda _total: None,
    on_start: Callable[[Job], None] = lambda _job: None,
    on_record: Callable[[Record, bool], None] = lambda _record, _is_new: None,
    on_stop: Callable[[Stop], None] = lambda _stop: None,
) -> Summary:
    """Run *jobs* and save what they bring into *out*.

    Args:
        engine: Does the jobs: a `imagesdk.batch.worker.Worker`, to do them in this event loop.
        jobs: From `imagesdk.batch.source.open_source`. They are read to the end, in a thread, before
            anything is sent, and none is held in memory: the ledger has them. None for those of the last run.
        out: Folder for images, ledger and manifest on a local disk, made if need be; or another place.
        concurrency: Most requests in flight.
        in_doubt: What to do with jobs that an earlier run sent without hearing of their end, so that they
            may have been billed: ``"retry"`` sends them again with the same Idempotency-Key,
            ``"skip"`` leaves them.
        allow_changed: Make a job again whose images were made with other parameters, or from another
            picture; the old files stay. False refuses the whole input.
        only: Do the jobs in these states. None for ``"pending"`` and ``"failed"``, and what *in_doubt* says.
        sample: Do so many jobs, spread over all that are to be done, and leave the rest.
        limits: What ends the run early. None for nothing but an error that every job would meet (a wrong
            key, no credit), or a disk that is full.
        stop: Setting it ends the run early.
        on_begin: Called once the jobs are counted.
        on_due: Called once it is known what this run will do, after the records of earlier ones.
        on_start: Called when a request is about to be sent: its wait for the limit is over.
        on_record: Called with each record, and whether it is new or from an earlier run.
        on_stop: Called when the run is to end early.

    Returns:
        What was done. Failed jobs are counted, not raised. A run that ends early begins nothing any more, and
        waits for what is in flight, which is paid for; jobs that only waited for the limit are left.
        So are those that wait for the end of a pause after a 429, or to be tried again; if what they tried may
        have been billed they are in doubt.

        Cancelling ends the run at once: what is in flight is in doubt, and the ledger says so.

    Raises:
        BatchError: A job cannot be used, or was done with other parameters; nothing was sent.
        LedgerError: Another runner works in *out*, or the ledger cannot be read or written.
        OSError: A file or an object cannot be written; what is in flight is finished first. What was saved stays.
    """
    if concurrency < 1:
        raise ConfigurationError(f"concurrency is {concurrency!r}; it must be 1 or more")
    if in_doubt not in ("retry", "skip"):
        raise ConfigurationError(f"in_doubt is {in_doubt!r}; it must be 'retry' or 'skip'")
    if sample is not None and sample < 1:
        raise ConfigurationError(f"sample is {sample!r}; it must be 1 or more")
    states = only or ("pending", "failed", *(("in_doubt",) if in_doubt == "retry" else ()))
    destination = destination_of(out)
    async with Ledger(destination.folder, destination.here) as ledger:
        run = _Run(
            engine=engine,
            out=destination,
            ledger=ledger,
            states=states,
            budget=Budget(limits=limits or Limits()),
            on_due=on_due,
            on_start=on_start,
            on_record=on_record,
            on_stop=on_stop,
        )
        try:
            await destination.prepare()
            await run.recover()
            if jobs is None:
                total = await ledger.total()
            else:
                total = await ledger.load(_until(stop, jobs), allow_changed=allow_changed)
        except (ImageSDKError, OSError):
            await ledger.discard()
            raise
        except _StoppedError:
            on_stop(_ASKED)
            return Summary(stopped=_ASKED)
        on_begin(total)
        await run.adopt()
        await run.look_back()
        try:
            await run.work(concurrency, sample, stop)
        except asyncio.CancelledError:
            await _undisturbed(run.recover())
            raise
        with suppress(OSError):  # what is still in it is for the next run
            await asyncio.to_thread((destination.here / ARRIVING).rmdir)
    summary = run.summary
    if run.failure is not None:
        run.failure.add_note(
            f"images saved now in {destination}: {summary.images:,}; run it again once that is put right"
        )
        raise run.failure
    begun = summary.skipped + summary.done + summary.failed + summary.rejected + summary.in_doubt
    summary.left = total.jobs - begun - summary.submitted
    if run.budget.limits.prices is not None:
        summary.cost = round(run.budget.cost, 6)
    return summary


class _StoppedError(Exception):
    """The run was asked to end while its input was read."""


def _until(stop: asyncio.Event | None, jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield *jobs*, in the ledger's thread; the input is taken back if the run is asked to end meanwhile."""
    for job in jobs:
        if stop is not None and stop.is_set():
            raise _StoppedError
        yield job


async def _undisturbed(work: Coroutine[None, None, None]) -> None:
    """Do *work* to its end, although the task is cancelled, perhaps once more; what fails is left."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError, OSError, LedgerError):
            await asyncio.shield(task)


@attrs.define(eq=False)
class _Flight:
    """A job that the engine does."""

    doing: asyncio.Task[Report]
    is_sent: bool = False
    is_done: bool = False
    may_be_billed: bool = False
    _exchanges: int = 0

    @property
    def is_waiting(self) -> bool:
        """True if nothing of it is in flight, and nothing has come of it."""
        return not self._exchanges and not self.is_done

    def begin(self) -> None:
        """Note that an attempt begins."""
        self.is_sent = True
        self._exchanges += 1

    def end(self, attempt: Attempt) -> None:
        """Note how an attempt ended."""
        self._exchanges -= 1
        self.is_done |= attempt.outcome == "ok"
        self.may_be_billed |= attempt.may_be_billed


@attrs.define(kw_only=True, eq=False)
class _Run:
    """One run, while it lasts."""

    engine: Engine
    out: Destination
    ledger: Ledger
    states: Collection[State]
    budget: Budget
    on_due: Callable[[Total], None]
    on_start: Callable[[Job], None]
    on_record: Callable[[Record, bool], None]
    on_stop: Callable[[Stop], None]
    summary: Summary = attrs.field(factory=Summary)
    failure: Exception | None = None
    _next: deque[Entry] = attrs.field(factory=deque[Entry], init=False)
    _after: int = attrs.field(default=0, init=False)
    _measure_at: float = attrs.field(default=0.0, init=False)
    _more: bool = attrs.field(default=True, init=False)
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _lost: Counter[int] = attrs.field(factory=Counter[int], init=False)
    _flights: set[_Flight] = attrs.field(factory=set["_Flight"], init=False)

    async def recover(self) -> None:
        """Find what arrived of the requests that were in flight when the last run ended."""
        found = await asyncio.to_thread(arrived, self.out.here)
        for entry in await self.ledger.started():
            record = await recover(self.out, entry, found)
            self.summary.recovered += record.status == "done"
            await self.ledger.finish(entry, record)

    async def adopt(self) -> None:
        """Find what a run made of which this ledger knows nothing, where images can be listed."""
        after = 0
        while self.out.lists and (page := await self.ledger.page(["pending"], after=after)):
            after = page[-1].job.line
            for entry in await self.out.complete(page):
                await self.ledger.finish(entry, await recover(self.out, entry, {}))
                self.summary.recovered += 1

    async def look_back(self) -> None:
        """Tell what earlier runs did; what they did and is no longer there is to be done again."""
        after = 0
        states: list[State] = [state for state in _ENDED if state not in self.states]
        while page := await self.ledger.page(states, after=after):
            after = page[-1].job.line
            gone = await self.out.gone(page)
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

    async def work(self, concurrency: int, sample: int | None, stop: asyncio.Event | None) -> None:
        """Do what is left, *concurrency* requests side by side."""
        if sample is not None:
            self._next += await self.ledger.spread(self.states, sample)
            self._more = False
            due = Total(len(self._next), sum(entry.images for entry in self._next))
        else:
            due = await self.ledger.total(self.states)
        self.on_due(due)
        try:
            async with self._watch(stop), asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._worker())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    @asynccontextmanager
    async def _watch(self, stop: asyncio.Event | None) -> AsyncIterator[None]:
        """End the run when its deadline has come, or when *stop* is set."""

        async def wait_for(event: asyncio.Event) -> None:
            await event.wait()
            self._end(_ASKED)

        seconds = self.budget.limits.deadline
        late = Stop(
            reason="deadline", message=f"the deadline, {seconds} s after the begin, has come"
        )
        loop = asyncio.get_running_loop()
        timer = None if seconds is None else loop.call_later(seconds, self._end, late)
        watcher = None if stop is None else asyncio.create_task(wait_for(stop))
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            if watcher is not None:
                watcher.cancel()
                await asyncio.wait([watcher])

    def _end(self, stop: Stop) -> None:
        """Begin nothing any more, and let go what has not been sent."""
        if self.summary.stopped is None:
            self.summary.stopped = stop
            self.on_stop(stop)
            for flight in self._flights:
                self._let_go(flight)
        self._news.set()

    def _let_go(self, flight: _Flight) -> None:
        """Cancel a job that only waits: at once if it was never sent, else if it is not about to report."""
        if not flight.is_sent:
            flight.doing.cancel()
            return

        def unless_it_reports() -> None:
            if flight.is_waiting:
                flight.doing.cancel()

        asyncio.get_running_loop().call_later(_GRACE, unless_it_reports)

    async def _worker(self) -> None:
        """Do one job after the other, until there is none or the run is to end."""
        try:
            while (entry := await self._take()) is not None:
                await self._do(entry)
        except Exception as error:  # noqa: BLE001 - raised again, once the others have what is paid for
            first = self.failure = self.failure or error
            for note in getattr(error, "__notes__", ()):
                if note not in getattr(first, "__notes__", ()):
                    first.add_note(note)
            reason: StopReason = "disk" if isinstance(error, OSError) else "error"
            self._end(Stop(reason=reason, message=str(error) or type(error).__name__))

    async def _take(self) -> Entry | None:
        """Return the next job, once it fits into the budget beside those in flight; None at the end."""
        async with self._turn:
            if not self._next and self._more:
                self._next += await self.ledger.page(self.states, after=self._after)
                self._more = bool(self._next)
                if self._next:
                    self._after = self._next[-1].job.line
            while self._next and self.summary.stopped is None:
                if (now := asyncio.get_running_loop().time()) >= self._measure_at:
                    self._measure_at = now + _MEASURE_EVERY
                    self.budget.free_bytes = await asyncio.to_thread(free_bytes, self.out.here)
                self._news.clear()
                lacking = self.budget.lacks(self._next[0])
                if lacking is None:
                    entry = self._next.popleft()
                    self.budget.reserve(entry)
                    return entry
                if not self.budget.in_flight:
                    if lacking.reason == "disk":
                        raise disk_is_full(lacking, self.out.here)
                    self._end(lacking)
                else:
                    await self._news.wait()
        return None

    def _launch(self, entry: Entry, key: str) -> _Flight:
        """Let the engine begin a job; its request goes out with *key*."""

        async def before_send() -> None:
            if self.summary.stopped is not None:
                raise BatchError("the run was ended before this was sent")
            if not flight.is_sent:
                self.on_start(entry.job)
            flight.begin()
            await self.ledger.start(entry, key)

        def after_attempt(attempt: Attempt) -> None:
            flight.end(attempt)
            if self.summary.stopped is not None:
                self._let_go(flight)

        doing = self.engine.do(entry, before_send, after_attempt)
        flight = _Flight(asyncio.ensure_future(doing))
        self._flights.add(flight)
        return flight

    async def _do(self, entry: Entry) -> None:
        """Let the engine do a job, and keep the books."""
        in_doubt = entry.state == "in_doubt"
        key = (entry.idempotency_key if in_doubt else None) or secrets.token_hex(16)
        keyed = attrs.evolve(entry, idempotency_key=key)
        flight = self._launch(keyed, key)
        try:
            report = await self._wait_for(flight, keyed)
        except WorkerLost as lost:
            report = await self._look_for(keyed, lost, is_sent=flight.is_sent)
            if report is None:
                self._next.appendleft(
                    attrs.evolve(keyed, state="in_doubt") if flight.is_sent else entry
                )
        else:
            if report is None and flight.is_sent:
                await self.ledger.put_back(entry)
        if in_doubt and flight.is_sent:
            self.summary.resent += 1
            self.summary.resent_images += entry.images
        if report is None:
            self.budget.release(entry)
        else:
            record = self.budget.settle(entry, report.record)
            await self.ledger.finish(entry, record)
            self._count(record)
            self._judge(report)
        self._news.set()

    async def _wait_for(self, flight: _Flight, entry: Entry) -> Report | None:
        """Return what became of a job; None if it was let go, and nothing was sent that may be billed."""
        try:
            return await flight.doing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # it is not the flight alone that was cancelled
                raise
            is_free = not flight.may_be_billed
        except LedgerError:
            raise
        except BatchError as error:  # of before_send, perhaps after an attempt that failed
            is_free = not error.may_be_billed
        finally:
            self._flights.discard(flight)
        return None if is_free else Report(record=await recover(self.out, entry, {}))

    async def _look_for(self, entry: Entry, lost: WorkerLost, *, is_sent: bool) -> Report | None:
        """Report on a job whose worker is gone; None if it is to be done again."""
        self._lost[entry.id] += 1
        if is_sent:
            found = await asyncio.to_thread(arrived, self.out.here, entry.idempotency_key)
            record = await recover(self.out, entry, found, why=str(lost))
        else:
            record = record_of(entry, (), ImageSDKError(f"{lost}; the request was not sent"))
        may_be_sent = not is_sent or "in_doubt" in self.states
        if (
            record.status != "done"
            and may_be_sent
            and self._lost[entry.id] < _MOST_LOST
            and self.summary.stopped is None
        ):
            return None
        return Report(record=record)

    def _judge(self, report: Report) -> None:
        """End the run if there is reason to."""
        if report.stop is not None:
            self._end(Stop(reason="refused", message=str(report.stop), error=report.stop))
        elif (stop := self.budget.verdict()) is not None:
            self._end(stop)

    def _count(self, record: Record) -> None:
        self.summary.images += len(record.images)
        if record.status == "done":
            self.summary.done += 1
        else:
            self.summary.failed += 1
        self.on_record(record, True)  # noqa: FBT003
