"""Fixtures of the emulator's tests: pictures, a server, a raw HTTP client, a clock to turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from types import SimpleNamespace

import aiohttp
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from PIL import Image

from imagesdk.emulator.server import EmulatorServer

Encode = Callable[..., bytes]
KEY = {"Authorization": "Bearer sk-test-emulator"}


def _picture(
    size: tuple[int, int] = (64, 64),
    mode: str = "RGBA",
    image_format: str = "PNG",
    color: object = 0,
    **save: object,
) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size, color).save(buffer, image_format, **save)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_blocking() -> Iterator[BlockBuster]:
    with blockbuster_ctx("imagesdk") as blockbuster:
        yield blockbuster


@pytest.fixture
def picture() -> Encode:
    """Encode a one-coloured picture; the default is fully transparent, 64x64, PNG."""
    return _picture


@pytest.fixture
def clock() -> SimpleNamespace:
    """A clock of the emulator that stands still until its ``now`` is set."""
    return SimpleNamespace(now=1_800_000_000.0)


@pytest.fixture
async def server(clock: SimpleNamespace) -> AsyncIterator[EmulatorServer]:
    async with EmulatorServer(
        clock=lambda: clock.now, blocked_images=[_picture((8, 8))]
    ) as running:
        yield running


@pytest.fixture
async def http(server: EmulatorServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a right key and the emulator as base address."""
    async with aiohttp.ClientSession(server.base_url.removesuffix("v1"), headers=KEY) as session:
        yield session
