"""The server's own batches from end to end: nothing is submitted twice silently, and none is lost."""

from __future__ import annotations

import base64
import json
import os
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from PIL import Image

from imagesdk.batch.ledger import Ledger
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.batch.provider import Fetched, Submitted, cancel, fetch, status, submit
from imagesdk.batch.records import Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.submissions import Submissions
from imagesdk.batch.worker import Worker
from imagesdk.client.batches import ServerBatch
from imagesdk.client.session import ImageSession
from imagesdk.emulator import BatchPlan, EmulatorServer
from imagesdk.errors import (
    BadRequestError,
    BatchError,
    ConfigurationError,
    ImageSDKError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.protocol.encode import WireRequest
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest
from imagesdk.transport._aiohttp import AiohttpTransport
from imagesdk.transport.base import Progress, Reply
from tests.batch.conftest import image_answer, jobs_of, manifest_of, pictures_in, play, scripted

SMALL = {"size": "256x256"}


def rows(*ids: str, **more: Any) -> list[dict[str, Any]]:
    """Return a row for each id, whose prompt is its id."""
    return [{"id": name, "prompt": name} | SMALL | more for name in ids]


@asynccontextmanager
async def running(
    transport: Any = None, **plan: Any
) -> AsyncIterator[tuple[ImageSession, EmulatorServer]]:
    """Run an emulator, and a session of it."""
    async with (
        EmulatorServer(batches=BatchPlan(**plan)) as server,
        ImageSession(
            base_url=server.base_url, api_key="sk-test-secret", transport=transport
        ) as session,
    ):
        yield session, server


async def bring(session: ImageSession, out: Path) -> tuple[Fetched, list[Record]]:
    """Fetch all, and return the records, too."""
    records: list[Record] = []
    fetched = await fetch(out, wait=True, every=0.01, on_record=records.append, session=session)
    return fetched, records


def uploads(server: EmulatorServer) -> list[list[dict[str, Any]]]:
    """Return the lines of each file that was uploaded."""
    files = [request.files[0] for request in server.requests if request.files]
    return [[json.loads(text) for text in file.data.splitlines()] for file in files]


def created(server: EmulatorServer) -> int:
    """Count the batches that were asked for."""
    return sum((r.method, r.path) == ("POST", "/v1/batches") for r in server.requests)


async def test_a_batch_brings_what_a_run_would(tmp_path: Path) -> None:
    """Names, manifest, states and bytes are those of `batch run`, and running it again sends nothing."""
    lines = [*rows("a", n=2), *rows("b"), *rows("c", prompt="[blocked]")]
    async with running() as (session, server):
        submitted = await submit(lines, tmp_path / "batch", session=session)
        fetched, records = await bring(session, tmp_path / "batch")
        assert server.charged == 3
        jobs = jobs_of(*lines)
        worker = Worker(session, tmp_path / "batch")
        again = await run_jobs(worker, jobs, tmp_path / "batch")
        assert again == Summary(skipped=2, rejected=1)
        await run_jobs(Worker(session, tmp_path / "run"), jobs, tmp_path / "run")
    assert submitted == Submitted(batches=submitted.batches, requests=3)
    assert fetched == Fetched(done=2, failed=1, images=3, ended=fetched.ended)
    assert pictures_in(tmp_path / "batch") == ["a-1.png", "a-2.png", "b-1.png"]
    by_id = [
        {record["custom_id"]: record for record in manifest_of(tmp_path / name)}
        for name in ("batch", "run")
    ]
    for custom_id in ("a", "b", "c"):
        ours, other = (records[custom_id] for records in by_id)
        for field in ("line", "status", "endpoint", "params", "key", "images"):
            assert ours[field] == other[field]
        assert ours["batch_id"] in submitted.batches
        assert ours["request_id"].startswith("req_")
        assert other["batch_id"] is None
    assert by_id[0]["c"]["error"]["type"] == "ModerationError"
    assert sorted(record.custom_id for record in records) == ["a", "b", "c"]


async def test_edits_are_uploaded_with_their_images(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """Paths become data URLs, in a file that is written, uploaded and removed."""
    (tmp_path / "cat.png").write_bytes(png((512, 512), mode="RGB"))
    (tmp_path / "mask.png").write_bytes(png((512, 512)))
    edit = {
        "id": "a",
        "image": ["cat.png"],
        "mask": "mask.png",
        "prompt": "a",
        "model": "gpt-image-1",
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(edit))
    async with running() as (session, server):
        await submit(tmp_path / "in.jsonl", tmp_path / "out", session=session)
        assert pictures_in(tmp_path / "out") == []
        fetched, _ = await bring(session, tmp_path / "out")
        ((line,),) = uploads(server)
    assert fetched.done == 1
    assert line["url"] == "/v1/images/edits"
    assert line["body"]["images"][0]["image_url"].startswith("data:image/png;base64,iVBOR")
    assert line["body"]["mask"]["image_url"].startswith("data:image/png;base64,iVBOR")
    assert pictures_in(tmp_path / "out") == ["a-1.png"]


async def test_edits_in_the_servers_own_words_are_uploaded_as_they_are(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """A line of the server's own format, with images in it or files of the server's, goes through."""
    url = "data:image/png;base64," + base64.b64encode(png((512, 512))).decode()
    async with running() as (session, server):
        async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test-1") as client:
            file = await client.files.create(file=("a.png", png((512, 512))), purpose="vision")
        server.requests.clear()
        images = [{"image_url": url}, {"file_id": file.id}]
        body = {"model": "gpt-image-1", "prompt": "a", "images": images}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/images/edits", "body": body}
        await submit([line], tmp_path, session=session)
        assert (await bring(session, tmp_path))[0].done == 1
        assert uploads(server) == [[line]]


# Splitting ----------------------------------------------------------------------------------------


async def test_a_batch_is_for_one_endpoint_and_one_model(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """Each kind of request has batches of its own, in the order of the lines."""
    image = tmp_path / "a.png"
    image.write_bytes(png((256, 256)))
    lines = [
        *rows("a", "b"),
        {"id": "c", "prompt": "c", "model": "gpt-image-1"},
        {"id": "d", "image": str(image), "prompt": "d", "model": "gpt-image-1"},
        *rows("e"),
    ]
    async with running(delay=60.0) as (session, server):
        submitted = await submit(lines, tmp_path / "out", session=session)
        found = [[line["custom_id"] for line in file] for file in uploads(server)]
    assert found == [["a", "b", "e"], ["c"], ["d"]]
    assert len(submitted.batches) == 3


@pytest.mark.parametrize(("limit", "sizes"), [({"max_lines": 3}, [3, 3, 1]), ({}, [7])])
async def test_batches_are_split_by_lines(
    tmp_path: Path, limit: dict[str, Any], sizes: list[int]
) -> None:
    """No batch has more requests than it may."""
    taken: list[ServerBatch] = []
    async with running(delay=60.0) as (session, server):
        submitted = await submit(
            rows(*"abcdefg"), tmp_path, on_batch=taken.append, **limit, session=session
        )
        assert [len(file) for file in uploads(server)] == sizes
    assert submitted.requests == 7
    assert [batch.id for batch in taken] == submitted.batches


async def test_batches_are_split_by_bytes(tmp_path: Path) -> None:
    """No file is larger than it may be, to the byte, and each is as large as it can be."""
    async with running(delay=60.0) as (session, server):
        await submit(rows("a", "b"), tmp_path / "0", session=session)
        (both,) = [len(r.files[0].data) for r in server.requests if r.files]
        for number, (limit, files) in enumerate([(both, 1), (both - 1, 2)], start=1):
            server.reset()
            await submit(rows("a", "b"), tmp_path / str(number), max_bytes=limit, session=session)
            sizes = [len(request.files[0].data) for request in server.requests if request.files]
            assert len(sizes) == files
            assert max(sizes) <= limit


# What cannot be submitted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"image": "a.png"}, "line 2: the server's batches run generations and edits"),
        ({"prompt": "a", "n": 11}, "line 2: n is 11"),
        ({"image": "a.png", "prompt": "a"}, "line 2: the edits of a batch are JSON"),
        ({"prompt": "a", "size": "1x1"}, "line 2: size"),
        ({"prompt": "a" * 900}, "line 2: takes 1,0.. bytes with its images"),
    ],
)
async def test_nothing_is_uploaded_if_one_line_cannot_be(
    tmp_path: Path,
    png: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    line: dict[str, Any],
    words: str,
) -> None:
    """All lines are checked before the first byte leaves; the error names the line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png())
    async with running() as (session, server):
        with pytest.raises(BatchError, match=words) as caught:
            await submit([*rows("ok"), line], tmp_path / "out", max_bytes=1000, session=session)
        assert caught.value.line == 2
        assert not server.requests


@pytest.mark.parametrize("wrong", [{"max_lines": 0}, {"max_bytes": 0}, {"settle": 0}])
async def test_a_limit_must_let_something_through(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Numbers that make no sense are refused before anything happens."""
    async with running() as (session, _):
        with pytest.raises(ConfigurationError, match="1 or more"):
            await submit(rows("a"), tmp_path / "out", **wrong, session=session)
        with pytest.raises(ConfigurationError, match="above 0 seconds"):
            await fetch(tmp_path / "out", every=0, session=session)


async def test_where_nothing_was_submitted_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    """A folder of local runs, or none at all, is told, and nothing is asked for."""
    await play([image_answer()], jobs_of(*rows("a")), tmp_path / "run")
    async with running() as (session, server):
        with pytest.raises(BatchError, match="nothing was submitted"):
            await fetch(tmp_path / "run", session=session)
        with pytest.raises(BatchError, match="there was no run into"):
            await fetch(tmp_path / "none", session=session)
        assert not server.requests


# What a batch does not do -------------------------------------------------------------------------


async def test_lines_that_fail_are_left_for_a_run(tmp_path: Path) -> None:
    """A line that failed is a failed request, and `batch run` does it."""
    async with running(failing={"b": 500}) as (session, server):
        await submit(rows("a", "b"), tmp_path, session=session)
        fetched, records = await bring(session, tmp_path)
        assert (fetched.done, fetched.failed) == (1, 1)
        (failed,) = [record for record in records if record.custom_id == "b"]
        assert failed.error is not None
        assert (failed.status, failed.error["type"]) == ("failed", "ServerError")
        summary = await run_jobs(Worker(session, tmp_path), jobs_of(*rows("a", "b")), tmp_path)
        assert summary == Summary(skipped=1, done=1, images=1)
        assert server.charged == 2


async def test_what_a_batch_costs_is_half(tmp_path: Path) -> None:
    """The records say what was paid, by a table of full prices; one without a price is brought later."""
    table = PriceTable(prices=(Price(model="dall-e-2", image=(0.1, 0.2)),), version="v1")
    async with running() as (session, _):
        await submit(rows("a", n=2, model="dall-e-2"), tmp_path, session=session)
        await submit([*rows("a", n=2, model="dall-e-2"), *rows("b")], tmp_path, session=session)
        with pytest.raises(ConfigurationError, match="no price"):
            await fetch(tmp_path, session=session, wait=True, every=0.01, prices=table)
        fetched, _ = await bring(session, tmp_path)
        assert (fetched.done, fetched.cost) == (1, None)
    costs = {r["custom_id"]: (r["cost"], r["prices"]) for r in manifest_of(tmp_path)}
    assert costs == {"a": (0.2, "v1"), "b": (None, None)}


async def test_what_expires_is_left_for_the_next_batch(tmp_path: Path) -> None:
    """Requests that a batch had no time for have failed, at no cost, and can be submitted again."""
    async with running(window=0.0) as (session, _):
        await submit(rows("a", "b"), tmp_path, session=session)
        fetched, records = await bring(session, tmp_path)
        assert fetched.failed == 2
        assert fetched.ended[0].status == "expired"
        for record in records:
            assert record.status == "failed"
            assert record.error is not None
            assert "batch_expired" in record.error["message"]
            assert not record.error["may_be_billed"]
        assert (await submit(rows("a", "b"), tmp_path, session=session)).requests == 2


async def test_a_batch_that_is_cancelled_ends(tmp_path: Path) -> None:
    """Cancelling ends the batches that run, and fetch records what they have not done."""
    async with running(delay=60.0) as (session, server):
        await submit(rows("a"), tmp_path, session=session)
        assert [batch.status for batch in await cancel(tmp_path, session=session)] == ["cancelling"]
        fetched, _ = await bring(session, tmp_path)
        assert [batch.status for batch in fetched.ended] == ["cancelled"]
        assert await cancel(tmp_path, session=session) == []
        assert (fetched.failed, server.charged) == (1, 0)


async def test_a_line_that_fails_the_whole_batch_is_the_only_one_to_blame(tmp_path: Path) -> None:
    """The line that the server names is rejected; the others have failed and are done next time."""
    error = {"code": "invalid_json_line", "line": 2, "message": "odd", "param": None}
    records, _ = await fetch_scripted(
        tmp_path, {"status": "failed", "failed_at": 5, "errors": {"data": [error]}}
    )
    assert {r.custom_id: r.status for r in records} == {"a": "failed", "b": "rejected"}
    messages = [record.error["message"] for record in records if record.error]
    assert "ended as failed (odd) before this request was run" in messages[0]
    assert "failed at this request: odd" in messages[1]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "its files say nothing of this request"),
        ("file-gone", "the server no longer has file-gone"),
    ],
)
async def test_what_is_lost_may_have_been_billed(
    tmp_path: Path, file: str | None, words: str
) -> None:
    """A request whose answer is nowhere is in doubt, and never silently free."""
    records, _ = await fetch_scripted(
        tmp_path, {"status": "completed", "completed_at": 5, "output_file_id": file}
    )
    for record in records:
        assert record.status == "in_doubt"
        assert record.error is not None
        assert words in record.error["message"]
        assert record.error["may_be_billed"]


async def fetch_scripted(
    out: Path, ended: Mapping[str, Any]
) -> tuple[list[Record], ScriptedTransport]:
    """Submit two requests to a script, and fetch a batch that has ended so, without files."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        path = request.url.removeprefix("http://server/v1/")
        if path == "files":
            return ScriptedAnswer({"id": "file-1"})
        if path.startswith("files/"):
            return ScriptedAnswer({"error": {"message": "no such file"}}, status=404)
        now = ended if request.method == "GET" else {"status": "validating"}
        return ScriptedAnswer({"id": "batch_1", "created_at": 1, **now})

    transport = ScriptedTransport(answer)
    async with scripted(transport) as session:
        await submit(rows("a", "b"), out, session=session)
        _, records = await bring(session, out)
    return records, transport


# When the answer is lost --------------------------------------------------------------------------


class Lossy(AiohttpTransport):
    """Loses the answers of the first requests for a batch, after the server has taken them."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    @asynccontextmanager
    async def send(  # type: ignore[override]
        self, request: WireRequest, *, progress: Progress, **more: Any
    ) -> AsyncGenerator[Reply, None]:
        async with super().send(request, progress=progress, **more) as reply:
            if self.losses and request.method == "POST" and request.path.endswith("/batches"):
                self.losses -= 1
                raise ResponseInterruptedError("lost", phase="receive")
            yield reply


async def test_a_batch_whose_answer_is_lost_is_found(tmp_path: Path) -> None:
    """The server's list tells that the batch was made: it is not asked for twice."""
    async with running(Lossy(1)) as (session, server):
        submitted = await submit(rows("a"), tmp_path, session=session)
        assert len(submitted.batches) == 1
        assert created(server) == 1
        assert (await bring(session, tmp_path))[0].done == 1


@pytest.mark.parametrize("listed", [True, False])
async def test_what_was_in_flight_is_looked_for(tmp_path: Path, listed: bool) -> None:  # noqa: FBT001
    """After a kill the next call finds the batch, or submits its requests again and says so."""
    async with running() as (session, server):
        if listed:
            await submit(rows("a", "b"), tmp_path, session=session)
            async with Ledger(tmp_path) as ledger:  # the process ended before it heard the id
                await ledger.do(lambda db: db.execute("UPDATE batches SET batch_id = NULL"))
        else:
            async with Ledger(tmp_path) as ledger:  # it ended before the server was asked
                await ledger.load(jobs_of(*rows("a", "b")))
                jobs = [entry.id for entry in await ledger.page({"pending"})]
                await Submissions(ledger).begin("m", "generations", "file-1", 0.0, jobs)
        searches: list[float] = []
        again = await submit(
            rows("a", "b"), tmp_path, settle=0.02, session=session, on_search=searches.append
        )
        assert len(searches) == 1
        assert created(server) == 1
        assert again == Submitted(
            batches=again.batches,
            requests=2,
            found=int(listed),
            again=0 if listed else 2,
        )
        assert (await bring(session, tmp_path))[0].done == 2
        assert server.charged == 2


async def test_fetch_looks_for_what_was_in_flight_too(tmp_path: Path) -> None:
    """Requests of a batch that the server does not have are counted, and can be run."""
    async with running() as (session, _):
        async with Ledger(tmp_path) as ledger:
            await ledger.load(jobs_of(*rows("a")))
            (entry,) = await ledger.page({"pending"})
            await Submissions(ledger).begin("m", "generations", "file-1", 0.0, [entry.id])
            await Submissions(ledger).begin("n", "generations", "file-1", 0.0, [])
        fetched = await fetch(tmp_path, settle=0.01, session=session)
        assert fetched == Fetched(lost=1)
        summary = await run_jobs(Worker(session, tmp_path), jobs_of(*rows("a")), tmp_path)
        assert summary.done == 1


@pytest.mark.parametrize(
    ("answer", "kind", "is_open"),
    [
        (ScriptedAnswer({"error": {"message": "no"}}, status=400), BadRequestError, False),
        (ScriptedAnswer({"error": {"message": "no"}}, status=500), ServerError, True),
    ],
)
async def test_a_batch_that_is_refused_is_not_at_the_server(
    tmp_path: Path, answer: ScriptedAnswer, kind: type[ImageSDKError], *, is_open: bool
) -> None:
    """A refusal gives the requests back; a failure leaves it open whether there is a batch, and says so."""
    made = 0

    def script(request: SentRequest) -> ScriptedAnswer:
        nonlocal made
        if request.url.endswith("/files"):
            return ScriptedAnswer({"id": "file-1"})
        if request.method == "GET":
            return ScriptedAnswer({"data": [], "has_more": False})
        made += 1
        return ScriptedAnswer({"id": "batch_1", "status": "validating"}) if made == 1 else answer

    async with scripted(ScriptedTransport(script)) as session:
        with pytest.raises(kind) as caught:
            await submit(rows("a", "b"), tmp_path, max_lines=1, settle=0.02, session=session)
    notes = " ".join(caught.value.__notes__)
    assert "the server has taken these batches: batch_1" in notes
    assert ("the same command looks once more" in notes) is is_open
    async with Ledger(tmp_path) as ledger:
        assert await ledger.count() == (
            {"submitted": 2} if is_open else {"submitted": 1, "pending": 1}
        )
    assert made == 2


# Looking ------------------------------------------------------------------------------------------


async def test_status_asks_the_server_and_changes_nothing(tmp_path: Path) -> None:
    """The state of each batch is the server's, until all is here."""
    async with running(delay=60.0) as (session, server):
        await submit(rows("a", "b"), tmp_path, max_lines=1, session=session)
        fetched = await fetch(tmp_path, session=session)
        assert (len(fetched.waiting), fetched.done) == (2, 0)
        before = await status(tmp_path, session=session)
        assert [state.status for state in before] == ["validating"] * 2
        assert not any(state.is_fetched for state in before)
        await cancel(tmp_path, session=session)
        await bring(session, tmp_path)
        asked = len(server.requests)
        after = await status(tmp_path, session=session)
        assert len(server.requests) == asked
        assert [(s.is_fetched, s.status, s.requests) for s in after] == [(True, "cancelled", 1)] * 2


async def test_what_is_at_the_server_is_not_submitted_again(tmp_path: Path) -> None:
    """Submitting again takes new lines only, and counts the others by what they are."""
    bad = rows("c", prompt="[blocked]")
    async with running() as (session, server):
        await submit([*rows("a"), *bad], tmp_path, session=session)
        await bring(session, tmp_path)
        await submit([*rows("a", "b"), *bad], tmp_path, session=session)
        again = await submit([*rows("a", "b"), *bad, *rows("d")], tmp_path, session=session)
        assert (again.requests, again.waiting, again.done, again.rejected) == (1, 1, 1, 1)
        assert [len(file) for file in uploads(server)] == [2, 1, 1]


# Memory -------------------------------------------------------------------------------------------


class Streaming:
    """A transport that sends and brings megabytes, and holds none of them."""

    def __init__(self, lines: int) -> None:
        self.sent_bytes = 0
        self._lines = lines

    @asynccontextmanager
    async def send(self, request: WireRequest, **_: Any) -> AsyncGenerator[Reply, None]:
        for segment in request.body.segments if request.body else ():
            pieces = [segment] if isinstance(segment, bytes) else segment.chunks()
            if isinstance(pieces, list):
                self.sent_bytes += len(pieces[0])
            else:
                self.sent_bytes += sum([len(piece) async for piece in pieces])
        yield StreamingReply(self._pieces(request))

    def _pieces(self, request: WireRequest) -> Iterator[bytes]:
        if request.path.endswith("/content"):
            for number in range(self._lines):
                yield b'{"custom_id": "%d", "response": {"status_code": 200, "body": ' % number
                yield b'{"data": [{"b64_json": "iVBORw0KGgo'
                yield from [b"A" * 2**16] * 400
                yield b'AAAA="}]}}, "error": null}\n'
        else:
            ended = b'"status": "completed", "completed_at": 5, "output_file_id": "file-1"'
            yield b'{"id": "batch_1", "created_at": 1, %b}' % ended

    async def aclose(self) -> None:
        """Owns nothing."""


class StreamingReply:
    """An answer that is made while it is read."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        return next(self._pieces, b"")


async def test_megabytes_go_through_in_little_memory(tmp_path: Path) -> None:
    """Edits of 12 MB go up and images of 20 MB come down in a few MB of memory."""
    noise = Image.frombytes("RGB", (2000, 2000), os.urandom(12_000_000))
    noise.save(tmp_path / "a.png", compress_level=0)
    line = {"image": str(tmp_path / "a.png"), "prompt": "a", "model": "gpt-image-1"}
    transport = Streaming(lines=3)
    async with ImageSession(
        base_url="http://server/v1", api_key="k", transport=transport
    ) as session:
        tracemalloc.start(1)
        try:
            await submit(
                [line | {"id": str(n)} for n in range(3)], tmp_path / "out", session=session
            )
            fetched = await fetch(tmp_path / "out", session=session)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert fetched.images == 3
    assert (
        sum(image["bytes"] for r in manifest_of(tmp_path / "out") for image in r["images"]) > 58e6
    )
    assert transport.sent_bytes > 48_000_000
    assert peak < 6_000_000
