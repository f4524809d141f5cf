"""Compare what a batch is said to take with what it takes: our estimate, rich's, and that of a mean rate.

Whole batches in virtual time, with the real session and limiter and a scripted transport: the same figures on any
machine, within seconds. Ends with status 1 if our estimate is further off than it may be: 5 % where the
limit holds the batch back. Where its slots do, nobody knows more than the requests tell that have ended, and
after a 429 that explains nothing the limiter is careful for some minutes, and so is the estimate::

    python -m benchmarks.eta
    python -m benchmarks.eta --markdown
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.progress import Progress

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.progress import BatchProgress
from imagesdk.batch.records import Record
from imagesdk.client.results import ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.models.requests import ImageRequest
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

__all__ = ("SCENARIOS", "Estimate", "Scenario", "main", "simulate")

_TIMES = (20.0, 30.0, 60.0, 120.0, 300.0)
_HEAD = ("seconds after the begin", "true", "imagesdk", "off by", "rich", "mean rate")


@attrs.frozen(kw_only=True)
class Scenario:
    """A batch.

    Attributes:
        title: In a few words.
        requests: How many.
        n: Images that each asks for.
        limit: Images a minute, None for any number.
        concurrency: Most requests in flight.
        latency: Seconds that a request takes, at least and at most.
        refused: Begin and end of a time in which the server answers 429 and asks for a pause until its end.
        times: When the estimate is asked for.
        within: How far our estimate may be off, as a part of the truth.
    """

    title: str
    requests: int = 1000
    n: int = 1
    limit: float | None = 50.0
    concurrency: int = 64
    latency: tuple[float, float] = (8.0, 16.0)
    refused: tuple[float, float] = (0.0, 0.0)
    times: Sequence[float] = _TIMES
    within: float = 0.05


@attrs.frozen(kw_only=True)
class Estimate:
    """What was said to be left at a time, in seconds; None for nothing.

    Attributes:
        at: The time.
        true: What was left.
        ours: What `imagesdk.batch.progress` said.
        rich: What rich's own ``TimeRemainingColumn`` said.
        mean: Images left by images a second so far.
    """

    at: float
    true: float
    ours: float | None
    rich: float | None
    mean: float | None

    @property
    def error(self) -> float:
        """How far ours is off, as a part of the truth."""
        return 1.0 if self.ours is None else abs(self.ours / self.true - 1)


SCENARIOS = (
    Scenario(title="1,000 images, limit 50 a minute, 64 in flight"),
    Scenario(title="the same, 16 in flight (the default)", concurrency=16),
    Scenario(title="the same, 11 in flight: limit and slots take turns", concurrency=11),
    Scenario(title="the same, 4 in flight: the slots hold it back", concurrency=4, within=0.2),
    Scenario(title="without a limit, 16 in flight", limit=None, concurrency=16, within=0.12),
    Scenario(title="250 requests for 4 images, limit 50 a minute", requests=250, n=4),
    Scenario(title="143 requests for 7 images, limit 50 a minute", requests=143, n=7),
    Scenario(
        title="limit 50 a minute; at 25 s the server asks for a pause of 45 s",
        refused=(25.0, 70.0),
        concurrency=16,
        times=(20.0, 26.0, 40.0, 60.0, 80.0, 120.0, 300.0),
        within=0.12,
    ),
)


def simulate(scenario: Scenario, *, seed: int = 1) -> list[Estimate]:
    """Run a batch, and return what was said at its times."""
    with virtual_time() as runner:
        return runner.run(_run(scenario, random.Random(seed)))  # noqa: S311 - no secret


async def _run(scenario: Scenario, rng: random.Random) -> list[Estimate]:
    loop = asyncio.get_running_loop()
    line = f'{{"prompt": "a fox", "n": {scenario.n}}}'
    jobs: dict[int, Job] = {}
    total = scenario.requests * scenario.n
    progress = BatchProgress(scenario.concurrency, now=loop.time())
    progress.begin(Total(scenario.requests, total))
    bar = Progress(console=Console(quiet=True), get_time=loop.time)
    task = bar.add_task("images", total=total)
    begun: dict[int, float] = {}
    said: list[tuple[float, float | None, float | None, float | None]] = []

    def answer(_request: SentRequest) -> ScriptedAnswer:
        begin, end = scenario.refused
        if begin <= loop.time() < end:
            left = str(int(end - loop.time()) + 1)
            return ScriptedAnswer({"error": {}}, status=429, headers={"retry-after": left})
        images = [{"url": "https://example.org/a.png"}] * scenario.n
        return ScriptedAnswer({"data": images}, delay=rng.uniform(*scenario.latency))

    def ask() -> None:
        state = progress.snapshot(loop.time(), session.snapshot(), session.forecast)
        per_second = state.images / state.elapsed
        mean = (total - state.images) / per_second if per_second else None
        said.append((loop.time(), state.left, bar.tasks[0].time_remaining, mean))

    async def before_send(request: ImageRequest) -> None:
        if id(request) not in begun:
            begun[id(request)] = loop.time()
            progress.start(jobs[id(request)], loop.time())

    session = ImageSession(
        base_url="http://server/v1",
        transport=ScriptedTransport(answer),
        images_per_minute=scenario.limit,
    )
    requests = []
    for job in read_jobs([line] * scenario.requests, Path()):
        requests.append(request := job.request)
        jobs[id(request)] = job
    for time in scenario.times:
        loop.call_at(time, ask)
    async with (
        session,
        session.map(
            requests, concurrency=scenario.concurrency, before_send=before_send
        ) as outcomes,
    ):
        async for outcome in outcomes:
            job = jobs[id(outcome.request)]
            record = _record(job, outcome.unwrap(), loop.time() - begun[id(outcome.request)])
            progress.end(record, loop.time())
            bar.advance(task, len(record.images))
    end = loop.time()
    return [
        Estimate(at=at, true=end - at, ours=ours, rich=by_rich, mean=mean)
        for at, ours, by_rich, mean in said
    ]


def _record(job: Job, response: ImagesResponse, elapsed: float) -> Record:
    """Return what the runner would note."""
    waited = elapsed - sum(attempt.elapsed for attempt in response.attempts)
    return Record(
        custom_id=job.custom_id,
        status="done",
        endpoint=job.endpoint,
        params=job.params,
        key=job.key,
        images=[{}] * len(response.data),
        usage=None,
        request_id=None,
        attempts=len(response.attempts),
        elapsed=elapsed,
        waited=max(0.0, waited),
        error=None,
        finished_at="",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate every batch, print the estimates, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eta", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print tables for a page")
    markdown = parser.parse_args(arguments).markdown
    missed = 0
    for scenario in SCENARIOS:
        print(f"\n{scenario.title}\n")
        estimates = simulate(scenario)
        rows = [_HEAD, *(_row(estimate) for estimate in estimates)]
        print("\n".join(_lines(rows, markdown=markdown)))
        missed += any(each.error > scenario.within for each in estimates)
    return 1 if missed else 0


def _row(estimate: Estimate) -> tuple[str, ...]:
    seconds = (estimate.ours, estimate.rich, estimate.mean)
    ours, by_rich, mean = (f"{each:,.0f}" if each is not None else "-" for each in seconds)
    error = f"{estimate.error:.1%}" if estimate.ours is not None else "-"
    return (f"{estimate.at:.0f}", f"{estimate.true:,.0f}", ours, error, by_rich, mean)


def _lines(rows: Sequence[Sequence[str]], *, markdown: bool) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [[c.rjust(w) for c, w in zip(row, widths, strict=True)] for row in rows]
    if not markdown:
        return ["  ".join(row) for row in texts]
    texts.insert(1, [f"{'-' * (width - 1)}:" for width in widths])
    return [f"| {' | '.join(row)} |" for row in texts]


if __name__ == "__main__":
    sys.exit(main())
