"""What each action of ``imagesdk batch`` does: read its arguments, use the package as any program would, report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from imagesdk import batch
from imagesdk.batch.destination import Destination, destination_of, folder_of
from imagesdk.batch.entries import State
from imagesdk.batch.files import whole_file
from imagesdk.batch.launch import stop_on_signals
from imagesdk.batch.limits import Stop, StopReason
from imagesdk.batch.overview import export, look
from imagesdk.batch.plan import plan
from imagesdk.batch.prices import read_prices
from imagesdk.batch.records import MANIFEST, Record, Status
from imagesdk.batch.runner import Summary
from imagesdk.cli import EXIT_CODES, provider_commands
from imagesdk.cli.batch_parser import LIMITS
from imagesdk.cli.batch_said import told_next, told_overview, told_plan
from imagesdk.cli.batch_view import BatchView
from imagesdk.cli.gallery_command import make_at_the_end
from imagesdk.cli.render import TABLE_ROWS, Console, counted
from imagesdk.cli.sessions import open_engine, open_session
from imagesdk.errors import ConfigurationError

__all__ = ("run",)

_STOPPED: Mapping[StopReason, str] = {"refused": "refused", "asked": "interrupted"}
"""The exit codes of a run that ended early for a reason that is none of its limits."""
_HURRY = " (Ctrl-C ends it at once, and leaves it in doubt)"


async def run(arguments: argparse.Namespace) -> int:
    """Run the action that *arguments* name and return its exit code."""
    actions: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "run": _run,
        "retry": _retry,
        "status": _status,
        "export": _export,
        "submit": provider_commands.submit,
        "fetch": provider_commands.fetch,
        "cancel": provider_commands.cancel,
    }
    return await actions[arguments.action](arguments)


async def _run(arguments: argparse.Namespace) -> int:
    """Run a file of requests."""
    if arguments.dry_run:
        return await _plan(arguments)
    own = {name: getattr(arguments, name) for name in ("in_doubt", "allow_changed", "sample")}
    return await _launch(arguments, arguments.file, kind=arguments.format, **own)


async def _retry(arguments: argparse.Namespace) -> int:
    """Do what failed in the last run again."""
    return await _launch(arguments, None, include=arguments.include)


async def _plan(arguments: argparse.Namespace) -> int:
    """Say what a run would do."""
    prices = None
    if arguments.prices is not None:
        prices = await asyncio.to_thread(read_prices, arguments.prices)
    states: list[State] = ["pending", "failed"]
    if arguments.in_doubt == "retry":
        states.append("in_doubt")
    async with open_session(arguments) as session:
        found = await plan(
            arguments.file,
            destination_of(arguments.out, arguments.ledger),
            session,
            kind=arguments.format,
            states=states,
            allow_changed=arguments.allow_changed,
            prices=prices,
        )
        limit = session.snapshot().limit
    print(json.dumps(attrs.asdict(found)) if arguments.json else told_plan(found, limit))
    return EXIT_CODES["done"]


async def _status(arguments: argparse.Namespace) -> int:
    """Say how far a run is."""
    out = destination_of(arguments.out).folder
    seen = await asyncio.to_thread(look, out)
    print(
        json.dumps(attrs.asdict(seen)) if arguments.json else told_overview(seen, out), flush=True
    )
    if seen.requests["submitted"] and not arguments.json:
        await provider_commands.say_states(arguments)
    return EXIT_CODES["done"]


async def _export(arguments: argparse.Namespace) -> int:
    """Write what a run brought."""
    if arguments.format == "openai":  # with the images in it
        out = folder_of(arguments.out)
    else:
        out = destination_of(arguments.out).folder

    def write() -> None:
        with contextlib.ExitStack() as stack:
            lines = stack.enter_context(contextlib.closing(export(out, arguments.format)))
            first = next(lines, b"")  # says whether there is a run, before there is a file
            if arguments.to is None:
                file = sys.stdout.buffer
            else:
                file = stack.enter_context(_opened(Path(arguments.to)))
            file.write(first)
            file.writelines(lines)
            file.flush()

    try:
        await asyncio.to_thread(write)
    except BrokenPipeError:  # whoever reads has enough; nothing is to be written at the end, either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_CODES["done"]


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open what an export goes into: a file appears as a whole; a pipe or a device is no file."""
    if path.exists() and not path.is_file():
        return path.open("wb")
    return whole_file(path.resolve())  # of a link, what it leads to


async def _launch(arguments: argparse.Namespace, source: str | None, **own: Any) -> int:  # noqa: ANN401
    """Run a batch, show how far it is, and report."""
    if arguments.concurrency < 1:
        raise ConfigurationError(f"--concurrency is {arguments.concurrency}; it must be 1 or more")
    out, console = destination_of(arguments.out, arguments.ledger), Console()
    records: list[Record] = []
    ended: Counter[Status] = Counter()
    async with open_session(arguments) as session, open_engine(arguments, session, out) as engine:
        with (
            _telling_what_next(console, out),
            stop_on_signals() as stop,
            BatchView(
                console,
                engine,
                concurrency=arguments.concurrency,
                price=lambda record: record.cost,
            ) as view,
        ):

            def on_record(record: Record, is_new: bool) -> None:  # noqa: FBT001
                if len(records) <= TABLE_ROWS:
                    records.append(record)
                ended[record.status] += 1
                view.add(record, is_new=is_new)
                if arguments.json and is_new:
                    print(json.dumps(attrs.asdict(record)), flush=True)

            def on_stop(reason: Stop) -> None:
                view.drain()
                console.say(f"{reason.message}; what is in flight is waited for{_HURRY}")

            summary = await batch.run(
                source,
                out,
                session=session,
                engine=engine,
                concurrency=arguments.concurrency,
                stop=stop,
                on_begin=view.begin,
                on_due=view.due,
                on_start=view.start,
                on_record=on_record,
                on_stop=on_stop,
                **{name: getattr(arguments, name) for name in LIMITS},
                **own,
            )
    if records and not arguments.json and len(records) <= TABLE_ROWS:
        console.table(sorted(records, key=lambda record: record.line), out)
    console.say(_sentence(summary, out))
    # A page is beside its images.
    if arguments.gallery and out.folder == out.here and not out.lists:
        is_asked = summary.stopped is not None and summary.stopped.reason == "asked"
        await make_at_the_end(out.folder, console, hurry=is_asked)
    if advice := _advice(arguments, summary, ended):
        console.say(advice)
    return _batch_code(summary)


@contextlib.contextmanager
def _telling_what_next(console: Console, out: Destination) -> Iterator[None]:
    """Say how to go on after a run that a second signal ended."""
    try:
        yield
    except asyncio.CancelledError:
        console.say(
            f"ended at once: imagesdk batch status {out.folder} tells what is in doubt; the same command goes on"
        )
        raise


def _sentence(summary: Summary, out: Destination) -> str:
    s, stopped = summary, summary.stopped
    twice = f"up to {counted(s.resent_images, 'image')} may have been billed twice"
    parts = [
        (
            True,
            f"{counted(s.images, 'image')} from {counted(s.done + s.failed, 'request')} in {out}",
        ),
        (s.skipped, f"{counted(s.skipped, 'was', 'were')} done before"),
        (s.recovered, f"{s.recovered:,} of them had arrived when the last run was cut off"),
        (s.resent, f"{counted(s.resent, 'in doubt was', 'in doubt were')} sent again: {twice}"),
        (
            s.in_doubt,
            f"{counted(s.in_doubt, 'in doubt was', 'in doubt were')} left",
        ),
        (s.failed, f"{s.failed:,} failed"),
        (s.rejected, f"{counted(s.rejected, 'was', 'were')} rejected before, and not sent again"),
        (
            s.submitted,
            f"{counted(s.submitted, 'is', 'are')} in batches at the server (imagesdk batch fetch {out.folder})",
        ),
        (s.cost is not None, f"they cost {s.cost or 0.0:,.2f} at most"),
        (
            stopped,
            f"stopped{f', {s.left:,} not begun' if s.left else ''}: {stopped.message if stopped else ''}",
        ),
        (s.left and not stopped, f"{counted(s.left, 'was', 'were')} left for another run"),
        (True, f"manifest: {out.folder / MANIFEST}"),
    ]
    return "; ".join(text for is_so, text in parts if is_so)


def _advice(arguments: argparse.Namespace, summary: Summary, ended: Mapping[Status, int]) -> str:
    """Say how to go on after a run that did not do all."""
    if summary.stopped is not None and summary.left:
        return "next: the same command goes on with what is left, and does again what failed"
    retry = ["imagesdk", "batch", "retry", arguments.out]
    if arguments.ledger is not None:
        retry += ["--ledger", arguments.ledger]
    return told_next("with the options of this run", retry, ended)


def _batch_code(summary: Summary) -> int:
    if summary.stopped is not None:
        return EXIT_CODES[_STOPPED.get(summary.stopped.reason, "stopped")]
    unfinished = summary.failed or summary.rejected or summary.in_doubt or summary.submitted
    return EXIT_CODES["some_failed" if unfinished else "done"]
