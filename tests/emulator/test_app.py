from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from PIL import Image

from imagesdk.emulator.server import EmulatorServer

Encode = Callable[..., bytes]
GENERATIONS, EDITS, VARIATIONS = (
    f"/v1/images/{name}" for name in ("generations", "edits", "variations")
)
SMALL = {"prompt": "a cat", "size": "256x256"}


async def _error(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the error object, after checking what every error answer has."""
    assert response.status >= 400
    assert response.content_type == "application/json"
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
    body = await response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    return error


def _form(image: bytes, *, mask: bytes | None = None, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", image, filename="image.png", content_type="image/png")
    if mask is not None:
        form.add_field("mask", mask, filename="mask.png", content_type="image/png")
    for name, value in fields.items():
        form.add_field(name, value)
    return form


async def test_generation(http: aiohttp.ClientSession, clock: SimpleNamespace) -> None:
    """A classic generation answers with URLs of the server's own, which lead to the pictures."""
    async with http.post(GENERATIONS, json={**SMALL, "n": 2}) as response:
        answer = await response.json()
        assert response.status == 200
    assert answer["created"] == int(clock.now)
    for item in answer["data"]:
        assert item["url"].startswith(str(http._base_url))
        async with http.get(item["url"]) as picture:
            assert picture.content_type == "image/png"
            assert Image.open(BytesIO(await picture.read())).size == (256, 256)


async def test_edit_and_variation(http: aiohttp.ClientSession, picture: Encode) -> None:
    """Multipart edits and variations are answered; "2" is a number there."""
    form = _form(picture(), mask=picture(), prompt="a hat", n="2", size="256x256")
    async with http.post(EDITS, data=form) as response:
        assert len((await response.json())["data"]) == 2
    form = _form(picture(), n="3", size="256x256", response_format="b64_json")
    async with http.post(VARIATIONS, data=form) as response:
        assert [item.keys() for item in (await response.json())["data"]] == [{"b64_json"}] * 3


async def test_json_edit(http: aiohttp.ClientSession, picture: Encode) -> None:
    """A JSON edit with data URLs is answered by a GPT Image model."""
    url = "data:image/png;base64," + b64encode(picture()).decode()
    body = {"prompt": "a hat", "images": [{"image_url": url}], "mask": {"image_url": url}}
    async with http.post(EDITS, json=body) as response:
        answer = await response.json()
        assert response.status == 200
        assert answer["usage"]["input_tokens_details"]["image_tokens"] > 0


async def test_every_api_answer_has_its_headers(http: aiohttp.ClientSession) -> None:
    """Answers carry an id of their own and the headers of the API, errors included."""
    ids = set()
    for method, path in (("GET", "/v1/models"), ("POST", GENERATIONS), ("GET", "/nowhere")):
        async with http.request(method, path) as response:
            headers = response.headers
            ids.add(headers["x-request-id"])
            assert headers["openai-version"] == "2020-10-01"
            assert headers["openai-organization"] == "org-emulator"
            assert int(headers["openai-processing-ms"]) >= 0
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("headers", "code", "message"),
    [
        ({"Authorization": ""}, None, "You didn't provide an API key."),
        ({"Authorization": "Basic c2stdGVzdA=="}, None, "You didn't provide an API key."),
        (
            {"Authorization": "Bearer sk-wrong-key-1234"},
            "invalid_api_key",
            "Incorrect API key provided: sk-wr***1234. You can find your API key at https://",
        ),
        ({"Authorization": "", "api-key": "wrong"}, "invalid_api_key", "Incorrect API key"),
    ],
)
@pytest.mark.parametrize("path", [GENERATIONS, EDITS, VARIATIONS, "/v1/models", "/v1/models/x"])
async def test_wrong_keys(
    http: aiohttp.ClientSession,
    path: str,
    headers: dict[str, str],
    code: str | None,
    message: str,
) -> None:
    """Without a right key every route of the API answers 401, before it reads anything."""
    method = "GET" if "models" in path else "POST"
    async with http.request(method, path, headers=headers) as response:
        assert response.status == 401
        error = await _error(response)
    assert error["code"] == code
    assert error["message"].startswith(message)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-test"},
        {"Authorization": "bearer  sk-test-1 "},
        {"Authorization": "", "api-key": "sk-test-1"},
    ],
)
async def test_right_keys(http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    """Any key that begins with sk-test is right, in either header."""
    async with http.get("/v1/models", headers=headers) as response:
        assert response.status == 200


async def test_models(http: aiohttp.ClientSession) -> None:
    """Models are listed and described; an unknown one is not found."""
    async with http.get("/v1/models") as response:
        models = await response.json()
    assert models["object"] == "list"
    assert "dall-e-2" in [model["id"] for model in models["data"]]
    async with http.get("/v1/models/gpt-image-2") as response:
        assert (await response.json()).keys() == {"id", "object", "created", "owned_by"}
    async with http.get("/v1/models/x") as response:
        assert response.status == 404
        assert (await _error(response))["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/images", 404),
        ("POST", "/v1/images/files/", 404),
        ("GET", "/%ff/%00", 404),
        ("GET", GENERATIONS, 405),
        ("DELETE", "/v1/models", 405),
    ],
)
async def test_routes_that_do_not_exist(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Unknown routes and methods are answered in the envelope too."""
    async with http.request(method, path) as response:
        assert response.status == status
        assert (await _error(response))["type"] == "invalid_request_error"
        assert ("Allow" in response.headers) is (status == 405)


async def test_head_and_options(http: aiohttp.ClientSession) -> None:
    """OPTIONS names the methods, and HEAD answers without a body."""
    async with http.options(GENERATIONS) as response:
        assert (response.status, response.headers["Allow"]) == (204, "OPTIONS, POST")
    async with http.head("/v1/models") as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        (GENERATIONS, "application/json", b"{"),
        (GENERATIONS, "application/json", b"[1]"),
        (GENERATIONS, "application/json", b""),
        (GENERATIONS, "text/plain", b"{}"),
        (GENERATIONS, "multipart/form-data; boundary=x", b"--x--"),
        (EDITS, "multipart/form-data", b"--x--"),
        (EDITS, "multipart/form-data; boundary=x", b"garbage"),
        (EDITS, "application/json", b"[]"),
        (VARIATIONS, "application/json", b"{}"),
        (VARIATIONS, "multipart/form-data; boundary=x", b"\xff" * 1000),
    ],
)
async def test_malformed_bodies(
    http: aiohttp.ClientSession, path: str, content_type: str, body: bytes
) -> None:
    """A body that makes no sense is the client's fault: 400, never 500."""
    async with http.post(path, data=body, headers={"Content-Type": content_type}) as response:
        assert response.status == 400
        assert (await _error(response))["type"] == "invalid_request_error"


async def test_a_request_refused_names_its_parameter(http: aiohttp.ClientSession) -> None:
    """A value outside the contract gives the exact envelope of the API."""
    async with http.post(GENERATIONS, json={"prompt": "a cat", "n": 11}) as response:
        assert response.status == 400
        assert await _error(response) == {
            "message": "Invalid 'n': integer above maximum value. "
            "Expected a value <= 10, but got 11 instead.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "integer_above_max_value",
        }


async def test_unknown_models_are_not_found(http: aiohttp.ClientSession) -> None:
    """A model that does not exist is 404."""
    async with http.post(GENERATIONS, json={**SMALL, "model": "x"}) as response:
        assert response.status == 404
        assert (await _error(response))["code"] == "model_not_found"


async def test_large_bodies(picture: Encode) -> None:
    """A body above the limit is 413, announced or in chunks."""

    async def chunks() -> Any:
        for _ in range(4):
            yield bytes(500)

    async with (
        EmulatorServer(max_body_bytes=1000) as server,
        aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session,
    ):
        for body in (bytes(1001), chunks()):
            async with session.post(f"{server.base_url}/images/edits", data=body) as response:
                assert response.status == 413
                await _error(response)
        fitting = _form(picture(), size="256x256")
        async with session.post(f"{server.base_url}/images/variations", data=fitting) as response:
            assert response.status == 200


async def test_rate_limit_headers(http: aiohttp.ClientSession) -> None:
    """Every answer to an image request says what is left, refusals included."""
    names = [f"x-ratelimit-{name}-images" for name in ("limit", "remaining", "reset")]
    seen = []
    for n in (2, 99, 1):
        async with http.post(GENERATIONS, json={**SMALL, "n": n}) as response:
            seen.append([response.headers[name] for name in names])
    assert seen == [["50", "48", "1m0s"], ["50", "48", "1m0s"], ["50", "47", "1m0s"]]


async def test_rate_limit(
    http: aiohttp.ClientSession, server: EmulatorServer, clock: SimpleNamespace
) -> None:
    """The 51st image in a minute is refused with the time to wait, and fits a minute later."""
    server.reset()
    for _ in range(5):
        async with http.post(GENERATIONS, json={**SMALL, "n": 10}) as response:
            assert response.status == 200
    clock.now += 48
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "12"
        assert response.headers["retry-after-ms"] == "12000"
        error = await _error(response)
    assert error["message"].startswith("Rate limit exceeded for images per minute in organization")
    assert "Limit: 50/1min. Current: 51/1min." in error["message"]
    assert (error["type"], error["param"], error["code"]) == (
        "requests",
        None,
        "rate_limit_exceeded",
    )
    async with http.post(GENERATIONS, json=SMALL, headers={"api-key": "sk-test-2"}) as response:
        assert response.status == 429  # the bearer key counts, not the second one
    clock.now += 12
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.status == 200
    assert server.charged == 51


async def test_no_limit_no_headers() -> None:
    """With the limit off there are no rate limit headers."""
    async with (
        EmulatorServer(images_per_minute=None) as server,
        aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session,
        session.post(f"{server.base_url}/images/generations", json=SMALL) as response,
    ):
        assert response.status == 200
        assert not [name for name in response.headers if "ratelimit" in name.lower()]


async def test_content_policy(http: aiohttp.ClientSession, picture: Encode) -> None:
    """Marked prompts and blocked pictures are refused as the model's family refuses."""
    async with http.post(GENERATIONS, json={"prompt": "a [BLOCKED] cat"}) as response:
        assert (await _error(response))["code"] == "content_policy_violation"
    body = {"prompt": "[blocked]", "model": "gpt-image-2"}
    async with http.post(GENERATIONS, json=body) as response:
        error = await _error(response)
        assert response.headers["x-request-id"] in error["message"]
        assert error["code"] == "moderation_blocked"
    async with http.post(VARIATIONS, data=_form(picture((8, 8)))) as response:
        assert (await _error(response))["code"] == "content_policy_violation"


@pytest.mark.parametrize(("after", "status"), [(3599, 200), (3600, 403)])
async def test_urls_expire(
    http: aiohttp.ClientSession, clock: SimpleNamespace, after: float, status: int
) -> None:
    """A picture is there for an hour, without a key, and then refused as a blob store does."""
    async with http.post(GENERATIONS, json=SMALL) as response:
        url = (await response.json())["data"][0]["url"]
    clock.now += after
    async with aiohttp.ClientSession() as anonymous, anonymous.get(url) as response:
        assert response.status == status
        assert "x-request-id" in response.headers
        assert "openai-version" not in response.headers
        if status == 403:
            assert response.content_type == "application/xml"
            assert response.headers["x-ms-error-code"] == "AuthenticationFailed"
            assert "<Code>AuthenticationFailed</Code>" in await response.text()


async def test_unknown_pictures(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """Without its signature no picture is found, and a forgotten one is 404."""
    async with http.post(GENERATIONS, json=SMALL) as response:
        url = (await response.json())["data"][0]["url"]
    async with http.get(url.partition("?")[0]) as response:
        assert response.status == 403
    server.reset()
    async with http.get(url) as response:
        assert response.status == 404
        assert "<Code>BlobNotFound</Code>" in await response.text()


async def test_faults_of_the_server_are_reported(
    http: aiohttp.ClientSession,
    server: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in the emulator is a 500 in the envelope, with the traceback in the log."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no paint left")

    monkeypatch.setattr("imagesdk.emulator.painter.paint", broken)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.status == 500
        assert (await _error(response))["type"] == "server_error"
    assert "no paint left" in caplog.text
    assert server.charged == 0


async def _raw(server: EmulatorServer, data: bytes, *, half: bool = False) -> bytes:
    """Send bytes as they are and return the whole answer; *half* hangs up right away."""
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        await writer.drain()
        return b"" if half else await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def _head(*lines: str, path: str = GENERATIONS, version: str = "1.1") -> bytes:
    start = f"POST {path} HTTP/{version}"
    fixed = ("Host: x", "api-key: sk-test", "Connection: close", "Content-Type: application/json")
    return "\r\n".join((start, *fixed, *lines, "", "")).encode()


async def test_http_1_0(server: EmulatorServer) -> None:
    """An HTTP/1.0 client gets its answer, with URLs that work without a Host header."""
    body = b'{"prompt": "a cat", "size": "256x256"}'
    head = _head(f"Content-Length: {len(body)}", version="1.0").replace(b"Host: x\r\n", b"")
    answer = await _raw(server, head + body)
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert server.base_url.encode() in answer


async def test_chunked_and_expect(server: EmulatorServer) -> None:
    """A client that asks before sending, and sends in chunks, is told to go on."""
    head = _head("Transfer-Encoding: chunked", "Expect: 100-continue")
    answer = await _raw(server, head + b"2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    assert b"missing_required_parameter" in answer


async def test_broken_chunks(server: EmulatorServer) -> None:
    """What is no HTTP is 400; aiohttp itself answers, because there is no request yet."""
    answer = await _raw(server, _head("Transfer-Encoding: chunked") + b"2\r\n{}\r\nxyz\r\n")
    assert b" 400 " in answer.partition(b"\r\n")[0]


async def test_bad_gzip(server: EmulatorServer) -> None:
    """A body that is not compressed as it says is 400 in the envelope."""
    answer = await _raw(server, _head("Content-Encoding: gzip", "Content-Length: 2") + b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id" in answer


async def test_clients_that_hang_up(
    server: EmulatorServer, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that goes away in the middle of its upload leaves no trace in the log."""
    await _raw(server, _head("Content-Length: 100000") + b"{", half=True)
    await _raw(server, _head("Transfer-Encoding: chunked") + b"10\r\n{", half=True)
    async with http.get("/v1/models") as response:
        assert response.status == 200
    assert [record.status for record in server.requests] == [499, 499, 200]
    assert caplog.text == ""


async def test_requests_are_recorded(
    http: aiohttp.ClientSession, server: EmulatorServer, picture: Encode
) -> None:
    """What arrived is kept: method, path, headers, values, files, and the status it got."""
    form = _form(picture(), mask=picture((32, 32)), prompt="a hat", n="2")
    headers = {"Idempotency-Key": "k-1"}
    async with http.post(EDITS, data=form, params={"q": "1"}, headers=headers) as response:
        assert response.status == 400
    (record,) = server.requests
    assert (record.method, record.path, record.query) == ("POST", EDITS, {"q": "1"})
    assert record.headers["idempotency-key"] == "k-1"
    assert record.params == {"prompt": "a hat", "n": 2}
    assert [(file.field, file.filename, file.content_type) for file in record.files] == [
        ("image", "image.png", "image/png"),
        ("mask", "mask.png", "image/png"),
    ]
    assert record.files[0].data == picture()
    assert record.status == 400


async def test_idempotency_keys_are_not_honoured(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """The API documents no idempotency: the same key twice is charged twice."""
    for _ in range(2):
        async with http.post(GENERATIONS, json=SMALL, headers={"Idempotency-Key": "k"}) as response:
            assert response.status == 200
    assert server.charged == 2
