"""Submitting and fetching that are killed at the worst moments: no request in two batches, no image lost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.records import MANIFEST
from imagesdk.emulator import BatchPlan, EmulatorServer
from imagesdk.emulator.recording import RecordedRequest

IDS = [f"r{number}" for number in range(12)]
PROGRAM = """\
import asyncio, sys
from imagesdk import ImageSession
from imagesdk.batch import fetch, submit

async def main(action, url, out):
    async with ImageSession(base_url=url, api_key="sk-test-crash") as session:
        if action == "submit":
            rows = [{"id": f"r{n}", "prompt": f"a fox {n}", "size": "256x256"} for n in range(12)]
            await submit(rows, out, session=session, max_lines=4)
        else:
            await fetch(out, session=session, wait=True, every=0.02)

asyncio.run(main(*sys.argv[1:]))
"""


class Killer:
    """Kills a process at the moment at which the server has answered, and nobody has heard it.

    Args:
        moments: Method and end of the path of the requests whose answers are lost, in order.
    """

    def __init__(self, *moments: tuple[str, str]) -> None:
        self.moments = deque(moments)
        self.process: asyncio.subprocess.Process | None = None

    def on_request(self, request: RecordedRequest) -> None:
        """Take note of a request whose answer is ready, and not on its way yet."""
        if not self.moments or self.process is None or self.process.returncode is not None:
            return
        method, end = self.moments[0]
        if request.method == method and request.path.endswith(end):
            self.moments.popleft()
            self.process.kill()

    async def run(self, *arguments: str) -> int:
        """Run a call again and again until it ends by itself; return how often it was killed."""
        kills = 0
        while True:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                PROGRAM,
                *arguments,
                env={**os.environ, "PYTHONWARNINGS": "error"},
            )
            code = await self.process.wait()
            if code == 0:
                return kills
            assert code == -9
            kills += 1


def manifest(out: Path) -> list[dict[str, Any]]:
    """Return the records of the manifest."""
    return [json.loads(line) for line in (out / MANIFEST).read_bytes().splitlines()]


@pytest.mark.timeout(120)
async def test_a_kill_at_any_step_submits_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    """Killed after each paid step before it heard the answer, the next call goes on where the server is."""
    killer = Killer(
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/batches"),
        ("GET", "/content"),
        ("GET", "/content"),
    )
    async with EmulatorServer(
        batches=BatchPlan(), on_request=killer.on_request, images_per_minute=None
    ) as server:
        assert await killer.run("submit", server.base_url, str(tmp_path)) == 3
        assert await killer.run("fetch", server.base_url, str(tmp_path)) == 2
        assert server.charged == len(IDS)
        asked = [request.path for request in server.requests if request.method == "POST"]
        assert asked.count("/v1/batches") == 3
        assert asked.count("/v1/files") == 4  # one was uploaded, and never asked for
    assert not killer.moments
    records = await asyncio.to_thread(manifest, tmp_path)
    assert sorted(record["custom_id"] for record in records) == sorted(IDS)
    assert {record["status"] for record in records} == {"done"}
    pictures = {path.name for path in await asyncio.to_thread(lambda: [*tmp_path.rglob("*.png")])}
    assert pictures == {f"{name}-1.png" for name in IDS}
