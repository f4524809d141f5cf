"""Put a load on a contender for a while, and measure what became of it.

Loads: a saturating batch (``mixed``: 1 to 10 images a call, ``single``: one); ``light`` interactive use,
10 images a minute at random times in calls for 1 or 2; ``bots``, 30 calls for one image at once every
5 minutes; ``fair``, a stream of calls for one image at 105 % of the limit beside a call for ten every
3 minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, TypeAlias

import attrs

from benchmarks._sim_clients import Asked, Contender, Fate
from benchmarks._sim_network import SimServer

__all__ = ("BURST_EVERY", "LOADS", "Load", "Measured", "Wait", "measure")

Load: TypeAlias = Literal["mixed", "single", "light", "bots", "fair"]

BURST_EVERY = 300.0
_BURST = 30
_LIGHT_PER_MINUTE = 10.0
_FAIR_SHARE = 1.05
_TEN_EVERY = 180.0
_RAMP = 2.0
_WINDOW = 60.35
"""Seconds in which images count against the limit, by the client's own, careful reckoning."""


@attrs.frozen(kw_only=True)
class Wait:
    """How long one call waited to be sent.

    Attributes:
        called: When it was made.
        cost: Images that it asked for.
        wait: Seconds from the call to its first sending; to the end of the run if it was never sent.
        sent: False if it was never sent.
        recent: Images that went out in the 60.35 s up to its sending, its own included.
    """

    called: float
    cost: int
    wait: float
    sent: bool
    recent: int


@attrs.frozen(kw_only=True)
class Measured:
    """The result of one run.

    Attributes:
        permitted: Images that the server permits to a perfect client.
        admitted: Images that it admitted.
        refusals: Number of 429.
        delivered: Images that arrived.
        lost: Images lost for good because of a limit.
        failed: Images lost for good because of a fault.
        passed: Longest time in seconds that a call had still to wait after a later one was sent.
        waits: Of the interactive loads, one for each call.
        refused_at: Times, images, images in use and hint of each 429.
    """

    permitted: float
    admitted: int
    refusals: int
    delivered: int
    lost: int
    failed: int
    passed: float
    waits: tuple[Wait, ...]
    refused_at: tuple[tuple[float, int, int, float | None], ...]


class _Tally:
    def __init__(self) -> None:
        self.delivered = self.refused = self.failed = 0

    def add(self, fate: Fate) -> None:
        self.delivered += fate.delivered
        self.refused += fate.refused
        self.failed += fate.failed


async def measure(
    contender: Contender, server: SimServer, load: Load, *, seconds: float, limit: int, seed: str
) -> Measured:
    """Run one load from now, which is 0, for *seconds*.

    Args:
        contender: To put it on; it is entered and left.
        server: That the contender talks to.
        load: Which one.
        seconds: Virtual seconds.
        limit: Images a minute, of which ``fair`` asks for 105 %.
        seed: Of the load.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation
    tally = _Tally()
    called: dict[str, tuple[float, int]] = {}
    async with contender:
        try:
            async with asyncio.timeout_at(seconds):
                if load in LOADS:
                    await _interactive(contender, LOADS[load](rng, limit), called, tally)
                else:
                    await contender.batch(_batch(load, rng), tally.add)
        except TimeoutError:
            pass
        sent, refused, admitted = tuple(server.sent), tuple(server.refused), server.admitted
    return Measured(
        permitted=server.model.permits(seconds),
        admitted=admitted,
        refusals=len(refused),
        delivered=tally.delivered,
        lost=tally.refused,
        failed=tally.failed,
        passed=_passed({one.prompt: one.at for one in reversed(sent)}, seconds),
        waits=_waits(called, [(one.at, one.prompt, one.cost) for one in sent], seconds),
        refused_at=tuple((r.at, r.cost, r.used, r.wait) for r in refused),
    )


def _batch(load: Load, rng: random.Random) -> Iterator[Asked]:
    number = 0
    while True:
        number += 1
        yield f"{number}", rng.randint(1, 10) if load == "mixed" else 1


async def _interactive(
    contender: Contender,
    arrivals: AsyncIterator[int],
    called: dict[str, tuple[float, int]],
    tally: _Tally,
) -> None:
    clock = asyncio.get_running_loop().time

    async def call(asked: Asked) -> None:
        tally.add(await contender.generate(asked))

    async with asyncio.TaskGroup() as group:
        async for n in arrivals:
            prompt = f"{len(called) + 1}"
            called[prompt] = clock(), n
            group.create_task(call((prompt, n)))


async def _light(rng: random.Random, limit: int) -> AsyncIterator[int]:
    del limit
    while True:
        n = rng.randint(1, 2)
        await asyncio.sleep(rng.expovariate(_LIGHT_PER_MINUTE / 60 / 1.5))
        yield n


async def _bots(rng: random.Random, limit: int) -> AsyncIterator[int]:
    del rng, limit
    clock = asyncio.get_running_loop().time
    number = 0
    while True:
        await asyncio.sleep(max(0.0, number * BURST_EVERY - clock()))
        for _ in range(_BURST):
            yield 1
        number += 1


async def _fair(rng: random.Random, limit: int) -> AsyncIterator[int]:
    clock = asyncio.get_running_loop().time
    ten_at, one_at = _TEN_EVERY, 0.0
    while True:
        await asyncio.sleep(max(0.0, min(ten_at, one_at) - clock()))
        if ten_at <= one_at:
            ten_at += _TEN_EVERY
            yield 10
        else:
            one_at += rng.expovariate(limit * _FAIR_SHARE / 60)
            yield 1


LOADS: dict[Load, Callable[[random.Random, int], AsyncIterator[int]]] = {
    "light": _light,
    "bots": _bots,
    "fair": _fair,
}


def _passed(first_sent: dict[str, float], seconds: float) -> float:
    """Return the longest time between the sending of a later call and that of an earlier one."""
    longest, soonest = 0.0, seconds
    for number in range(max(map(int, first_sent), default=0), 0, -1):
        at = first_sent.get(f"{number}", seconds)
        longest, soonest = max(longest, at - soonest), min(soonest, at)
    return longest


def _waits(
    called: dict[str, tuple[float, int]], sent: list[tuple[float, str, int]], seconds: float
) -> tuple[Wait, ...]:
    """Find the first sending of each call, and what else went out in the period before it."""
    first: dict[str, tuple[float, int]] = {}
    oldest = recent = 0
    for at, prompt, cost in sent:
        recent += cost
        while sent[oldest][0] <= at - _WINDOW:
            recent -= sent[oldest][2]
            oldest += 1
        first.setdefault(prompt, (at, recent))
    waits = []
    for prompt, (at, cost) in called.items():
        went, images = first.get(prompt, (seconds, 0))
        waits.append(
            Wait(called=at, cost=cost, wait=went - at, sent=prompt in first, recent=images)
        )
    return tuple(waits)
