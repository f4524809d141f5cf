"""What each action of ``imagesdk batch`` does: read its arguments, use the package as any program would, report."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs

from imagesdk.batch.records import MANIFEST, Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.source import open_source
from imagesdk.batch.worker import Worker
from imagesdk.cli import EXIT_CODES
from imagesdk.cli.batch_view import BatchView
from imagesdk.cli.render import Console
from imagesdk.cli.sessions import open_session
from imagesdk.client.session import rules_of
from imagesdk.errors import ConfigurationError

__all__ = ("run",)

_TABLE_ROWS = 200


async def run(arguments: argparse.Namespace) -> int:
    """Run the action that *arguments* name and return its exit code."""
    actions: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "run": _run,
    }
    return await actions[arguments.action](arguments)


async def _run(arguments: argparse.Namespace) -> int:
    """Run a file of requests."""
    if arguments.concurrency < 1:
        raise ConfigurationError(f"--concurrency is {arguments.concurrency}; it must be 1 or more")
    out = Path(arguments.out)
    console = Console()
    records: list[Record] = []
    async with open_session(arguments) as session:
        worker = Worker(session, out)
        with BatchView(console, worker, concurrency=arguments.concurrency) as view:

            def on_record(record: Record, is_new: bool) -> None:  # noqa: FBT001
                if len(records) <= _TABLE_ROWS:
                    records.append(record)
                view.add(record, is_new=is_new)
                if arguments.json and is_new:
                    print(json.dumps(attrs.asdict(record)), flush=True)

            summary = await run_jobs(
                worker,
                open_source(arguments.file, arguments.format, rules=rules_of(session)),
                out,
                concurrency=arguments.concurrency,
                in_doubt=arguments.in_doubt,
                on_begin=view.begin,
                on_start=view.start,
                on_record=on_record,
            )
    if not arguments.json and len(records) <= _TABLE_ROWS:
        console.table(sorted(records, key=lambda record: record.line), out)
    console.say(_sentence(summary, out))
    return _batch_code(summary)


def _sentence(summary: Summary, out: Path) -> str:
    parts = [f"{summary.images} images from {summary.done + summary.failed} requests in {out}"]
    if summary.skipped:
        parts.append(f"{summary.skipped} were done before")
    if summary.recovered:
        parts.append(f"{summary.recovered} of them had arrived when the last run was cut off")
    if summary.resent:
        parts.append(
            f"{summary.resent} in doubt were sent again: "
            f"up to {summary.resent_images} images may have been billed twice"
        )
    if summary.in_doubt:
        parts.append(f"{summary.in_doubt} in doubt were left (--in-doubt retry sends them again)")
    if summary.failed:
        parts.append(f"{summary.failed} failed")
    if summary.rejected:
        parts.append(f"{summary.rejected} were rejected before, and not sent again")
    if summary.submitted:
        parts.append(
            f"{summary.submitted} are in batches at the server (imagesdk batch fetch {out})"
        )
    if summary.stopped is not None:
        parts.append(f"stopped, {summary.left} not begun: {summary.stopped.message}")
    return "; ".join([*parts, f"manifest: {out / MANIFEST}"])


def _batch_code(summary: Summary) -> int:
    if summary.stopped is not None:
        return EXIT_CODES["refused"]
    unfinished = summary.failed or summary.rejected or summary.in_doubt or summary.submitted
    return EXIT_CODES["some_failed" if unfinished else "done"]
