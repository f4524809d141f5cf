"""One client process of ``python -m benchmarks``: a client, a workload, once.

It reads its `Settings` as JSON from its first argument and prints a `Measured` as JSON. It needs the
standard library and the client's own packages alone, so that any interpreter can run it. Linux only: memory
is read from ``/proc``.

The client is warmed up on small answers of the same kind, with connections of its own. Then the clock
starts: wall and processor time (user and system, all threads), the most resident memory that the kernel
saw above what was there before, and the longest time that a ticker of 5 ms was late. Afterwards the saved
files are compared with what the server has sent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import filecmp
import gc
import importlib
import json
import os
import re
import statistics
import sys
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeAlias

__all__ = ("CLIENTS", "WARM_UP_BYTES", "Measured", "Settings", "kernel_bytes", "main")

CLIENTS = {
    "imagesdk": ("_peers_ours", "Client"),
    "AsyncOpenAI": ("_peers_openai", "Client"),
    "LiteLLM": ("_peers_litellm", "Client"),
    "aiohttp script": ("_peers_aiohttp", "PlainClient"),
    "hand-written loop": ("_peers_aiohttp", "HandClient"),
    "raw socket": ("_peers_raw", "Client"),
}
"""Module and class of each."""
WARM_UP_BYTES = 30_000
"""Size of the images of the warm-up."""
_TICK = 0.005
_WARM_UP = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a client process is to do.

    Attributes:
        client: One of `CLIENTS`.
        kind: ``"small"``, ``"save"``, ``"upload"``, ``"stream"`` or ``"map"``.
        server: Of the prepared answers, as in ``"http://127.0.0.1:8000"``.
        requests: How many.
        concurrency: How many of them at a time.
        size_bytes: Of an image.
        n: Images of a request; partial images of a stream.
        form: Of the images to upload: ``"path"``, ``"bytes"`` or ``"BytesIO"``.
        originals: Folder of what the server sends and of what is uploaded: ``BYTES.png``.
        folder: Where images are saved.
    """

    client: str
    kind: str
    server: str
    requests: int
    concurrency: int
    size_bytes: int
    n: int
    form: str
    originals: str
    folder: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What it took.

    Attributes:
        wall: Seconds from the first request to the last answer.
        cpu: Seconds of processor time of the client process.
        rss_mb: Growth of the resident memory at its peak, in millions of bytes.
        lag_ms: The longest time that the event loop was late.
        first_ms: Median time from the request to the bytes of its first image; streams only.
    """

    wall: float
    cpu: float
    rss_mb: float
    lag_ms: float
    first_ms: float | None = None


_One: TypeAlias = Callable[[int], Awaitable[float | None]]
"""Makes the request of a number; of a stream it returns when its first image was there."""


async def _measure(settings: Settings) -> Measured:
    module, name = CLIENTS[settings.client]
    make: Callable[[str], Any] = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    small = dataclasses.replace(
        settings,
        requests=1000 if settings.kind == "map" else max(_WARM_UP, settings.concurrency),
        size_bytes=min(settings.size_bytes, WARM_UP_BYTES),
        folder=f"{settings.folder}/warm-up",
    )
    async with make(_base_url(small)) as client:
        await _work(_request(client, small), small)
    async with make(_base_url(settings)) as client:
        one = _request(client, settings)
        gc.collect()
        os.sync()  # what others have left to write is not for this client to wait for
        ticker = asyncio.create_task(_tick(lags := [0.0]))
        await asyncio.sleep(2 * _TICK)
        lags.clear()
        Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240 - the peak is now
        resident = kernel_bytes("self/status", "VmRSS")
        wall, cpu = perf_counter(), process_time()
        firsts = await _work(one, settings)
        wall, cpu = perf_counter() - wall, process_time() - cpu
        await asyncio.sleep(2 * _TICK)  # a tick that was late until now
        peak = kernel_bytes("self/status", "VmHWM")
        ticker.cancel()
    if settings.kind == "save" and settings.client != "raw socket":
        _check(settings)
    return Measured(
        wall=wall,
        cpu=cpu,
        rss_mb=max(0, peak - resident) / 1e6,
        lag_ms=max(lags) * 1e3,
        first_ms=statistics.median(firsts) * 1e3 if settings.kind == "stream" else None,
    )


def _base_url(settings: Settings) -> str:
    size, n = settings.size_bytes, settings.n
    wanted = {
        "small": "url",
        "map": "url",
        "save": f"b64.{size}.{n}",
        "stream": f"sse.{size}.{n}",
        "upload": f"take.{size * n}",
    }[settings.kind]
    return f"{settings.server}/{wanted}/v1"


async def _work(one: _One, settings: Settings) -> list[float]:
    """Make the requests; return for each the seconds to its first image, or 0."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(1 if settings.kind == "map" else settings.requests))
    firsts: list[float] = []

    async def work() -> None:
        for number in numbers:
            started = loop.time()
            firsts.append((await one(number) or started) - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(settings.concurrency):
            group.create_task(work())
    return firsts


def _request(client: Any, settings: Settings) -> _One:  # noqa: ANN401 - one of CLIENTS
    """Return what makes the request of a number; of a map, all of them."""
    n, folder = settings.n, Path(settings.folder)
    match settings.kind:
        case "small":
            return lambda _: client.small()
        case "map":
            return lambda _: client.many(settings.requests, settings.concurrency)
        case "save":
            folder.mkdir(exist_ok=True)
            return lambda number: client.save(n, folder, number)
        case "stream":
            return lambda _: client.stream(n, settings.size_bytes)
    original = Path(settings.originals, f"{settings.size_bytes}.png")
    if settings.form == "path":
        return lambda _: client.upload([original] * n)
    content = original.read_bytes()
    wrap = BytesIO if settings.form == "BytesIO" else bytes  # neither copies bytes
    return lambda _: client.upload([wrap(content) for _ in range(n)])


async def _tick(lags: list[float]) -> None:
    """Note how late the event loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        lags.append(loop.time() - due)


def kernel_bytes(file: str, field: str) -> int:
    """Return a field of a file in ``/proc``."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc", file).read_text())
    if found is None:
        raise RuntimeError(f"/proc/{file} has no {field}")
    return int(found[1]) * 1024


def _check(settings: Settings) -> None:
    """Refuse to measure a client that has not saved what was sent."""
    folder = Path(settings.folder)
    saved = [path for path in folder.rglob("*.png") if "warm-up" not in path.parts]
    wanted = settings.requests * settings.n
    sizes = {path.stat().st_size for path in saved}
    original = f"{settings.originals}/{settings.size_bytes}.png"
    if (
        len(saved) != wanted
        or sizes != {settings.size_bytes}
        or not filecmp.cmp(saved[-1], original, shallow=False)
    ):
        raise RuntimeError(
            f"{settings.client} saved {len(saved)} of {wanted} images; sizes {sizes}"
        )


def main() -> None:
    """Run one process."""
    try:
        measured = asyncio.run(_measure(Settings(**json.loads(sys.argv[1]))))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    print(json.dumps(dataclasses.asdict(measured)), flush=True)


if __name__ == "__main__":
    main()
