"""Running a batch: files and manifest agree, nothing is paid for twice, nothing that came is lost."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import sqlite3
import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import read_jobs
from imagesdk.batch.ledger import LEDGER
from imagesdk.batch.records import Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AuthenticationError,
    ConfigurationError,
    ImageSDKError,
    LedgerError,
    PermissionDeniedError,
    QuotaExceededError,
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

NOWHERE = Path("/proc/self")

# Files and manifest -------------------------------------------------------------------------------


async def test_files_and_manifest_agree(session: ImageSession, tmp_path: Path) -> None:
    """Each image is a file that the manifest describes: name, type, size, bytes and hash."""
    await asyncio.to_thread((tmp_path / "in.png").write_bytes, png(64, 64))
    out = tmp_path / "deep" / "out"
    jobs = await asyncio.to_thread(
        jobs_of,
        {"id": "fox", "prompt": "a fox", "n": 2, "size": "256x256"},
        {"id": "otter", "prompt": "an otter", "size": "256x256", "response_format": "b64_json"},
        {
            "id": "sticker",
            "prompt": "a corgi",
            "model": "gpt-image-1.5",
            "output_format": "jpeg",
            "quality": "low",
        },
        {"id": "varied", "image": "in.png", "size": "256x256"},
        folder=tmp_path,
    )
    summary = await run_jobs(Worker(session, out), jobs, out)
    assert summary == Summary(done=4, images=5)
    records = {record["custom_id"]: record for record in manifest_of(out)}
    assert set(records) == {"fox", "otter", "sticker", "varied"}
    files = [image for record in records.values() for image in record["images"]]
    assert pictures_in(out) == sorted(image["file"] for image in files)
    for image in files:
        content = (out / image["file"]).read_bytes()
        with Image.open(BytesIO(content)) as opened:
            assert (image["width"], image["height"]) == opened.size
            assert image["mime_type"] == opened.get_format_mimetype()
        assert image["bytes"] == len(content)
        assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert [image["file"] for image in records["fox"]["images"]] == ["fox-1.png", "fox-2.png"]
    assert records["sticker"]["images"][0]["file"] == "sticker-1.jpg"


async def test_a_record_says_what_was_asked_and_what_it_took(tmp_path: Path) -> None:
    """A record has the parameters, the key, usage, request id, attempts and time of the job."""
    (job,) = jobs_of({"id": "a", "prompt": "a", "size": "256x256"})
    usage = {"total_tokens": 7, "input_tokens": 3, "output_tokens": 4}
    await play([image_answer(usage=usage)], [job], tmp_path)
    (record,) = manifest_of(tmp_path)
    assert record["status"] == "done"
    assert record["endpoint"] == "generations"
    assert record["params"] == {"prompt": "a", "size": "256x256"}
    assert record["key"] == job.key
    assert record["usage"] == usage
    assert record["request_id"] == "req-1"
    assert record["attempts"] == 1
    assert record["error"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", record["finished_at"])


async def test_records_are_told_as_they_come(tmp_path: Path) -> None:
    """The callback gets each record once, and whether it is new."""
    told: list[tuple[str, bool]] = []

    def tell(record: Record, is_new: bool) -> None:  # noqa: FBT001 - the callback's own
        told.append((record.custom_id, is_new))

    await play([image_answer()], prompts("a"), tmp_path)
    async with scripted(ScriptedTransport([image_answer()])) as session:
        await run_jobs(Worker(session, tmp_path), prompts("a", "b"), tmp_path, on_record=tell)
    assert told == [("a", False), ("b", True)]


async def test_no_jobs_are_no_images(tmp_path: Path) -> None:
    """An empty batch sends nothing and fails at nothing."""
    summary, records, transport = await play([], [], tmp_path / "out")
    assert summary == Summary()
    assert not records
    assert not transport.requests


async def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    """As many requests are in flight as concurrency says, and never more."""
    most = 0

    def answer(_request: SentRequest) -> ScriptedAnswer:
        nonlocal most
        most = max(most, transport.open + 1)
        return ScriptedAnswer(image_answer().body, delay=0.005)

    transport = ScriptedTransport(answer)
    async with scripted(transport) as session:
        summary = await run_jobs(
            Worker(session, tmp_path), prompts(*"abcdefgh"), tmp_path, concurrency=3
        )
    assert summary.done == 8
    assert most == 3


async def test_a_request_is_told_when_it_is_sent(tmp_path: Path) -> None:
    """When its wait is over; not at all if it never leaves."""
    told: list[str] = []
    transport = ScriptedTransport([image_answer()])
    async with scripted(transport) as session:
        await run_jobs(
            Worker(session, tmp_path),
            jobs_of({"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b", "size": "1x1"}),
            tmp_path,
            concurrency=1,
            on_start=lambda job: told.append(job.custom_id),
        )
    assert told == ["a"]


async def test_what_is_due_is_told(tmp_path: Path) -> None:
    """All that is not done, what failed, or a sample of it: with the images that it asks for."""
    told: list[Total] = []
    options: dict[str, Any] = {"concurrency": 1, "on_due": told.append}
    jobs = jobs_of(*({"id": name, "prompt": name, "n": 2} for name in "abcd"))
    answers = [refusal(500, "no"), *(image_answer(png(), png()) for _ in range(2))]
    async with scripted(ScriptedTransport(answers)) as session:
        worker = Worker(session, tmp_path)
        await run_jobs(worker, jobs, tmp_path, sample=2, **options)
        await run_jobs(worker, None, tmp_path, only=["failed"], **options)
        with pytest.raises(AssertionError, match="no answer left"):
            await run_jobs(worker, jobs, tmp_path, **options)
    assert told == [Total(2, 4), Total(1, 2), Total(2, 4)]


async def test_concurrency_of_zero_is_refused(tmp_path: Path) -> None:
    """A concurrency below 1 is an error, and leaves no open file behind."""
    for concurrency in (0, -1):
        with pytest.raises(ConfigurationError, match="concurrency is"):
            await play([], prompts("a"), tmp_path, concurrency=concurrency)


async def test_jobs_may_come_straight_from_the_reader(tmp_path: Path) -> None:
    """The jobs of a file can be passed as they are read; that happens beside the event loop."""
    await asyncio.to_thread((tmp_path / "in.png").write_bytes, png(4, 4))
    lines = ['{"image": "in.png", "n": 1}', '{"prompt": "a"}']
    summary, _, _ = await play(
        lambda _: image_answer(), read_jobs(lines, tmp_path), tmp_path / "out", concurrency=2
    )
    assert summary == Summary(done=2, images=2)


# Names --------------------------------------------------------------------------------------------


async def test_names_are_the_same_in_every_run(tmp_path: Path) -> None:
    """The same jobs give the same file names, whatever order the answers come in."""
    ids = ["fox", "Fox", "a b", "a/b", "line-7"]
    first, second = tmp_path / "first", tmp_path / "second"
    await play(lambda _: image_answer(), prompts(*ids), first, concurrency=1)

    def backwards(request: SentRequest) -> ScriptedAnswer:
        wait = 0.005 * (len(ids) - ids.index(request.json["prompt"]))
        return ScriptedAnswer(image_answer().body, delay=wait)

    await play(backwards, prompts(*ids), second, concurrency=5)
    assert pictures_in(first) == pictures_in(second)
    assert len(pictures_in(first)) == len(ids)


@pytest.mark.parametrize(
    ("custom_id", "pattern"),
    [
        ("fox", r"fox-1\.png"),
        ("v1.5", r"v1\.5-1\.png"),
        ("photo.png", r"photo\.png-1\.png"),
        ("../../x", r"x-[0-9a-f]{8}-1\.png"),
        ("/etc/passwd", r"etc-passwd-[0-9a-f]{8}-1\.png"),
        ("C:\\x", r"C-x-[0-9a-f]{8}-1\.png"),
        ("CON?", r"CON-[0-9a-f]{8}-1\.png"),
        ("CON", r"CON-1\.png"),
        ("..", r"job-[0-9a-f]{8}-1\.png"),
        (".hidden", r"hidden-[0-9a-f]{8}-1\.png"),
        ("狐狸", r"job-[0-9a-f]{8}-1\.png"),
        ("Füchse im Schnee", r"F-chse-im-Schnee-[0-9a-f]{8}-1\.png"),
        ("x" * 300, r"x{100}-[0-9a-f]{8}-1\.png"),
    ],
)
async def test_names_are_safe_anywhere(tmp_path: Path, custom_id: str, pattern: str) -> None:
    """An id becomes a name of plain characters in the folder, never a path that leaves it."""
    out = tmp_path / "out"
    await play([image_answer()], prompts(custom_id), out)
    (name,) = pictures_in(out)
    assert re.fullmatch(pattern, name)
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names are what is looked at
    assert manifest_of(out)[0]["images"][0]["file"] == name
    assert manifest_of(out)[0]["custom_id"] == custom_id


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(str.strip)
        | st.sampled_from(["a", "A", "a/", "A?", "a-1", "a-1-1", "con", "..", "ä", "ß", "SS"]),
        max_size=6,
        unique=True,
    )
)
def test_no_two_jobs_share_a_file(ids: list[str]) -> None:
    """Whatever the ids are, each job has a file of its own, even where case makes no difference."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        asyncio.run(play(lambda _: image_answer(), prompts(*ids), out, concurrency=4))
        names = pictures_in(out)
        assert len({name.lower() for name in names}) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*-1\.png", name) for name in names)


# Failures -----------------------------------------------------------------------------------------


async def test_a_failed_job_is_recorded_and_the_run_goes_on(
    session: ImageSession, tmp_path: Path
) -> None:
    """A refused prompt costs its own job only, and the record says why it failed."""
    jobs = jobs_of(
        {"id": "bad", "prompt": "a [blocked] thing", "size": "256x256"},
        {"id": "good", "prompt": "a fox", "size": "256x256"},
    )
    summary = await run_jobs(Worker(session, tmp_path), jobs, tmp_path, concurrency=1)
    assert summary == Summary(done=1, failed=1, images=1)
    bad, good = manifest_of(tmp_path)
    assert (bad["custom_id"], bad["status"], bad["images"]) == ("bad", "rejected", [])
    assert bad["error"]["type"] == "ModerationError"
    assert bad["error"]["status"] == 400
    assert bad["error"]["code"]
    assert bad["error"]["message"]
    assert bad["error"]["may_be_billed"] is False
    assert good["status"] == "done"


async def test_an_invalid_job_is_recorded_and_never_sent(tmp_path: Path) -> None:
    """A request that breaks a rule, and that nobody checked before, fails without an exchange."""
    jobs = jobs_of({"id": "long", "prompt": "x" * 1001}, {"id": "none", "prompt": "a", "n": 0})
    summary, records, transport = await play([], jobs, tmp_path)
    assert summary == Summary(failed=2)
    assert not transport.requests
    assert [record.error and record.error["type"] for record in records] == [
        "InvalidRequestError",
        "InvalidRequestError",
    ]
    assert [record.attempts for record in records] == [0, 0]


async def test_images_of_a_partial_answer_are_saved(tmp_path: Path) -> None:
    """Fewer images than asked for are kept, and the job counts as failed."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 3})
    summary, (record,), _ = await play([image_answer(png(), png(5, 5))], jobs, tmp_path)
    assert summary == Summary(failed=1, images=2)
    assert record.status == "partial"
    assert [image["width"] for image in record.images] == [3, 5]
    assert record.error is not None
    assert record.error["type"] == "PartialResultError"
    assert pictures_in(tmp_path) == ["a-1.png", "a-2.png"]


async def test_images_of_a_split_call_are_saved_when_a_part_fails(tmp_path: Path) -> None:
    """What the other parts of a large n brought is kept."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.json["n"] == 2:
            return refusal(400, "bad")
        return image_answer(*[png()] * 10)

    jobs = jobs_of({"id": "a", "prompt": "a", "n": 12})
    summary, (record,), _ = await play(answer, jobs, tmp_path)
    assert summary == Summary(failed=1, images=10)
    assert record.status == "partial"
    assert record.attempts == 2


STOPS: list[tuple[ScriptedAnswer, type[ImageSDKError]]] = [
    (refusal(401, "invalid_api_key"), AuthenticationError),
    (refusal(403, "unsupported_country"), PermissionDeniedError),
    (refusal(429, "insufficient_quota", "insufficient_quota"), QuotaExceededError),
    (refusal(400, "billing_hard_limit_reached"), QuotaExceededError),
]


@pytest.mark.parametrize(("answer", "kind"), STOPS, ids=[kind.__name__ for _, kind in STOPS])
async def test_an_error_that_every_job_would_meet_ends_the_run(
    tmp_path: Path, answer: ScriptedAnswer, kind: type[ImageSDKError]
) -> None:
    """After a wrong key or an empty account nothing more is sent; the summary says why."""
    script = [image_answer(), answer]
    summary, records, transport = await play(script, prompts(*"abcdef"), tmp_path)
    assert summary.stopped is not None
    assert summary.stopped.reason == "refused"
    assert isinstance(summary.stopped.error, kind)
    assert (summary.done, summary.failed, summary.images) == (1, 1, 1)
    assert len(transport.requests) == 2
    assert [record.status for record in records] == ["done", "failed"]


async def test_what_is_in_flight_is_finished_when_the_run_ends(tmp_path: Path) -> None:
    """Images that are already asked for, and paid for, are kept after an error that ends the run."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.json["prompt"] == "a":
            return refusal(429, "insufficient_quota", "insufficient_quota")
        return ScriptedAnswer(image_answer().body, delay=0.02)

    summary, _, transport = await play(answer, prompts(*"abcdef"), tmp_path, concurrency=3)
    assert (summary.done, summary.failed, summary.images) == (2, 1, 2)
    assert len(transport.requests) == 3
    assert pictures_in(tmp_path) == ["b-1.png", "c-1.png"]
    rest, _, _ = await play(lambda _: image_answer(), prompts(*"abcdef"), tmp_path)
    assert rest == Summary(skipped=2, done=4, images=4)


async def test_a_download_that_fails_is_recorded(tmp_path: Path) -> None:
    """An image whose URL brings nothing fails its job; the others are kept."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.method == "POST":
            urls = ["http://server/good.png", "http://server/gone.png"]
            return ScriptedAnswer({"created": 1, "data": [{"url": url} for url in urls]})
        if request.url.endswith("gone.png"):
            return ScriptedAnswer(b"", status=404)
        return ScriptedAnswer(png())

    jobs = jobs_of({"id": "a", "prompt": "a", "n": 2}, {"id": "b", "prompt": "b", "n": 2})
    summary, records, _ = await play(answer, jobs, tmp_path)
    assert summary == Summary(failed=2, images=2)
    for record in records:
        assert record.status == "partial"
        assert [image["file"] for image in record.images] == [f"{record.custom_id}-1.png"]
        assert record.error is not None
        assert "gone.png" in record.error["message"]


async def test_a_job_without_any_image_has_failed(tmp_path: Path) -> None:
    """If no download works the job has failed, with the exchanges that it took."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.method == "POST":
            return ScriptedAnswer({"created": 1, "data": [{"url": "http://server/gone.png"}]})
        return ScriptedAnswer(b"", status=404)

    summary, (record,), _ = await play(answer, prompts("a"), tmp_path)
    assert summary == Summary(failed=1)
    assert (record.status, record.images, record.attempts) == ("failed", [], 1)


async def test_a_file_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """A full or broken disk is an OSError; what is in flight is finished, and nothing is lost."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        return ScriptedAnswer(image_answer().body, delay=0.02 * (request.json["prompt"] == "c"))

    (tmp_path / "b-1.png" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"b-1\.png"):
        await play(answer, prompts(*"abcd"), tmp_path, concurrency=3)
    assert {"a", "c"} <= {record["custom_id"] for record in manifest_of(tmp_path)}
    with pytest.raises(OSError, match=r"b-1\.png"):
        await play([], prompts(*"abcd"), tmp_path)
    (tmp_path / "b-1.png" / "in the way").rmdir()
    (tmp_path / "b-1.png").rmdir()
    summary, _, transport = await play(lambda _: image_answer(), prompts(*"abcd"), tmp_path)
    assert summary.recovered == 1
    assert summary.skipped + summary.done == 4
    assert "b" not in [request.json["prompt"] for request in transport.requests]


async def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be saved as it came is tried once more; then the run ends, with nothing half left."""

    def fsync(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == len(png()):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)  # the operating system, not our code
        with pytest.raises(OSError, match="No space left"):
            await play([image_answer()], prompts("a"), tmp_path)
    assert pictures_in(tmp_path) == []
    summary, _, _ = await play([image_answer()], prompts("a"), tmp_path)
    assert summary == Summary(done=1, images=1, resent=1, resent_images=1)
    assert pictures_in(tmp_path) == ["a-1.png"]


async def test_what_the_disk_refuses_once_is_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that could not be written as it came is kept in memory, and saved when it is whole."""
    refused: list[int] = []
    force = os.fsync

    def fsync(descriptor: int) -> None:
        if not refused and os.fstat(descriptor).st_size == len(png()):
            refused.append(descriptor)
            raise OSError(errno.ENOSPC, "No space left on device")
        force(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)  # the operating system, not our code
    summary, _, _ = await play([image_answer()], prompts("a"), tmp_path)
    assert refused
    assert summary == Summary(done=1, images=1)
    assert pictures_in(tmp_path) == ["a-1.png"]


async def test_a_ledger_that_fails_ends_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    """What cannot be noted is not sent."""

    def spoil() -> None:
        with closing(sqlite3.connect(tmp_path / LEDGER)) as other:
            other.execute(
                "CREATE TRIGGER spoil BEFORE UPDATE ON jobs WHEN NEW.state = 'started' "
                "BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )

    await play([], [], tmp_path)
    await asyncio.to_thread(spoil)
    transport = ScriptedTransport([])
    async with scripted(transport) as session:
        with pytest.raises(LedgerError, match="no room"):
            await run_jobs(Worker(session, tmp_path), prompts("a"), tmp_path)
    assert not transport.requests


async def test_an_error_of_a_callback_is_raised_once_what_is_in_flight_has_come(
    tmp_path: Path,
) -> None:
    """What the caller's own function raises ends the run as it is, and costs nothing that is paid for."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        return ScriptedAnswer(image_answer().body, delay=0.03 * (request.json["prompt"] == "b"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with scripted(ScriptedTransport(answer)) as session:
        worker = Worker(session, tmp_path)
        with pytest.raises(ZeroDivisionError):
            await run_jobs(worker, prompts(*"abc"), tmp_path, concurrency=2, on_record=fail)
    assert (await play([image_answer()], prompts(*"abc"), tmp_path))[0].skipped == 2


async def test_a_callback_that_fails_before_a_request_keeps_it_from_being_sent(
    tmp_path: Path,
) -> None:
    """An error of on_start leaves its request unsent, and in no doubt."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with scripted(ScriptedTransport([])) as session:
        with pytest.raises(ZeroDivisionError):
            await run_jobs(Worker(session, tmp_path), prompts("a"), tmp_path, on_start=fail)
    assert (await play([image_answer()], prompts("a"), tmp_path))[0] == Summary(done=1, images=1)


@pytest.mark.skipif(not NOWHERE.exists(), reason="no folder here that nobody may write to")
async def test_a_folder_that_takes_no_files_ends_the_run_before_anything_is_sent() -> None:
    """Where no ledger can be written nothing is paid for."""
    with pytest.raises(LedgerError, match=r"run\.db cannot be used: unable to open"):
        await play([], prompts("a"), NOWHERE)
