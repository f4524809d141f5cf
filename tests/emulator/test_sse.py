from __future__ import annotations

import asyncio
import gc
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image, ImageChops, ImageStat

from imagesdk.emulator import painter
from imagesdk.emulator.faults import Fault
from imagesdk.emulator.recording import RecordedRequest
from imagesdk.emulator.server import EmulatorServer
from imagesdk.emulator.sse import send_events

Encode = Callable[..., bytes]
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
STREAM: dict[str, Any] = {
    "prompt": "a cat",
    "model": "gpt-image-2",
    "size": "1024x640",
    "stream": True,
}


def _read(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a whole stream, after checking how they are written."""
    *frames, rest = body.split(b"\n\n")
    assert rest == b""
    events: list[dict[str, Any]] = []
    for frame in frames:
        name, data = frame.split(b"\n")
        events.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


async def _stream(http: aiohttp.ClientSession, path: str, **options: Any) -> list[dict[str, Any]]:
    """Ask for a stream and return its events."""
    async with http.post(path, **options) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        return _read(await response.read())


def _open(event: dict[str, Any]) -> Image.Image:
    return Image.open(BytesIO(b64decode(event["b64_json"])))


def _form(image: bytes, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", image, filename="image.png", content_type="image/png")
    for name, value in fields.items():
        form.add_field(name, value)
    return form


async def test_generation(http: aiohttp.ClientSession, clock: SimpleNamespace) -> None:
    """Partial images and the picture come as events that have all the members of the API."""
    events = await _stream(http, GENERATIONS, json={**STREAM, "partial_images": 2})
    described = {
        "created_at": int(clock.now),
        "size": "1024x640",
        "quality": "medium",
        "background": "opaque",
        "output_format": "png",
    }
    for event in events:
        assert _open(event).size == (1024, 640)
        del event["b64_json"]
    partial = {"type": "image_generation.partial_image", **described}
    usage = {
        "input_tokens": 2,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 2},
        "output_tokens": 660 + 2 * 100,
        "total_tokens": 2 + 660 + 2 * 100,
    }
    assert events == [
        {**partial, "partial_image_index": 0},
        {**partial, "partial_image_index": 1},
        {"type": "image_generation.completed", **described, "usage": usage},
    ]


@pytest.mark.parametrize("partial_images", [None, 0, 1, 3])
async def test_as_many_partial_images_as_asked_for(
    http: aiohttp.ClientSession, server: EmulatorServer, partial_images: int | None
) -> None:
    """All the partial images come first, then the picture, which alone is charged."""
    events = await _stream(http, GENERATIONS, json={**STREAM, "partial_images": partial_images})
    *partial, last = events
    assert [event["partial_image_index"] for event in partial] == [*range(partial_images or 0)]
    assert last["type"] == "image_generation.completed"
    assert server.charged == 1
    assert server.requests[0].params["stream"] is True


@pytest.mark.parametrize(
    "options", [{}, {"output_format": "jpeg", "output_compression": 40}, {"output_format": "webp"}]
)
async def test_the_picture_is_that_of_a_plain_answer(
    http: aiohttp.ClientSession, options: dict[str, Any]
) -> None:
    """A stream ends with the very bytes that the same request gets without one."""
    events = await _stream(http, GENERATIONS, json={**STREAM, "partial_images": 1, **options})
    async with http.post(GENERATIONS, json={**STREAM, "stream": False, **options}) as response:
        answer = await response.json()
    assert events[-1]["b64_json"] == answer["data"][0]["b64_json"]
    form = (options.get("output_format") or "png").upper()
    assert [_open(event).format for event in events] == [form, form]


@pytest.mark.parametrize("background", ["opaque", "transparent"])
async def test_each_partial_image_is_sharper(http: aiohttp.ClientSession, background: str) -> None:
    """Every partial image is nearer to the picture than the one before."""
    body = {**STREAM, "partial_images": 3, "background": background}
    *partial, last = map(_open, await _stream(http, GENERATIONS, json=body))
    away = [sum(ImageStat.Stat(ImageChops.difference(image, last)).mean) for image in partial]
    assert away[0] > 1.4 * away[1] > 1.4 * 1.4 * away[2] > 0
    assert {image.mode for image in (*partial, last)} == {last.mode}


async def test_multipart_edit(http: aiohttp.ClientSession, picture: Encode) -> None:
    """An edit sent as a form streams as well, with "true" and "1" as a form spells them."""
    fields = {**STREAM, "stream": "true", "partial_images": "1"}
    first, last = await _stream(http, EDITS, data=_form(picture(), **fields))
    assert (first["type"], first["partial_image_index"]) == ("image_edit.partial_image", 0)
    assert last["type"] == "image_edit.completed"
    assert last["usage"]["input_tokens_details"]["image_tokens"] > 0


async def test_json_edit(http: aiohttp.ClientSession, picture: Encode) -> None:
    """A JSON edit has the events of an edit."""
    url = "data:image/png;base64," + b64encode(picture()).decode()
    body = {"prompt": "a hat", "images": [{"image_url": url}], "stream": True}
    (event,) = await _stream(http, EDITS, json=body)
    assert (event["type"], event["size"]) == ("image_edit.completed", "1024x1024")


async def test_headers(http: aiohttp.ClientSession) -> None:
    """A stream has the headers of every answer, and counts against the limit as one image."""
    async with http.post(GENERATIONS, json={**STREAM, "partial_images": 3}) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["openai-version"] == "2020-10-01"
        assert response.headers["x-request-id"].startswith("req_")
        assert response.headers["x-ratelimit-remaining-images"] == "49"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"n": 2}, "n", "invalid_value"),
        ({"partial_images": 4}, "partial_images", "integer_above_max_value"),
        ({"partial_images": -1}, "partial_images", "integer_below_min_value"),
        ({"partial_images": 1, "stream": False}, "partial_images", "invalid_value"),
        ({"stream": "true"}, "stream", "invalid_type"),
        ({"model": "dall-e-2", "size": "256x256"}, "stream", "unknown_parameter"),
        ({"model": "dall-e-3", "size": "1024x1024"}, "stream", "unknown_parameter"),
        ({"prompt": "[blocked]"}, None, "moderation_blocked"),
    ],
)
async def test_refusals_come_before_the_stream(
    http: aiohttp.ClientSession,
    server: EmulatorServer,
    body: dict[str, Any],
    param: str | None,
    code: str,
) -> None:
    """What is refused is refused as without a stream: a status, JSON, and nothing counted."""
    async with http.post(GENERATIONS, json={**STREAM, **body}) as response:
        assert (response.status, response.content_type) == (400, "application/json")
        assert response.headers["x-ratelimit-remaining-images"] == "50"
        error = (await response.json())["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert server.charged == 0


async def test_rate_limit() -> None:
    """A stream above the limit is a plain 429 with the time to wait."""
    async with (
        EmulatorServer(images_per_minute=1) as server,
        aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session,
    ):
        url = f"{server.base_url}/images/generations"
        assert len(await _stream(session, url, json=STREAM)) == 1
        async with session.post(url, json=STREAM) as response:
            assert (response.status, response.content_type) == (429, "application/json")
            assert int(response.headers["Retry-After"]) > 0


async def test_a_fault_in_the_middle(
    http: aiohttp.ClientSession,
    server: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug after the first partial image is an error event, and the connection stays usable."""
    whole = painter.preview

    def broken(image: Image.Image, index: int, count: int) -> Image.Image:
        if index:
            raise RuntimeError("no paint left")
        return whole(image, index, count)

    monkeypatch.setattr("imagesdk.emulator.painter.preview", broken)
    first, error = await _stream(http, GENERATIONS, json={**STREAM, "partial_images": 3})
    assert first["partial_image_index"] == 0
    assert error.keys() == {"type", "error"}
    assert error["type"] == "error"
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert error["error"]["type"] == "server_error"
    assert "no paint left" in caplog.text
    assert (server.charged, server.requests[0].status) == (0, 200)
    async with http.get("/v1/models") as response:
        assert response.status == 200


@asynccontextmanager
async def _answered(
    answered: asyncio.Future[RecordedRequest], **settings: Any
) -> AsyncIterator[tuple[EmulatorServer, aiohttp.ClientSession]]:
    """Run a server that reports its first answer."""
    async with (
        EmulatorServer(**settings, on_request=answered.set_result) as server,
        aiohttp.ClientSession(server.base_url + "/", headers={"api-key": "sk-test"}) as session,
    ):
        yield server, session


@pytest.mark.parametrize("partial_images", [0, 3])
async def test_clients_that_leave_early(
    partial_images: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves ends the work on its picture soon, for nothing, with nothing logged."""
    answered: asyncio.Future[RecordedRequest] = asyncio.get_running_loop().create_future()
    seconds = 600 if partial_images == 0 else 1
    async with _answered(answered, seconds_per_image=seconds) as (server, session):
        before = asyncio.all_tasks()
        body = {**STREAM, "partial_images": partial_images}
        response = await session.post("images/generations", json=body)
        assert response.status == 200  # the head is there before the first event
        if partial_images:
            assert await response.content.readline() == b"event: image_generation.partial_image\n"
        response.close()
        assert (await asyncio.wait_for(answered, 10)).status == 499
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
        assert server.charged == 0
    gc.collect()
    assert caplog.text == ""


async def test_closes_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    """A server that closes breaks its streams off, without an end and without a log."""
    async with aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session:
        async with EmulatorServer(seconds_per_image=600) as server:
            response = await session.post(f"{server.base_url}/images/generations", json=STREAM)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 10
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert caplog.text == ""


async def test_http_1_0(server: EmulatorServer) -> None:
    """An HTTP/1.0 client gets the events as they are, and the end of the connection."""
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(STREAM).encode()
    head = (
        f"POST {GENERATIONS} HTTP/1.0\r\napi-key: sk-test\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    status, _, events = answer.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.0 200 OK\r\n")
    assert [event["type"] for event in _read(events)] == ["image_generation.completed"]


async def test_the_events_are_closed_when_nobody_reads() -> None:
    """An event that nobody is there to read ends the events, and the caller is told."""
    outcome: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    closed = asyncio.Event()

    async def events(request: web.Request) -> AsyncGenerator[dict[str, Any], None]:
        try:
            while request.transport is not None:  # noqa: ASYNC110  # aiohttp tells in no other way
                await asyncio.sleep(0.01)
            yield {"type": "late"}
            raise AssertionError("somebody asked for one more")
        finally:
            closed.set()

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await send_events(request, events(request), Fault())
        except ConnectionError as error:
            outcome.set_result(error)
            raise

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            response = await session.get("http://127.0.0.1:{1}/".format(*runner.addresses[0]))
            response.close()
            await asyncio.wait_for(outcome, 10)
        assert closed.is_set()
    finally:
        await runner.cleanup()
