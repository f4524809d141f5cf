"""Running a batch again: what is done is skipped, what came is found, what is in doubt is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from imagesdk.batch.files import ARRIVING
from imagesdk.batch.jobs import Job
from imagesdk.batch.ledger import LEDGER, Ledger
from imagesdk.batch.records import MANIFEST
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.client.session import ImageSession
from imagesdk.emulator.server import EmulatorServer
from imagesdk.errors import (
    BatchError,
    ConfigurationError,
    ResponseInterruptedError,
)
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest
from tests.batch.conftest import (
    image_answer,
    jobs_of,
    manifest_of,
    pictures_in,
    play,
    png,
    prompts,
    refusal,
    scripted,
)

# Running it again ---------------------------------------------------------------------------------


async def test_a_second_run_skips_what_is_done(
    server: EmulatorServer, session: ImageSession, tmp_path: Path
) -> None:
    """Running a finished batch again sends nothing and changes nothing."""
    jobs = jobs_of(
        {"prompt": "a fox", "n": 2, "size": "256x256"}, {"prompt": "b", "size": "256x256"}
    )
    await run_jobs(Worker(session, tmp_path), jobs, tmp_path)
    before = (tmp_path / MANIFEST).read_bytes()
    requests = len(server.requests)
    assert await run_jobs(Worker(session, tmp_path), jobs, tmp_path) == Summary(skipped=2)
    assert len(server.requests) == requests
    assert server.charged == 3
    assert (tmp_path / MANIFEST).read_bytes() == before


async def test_a_new_line_is_all_that_is_run(tmp_path: Path) -> None:
    """Lines that were added to the file are run, the others are not."""
    await play([image_answer()], prompts("a"), tmp_path)
    summary, _, transport = await play([image_answer()], prompts("new", "a"), tmp_path)
    assert summary == Summary(skipped=1, done=1, images=1)
    assert transport.requests[0].json["prompt"] == "new"


async def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    """A job whose file is gone is run again, and the others are not."""
    await play([image_answer(), image_answer()], prompts("a", "b"), tmp_path)
    (tmp_path / "a-1.png").unlink()
    summary, _, transport = await play([image_answer()], prompts("a", "b"), tmp_path)
    assert summary == Summary(skipped=1, done=1, images=1)
    assert [request.json["prompt"] for request in transport.requests] == ["a"]
    assert pictures_in(tmp_path) == ["a-1.png", "b-1.png"]
    assert (await play([], prompts("a", "b"), tmp_path))[0] == Summary(skipped=2)


async def test_other_parameters_under_the_same_id_are_refused(tmp_path: Path) -> None:
    """A job with the id of another one that has images is refused before anything is sent."""
    await play([image_answer()], jobs_of({"id": "a", "prompt": "old"}), tmp_path)
    jobs = jobs_of({"id": "b", "prompt": "b"}, {"id": "a", "prompt": "new"})
    with pytest.raises(BatchError, match=r"line 2: 'a' was made with other parameters") as caught:
        await play([], jobs, tmp_path)
    assert caught.value.line == 2
    assert pictures_in(tmp_path) == ["a-1.png"]


async def test_a_line_that_was_put_in_is_noticed(tmp_path: Path) -> None:
    """Where lines are told by their number alone, the error says what to do about one that was put in."""
    await play(lambda _: image_answer(), jobs_of({"prompt": "a"}, {"prompt": "b"}), tmp_path)
    jobs = jobs_of({"prompt": "new"}, {"prompt": "a"}, {"prompt": "b"})
    with pytest.raises(
        BatchError, match=r"'line-1' .* add new lines at the end, or write ids, or make"
    ):
        await play([], jobs, tmp_path)


async def test_another_picture_under_the_same_path_is_noticed(tmp_path: Path) -> None:
    """A picture that has changed since its images were made is refused before anything is sent."""
    picture = tmp_path / "in.png"

    def jobs() -> list[Job]:
        return jobs_of({"id": "a", "image": "in.png"}, folder=tmp_path)

    await asyncio.to_thread(picture.write_bytes, png(4, 4))
    await play([image_answer()], await asyncio.to_thread(jobs), tmp_path / "out")
    await asyncio.to_thread(picture.write_bytes, png(4, 4, color=9))
    with pytest.raises(BatchError, match=r"line 1: 'a' was made from another picture"):
        await play([], await asyncio.to_thread(jobs), tmp_path / "out")
    await asyncio.to_thread(picture.write_bytes, png(4, 4))
    summary, _, _ = await play([], await asyncio.to_thread(jobs), tmp_path / "out")
    assert summary == Summary(skipped=1)


async def test_a_failed_job_may_be_corrected(tmp_path: Path) -> None:
    """A job that has no images may come back with other parameters; its last record counts."""
    await play([refusal(400, "bad")], jobs_of({"id": "a", "prompt": "old"}), tmp_path)
    corrected = jobs_of({"id": "a", "prompt": "new"})
    summary, _, _ = await play([image_answer()], corrected, tmp_path)
    assert summary == Summary(done=1, images=1)
    assert [record["status"] for record in manifest_of(tmp_path)] == ["rejected", "done"]
    assert (await play([], corrected, tmp_path))[0] == Summary(skipped=1)


async def test_a_failed_job_is_run_again(tmp_path: Path) -> None:
    """A second run tries again what failed, as another request than before."""
    _, _, first = await play([refusal(500, "bad"), image_answer()], prompts("a", "b"), tmp_path)
    summary, _, second = await play([image_answer()], prompts("a", "b"), tmp_path)
    assert summary == Summary(skipped=1, done=1, images=1)
    assert second.requests[0].json["prompt"] == "a"
    keys = [played.requests[0].headers["Idempotency-Key"] for played in (first, second)]
    assert keys[0] != keys[1]


async def test_what_the_server_rejects_is_not_sent_again(tmp_path: Path) -> None:
    """A request that was refused for what it is stays refused until its line is changed."""
    _, (record,), _ = await play([refusal(400, "bad")], prompts("a"), tmp_path)
    assert record.status == "rejected"
    summary, _, transport = await play([], prompts("a"), tmp_path)
    assert summary == Summary(rejected=1)
    assert not transport.requests


async def test_a_torn_manifest_is_written_again(tmp_path: Path) -> None:
    """Whatever a crash or an editor left of the manifest, the next run writes what the ledger says."""
    await play([image_answer(), image_answer()], prompts("a", "b"), tmp_path)
    whole = (tmp_path / MANIFEST).read_bytes()
    for content in (b"", whole[:40], whole[:-1], b"garbage\n" + whole):
        (tmp_path / MANIFEST).write_bytes(content)
        assert (await play([], prompts("a", "b"), tmp_path))[0] == Summary(skipped=2)
        assert (tmp_path / MANIFEST).read_bytes() == whole


# What was in flight -------------------------------------------------------------------------------


async def cut_off(jobs: Iterable[Job], out: Path, *, arrived: int = 0) -> str:
    """Leave a run as a kill does while its first request is in flight; return that request's key.

    Of its images, *arrived* are on the disk.
    """
    await asyncio.to_thread(out.mkdir, exist_ok=True)
    key = "0" * 31 + "7"
    async with Ledger(out) as ledger:
        await ledger.load(jobs)
        (entry, *_) = await ledger.page(["pending", "failed"])
        await ledger.start(entry, key)
    (out / ARRIVING).mkdir()
    for number in range(1, arrived + 1):
        await asyncio.to_thread((out / ARRIVING / f"{key}-{number}.png").write_bytes, png())
    await asyncio.to_thread((out / ARRIVING / ".imagesdk-1.part").write_bytes, b"half")
    return key


async def test_what_was_in_flight_is_sent_again_with_its_key(tmp_path: Path) -> None:
    """A server that honours the Idempotency-Key bills a request once, however often it is cut off."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 2}, {"id": "b", "prompt": "b"})
    key = await cut_off(jobs, tmp_path)
    answers = [image_answer(png(), png()), image_answer()]
    summary, _, transport = await play(answers, jobs, tmp_path)
    assert summary == Summary(done=2, images=3, resent=1, resent_images=2)
    keys = [request.headers["Idempotency-Key"] for request in transport.requests]
    assert keys[0] == key
    assert keys[1] != key
    assert pictures_in(tmp_path) == ["a-1.png", "a-2.png", "b-1.png"]
    assert (await play([], jobs, tmp_path))[0] == Summary(skipped=2)


async def test_what_was_in_flight_may_be_left(tmp_path: Path) -> None:
    """``skip`` sends nothing that may have been billed, and the record says why."""
    await cut_off(prompts("a"), tmp_path)
    for _ in range(2):
        transport = ScriptedTransport([])
        async with scripted(transport) as session:
            summary = await run_jobs(
                Worker(session, tmp_path), prompts("a"), tmp_path, in_doubt="skip"
            )
        assert summary == Summary(in_doubt=1)
        assert not transport.requests
    (record,) = manifest_of(tmp_path)
    assert record["status"] == "in_doubt"
    assert record["error"]["may_be_billed"]
    assert (await play([image_answer()], prompts("a"), tmp_path))[0].resent == 1


async def test_what_had_arrived_is_found(tmp_path: Path) -> None:
    """Images that were received when the run was killed are kept, and not asked for again."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 2})
    await cut_off(jobs, tmp_path, arrived=2)
    summary, _, transport = await play([], jobs, tmp_path)
    assert summary == Summary(skipped=1, recovered=1)
    assert not transport.requests
    assert pictures_in(tmp_path) == ["a-1.png", "a-2.png"]
    (record,) = manifest_of(tmp_path)
    assert record["status"] == "done"
    assert record["images"][1]["sha256"] == hashlib.sha256(png()).hexdigest()


async def test_what_was_already_in_its_place_is_found(tmp_path: Path) -> None:
    """A kill between the names and the ledger loses nothing, at whichever image it comes."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 3})
    key = await cut_off(jobs, tmp_path, arrived=3)
    (tmp_path / ARRIVING / f"{key}-1.png").rename(tmp_path / "a-1.png")
    assert (await play([], jobs, tmp_path))[0] == Summary(skipped=1, recovered=1)
    assert len(manifest_of(tmp_path)[0]["images"]) == 3


async def test_a_part_that_had_arrived_is_kept_until_there_is_more(tmp_path: Path) -> None:
    """Some of the images of a request that was cut off are kept, and the request stays in doubt."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 2})
    await cut_off(jobs, tmp_path, arrived=1)
    async with scripted(ScriptedTransport([])) as session:
        summary = await run_jobs(Worker(session, tmp_path), jobs, tmp_path, in_doubt="skip")
    assert summary == Summary(in_doubt=1)
    assert pictures_in(tmp_path) == ["a-1.png"]
    summary, _, _ = await play([image_answer(png(), png(9, 9))], jobs, tmp_path)
    assert summary == Summary(done=1, images=2, resent=1, resent_images=2)


async def test_an_answer_that_was_lost_leaves_its_job_in_doubt(tmp_path: Path) -> None:
    """A failure that may have been billed is in doubt, and the next run says that it is sent again."""
    lost = ResponseInterruptedError("gone", phase="receive")
    _, (record,), first = await play([lost], prompts("a"), tmp_path)
    assert record.status == "in_doubt"
    summary, _, second = await play([image_answer()], prompts("a"), tmp_path)
    assert summary == Summary(done=1, images=1, resent=1, resent_images=1)
    keys = {played.requests[0].headers["Idempotency-Key"] for played in (first, second)}
    assert len(keys) == 1


async def test_what_waits_for_the_limit_is_in_no_doubt(tmp_path: Path) -> None:
    """A job is in flight from when it is sent: those that wait in the limiter's queue cost nothing."""
    reached = asyncio.Event()

    def answer(_request: SentRequest) -> ScriptedAnswer:
        reached.set()
        return ScriptedAnswer(image_answer().body, delay=3600)

    session = ImageSession(
        base_url="http://server/v1",
        api_key="sk-test",
        transport=ScriptedTransport(answer),
        images_per_minute=1,
    )
    async with session:
        task = asyncio.create_task(run_jobs(Worker(session, tmp_path), prompts(*"abc"), tmp_path))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    summary, _, _ = await play(lambda _: image_answer(), prompts(*"abc"), tmp_path)
    assert summary == Summary(done=3, images=3, resent=1, resent_images=1)


async def test_a_lost_ledger_is_made_from_the_manifest(tmp_path: Path) -> None:
    """Without its ledger a folder is still known by its manifest."""
    jobs = prompts("b", "a", "A")
    await play(lambda _: image_answer(), jobs, tmp_path)
    names, manifest = pictures_in(tmp_path), (tmp_path / MANIFEST).read_bytes()
    (tmp_path / LEDGER).unlink()
    assert (await play([], jobs, tmp_path))[0] == Summary(skipped=3)
    assert pictures_in(tmp_path) == names
    assert (tmp_path / MANIFEST).read_bytes() == manifest


async def test_what_to_do_with_doubts_must_be_known(tmp_path: Path) -> None:
    """Another word than retry or skip is refused."""
    async with scripted(ScriptedTransport([])) as session:
        with pytest.raises(ConfigurationError, match="in_doubt is 'ask'"):
            await run_jobs(Worker(session, tmp_path), [], tmp_path, in_doubt="ask")  # type: ignore[arg-type]


async def test_a_cancelled_run_can_be_resumed(tmp_path: Path) -> None:
    """Cancelling a run leaves what was recorded, and the next run does the rest."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.json["prompt"] == "b":
            reached.set()
            return ScriptedAnswer(image_answer().body, delay=3600)
        return image_answer()

    reached = asyncio.Event()
    task = asyncio.create_task(play(answer, prompts("a", "b"), tmp_path))
    await reached.wait()
    while not (tmp_path / MANIFEST).stat().st_size:  # noqa: ASYNC110 - another process's view
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    summary, _, _ = await play([image_answer()], prompts("a", "b"), tmp_path)
    assert summary == Summary(skipped=1, done=1, images=1, resent=1, resent_images=1)
    assert not [name for name in pictures_in(tmp_path) if name.endswith(".part")]


async def test_what_is_in_a_batch_at_the_server_is_not_sent(tmp_path: Path) -> None:
    """A request that the server runs in a batch of its own is counted, and not paid for twice."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a"))
        await ledger.do(lambda db: db.execute("UPDATE jobs SET state = 'submitted'"))
    summary, _, transport = await play([image_answer()], prompts("a", "b"), tmp_path)
    assert summary == Summary(submitted=1, done=1, images=1)
    assert [request.json["prompt"] for request in transport.requests] == ["b"]
