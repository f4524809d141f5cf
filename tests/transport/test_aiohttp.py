from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import logging
import os
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

# No wheel holds the tests. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    InvalidImageError,
    InvalidRequestError,
    ProtocolError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.protocol.encode import BytesBody, WireRequest
from imagesdk.retry import RetryPolicy
from imagesdk.transport._aiohttp import AiohttpTransport
from imagesdk.transport.base import Progress, Transport, read_all
from tests.integration.fault_steps import hangs_after
from tests.integration.leaks import everything, logged
from tests.integration.raw_server import (
    GOOD,
    Connection,
    RawServer,
    Step,
    close_after_request,
    cut,
    good,
    hang,
    reset_after_request,
    reset_in_upload,
    reset_on_accept,
    says,
)

Png = Callable[..., bytes]
QUICK = RetryPolicy(3, backoff=0.001)


@asynccontextmanager
async def served(*steps: Step, **options: Any) -> AsyncIterator[tuple[RawServer, ImageSession]]:
    async with (
        RawServer(*steps) as server,
        ImageSession(base_url=server.url, **{"retry": QUICK, **options}) as images,
    ):
        yield server, images


@pytest.mark.parametrize("status", [0, 99, 101])
async def test_a_status_that_ends_nothing_is_no_success(status: int) -> None:
    """An answer below 200 is none to a request, whatever comes with it; the call may have been billed."""

    async def answer(connection: Connection) -> None:
        await connection.read()
        length = len(GOOD)
        head = f"HTTP/1.1 {status:03} X\r\nContent-Length: {length}\r\n\r\n"
        connection.writer.write(head.encode() + GOOD)

    error = await fails(answer)
    assert isinstance(error, ProtocolError)
    assert error.may_be_billed


async def fails(*steps: Step, **options: Any) -> Any:
    """Return the error of a generation."""
    async with served(*steps, **options) as (_, images):
        with pytest.raises(ImageSDKError) as caught:
            await images.generate("a fox")
    return caught.value


# What goes over the wire ---------------------------------------------------------------------


async def test_json_request(key: str) -> None:
    """A generation is a POST with JSON, the key, and an exact length."""
    async with served(good, api_key=key) as (server, images):
        response = await images.generate("a føx", n=2, partial="return")
        assert await response.data[0].read() == b"image"
    (request,) = server.requests
    assert request.target == "/v1/images/generations"
    assert json.loads(request.body) == {"prompt": "a føx", "n": 2}
    assert request.headers["authorization"] == f"Bearer {key}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("imagesdk/")
    assert "transfer-encoding" not in request.headers
    assert "cookie" not in request.headers


async def test_multipart_request(png: Png, tmp_path: Path) -> None:
    """An edit is a form of an exact length that another parser reads back."""
    mask = tmp_path / 'ma"sk.png'
    mask.write_bytes(png())
    async with served(good) as (server, images):
        await images.edit(io.BytesIO(png()), "a\r\n--fox ü", mask=mask, n=1)
    (request,) = server.requests
    assert "transfer-encoding" not in request.headers
    assert int(request.headers["content-length"]) == len(request.body)
    form = request.form()
    assert list(form) == ["prompt", "n", "image", "mask"]
    assert form["prompt"].get_payload(decode=True).decode() == "a\r\n--fox ü"
    assert form["image"].get_payload(decode=True) == form["mask"].get_payload(decode=True) == png()
    assert form["image"].get_content_type() == "image/png"
    assert form["image"].get_filename() == "image.png"
    assert form["mask"].get_filename() == "ma%22sk.png"


async def test_connection_is_used_again() -> None:
    """Calls that follow each other share a connection; one that the server closed is no error."""

    async def once(connection: Connection) -> None:
        await connection.read()
        connection.answer()
        connection.writer.close()

    async with served(good, good, once, good) as (server, images):
        for _ in range(4):
            response = await images.generate("a fox")
            assert len(response.attempts) == 1
            await asyncio.sleep(0.01)
    peers = [c.writer.get_extra_info("peername") for c in server.requests]
    assert peers[0] == peers[1] == peers[2]
    assert peers[3] != peers[0]


async def test_gzip() -> None:
    """A compressed answer is decoded, and a broken one is not half an image."""
    step = says(gzip.compress(GOOD), content_encoding="gzip")
    async with served(step) as (_, images):
        assert await (await images.generate("a fox")).data[0].read() == b"image"
    error = await fails(says(b"no gzip", content_encoding="gzip"))
    assert isinstance(error, ProtocolError)
    assert "cannot be unpacked: 400, message: Can not decode content-encoding: gzip" in str(error)
    assert [(a.outcome, a.status) for a in error.attempts] == [("unusable", 200)]
    error = await fails(*[says(b"no gzip", 500, content_encoding="gzip")] * 3)
    assert isinstance(error, ServerError)


async def test_signed_urls_are_kept() -> None:
    """A URL with a signature is asked for exactly as the server wrote it."""
    target = "/img%2Fa%20b.png?sig=a%2Bb%3D%2F&se=2023-01-01T00%3A00%3A00Z"
    async with served() as (server, images):
        url = server.url.removesuffix("/v1") + target
        server.steps += [says(json.dumps({"data": [{"url": url}]}).encode()), says(b"image")]
        response = await images.generate("a fox")
        assert await response.data[0].read() == b"image"
    assert server.requests[1].target == target


async def test_url_with_spaces() -> None:
    """A URL that is not encoded is encoded, so that it cannot break the request apart."""
    async with served() as (server, images):
        url = "/images/a b\r\nX-Evil: 1.png"
        server.steps += [says(json.dumps({"data": [{"url": url}]}).encode()), says(b"image")]
        await (await images.generate("a fox")).data[0].read()
    assert " " not in server.requests[1].target
    assert "x-evil" not in server.requests[1].headers


async def test_redirects_are_not_followed(key: str) -> None:
    """An API call follows no redirect: neither prompt nor key reach another server."""
    async with RawServer(good) as other:
        step = says(b"", 307, location=f"{other.url}/images/generations")
        error = await fails(step, api_key=key)
    assert isinstance(error, BadRequestError)
    assert (error.status, other.requests) == (307, [])
    assert "API calls follow no redirects: set base_url" in str(error)


async def test_nothing_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    """Proxies and passwords of the environment are not used: keys pass no machine nobody named."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with RawServer(says(b"image")) as store:
        step = _image_at(f"{store.url}/a.png")
        async with served(step, api_key=key) as (server, images):
            assert await (await images.generate("a fox")).data[0].read() == b"image"
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    assert "authorization" not in store.requests[0].headers


async def test_no_cookies() -> None:
    """Cookies of a server are not sent back."""
    async with served(says(set_cookie="a=b; Path=/"), good) as (server, images):
        await images.generate("a fox")
        await images.generate("a fox")
    assert "cookie" not in server.requests[1].headers


async def test_header_injection() -> None:
    """A header that would break the request apart is refused before anything is sent."""
    transport = AiohttpTransport()
    async with RawServer() as server:
        request = WireRequest(
            method="POST", path=server.url, headers={"X-A": "a\r\nX-B: b"}, body=None
        )
        with pytest.raises(InvalidRequestError, match="headers cannot be sent"):
            async with transport.send(request, credentials={}, progress=Progress()):
                pass
        assert server.requests == []
        await transport.aclose()


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/a", "http://[::1", "no url"])
async def test_impossible_urls(url: str) -> None:
    """What is no http URL is an invalid request."""
    transport = AiohttpTransport()
    request = WireRequest(method="GET", path=url, headers={}, body=None)
    with pytest.raises(InvalidRequestError):
        async with transport.send(request, credentials={}, progress=Progress()):
            pass
    await transport.aclose()


# Failures ------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


async def test_refused() -> None:
    """A connection that is refused was not sent, and is tried again."""
    async with ImageSession(base_url=f"http://127.0.0.1:{_free_port()}/v1", retry=QUICK) as images:
        with pytest.raises(
            ConnectError, match=r"no connection to http://127\S+: Conn.+ Is the"
        ) as caught:
            await images.generate("a fox")
        assert images.snapshot().used == 0
    assert [a.outcome for a in caught.value.attempts] == ["not_sent"] * 3
    assert isinstance(caught.value.__cause__, OSError)
    notes = [re.sub(r"[\d.]+ s", "… s", note) for note in caught.value.__notes__]
    assert notes == ["attempt 1: not_sent after … s", "attempt 2: not_sent after … s"]  # why: above


async def test_unknown_host() -> None:
    """A name that does not resolve is a ConnectError."""

    class Resolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise OSError(f"no address for {host}:{port} {family}")

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=Resolver())
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        ImageSession(base_url="http://images.test/v1", client_session=http, retry=QUICK) as images,
    ):
        with pytest.raises(ConnectError, match=r"images\.test"):
            await images.generate("a fox")
        assert not http.closed


async def test_connect_timeout() -> None:
    """A server that does not take the connection in time is a ConnectError."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)  # noqa: FBT003
            filler.connect_ex(listener.getsockname())
        await asyncio.sleep(0.01)
        transport = AiohttpTransport()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        request = WireRequest(method="GET", path=url, headers={}, body=None)
        progress = Progress()
        with pytest.raises(ConnectError, match="in time"):
            async with transport.send(
                request, credentials={}, progress=progress, connect_timeout=0.03
            ):
                pass
        assert progress.phase == "connect"
        await transport.aclose()
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("step", [reset_after_request, close_after_request])
async def test_lost_after_the_upload(step: Step) -> None:
    """A connection that is lost after the request was written is ambiguous: sent once more."""
    async with served(step, step, step) as (server, images):
        with pytest.raises(AmbiguousError) as caught:
            await images.generate("a fox")
    assert len(server.requests) == 2
    assert (
        server.requests[0].headers["idempotency-key"]
        == (server.requests[1].headers["idempotency-key"])
    )
    assert isinstance(caught.value.__cause__, ResponseInterruptedError)
    assert caught.value.may_be_billed
    async with served(step) as (_, images):
        response = await images.generate("a fox")
    assert [a.outcome for a in response.attempts] == ["ambiguous", "ok"]


KINDS: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, _: data,
    "path": lambda _, path: path,
    "BytesIO": lambda data, _: io.BytesIO(data),
    "file": lambda _, path: path.open("rb"),
}


@pytest.mark.parametrize("step", [reset_in_upload, reset_on_accept])
@pytest.mark.parametrize("kind", KINDS)
async def test_reset_in_the_upload(kind: str, step: Step, tmp_path: Path) -> None:
    """After a reset in mid-upload the whole body is sent again, and nothing may be billed."""
    data = os.urandom(12_000_000)
    path = tmp_path / "big.png"
    await asyncio.to_thread(path.write_bytes, data)
    image = await asyncio.to_thread(KINDS[kind], data, path)
    async with served(step, good, validate="off") as (server, images):
        response = await images.create_variation(image)
    assert [a.outcome for a in response.attempts] == ["not_sent", "ok"]
    assert server.requests[1].form()["image"].get_payload(decode=True) == data
    if kind == "file":
        assert not image.closed
        image.close()


async def test_file_that_shrinks_between_attempts(tmp_path: Path) -> None:
    """A file that was cut between two attempts ends the call with an error about the file."""
    path = tmp_path / "big.png"
    await asyncio.to_thread(path.write_bytes, bytes(12_000_000))

    async def shrink(connection: Connection) -> None:
        await reset_in_upload(connection)
        await asyncio.to_thread(os.truncate, path, 1000)

    async with served(shrink, validate="off") as (server, images):
        with pytest.raises(InvalidImageError, match=r"became shorter: 1,000 of 12,000,000"):
            await images.create_variation(path)
        assert (await images.generate("a fox")).data  # the session is fit
    assert all(len(request.body) < 12_000_000 for request in server.requests)


@pytest.mark.parametrize(
    "step",
    [
        cut(GOOD[:20], content_length=str(len(GOOD))),
        cut(b"5\r\nabcde\r\n", transfer_encoding="chunked", content_length=""),
    ],
    ids=["length", "chunked"],
)
async def test_truncated_body(step: Step) -> None:
    """An answer that breaks off is never half an image; it is ambiguous."""
    error = await fails(step, step)
    assert isinstance(error, AmbiguousError)
    assert isinstance(error.__cause__, ResponseInterruptedError)
    assert error.__cause__.phase == "receive"


async def test_wrong_length() -> None:
    """An answer that is longer than its length is no HTTP; its connection is not used again."""
    step = cut(GOOD, content_length=str(len(GOOD) - 5))
    async with served(step, good) as (_, images):
        with pytest.raises(ProtocolError, match=r"is no valid HTTP: .*Bad status line") as caught:
            await images.generate("a fox")
        assert [a.outcome for a in caught.value.attempts] == ["unusable"]
        response = await images.generate("a fox")
    assert await response.data[0].read() == b"image"


async def test_get_that_is_cut_off() -> None:
    """A request without a body, a download, that is cut off may be sent again at will."""
    async with RawServer(*[reset_on_accept] * 3) as server:  # aiohttp asks twice itself
        transport = AiohttpTransport()
        request = WireRequest(method="GET", path=server.url, headers={}, body=None)
        with pytest.raises(ConnectError, match="was lost before anything was sent"):
            async with transport.send(request, credentials={}, progress=Progress()):
                pass
        await transport.aclose()


async def test_hang() -> None:
    """A server that does not answer in time is left alone: it is still working, and bills."""
    policy = RetryPolicy(3, attempt_timeout=0.04)
    async with served(hang, hang, retry=policy) as (server, images):
        with pytest.raises(RequestTimeoutError) as caught:
            await images.generate("a fox")
    assert [a.outcome for a in caught.value.attempts] == ["still_running"]
    await asyncio.sleep(0)
    assert len(server.requests) <= 1


async def test_timeouts_of_a_borrowed_session() -> None:
    """A read timeout is told apart from a broken connection, wherever it comes from."""
    async with (
        RawServer(hang) as server,
        aiohttp.ClientSession() as http,
    ):
        transport = AiohttpTransport(http)
        body = BytesBody(content_type="text/plain", data=b"x")
        request = WireRequest(method="POST", path=server.url, headers={}, body=body)
        progress = Progress()
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(0.03),
                transport.send(request, credentials={}, progress=progress),
            ):
                pass
        assert progress.phase == "receive"


async def test_unread_answer_drops_the_connection() -> None:
    """Leaving an answer unread closes its connection, and the next request works."""
    async with RawServer(says(bytes(3_000_000)), good) as server:
        transport = AiohttpTransport()
        request = WireRequest(method="GET", path=server.url, headers={}, body=None)
        async with transport.send(request, credentials={}, progress=Progress()) as reply:
            assert await reply.read()
        async with transport.send(request, credentials={}, progress=Progress()) as reply:
            assert await read_all(reply, 1000) == GOOD
        await transport.aclose()
    peers = [c.writer.get_extra_info("peername") for c in server.requests]
    assert peers[0] != peers[1]


@pytest.fixture(scope="module")
def self_signed() -> ssl.SSLContext:
    """A TLS context with a certificate of an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_self_signed(self_signed: ssl.SSLContext, key: str) -> None:
    """A certificate that nobody vouches for ends the connection before the key is sent."""
    async with (
        RawServer(good, tls=self_signed) as server,
        ImageSession(base_url=server.url, api_key=key, retry=QUICK) as images,
    ):
        with pytest.raises(ConnectError, match="cannot be trusted") as caught:
            await images.generate("a fox")
    assert server.requests == []
    assert caught.value.attempts[0].outcome == "not_sent"


async def test_tls_to_a_server_without(key: str) -> None:
    """Who writes https:// where http:// is spoken is told so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = "https://{}:{}/v1".format(*server.sockets[0].getsockname())
        async with ImageSession(base_url=url, api_key=key, retry=QUICK) as images:
            with pytest.raises(ConnectError, match="plain HTTP, base_url begins with http://"):
                await images.generate("a fox")


async def test_self_signed_images(self_signed: ssl.SSLContext) -> None:
    """Images are fetched from whom somebody vouches for, no less than answers."""
    async with (
        RawServer(says(b"image"), tls=self_signed) as store,
        served(_image_at(f"{store.url}/a.png")) as (_, images),
    ):
        response = await images.generate("a fox")
        transport = images._pipeline.transport
        with pytest.raises(ConnectError, match="cannot be trusted"):
            await _fetch(transport, response.data[0].url)
    assert store.requests == []


async def test_plain_http_where_tls_is_expected() -> None:
    """TLS to a server that speaks plain HTTP is a ConnectError."""

    async def no_tls(connection: Connection) -> None:
        await connection.reader.read(10)
        connection.answer(b"", 400)
        connection.writer.close()

    async with RawServer(*[no_tls] * 3) as server:
        url = server.url.replace("http://", "https://")
        async with ImageSession(base_url=url, retry=QUICK) as images:
            with pytest.raises(ConnectError):
                await images.generate("a fox")


# Receiving -----------------------------------------------------------------------------------


async def test_small_pieces_until_the_answer_is_there() -> None:
    """What malloc has at hand is asked of the socket for what may be small, and more for what is not."""
    asked: list[int] = []

    class Noting(socket.socket):
        def recv(self, size: int, flags: int = 0, /) -> bytes:
            asked.append(size)
            return super().recv(size, flags)

    large = 3_000_000

    async def answer_at_length(connection: Connection) -> None:
        await connection.read()
        connection.answer(GOOD + b" " * large)

    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=lambda info: Noting(*info[:3]))
        ) as http,
        served(good, answer_at_length, good, client_session=http) as (_, images),
    ):
        await images.generate("a fox")
        assert asked == [64 * 1024]
        asked.clear()
        await images.generate("a fox")
        assert (asked[0], asked[-1]) == (64 * 1024, 256 * 1024)
        assert asked.count(64 * 1024) < 4
        asked.clear()
        await images.generate("a fox")
        assert asked == [64 * 1024]


# Sessions ------------------------------------------------------------------------------------


async def test_borrowed_session_stays_open() -> None:
    """A session that was lent is used and not closed."""
    async with RawServer(good, good) as server, aiohttp.ClientSession() as http:
        async with ImageSession(base_url=server.url, client_session=http) as images:
            await images.generate("a fox")
        assert not http.closed
        async with http.get(server.url) as answer:
            assert answer.status == 200


async def test_own_session_is_closed() -> None:
    """A session of our own is closed: nothing is left for the garbage collector to complain of."""
    async with served(good) as (_, images):
        await images.generate("a fox")
    gc.collect()
    await images.aclose()  # once more does no harm


# Where images are ------------------------------------------------------------------------------


def _image_at(url: str) -> Step:
    return says(json.dumps({"data": [{"url": url}]}).encode())


async def _fetch(transport: Transport, url: str | None) -> bytes:
    """Ask for what a server named, as a download does."""
    request = WireRequest(method="GET", path=url or "", headers={}, body=None)
    async with transport.send(request, credentials={}, progress=Progress(), foreign=True) as reply:
        return bytes(await read_all(reply, 1000))


async def test_a_url_with_a_password_is_shown_without_it() -> None:
    """What a URL holds for its server is in no message, whatever fails."""
    transport = AiohttpTransport()
    with pytest.raises(ImageSDKError, match=r"http://\*\*\*@\[::1\]:1/v1 is at") as caught:
        await _fetch(transport, "http://me:hunter2@[::1]:1/v1?sig=secret")
    assert not re.search("hunter2|secret", repr(caught.value) + repr(caught.value.__cause__))
    await transport.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_not_fetched(host: str) -> None:
    """A URL that a public server named leads to no private address, under whatever name."""
    async with RawServer(says(b"secret")) as server:
        transport = AiohttpTransport()
        url = server.url.replace("127.0.0.1", host)
        with pytest.raises(ProtocolError, match="is at a private address"):
            await _fetch(transport, f"{url}/a.png?sig=x")
        assert server.requests == []
        await transport.aclose()


async def test_metadata_are_not_fetched() -> None:
    """Where clouds keep credentials nothing is fetched, not even for a server on this machine."""
    async with served(_image_at("http://169.254.169.254/latest/meta-data/")) as (_, images):
        response = await images.generate("a fox")
        with pytest.raises(ProtocolError, match=r"169\.254.* is at a private address"):
            await response.data[0].read()


async def test_images_beside_a_local_server() -> None:
    """A server at a private address may name another port of its network."""
    async with RawServer(says(b"image")) as store:
        url = f"{store.url}/a.png"
        async with served(_image_at(url)) as (_, images):
            assert await (await images.generate("a fox")).data[0].read() == b"image"
    (request,) = store.requests
    assert "authorization" not in request.headers


async def test_redirect_to_a_private_address() -> None:
    """A redirect is no way around."""
    step = says(b"", 302, location="http://169.254.169.254/")
    async with RawServer(step) as store, served(_image_at(f"{store.url}/a.png")) as (_, images):
        response = await images.generate("a fox")
        with pytest.raises(ProtocolError, match=r"169\.254.* is at a private address"):
            await response.data[0].read()


async def test_rebinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the address that is connected to, however often a name changes what it says."""
    answers = ["8.8.8.8", "127.0.0.1"]
    connected: list[Any] = []
    async with RawServer(says(b"secret")) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        loop = asyncio.get_running_loop()

        async def resolve(*_: Any, **__: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

        async def connect(_: socket.socket, address: Any) -> None:
            connected.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        monkeypatch.setattr(loop, "sock_connect", connect)
        for kind in (ConnectError, ProtocolError):
            transport = AiohttpTransport()
            with pytest.raises(kind):
                await _fetch(transport, f"http://images.example:{port}/a.png")
            await transport.aclose()
        assert server.requests == []
    assert connected == [("8.8.8.8", port)]


async def test_a_name_with_several_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is refused as one address is, however many it has."""

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        addresses = ("127.0.0.1", "10.0.0.1", "192.168.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    transport = AiohttpTransport()
    with pytest.raises(ProtocolError, match="is at a private address"):
        await _fetch(transport, "http://images.example/a.png")
    await transport.aclose()


async def test_a_borrowed_session_goes_where_its_owner_says() -> None:
    """With a session of the caller's own, its connector decides what can be reached."""
    async with RawServer(says(b"image")) as server, aiohttp.ClientSession() as http:
        assert await _fetch(AiohttpTransport(http), server.url) == b"image"


# Secrets -------------------------------------------------------------------------------------


def _echo(status: int) -> Step:
    """Answer with the key that came in, as some servers do."""

    async def step(connection: Connection) -> None:
        await connection.read()
        bearer = connection.headers["authorization"]
        body = json.dumps({"error": {"message": f"Incorrect key: {bearer}", "code": bearer}})
        connection.answer(body.encode(), status, x_request_id=bearer, x_echo=bearer)

    return step


async def _echo_garbage(connection: Connection) -> None:
    await connection.read()
    connection.answer(f"<p>{connection.headers['authorization']}</p>".encode())


async def _echo_no_http(connection: Connection) -> None:
    await connection.read()
    connection.writer.write(f"HTTP {connection.headers['authorization']}\r\n\r\n".encode())


async def _echo_items(connection: Connection) -> None:
    await connection.read()
    connection.answer(json.dumps({"data": [connection.headers["authorization"]]}).encode())


LEAKS: dict[str, tuple[Step, type[ImageSDKError]]] = {
    "reset": (reset_after_request, AmbiguousError),
    "reset on accept": (reset_on_accept, ImageSDKError),
    "truncated": (cut(GOOD[:9], content_length="99"), AmbiguousError),
    "no HTTP": (cut(b"", content_length="x"), ImageSDKError),
    "hang": (hang, RequestTimeoutError),
    "redirect": (says(b"", 302, location="http://127.0.0.1:9/"), BadRequestError),
    "401 echo": (_echo(401), AuthenticationError),
    "500 echo": (_echo(500), ServerError),
    "200 echo": (_echo(200), ImageSDKError),
    "garbage echo": (_echo_garbage, ProtocolError),
    "no HTTP echo": (_echo_no_http, ProtocolError),
    "items echo": (_echo_items, ProtocolError),
}


@pytest.mark.parametrize("name", LEAKS)
async def test_key_is_never_shown(name: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """No failure shows the key: not in text, chain, locals of frames, pickles or debug logs."""
    caplog.set_level(logging.DEBUG)
    step, kind = LEAKS[name]
    policy = RetryPolicy(2, backoff=0.001, attempt_timeout=0.04 if name == "hang" else None)
    async with served(step, step, api_key=key, retry=policy) as (_, images):
        with pytest.raises(kind) as caught:
            await images.generate("a fox", n=1)
        assert key not in repr(images)
        assert key not in repr(images._pipeline)
        assert key not in repr(images._runner.endpoint)
    assert "generate" in everything(caught.value)
    assert key not in everything(caught.value)
    assert key not in logged(caplog.records)


async def test_key_is_not_shown_when_refused(
    key: str, self_signed: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that never came to be shows no key either."""
    caplog.set_level(logging.DEBUG)
    async with RawServer(good, tls=self_signed) as server:
        for url in (server.url, f"http://127.0.0.1:{_free_port()}/v1"):
            async with ImageSession(base_url=url, api_key=key, retry=QUICK) as images:
                with pytest.raises(ConnectError) as caught:
                    await images.generate("a fox")
            assert key not in everything(caught.value)
    assert key not in caplog.text


@pytest.mark.parametrize("borrowed", [False, True])
async def test_close_ends_who_reads(borrowed: bool) -> None:  # noqa: FBT001
    """Who reads an answer when the transport is closed hears of it at once."""
    async with (
        RawServer(hangs_after(b"half")) as server,
        aiohttp.ClientSession() as http,
    ):
        transport = AiohttpTransport(http if borrowed else None)
        request = WireRequest(method="GET", path=server.url, headers={}, body=None)
        async with transport.send(request, credentials={}, progress=Progress()) as reply:
            assert await reply.read() == b"half"
            reading = asyncio.ensure_future(reply.read())
            await asyncio.sleep(0)
            async with asyncio.timeout(1.0):
                await transport.aclose()
                with pytest.raises(ResponseInterruptedError, match="the session was closed"):
                    await reading
        assert transport._own.replies == set()


async def test_debugging_words() -> None:
    """What aiohttp may print of a body is its length, not its content."""
    from imagesdk.transport._aiohttp import _BodyPayload

    payload = _BodyPayload(BytesBody(content_type="text/plain", data=b"secret"), Progress())
    assert payload.decode() == "<body of 6 bytes>"


async def test_nothing_is_sent_after_close() -> None:
    """A closed transport opens no new session of its own."""
    transport = AiohttpTransport()
    await transport.aclose()
    request = WireRequest(method="GET", path="http://127.0.0.1:9/", headers={}, body=None)
    with pytest.raises(ConfigurationError, match="the session is closed"):
        async with transport.send(request, credentials={}, progress=Progress()):
            pass
