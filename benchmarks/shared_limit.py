"""Share one limit between 8 processes: a strict server, a real Redis, and what the limiter makes of it.

Every process has more calls for 1 to 10 images waiting than may be sent. The server admits 50 images in
any 10 s and refuses what is more. Measured is the part of the limit that was used, the refusals, and
what was lost on the way::

    python -m benchmarks.shared_limit                 # all four, 6 minutes
    python -m benchmarks.shared_limit --only normal --seconds 60

``normal``: `RedisLimiter` in each process. ``killed``: the same, and in the middle Redis is killed and
comes back empty after 12 s. Beside them, what there is without it: ``uncoordinated``, each process
with an `ImageLimiter` of the whole limit, and ``static``, each with an eighth of it.

The exit code is 1 if ``normal`` is below 98 % of the limit, sees a 429 or loses an image, or if ``killed`` is
below 96 % or loses an image. It needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from importlib import metadata
from typing import Any

import aiohttp
import attrs
import redis.asyncio

__all__ = ("main",)

_PROCESSES = 8
_LIMIT = 50
_PERIOD = 10.0
_WAITING = 32
"""Calls that wait in each process."""
_AWAY = 12.0
"""Seconds for which Redis is gone."""
_SCENARIOS = {"normal": 0.98, "killed": 0.96, "uncoordinated": None, "static": None}
"""Part of the limit that must be reached."""


@attrs.frozen(kw_only=True)
class _Outcome:
    """What one scenario came to."""

    scenario: str
    used: float
    refused: int
    lost: int
    unreceived: int
    by_process: list[int]
    small_wait: float
    large_wait: float
    scripts: float | None
    script_us: float | None
    errors: list[str]

    @property
    def verdict(self) -> str:
        """Say whether it is what is promised."""
        least = _SCENARIOS[self.scenario]
        if least is None:
            return ""
        good = self.used >= least and not self.lost and not self.unreceived
        return "ok" if good and (self.scenario != "normal" or not self.refused) else "MISSED"


class _Redis:
    """A redis-server on a unix socket, which keeps nothing."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/redis.sock"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            raise SystemExit("redis-server is missing: apt-get install redis-server")
        options = ["--port", "0", "--appendonly", "no", "--dir"]
        self._process = await asyncio.create_subprocess_exec(
            program, *options, self._folder, "--save", "", "--unixsocket", self.path,
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        while not await self.info():  # noqa: ASYNC110 - a process that says nothing when it is ready
            await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """Kill it (-9)."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def info(self) -> dict[str, Any]:
        """Return what it says about its commands, empty if it does not answer."""
        client = redis.asyncio.Redis(unix_socket_path=self.path)
        try:
            answer: dict[str, Any] = await client.info("all")
        except redis.RedisError:
            return {}
        finally:
            await client.aclose()
        return answer


@contextlib.asynccontextmanager
async def _process(
    module: str, *arguments: str
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{module}", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    return (await process.stdout.readline()).decode()


def _tell(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.write(line.encode() + b"\n")


async def _run(scenario: str, seconds: float, seed: int) -> _Outcome:
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shared"))
        store = _Redis(folder)
        stack.push_async_callback(store.kill)
        await store.start()
        server = await stack.enter_async_context(
            _process("_shared_server", str(_LIMIT), str(_PERIOD))
        )
        port = int(await _line(server))
        clients = [
            await stack.enter_async_context(_process("_shared_client")) for _ in range(_PROCESSES)
        ]
        for number, client in enumerate(clients):
            settings = {
                "kind": "redis" if scenario in ("normal", "killed") else "own",
                "limit": _LIMIT // _PROCESSES if scenario == "static" else _LIMIT,
                "period": _PERIOD,
                "redis": f"unix://{store.path}",
                "port": port,
                "number": number,
                "seed": seed * 100 + number,
                "waiting": _WAITING,
                "seconds": seconds,
            }
            _tell(client, json.dumps(settings))
        for client in clients:
            await _line(client)
        began = asyncio.get_running_loop().time()
        for client in clients:
            _tell(client, "go")
        if scenario == "killed":
            await asyncio.sleep((seconds - _AWAY) / 2)
            await store.kill()
            await asyncio.sleep(_AWAY)
            await store.start()
        results = [json.loads(await _line(client)) for client in clients]
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/books") as answer,
        ):
            books = await answer.json()
        # One clock: loop time is CLOCK_MONOTONIC in all processes of a machine.
        return _judge(scenario, results, books, await store.info(), began=began, seconds=seconds)


def _judge(
    scenario: str,
    results: list[dict[str, Any]],
    books: dict[str, Any],
    info: dict[str, Any],
    *,
    began: float,
    seconds: float,
) -> _Outcome:
    admitted, by_process = Counter[str](), Counter[int]()
    used = 0
    for at, call, images in books["admitted"]:
        admitted[call] += images
        if at < began + seconds:
            used += images
            by_process[int(call.partition(".")[0])] += images
    calls = {name: call for result in results for name, call in result["calls"].items()}
    waits = [wait for result in results for wait in result["waits"]]
    images = sum(got for _, got in calls.values())
    commands = info.get("cmdstat_evalsha") if scenario == "normal" else None
    return _Outcome(
        scenario=scenario,
        used=used / (_LIMIT * seconds / _PERIOD),
        refused=sum(at < began + seconds for at, *_ in books["refused"]),
        lost=sum(asked - got for asked, got in calls.values()),
        unreceived=sum(admitted[name] - got for name, (_, got) in calls.items()),
        by_process=[by_process[number] for number in range(_PROCESSES)],
        small_wait=_mean(wait for images, wait in waits if images <= 2),
        large_wait=_mean(wait for images, wait in waits if images >= 9),
        scripts=None if commands is None else commands["calls"] / max(1, images),
        script_us=None if commands is None else commands["usec_per_call"],
        errors=[error for result in results for error in result["errors"]],
    )


def _mean(values: Any) -> float:  # noqa: ANN401 - any iterable of numbers
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else 0.0


def _show(outcome: _Outcome) -> None:
    spread = f"{min(outcome.by_process)}..{max(outcome.by_process)}"
    scripts = "-" if outcome.scripts is None else f"{outcome.scripts:.2f}"
    script_us = "-" if outcome.script_us is None else f"{outcome.script_us:.0f}"
    print(
        f"{outcome.scenario:14} {outcome.used:9.1%} {outcome.refused:5} {outcome.lost:5} "
        f"{outcome.unreceived:10} {spread:>10} {outcome.small_wait:6.1f} s {outcome.large_wait:6.1f} s "
        f"{scripts:>8} {script_us:>8}  {outcome.verdict}",
        flush=True,
    )
    for error in outcome.errors[:3]:
        print(f"    {error}")


async def _all(scenarios: list[str], seconds: float, rounds: int, seed: int) -> bool:
    versions = f"redis-py {metadata.version('redis')}, aiohttp {metadata.version('aiohttp')}"
    print(
        f"{_PROCESSES} processes, {_LIMIT} images in {_PERIOD:g} s, {seconds:g} s each; Python "
        f"{platform.python_version()}, {versions}, {os.cpu_count()} CPUs"
    )
    print(
        f"{'scenario':14} {'of limit':>9} {'429':>5} {'lost':>5} {'unreceived':>10} "
        f"{'a process':>10} {'n<=2':>8} {'n>=9':>8} {'EVALSHA':>8} {'us each':>8}"
    )
    good = True
    for scenario in scenarios:
        for round_ in range(rounds):
            outcome = await _run(scenario, seconds, seed + round_)
            _show(outcome)
            good = good and outcome.verdict != "MISSED"
    print(
        "EVALSHA is script calls per image; n<=2 and n>=9 are mean waits of small and large calls."
    )
    return good


def main() -> int:
    """Run the scenarios and print a table; return 1 if one of them is below what is promised."""
    parser = argparse.ArgumentParser(description="Share one limit between processes")
    parser.add_argument("--seconds", type=float, default=80.0, help="for each; whole windows")
    parser.add_argument("--only", action="append", choices=_SCENARIOS, help="may be repeated")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seconds = max(3, round(options.seconds / _PERIOD)) * _PERIOD
    scenarios = options.only or list(_SCENARIOS)
    return 0 if asyncio.run(_all(scenarios, seconds, options.rounds, options.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
