"""The ledger's table of batches: what is at the server is known, whenever the process ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imagesdk.batch.entries import State
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.submissions import Submission, Submissions, read_submissions
from imagesdk.errors import BatchError, LedgerError
from tests.batch.conftest import play, prompts, refusal


async def states(ledger: Ledger) -> dict[str, State]:
    """Return the state of each job."""
    everything: tuple[State, ...] = ("pending", "submitted", "done", "failed")
    return {entry.job.custom_id: entry.state for entry in await ledger.page(everything)}


async def begun(ledger: Ledger, *ids: str) -> Submission:
    """Take jobs in, and note that the server is about to be asked to run some of them."""
    await ledger.load(prompts("a", "b", "c"))
    found = {entry.job.custom_id: entry.id for entry in await ledger.page(("pending", "failed"))}
    return await Submissions(ledger).begin(
        "mark", "generations", "file-1", 1000.0, [found[name] for name in ids]
    )


async def test_jobs_are_submitted_with_their_batch(tmp_path: Path) -> None:
    """What is noted before the server is asked is all that is needed afterwards."""
    async with Ledger(tmp_path) as ledger:
        await begun(ledger, "c", "a")
    async with Ledger(tmp_path) as ledger:  # and it is on the disk
        (submission,) = await Submissions(ledger).open()
        assert submission == Submission(
            1, "mark", "generations", 2, "file-1", 1000.0, None, None, 0
        )
        assert await states(ledger) == {"a": "submitted", "b": "pending", "c": "submitted"}
        left = await Submissions(ledger).left(submission)
        assert [(place, entry.job.custom_id) for place, entry in left] == [(1, "c"), (2, "a")]


async def test_only_jobs_of_the_batch_are_found(tmp_path: Path) -> None:
    """An answer belongs to a job that is in the batch, and has none yet."""
    async with Ledger(tmp_path) as ledger:
        submissions = Submissions(ledger)
        submission = await begun(ledger, "a")
        entry = await submissions.entry(submission, "a")
        assert entry is not None
        assert entry.job.custom_id == "a"
        for other in ("b", "nobody"):
            assert await submissions.entry(submission, other) is None


async def test_a_batch_that_is_not_there_gives_its_jobs_back(tmp_path: Path) -> None:
    """Jobs of a batch that the server does not have are what they were before."""
    await play([refusal(500, "server_error")], prompts("a"), tmp_path)
    async with Ledger(tmp_path) as ledger:
        submissions = Submissions(ledger)
        await submissions.abandon(await begun(ledger, "a", "b"))
        assert await states(ledger) == {"a": "failed", "b": "pending", "c": "pending"}
        assert await submissions.open() == []
    with pytest.raises(BatchError, match="nothing was submitted from"):
        await asyncio.to_thread(read_submissions, tmp_path)


async def test_a_closed_batch_is_remembered(tmp_path: Path) -> None:
    """A batch of which all is here is no longer open, and can still be looked up."""
    async with Ledger(tmp_path) as ledger:
        submissions = Submissions(ledger)
        submission = await begun(ledger, "a")
        await submissions.found(submission, "batch_1", "completed")
        (found,) = await submissions.open()
        assert (found.batch_id, found.status) == ("batch_1", "completed")
        await submissions.close(submission)
        assert await submissions.open() == []
        beside = await asyncio.to_thread(read_submissions, tmp_path)
        assert [each.closed for each in beside] == [1]


def test_a_folder_without_a_ledger_is_told(tmp_path: Path) -> None:
    """Looking for batches where there is no ledger is an error, and makes none."""
    with pytest.raises(BatchError, match="there was no run into"):
        read_submissions(tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_is_no_ledger_is_told(tmp_path: Path) -> None:
    """A file that is no ledger, under its name, is an error that names it."""
    (tmp_path / "run.db").write_bytes(b"no ledger at all, but long enough" * 50)
    with pytest.raises(LedgerError, match=r"run\.db cannot be read: "):
        read_submissions(tmp_path)
