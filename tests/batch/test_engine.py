"""The seam between the runner and what does its jobs: who writes the ledger, and when."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from imagesdk.batch.engine import BeforeSend, Report
from imagesdk.batch.ledger import LEDGER, Entry
from imagesdk.batch.records import Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.errors import AuthenticationError
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.limiters.unlimited import NoLimiter
from tests.batch.conftest import manifest_of, prompts


def state_of(out: Path, custom_id: str) -> str:
    """Return what another process sees in the ledger."""
    with closing(sqlite3.connect(out / LEDGER)) as ledger:
        sql = "SELECT state FROM jobs WHERE custom_id = ?"
        return str(ledger.execute(sql, (custom_id,)).fetchone()[0])


def record_of(entry: Entry) -> Record:
    """Return the record of a job that brought nothing."""
    return Record(
        custom_id=entry.job.custom_id,
        line=entry.job.line,
        status="failed",
        endpoint=entry.job.endpoint,
        params=entry.job.params,
        key=entry.job.key,
        images=[],
        usage=None,
        request_id=None,
        attempts=1,
        error={"type": "ServerError"},
        finished_at="2026-11-26T12:00:00+00:00",
    )


@attrs.define
class OwnEngine:
    """An engine that sends nothing, and tells what the ledger says meanwhile."""

    out: Path
    report: Callable[[Entry], Report]
    seen: list[tuple[str, str, str]] = attrs.field(factory=list)

    async def do(self, entry: Entry, before_send: BeforeSend) -> Report:
        """Look into the ledger before and after *before_send*."""
        name = entry.job.custom_id
        before = await asyncio.to_thread(state_of, self.out, name)
        await before_send()
        self.seen.append((name, before, await asyncio.to_thread(state_of, self.out, name)))
        return self.report(entry)

    def snapshot(self) -> LimiterSnapshot:
        """There is no limit."""
        return NoLimiter().snapshot()

    def forecast(self, images: int, requests: int) -> float:
        """There is no limit."""
        return NoLimiter().forecast(images, requests)


async def test_a_job_is_started_in_the_ledger_before_it_is_sent(tmp_path: Path) -> None:
    """When before_send has returned the ledger on the disk says so; before that it is pending."""
    engine = OwnEngine(tmp_path, lambda entry: Report(record=record_of(entry)))
    summary = await run_jobs(engine, prompts("a", "b"), tmp_path, concurrency=2)
    assert sorted(engine.seen) == [("a", "pending", "started"), ("b", "pending", "started")]
    assert summary == Summary(failed=2)
    assert {record["custom_id"] for record in manifest_of(tmp_path)} == {"a", "b"}


async def test_a_report_may_end_the_run(tmp_path: Path) -> None:
    """After a report with an error that every job would meet no further job is handed out."""
    error = AuthenticationError("no", status=401)
    engine = OwnEngine(tmp_path, lambda entry: Report(record=record_of(entry), stop=error))
    summary = await run_jobs(engine, prompts(*"abc"), tmp_path, concurrency=1)
    assert summary.stopped is not None
    assert summary.stopped.error is error
    assert (summary.failed, summary.left) == (1, 2)


async def test_what_an_engine_raises_ends_the_run(tmp_path: Path) -> None:
    """An error of the disk is raised as it is, and what was begun is in doubt for the next run."""

    def fail(_entry: Entry) -> Report:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        await run_jobs(OwnEngine(tmp_path, fail), prompts("a"), tmp_path)
    assert await asyncio.to_thread(state_of, tmp_path, "a") == "started"
