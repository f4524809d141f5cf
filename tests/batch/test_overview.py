"""Looking at a run from outside: counts, records and files for other programs, while it is at work or not."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagesdk.batch.ledger import Ledger
from imagesdk.batch.limits import Limits
from imagesdk.batch.overview import Failure, export, look, read_records
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.batch.runner import run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.errors import BatchError, LedgerError
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest
from tests.batch.conftest import image_answer, jobs_of, play, png, prompts, refusal, scripted


def answer(request: SentRequest) -> ScriptedAnswer:
    """Answer by the prompt."""
    match request.json["prompt"]:
        case "two":
            return image_answer(png(3, 2), png(5, 5), usage={"total_tokens": 7})
        case "short":
            return image_answer(png())
        case "broken":
            return refusal(500, "broken", "server_error")
        case _:
            return refusal(400, "no")


@pytest.fixture
async def out(tmp_path: Path) -> Path:
    """A run of which a part failed, and one request is left."""
    jobs = jobs_of(
        {"id": "b", "prompt": "two", "n": 2, "size": "256x256"},
        {"id": "a", "prompt": "no"},
        {"id": "c", "prompt": "broken"},
        {"id": "d", "prompt": "short", "n": 2},
        {"id": "e", "prompt": "no"},
        {"id": "f", "prompt": "left"},
    )
    prices = PriceTable(prices=(Price(image=(0.5, 0.5)),))
    async with scripted(ScriptedTransport(answer)) as session:
        limits = Limits(max_failures=4, prices=prices)
        await run_jobs(Worker(session, tmp_path), jobs, tmp_path, concurrency=1, limits=limits)
    return tmp_path


def test_the_counts_are_those_of_the_last_input(out: Path) -> None:
    """Requests by state, images, bytes, cost and the most frequent failures are told."""
    seen = look(out)
    assert {state: count for state, count in seen.requests.items() if count} == {
        "done": 1,
        "pending": 1,
        "failed": 2,
        "rejected": 2,
    }
    assert (seen.images_asked, seen.images, seen.cost) == (8, 3, 1.5)
    assert seen.image_bytes == sum(path.stat().st_size for path in out.glob("*.png"))
    assert not seen.is_running
    assert [(failure.requests, failure.custom_id) for failure in seen.failures] == [
        (2, "a"),
        (1, "d"),
        (1, "c"),
    ]
    assert isinstance(seen.failures[0], Failure)
    assert seen.failures[0].error.startswith("BadRequestError: no: no")


async def test_requests_of_an_earlier_input_do_not_count(out: Path) -> None:
    """What is no longer in the input is in the ledger, and not in the counts."""
    await play(lambda _: image_answer(), prompts("new"), out)
    seen = await asyncio.to_thread(look, out)
    assert sum(seen.requests.values()) == 1
    assert (seen.images_asked, seen.images, seen.cost) == (1, 1, None)
    (record,) = await asyncio.to_thread(list, read_records(out))
    assert record.custom_id == "new"


async def test_a_run_at_work_is_seen(out: Path) -> None:
    """While somebody holds the lock the ledger can be read, and says so."""
    async with Ledger(out):
        seen = await asyncio.to_thread(look, out)
        assert seen.is_running
        assert len(await asyncio.to_thread(list, read_records(out))) == 5
    assert not (await asyncio.to_thread(look, out)).is_running


def test_a_ledger_that_is_written_to_by_nobody_is_read_all_the_same(out: Path) -> None:
    """A copy in a folder without its lock, as on a read-only medium, can be looked at."""
    (out / "run.lock").unlink()
    assert look(out).images == 3
    for folder_mode in (0o555, 0o755):
        out.chmod(folder_mode)
        assert look(out).images == 3


@pytest.mark.parametrize("content", [None, b"", b"no ledger at all, but long enough" * 50])
def test_what_is_no_ledger_says_so(tmp_path: Path, content: bytes | None) -> None:
    """A folder without a run, or with another file of the name, is an error."""
    if content is not None:
        (tmp_path / "run.db").write_bytes(content)
    error = BatchError if content is None else LedgerError
    with pytest.raises(error, match=r"there was no run into|cannot be read"):
        look(tmp_path)
    with pytest.raises(error, match=r"there was no run into|cannot be read"):
        list(export(tmp_path, "jsonl"))


def test_records_come_in_the_order_of_the_input(out: Path) -> None:
    """JSON lines are the records, as in the manifest, in the order of the input."""
    lines = [json.loads(line) for line in export(out, "jsonl")]
    assert [line["custom_id"] for line in lines] == ["b", "a", "c", "d", "e"]
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_bytes().splitlines()]
    assert lines == sorted(manifest, key=lambda record: record["line"])


def test_a_table_has_a_row_for_each_image(out: Path) -> None:
    """CSV has an image a row, and a row for a request without any, with its error."""
    text = b"".join(export(out, "csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["custom_id"], row["file"]) for row in rows] == [
        ("b", "b-1.png"),
        ("b", "b-2.png"),
        ("a", ""),
        ("c", ""),
        ("d", "d-1.png"),
        ("e", ""),
    ]
    assert (rows[0]["prompt"], rows[0]["size"], rows[1]["width"]) == ("two", "256x256", "5")
    assert rows[2]["error"].startswith("BadRequestError: no: no")
    assert rows[0]["error"] == ""


def test_batch_lines_are_those_of_the_server(out: Path) -> None:
    """The server's own format has the images in base64, and errors with their status."""

    def lines() -> Iterator[tuple[str, dict[str, object]]]:
        for line in map(json.loads, export(out, "openai")):
            yield line["custom_id"], line

    found = dict(lines())
    response = found["b"]["response"]
    assert isinstance(response, dict)
    assert (response["status_code"], response["request_id"]) == (200, "req-1")
    images = [base64.b64decode(image["b64_json"]) for image in response["body"]["data"]]
    assert images == [(out / "b-1.png").read_bytes(), (out / "b-2.png").read_bytes()]
    assert response["body"]["usage"] == {"total_tokens": 7}
    refused = found["a"]["response"]
    assert isinstance(refused, dict)
    assert refused["status_code"] == 400
    assert refused["body"]["error"]["code"] == "no"
    assert (found["d"]["response"], found["b"]["error"]) == (None, None)
    assert isinstance(found["d"]["error"], dict)


def test_an_image_that_is_gone_ends_the_export(out: Path) -> None:
    """A file that cannot be read is named, with what to do."""
    (out / "b-2.png").unlink()
    with pytest.raises(
        BatchError, match=r"b: .*b-2\.png cannot be read: No such file.*run the batch"
    ):
        list(export(out, "openai"))


async def test_an_export_that_ends_early_lets_the_ledger_go_where_it_was_opened(out: Path) -> None:
    """What another thread would have to close tells of that on standard error, which is an error here."""
    (out / "b-2.png").unlink()
    with pytest.raises(BatchError):
        await asyncio.to_thread(lambda: list(export(out, "openai")))


def test_looking_changes_nothing(out: Path) -> None:
    """Counts and records leave the ledger as it is."""
    before = (out / "run.db").read_bytes()
    look(out)
    list(read_records(out))
    assert (out / "run.db").read_bytes() == before
    with closing(sqlite3.connect(out / "run.db")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
