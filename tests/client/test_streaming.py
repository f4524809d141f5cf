"""Streams: their events, their end, and what happens to permit and connection on each way out."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import pickle
import re
import weakref
from collections.abc import Awaitable, Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import Image as Pillow

from imagesdk import (
    AmbiguousError,
    CompletedImage,
    ConfigurationError,
    ImageLimiter,
    ImageSDKError,
    ImageSession,
    ImageStream,
    InvalidRequestError,
    ModerationError,
    PartialImage,
    PartialResultError,
    ProtocolError,
    RequestTimeoutError,
    ResponseInterruptedError,
    RetryPolicy,
    StreamIncompleteError,
)
from imagesdk.events import Admitted, Attempted, Done, Event, Failed, Partial, Started, Throttled
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time
from imagesdk.testing.scripted import Step

T = TypeVar("T")
E = TypeVar("E", bound=ImageSDKError)
SSE = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_1"}


def picture(width: int) -> bytes:
    buffer = BytesIO()
    Pillow.new("RGB", (width, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def event(kind: str, width: int, **fields: object) -> bytes:
    """Return an event as a server sends it."""
    b64 = base64.b64encode(picture(width)).decode()
    data = {"type": f"image_generation.{kind}", "b64_json": b64, **fields}
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


FIRST = event("partial_image", 8, partial_image_index=0)
SECOND = event("partial_image", 16, partial_image_index=1)
LAST = event("completed", 24, created_at=7, usage={"total_tokens": 3}, quality="low")
WHOLE = FIRST + SECOND + LAST


def sse(body: bytes, **options: Any) -> ScriptedAnswer:
    return ScriptedAnswer(body, headers=SSE, **options)


def slow(*events: bytes, **options: Any) -> ScriptedAnswer:
    """Events of one size, ten seconds apart."""
    size = max(map(len, events))
    body = b"".join(b":" * (size - len(e) - 1) + b"\n" + e if len(e) < size else e for e in events)
    return sse(body, chunk_bytes=size, chunk_delay=10.0, **options)


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def session(script: Iterable[Step], **options: Any) -> tuple[ImageSession, ScriptedTransport]:
    transport = ScriptedTransport(script)
    options = {"model": "gpt-image-2"} | options
    return ImageSession(base_url="http://server/v1", transport=transport, **options), transport


def widths(events: Iterable[PartialImage | CompletedImage]) -> list[int | None]:
    return [event.image.width for event in events]


async def collect(stream: ImageStream) -> list[PartialImage | CompletedImage]:
    async with stream as events:
        return [event async for event in events]


async def fail(stream: ImageStream, error: type[E], wait: float = 0.0) -> tuple[list[Any], E]:
    """Return the events before the error, and the error; after it the stream is at its end."""
    got = []

    async def read() -> None:
        async for one in stream:
            got.append(one)
            await asyncio.sleep(wait)

    with pytest.raises(error) as caught:
        await read()
    assert [one async for one in stream] == []
    return got, caught.value


def test_the_events_of_a_stream() -> None:
    """Partial images with index and bytes come first, then one completed image with its usage."""

    async def main() -> None:
        images, transport = session([sse(WHOLE)])
        async with images:
            first, second, last = await collect(images.stream_generate("a fox", partial_images=2))
            assert isinstance(first, PartialImage)
            assert isinstance(second, PartialImage)
            assert isinstance(last, CompletedImage)
            assert (first.index, second.index) == (0, 1)
            assert first.bytes == await first.image.read() == picture(8)
            assert first.image.mime_type == "image/png"
            assert await last.image.read() == picture(24)
            assert last.usage == {"total_tokens": 3}
            assert last.response.data == (last.image,)
            assert (last.response.created, last.response.quality) == (7, "low")
            assert last.response.request_id == "req_1"
            assert [a.outcome for a in last.response.attempts] == ["ok"]
        (sent,) = transport.requests
        assert sent.json == {
            "model": "gpt-image-2",
            "prompt": "a fox",
            "stream": True,
            "partial_images": 2,
        }
        assert sent.headers["Accept"] == "text/event-stream, application/json"

    run(main)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 65_536])
def test_any_pieces_and_a_plain_loop(chunk_bytes: int) -> None:
    """The pieces in which the stream arrives do not matter; ``async for`` alone is enough."""

    async def main() -> None:
        images, _ = session([sse(b"\xef\xbb\xbf: hi\r\n\r\n" + WHOLE, chunk_bytes=chunk_bytes)])
        async with images:
            got = [one async for one in images.stream_generate("a fox")]
            assert widths(got) == [8, 16, 24]
            await asyncio.sleep(0)
            assert not images._streams

    run(main)


def test_every_parameter_is_sent() -> None:
    """What is given arrives on the wire under its own name; partial_images=0 is something."""

    async def main() -> None:
        given: dict[str, Any] = {
            "model": "gpt-image-2.6",
            "size": "1024x1024",
            "quality": "low",
            "background": "opaque",
            "output_format": "webp",
            "output_compression": 50,
            "complexity": "low",
            "safety_identifier": "me",
            "user": "you",
            "partial_images": 0,
        }
        extra: dict[str, Any] = {
            "extra_body": {"seed": 7},
            "extra_headers": {"X-A": "b"},
            "timeout": 5.0,
            "max_wait": 1.0,
            "priority": "batch",
        }
        images, transport = session([sse(LAST), sse(LAST)])
        async with images:
            await collect(images.stream_generate("a fox", moderation="low", **given, **extra))
            edit = images.stream_edit(
                [picture(8), picture(8)],
                "a fox",
                model="gpt-image-1.5",
                input_fidelity="high",
                partial_images=1,
            )
            assert widths(await collect(edit)) == [24]
        generated, edited = transport.requests
        assert generated.json == {
            "prompt": "a fox", "moderation": "low", "stream": True, "seed": 7, **given,
        }  # fmt: skip
        assert generated.headers["X-A"] == "b"
        assert edited.url.endswith("/images/edits")
        for name, value in (
            ("stream", "true"),
            ("partial_images", "1"),
            ("input_fidelity", "high"),
        ):
            assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in edited.body

    run(main)


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (None, {}, "a model that streams"),
        ("dall-e-3", {}, "dall-e-3 does not; choose a GPT Image model"),
        ("gpt-image-2", {"partial_images": 4}, "partial_images is 4; .* from 0 to 3"),
        ("gpt-image-2", {"partial_images": True}, "partial_images is True"),
        ("mine", {"partial_images": -1}, "from 0 up"),
        ("gpt-image-2", {"output_format": "gif"}, "gif is not streamed"),
        ("gpt-image-2", {"extra_body": {"stream": False}}, "stream_generate"),
        ("gpt-image-2", {"extra_body": {"partial_images": 1}}, "as an argument"),
        ("gpt-image-2", {"extra_body": {"n": 2}}, "n: pass it as an argument"),
        ("gpt-image-2", {"prompt": ""}, "prompt"),
    ],
)
def test_what_cannot_be_streamed_is_not_sent(
    model: str | None, fields: dict[str, Any], words: str
) -> None:
    """A model without streams, too many partial images, an animation: an error before anything is sent."""

    async def main() -> None:
        images, transport = session([], model=model)
        async with images:
            stream = images.stream_generate(**({"prompt": "a fox"} | fields))
            got, error = await fail(stream, InvalidRequestError)
        assert (got, transport.requests) == ([], [])
        assert re.search(words, str(error))

    run(main)


def test_any_number_of_partials_of_an_unknown_model() -> None:
    """What a server takes that this package does not know is for the server to say."""

    async def main() -> None:
        images, transport = session([sse(LAST)], model="mine")
        async with images:
            assert widths(await collect(images.stream_generate("x", partial_images=9))) == [24]
        assert transport.requests[0].json["partial_images"] == 9

    run(main)


def test_a_json_answer_is_accepted() -> None:
    """A server that does not stream brings the completed image alone, whatever type it names."""

    async def main() -> None:
        data = {"created": 9, "data": [{"b64_json": base64.b64encode(picture(5)).decode()}]}
        for headers in ({}, {"content-type": "application/json"}, {"content-type": "text/plain"}):
            images, _ = session([ScriptedAnswer(data, headers=headers, chunk_bytes=9)])
            async with images:
                (last,) = await collect(images.stream_generate("a fox"))
            assert isinstance(last, CompletedImage)
            assert (last.image.width, last.response.created, last.usage) == (5, 9, None)

    run(main)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json"])
def test_a_stream_is_known_by_its_first_bytes(kind: str) -> None:
    """A server that gives a stream another content type is understood."""

    async def main() -> None:
        images, _ = session([ScriptedAnswer(WHOLE, headers={"content-type": kind})])
        async with images:
            assert widths(await collect(images.stream_generate("a fox"))) == [8, 16, 24]

    run(main)


def test_a_page_instead_of_a_stream() -> None:
    """Something else is a ProtocolError that keeps it, and is not sent again."""

    async def main() -> None:
        images, transport = session([ScriptedAnswer(b"<html>hello")])
        async with images:
            _, error = await fail(images.stream_generate("a fox"), ProtocolError)
        assert error.body == b"<html>hello"
        assert len(transport.requests) == 1

    run(main)


@pytest.mark.parametrize("cut", [len(FIRST), len(FIRST) + 40, len(FIRST + SECOND) + 30])
@pytest.mark.parametrize("clean", [True, False])
def test_a_stream_that_ends_early(cut: int, clean: bool) -> None:  # noqa: FBT001
    """A stream without its completed image is never sent again; its error has the last partial."""

    async def main() -> None:
        answer = sse(WHOLE[:cut]) if clean else sse(WHOLE, break_after=cut)
        images, transport = session([answer])
        async with images:
            got, error = await fail(images.stream_generate("a fox"), StreamIncompleteError)
        assert len(transport.requests) == 1
        assert transport.open == 0
        assert widths(got) == ([8] if cut < len(FIRST + SECOND) else [8, 16])
        assert error.partial is not None
        assert error.partial is got[-1]
        assert error.may_be_billed
        assert [a.outcome for a in error.attempts] == ["unusable"]
        assert isinstance(error.__cause__, ResponseInterruptedError) is not clean
        assert getattr(error.__cause__, "__traceback__", None) is None  # it holds the raw stream
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (copy.partial.index, copy.partial.bytes) == (error.partial.index, got[-1].bytes)

    run(main)


def test_before_the_first_event_a_stream_is_sent_again() -> None:
    """Refused, unavailable, broken off: as any call; events come from the attempt that succeeds."""

    async def main() -> None:
        script = [
            ScriptedAnswer(b"", status=503),
            sse(b": hello\n\n" + WHOLE, break_after=30),
            sse(WHOLE),
        ]
        images, transport = session(script)
        async with images:
            got = await collect(images.stream_generate("a fox"))
        assert widths(got) == [8, 16, 24]
        last = got[-1]
        assert isinstance(last, CompletedImage)
        assert [a.outcome for a in last.response.attempts] == ["failed", "ambiguous", "ok"]
        keys = {sent.headers["Idempotency-Key"] for sent in transport.requests}
        assert len(keys) == 1

        images, transport = session([sse(WHOLE, break_after=0)] * 2)
        async with images:
            await fail(images.stream_generate("a fox"), AmbiguousError)
        assert len(transport.requests) == 2

    run(main)


def test_a_429_waits_in_the_queue() -> None:
    """A stream that is refused keeps its place, and is sent again when the server says."""
    told: list[Event] = []

    async def main() -> None:
        refused = ScriptedAnswer(
            {"error": {"message": "slow"}}, status=429, headers={"retry-after": "20"}
        )
        images, transport = session([refused, sse(WHOLE)], on_event=told.append)
        async with images:
            assert widths(await collect(images.stream_generate("a fox"))) == [8, 16, 24]
        assert transport.requests[1].at - transport.requests[0].at >= 20

    run(main)
    assert any(isinstance(e, Throttled) for e in told)


def test_an_error_event_is_raised() -> None:
    """An error in the stream is the server's refusal; it may be billed and is never sent again."""

    async def main() -> None:
        error = {"message": "no", "code": "moderation_blocked"}
        body = FIRST + f"event: error\ndata: {json.dumps({'error': error})}\n\n".encode()
        for text, partials in ((body, [8]), (body[len(FIRST) :], [])):
            images, transport = session([sse(text)])
            async with images:
                got, refused = await fail(images.stream_generate("a fox"), ModerationError)
            assert widths(got) == partials
            assert (refused.status, refused.may_be_billed) == (200, True)
            assert len(transport.requests) == 1

    run(main)


def test_a_broken_partial_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """A partial image that is no base64 is logged, and the others come."""

    async def main() -> None:
        broken = b'data: {"type":"image_edit.partial_image","b64_json":"?"}\n\n'
        images, _ = session([sse(broken + SECOND + LAST)])
        async with images:
            assert widths(await collect(images.stream_generate("a fox"))) == [16, 24]

    with caplog.at_level(logging.WARNING, "imagesdk"):
        run(main)
    (record,) = caplog.records
    assert "passed over: a partial image has a b64_json" in record.getMessage()


def test_the_first_completed_image_counts() -> None:
    """There is exactly one completed image, whatever comes after it."""

    async def main() -> None:
        size = len(LAST)
        images, _ = session(
            [
                sse(LAST + LAST + FIRST, chunk_bytes=size),
                sse(LAST + LAST, chunk_bytes=size, break_after=size),
                sse(LAST + b":" * 100_000, chunk_bytes=size),
            ]
        )
        async with images:
            for _ in range(3):
                got = await collect(images.stream_generate("a fox"))
                assert [type(one) for one in got] == [CompletedImage]

    run(main)


def test_the_end_of_a_finished_stream_is_not_waited_for() -> None:
    """A server that keeps the stream open does not keep the image back; its connection is closed."""

    async def main() -> None:
        size = len(LAST)
        images, transport = session([sse(LAST + b": ping\n\n", chunk_bytes=size, chunk_delay=99)])
        async with images:
            assert widths(await collect(images.stream_generate("a fox"))) == [24]
            assert asyncio.get_running_loop().time() < 1
            assert transport.open == 0

    run(main)


@pytest.mark.parametrize("cancel", [False, True])
def test_a_completed_image_outlives_its_timeout(cancel: bool) -> None:  # noqa: FBT001
    """A deadline that passes while the end of the stream is awaited does not cost the image."""

    async def main() -> None:
        size = len(LAST)
        answer = sse(LAST + b": ping\n\n", chunk_bytes=size, chunk_delay=99)
        images, transport = session([answer], timeout=0.1)
        async with images:
            stream = images.stream_generate("a fox")
            if cancel:
                async with stream:
                    await asyncio.sleep(0.01)
                assert transport.open == 0
            else:
                assert widths(await collect(stream)) == [24]

    run(main)


def test_streams_that_are_never_used_are_not_kept() -> None:
    """A session does not hold on to the inputs of streams that nobody began."""

    async def main() -> None:
        images, transport = session([])
        async with images:
            unused = weakref.ref(images.stream_generate("a fox"))
            gc.collect()
            assert unused() is None
        assert transport.requests == []

    run(main)


@pytest.mark.parametrize("headers", [{}, SSE])
@pytest.mark.parametrize("chunk_bytes", [1, 3, 9])
def test_what_an_answer_is_shows_in_its_first_bytes(
    headers: dict[str, str], chunk_bytes: int
) -> None:
    """Streams and documents are told apart whatever the server calls them, in any pieces."""

    async def main() -> None:
        data = {"data": [{"b64_json": base64.b64encode(picture(5)).decode()}]}
        script = [
            ScriptedAnswer(body, headers=headers, chunk_bytes=chunk_bytes)
            for body in (b"\n\n" + LAST, data, b"\n " + json.dumps(data).encode())
        ]
        images, _ = session(script)
        async with images:
            got = [await collect(images.stream_generate("a fox")) for _ in script]
        assert [widths(events) for events in got] == [[24], [5], [5]]

    run(main)


def test_a_long_piece_is_parsed_in_parts() -> None:
    """The loop turns while a piece that was short before it was decompressed is parsed."""

    async def main() -> None:
        body = b":\n" * 1_000_000 + LAST
        images, _ = session([sse(body, chunk_bytes=len(body))])
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with images:
            turning = asyncio.create_task(turn())
            assert widths(await collect(images.stream_generate("a fox"))) == [24]
            turning.cancel()
        assert turns >= len(body) // 2**18

    run(main)


def test_a_piece_of_many_events_is_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns between events of one piece, when they have kept it for long enough."""
    monkeypatch.setattr("imagesdk.client.receiving._KEPT", 0.0)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        body = b"data: 1\n\n" * 1000 + LAST
        images, _ = session([sse(body, chunk_bytes=len(body))])
        async with images:
            turning = asyncio.create_task(turn())
            assert widths(await collect(images.stream_generate("a fox"))) == [24]
            turning.cancel()

    run(main)
    assert turns >= 1000


def test_partial_images_are_handed_out_at_once() -> None:
    """A partial image is there when it has arrived, long before the next."""

    async def main() -> None:
        images, _ = session([slow(FIRST, SECOND, LAST)])
        loop = asyncio.get_running_loop()
        async with images:
            times = [loop.time() async for _ in images.stream_generate("a fox")]
        assert times == pytest.approx([0, 10, 20], abs=0.5)

    run(main)


def test_leaving_early_closes_the_connection_and_returns_the_permit() -> None:
    """After ``break`` nothing is open, and a call that waited for the slot goes at once."""
    told: list[Event] = []

    async def main() -> None:
        images, transport = session(
            [slow(FIRST, SECOND, LAST), sse(LAST)], max_concurrency=1, on_event=told.append
        )
        async with images:
            async with images.stream_generate("a fox") as events:
                assert widths([await anext(events)]) == [8]
                waiting = asyncio.create_task(collect(images.stream_generate("an otter")))
                await asyncio.sleep(1)
                assert len(transport.requests) == 1
            assert transport.open == 0
            assert not waiting.done()
            assert widths(await waiting) == [24]
            assert asyncio.get_running_loop().time() < 5
            assert not images._streams
            with pytest.raises(ConfigurationError, match="closed before its completed image"):
                await anext(events)
            assert [one async for one in events] == []

    run(main)
    (failed,) = (e for e in told if isinstance(e, Failed))
    assert (failed.error, failed.may_be_billed) == ("CancelledError", True)


def test_a_stream_that_is_left_in_the_queue_is_not_sent() -> None:
    """Leaving before the limiter lets the stream through costs nothing."""

    async def main() -> None:
        limiter = ImageLimiter(1)
        images, transport = session([sse(LAST)], limiter=limiter)
        async with images:
            await collect(images.stream_generate("a fox"))
            async with images.stream_generate("an otter"):
                await asyncio.sleep(1)
                assert limiter.snapshot("gpt-image").queued + limiter.snapshot().queued == 1
            assert limiter.snapshot("gpt-image").queued + limiter.snapshot().queued == 0
        assert len(transport.requests) == 1

    run(main)


def test_an_unused_stream_sends_nothing() -> None:
    """A stream that is made and not entered is nothing; closing it twice is fine."""

    async def main() -> None:
        images, transport = session([])
        async with images:
            stream = images.stream_generate("a fox")
            await stream.aclose()
            await stream.aclose()
            await fail(stream, ConfigurationError)
            images.stream_generate("another")
        assert transport.requests == []

    run(main)


def test_a_consumer_that_gives_up_waiting_can_ask_again() -> None:
    """A wait for an event may be cancelled; the event comes at the next."""

    async def main() -> None:
        images, transport = session([slow(FIRST, SECOND, LAST)])
        async with images, images.stream_generate("a fox") as events:
            assert widths([await anext(events)]) == [8]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 1)
            assert transport.open == 1
            assert widths([one async for one in events]) == [16, 24]

    run(main)


def test_cancelling_the_block_closes_the_connection() -> None:
    """A task that is cancelled within the block leaves nothing open."""

    async def main() -> None:
        images, transport = session([slow(FIRST, SECOND, LAST)])
        async with images:
            task = asyncio.create_task(collect(images.stream_generate("a fox")))
            await asyncio.sleep(5)
            assert transport.open == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert transport.open == 0

    run(main)


def test_closing_the_session_ends_streams() -> None:
    """A consumer in another task gets an error, and the connection is closed."""

    async def main() -> None:
        images, transport = session([slow(FIRST, SECOND, LAST)])
        async with images:
            stream = images.stream_generate("a fox")
            task = asyncio.create_task(fail(stream, ConfigurationError))
            await asyncio.sleep(5)
        got, error = await task
        assert widths(got) == [8]
        assert "closed" in str(error)
        assert transport.open == 0
        with pytest.raises(ConfigurationError, match="the session is closed"):
            await collect(images.stream_generate("an otter"))

    run(main)


@pytest.mark.parametrize("wait", [0.0, 100.0])
def test_the_timeout_bounds_the_whole_stream(wait: float) -> None:
    """However many events have come, and however slow their consumer is; what has come is handed out."""

    async def main() -> None:
        images, transport = session([slow(FIRST, SECOND, LAST)])
        async with images:
            stream = images.stream_generate("a fox", timeout=15)
            got, error = await fail(stream, RequestTimeoutError, wait)
            assert widths(got) == [8, 16]
            assert "within its timeout, 15 s" in str(error)
            assert error.may_be_billed
            assert (transport.open, len(transport.requests)) == (0, 1)

    run(main)


def test_an_attempt_that_has_begun_is_not_repeated_after_its_timeout() -> None:
    """Not even where the policy sends everything again."""

    async def main() -> None:
        policy = RetryPolicy(5, attempt_timeout=15, ambiguous="always")
        images, transport = session([slow(FIRST, SECOND, LAST)], retry=policy)
        async with images:
            got, _ = await fail(images.stream_generate("a fox"), RequestTimeoutError)
        assert widths(got) == [8, 16]
        assert len(transport.requests) == 1

    run(main)


def test_a_slow_consumer_slows_the_stream_down() -> None:
    """One event is read ahead and no more."""
    told: list[Event] = []

    async def main() -> None:
        events = [event("partial_image", 8 * (i + 1)) for i in range(9)]
        images, _ = session([sse(b"".join(events) + LAST)], on_event=told.append, timeout=None)
        async with images:
            count = 0
            async for _ in images.stream_generate("a fox"):
                await asyncio.sleep(100)
                count += 1
                if count < 8:
                    assert sum(isinstance(e, Partial) for e in told) <= count + 2
        assert count == 10

    run(main)


def test_many_streams_at_once() -> None:
    """A session serves any number of streams side by side."""

    async def main() -> None:
        images, _ = session([slow(FIRST, SECOND, LAST)] * 30)
        async with images:
            got = await asyncio.gather(
                *(collect(images.stream_generate("a fox")) for _ in range(30))
            )
        assert [widths(one) for one in got] == [[8, 16, 24]] * 30

    run(main)


def test_the_events_told() -> None:
    """One `Partial` for each partial image, then the exchange and the end of the call."""
    told: list[Event] = []

    async def main() -> None:
        images, _ = session([sse(WHOLE)], on_event=told.append)
        async with images:
            await collect(images.stream_generate("a fox"))

    run(main)
    assert [type(e) for e in told] == [Started, Admitted, Partial, Partial, Attempted, Done]
    partials = [e for e in told if isinstance(e, Partial)]
    assert [(e.index, e.size_bytes) for e in partials] == [
        (0, len(picture(8))),
        (1, len(picture(16))),
    ]
    assert isinstance(told[-1], Done)
    assert told[-1].images == 1


async def test_save_to(tmp_path: Path) -> None:
    """The completed image is a file before it is handed out, in a folder that is made for it."""
    images, _ = session([sse(WHOLE)] * 2)
    async with images:
        for name in ("image-1.png", "image-2.png"):
            last = (await collect(images.stream_generate("a fox", save_to=tmp_path / "a/b")))[-1]
            assert last.image.path == tmp_path / "a/b" / name
            assert last.image.path.read_bytes() == picture(24)


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file in the place of the folder is found before anything is sent."""
    (tmp_path / "cat").write_bytes(b"")
    images, transport = session([])
    async with images:
        _, error = await fail(
            images.stream_generate("a fox", save_to=tmp_path / "cat"), InvalidRequestError
        )
    assert "save_to" in str(error)
    assert transport.requests == []


async def test_an_image_that_cannot_be_saved_is_not_lost(tmp_path: Path) -> None:
    """If the folder goes away in between, the image that was paid for is in the error."""
    folder = tmp_path / "out"
    images, _ = session([sse(WHOLE)])
    async with images:
        stream = images.stream_generate("a fox", save_to=folder)
        got = await anext(stream)
        assert widths([got]) == [8]
        folder.rmdir()
        folder.write_bytes(b"")
        _, error = await fail(stream, PartialResultError)
    assert await error.result.data[0].read() == picture(24)
    assert isinstance(error.errors[0].__cause__, OSError)
