"""Turns: which of several streams is decoded on, and that none is left waiting."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from typing import Any

import pytest

from imagesdk import ImageSession, PartialImage
from imagesdk.client._turns import Turns
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, scripted, virtual_time

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(600_000)
CHUNK = 64 * 1024
STREAMS = 4


async def settle() -> None:
    """Let the event loop turn until everything that can go on has done so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_next_in_line_goes_on() -> None:
    """Those who wait go on in the order in which they came, each when the one before it leaves."""
    turns, order = Turns(), list[str]()

    async def read(name: str) -> None:
        await turns.take(name)
        order.append(name)

    readers = [asyncio.create_task(read(name)) for name in ("a", "b", "c")]
    await settle()
    assert order == ["a"]
    await turns.take("a")  # it has it already
    turns.leave("a")
    await settle()
    assert order == ["a", "b"]
    turns.leave("a")  # it is no longer its turn
    await settle()
    assert order == ["a", "b"]
    turns.leave("b")
    await settle()
    assert order == ["a", "b", "c"]
    await asyncio.wait(readers)
    turns.leave("c")
    await turns.take("d")


@pytest.mark.parametrize("resumed", [False, True], ids=["while it waits", "when it has its turn"])
async def test_who_is_cancelled_keeps_nobody(resumed: bool) -> None:  # noqa: FBT001
    """A reader that is cancelled is passed over, also if it was just let go on."""
    turns = Turns()
    await turns.take("a")

    async def read() -> None:
        try:
            await turns.take("b")
        finally:
            turns.leave("b")

    second = asyncio.create_task(read())
    third = asyncio.create_task(turns.take("c"))
    await settle()
    if resumed:
        turns.leave("a")
    second.cancel()
    if not resumed:
        turns.leave("a")
    await settle()
    assert second.cancelled()
    assert third.done()


def test_who_waits_for_bytes_keeps_the_others_for_a_moment() -> None:
    """A turn lasts from piece to piece; when none comes, the next one goes on, after a millisecond."""

    async def main() -> None:
        turns, loop = Turns(), asyncio.get_running_loop()
        await turns.take("a")
        second = asyncio.create_task(turns.take("b"))
        began = loop.time()
        for _ in range(10):
            turns.keep("a")
            await asyncio.sleep(0.0006)
        assert not second.done()
        turns.keep("a")
        await second
        assert loop.time() - began == pytest.approx(10 * 0.0006 + 0.001, abs=1e-4)
        turns.keep("a")  # not its turn: nothing ends
        await asyncio.sleep(1)
        third = asyncio.create_task(turns.take("c"))
        await asyncio.sleep(1)
        assert not third.done()
        turns.leave("b")
        await third

    with virtual_time() as runner:
        runner.run(main())


def answer(**options: Any) -> ScriptedAnswer:
    b64 = base64.b64encode(PICTURE).decode()
    events = [{"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": b64}]
    events.append({"type": "image_generation.completed", "b64_json": b64})
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in events).encode()
    return ScriptedAnswer(
        body, headers={"content-type": "text/event-stream"}, chunk_bytes=CHUNK, **options
    )


async def test_one_image_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of streams that are all there at once, the first image is complete before the others are begun."""
    pieces: Counter[int] = Counter()
    read = scripted._ScriptedReply.read

    async def counted(self: scripted._ScriptedReply) -> bytes:
        pieces[id(self)] += 1
        return await read(self)

    monkeypatch.setattr(scripted._ScriptedReply, "read", counted)
    transport = ScriptedTransport([answer() for _ in range(STREAMS)])
    seen: list[list[int]] = []

    async def consume(images: ImageSession) -> None:
        async with images.stream_generate("a fox") as events:
            async for event in events:
                if isinstance(event, PartialImage):
                    assert event.bytes == PICTURE
                    seen.append(sorted(pieces.values()))

    async with (
        ImageSession(
            base_url="http://server/v1", model="gpt-image-2", transport=transport
        ) as images,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(STREAMS):
            group.create_task(consume(images))
    assert len(seen) == STREAMS
    whole = len(base64.b64encode(PICTURE)) // CHUNK
    *others, first = seen[0]
    assert first >= whole
    assert max(others) <= 3
    assert seen[1][-2] >= whole
    assert max(seen[1][:-2]) <= 3


def test_slow_streams_do_not_wait_for_each_other() -> None:
    """A stream whose next piece is late keeps no other from its own."""

    async def main() -> float:
        transport = ScriptedTransport([answer(chunk_delay=1.0) for _ in range(STREAMS)])
        async with ImageSession(
            base_url="http://server/v1", model="gpt-image-2", transport=transport
        ) as images:

            async def consume() -> None:
                async with images.stream_generate("a fox") as events:
                    assert len([event async for event in events]) == 2

            began = asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as group:
                for _ in range(STREAMS):
                    group.create_task(consume())
            return asyncio.get_running_loop().time() - began

    with virtual_time() as runner:
        took = runner.run(main())
    body = answer().body
    assert isinstance(body, bytes)
    pieces = len(body) // CHUNK
    assert took == pytest.approx(pieces, abs=0.01 * pieces * STREAMS)
