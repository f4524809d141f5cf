"""What every engine promises: nothing is lost, nothing is paid for without need, the limit holds.

Those of the cluster are marked ``cluster``: they need Ray, and start one of this machine alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import pytest

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.crash import cluster, serve, torture, workers
from imagesdk.batch.destination import destination_of
from imagesdk.batch.engine import Engine
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker, WorkerSpec
from imagesdk.cli import EXIT_CODES
from imagesdk.emulator.server import EmulatorServer
from tests.conftest import missing

ENGINES = ["local", pytest.param("ray", marks=pytest.mark.cluster)]
KEY = "sk-test"
Open: TypeAlias = Callable[[WorkerSpec], AbstractAsyncContextManager[Engine]]


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A Ray of this machine, for all tests of this file."""
    if find_spec("ray") is None:
        missing("Ray", "imagesdk[ray]")
    before = os.environ.copy()
    try:
        with cluster():
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Name of an engine that can be used."""
    name: str = request.param
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return name


@pytest.fixture
def open_engine(engine_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Open:
    """Opens an engine; that of a cluster has two workers."""
    ledger = tmp_path
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    @asynccontextmanager
    async def opened(spec: WorkerSpec) -> AsyncIterator[Engine]:
        if engine_name == "local":
            async with spec.session() as session:
                yield Worker(session, destination_of(spec.out, ledger))
        else:
            from imagesdk.batch._ray import RayEngine

            async with RayEngine(spec, workers=2) as engine:
                yield engine

    return opened


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that keeps books, in a process of its own."""
    with serve() as url:
        yield url


def books(url: str) -> tuple[int, dict[str, list[str]]]:
    """Return how many images were charged, and the hashes of those of each prompt."""
    with urllib.request.urlopen(f"{url}/books") as answer:  # noqa: S310 - our own server
        kept = json.load(answer)
    return kept["charged"], kept["made"]


def jobs_of(name: str, number: int) -> list[Job]:
    """Return jobs that ask for one to three images each."""
    lines = (json.dumps({"prompt": f"{name} {i}", "n": 1 + i % 3}) for i in range(number))
    return list(read_jobs(lines, Path()))


def hashes_in(out: Path) -> dict[str, list[str]]:
    """Return the hashes of the files that the manifest gives for each prompt."""
    lines = (out / "manifest.jsonl").read_bytes().splitlines()
    return {
        record["params"]["prompt"]: [
            hashlib.sha256((out / image["file"]).read_bytes()).hexdigest()
            for image in record["images"]
        ]
        for record in map(json.loads, lines)
    }


@pytest.mark.parametrize("where", ["folder", "store"])
async def test_every_job_is_done_once(
    open_engine: Open, where: str, server: str, tmp_path: Path
) -> None:
    """Each image is there, is the one that the server made, and was charged once."""
    out = destination_of(str(tmp_path) if where == "folder" else tmp_path.as_uri(), tmp_path)
    jobs = jobs_of(f"once {tmp_path}", 40)
    images = sum(job.params["n"] for job in jobs)
    before, _ = await asyncio.to_thread(books, server)
    spec = WorkerSpec(out=str(out), base_url=f"{server}/ignores/v1", images_per_minute=None)
    async with open_engine(spec) as engine:
        summary = await run_jobs(engine, jobs, out, concurrency=8)
        assert engine.snapshot().limit is None
        assert engine.forecast(10, 10) == 0
    assert summary == Summary(done=40, images=images)
    charged, made = await asyncio.to_thread(books, server)
    assert charged - before == images
    for prompt, hashes in (await asyncio.to_thread(hashes_in, tmp_path)).items():
        assert sorted(hashes) == sorted(made[prompt])
        images -= len(hashes)
    assert images == 0


async def test_the_limit_is_never_exceeded(open_engine: Open, tmp_path: Path) -> None:
    """All workers together send as many as the limit says, and not one more; the others wait."""
    limit = 10
    seen: list[str] = []
    enough = asyncio.Event()

    def count(request: object) -> None:
        seen.append(repr(request))
        if len(seen) == limit:
            enough.set()

    async with EmulatorServer(images_per_minute=None, on_request=count) as emulator:
        spec = WorkerSpec(out=tmp_path, base_url=emulator.base_url, images_per_minute=limit)
        lines = (
            json.dumps({"prompt": str(i), "size": "256x256", "response_format": "b64_json"})
            for i in range(30)
        )
        async with open_engine(spec) as engine:
            run = asyncio.create_task(
                run_jobs(engine, list(read_jobs(lines, Path())), tmp_path, concurrency=20)
            )
            await asyncio.wait_for(enough.wait(), 30)
            for _ in range(30):  # 1.2 s in which nothing may come
                await asyncio.sleep(0.04)
            assert len(seen) == limit
            assert 100 < engine.forecast(20, 20) <= 120
            run.cancel()
            await asyncio.wait([run])
    assert len(seen) == limit


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
async def test_a_worker_that_is_killed_loses_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on; what the worker had in flight is sent again with its key, and charged once."""
    from imagesdk.batch._ray import RayEngine

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    jobs = jobs_of(f"worker {tmp_path}", 120)
    images = sum(job.params["n"] for job in jobs)
    before, _ = await asyncio.to_thread(books, server)
    records: list[object] = []
    spec = WorkerSpec(out=tmp_path, base_url=f"{server}/honours/v1", images_per_minute=None)
    async with RayEngine(spec, workers=2) as engine:
        pids = await asyncio.to_thread(workers)
        assert len(pids) == 2

        def kill(record: object, _is_new: bool) -> None:  # noqa: FBT001
            records.append(record)
            if len(records) == 20:
                os.kill(pids[0], signal.SIGKILL)

        summary = await run_jobs(engine, jobs, tmp_path, concurrency=8, on_record=kill)
    assert summary.done == len(jobs)
    assert summary.resent
    charged, made = await asyncio.to_thread(books, server)
    assert charged - before == images
    hashes = await asyncio.to_thread(hashes_in, tmp_path)
    assert Counter(len(each) for each in hashes.values()) == Counter(j.params["n"] for j in jobs)
    assert all(set(each) <= set(made[prompt]) for prompt, each in hashes.items())


@pytest.mark.parametrize(
    ("engine", "manner"),
    [
        ("local", "honours"),
        ("local", "ignores"),
        ("store", "honours"),
        pytest.param("ray", "ignores", marks=pytest.mark.cluster),
    ],
)
def test_a_driver_that_is_killed_loses_nothing(
    engine: str, manner: str, server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The next run does the rest: every image is there and whole, and what was charged twice was in flight.

    ``python -m benchmarks.crash`` does it fifty times.
    """
    if engine == "ray":
        request.getfixturevalue("ray_cluster")
    store = engine == "store"  # which is done locally
    engine = "local" if store else engine
    kills = {"local": 4, "ray": 3}[engine]
    tally = torture(server, manner, kills, tmp_path, engine=engine, store=store)
    assert tally.kills
    assert tally.is_good, tally


def test_ctrl_c_waits_for_what_is_in_flight(engine_name: str, server: str, tmp_path: Path) -> None:
    """The first Ctrl-C sends nothing more and lets what is paid for arrive: all that was charged is there."""
    lines = (json.dumps({"prompt": f"drain {tmp_path} {number}"}) + "\n" for number in range(400))
    (tmp_path / "jobs.jsonl").write_text("".join(lines), encoding="utf-8")
    before, _ = books(server)
    options = ["--engine", engine_name, *(["--workers", "2"] if engine_name == "ray" else [])]
    options += ["--base-url", f"{server}/ignores/v1", "--images-per-minute", "off", "--no-gallery"]
    command = [sys.executable, "-m", "imagesdk.cli.main", "batch", "run", "jobs.jsonl"]
    with subprocess.Popen(
        [*command, "--out", "out", *options],
        cwd=tmp_path,
        env=os.environ | {"OPENAI_API_KEY": KEY},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C goes to all processes of the terminal
    ) as process:
        while books(server)[0] < before + 40 and process.poll() is None:
            signal.sigtimedwait([], 0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == EXIT_CODES["interrupted"]
    charged = books(server)[0] - before
    assert 40 <= charged < 400
    assert len(list((tmp_path / "out").glob("*.png"))) == charged
    assert len(hashes_in(tmp_path / "out")) == charged
