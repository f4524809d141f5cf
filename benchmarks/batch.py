"""Save many images with `imagesdk.batch.run`, and with a plain aiohttp script, without a limit.

Each client is a process of its own, against a server in another process that sends one prepared image as fast as it
is taken. Prints images a second, and the processor time of the client for each image. What is saved
is compared with what was sent, and removed after each run; *images* times *size* must fit on the disk::

    python -m benchmarks.batch                    # 10,000 images of 1.5 MB: 15 GB, a few minutes each
    python -m benchmarks.batch --images 500
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from benchmarks._peers_runs import prepared_server
from benchmarks._peers_server import picture

__all__ = ("CLIENTS", "main", "run_client")

_ROOT = Path(__file__).parents[1]
_CONCURRENCY = 32
_Client = Callable[[str, int, Path], Coroutine[Any, Any, None]]


async def _ours(base_url: str, images: int, folder: Path) -> None:
    """Run a batch: checked input, ledger, manifest, hashes, files forced to the disk."""
    from imagesdk import ImageSession, batch

    rows = ({"id": f"picture-{number}", "prompt": "a fox"} for number in range(images))
    async with ImageSession(
        base_url=base_url, api_key="sk-test", images_per_minute=None
    ) as session:
        summary = await batch.run(rows, folder, session=session, concurrency=_CONCURRENCY)
    assert summary.images == images, summary  # noqa: S101


async def _plain(base_url: str, images: int, folder: Path) -> None:
    """Do what one writes first: json(), b64decode, write_bytes."""
    await _script(
        base_url, images, lambda number, data: (folder / f"{number}.png").write_bytes(data)
    )


async def _careful(base_url: str, images: int, folder: Path) -> None:
    """Do the same, with a hash, a temporary name, fsync and rename for each image, in a thread."""

    def save(number: int, data: bytes) -> None:
        part = folder / f"{number}.part"
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hashlib.sha256(data).hexdigest()
        part.replace(folder / f"{number}.png")

    await _script(base_url, images, save, in_thread=True)


async def _script(
    base_url: str, images: int, save: Callable[[int, bytes], object], *, in_thread: bool = False
) -> None:
    numbers = iter(range(images))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {"prompt": "a fox"}
            async with session.post(
                f"{base_url}/images/generations", json=body, raise_for_status=True
            ) as reply:
                answer = await reply.json()
            data = base64.b64decode(answer["data"][0]["b64_json"])
            if in_thread:
                await asyncio.to_thread(save, number, data)
            else:
                save(number, data)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(work(session))


CLIENTS: Mapping[str, _Client] = {
    "imagesdk.batch": _ours,
    "plain script": _plain,
    "careful script": _careful,
}


def run_client(name: str, base_url: str, images: int, folder: Path) -> Mapping[str, float]:
    """Run a client in this process, and return wall and processor time in seconds, memory in bytes."""
    before, begin = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    asyncio.run(CLIENTS[name](base_url, images, folder))
    wall, after = perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": wall,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "memory": after.ru_maxrss * 1024,
    }


def _measure(
    name: str, port: int, images: int, size_bytes: int, folder: Path
) -> Mapping[str, float]:
    folder.mkdir()
    os.sync()
    program = (sys.executable, "-m", "benchmarks.batch", "--client", name)
    options = ("--images", str(images), "--url", f"http://127.0.0.1:{port}/b64.{size_bytes}.1/v1")
    done = subprocess.run(  # noqa: S603 - our own program
        [*program, *options, "--folder", folder],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-800:]}")
    saved = [path for path in folder.rglob("*.png") if path.stat().st_size == size_bytes]
    if len(saved) != images or saved[-1].read_bytes() != picture(size_bytes):
        raise RuntimeError(f"{name} saved {len(saved)} of {images} images")
    shutil.rmtree(folder)
    measured: Mapping[str, float] = json.loads(done.stdout)
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every client, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument(
        "--size", type=int, default=1_500_000, metavar="BYTES", help="(default: 1500000)"
    )
    parser.add_argument("--only", choices=CLIENTS, action="append", help="may be repeated")
    for name in ("--client", "--url", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.client:
        print(
            json.dumps(
                run_client(options.client, options.url, options.images, Path(options.folder))
            )
        )
        return 0
    print(f"{options.images:,} images of {options.size / 1e6:g} MB, {_CONCURRENCY} in flight\n")
    print(f"{'':16}{'seconds':>9}{'images/s':>10}{'CPU ms/image':>14}{'(system)':>10}{'MB':>7}")
    with (
        tempfile.TemporaryDirectory(prefix="imagesdk-batch-") as folder,
        prepared_server() as port,
    ):
        for name in options.only or CLIENTS:
            m = _measure(name, port, options.images, options.size, Path(folder) / "out")
            cpu, system = (1e3 * t / options.images for t in (m["user"] + m["system"], m["system"]))
            print(
                f"{name:16}{m['wall']:9.1f}{options.images / m['wall']:10.1f}"
                f"{cpu:14.2f}{system:10.2f}{m['memory'] / 1e6:7.0f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
