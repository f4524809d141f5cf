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
from collections.abc import Callable
from contextlib import suppress

import attrs

from imagesdk.batch._fetch import Fetch, Fetched
from imagesdk.batch._submit import Submit, Submitted
from imagesdk.batch.destination import folder_of
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.launch import SessionLike, the_session
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.prices import PriceTable, read_prices
from imagesdk.batch.records import Record
from imagesdk.batch.rows import Format
from imagesdk.batch.source import Source, naming, open_source
from imagesdk.batch.submissions import Submissions, read_submissions
from imagesdk.batch.worker import Worker
from imagesdk.client.batches import ServerBatch, batches_of
from imagesdk.errors import (
    ConfigurationError,
    ImageSDKError,
)

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
    on_search: Callable[[float], None] = lambda _seconds: None,
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
        on_search: Called when the server's list is searched for a batch that it was asked for without an
            answer, with the seconds that this may take.

    Returns:
        What was submitted, and what was not.

    Raises:
        ConfigurationError: A number is out of range, or *out* is a file.
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
    folder = folder_of(out)
    async with the_session(session) as opened, Ledger(folder) as ledger:
        run = Submit(
            calls=batches_of(opened),
            ledger=ledger,
            submissions=Submissions(ledger),
            out=folder,
            settle=settle,
            on_batch=on_batch,
            on_search=on_search,
            max_lines=max_lines,
            max_bytes=max_bytes,
        )
        try:
            with naming(source):
                await ledger.load(open_source(source, kind))
                await run.check()
        except ImageSDKError:
            await ledger.discard()
            raise
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
    prices: PriceTable | str | os.PathLike[str] | None = None,
    settle: float = _SETTLE,
    on_batch: Callable[[ServerBatch], None] = lambda _batch: None,
    on_search: Callable[[float], None] = lambda _seconds: None,
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
        prices: As for `imagesdk.batch.run`, the full ones: what an image of a batch cost is half of that.
        settle: As in `submit`.
        on_batch: Called with each batch, each time that it was looked at.
        on_search: As in `submit`.
        on_record: Called with each new record.

    Returns:
        What was brought, and what still runs.

    Raises:
        ConfigurationError: A number is out of range.
        BatchError: Nothing was submitted from *out*.
        ConfigurationError: *prices* cannot be read, or has no price for a request: that one is brought by the
            next call.
        LedgerError: Somebody works in *out*, or its ledger cannot be used.
        ImageSDKError: The server refused or did not answer.
        OSError: A file cannot be written.
    """
    for name, value in (("every", every), ("settle", settle)):
        if not value > 0:
            raise ConfigurationError(f"{name} is {value!r}; it must be above 0 seconds")
    folder = folder_of(out)
    if isinstance(prices, str | os.PathLike):
        prices = await asyncio.to_thread(read_prices, prices)
    await asyncio.to_thread(read_submissions, folder)  # makes no ledger where there is none
    async with the_session(session) as opened, Ledger(folder) as ledger:
        run = Fetch(
            calls=batches_of(opened),
            ledger=ledger,
            submissions=Submissions(ledger),
            out=folder,
            settle=settle,
            worker=Worker(opened, folder),
            prices=prices,
            model=opened.model,
            on_batch=on_batch,
            on_search=on_search,
            on_record=on_record,
        )
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
        BatchError: Nothing was submitted from *out*.
        LedgerError: The ledger cannot be read.
        ImageSDKError: The server refused or did not answer.
    """
    states = []
    async with the_session(session) as opened:
        for submission in await asyncio.to_thread(read_submissions, folder_of(out)):
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
        BatchError: Nothing was submitted from *out*.
        LedgerError: The ledger cannot be read.
        ImageSDKError: The server refused or did not answer.
    """
    cancelled = []
    async with the_session(session) as opened:
        calls = batches_of(opened)
        for submission in await asyncio.to_thread(read_submissions, folder_of(out)):
            if submission.batch_id is None or submission.closed:
                continue
            if not (await calls.get(submission.batch_id)).has_ended:
                cancelled.append(await calls.cancel(submission.batch_id))
    return cancelled
