"""Odd ways to speak HTTP, over a bare socket: served, or refused in the API's words, and never 5xx."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imagesdk.emulator.server import EmulatorServer

KEY = b"Authorization: Bearer sk-test-1\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"prompt": "a fox", "size": "256x256"}'


@pytest.fixture
async def server() -> AsyncIterator[EmulatorServer]:
    """A server without a limit."""
    async with EmulatorServer(images_per_minute=None) as running:
        yield running


async def exchange(
    server: EmulatorServer, *pieces: bytes, waits: bytes = b""
) -> tuple[bytes, bytes]:
    """Send pieces, the second one only when the server has sent *waits*; return what it sent then.

    Returns:
        Head and body of the answer.
    """
    host, _, port = server.base_url.removeprefix("http://").partition("/")[0].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(pieces[0])
        if waits:
            assert await asyncio.wait_for(reader.readexactly(len(waits)), 10) == waits
        for piece in pieces[1:]:
            writer.write(piece)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
        body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
    finally:
        writer.close()
    return head, body


def request(version: bytes, *headers: bytes, body: bytes = BODY) -> bytes:
    """Return a request for a picture."""
    start = b"POST /v1/images/generations " + version + b"\r\nHost: x\r\n"
    return start + KEY + b"".join(headers) + b"\r\n" + body


LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@pytest.mark.parametrize(
    "sent",
    [
        request(b"HTTP/1.1", JSON, LENGTH),
        request(b"HTTP/1.0", JSON, LENGTH),
        request(
            b"HTTP/1.1",
            JSON,
            b"Transfer-Encoding: chunked\r\n",
            body=b"5\r\n"
            + BODY[:5]
            + b"\r\n%x;extension\r\n" % len(BODY[5:])
            + BODY[5:]
            + b"\r\n0\r\n\r\n",
        ),
        request(b"HTTP/1.1", b"content-TYPE:application/JSON ;  charset=UTF-8\r\n", LENGTH),
    ],
    ids=["plain", "http-1.0", "chunked", "spelling"],
)
async def test_every_way_to_send_a_request_is_served(server: EmulatorServer, sent: bytes) -> None:
    """A picture comes for HTTP/1.0, for chunks, and however headers are spelled."""
    head, body = await exchange(server, sent)
    assert b" 200 OK\r\n" in head
    assert json.loads(body)["data"][0]["url"].startswith("http://")


async def test_a_client_that_asks_first_is_told_to_go_on(server: EmulatorServer) -> None:
    """Expect: 100-continue gets its interim answer before the body."""
    head, _ = await exchange(
        server,
        request(b"HTTP/1.1", JSON, LENGTH, b"Expect: 100-continue\r\n", body=b""),
        BODY,
        waits=b"HTTP/1.1 100 Continue\r\n\r\n",
    )
    assert b" 200 OK\r\n" in head


GZIP = gzip.compress(BODY)


@pytest.mark.parametrize(
    ("encoding", "sent", "expected"),
    [
        (b"gzip", GZIP, 200),
        (b"GZip", GZIP, 200),
        (b"deflate", zlib.compress(BODY), 200),
        (b"identity", BODY, 200),
        (b"gzip", GZIP[:-4], 400),  # all of the JSON is there, and the end is not
        (b"gzip", GZIP + b"more", 400),
        (b"gzip", BODY, 400),
        (b"gzip", b"", 400),
        (b"br", BODY, 415),
        (b"gzip", gzip.compress(bytes(2_000_000)), 413),
    ],
)
async def test_a_packed_body_is_unpacked_as_a_whole(
    encoding: bytes, sent: bytes, expected: int
) -> None:
    """A body may be packed; one that is cut off, is none, or unpacks to too much is refused."""
    length = b"Content-Length: %d\r\n" % len(sent)
    async with EmulatorServer(images_per_minute=None, max_body_bytes=1_000_000) as server:
        headers = (JSON, length, b"Content-Encoding: " + encoding + b"\r\n")
        head, body = await exchange(server, request(b"HTTP/1.1", *headers, body=sent))
    if expected == 200:
        assert b" 200 OK\r\n" in head
    else:
        assert refused(head, body)[0] == expected


@pytest.mark.parametrize("path", [b"images/generations", b"models", b"files"])
async def test_another_expectation_is_refused_in_the_apis_words(
    server: EmulatorServer, path: bytes
) -> None:
    """What a client expects beyond that is 417 with an envelope, before any body."""
    start = b"POST" if path != b"models" else b"GET"
    sent = start + b" /v1/" + path + b" HTTP/1.1\r\nHost: x\r\n" + KEY + b"Expect: 200-ok\r\n\r\n"
    status, error = refused(*await exchange(server, sent))
    assert status == 417
    assert "'200-ok'" in error["message"]


def refused(head: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
    """Return status and error of a refusal."""
    error = json.loads(body)["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert b"x-request-id: req_" in head.lower()
    assert b"content-type: application/json" in head.lower()
    return int(head.split(b" ", 2)[1]), error


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"oh\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        request(b"HTTP/1.1", JSON, LENGTH, b"Transfer-Encoding: chunked\r\n"),
    ],
    ids=["header", "version", "nothing", "tls", "length", "long-header", "long-path", "smuggling"],
)
async def test_what_is_no_http_is_refused_in_the_apis_words(
    server: EmulatorServer, sent: bytes
) -> None:
    """A request that cannot be parsed gets 400 with an envelope."""
    status, error = refused(*await exchange(server, sent))
    assert status == 400
    assert error["message"]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"POST /v1/images/nothing", 404),
        (b"GET /v2", 404),
        (b"GET /v1/files/%00%ff", 404),
        (b"PATCH /v1/images/edits", 405),
        (b"QUERY /v1/models", 405),
    ],
)
async def test_unknown_routes_and_methods_are_refused_in_the_apis_words(
    server: EmulatorServer, line: bytes, status: int
) -> None:
    """What does not exist gets an envelope, too."""
    sent = line + b" HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
    assert refused(*await exchange(server, sent))[0] == status


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Type: multipart/form-data; boundary=x\r\n", b"garbage"),
        (b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\n\r\n\r\n--x--\r\n"),
        (b"Content-Type: multipart/form-data\r\n", b"--x--\r\n"),
        (b'Content-Type: multipart/form-data; boundary="\xff"\r\n', b"--\xff--\r\n"),
        (b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"no gzip"),
        (b"Content-Type: application/json\r\n", b"[" * 100_000),
        (b"Content-Type: \xff\r\n", b"{}"),
        (b"", b"{}"),
    ],
)
@pytest.mark.parametrize("path", [b"images/edits", b"images/generations", b"files", b"batches"])
async def test_garbage_in_a_body_is_refused(
    server: EmulatorServer, path: bytes, headers: bytes, body: bytes
) -> None:
    """Whatever a body is, the answer is 400 with an envelope."""
    length = b"Content-Length: %d\r\n" % len(body)
    start = b"POST /v1/" + path + b" HTTP/1.1\r\nHost: x\r\n" + KEY + length
    status, _ = refused(*await exchange(server, start + headers + b"\r\n" + body))
    assert status == 400
