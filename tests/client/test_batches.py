"""The calls about the server's batches: lines, uploads, looking for a batch, reading its files."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from imagesdk.client.batches import ArrivedLine, BatchCalls, batches_of
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    ConfigurationError,
    ImageSDKError,
    InvalidRequestError,
    PartialResultError,
    ProtocolError,
)
from imagesdk.models.requests import EditRequest, GenerateRequest, VariationRequest
from imagesdk.sinks import Folder
from imagesdk.testing import ScriptedAnswer, ScriptedTransport

MARK = {"metadata": {"imagesdk": "our-mark"}}


def batch(**more: Any) -> dict[str, Any]:
    """Return a batch as the server describes it."""
    return {"id": "batch_1", "object": "batch", "status": "in_progress", "created_at": 1000} | more


def page(*batches: dict[str, Any], has_more: bool = False) -> ScriptedAnswer:
    """Return a page of a list."""
    return ScriptedAnswer({"object": "list", "data": list(batches), "has_more": has_more})


def calls(*script: ScriptedAnswer | ImageSDKError) -> tuple[BatchCalls, ScriptedTransport]:
    """Return the calls of a session that plays a script."""
    transport = ScriptedTransport(script)
    session = ImageSession(
        base_url="http://server/v1", api_key="sk-test-secret", transport=transport
    )
    return batches_of(session), transport


# Lines --------------------------------------------------------------------------------------------


def test_a_line_knows_its_model(tmp_path: Path, png: Callable[..., bytes]) -> None:
    """The session's model is that of a request that names none, and goes into its line."""
    (tmp_path / "a.png").write_bytes(png())
    session = ImageSession(base_url="http://server/v1", api_key="k", model="gpt-image-2")
    for request in (GenerateRequest("a"), EditRequest(tmp_path / "a.png", "a")):
        model, line = batches_of(session).lay_out("x", request)
        assert model == "gpt-image-2"
        assert isinstance(line.segments[0], bytes)
        assert b'"custom_id":"x"' in line.segments[0]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (VariationRequest("a.png"), "no variations"),
        (GenerateRequest("a", n=11), "n is 11; a line of the server's batch asks for at most 10"),
        (GenerateRequest("a" * 1001), "1,000"),
        (GenerateRequest("a", extra_body={"a": object()}), "cannot be sent"),
        (GenerateRequest("a", extra_body={"stream": True}), "must not hold stream"),
    ],
)
def test_what_no_line_can_hold_is_refused(request_: Any, words: str) -> None:
    """A request that a batch cannot run is an error before anything is sent."""
    done, transport = calls()
    with pytest.raises(InvalidRequestError, match=words):
        done.lay_out("x", request_)
    assert not transport.requests


def test_a_server_that_needs_a_model_gets_one() -> None:
    """A request without a model is refused where the server answers none."""
    session = ImageSession(api_key="k")
    with pytest.raises(ConfigurationError, match="without a model"):
        batches_of(session).lay_out("x", GenerateRequest("a"))


# Calls --------------------------------------------------------------------------------------------


async def test_a_file_is_uploaded_for_a_batch(tmp_path: Path) -> None:
    """The form has the purpose and the file, under the name that it was given."""
    (tmp_path / "x").write_bytes(b"lines\n")
    done, transport = calls(ScriptedAnswer({"id": "file-1"}))
    assert await done.upload(tmp_path / "x", "a.jsonl") == "file-1"
    (sent,) = transport.requests
    assert sent.url == "http://server/v1/files"
    for part in (b'name="purpose"\r\n\r\nbatch', b'filename="a.jsonl"', b"\r\n\r\nlines\n\r\n"):
        assert part in sent.body


async def test_a_batch_has_its_mark() -> None:
    """What is asked for is a batch with a mark, which is the Idempotency-Key, too."""
    done, transport = calls(ScriptedAnswer(batch()))
    made = await done.create("file-1", "edits", "our-mark")
    assert (made.id, made.status, made.has_ended) == ("batch_1", "in_progress", False)
    (sent,) = transport.requests
    assert sent.headers["Idempotency-Key"] == "our-mark"
    assert sent.json == {
        "input_file_id": "file-1",
        "endpoint": "/v1/images/edits",
        "completion_window": "24h",
        **MARK,
    }


async def test_a_batch_is_read_as_the_server_describes_it() -> None:
    """Counts, times, files and errors come out; null and unknown fields do not matter."""
    error = {"code": "x", "line": 2, "message": "no"}
    described = batch(
        status="completed",
        request_counts={"total": 3, "completed": 2, "failed": 1},
        completed_at=1500,
        failed_at=None,
        expires_at=9000,
        output_file_id="file-o",
        error_file_id=None,
        errors={"object": "list", "data": [error, 7]},
        news=1,
    )
    done, _ = calls(ScriptedAnswer(described), ScriptedAnswer(batch(status="cancelling")))
    found = await done.get("batch_1")
    assert (found.total, found.completed, found.failed) == (3, 2, 1)
    assert (found.created_at, found.ended_at, found.expires_at) == (1000, 1500, 9000)
    assert (found.output_file_id, found.error_file_id) == ("file-o", None)
    assert found.errors == (error,)
    assert found.has_ended
    assert (await done.cancel("batch_1")).status == "cancelling"


@pytest.mark.parametrize("odd", [None, 7, "", "../files", "a b", "x" * 201])
async def test_an_id_that_cannot_stand_in_a_url_is_refused(odd: object) -> None:
    """An id of the server's goes into a path, and can change nothing else of it."""
    done, _ = calls(ScriptedAnswer(batch(id=odd)))
    with pytest.raises(ProtocolError, match="has no id"):
        await done.get("batch_1")


@pytest.mark.parametrize(
    ("pages", "found", "asked"),
    [
        ([page(batch(id="b2"), batch(id="b1", **MARK))], "b1", 1),
        ([page(batch(id="b2"), has_more=True), page(batch(id="b1", **MARK))], "b1", 2),
        ([page(batch(id="b2", metadata=None))], None, 1),
        ([page(batch(id="b2", created_at=400), has_more=True)], None, 1),  # those after are older
        ([page(has_more=True)], None, 1),
    ],
)
async def test_a_batch_is_found_by_its_mark(
    pages: list[ScriptedAnswer], found: str | None, asked: int
) -> None:
    """The list is read up to the batch, or to where it cannot be any more."""
    done, transport = calls(*pages)
    batch_found = await done.find("our-mark", 500.0)
    assert (batch_found.id if batch_found else None) == found
    assert len(transport.requests) == asked
    if asked > 1:
        assert transport.requests[1].url.endswith("batches?limit=100&after=b2")


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


# Files --------------------------------------------------------------------------------------------


def line(custom_id: str, *images: bytes) -> bytes:
    """Return a line of an output file."""
    data = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    response = {"status_code": 200, "request_id": "req_1", "body": {"data": data}}
    return json.dumps({"custom_id": custom_id, "response": response, "error": None}).encode()


async def read(
    script: list[ScriptedAnswer | ImageSDKError], folder: Path, *, keep: bool = True
) -> AsyncIterator[tuple[str, Any]]:
    """Read a file and yield the ids, each with its outcome if it is kept."""
    done, _ = calls(*script)
    found: list[tuple[str, Any]] = []

    async def on_line(arrived: ArrivedLine) -> None:
        request = GenerateRequest("a")
        found.append(
            (arrived.custom_id, await arrived.outcome(request, 1) if keep else arrived.request_id)
        )

    await done.read_file("file-1", Folder(folder, name="x"), on_line)
    for entry in found:
        yield entry


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
async def test_images_are_on_the_disk_when_their_line_is_handed_out(
    tmp_path: Path, png: Callable[..., bytes], chunk_bytes: int
) -> None:
    """Each line has its images in files; blank lines and a missing end of line do not matter."""
    images = [png((width, 1)) for width in (1, 2, 3)]
    body = (
        b"\n"
        + line("a", images[0])
        + b"\n\n"
        + line("b", images[1])
        + b"\r\n"
        + line("c", images[2])
    )
    script: list[Any] = [ScriptedAnswer(body, chunk_bytes=chunk_bytes)]
    found = [entry async for entry in read(script, tmp_path)]
    assert [name for name, _ in found] == ["a", "b", "c"]
    paths = [outcome.unwrap().data[0].path for _, outcome in found]
    assert [path.read_bytes() for path in paths] == images
    assert len(names_in(tmp_path)) == 3


async def test_a_line_that_is_not_wanted_leaves_nothing(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """Images of a line whose outcome nobody asks for are removed."""
    script: list[Any] = [ScriptedAnswer(line("a", png()))]
    assert [entry async for entry in read(script, tmp_path, keep=False)] == [("a", "req_1")]
    assert names_in(tmp_path) == []


async def test_a_file_that_breaks_off_is_read_anew(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """What came before the break comes again; of the line in which it broke nothing is left."""
    whole = line("a", png()) + b"\n" + line("b", png())
    script: list[Any] = [
        ScriptedAnswer(whole, break_after=len(whole) - 20),
        ScriptedAnswer(whole),
    ]
    found = [name async for name, _ in read(script, tmp_path)]
    assert found == ["a", "a", "b"]
    assert len(names_in(tmp_path)) == 3


async def test_a_line_that_is_none_is_passed_over(
    tmp_path: Path, png: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """One line that cannot be read costs none of the others, and is told."""
    script: list[Any] = [ScriptedAnswer(b"{oh\n" + line("b", png()))]
    assert [name async for name, _ in read(script, tmp_path)] == ["b"]
    assert "file-1" in caplog.text


async def test_fewer_images_than_asked_for_are_an_error_that_has_them(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    """What a line brings is kept, and what it lacks is told."""
    done, _ = calls(ScriptedAnswer(line("a", png())))
    outcomes = []

    async def on_line(arrived: ArrivedLine) -> None:
        outcomes.append(await arrived.outcome(GenerateRequest("a", n=2), 2))

    await done.read_file("file-1", Folder(tmp_path, name="x"), on_line)
    (outcome,) = outcomes
    assert isinstance(outcome.error, PartialResultError)
    assert len(outcome.error.result.data) == 1
