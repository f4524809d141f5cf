"""Ending a run early: nothing more is sent, what is in flight arrives, the rest stays to be done."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.entries import State
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.limits import Limits, Stop
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.batch.records import Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.client.session import ImageSession
from imagesdk.errors import ConfigurationError, ImageSDKError, ResponseInterruptedError
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time
from tests.batch.conftest import (
    image_answer,
    jobs_of,
    manifest_of,
    pictures_in,
    play,
    prompts,
    refusal,
    scripted,
)

Script = Callable[[SentRequest], ScriptedAnswer | ImageSDKError]


def after(seconds: float) -> ScriptedAnswer:
    """Return an image that comes after some time."""
    return ScriptedAnswer(image_answer().body, delay=seconds)


def states_of(summary: Summary) -> dict[str, int]:
    """Return the counts that say where the jobs are."""
    names = ("skipped", "done", "failed", "recovered", "in_doubt", "left")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


async def end(
    out: Path, script: Script, ids: str, *, concurrency: int = 4, **options: Any
) -> tuple[Summary, list[str]]:
    """Run jobs that end early; return the summary and the prompts that were sent."""
    transport = ScriptedTransport(script)
    stops: list[Stop] = []
    async with scripted(transport) as session:
        summary = await run_jobs(
            Worker(session, out),
            prompts(*ids),
            out,
            concurrency=concurrency,
            on_stop=stops.append,
            **options,
        )
    assert stops == ([] if summary.stopped is None else [summary.stopped])
    return summary, [request.json["prompt"] for request in transport.requests]


async def until_sent(transport: ScriptedTransport, count: int) -> None:
    """Wait until so many requests were sent."""
    while len(transport.requests) < count:  # noqa: ASYNC110 - the transport tells nobody
        await asyncio.sleep(0.001)


def reason_of(summary: Summary) -> str | None:
    """Return why a run ended early."""
    return None if summary.stopped is None else summary.stopped.reason


async def test_max_images_is_never_exceeded(tmp_path: Path) -> None:
    """The run stops before the request that would exceed it; the next run goes on."""
    limits = Limits(max_images=3)
    summary, sent = await end(tmp_path, lambda _: after(0.001), "abcde", limits=limits)
    assert (reason_of(summary), states_of(summary)) == ("images", {"done": 3, "left": 2})
    assert sorted(sent) == ["a", "b", "c"]
    summary, sent = await end(tmp_path, lambda _: after(0), "abcde", limits=limits)
    assert (reason_of(summary), states_of(summary)) == (None, {"skipped": 3, "done": 2})


async def test_what_a_failure_gives_back_is_used(tmp_path: Path) -> None:
    """A failed request costs nothing: its share goes to the next one, which waits for that."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        return refusal(400, "no") if request.json["prompt"] == "a" else after(0.002)

    summary, sent = await end(tmp_path, answer, "abcd", limits=Limits(max_images=2))
    assert (reason_of(summary), states_of(summary)) == (
        "images",
        {"done": 2, "failed": 1, "left": 1},
    )
    assert sorted(sent) == ["a", "b", "c"]


async def test_max_cost_counts_what_is_in_flight(tmp_path: Path) -> None:
    """However many requests may be in flight, the budget holds; records and summary tell the cost."""
    prices = PriceTable(prices=(Price(image=(0.5, 2.0)),), version="v1")
    limits = Limits(max_cost=5.0, prices=prices)
    summary, _ = await end(tmp_path, lambda _: after(0.001), "abcde", limits=limits)
    assert (reason_of(summary), states_of(summary)) == ("cost", {"done": 2, "left": 3})
    assert summary.cost == 4.0
    assert [(r["cost"], r["prices"]) for r in manifest_of(tmp_path)] == [(2.0, "v1")] * 2


async def test_failures_end_the_run(tmp_path: Path) -> None:
    """After max_failures no further request is sent."""

    def answer(_: SentRequest) -> ScriptedAnswer:
        return refusal(400, "no")

    limits = Limits(max_failures=2)
    summary, sent = await end(tmp_path, answer, "abcde", concurrency=1, limits=limits)
    assert (reason_of(summary), states_of(summary)) == ("failures", {"failed": 2, "left": 3})
    assert sent == ["a", "b"]


def test_what_is_in_flight_at_the_deadline_arrives(tmp_path: Path) -> None:
    """At the deadline nothing more is sent; what is in flight is waited for, and kept."""
    limits = Limits(deadline=4.0)
    with virtual_time() as runner:
        running = end(tmp_path, lambda _: after(8.0), "abcde", concurrency=2, limits=limits)
        summary, sent = runner.run(running)
    assert (reason_of(summary), states_of(summary)) == ("deadline", {"done": 2, "left": 3})
    assert sorted(sent) == ["a", "b"]
    assert pictures_in(tmp_path) == ["a-1.png", "b-1.png"]


async def test_a_run_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    """Setting the event ends the run after what is in flight."""
    stop, count = asyncio.Event(), itertools.count(1)

    def answer(_: SentRequest) -> ScriptedAnswer:
        if next(count) == 2:
            stop.set()
        return after(0.03)

    summary, sent = await end(tmp_path, answer, "abcde", concurrency=2, stop=stop)
    assert (reason_of(summary), states_of(summary)) == ("asked", {"done": 2, "left": 3})
    assert sorted(sent) == ["a", "b"]


async def test_an_event_that_is_set_before_lets_nothing_be_sent(tmp_path: Path) -> None:
    """A run that was asked to end before it began sends nothing."""
    stop = asyncio.Event()
    stop.set()
    summary, sent = await end(tmp_path, lambda _: after(0), "abc", stop=stop)
    assert (reason_of(summary), states_of(summary), sent) == ("asked", {}, [])


def test_what_waits_for_the_limit_is_let_go_at_once(tmp_path: Path) -> None:
    """A request that only waited for the limit is not sent, nor waited for: it is still to be done."""

    async def main() -> None:
        stop = asyncio.Event()
        transport = ScriptedTransport(lambda _: after(2.0))
        loop = asyncio.get_running_loop()
        async with ImageSession(
            base_url="http://server/v1",
            api_key="sk-test",
            transport=transport,
            images_per_minute=2,
        ) as session:
            worker, begun_at = Worker(session, tmp_path), loop.time()
            loop.call_later(1.0, stop.set)
            summary = await run_jobs(worker, prompts(*"abcde"), tmp_path, stop=stop)
            assert states_of(summary) == {"done": 2, "left": 3}
            assert loop.time() - begun_at == pytest.approx(2.0, abs=0.5)
            assert session.snapshot().queued == 0
            stop.clear()
            summary = await run_jobs(worker, prompts(*"abcde"), tmp_path, stop=stop)
            assert states_of(summary) == {"skipped": 2, "done": 3}
        assert len(transport.requests) == 5

    with virtual_time() as runner:
        runner.run(main())


def test_what_waits_to_be_tried_again_is_let_go(tmp_path: Path) -> None:
    """A request that failed before the end is not tried again; it is in doubt if it may have been billed."""

    def answer(request: SentRequest) -> ScriptedAnswer | ImageSDKError:
        if request.json["prompt"] == "billed":
            return ResponseInterruptedError("reset", phase="receive", retry_after=30.0)
        status = 429 if request.json["prompt"] == "throttled" else 500
        return ScriptedAnswer({"error": {}}, status=status, headers={"retry-after": "30"})

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        transport = ScriptedTransport(answer)
        loop.call_later(1.0, stop.set)
        async with ImageSession(
            base_url="http://server/v1",
            api_key="sk-test",
            transport=transport,
            images_per_minute=50,
            retry=RetryPolicy(5),
        ) as session:
            jobs = prompts("billed", "free", "throttled")
            summary = await run_jobs(Worker(session, tmp_path), jobs, tmp_path, stop=stop)
        assert loop.time() < 2.0  # and not thirty
        assert len(transport.requests) == 3
        assert states_of(summary) == {"failed": 1, "left": 2}

    with virtual_time() as runner:
        runner.run(main())
    (record,) = manifest_of(tmp_path)
    assert (record["custom_id"], record["status"]) == ("billed", "in_doubt")
    summary, _, transport = asyncio.run(
        play(lambda _: image_answer(), prompts("billed", "free"), tmp_path)
    )
    assert (summary.done, summary.resent) == (2, 1)
    assert len(transport.requests) == 2


async def test_cancelling_leaves_what_is_in_flight_in_doubt(tmp_path: Path) -> None:
    """Cancelling ends the run at once; the manifest says what may have been billed, and what was not sent."""
    transport = ScriptedTransport(lambda _: after(60.0))
    async with scripted(transport) as session:
        run = asyncio.create_task(
            run_jobs(Worker(session, tmp_path), prompts(*"abc"), tmp_path, concurrency=2)
        )
        await until_sent(transport, 2)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert {(r["custom_id"], r["status"]) for r in manifest_of(tmp_path)} == {
        ("a", "in_doubt"),
        ("b", "in_doubt"),
    }
    summary, _, transport = await play(lambda _: image_answer(), prompts(*"abc"), tmp_path)
    assert (summary.done, summary.resent) == (3, 2)


async def test_cancelling_again_does_not_disturb_the_books(tmp_path: Path) -> None:
    """However often a run is cancelled, what was in flight is noted before it ends."""
    transport = ScriptedTransport(lambda _: after(60.0))
    stop = asyncio.Event()
    async with scripted(transport) as session:
        jobs, worker = prompts(*"abcd"), Worker(session, tmp_path)
        run = asyncio.create_task(run_jobs(worker, jobs, tmp_path, concurrency=4, stop=stop))
        await until_sent(transport, 4)
        stop.set()
        while not run.done():
            await asyncio.sleep(0)
            run.cancel()
        assert run.cancelled()
    assert [record["status"] for record in manifest_of(tmp_path)] == ["in_doubt"] * 4
    assert not list((tmp_path / ARRIVING).glob("*.part"))


async def test_a_sample_is_spread_over_the_input(tmp_path: Path) -> None:
    """A sample does so many jobs from all over the file, and leaves the rest; the next one takes others."""
    ids = "abcdefghij"
    summary, sent = await end(tmp_path, lambda _: after(0), ids, sample=3)
    assert (reason_of(summary), states_of(summary)) == (None, {"done": 3, "left": 7})
    assert sorted(sent) == ["a", "e", "h"]
    summary, sent = await end(tmp_path, lambda _: after(0), ids, sample=100)
    assert states_of(summary) == {"skipped": 3, "done": 7}
    with pytest.raises(ConfigurationError, match="sample is 0"):
        await end(tmp_path, lambda _: after(0), ids, sample=0)


async def test_the_last_run_can_be_done_again_without_its_input(tmp_path: Path) -> None:
    """Without jobs those of the last run are done that are in the states asked for, and no others."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        match request.json["prompt"]:
            case "a":
                return refusal(500, "broken", "server_error")
            case "b":
                return refusal(400, "no")
            case _:
                return image_answer()

    await end(tmp_path, answer, "abcd", concurrency=1, limits=Limits(max_images=1))
    records: list[Record] = []
    transport = ScriptedTransport(lambda _: image_answer())
    async with scripted(transport) as session:
        worker = Worker(session, tmp_path)
        failed: tuple[State, ...] = ("failed",)
        summary = await run_jobs(
            worker,
            None,
            tmp_path,
            only=failed,
            on_record=lambda record, is_new: records.append(record) if is_new else None,
        )
        assert states_of(summary) == {"skipped": 1, "done": 1, "left": 1}
        assert summary.rejected == 1
        assert [record.custom_id for record in records] == ["a"]
        summary = await run_jobs(worker, None, tmp_path, only=(*failed, "rejected"))
        assert states_of(summary) == {"skipped": 2, "done": 1, "left": 1}


async def test_a_changed_job_may_be_made_again(tmp_path: Path) -> None:
    """With allow_changed a job is made from its new parameters, under a new name; the old file stays."""
    await play([image_answer()], jobs_of({"id": "a", "prompt": "old"}), tmp_path)
    (job,) = jobs_of({"id": "a", "prompt": "new"})
    transport = ScriptedTransport([image_answer()])
    async with scripted(transport) as session:
        worker = Worker(session, tmp_path)
        summary = await run_jobs(worker, [job], tmp_path, allow_changed=True)
        assert states_of(summary) == {"done": 1}
        assert pictures_in(tmp_path) == ["a-1.png", f"a-{job.key}-1.png"]
        assert (await run_jobs(worker, [job], tmp_path)).skipped == 1
    (record,) = manifest_of(tmp_path)
    assert record["images"][0]["file"] == f"a-{job.key}-1.png"
