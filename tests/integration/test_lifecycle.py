"""Sessions that are closed or used at the wrong moment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

# No wheel holds the tests. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from imagesdk.client.results import Image
from imagesdk.client.session import ImageSession
from imagesdk.errors import ConfigurationError, PartialResultError
from tests.integration.fault_steps import PARTIAL, hangs_after, streams
from tests.integration.raw_server import GOOD, RawServer, Step, hang, says

AT_URL = says(json.dumps({"data": [{"url": "/a.png"}]}).encode())


async def generate(images: ImageSession) -> object:
    return await images.generate("a fox")


async def stream(images: ImageSession) -> object:
    async with images.stream_generate("a fox") as events:
        return [event async for event in events]


async def fan_out(images: ImageSession) -> object:
    return [outcome.unwrap() async for outcome in images.map(["a fox", "an otter"])]


async def read(images: ImageSession) -> object:
    return await (await images.generate("a fox")).data[0].read()


async def _requests(server: RawServer, count: int) -> None:
    """Wait until so many requests have come, and a little longer, for what is answered."""
    while len(server.requests) < count:  # noqa: ASYNC110 - it is a few lines of a test
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("call", "steps", "billed"),
    [
        (generate, [hang], True),
        (generate, [hangs_after(GOOD[:20])], True),
        (stream, [hang], True),
        (stream, [streams(PARTIAL, end="hang")], True),
        (fan_out, [hang, hang], True),
        (read, [AT_URL, hang], False),
        (read, [AT_URL, hangs_after(b"imag")], False),
    ],
)
async def test_closed_with_calls_in_flight(
    call: Callable[[ImageSession], Awaitable[object]],
    steps: list[Step],
    billed: bool,  # noqa: FBT001
) -> None:
    """Closing a session ends at once what is in flight, with an error that says what it may cost."""
    async with RawServer(*steps) as server:
        images = ImageSession(base_url=server.url, validate="off")
        task = asyncio.ensure_future(call(images))
        await _requests(server, len(steps))
        async with asyncio.timeout(1.0):
            await images.aclose()
            with pytest.raises(ConfigurationError, match=r"closed.* before") as caught:
                await task
    assert caught.value.may_be_billed is billed


async def test_closed_with_a_download_to_a_folder(tmp_path: Path) -> None:
    """An image that is at a URL when the session closes is not lost: the error holds the URL."""
    async with RawServer(AT_URL, hang) as server:
        images = ImageSession(base_url=server.url)
        task = asyncio.create_task(images.generate("a fox", save_to=tmp_path))
        await _requests(server, 2)
        await images.aclose()
        with pytest.raises(PartialResultError, match="closed before the image arrived") as caught:
            await task
    assert caught.value.result.data[0].url == "/a.png"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_closed_while_calls_wait() -> None:
    """Calls that wait for the limiter when the session closes were not sent, and cost nothing."""
    async with RawServer() as server:
        images = ImageSession(base_url=server.url, images_per_minute=1)
        await images.generate("a fox")
        tasks = [asyncio.create_task(images.generate("a fox")) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert images.snapshot().queued == 3
        await images.aclose()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, ConfigurationError)
            assert (outcome.attempts, outcome.may_be_billed) == ((), False)
        assert images.snapshot().queued == 0
    assert server.charged == 1


def test_another_loop() -> None:
    """A session that was used in one loop says so in another; it can be closed there."""
    images: Any = None
    image: Any = None

    async def first() -> None:
        nonlocal images, image
        async with RawServer(AT_URL) as server:
            images = ImageSession(base_url=server.url)
            image = (await images.generate("a fox")).data[0]
            assert isinstance(image, Image)
            await images._pipeline.transport._own._session.close()

    async def second() -> None:
        for call in (
            lambda: images.generate("a fox"),
            lambda: stream(images),
            image.read,
            images.__aenter__,
        ):
            with pytest.raises(ConfigurationError, match="belongs to another event loop"):
                await call()
        async for outcome in images.map(["a fox"]):
            assert isinstance(outcome.error, ConfigurationError)
        await images.aclose()

    asyncio.run(first())
    asyncio.run(second())
