"""Run a batch with one call: open the file, check it, do what is left of it within its limits."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, TypeAlias

import attrs

from imagesdk.batch.destination import Destination, destination_of
from imagesdk.batch.engine import Engine
from imagesdk.batch.entries import State, Total
from imagesdk.batch.jobs import Job, Rules
from imagesdk.batch.ledger import find_ledger
from imagesdk.batch.limits import Limits, Stop
from imagesdk.batch.prices import PriceTable, read_prices
from imagesdk.batch.records import Record
from imagesdk.batch.rows import Format
from imagesdk.batch.runner import InDoubt, Summary, run_jobs
from imagesdk.batch.source import Source, naming, open_source
from imagesdk.batch.worker import Worker
from imagesdk.client.session import ImageSession, rules_of
from imagesdk.models.requests import ImageRequest

__all__ = ("Include", "SessionLike", "rules_with_prices", "run", "stop_on_signals", "the_session")

Include: TypeAlias = Collection[Literal["rejected", "in_doubt"]]
SessionLike: TypeAlias = ImageSession | Mapping[str, Any] | None


async def run(
    source: Source | None,
    out: str | os.PathLike[str] | Destination,
    *,
    ledger: str | os.PathLike[str] | None = None,
    session: SessionLike = None,
    kind: Format | None = None,
    concurrency: int = 16,
    in_doubt: InDoubt = "retry",
    include: Include = (),
    allow_changed: bool = False,
    sample: int | None = None,
    max_images: int | None = None,
    max_cost: float | None = None,
    prices: PriceTable | str | os.PathLike[str] | None = None,
    max_failures: int | None = None,
    max_failure_rate: float | None = None,
    deadline: float | None = None,
    stop: asyncio.Event | None = None,
    engine: Engine | None = None,
    on_begin: Callable[[Total], None] = lambda _total: None,
    on_due: Callable[[Total], None] = lambda _total: None,
    on_start: Callable[[Job], None] = lambda _job: None,
    on_record: Callable[[Record, bool], None] = lambda _record, _is_new: None,
    on_stop: Callable[[Stop], None] = lambda _stop: None,
) -> Summary:
    """Run the requests of a file and keep what they bring: images, ``manifest.jsonl``, a ledger.

    The same call again does what is left. Every line is checked, by the rules of its model, before the
    first request is sent. Memory is that of *concurrency* requests, however long the file is.

    Args:
        source: Path of a file of JSON lines, CSV, TSV or a prompt a line; ``"-"`` for standard input; or rows:
            mappings as a line of JSON has them, such as ``{"id": "a", "prompt": "a fox", "n": 2}``. None
            for the requests of the last run into *out* that failed. ``docs/batch.md`` has the fields.
        out: Folder for images, manifest and ledger, on a local disk; made if need be. Or the URL of a store of
            objects for the images, such as ``s3://bucket/prefix`` (extra ``store``).
        ledger: Local folder for manifest and ledger. None for *out*, or for one in the working directory that is
            called after the URL, such as ``s3-bucket-prefix``.
        session: An open session, which is not closed; or the arguments of `imagesdk.ImageSession` to make one
            with for this run; None for one as the environment says.
        kind: ``"jsonl"``, ``"csv"``, ``"tsv"`` or ``"txt"``; None for what the suffix says, or else JSON lines.
        concurrency: Most requests in flight, 1 or more. The limiter of the session bounds them further.
        in_doubt: What to do with requests that an earlier run sent without hearing of their end, so that they
            may have been billed: ``"retry"`` sends them again with the Idempotency-Key that they had,
            ``"skip"`` leaves them.
        include: Do again as well what was ``"rejected"`` or is ``"in_doubt"``; the latter where *source* is None.
        allow_changed: Make images again whose request, or input picture, was changed under the same id; the old
            files stay. False raises instead.
        sample: Do so many requests, spread over all that are to be done, and leave the rest.
        max_images: Images that this run may ask for.
        max_cost: What it may spend, in the currency of *prices*. What is in flight counts with what it may cost
            at most.
        prices: What images cost: a table, or the path of one; see `imagesdk.batch.prices`. Each request must have
            a price there.
        max_failures: Requests that may fail: with that many, the run ends.
        max_failure_rate: Share of the requests that may fail, 0 or more and below 1, from the 50th on that
            ended.
        deadline: Seconds from the first request on; after them nothing more is sent.
        stop: Setting it ends the run as the limits do; see `stop_on_signals`.
        engine: Does the requests; None for the session, in this event loop.
        on_begin: Called once the requests and images are counted.
        on_due: Called with those that this run will ask for, after the records of earlier ones.
        on_start: Called when a request is about to be sent: its wait for the limit is over.
        on_record: Called with each record, and whether it is new or from an earlier run.
        on_stop: Called when the run is to end early.

    Returns:
        What was done. Requests that fail are counted, not raised. ``stopped`` says why the run ended early: a
        limit, *stop*, or an error that every request would meet (a wrong key, no credit). What was in
        flight was waited for then, because it is paid for; what only waited was not sent.

        Cancelling ends the run at once: what is in flight may be billed, and is in doubt.

    Raises:
        BatchError: A line cannot be used, breaks a rule of its model or has no price, or its request was changed;
            nothing was sent. The error names file, line and field. Or there was no run into *out* that could be
            done again.
        LedgerError: Another run works in *out*, or the ledger cannot be used.
        ConfigurationError: A value is out of range, there is a file in the place of a folder, or the price table
            cannot be read.
        OSError: The disk is full, or a file cannot be written; what was in flight was waited for. What
            arrived is kept: the notes of the error say where.

    Example:
        >>> import asyncio, tempfile
        >>> from imagesdk import batch
        >>> rows = [{"id": "fox", "prompt": "a fox"}, {"id": "otter", "prompt": "an otter", "n": 2}]
        >>> options = {"api_key": key, "base_url": url}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     summary = asyncio.run(batch.run(rows, out, session=options))
        >>> summary.images, summary.failed
        (3, 0)
    """
    destination = destination_of(out, ledger)
    if isinstance(prices, str | os.PathLike):
        prices = await asyncio.to_thread(read_prices, prices)
    async with the_session(session) as opened:
        limits = Limits(
            max_images=max_images,
            max_cost=max_cost,
            max_failures=max_failures,
            max_failure_rate=max_failure_rate,
            deadline=deadline,
            prices=prices,
            model=opened.model,
        )
        jobs = None
        states: list[State] = [*include]
        if source is None:
            states.append("failed")
            await asyncio.to_thread(find_ledger, destination.folder)
        else:
            jobs = open_source(source, kind, rules=rules_with_prices(opened, prices))
            states.extend(("pending", "failed"))
            if in_doubt == "retry":
                states.append("in_doubt")
        with naming(source):
            return await run_jobs(
                engine or Worker(opened, destination),
                jobs,
                destination,
                concurrency=concurrency,
                only=states,
                allow_changed=allow_changed,
                sample=sample,
                limits=limits,
                stop=stop,
                on_begin=on_begin,
                on_due=on_due,
                on_start=on_start,
                on_record=on_record,
                on_stop=on_stop,
            )


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Give an event that Ctrl-C and SIGTERM set, and let a second one cancel the task that is in the block.

    For `run`: ``with stop_on_signals() as stop: await run(..., stop=stop)``. The first signal lets what is in
    flight arrive; the second one ends the run at once; a third one kills the process, as if nobody
    waited for it, which the next run can cope with. Where the loop takes no signal handlers (Windows),
    signals do what they do otherwise.
    """
    loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if task is None or task.cancelling():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif stop.is_set():
            task.cancel()
        stop.set()

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous = signal.getsignal(number)
        # Windows, or not the main thread.
        with suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, on_signal, number)
            before[number] = previous
    try:
        yield stop
    finally:
        for number, previous in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous or signal.SIG_DFL)


@asynccontextmanager
async def the_session(session: SessionLike) -> AsyncIterator[ImageSession]:
    """Give the session of a caller, or one that is made for the block."""
    if isinstance(session, ImageSession):
        yield session
        return
    async with ImageSession(**(session or {})) as made:
        yield made


def rules_with_prices(session: ImageSession, prices: PriceTable | None) -> Rules:
    """Return the rules of a session, and that each request has a price."""
    rules = rules_of(session)
    if prices is None:
        return rules

    def both(request: ImageRequest) -> None:
        rules(request)
        prices.price(request.endpoint, attrs.asdict(request, recurse=False), session.model)

    return both
