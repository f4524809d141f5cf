"""`imagesdk.batch.run`: one call for a whole batch, from a file or rows, with a session or the arguments of one."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest

from imagesdk import batch
from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.errors import BatchError, ConfigurationError
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest
from tests.batch.conftest import image_answer, manifest_of, pictures_in, refusal, scripted

OPTIONS: dict[str, Any] = {
    "base_url": "http://server/v1",
    "api_key": "sk-test",
    "images_per_minute": None,
}


def answering(_: SentRequest) -> ScriptedAnswer:
    """Answer with an image."""
    return image_answer()


async def test_a_file_is_run_and_run_again(tmp_path: Path) -> None:
    """A path is enough; the same call again skips what is done."""
    path, out = tmp_path / "prompts.txt", tmp_path / "out"
    await asyncio.to_thread(path.write_text, "a fox\nan otter\n", encoding="utf-8")
    transport = ScriptedTransport(answering)
    for count in ({"done": 2, "images": 2}, {"skipped": 2}):
        summary = await batch.run(path, str(out), session={**OPTIONS, "transport": transport})
        assert attrs.asdict(summary, filter=lambda _, value: bool(value)) == count
    assert pictures_in(out) == ["line-1-1.png", "line-2-1.png"]
    assert len(transport.requests) == 2


async def test_a_session_of_the_caller_stays_open(tmp_path: Path) -> None:
    """A session that is passed is used as it is, and left open; callbacks are told of all there is."""
    told: list[object] = []

    def on_begin(total: Total) -> None:
        told.append((total.jobs, total.images))

    def on_due(total: Total) -> None:
        told.append((total.jobs, total.images, "due"))

    def on_start(job: Job) -> None:
        told.append(job.custom_id)

    def on_record(record: batch.Record, is_new: bool) -> None:  # noqa: FBT001
        told.append((record.custom_id, is_new))

    rows = [{"id": "a", "prompt": "a", "n": 2}]
    async with scripted(ScriptedTransport(lambda _: image_answer(*[b"\x89PNG"] * 2))) as session:
        for _ in range(2):
            await batch.run(
                rows,
                tmp_path,
                session=session,
                on_begin=on_begin,
                on_due=on_due,
                on_start=on_start,
                on_record=on_record,
            )
        await session.generate("the session is open")
    assert told == [(1, 2), (1, 2, "due"), "a", ("a", True), (1, 2), ("a", False), (0, 0, "due")]


async def test_the_rules_of_the_model_come_first(tmp_path: Path) -> None:
    """A line that breaks a rule raises before anything is sent."""
    rows = [{"prompt": "good"}, {"prompt": "x" * 1001}]
    async with scripted(ScriptedTransport([])) as session:
        with pytest.raises(BatchError, match="line 2: prompt has 1,001 characters"):
            await batch.run(rows, tmp_path, session=session)
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_limits_and_prices_are_those_of_the_call(tmp_path: Path) -> None:
    """Limits end the run; prices may be a table or the path of one, and each request must have one."""
    rows = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]
    table = PriceTable(prices=(Price(model="dall-e-*", image=(0.02, 0.02)),))
    path = tmp_path / "prices.json"
    await asyncio.to_thread(path.write_text, '{"price": [{"image": 0.02}]}', encoding="utf-8")
    async with scripted(ScriptedTransport(answering)) as session:
        with pytest.raises(
            BatchError, match=r"line 1: the price table has no price for .*model ''"
        ):
            await batch.run(rows, tmp_path / "out", session=session, prices=table)
        summary = await batch.run(
            rows, tmp_path / "out", session=session, prices=path, max_cost=0.05, concurrency=1
        )
    assert (summary.images, summary.left, summary.cost) == (2, 1, 0.04)
    assert summary.stopped is not None
    assert summary.stopped.reason == "cost"
    with pytest.raises(ConfigurationError, match="max_cost needs a price table"):
        await batch.run(rows, tmp_path / "out", session=OPTIONS, max_cost=1.0)


async def test_without_a_source_what_failed_is_done_again(tmp_path: Path) -> None:
    """None does the failures of the last run; what was rejected only if it is included."""

    def failing(request: SentRequest) -> ScriptedAnswer:
        kind = "server_error" if request.json["prompt"] == "a" else "invalid_request_error"
        return refusal(500 if kind == "server_error" else 400, "no", kind)

    with pytest.raises(BatchError, match="there was no run into"):
        await batch.run(None, tmp_path / "none", session=OPTIONS)
    assert not (tmp_path / "none").exists()
    rows = [{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b"}]
    async with scripted(ScriptedTransport(failing)) as session:
        assert (await batch.run(rows, tmp_path, session=session)).failed == 2
    async with scripted(ScriptedTransport(answering)) as session:
        summary = await batch.run(None, tmp_path, session=session)
        assert (summary.done, summary.rejected) == (1, 1)
        summary = await batch.run(None, tmp_path, session=session, include=["rejected"])
        assert (summary.done, summary.skipped) == (1, 1)


@pytest.mark.skipif(os.name == "nt", reason="its loops take no signal handlers")
async def test_signals_set_the_event_and_then_cancel(tmp_path: Path) -> None:
    """The first signal lets a run end in peace, the second one cancels it; after the block all is as before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sent = asyncio.Event()

    def slow(_: SentRequest) -> ScriptedAnswer:
        sent.set()
        return ScriptedAnswer(image_answer().body, delay=30.0)

    async def main() -> None:
        with batch.stop_on_signals() as stop:
            async with scripted(ScriptedTransport(slow)) as session:
                await batch.run([{"prompt": "a"}], tmp_path, session=session, stop=stop)

    run = asyncio.create_task(main())
    await sent.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(5):
        await asyncio.sleep(0.001)
        assert not run.done()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert [record["status"] for record in manifest_of(tmp_path)] == ["in_doubt"]


def test_the_public_names_are_loaded_when_they_are_used() -> None:
    """``imagesdk.batch`` shows its names, and knows no others."""
    assert set(batch.__all__) <= set(dir(batch))
    for name in batch.__all__:
        assert getattr(batch, name).__doc__
    with pytest.raises(
        AttributeError, match=r"module 'imagesdk\.batch' has no attribute 'nothing'"
    ):
        _ = batch.nothing
