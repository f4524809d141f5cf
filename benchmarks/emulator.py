"""Time the emulator: how soon it serves, and how many small pictures a second one core gives.

The server is ``imagesdk serve`` in a process of its own that may use one core; the client is a raw
socket in this process, on another core if there is one, with 8 connections that each ask for the next
picture when they have the last. Pictures have 256x256 pixels and come as base64. What comes again is
answered from the emulator's memory, and is told apart from what has to be made::

    python -m benchmarks.emulator
    python -m benchmarks.emulator --quick      # a smoke test that judges nothing

The exit code is 1 if it takes 0.5 s or more to start, or gives fewer than 500 pictures a second that come
again. It needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from itertools import count, repeat
from time import perf_counter

import attrs

__all__ = ("main",)

_CONNECTIONS = 8
_MAX_START = 0.5
_MIN_PICTURES = 500.0
_HEAD = (
    "POST /v1/images/generations HTTP/1.1\r\nHost: emulator\r\nAuthorization: Bearer sk-test\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
_SERVE = (
    "import os, sys; os.sched_setaffinity(0, {{{}}}); "
    "from imagesdk.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@attrs.frozen
class _Workload:
    """What is asked for.

    Attributes:
        title: For the table.
        n: Pictures a request.
        requests: How many requests a round.
        again: Whether they are all the same.
        options: Options of the server.
    """

    title: str
    n: int
    requests: int
    again: bool
    options: tuple[str, ...] = ()


_AGAIN = _Workload("the same again, from memory", n=1, requests=2000, again=True)
_WORKLOADS = (
    _AGAIN,
    _Workload("the same ten again, from memory", n=10, requests=500, again=True),
    _Workload("different, painted", n=1, requests=200, again=False),
    _Workload("different, flat (--plain)", n=1, requests=1000, again=False, options=("--plain",)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, nothing is judged")
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or set(cores))
    try:
        return asyncio.run(_measure(cores[0], quick=options.quick))
    finally:
        os.sched_setaffinity(0, set(cores))


async def _measure(core: int, *, quick: bool) -> int:
    rounds = 1 if quick else 7
    versions = (f"{name} {metadata.version(name)}" for name in ("imagesdk", "aiohttp", "pillow"))
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {', '.join(versions)}; median (lowest to highest)"
    )
    starts, answers = zip(*[await _start(core) for _ in range(rounds)], strict=True)
    print(f"{'start, until it serves':34}{_shown(starts, '.2f')} s")
    print(f"{'start, until it has answered':34}{_shown(answers, '.2f')} s")
    good = statistics.median(starts) < _MAX_START
    for options in ((), ("--plain",)):
        async with _server(core, *options) as address:
            for workload in (w for w in _WORKLOADS if w.options == options):
                rates = await _rates(address, workload, rounds, quick=quick)
                print(f"{workload.title:34}{_shown(rates, '.0f')} pictures/s")
                good &= workload is not _AGAIN or statistics.median(rates) >= _MIN_PICTURES
    if quick:
        return 0
    verdict = "reached" if good else "MISSED"
    print(f"start below {_MAX_START} s and at least {_MIN_PICTURES:.0f} that come again: {verdict}")
    return 0 if good else 1


async def _rates(
    address: tuple[str, int], workload: _Workload, rounds: int, *, quick: bool
) -> list[float]:
    """Return the pictures a second of each round."""
    prompts = repeat("a fox") if workload.again else (f"fox {n}" for n in count())
    requests = workload.requests // 50 if quick else workload.requests
    await _load(address, prompts, workload.n, _CONNECTIONS)
    seconds = [await _load(address, prompts, workload.n, requests) for _ in range(rounds)]
    return [requests * workload.n / passed for passed in seconds]


def _shown(figures: Sequence[float], form: str) -> str:
    low, high = min(figures), max(figures)
    return f"{statistics.median(figures):>8{form}} ({low:{form}} to {high:{form}})"


async def _start(core: int) -> tuple[float, float]:
    """Return the seconds from making the process until it serves, and to its first answer."""
    began = perf_counter()
    async with _server(core) as address:
        serves = perf_counter() - began
        await _load(address, repeat("a fox"), 1, 1)
        return serves, perf_counter() - began


@asynccontextmanager
async def _server(core: int, *options: str) -> AsyncIterator[tuple[str, int]]:
    """Run a server on a core; give its host and port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVE.format(core), "serve", "--port", "0", "--json"),
        *("--images-per-minute", "off", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    try:
        url = json.loads(await process.stdout.readline())["base_url"]
        host, _, port = url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        yield host, int(port)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


async def _load(address: tuple[str, int], prompts: Iterator[str], n: int, requests: int) -> float:
    """Ask for pictures on several connections, and return the seconds that it took."""
    left = iter(range(requests))
    connections = min(_CONNECTIONS, requests)
    streams = [await asyncio.open_connection(*address) for _ in range(connections)]
    began = perf_counter()
    await asyncio.gather(*(_ask(*stream, prompts, n, left) for stream in streams))
    return perf_counter() - began


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    prompts: Iterator[str],
    n: int,
    left: Iterator[int],
) -> None:
    """Send one request after the other, as long as any are *left*."""
    for _ in left:
        asked = {"prompt": next(prompts), "n": n, "size": "256x256", "response_format": "b64_json"}
        body = json.dumps(asked).encode()
        writer.write(_HEAD.format(len(body)).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise RuntimeError(f"the emulator refused: {head.decode()}")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    sys.exit(main())
