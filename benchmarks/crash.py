"""Kill a batch with SIGKILL at random moments, run it again each time, and count what is lost.

A server in another process keeps books of what it charges, in two manners: it honours the
Idempotency-Key, or it ignores it. After the last kill the batch is run to its end. Prints a row for each
manner, and ends with status 1 if an image is missing or torn, or if more was charged than there was in
flight at the kills (nothing, where the key is honoured)::

    python -m benchmarks.crash                # 50 kills each; about three minutes
    python -m benchmarks.crash --kills 5
    python -m benchmarks.crash --engine ray   # on a Ray cluster of this machine; about ten minutes
    python -m benchmarks.crash --store        # with the images in a store, which is a folder behind file://

With Ray each second kill hits one of the two workers, and the run goes on. It needs a system with
SIGKILL, and with Ray one that has /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

import attrs

__all__ = ("MANNERS", "Tally", "cluster", "main", "serve", "torture", "workers")

MANNERS = ("honours", "ignores")
_KEY = "sk-test"
_CONCURRENCY = 8
_MOST_IMAGES = 3
_JOBS_A_KILL = {"local": 40, "ray": 60}
_ALIVE = {"local": (0.1, 1.8), "ray": (0.0, 1.3)}
"""Seconds after which a run is killed, at least and at most; it takes half a second to begin. With Ray it
takes some seconds, so they count from its first request on."""
_BEGINS_WITHIN = 30.0
_GOES_ON = (0.1, 1.0)
"""Seconds for which a run goes on after one of its workers was killed, at least and at most."""
_ENDS_WITHIN = 120.0
_WORKER = b"ray::_WorkerActor"
"""What Ray calls the process of a worker."""


@attrs.define(kw_only=True)
class Tally:
    """What a batch that was killed again and again came to.

    Attributes:
        manner: What the server does with an Idempotency-Key.
        kills: Runs and workers that were killed.
        workers: Of them, workers: the run went on.
        images: That were asked for.
        missing: Of them, those that are not there at the end.
        torn: Files that are no image that the server made for their prompt.
        extra: Images that were charged beyond those asked for.
        in_flight: Images of requests that had been begun and were not recorded when a kill came.
        rest: Names of files that nobody knows.
    """

    manner: str
    kills: int = 0
    workers: int = 0
    images: int = 0
    missing: int = 0
    torn: int = 0
    extra: int = 0
    in_flight: int = 0
    rest: list[str] = attrs.field(factory=list)

    @property
    def is_good(self) -> bool:
        """True if nothing was lost, and nothing was paid for without need."""
        allowed = 0 if self.manner == "honours" else self.in_flight
        return not (self.missing or self.torn or self.rest) and 0 <= self.extra <= allowed


@contextmanager
def serve() -> Iterator[str]:
    """Run the server in a process of its own; give its address."""
    command = (sys.executable, "-m", "benchmarks._crash_server")
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the server has pipes")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@contextmanager
def cluster() -> Iterator[None]:
    """Run a Ray cluster of this machine alone, which the runs find in their environment."""
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OPENAI_API_KEY": _KEY}
    import ray

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()


def workers() -> list[int]:
    """Return the processes of the workers of our `cluster`, and of no other."""
    parents: dict[int, int] = {}
    named: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if (path / "cmdline").read_bytes().startswith(_WORKER):
                named.append(int(path.name))

    def is_ours(process: int) -> bool:
        while process not in (0, os.getpid()):
            process = parents.get(process, 0)
        return process != 0

    return [process for process in named if is_ours(process)]


def torture(
    url: str,
    manner: str,
    kills: int,
    folder: Path,
    *,
    seed: int = 0,
    engine: str = "local",
    store: bool = False,
) -> Tally:
    """Kill a batch so often, run it to its end, and count.

    Args:
        url: Of the server.
        manner: One of `MANNERS`.
        kills: How often.
        folder: An empty one.
        seed: Of the moments.
        engine: ``"local"``, or ``"ray"`` within `cluster`.
        store: Whether the images go to a store of objects, which is that folder, too.
    """
    rng = random.Random(f"{manner} {seed}")  # noqa: S311 - no secret
    counts = {
        f"{engine} {manner} {seed} {number}": rng.randint(1, _MOST_IMAGES)
        for number in range(kills * _JOBS_A_KILL[engine])
    }
    lines = (json.dumps({"prompt": prompt, "n": n}) + "\n" for prompt, n in counts.items())
    (folder / "jobs.jsonl").write_text("".join(lines), encoding="utf-8")
    out = folder / "out"
    before = _books(url)[0]
    tally = Tally(manner=manner, images=sum(counts.values()))
    for _ in range(kills):
        if tally.kills >= kills:
            break
        charged = _books(url)[0]
        with _begin(url, manner, folder, engine, store=store) as process:
            if engine == "ray":
                _wait_for_more(url, charged, process)
            runs = _runs_on(process, rng.uniform(*_ALIVE[engine]))
            if runs and engine == "ray" and tally.kills % 3 == 1 and (pids := workers()):
                os.kill(rng.choice(pids), signal.SIGKILL)
                tally.kills += 1
                tally.workers += 1
                tally.in_flight += _in_flight(out)
                runs = _runs_on(process, rng.uniform(*_GOES_ON))
            if runs:
                process.kill()
                tally.kills += 1
        tally.in_flight += _in_flight(out)
    with _begin(url, manner, folder, engine, store=store) as process:
        if process.wait(timeout=_ENDS_WITHIN):
            raise RuntimeError(f"the last run ended with exit code {process.returncode}")
    charged, made = _books(url)
    tally.extra = charged - before - tally.images
    _look_at(out, counts, made, tally)
    return tally


def _wait_for_more(url: str, charged: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until more is charged, or the run ends by itself."""
    waited = 0.0
    while waited < _BEGINS_WITHIN and _books(url)[0] == charged and _runs_on(process, 0.05):
        waited += 0.05


def _runs_on(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long; return False if the run ends by itself."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _begin(
    url: str, manner: str, folder: Path, engine: str, *, store: bool
) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "imagesdk.cli.main", "batch", "run", folder / "jobs.jsonl")
    out = folder / "out"
    options = ["--out", out.as_uri() if store else out, "--base-url", f"{url}/{manner}/v1"]
    options += ["--ledger", out] if store else []
    limits = ("--no-gallery", "--images-per-minute", "off", "--concurrency", str(_CONCURRENCY))
    where = ("--engine", engine, *(("--workers", "2") if engine == "ray" else ()))
    return subprocess.Popen(  # noqa: S603 - our own program
        [*command, *options, *limits, *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OPENAI_API_KEY": _KEY},
    )


def _in_flight(out: Path) -> int:
    """Return how many images were begun and not recorded: only looking, so that nothing is put right."""
    if not (out / "run.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{out / 'run.db'}?mode=ro", uri=True)) as ledger:
        sql = "SELECT coalesce(sum(images), 0) FROM jobs WHERE state = 'started'"
        try:
            (count,) = ledger.execute(sql).fetchone()
        except sqlite3.OperationalError:  # killed before there was a table
            return 0
    return int(count)


def _books(url: str) -> tuple[int, dict[str, list[str]]]:
    with urllib.request.urlopen(f"{url}/books") as answer:  # noqa: S310 - our own server
        books = json.load(answer)
    return books["charged"], books["made"]


def _look_at(out: Path, counts: dict[str, int], made: dict[str, list[str]], tally: Tally) -> None:
    """Compare the folder with what was asked for, and with what the server made."""
    known = {out / name for name in ("run.db", "run.lock", "manifest.jsonl", ".imagesdk")}
    there = dict.fromkeys(counts, 0)
    for line in (out / "manifest.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        prompt = record["params"]["prompt"]
        for image in record["images"]:
            path = out / image["file"]
            known.add(path)
            if not path.is_file():
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest == image["sha256"] and digest in made[prompt]:
                there[prompt] += 1
            else:
                tally.torn += 1
    tally.missing = sum(max(0, count - there[prompt]) for prompt, count in counts.items())
    files = (path for path in out.rglob("*") if path.is_file())
    tally.rest = sorted(str(path.relative_to(out)) for path in files if path not in known)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options select, print it, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="default: local"
    )
    parser.add_argument("--store", action="store_true", help="images in a store of objects")
    options = parser.parse_args(arguments)
    print("| the server … the key | kills | images | missing | torn | charged extra | in flight |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    tallies: list[Tally] = []
    with serve() as url, cluster() if options.engine == "ray" else nullcontext():
        for manner in MANNERS:
            with tempfile.TemporaryDirectory() as folder:
                tally = torture(
                    url,
                    manner,
                    options.kills,
                    Path(folder),
                    seed=options.seed,
                    engine=options.engine,
                    store=options.store,
                )
            tallies.append(tally)
            of_workers = f" ({tally.workers} of workers)" if tally.workers else ""
            print(
                f"| {manner} | {tally.kills}{of_workers} | {tally.images} | {tally.missing} | {tally.torn} | "
                f"{tally.extra} | {tally.in_flight} |",
                flush=True,
            )
    return 0 if all(tally.is_good for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
