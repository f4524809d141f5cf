"""Each fault on a real socket: what the client gets, what is billed, and what is recorded."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from PIL import Image

from imagesdk.emulator.server import EmulatorServer

Answer = tuple[int, Any]
Encode = Callable[..., bytes]
GENERATIONS = "images/generations"
SMALL = {"prompt": "a fox", "size": "256x256", "n": 2, "response_format": "b64_json"}
STREAM = {"prompt": "a fox", "model": "gpt-image-2", "stream": True, "partial_images": 2}


@pytest.fixture
async def server() -> AsyncIterator[EmulatorServer]:
    async with EmulatorServer(images_per_minute=None) as running:
        yield running


@pytest.fixture
async def http(server: EmulatorServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with aiohttp.ClientSession(server.base_url + "/", headers=headers) as session:
        yield session


async def ask(http: aiohttp.ClientSession, body: dict[str, Any] = SMALL, **more: Any) -> Answer:
    async with http.post(GENERATIONS, json=body, **more) as response:
        return response.status, await response.json(content_type=None)


async def raw(http: aiohttp.ClientSession, body: dict[str, Any] = SMALL) -> bytes:
    async with http.post(GENERATIONS, json=body) as response:
        return await response.read()


def opened(text: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(text, validate=True)))


async def test_fail_next(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """So many requests fail, with the wait that was named; they are recorded and not billed."""
    server.fail_next(429, times=2, retry_after=2, headers={"x-should-retry": "true"})
    for _ in range(2):
        async with http.post(GENERATIONS, json=SMALL) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "2"
            assert response.headers["x-should-retry"] == "true"
            assert (await response.json())["error"]["code"] == "rate_limit_exceeded"
    assert (server.charged, server.faults) == (0, [])
    assert (await ask(http))[0] == 200
    assert server.charged == 2
    failed, _, good = server.requests
    assert (failed.status, failed.params, failed.charged) == (429, SMALL, 0)
    assert failed.fault["fail"] == 429
    assert (good.status, good.charged, good.fault) == (200, 2, {})


async def test_fail_after_the_charge(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """A gateway that gives up on a server that goes on: 504, and the images are billed."""
    server.fail_next("gateway", charge=True)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert (response.status, response.content_type) == (502, "text/html")
    assert (server.charged, server.requests[0].charged) == (2, 2)
    server.fail_next(504, charge=True)
    assert (await ask(http, STREAM))[0] == 504
    assert server.charged == 3


@pytest.mark.parametrize("body", [{"error": {"message": "oops"}}, {"data": None}, None, "<html>"])
async def test_a_success_that_is_none(
    http: aiohttp.ClientSession, server: EmulatorServer, body: object
) -> None:
    """An answer with status 200 can hold anything."""
    server.fail_next(200, body=body, charge=True)
    text = (await raw(http)).decode()
    assert text == body or json.loads(text) == body


@pytest.mark.parametrize(
    ("retry_after", "text"),
    [
        (0.5, "0.5"),
        (-3, "-3"),
        (1e12, "1000000000000"),
        ("nan", "nan"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
)
async def test_any_wait_can_be_named(
    http: aiohttp.ClientSession, server: EmulatorServer, retry_after: float | str, text: str
) -> None:
    """Numbers and texts arrive as they were given."""
    server.fail_next("overloaded", retry_after=retry_after)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.headers["Retry-After"] == text


async def test_latency(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """Every image request takes so much longer, until it is taken back."""
    server.latency(0.05)
    for _ in range(2):
        await ask(http)
    server.latency(0)
    await ask(http)
    async with http.get("models") as response:
        assert response.status == 200
    first, second, third, other = server.requests
    assert min(first.seconds, second.seconds) >= 0.05
    assert [dict(kept.fault) for kept in (second, third, other)] == [
        {"latency": 0.05},
        {"latency": 0.0},
        {},
    ]


@pytest.mark.parametrize(
    ("after", "charged", "parsed"),
    [("head", 0, False), ("half", 0, False), ("upload", 0, True), ("charge", 2, True)],
)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_drop_connection(
    http: aiohttp.ClientSession,
    server: EmulatorServer,
    after: Any,
    how: Any,
    *,
    charged: int,
    parsed: bool,
) -> None:
    """The client gets no answer, and has paid if the images were made; the next call works."""
    server.drop_connection(after=after, how=how)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(http)
    (record,) = server.requests
    assert (record.status, record.charged, server.charged) == (0, charged, charged)
    assert bool(record.params) is parsed
    assert (await ask(http))[0] == 200


async def test_a_dropped_stream_is_billed(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """After the charge of a stream not even its head arrives."""
    server.drop_connection(after="charge")
    with pytest.raises(aiohttp.ClientConnectionError):
        await raw(http, STREAM)
    assert server.charged == 1


@pytest.mark.parametrize(("how", "rest"), [("reset", ConnectionResetError), ("close", b"")])
async def test_a_reset_is_not_a_close(server: EmulatorServer, how: Any, rest: Any) -> None:
    """On the wire a reset is an RST, and a close is a FIN after everything was read."""
    server.drop_connection(after="upload", how=how)
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(SMALL).encode()
    head = f"Host: x\r\napi-key: sk-test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"POST /v1/{GENERATIONS} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
    if isinstance(rest, bytes):
        assert await reader.read() == rest
    else:
        with pytest.raises(rest):
            await reader.read()
    writer.close()


async def test_drops_of_uploads_of_unknown_length(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """A chunked upload is dropped after its first piece, and on other routes, too."""
    server.drop_connection(after="half", on="/v1/files")
    server.drop_connection(after="upload", on="/v1/files")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 70_000

    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.post("files", data=pieces())
    assert [record.status for record in server.requests] == [0, 0]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task brings about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("after", "charged"), [("head", 0), ("charge", 2)])
async def test_hang(
    http: aiohttp.ClientSession, server: EmulatorServer, after: Any, charged: int
) -> None:
    """Nothing comes until the client gives up; the server may have charged by then."""
    server.hang(after=after)
    request = asyncio.create_task(ask(http))
    await until(lambda: server.requests and server.requests[0].charged == charged)
    await asyncio.sleep(0.03)
    assert not request.done()
    request.cancel()
    await until(lambda: server.requests[0].seconds)
    assert (server.charged, server.requests[0].status) == (charged, 0)


async def test_a_server_that_closes_lets_nothing_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs ends when the server does: it is not one of the requests that get time to finish."""
    monkeypatch.setattr("imagesdk.emulator.server._CLOSE_TIMEOUT", 600)
    async with aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session:
        async with EmulatorServer(faults=["stop=upload how=hang"]) as server:
            url = f"{server.base_url}/{GENERATIONS}"
            request = asyncio.create_task(session.post(url, json=SMALL))
            await until(lambda: server.requests and server.requests[0].params)
        with pytest.raises(aiohttp.ClientConnectionError):
            await request


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_cut_answer(http: aiohttp.ClientSession, server: EmulatorServer, how: Any) -> None:
    """So many bytes of the body arrive, the head promises more, and it is billed."""
    server.cut_answer(100, how=how)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.content_length is not None
        assert response.content_length > 1000
        assert len(await response.content.readexactly(100)) == 100
        with pytest.raises(aiohttp.ClientError):
            await response.content.read(1)
    assert (server.charged, server.requests[0].status) == (2, 200)


async def test_an_answer_that_ends_too_early(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """To the client it is a whole answer, with a body that is cut."""
    server.cut_answer(50, how="end")
    body = await raw(http)
    assert len(body) == 50
    assert body.startswith(b'{"created":')


async def test_an_answer_that_stops_arriving(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """The body begins, and the rest never comes."""
    server.cut_answer(50, how="hang")
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert len(await response.content.readexactly(50)) == 50
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await response.content.read(1)


@pytest.mark.parametrize(
    ("how", "end"),
    [("end", b""), ("error", b"event: error\n"), ("close", None), ("reset", None)],
)
@pytest.mark.parametrize("cut", [True, False])
async def test_cut_stream(
    http: aiohttp.ClientSession, server: EmulatorServer, how: Any, *, end: bytes | None, cut: bool
) -> None:
    """A stream ends after an event, or within one; its image is billed all the same."""
    if cut:
        server.cut_answer(100, how=how)
    else:
        server.cut_stream(1, how=how)
    received = bytearray()

    async def receive() -> None:
        async with http.post(GENERATIONS, json=STREAM) as response:
            async for piece in response.content.iter_any():
                received.extend(piece)

    if end is None:
        with pytest.raises(aiohttp.ClientError):
            await receive()
    else:
        await receive()
    assert received.startswith(b"event: image_generation.partial_image\n")
    assert received.count(b"event: image_generation") == 1
    assert b"completed" not in received
    if cut:
        assert received[100:].startswith(end or b"")
    else:
        assert (b"event: error\n" in received) is (how == "error")
    assert (server.charged, server.requests[0].status) == (1, 200)


async def test_drip(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """A body of some kilobytes at so many a second takes its time, and is whole."""
    whole = await raw(http)
    server.drip(len(whole) / 0.2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    dripped = await raw(http)
    assert loop.time() - started > 0.15
    assert json.loads(dripped)["data"] == json.loads(whole)["data"]


@pytest.mark.parametrize("images", [0, 1, 5])
async def test_fewer_images(
    http: aiohttp.ClientSession, server: EmulatorServer, images: int
) -> None:
    """The answer is short, and all images are billed."""
    server.fewer_images(images)
    _, answer = await ask(http)
    assert (len(answer["data"]), server.charged) == (min(images, 2), 2)


@pytest.mark.parametrize(
    ("file", "begin"),
    [
        ("png", b"\x89PNG"),
        ("jpeg", b"\xff\xd8\xff"),
        ("webp", b"RIFF"),
        ("gif", b"GIF8"),
        ("html", b"<!DOCTYPE"),
        ("empty", b""),
    ],
)
async def test_wrong_files(
    http: aiohttp.ClientSession, server: EmulatorServer, file: Any, begin: bytes
) -> None:
    """The files are something else, in base64, at URLs and in streams."""
    server.wrong_files(file, times=3)
    _, answer = await ask(http, {**SMALL, "n": 1})
    files = [base64.b64decode(answer["data"][0]["b64_json"])]
    _, answer = await ask(http, {"prompt": "a fox", "size": "256x256"})
    async with http.get(answer["data"][0]["url"]) as response:
        assert response.content_type == "image/png"
        files.append(await response.read())
    last = (await raw(http, {**STREAM, "partial_images": 0})).partition(b"data: ")[2]
    files.append(base64.b64decode(json.loads(last)["b64_json"]))
    assert all(data.startswith(begin) and bool(data) is bool(begin) for data in files)


async def test_half_a_file(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """It begins as a picture, and breaks off."""
    server.wrong_files("half")
    _, answer = await ask(http)
    with opened(answer["data"][0]["b64_json"]) as image, pytest.raises(OSError, match="truncated"):
        image.load()


async def test_bad_base64(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """One image cannot be decoded, the others can."""
    server.bad_base64(1)
    _, answer = await ask(http)
    good, bad = answer["data"]
    opened(good["b64_json"]).load()
    with pytest.raises(binascii.Error):
        base64.b64decode(bad["b64_json"], validate=True)
    server.bad_base64(7)
    assert (await ask(http))[0] == 200


async def test_expire_urls(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """The URL arrives too late: 403, as from a blob store."""
    server.expire_urls()
    for status in (403, 200):
        _, answer = await ask(http, {"prompt": "a fox", "size": "256x256"})
        async with http.get(answer["data"][0]["url"]) as response:
            assert response.status == status


async def test_downloads_can_fail(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """The pictures at URLs have faults of their own."""
    server.fail_next(503, on="downloads")
    server.cut_answer(10, on="downloads")
    _, answer = await ask(http, {"prompt": "a fox", "size": "256x256"})
    url = answer["data"][0]["url"]
    async with http.get(url) as response:
        assert response.status == 503
    async with http.get(url) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_files_break_off(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """What was uploaded can break off when it is fetched, and arrives whole the next time."""
    form = aiohttp.FormData({"purpose": "vision"})
    form.add_field("file", b"x" * 1000, filename="a.bin")
    async with http.post("files", data=form) as response:
        url = f"files/{(await response.json())['id']}/content"
    server.cut_answer(10, on=f"/v1/{url}")
    async with http.get(url) as response:
        assert await response.content.readexactly(10) == b"x" * 10
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    async with http.get(url) as response:
        assert await response.read() == b"x" * 1000


async def test_headers_of_a_success(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """Headers can be added to an answer that is good."""
    server.inject('headers=\'{"x-ratelimit-limit-images": "5"}\' retry_after=1')
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.status == 200
        assert response.headers["x-ratelimit-limit-images"] == "5"
        assert response.headers["Retry-After"] == "1"


async def test_faults_go_with_uploads(
    http: aiohttp.ClientSession, server: EmulatorServer, picture: Encode
) -> None:
    """A multipart request that fails is recorded with its fields and files."""
    server.fail_next("moderation", on="edits")
    form = aiohttp.FormData({"prompt": "a hat"})
    form.add_field("image", picture(), filename="a.png", content_type="image/png")
    async with http.post("images/edits", data=form) as response:
        assert (await response.json())["error"]["code"] == "moderation_blocked"
    (record,) = server.requests
    assert record.params == {"prompt": "a hat"}
    assert [(file.field, file.filename) for file in record.files] == [("image", "a.png")]


def test_senseless_faults_are_refused() -> None:
    """A method says at once what it cannot do."""
    server = EmulatorServer()
    with pytest.raises(ValueError, match="<= 599"):
        server.fail_next(1000)
    with pytest.raises(ValueError, match=">= 1"):
        server.hang(times=0)
    with pytest.raises(ValueError, match="unknown field `tims`"):
        EmulatorServer(faults=["fail=500 tims=3"])
