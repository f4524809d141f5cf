"""Whatever happens to the calls of a limiter: what it promises for all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from imagesdk.errors import ConnectError, ImageSDKError, RateLimitError, ServerError
from imagesdk.limiters._queue import BACKFILL_DELAY, BACKFILL_MOST
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import CallTooLarge, Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LIMIT = 10
HAIR = 1e-3


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


@attrs.frozen(kw_only=True)
class Fate:
    """What happens to a call: how its first exchange ends, and when it is cancelled."""

    gap: float
    images: int
    input_images: int
    batch: bool
    ends: str
    lasts: float
    cancelled: float | None
    session: int


FATES = st.builds(
    Fate,
    gap=st.just(0.0) | st.floats(0, 40),
    images=st.integers(1, LIMIT),
    input_images=st.integers(0, 3),
    batch=st.booleans(),
    ends=st.sampled_from(["ok", "ok", "ok", "500", "unsent", "429", "unexplained"]),
    lasts=st.just(0.0) | st.floats(0, 30),
    cancelled=st.none() | st.none() | st.just(0.0) | st.floats(0, 100),
    session=st.integers(0, 2),
)
FAILURES: dict[str, ImageSDKError] = {
    "500": ServerError("boom", status=500),
    "unsent": ConnectError("refused"),
    "429": RateLimitError("429", status=429, retry_after=7.0),
    "unexplained": RateLimitError("429", status=429),
}
CONFIGURED: list[dict[str, Any]] = [
    {},
    {"burst": 3},
    {"requests_per_minute": 4, "input_images_per_minute": 5},
    {"windows": ((LIMIT, 20.0), (15, 200.0))},
    {"images_per_minute": None, "windows": ((LIMIT, 15.0),)},
]


class World:
    """Calls with their fates, and what of them the server has counted."""

    def __init__(self, **options: Any) -> None:
        self.limiter = ImageLimiter(**{"images_per_minute": LIMIT} | options)
        self.counted: list[tuple[float, tuple[int, int, int]]] = []
        self.slots = (None, Slots(1), Slots(2))

    async def call(self, fate: Fate) -> None:
        parts = [fate.images]
        place = None
        while parts:
            ticket = self.limiter.ticket(
                parts[0],
                input_images=fate.input_images,
                priority="batch" if fate.batch else "interactive",
                slots=self.slots[fate.session],
                place=place,
            )
            place = ticket.place
            try:
                await self.attempts(ticket, parts[0], fate)
            except CallTooLarge as error:
                parts[:1] = in_parts(parts[0], error.limit)
            else:
                del parts[0]

    async def attempts(self, ticket: Any, images: int, fate: Fate) -> None:
        cost = images, 1, fate.input_images
        for ends in (fate.ends, "ok"):
            try:
                async with ticket:
                    at = now()
                    # Until it is known otherwise, and for ever if it is cancelled, it counts.
                    self.counted.append((at, cost))
                    await asyncio.sleep(fate.lasts)
                    if ends in ("unsent", "429", "unexplained"):
                        self.counted.remove((at, cost))
                    if ends != "ok":
                        raise FAILURES[ends]
            except ImageSDKError:
                continue
            return

    async def play(self, fates: list[Fate]) -> None:
        tasks = []
        loop = asyncio.get_running_loop()
        for fate in fates:
            await asyncio.sleep(fate.gap)
            task = asyncio.create_task(self.call(fate))
            tasks.append(task)
            if fate.cancelled is not None:
                await asyncio.sleep(0)
                loop.call_later(fate.cancelled, task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome

    def worst(self, period: float, column: int) -> int:
        log = [(at, cost[column]) for at, cost in self.counted]
        return max(
            (sum(n for u, n in log if t - period + HAIR < u <= t) for t, _ in log), default=0
        )


@pytest.mark.parametrize("options", CONFIGURED)
@settings(max_examples=40, deadline=None)
@given(fates=st.lists(FATES, max_size=25))
def test_never_over_a_limit(options: dict[str, Any], fates: list[Fate]) -> None:
    """Whatever comes, fails or goes away: no window over its limit, nothing kept, nothing hangs."""

    async def main() -> World:
        world = World(**options)
        await world.play(fates)
        snapshot = world.limiter.snapshot()
        assert (snapshot.queued, snapshot.queued_images) == (0, 0)
        assert [each.take() for each in world.slots if each is not None] == [True, True]
        # Nothing that was given back counts, and all that was not does.
        last = world.limiter.settings.windows or ((LIMIT, 60.0),)
        period = max(seconds for _, seconds in last)
        recent = sum(cost[0] for at, cost in world.counted if at > now() - period - HAIR)
        assert recent <= snapshot.used or options
        await asyncio.sleep(1000)
        assert world.limiter.snapshot().used == 0
        return world

    world = run(main)
    settings_ = world.limiter.settings
    if settings_.images_per_minute is not None:
        assert world.worst(60, 0) <= LIMIT
    for images, seconds in settings_.windows:
        assert world.worst(seconds, 0) <= images
    if settings_.requests_per_minute is not None:
        assert world.worst(60, 1) <= 4
        assert world.worst(60, 2) <= 5


@attrs.frozen
class Arrival:
    """A call that comes after a gap of so many seconds."""

    gap: float
    images: int


ARRIVALS = st.lists(
    st.builds(Arrival, gap=st.just(0.0) | st.floats(0, 25), images=st.integers(1, LIMIT)),
    max_size=40,
)


class Line:
    """Calls of one lane, without failures; watched at each step of the queue."""

    def __init__(self, limiter: ImageLimiter) -> None:
        self.limiter = limiter
        self.waiting: dict[int, int] = {}
        self.came: dict[int, float] = {}
        self.went: list[int] = []
        self.at: dict[int, float] = {}
        self.due: dict[int, float] = {}

    async def call(self, number: int, images: int) -> None:
        self.waiting[number] = images
        self.came[number] = now()
        async with self.limiter.ticket(images):
            self.went.append(number)
            self.at[number] = now()
            del self.waiting[number]
            await asyncio.sleep(0)
        self.look()

    def look(self) -> None:
        """Note when the head may go, as it is known when it becomes the head."""
        head = min(self.waiting, default=None)
        snapshot = self.limiter.snapshot()
        if head is not None and snapshot.next_waits_for == "window":
            self.due.setdefault(head, now() + snapshot.next_waits)

    async def play(self, arrivals: list[Arrival]) -> None:
        tasks = []
        for number, arrival in enumerate(arrivals):
            await asyncio.sleep(arrival.gap)
            tasks.append(asyncio.create_task(self.call(number, arrival.images)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.look()
        await asyncio.gather(*tasks)


@settings(max_examples=150, deadline=None)
@given(arrivals=ARRIVALS)
def test_the_head_goes_when_it_was_said(arrivals: list[Arrival]) -> None:
    """Once a call is the first in line, it goes at the time that is known then, or a little later.

    That is what a user needs of a queue: "you are next, in 40 s" stays true. Later calls that fit may
    slip in before it, but all of them together delay it by no more than the stated part of the
    period; the token bucket may add its 2 s.
    """

    async def main() -> Line:
        line = Line(ImageLimiter(LIMIT))
        await line.play(arrivals)
        return line

    line = run(main)
    assert sorted(line.went) == list(range(len(arrivals)))
    for number, due in line.due.items():
        assert due - HAIR <= line.at[number] <= due + BACKFILL_DELAY * 60 + 2.1


@settings(max_examples=100, deadline=None)
@given(arrivals=ARRIVALS)
def test_who_may_be_passed(arrivals: list[Arrival]) -> None:
    """Calls of one size go in their order; others are passed by what fits, and not for ever."""

    async def main(same: int | None) -> Line:
        line = Line(ImageLimiter(LIMIT))
        await line.play([attrs.evolve(a, images=same or a.images) for a in arrivals])
        return line

    for same in (1, 3, 10):
        assert run(lambda same=same: main(same)).went == list(range(len(arrivals)))  # type: ignore[misc]
    line = run(lambda: main(None))
    for place, number in enumerate(line.went):
        passed = sum(arrivals[other].images for other in line.went[:place] if other > number)
        assert passed <= (BACKFILL_MOST + 1) * LIMIT


class Server:
    """Takes *limit* images in a rolling minute, with or without what it refused."""

    def __init__(self, limit: int, message: str, *, counts_refused: bool) -> None:
        self.limit, self.message, self.counts_refused = limit, message, counts_refused
        self.log: list[tuple[float, int]] = []
        self.refusals = 0

    def serve(self, images: int) -> int:
        used = sum(n for at, n in self.log if at > now() - 60)
        fits = used + images <= self.limit
        if fits or (self.counts_refused and images <= self.limit):
            self.log.append((now(), images))
        if not fits:
            self.refusals += 1
            message = self.message.format(limit=self.limit)
            raise RateLimitError(message, status=429, retry_after=5.0)
        return images

    async def call(self, limiter: ImageLimiter, images: int, place: Any = None) -> int:
        """Make a call as a session does: until it is served, in parts if need be."""
        ticket = limiter.ticket(images, place=place)
        while True:
            try:
                async with ticket:
                    return self.serve(images)
            except RateLimitError:
                continue
            except CallTooLarge as error:
                parts = in_parts(images, error.limit)
                return sum([await self.call(limiter, part, ticket.place) for part in parts])


def in_parts(images: int, most: int) -> list[int]:
    return [most] * (images // most) + [images % most] * (images % most > 0)


@settings(max_examples=60, deadline=None)
@given(
    arrivals=ARRIVALS,
    real=st.integers(1, 9),
    message=st.sampled_from(
        ["Limit: {limit}/1min. Current: 9/1min", "images per min: Limit {limit}, Used 9", "no"]
    ),
    counts_refused=st.booleans(),
)
def test_whatever_the_server_allows(
    arrivals: list[Arrival], real: int, message: str, *, counts_refused: bool
) -> None:
    """Under a real limit that is lower than the configured one every call is served in the end."""
    server = Server(real, message, counts_refused=counts_refused)
    most = real if message == "no" else LIMIT
    sizes = [min(arrival.images, most) for arrival in arrivals]

    async def main() -> None:
        limiter = ImageLimiter(LIMIT)
        tasks = []
        for arrival, images in zip(arrivals, sizes, strict=True):
            await asyncio.sleep(arrival.gap)
            tasks.append(asyncio.create_task(server.call(limiter, images)))
        assert await asyncio.gather(*tasks) == sizes
        assert limiter.snapshot().queued == 0

    run(main)
    if message != "no" and not counts_refused:
        assert server.refusals <= 5 + sum(images > real for images in sizes)


def test_the_jitter_is_what_windows_are_longer_by() -> None:
    """Full windows follow each other at the period and the jitter: the tests above rely on it."""

    async def main() -> list[float]:
        limiter, times = ImageLimiter(LIMIT), []
        for _ in range(3):
            async with limiter.ticket(LIMIT):
                times.append(now())
        return times

    assert run(main) == pytest.approx([0, 60 + JITTER, 120 + 2 * JITTER], abs=0.01)
