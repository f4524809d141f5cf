"""What the actions of ``imagesdk batch`` do that have the server run the requests: submit, fetch, cancel."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from imagesdk.batch import provider
from imagesdk.batch.destination import folder_of
from imagesdk.batch.provider import BatchState, Fetched, Submitted
from imagesdk.batch.records import MANIFEST, Record, Status
from imagesdk.cli import EXIT_CODES
from imagesdk.cli.batch_said import told_next
from imagesdk.cli.gallery_command import make_at_the_end
from imagesdk.cli.render import TABLE_ROWS, Console, counted
from imagesdk.cli.sessions import open_session
from imagesdk.client.batches import ServerBatch

__all__ = ("cancel", "fetch", "say_states", "submit")


async def submit(arguments: argparse.Namespace) -> int:
    """Upload a file of requests, and have the server run it."""
    console = Console()

    def on_batch(batch: ServerBatch) -> None:
        if arguments.json:
            print(json.dumps(attrs.asdict(batch)), flush=True)
        console.say(_line(batch))

    async with open_session(arguments) as session:
        done = await provider.submit(
            arguments.file,
            arguments.out,
            session=session,
            kind=arguments.format,
            on_batch=on_batch,
            on_search=_searching(console),
        )
    console.say(_submitted(done, arguments.out))
    return EXIT_CODES["done"]


async def fetch(arguments: argparse.Namespace) -> int:
    """Bring what the server's batches have made."""
    console, out = Console(), folder_of(arguments.out)
    records: list[Record] = []
    ended: Counter[Status] = Counter()
    said: dict[str, str] = {}

    def on_batch(batch: ServerBatch) -> None:
        line = _line(batch)
        if said.get(batch.id) != line:
            console.say(line)
        said[batch.id] = line

    def on_record(record: Record) -> None:
        if len(records) <= TABLE_ROWS:
            records.append(record)
        ended[record.status] += 1
        if arguments.json:
            print(json.dumps(attrs.asdict(record)), flush=True)

    async with open_session(arguments) as session:
        fetched = await provider.fetch(
            out,
            session=session,
            wait=arguments.wait,
            every=arguments.every,
            prices=arguments.prices,
            on_batch=on_batch,
            on_search=_searching(console),
            on_record=on_record,
        )
    if records and not arguments.json and len(records) <= TABLE_ROWS:
        console.table(sorted(records, key=lambda record: record.line), out)
    console.say(_fetched(fetched, out))
    if arguments.gallery and records:
        await make_at_the_end(out, console)
    retry = ("imagesdk", "batch", "retry", arguments.out)
    if advice := told_next("at the full price (batch submit does it at half)", retry, ended):
        console.say(advice)
    unfinished = fetched.failed or fetched.waiting or fetched.lost
    return EXIT_CODES["some_failed" if unfinished else "done"]


async def cancel(arguments: argparse.Namespace) -> int:
    """Let the server's batches end early."""
    console = Console()
    async with open_session(arguments) as session:
        batches = await provider.cancel(arguments.out, session=session)
    for batch in batches:
        console.say(_line(batch))
    console.say(
        f"what they have done comes with: imagesdk batch fetch {arguments.out}"
        if batches
        else "no batch is running"
    )
    return EXIT_CODES["done"]


async def say_states(arguments: argparse.Namespace) -> None:
    """Say how far each batch is that was submitted from a folder; changes nothing."""
    console = Console()
    async with open_session(arguments) as session:
        for state in await provider.status(arguments.out, session=session):
            console.say(_state(state))


def _state(state: BatchState) -> str:
    if state.batch is not None:
        return _line(state.batch)
    if state.is_fetched:
        return f"{state.batch_id}: {state.status}, fetched ({counted(state.requests, 'request')})"
    return (
        f"{counted(state.requests, 'request')}: it is not known whether the server has taken them; submit or "
        "fetch finds out"
    )


def _searching(console: Console) -> Callable[[float], None]:
    """Return what says that something takes its time."""

    def say(seconds: float) -> None:
        console.say(
            "looking for a batch that the server was asked for without an answer"
            + (f", for up to {seconds:.0f} s" if seconds >= 1 else "")
        )

    return say


def _line(batch: ServerBatch) -> str:
    """Say how far a batch is."""
    parts = [batch.status]
    if batch.total:
        parts.append(f"{batch.completed:,} of {counted(batch.total, 'request')} done")
    if batch.failed:
        parts.append(f"{batch.failed:,} failed")
    if not batch.has_ended and batch.expires_at is not None:
        expires = datetime.fromtimestamp(batch.expires_at, UTC)
        parts.append(f"expires {expires:%Y-%m-%d %H:%M} UTC")
    return f"{batch.id}: {', '.join(parts)}"


def _submitted(done: Submitted, out: str) -> str:
    parts = (
        (
            True,
            f"{counted(done.requests, 'request')} in {counted(len(done.batches), 'batch', 'batches')}",
        ),
        (done.found, f"{counted(done.found, 'batch', 'batches')} of an earlier call among them"),
        (
            done.again,
            (
                f"{counted(done.again, 'request was', 'requests were')} asked for before, in a batch that the server does not "
                "list: if it made that one all the same, they are billed twice"
            ),
        ),
        (done.waiting, f"{counted(done.waiting, 'was', 'were')} at the server before"),
        (done.done, f"{counted(done.done, 'was', 'were')} done before"),
        (
            done.rejected,
            f"{counted(done.rejected, 'was', 'were')} rejected before, and not submitted",
        ),
        (
            done.in_doubt,
            f"{done.in_doubt:,} in doubt, sent one by one before, and not submitted (batch run sees to that)",
        ),
        (True, f"next: imagesdk batch fetch {out}"),
    )
    return "; ".join(text for is_so, text in parts if is_so)


def _fetched(done: Fetched, out: Path) -> str:
    waiting = counted(len(done.waiting), "batch", "batches")
    if done == Fetched():
        return f"nothing is left to fetch: all that was submitted has ended, and is in {out / MANIFEST}"
    parts = (
        (
            True,
            f"{counted(done.images, 'image')} from {counted(done.done + done.failed, 'request')} in {out}",
        ),
        (
            done.failed,
            (f"{done.failed:,} failed"),
        ),
        (
            done.lost,
            (
                f"{counted(done.lost, 'request was', 'requests were')} asked for in a batch that the server does not "
                "list: submit the file again"
            ),
        ),
        (done.cost is not None, f"they cost {done.cost or 0.0:,.2f} at most"),
        (done.waiting, f"{waiting} not at the end: fetch again later, or with --wait"),
        (True, f"manifest: {out / MANIFEST}"),
    )
    return "; ".join(text for is_so, text in parts if is_so)
