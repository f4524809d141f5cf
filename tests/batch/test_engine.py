"""The seam between the runner and what does its jobs: who writes the ledger, and when."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from imagesdk.batch.engine import AfterAttempt, BeforeSend, Report, WorkerLost
from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.ledger import LEDGER
from imagesdk.batch.records import Record
from imagesdk.batch.runner import InDoubt, Summary, run_jobs
from imagesdk.errors import AuthenticationError
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.limiters.unlimited import NoLimiter
from tests.batch.conftest import manifest_of, png, prompts


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

    async def do(
        self, entry: Entry, before_send: BeforeSend, after_attempt: AfterAttempt
    ) -> Report:
        """Look into the ledger before and after *before_send*."""
        del after_attempt
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


# A worker that is lost ----------------------------------------------------------------------------


@attrs.define
class Losing(OwnEngine):
    """An engine that loses its worker the first *times* times, after it was sent or before."""

    times: int = 1
    is_sent: bool = True
    leaves: bytes | None = None
    keys: list[str | None] = attrs.field(factory=list)

    async def do(
        self, entry: Entry, before_send: BeforeSend, after_attempt: AfterAttempt
    ) -> Report:
        """Lose the worker, which may have put an image on its way first."""
        self.keys.append(entry.idempotency_key)
        if len(self.keys) > self.times:
            return await super().do(entry, before_send, after_attempt)
        if self.is_sent:
            await before_send()
        if self.leaves is not None:
            await asyncio.to_thread(self._leave, entry, self.leaves)
        raise WorkerLost("worker 1 was lost")

    def _leave(self, entry: Entry, image: bytes) -> None:
        (self.out / ARRIVING).mkdir(exist_ok=True)
        (self.out / ARRIVING / f"{entry.idempotency_key}-1.png").write_bytes(image)


def nothing_made(entry: Entry) -> Report:
    """Report that a job failed."""
    return Report(record=record_of(entry))


async def test_what_a_lost_worker_had_sent_is_sent_again_with_its_key(tmp_path: Path) -> None:
    """It is in doubt: sent again with the same key, and told."""
    engine = Losing(tmp_path, nothing_made)
    summary = await run_jobs(engine, prompts("a"), tmp_path)
    assert summary == Summary(failed=1, resent=1, resent_images=1)
    assert len(engine.keys) == 2
    assert engine.keys[0] == engine.keys[1]


async def test_what_a_lost_worker_had_not_sent_is_done_by_another(tmp_path: Path) -> None:
    """It is in no doubt: nothing may have been billed."""
    engine = Losing(tmp_path, nothing_made, is_sent=False)
    summary = await run_jobs(engine, prompts("a"), tmp_path)
    assert summary == Summary(failed=1)
    assert engine.seen == [("a", "pending", "started")]


async def test_what_a_lost_worker_had_received_is_found(tmp_path: Path) -> None:
    """Its image is on the disk: the job is done, and not sent again."""
    engine = Losing(tmp_path, nothing_made, leaves=png())
    summary = await run_jobs(engine, prompts("a"), tmp_path)
    assert summary == Summary(done=1, images=1)
    assert len(engine.keys) == 1
    assert (tmp_path / "a-1.png").read_bytes() == png()


@pytest.mark.parametrize("in_doubt", ["skip", "retry"])
async def test_a_job_in_doubt_is_left_where_that_is_wished(
    tmp_path: Path, in_doubt: InDoubt
) -> None:
    """With in_doubt="skip" it is not sent again; a job that loses every worker is given up."""
    engine = Losing(tmp_path, nothing_made, times=99)
    summary = await run_jobs(engine, prompts("a"), tmp_path, in_doubt=in_doubt)
    assert summary.failed == 1
    assert len(engine.keys) == {"skip": 1, "retry": 3}[in_doubt]
    (record,) = manifest_of(tmp_path)
    assert record["status"] == "in_doubt"
    assert "worker 1 was lost" in record["error"]["message"]


async def test_a_job_that_never_finds_a_worker_fails(tmp_path: Path) -> None:
    """After three lost workers an unsent job has failed, and is sent by the next run."""
    engine = Losing(tmp_path, nothing_made, times=3, is_sent=False)
    summary = await run_jobs(engine, prompts("a"), tmp_path)
    assert summary == Summary(failed=1)
    assert manifest_of(tmp_path)[0]["status"] == "failed"
    assert (await run_jobs(engine, prompts("a"), tmp_path)).failed == 1
    assert engine.seen == [("a", "failed", "started")]
