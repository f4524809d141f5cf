"""The dialect of each known server, over a socket: what is sent byte for byte, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from imagesdk.client.results import ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.client.streaming import CompletedImage, ImageStream
from imagesdk.errors import ImageSDKError
from imagesdk.models.servers import PROFILES
from imagesdk.retry import RetryPolicy
from tests.integration.raw_server import Connection, RawServer, Step
from tests.wire.exchange import Case, Exchange, Pictures, read_case

FOLDER = Path(__file__).parent
CASES = [read_case(path) for path in sorted(FOLDER.glob("*/*.http"))]
PICTURES = Pictures.make()
CREDENTIALS = {"authorization", "api-key"}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.server}/{c.name}")


def answer_of(exchange: Exchange, origin: Callable[[], str]) -> Step:
    """Return what the server does: it answers as the file says."""

    async def step(connection: Connection) -> None:
        await connection.read()
        body = PICTURES.fill(exchange.answer_body, origin=origin())
        headers = {name.replace("-", "_"): v for name, v in exchange.answer_headers.items()}
        connection.answer(body, exchange.status, **headers)

    return step


async def call(images: ImageSession, case: Case) -> ImagesResponse:
    """Make the call of a case; of a stream, return what its last event holds."""
    arguments = PICTURES.arguments(case.json("with"))
    outcome = getattr(images, case.said["call"])(**arguments)
    if not isinstance(outcome, ImageStream):
        response: ImagesResponse = await outcome
        return response
    async with outcome as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], CompletedImage)
    return seen[-1].response


def check_request(server: RawServer, number: int, exchange: Exchange, key: str) -> None:
    """Compare a request with that of the file: its line, the headers that are named, its body."""
    sent = server.requests[number]
    method, target = exchange.request_line.split(" ")
    assert (sent.method, sent.target) == (method, target)
    boundary = sent.headers.get("content-type", "").partition("boundary=")[2]
    words = {"boundary": boundary, "key": key, "origin": server.url.removesuffix("/v1")}
    for name, value in exchange.request_headers.items():
        assert sent.headers[name] == PICTURES.fill(value, **words).decode(), name
    # The key goes in no header but the one that is named.
    assert CREDENTIALS & sent.headers.keys() == CREDENTIALS & exchange.request_headers.keys()
    assert sent.body == PICTURES.fill(exchange.request_body, **words)
    if sent.body:
        assert sent.headers["content-length"] == str(len(sent.body))


async def check_result(result: ImagesResponse, wanted: dict[str, Any], origin: str) -> None:
    """Compare what the caller gets with what the file says."""
    content = [await image.read() for image in result.data]
    assert content == [PICTURES.bytes_of[name] for name in wanted.pop("images")]
    assert [image.mime_type for image in result.data] == wanted.pop("types")
    for name in ("url", "revised_prompt"):
        if name in wanted:
            expected = wanted.pop(name)
            filled = expected and PICTURES.fill(expected, origin=origin).decode()
            assert {getattr(image, name) for image in result.data} == {filled}
    assert {name: getattr(result, name) for name in wanted} == wanted


@every_case
async def test_an_exchange(case: Case, key: str) -> None:
    """The session sends exactly what the server's own source asks for, and reads what it answers."""
    wanted = case.json("gives")
    server = RawServer()
    server.steps = [answer_of(e, lambda: server.url.removesuffix("/v1")) for e in case.exchanges]
    async with (
        server,
        ImageSession(
            server=case.server,
            base_url=server.url.removesuffix("/v1") + case.said["base"],
            api_key=key,
            images_per_minute=None,
            retry=RetryPolicy(max_attempts=1, ambiguous="never"),
            validate="off" if case.said.get("validate") == "off" else "error",
        ) as images,
    ):
        if "error" in wanted:
            with pytest.raises(ImageSDKError) as caught:
                await call(images, case)
            said = {"error": type(caught.value).__name__}
            said |= {
                name: getattr(caught.value, name)
                for name in wanted
                if name not in ("error", "says")
            }
            assert said == {
                k: tuple(v) if isinstance(v, list) else v for k, v in wanted.items() if k != "says"
            }
            assert wanted["says"] in str(caught.value)
            assert key not in repr(caught.value)
        else:
            result = await call(images, case)
            await check_result(result, wanted, server.url.removesuffix("/v1"))
        assert len(server.requests) == len(case.exchanges)
        for number, exchange in enumerate(case.exchanges):
            check_request(server, number, exchange, key)


def test_every_exchange_says_where_it_comes_from() -> None:
    """A file names its source, and the commit or the day that it was read at, and how it was made."""
    for case in CASES:
        assert case.said["made"] in ("by hand", "recorded"), case
        assert case.said["source"].startswith("https://"), case
        assert " at " in case.said["source"], case


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_every_server_has_its_exchanges(profile: Any) -> None:
    """Each known server has a generation behind it, and one of each other thing that it serves."""
    called = {c.said["call"].removeprefix("stream_") for c in CASES if c.server == profile.name}
    methods = {"generations": "generate", "edits": "edit", "variations": "create_variation"}
    assert {methods[endpoint] for endpoint in profile.paths} <= called


def test_a_difference_is_found(key: str) -> None:
    """One byte more or less in a request is no match."""
    exchange = CASES[0].exchanges[0]
    server = RawServer()
    server.url = "http://127.0.0.1:1/v1"
    words = {"boundary": "", "key": key, "origin": "http://127.0.0.1:1"}
    sent = attrs.make_class("Sent", ["method", "target", "headers", "body"])
    method, target = exchange.request_line.split(" ")
    body = PICTURES.fill(exchange.request_body, **words)
    headers = {n: PICTURES.fill(v, **words).decode() for n, v in exchange.request_headers.items()}
    headers["content-length"] = str(len(body))
    server.requests = [sent(method, target, headers, body)]
    check_request(server, 0, exchange, key)
    for wrong in (
        sent(method, target, headers, body + b" "),
        sent(method, f"{target}/", headers, body),
        sent(method, target, headers | {"api-key": key, "authorization": key}, body),
    ):
        server.requests = [wrong]
        with pytest.raises(AssertionError):
            check_request(server, 0, exchange, key)
