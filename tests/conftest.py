"""Fixtures of all tests: a clean environment, a watch over the event loop, an emulator, pictures."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from PIL import Image

from imagesdk.emulator.server import EmulatorServer


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove keys and proxies, so that no test depends on who runs it."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which a coroutine of ours blocks the event loop."""
    with blockbuster_ctx("imagesdk") as watch:
        # Coverage's tracer takes a lock of its own in whatever frame it traces.
        lock = watch.functions["threading.Lock.acquire"]
        lock.can_block_in("coverage/collector.py", {"lock_data"})
        yield watch


@pytest.fixture
async def emulator() -> AsyncIterator[EmulatorServer]:
    """A running emulator with the default limit of 50 images a minute."""
    async with EmulatorServer() as server:
        yield server


@pytest.fixture
def key() -> str:
    """A key that the emulator takes, and that is easy to find where it must not be."""
    return "sk-test-0123456789abcdefSECRET"


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encode a one-coloured picture; the default is fully transparent, 64x64, PNG."""

    def encode(
        size: tuple[int, int] = (64, 64), mode: str = "RGBA", kind: str = "PNG", **save: Any
    ) -> bytes:
        buffer = BytesIO()
        Image.new(mode, size).save(buffer, kind, **save)
        return buffer.getvalue()

    return encode
