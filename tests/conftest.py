"""Fixtures of all tests: a clean environment, a watch over the event loop, an emulator, a Redis,
a browser, pictures."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import coverage
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from PIL import Image

from imagesdk.emulator.server import EmulatorServer

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks._browser import Browser, find_program

pytest_plugins = ["imagesdk.testing.plugin"]

# What a shell runs in the background ignores Ctrl-C, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove keys and proxies, so that no test depends on who runs it."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith(("_proxy", "_api_key")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which a coroutine of ours blocks the event loop."""
    with blockbuster_ctx("imagesdk") as watch:
        # Coverage's tracer takes locks of its own in whatever frame it traces, and its frames are not seen.
        if coverage.Coverage.current() is not None:
            watch.functions["threading.Lock.acquire"].deactivate()
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


def missing(what: str, package: str = "it") -> NoReturn:
    """Skip a test that needs a program, or a package; where IMAGESDK_TEST_SERVERS is set, as in .ci/run, fail it."""
    said = f"{what} is missing, and this test needs a real one: install {package}"
    if "IMAGESDK_TEST_SERVERS" in os.environ:
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="session")
def curl() -> str:
    """The path of curl."""
    return shutil.which("curl") or missing("curl")


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Run a real redis-server and return its unix socket."""
    program = shutil.which("redis-server") or missing("redis-server")
    with tempfile.TemporaryDirectory(prefix="redis") as folder:  # a short path: sockets need one
        path = Path(folder) / "redis.sock"
        options = ("--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", str(path))
        server = subprocess.Popen([program, *options, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            for _ in range(500):
                with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                    break
                signal.sigtimedwait([], 0.01)
            yield path
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with Browser(find_program() or missing("chromium")) as running:
        yield running
