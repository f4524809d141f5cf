"""The ledger: what is told to be kept is kept, by one runner at a time."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from io import FileIO
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from imagesdk.batch.entries import Entry, State, Total
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.ledger import LEDGER, Ledger
from imagesdk.batch.records import MANIFEST, Record, Status
from imagesdk.errors import BatchError, LedgerError

STATES: tuple[State, ...] = get_args(State)


HERE = Path("here").absolute()


def jobs_of(*lines: dict[str, Any]) -> list[Job]:
    """Read jobs from lines."""
    return list(read_jobs(map(json.dumps, lines), Path("here")))


def prompts(*ids: str) -> list[Job]:
    """Return a job for each id, whose prompt is its id."""
    return jobs_of(*({"id": name, "prompt": name} for name in ids))


def record(entry: Entry, status: Status = "done", images: int = 0) -> Record:
    """Return a record of a job."""
    return Record(
        custom_id=entry.job.custom_id,
        line=entry.job.line,
        status=status,
        endpoint=entry.job.endpoint,
        params=entry.job.params,
        key=entry.job.key,
        images=[{"file": f"{entry.stem}-{number + 1}.png"} for number in range(images)],
        usage=None,
        request_id=None,
        attempts=1,
        error=None,
        finished_at="2026-11-21T00:00:00.000+00:00",
    )


async def states(ledger: Ledger) -> dict[str, State]:
    """Return the state of each job of the input."""
    return {entry.job.custom_id: entry.state for entry in await ledger.page(STATES)}


async def test_jobs_come_back_as_they_were_read(tmp_path: Path) -> None:
    """A job that comes out of the ledger is the one that went in."""
    jobs = jobs_of(
        {"id": "ä\0", "prompt": "a", "n": 3, "seed": 7},
        {"id": "b", "prompt": "b", "size": "1x1"},
    )
    async with Ledger(tmp_path) as ledger:
        assert await ledger.load(jobs) == Total(2, 4)
        entries = await ledger.page(["pending"])
    assert [entry.job for entry in entries] == [attrs.evolve(job, folder=HERE) for job in jobs]
    assert [(entry.images, entry.first) for entry in entries] == [(3, 0), (1, 3)]
    assert entries[1].job.request.size == "1x1"


async def test_pages_go_through_the_lines(tmp_path: Path) -> None:
    """Pages follow the order of the input, and end."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(*"edcba"))
        first = await ledger.page(["pending"], limit=3)
        second = await ledger.page(["pending"], after=first[-1].job.line, limit=3)
        assert "".join(entry.job.custom_id for entry in (*first, *second)) == "edcba"
        assert not await ledger.page(["pending"], after=second[-1].job.line)
        assert not await ledger.page(["done", "failed"])


async def test_states_outlive_the_ledger(tmp_path: Path) -> None:
    """What was told is there in the next run: states, keys and records."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(*"abcdef"))
        entries = await ledger.page(["pending"])
        await asyncio.gather(*(ledger.start(e, f"key-{e.stem}") for e in entries[1:]))
        ends: list[Status] = ["done", "partial", "rejected", "in_doubt"]
        told = [record(entry, status) for entry, status in zip(entries[2:], ends, strict=True)]
        for entry, each in zip(entries[2:], told, strict=True):
            await ledger.finish(entry, each)
    async with Ledger(tmp_path) as ledger:
        (started,) = await ledger.started()
        assert (started.job.custom_id, started.idempotency_key) == ("b", "key-b")
        await ledger.load(prompts(*"abcdef"))
        assert list((await states(ledger)).values()) == [
            "pending",
            "started",
            "done",
            "failed",
            "rejected",
            "in_doubt",
        ]
        assert [e.record for e in await ledger.page(STATES)][2:] == told
    lines = (tmp_path / MANIFEST).read_bytes().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ends


async def test_only_the_jobs_of_the_input_are_told(tmp_path: Path) -> None:
    """A line that is gone from the input is left alone, and known when it comes back."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a", "b"))
        (entry, _) = await ledger.page(["pending"])
        await ledger.finish(entry, record(entry))
        assert await ledger.load(prompts("c", "b")) == Total(2, 2)
        assert await states(ledger) == {"c": "pending", "b": "pending"}
        await ledger.load(prompts("b", "a"))
        assert await states(ledger) == {"b": "pending", "a": "done"}


async def test_an_id_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    """Two lines with one id are refused with the numbers of both, and nothing is taken in."""
    lines = ["", '{"id": "line-4", "prompt": "a"}', "", '{"prompt": "b"}']
    async with Ledger(tmp_path) as ledger:
        with pytest.raises(
            BatchError, match=r"line 4: custom_id 'line-4' stands in line 2, too"
        ) as e:
            await ledger.load(read_jobs(lines, tmp_path))
        assert e.value.line == 4
        assert await ledger.load([]) == Total(0, 0)
        assert await ledger.load(prompts("a")) == Total(1, 1)


async def test_an_input_is_taken_in_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error in the last line leaves the ledger as it was."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a"))
        with pytest.raises(BatchError, match="line 2: is no JSON"):
            await ledger.load(read_jobs(['{"id": "b", "prompt": "b"}', "{"], tmp_path))
        assert await states(ledger) == {"a": "pending"}


async def test_an_input_is_read_line_by_line(tmp_path: Path) -> None:
    """No job is held while the next one is read."""
    alive: list[int] = []

    def many() -> Iterator[Job]:
        import weakref

        before: list[weakref.ref[Job]] = []
        for job in read_jobs((json.dumps({"prompt": str(n)}) for n in range(3000)), tmp_path):
            before.append(weakref.ref(job))
            yield job
            alive.append(sum(ref() is not None for ref in before[-50:]))

    async with Ledger(tmp_path) as ledger:
        assert await ledger.load(many()) == Total(3000, 3000)
    assert max(alive) <= 2


async def test_other_parameters_need_another_id(tmp_path: Path) -> None:
    """A job with images is not replaced by another one of its id; one without is."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a", "b"))
        (a, b) = await ledger.page(["pending"])
        await ledger.finish(a, record(a, "failed"))
        await ledger.finish(b, record(b, "partial", images=1))
        await ledger.load(jobs_of({"id": "a", "prompt": "new", "n": 5}))
        (entry,) = await ledger.page(STATES)
        assert (entry.state, entry.images, entry.first) == ("pending", 5, 2)
        assert entry.job.params["prompt"] == "new"
        with pytest.raises(BatchError, match=r"line 1: 'b' was made with other parameters"):
            await ledger.load(jobs_of({"id": "b", "prompt": "new"}))


async def test_what_is_gone_is_pending_again(tmp_path: Path) -> None:
    """A job whose files are gone has no record any more, and may have other parameters."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a"))
        (entry,) = await ledger.page(["pending"])
        await ledger.finish(entry, record(entry, images=1))
        await ledger.reset([entry])
        assert await ledger.page(["pending"]) == [entry]
        await ledger.load(jobs_of({"id": "a", "prompt": "new"}))
    async with Ledger(tmp_path):
        assert (tmp_path / MANIFEST).read_bytes() == b""


async def test_no_two_jobs_share_a_name(tmp_path: Path) -> None:
    """Where case or odd characters make no difference to a file name, a hash does."""
    ids = ["a", "A", "a/", "a?", "ä", "Ä", "..", "狐", "a-1"]
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(*ids))
        names = [entry.stem.lower() for entry in await ledger.page(["pending"])]
    assert len({*names}) == len(ids)
    assert names[0] == "a"


async def test_names_go_on_when_both_hashes_are_taken(tmp_path: Path) -> None:
    """An id that is the name of another job with its hash costs that one nothing but length."""
    from imagesdk.batch.files import stems

    plain, short, whole = stems("a")
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(plain.upper(), short, "a"))
        entries = await ledger.page(["pending"])
    assert [entry.stem for entry in entries] == ["A", short, whole]


async def test_many_changes_are_few_transactions(tmp_path: Path) -> None:
    """What comes while a commit is on its way goes to the disk together."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(*map(str, range(300))))
        entries = await ledger.page(["pending"], limit=300)
        with closing(sqlite3.connect(tmp_path / LEDGER)) as reader:
            (before,) = reader.execute("PRAGMA data_version").fetchone()
            await asyncio.gather(*(ledger.start(entry, "key") for entry in entries))
            (after,) = reader.execute("PRAGMA data_version").fetchone()
    assert before != after
    log = tmp_path / f"{LEDGER}-wal"
    assert not log.exists()  # it was taken in when the ledger was closed


async def test_a_second_runner_is_refused(tmp_path: Path) -> None:
    """While one runner has the ledger another is told so; when it ends, the next one may."""
    async with Ledger(tmp_path):
        with pytest.raises(LedgerError, match="another runner works in"):
            async with Ledger(tmp_path):
                raise AssertionError("two runners")
    async with Ledger(tmp_path):
        pass


async def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    """Another program's file, or one of another version, is an error and stays as it is."""
    await asyncio.to_thread((tmp_path / LEDGER).write_bytes, b"something else" * 100)
    with pytest.raises(LedgerError, match=r"run\.db cannot be used: file is not a database"):
        await Ledger(tmp_path).__aenter__()
    assert (tmp_path / LEDGER).read_bytes() == b"something else" * 100
    (tmp_path / LEDGER).unlink()

    def make() -> None:
        with closing(sqlite3.connect(tmp_path / LEDGER)) as other:
            other.execute("PRAGMA user_version = 99")

    await asyncio.to_thread(make)
    with pytest.raises(LedgerError, match=r"run\.db is of version 99"):
        await Ledger(tmp_path).__aenter__()


async def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    """A ledger that cannot be made is a LedgerError that names the file."""
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(LedgerError, match=r"run\.db cannot be used: unable to open"):
        await Ledger(tmp_path).__aenter__()


async def test_a_full_disk_is_told_to_all_who_wait(tmp_path: Path) -> None:
    """When a transaction fails everybody in it hears of it, and what was there before stays."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a", "b"))
        (a, b) = await ledger.page(["pending"])
        full = attrs.evolve(record(a), params={"prompt": "x" * 3_000_000})
        assert ledger._db is not None
        await ledger._in_thread(ledger._db.execute, "PRAGMA max_page_count = 20")
        results = await asyncio.gather(
            ledger.finish(a, full), ledger.finish(b, record(b)), return_exceptions=True
        )
        assert [type(result) for result in results] == [LedgerError, LedgerError]
        assert "disk is full" in str(results[0])
        await ledger.finish(b, record(b))
        assert await states(ledger) == {"a": "pending", "b": "done"}
    assert len((tmp_path / MANIFEST).read_bytes().splitlines()) == 1


async def test_a_manifest_without_room_is_named_and_written_later(tmp_path: Path) -> None:
    """What the ledger has is not undone; the error says which file it was, and the next run writes it."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a"))
        (a,) = await ledger.page(["pending"])
        assert ledger._manifest is not None
        ledger._manifest.close()
        ledger._manifest = await asyncio.to_thread(FileIO, "/dev/full", "ab")
        with pytest.raises(
            OSError, match=r"No space left on device: '.*manifest\.jsonl'"
        ) as caught:
            await ledger.finish(a, record(a))
        assert caught.value.__notes__ == [
            "the ledger has all that was done: make room, and run it again"
        ]
    async with Ledger(tmp_path) as ledger:
        assert await states(ledger) == {"a": "done"}
    assert len((tmp_path / MANIFEST).read_bytes().splitlines()) == 1


async def test_cancelling_does_not_undo(tmp_path: Path) -> None:
    """A change whose caller was cancelled is made all the same, before the ledger is closed."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a", "b"))
        entries = await ledger.page(["pending"])
        tasks = [asyncio.create_task(ledger.start(entry, "key")) for entry in entries]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    async with Ledger(tmp_path) as ledger:
        assert len(await ledger.started()) == 2


async def test_the_manifest_makes_a_new_ledger(tmp_path: Path) -> None:
    """Without its ledger a folder is known by its manifest; a broken one is an error."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("b", "A", "a"))
        entries = await ledger.page(["pending"])
        for entry in reversed(entries):
            await ledger.finish(entry, record(entry, images=1))
    whole = (tmp_path / MANIFEST).read_bytes()
    (tmp_path / LEDGER).unlink()
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("b", "A", "a"))
        again = await ledger.page(["done"])
        assert [entry.stem for entry in again] == [entry.stem for entry in entries]
    assert (tmp_path / MANIFEST).read_bytes() == whole
    (tmp_path / LEDGER).unlink()
    await asyncio.to_thread((tmp_path / MANIFEST).write_bytes, b"{}\n")
    for _ in range(2):
        with pytest.raises(LedgerError, match="line 1 is no record"):
            await Ledger(tmp_path).__aenter__()
    assert (tmp_path / MANIFEST).read_bytes() == b"{}\n"


async def test_what_is_at_the_server_cannot_be_changed_under_its_id(tmp_path: Path) -> None:
    """Other parameters under the id of a request that a batch of the server's holds are refused."""
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts("a"))
        await ledger.do(lambda db: db.execute("UPDATE jobs SET state = 'submitted'"))
        with pytest.raises(BatchError, match="in a batch at the server"):
            await ledger.load(jobs_of({"id": "a", "prompt": "another"}))
        assert await states(ledger) == {"a": "submitted"}
