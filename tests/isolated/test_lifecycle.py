"""What only a process of its own can show: its end, its children, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

# No wheel holds the tests. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from tests.integration.raw_server import RawServer, hang

ROOT = Path(__file__).parents[2]
KEY = "sk-test-0123456789abcdefSECRET"
PRELUDE = f"""
import sys
sys.path.append({str(ROOT)!r})
import asyncio
from imagesdk import ConfigurationError, ImageSession
from tests.integration.raw_server import RawServer, good, hang
"""


async def _start(*command: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-W", "default"),
        *command,
        env={"OPENAI_API_KEY": KEY, "PATH": "", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


UNCLOSED = (
    "an ImageSession was not closed: use it in 'async with', or end with 'await images.aclose()'"
)


async def _run(code: str) -> tuple[str, str]:
    """Run a program; return what it printed to both channels."""
    async with asyncio.timeout(20):
        process = await _start("-c", PRELUDE + code)
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert KEY not in (out + error).decode()
    return out.decode(), error.decode()


async def test_a_loop_that_ends_without_close() -> None:
    """A session that nobody closed keeps no program from its end: there is a ResourceWarning, no more."""
    out, error = await _run(
        """
async def main():
    async with RawServer(good, hang, hang, hang) as server:
        images = ImageSession(base_url=server.url, validate="off")
        await images.generate("a fox")
        asyncio.create_task(images.generate("in flight"))
        asyncio.create_task(anext(images.stream_generate("in flight")))
        asyncio.create_task(anext(images.map(["in flight"])))
        while len(server.requests) < 4:
            await asyncio.sleep(0.001)

asyncio.run(main())
print("end")
"""
    )
    assert out == "end\n"
    warnings = [line for line in error.splitlines() if "Warning: " in line]
    assert all("ResourceWarning: " in line for line in warnings), error
    assert 1 <= sum("Unclosed c" in line for line in warnings) <= 2, error  # session, connector
    assert error.splitlines().count(UNCLOSED) == 1, error  # asyncio's logger: also without -W
    assert "Traceback" not in error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_fork() -> None:
    """In a forked child a session that was used is refused, one that was not works; the parent's goes on."""
    out, _ = await _run(
        """
import multiprocessing

def child(images):
    async def main():
        try:
            return len((await images.generate("a fox")).data)
        except ConfigurationError as error:
            return str(error)
    print("child:", asyncio.run(main()), flush=True)

async def main():
    async with RawServer() as server:
        used, unused = ImageSession(base_url=server.url), ImageSession(base_url=server.url)
        await used.generate("a fox")
        for images in (used, unused):
            process = multiprocessing.get_context("fork").Process(target=child, args=(images,))
            process.start()
            await asyncio.to_thread(process.join)
        print("parent:", len((await used.generate("a fox")).data))
        await used.aclose()
        peers = {request.writer.get_extra_info("peername") for request in server.requests}
        print("connections:", len(peers), "requests:", len(server.requests))

asyncio.run(main())
"""
    )
    first, *others = out.splitlines()
    assert first.startswith("child: this session belongs to another event loop: make one session")
    assert others == [
        "child: 1",
        "parent: 1",
        "connections: 2 requests: 3",
    ]


PROGRAM = f"""
{PRELUDE}
async def main():
    async with ImageSession(base_url=sys.argv[1], validate="off") as images:
        await getattr(images, sys.argv[2])("a fox")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("-c", PROGRAM), -signal.SIGINT),
        (("-m", "imagesdk.cli.main", "generate", "a fox", "--base-url"), 130),
    ],
    ids=["program", "command line"],
)
async def test_ctrl_c(command: tuple[str, ...], code: int) -> None:
    """Ctrl-C ends a program at once: its connection is closed, and no key is shown."""
    async with RawServer(hang) as server:
        process = await _start(*command, server.url, *(["generate"] if code < 0 else []))
        async with asyncio.timeout(20):
            while not server.charged:  # noqa: ASYNC110 - it is a few lines of a test
                await asyncio.sleep(0.005)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, error = await process.communicate()
            assert time.monotonic() - began < 5  # far from its timeout, on a busy machine
            while server.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert process.returncode == code
    assert KEY not in (out + error).decode()
    if code == 130:
        assert "Traceback" not in error.decode()
