from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from imagesdk.errors import ConnectError, ResponseInterruptedError, ServerError, TransportError
from imagesdk.inputs import resolve
from imagesdk.models.families import CLASSIC
from imagesdk.models.requests import GenerateRequest, VariationRequest
from imagesdk.protocol.encode import WireRequest, encode
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time
from imagesdk.transport.base import Progress

Png = Callable[..., bytes]


def _request() -> WireRequest:
    return encode(GenerateRequest("a fox"), CLASSIC, [], boundary="b")


async def _play(transport: ScriptedTransport, progress: Progress | None = None) -> bytes:
    sending = transport.send(_request(), credentials={"k": "v"}, progress=progress or Progress())
    body = b""
    async with sending as reply:
        while piece := await reply.read():
            body += piece
    return body


def test_answers_in_order() -> None:
    """Answers come in order, after their delay, in pieces; what was sent is kept."""
    transport = ScriptedTransport(
        [ScriptedAnswer({"a": 1}, delay=30.0), ScriptedAnswer(b"12345", chunk_bytes=2)]
    )

    async def main() -> tuple[bytes, bytes, float]:
        first, now = await _play(transport), asyncio.get_running_loop().time()
        return first, await _play(transport), now

    with virtual_time() as runner:
        first, second, now = runner.run(main())
    assert (first, second, round(now)) == (b'{"a":1}', b"12345", 30)
    assert [(r.method, r.url, r.json) for r in transport.requests] == [
        ("POST", "images/generations", {"prompt": "a fox"})
    ] * 2
    assert transport.requests[0].credentials == {"k": "v"}
    assert (transport.requests[0].at, transport.open) == (0.0, 0)


async def test_failures() -> None:
    """Exceptions of the script are raised as copies, with the phase they happened in."""
    refused, failed = ConnectError("no"), ServerError("boom", status=500)
    transport = ScriptedTransport([refused, failed])
    progress = Progress()
    with pytest.raises(ConnectError) as caught:
        await _play(transport, progress)
    assert caught.value is not refused
    assert progress.phase == "connect"
    with pytest.raises(ServerError):
        await _play(transport, progress)
    assert (progress.phase, transport.open) == ("receive", 0)


async def test_broken_connection() -> None:
    """break_after cuts the body and then breaks the connection."""
    transport = ScriptedTransport([ScriptedAnswer(b"12345", break_after=3, chunk_bytes=2)])
    async with transport.send(_request(), credentials={}, progress=Progress()) as reply:
        assert transport.open == 1
        assert (await reply.read(), await reply.read()) == (b"12", b"3")
        with pytest.raises(ResponseInterruptedError) as caught:
            await reply.read()
    assert isinstance(caught.value, TransportError)
    assert (caught.value.phase, caught.value.status, transport.open) == ("receive", 200, 0)


def test_pieces_take_time() -> None:
    """chunk_delay passes before each piece after the first, and neither before nor after them."""
    transport = ScriptedTransport(
        [ScriptedAnswer(b"12345", delay=1.0, chunk_bytes=2, chunk_delay=10.0)]
    )

    async def main() -> list[tuple[bytes, int]]:
        loop = asyncio.get_running_loop()
        pieces: list[tuple[bytes, int]] = []
        async with transport.send(_request(), credentials={}, progress=Progress()) as reply:
            while not pieces or pieces[-1][0]:
                pieces.append((await reply.read(), round(loop.time())))
        return pieces

    with virtual_time() as runner:
        assert runner.run(main()) == [(b"12", 1), (b"34", 11), (b"5", 21), (b"", 21)]


async def test_function_and_uploads(png: Png) -> None:
    """A function may answer by the request, which holds the whole upload."""

    def answer(sent: SentRequest) -> ScriptedAnswer:
        return ScriptedAnswer(str(len(sent.body)).encode(), status=201)

    transport = ScriptedTransport(answer)
    entry = await resolve("image", png())
    wire = encode(VariationRequest(png()), CLASSIC, [entry.file], boundary="b")
    async with transport.send(wire, credentials={}, progress=Progress()) as reply:
        assert (reply.status, await reply.read()) == (201, str(wire.body.size_bytes).encode())  # type: ignore[union-attr]
    assert png() in transport.requests[0].body
    await transport.aclose()
    assert transport.closed
