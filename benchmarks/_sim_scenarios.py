"""Name the scenarios, with what is to be reached in them, and run one of them in virtual time."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import attrs

from benchmarks._sim_clients import Contender, Imagesdk
from benchmarks._sim_loads import Load, Measured, measure
from benchmarks._sim_network import SimServer
from benchmarks._sim_peers import AiolimiterGate, Openai, PyrateGate, Recipe
from benchmarks._sim_servers import (
    FixedWindow,
    Quantised,
    ServerModel,
    Shared,
    SlidingWindow,
    TokenBucket,
)
from imagesdk.testing.virtual import virtual_time

__all__ = ("CONFIGURED", "CONTENDERS", "OURS", "SCENARIOS", "Run", "Scenario", "simulate")

CONFIGURED = 50
"""Images a minute that the clients are told, unless the scenario says otherwise."""


OURS = "imagesdk"
CONTENDERS = (OURS, "AsyncOpenAI", "aiolimiter", "pyrate")


@attrs.frozen(kw_only=True)
class Scenario:
    """A server, what the client is told of it, and what is to be reached with a mixed batch.

    Attributes:
        label: For the table.
        model: Makes the server model; is given randomness for those that others use, too.
        least_percent: Of what the server permits.
        most_refusals: 429 in the hour, None for any number.
        hints: Whether a 429 names the limit and the time to wait.
        headers: Whether a success carries ``x-ratelimit-*`` headers.
        images_per_minute: What our session is told.
    """

    label: str
    model: Callable[[random.Random], ServerModel]
    least_percent: float
    most_refusals: int | None
    hints: bool = True
    headers: bool = False
    images_per_minute: float | Literal["auto"] = CONFIGURED


SCENARIOS: dict[str, Scenario] = {
    "bucket": Scenario(
        label="token bucket 50",
        model=lambda _: TokenBucket(50),
        least_percent=98,
        most_refusals=0,
    ),
    "sliding": Scenario(
        label="sliding window 50",
        model=lambda _: SlidingWindow(50),
        least_percent=98,
        most_refusals=0,
    ),
    "fixed": Scenario(
        label="fixed window 50",
        model=lambda _: FixedWindow(50),
        least_percent=98,
        most_refusals=0,
    ),
    "refused": Scenario(
        label="sliding 50, refused count",
        model=lambda _: SlidingWindow(50, counts_refused=True),
        least_percent=98,
        most_refusals=0,
    ),
    "named5": Scenario(
        label="sliding 5, named",
        model=lambda _: SlidingWindow(5),
        least_percent=97,
        most_refusals=5,
        headers=True,
    ),
    "named5-bucket": Scenario(
        label="token bucket 5, named",
        model=lambda _: TokenBucket(5),
        least_percent=97,
        most_refusals=5,
        headers=True,
    ),
    "named20": Scenario(
        label="sliding 20, named",
        model=lambda _: SlidingWindow(20),
        least_percent=97,
        most_refusals=5,
        headers=True,
    ),
    "named20-bucket": Scenario(
        label="token bucket 20, named",
        model=lambda _: TokenBucket(20),
        least_percent=97,
        most_refusals=5,
        headers=True,
    ),
    "real500": Scenario(
        label="sliding 500, auto",
        model=lambda _: SlidingWindow(500),
        least_percent=97,
        most_refusals=0,
        headers=True,
        images_per_minute="auto",
    ),
    "quantised1": Scenario(
        label="quantised to 1 s",
        model=lambda _: Quantised(50, 1),
        least_percent=80,
        most_refusals=100,
    ),
    "quantised10": Scenario(
        label="quantised to 10 s",
        model=lambda _: Quantised(50, 10),
        least_percent=80,
        most_refusals=100,
    ),
    "unnamed20": Scenario(
        label="sliding 20, unnamed",
        model=lambda _: SlidingWindow(20),
        least_percent=60,
        most_refusals=120,
        hints=False,
    ),
    "unnamed20-bucket": Scenario(
        label="token bucket 20, unnamed",
        model=lambda _: TokenBucket(20),
        least_percent=60,
        most_refusals=120,
        hints=False,
    ),
    "shared": Scenario(
        label="half used by others",
        model=lambda rng: Shared(50, others_per_minute=25, rng=rng),
        least_percent=75,
        most_refusals=None,
    ),
}


@attrs.frozen(kw_only=True)
class Run:
    """One run: everything that a worker process needs to know."""

    scenario: str
    load: Load
    contender: str
    seed: int
    seconds: float


def simulate(run: Run) -> Measured:
    """Carry one run out in virtual time."""
    scenario = SCENARIOS[run.scenario]
    seed = f"{run.seed} {run.scenario} {run.load}"
    server = SimServer(
        scenario.model(random.Random(f"others {seed}")),  # noqa: S311 - a simulation
        seed=f"network {seed}",
        hints=scenario.hints,
        headers=scenario.headers,
    )

    async def main() -> Measured:
        return await measure(
            _contender(run, server),
            server,
            run.load,
            seconds=run.seconds,
            limit=CONFIGURED,
            seed=f"load {seed}",
        )

    with _repeatable(seed), virtual_time() as runner:
        return runner.run(main())


@contextmanager
def _repeatable(seed: str) -> Iterator[None]:
    """Seed the clients' own jitter, and keep our client from warning of every fault."""
    log = logging.getLogger("imagesdk")
    level, state = log.level, random.getstate()
    log.setLevel(logging.CRITICAL)
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        log.setLevel(level)


def _contender(run: Run, server: SimServer) -> Contender:
    """Set up a client; those that adapt to nothing are told 50."""
    going = _concurrency(server.model.limit, run.load)
    match run.contender:
        case contender if contender == OURS:
            told = SCENARIOS[run.scenario].images_per_minute
            return Imagesdk(server, concurrency=going, options={"images_per_minute": told})
        case "AsyncOpenAI":
            return Openai(server)
        case "aiolimiter":
            return Recipe(server, AiolimiterGate(CONFIGURED), workers=going)
        case "pyrate":
            return Recipe(server, PyrateGate(CONFIGURED), workers=going)
        case other:
            raise ValueError(f"there is no contender {other!r}")


def _concurrency(limit: int, load: Load) -> int:
    """Return how many calls a batch keeps going: what is in flight at most, and a queue behind it."""
    return 200 + (limit if load == "single" else limit // 4)
