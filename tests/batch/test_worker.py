"""A worker: what it has put in its place before it reports, and what keeps it from sending."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path

import attrs
import pytest

from imagesdk.batch.engine import AfterAttempt, BeforeSend, Engine, Report
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.worker import Worker
from imagesdk.errors import AuthenticationError, LedgerError
from imagesdk.testing import ScriptedAnswer, ScriptedTransport
from tests.batch.conftest import image_answer, png, prompts, refusal, scripted

KEY = "0123456789abcdef0123456789abcdef"


async def nothing() -> None:
    """Note nothing."""


async def do(
    transport: ScriptedTransport,
    out: Path,
    before_send: BeforeSend = nothing,
    after_attempt: AfterAttempt = lambda _attempt: None,
) -> Report:
    """Do a job that asks for one image."""
    async with Ledger(out) as ledger:
        await ledger.load(prompts("a"))
        (entry,) = await ledger.page(["pending"])
    async with scripted(transport) as session:
        worker: Engine = Worker(session, out)
        entry = attrs.evolve(entry, idempotency_key=KEY)
        return await worker.do(entry, before_send, after_attempt)


async def test_a_report_names_what_is_there(tmp_path: Path) -> None:
    """The images of a report are on the disk, under the names that it gives."""
    transport = ScriptedTransport([image_answer()])
    report = await do(transport, tmp_path)
    assert report.stop is None
    (image,) = report.record.images
    assert (tmp_path / image["file"]).read_bytes() == png()
    assert transport.requests[0].headers["Idempotency-Key"] == KEY


async def test_each_attempt_is_told_before_it_is_sent(tmp_path: Path) -> None:
    """before_send comes before the exchange, and after_attempt when it has ended."""
    told: list[object] = []

    async def before_send() -> None:
        told.append(len(transport.requests))

    transport = ScriptedTransport([image_answer()])
    await do(transport, tmp_path, before_send, lambda attempt: told.append(attempt.outcome))
    assert told == [0, "ok"]


async def test_what_cannot_be_noted_is_not_sent(tmp_path: Path) -> None:
    """An error of before_send comes out, and nothing is sent."""

    async def before_send() -> None:
        raise LedgerError("no room")

    transport = ScriptedTransport([])
    with pytest.raises(LedgerError, match="no room"):
        await do(transport, tmp_path, before_send)
    assert not transport.requests


@pytest.mark.parametrize(
    ("answer", "stops"),
    [(refusal(401, "invalid_api_key"), True), (refusal(400, "bad"), False)],
)
async def test_a_report_says_whether_the_next_job_would_fare_the_same(
    tmp_path: Path,
    answer: ScriptedAnswer,
    stops: bool,  # noqa: FBT001
) -> None:
    """A wrong key ends a run, a bad request does not."""
    report = await do(ScriptedTransport([answer]), tmp_path)
    assert isinstance(report.stop, AuthenticationError) is stops
    assert report.record.error is not None


async def test_the_limit_can_be_looked_at(tmp_path: Path) -> None:
    """A worker tells the state of its session's limiter."""
    async with scripted(ScriptedTransport([])) as session:
        worker = Worker(session, tmp_path)
        assert worker.snapshot() == session.snapshot()
        assert worker.forecast(100, 10) == session.forecast(100, 10)


# Disks that take nothing --------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a disk that has no room for an image, although others have."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell the name of an open file")
    out, force = tmp_path / "out", os.fsync

    def fsync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        if name.startswith(str(out)) and os.fstat(descriptor).st_size == len(png()):
            raise OSError(errno.ENOSPC, "No space left on device")
        force(descriptor)

    out.mkdir()
    monkeypatch.setattr(os, "fsync", fsync)  # the operating system, not our code
    return out


async def test_what_the_disk_does_not_take_is_kept_elsewhere(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that has no room is saved among the temporary files, by the name that the next run knows."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OSError, match="No space left") as caught:
        await do(ScriptedTransport([image_answer()]), full)
    kept = await asyncio.to_thread(lambda: next(tmp_path.glob("imagesdk-*/*")))
    assert kept.name == f"{KEY}-1.png"
    assert await asyncio.to_thread(kept.read_bytes) == png()
    (note,) = caught.value.__notes__
    assert note.startswith(f"images that it did not take are in {kept.parent}: move them into ")
    assert str(full / ARRIVING) in note


async def test_what_no_disk_takes_is_said_to_be_lost(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be saved anywhere the error says whose images are lost, and may be billed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OSError, match="No space left") as caught:
        await do(ScriptedTransport([image_answer()]), full)
    (note,) = caught.value.__notes__
    assert note.startswith("images of a are lost, and may be billed: ")


async def test_a_folder_that_takes_no_images_ends_the_run_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    """Where there is no folder for what arrives nothing is sent, and the run ends: the next job has none, either."""
    await asyncio.to_thread((tmp_path / ARRIVING).write_bytes, b"in the way")
    transport = ScriptedTransport([])
    with pytest.raises(OSError, match=r"images cannot be written into .*; nothing was sent"):
        await do(transport, tmp_path)
    assert not transport.requests
