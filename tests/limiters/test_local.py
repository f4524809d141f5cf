from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings, strategies as st

from imagesdk.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    QuotaExceededError,
    RateLimitError,
    RateLimitTooLongError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.limiters._schedule import MARGIN
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


class Calls:
    """Calls on a limiter, and the order and time in which they were admitted."""

    def __init__(self, limiter: ImageLimiter) -> None:
        self.limiter = limiter
        self.admitted: list[tuple[str, float]] = []
        self.costs: list[tuple[float, int]] = []

    async def one(
        self, name: str = "", cost: int = 1, error: ImageSDKError | None = None, **options: Any
    ) -> None:
        async with self.limiter.ticket(cost, **options):
            self.admitted.append((name, now()))
            self.costs.append((now(), cost))
            if error is not None:
                raise error

    def start(self, name: str = "", cost: int = 1, **options: Any) -> asyncio.Task[None]:
        return asyncio.create_task(self.one(name, cost, **options))

    async def fails(self, error: ImageSDKError, cost: int = 1) -> None:
        with pytest.raises(type(error)):
            await self.one("", cost, error)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.admitted]

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.admitted]

    def worst_minute(self) -> int:
        return max(sum(c for u, c in self.costs if t - 60 < u <= t) for t, _ in self.costs)


def test_pace() -> None:
    """The first ten images leave at once, fifty within 2 s, and the rest in the second minute."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await asyncio.gather(*(calls.one() for _ in range(120)))
        return calls

    calls = run(main)
    assert calls.times[9] == 0
    assert calls.times[10] > 0
    assert 1.5 < calls.times[49] < 2.1
    assert 60 + MARGIN <= calls.times[50] < 60.5
    assert calls.times[99] < 62.6
    assert 120 < calls.times[100] < 121
    assert calls.worst_minute() == 50


def test_burst() -> None:
    """With burst=10 ten images leave at once and the rest follow evenly over the minute."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50, burst=10))
        await asyncio.gather(*(calls.one() for _ in range(50)))
        return calls

    times = run(main).times
    assert times[9] == 0
    gaps = [after - before for before, after in pairwise(times[9:])]
    assert gaps == pytest.approx([1.2] * 40, abs=0.01)


def test_large_costs_pass_a_small_bucket() -> None:
    """A call for more images than the bucket holds is paced in slices."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50, burst=5))
        await calls.one("all", 50)
        return calls

    assert run(main).times[0] == pytest.approx(54, abs=0.1)


@pytest.mark.parametrize(("rate", "interval"), [(0.5, 120.0), (1, 60.0), (2.5, 48.0)])
def test_slow_limits(rate: float, interval: float) -> None:
    """Fractions of an image a minute stretch the period; nothing is rounded up."""

    async def main() -> Calls:
        limiter = ImageLimiter(rate)
        calls = Calls(limiter)
        await asyncio.gather(*(calls.one() for _ in range(limiter.max_cost * 2)))
        return calls

    calls = run(main)
    half = len(calls.times) // 2
    assert calls.times[half - 1] < 1
    assert calls.times[half] == pytest.approx(interval + MARGIN, abs=0.01)


def test_first_come_first_served() -> None:
    """Calls are admitted in the order of their tickets, whatever they cost."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(20))
        costs = (10, 1, 9, 7, 2, 10, 1, 5, 3, 8, 1, 1)
        await asyncio.gather(*(calls.one(str(i), cost) for i, cost in enumerate(costs)))
        return calls

    calls = run(main)
    assert calls.names == [str(i) for i in range(12)]
    assert calls.worst_minute() <= 20


def test_no_starvation() -> None:
    """A call for ten images waits no longer than those that came before it need."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        tasks = [calls.start("early") for _ in range(10)]
        await asyncio.sleep(1)
        tasks.append(calls.start("ten", 10))
        for _ in range(100):  # a stream of small calls that would fit first
            await asyncio.sleep(1)
            tasks.append(calls.start("late"))
        await asyncio.sleep(30)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return calls

    calls = run(main)
    assert calls.names[10] == "ten"
    assert calls.times[10] == pytest.approx(60 + MARGIN, abs=0.1)


def test_interactive_before_batch() -> None:
    """Interactive calls pass batch calls that wait."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(1))
        await calls.one("first")
        tasks = [calls.start(f"batch {i}", priority="batch") for i in range(2)]
        await asyncio.sleep(59)
        tasks += [calls.start(f"user {i}") for i in range(2)]
        await asyncio.gather(*tasks)
        return calls

    assert run(main).names == ["first", "user 0", "user 1", "batch 0", "batch 1"]


def test_overtaken_while_pacing() -> None:
    """A batch call that an interactive one passes while it is paced goes right after it."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        tasks = [calls.start(f"{i}") for i in range(10)]
        tasks.append(calls.start("batch", 10, priority="batch"))
        await asyncio.sleep(0.1)
        tasks.append(calls.start("user"))
        await asyncio.gather(*tasks)
        return calls

    assert run(main).names[10:] == ["user", "batch"]


def test_429_while_pacing() -> None:
    """A call that is being paced when a 429 arrives waits for the server's time like all others."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        refused = calls.limiter.ticket(10)
        await refused.__aenter__()
        paced = calls.start("paced", 10)
        await asyncio.sleep(0.1)
        error = RateLimitError("429", retry_after=30.0)
        await refused.__aexit__(RateLimitError, error, None)
        await paced
        return calls

    assert run(main).times[0] == pytest.approx(30.1, abs=0.5)


def test_cancelled_in_the_queue() -> None:
    """A call that is cancelled while it waits leaves the queue and uses nothing."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(5))
        await calls.one("first", 5)
        head, second, third = calls.start("head", 5), calls.start("2nd", 5), calls.start("3rd", 5)
        await asyncio.sleep(10)
        assert calls.limiter.snapshot().queued == 3
        second.cancel()
        head.cancel()  # the dispatcher itself
        await asyncio.wait([head, second])
        assert (calls.limiter.snapshot().queued, calls.limiter.snapshot().used) == (1, 5)
        await third
        return calls

    calls = run(main)
    assert calls.names == ["first", "3rd"]
    assert calls.times[1] == pytest.approx(60 + MARGIN, abs=0.1)


def test_cancelled_while_pacing() -> None:
    """A call that is cancelled at the token bucket gives its images back."""

    async def main() -> int:
        calls = Calls(ImageLimiter(50))
        await calls.one(cost=10)
        task = calls.start("paced", 10)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        return calls.limiter.snapshot().used

    assert run(main) == 10


def test_cancelled_when_admitted_still_counts() -> None:
    """A call that is cancelled after its admission counts: the server may have counted it."""

    async def main() -> int:
        limiter = ImageLimiter(50)

        async def hold() -> None:
            async with limiter.ticket(3):
                await asyncio.sleep(100)

        task = asyncio.create_task(hold())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return limiter.snapshot().used

    assert run(main) == 3


@pytest.mark.parametrize(
    ("error", "used"),
    [
        (ConnectError("refused"), 0),
        (ResponseInterruptedError("reset", phase="send"), 0),
        (RequestTimeoutError("connecting", phase="connect"), 0),
        (RateLimitError("429", status=429, retry_after=1.0), 0),
        (QuotaExceededError("no credit", status=429), 0),
        (ResponseInterruptedError("reset", phase="receive"), 4),
        (ServerError("500", status=500), 4),
        (AuthenticationError("401", status=401), 4),
    ],
)
def test_what_counts(error: ImageSDKError, used: int) -> None:
    """What the server cannot have counted is given back, everything else stays counted."""

    async def main() -> int:
        calls = Calls(ImageLimiter(50))
        await calls.fails(error, 4)
        return calls.limiter.snapshot().used

    assert run(main) == used


def test_giving_back_wakes_the_queue() -> None:
    """Room that is given back is used at once."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(5))
        hold = asyncio.Event()

        async def unsent() -> None:
            with pytest.raises(ConnectError):  # noqa: PT012
                async with calls.limiter.ticket(5):
                    await hold.wait()
                    raise ConnectError("refused")

        first = asyncio.create_task(unsent())
        waiting = calls.start("waiting", 5)
        await asyncio.sleep(20)
        hold.set()
        await asyncio.gather(first, waiting)
        return calls

    assert run(main).times[0] == pytest.approx(20, abs=0.1)


def test_429_pauses_everybody() -> None:
    """After a 429 nobody sends before the server's time, and the refused call goes first."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(1)
        with pytest.raises(RateLimitError):  # noqa: PT012
            async with ticket:
                others = [calls.start(f"other {i}") for i in range(3)]
                raise RateLimitError("slow down", status=429, retry_after=30.0)
        assert 30 < calls.limiter.snapshot().paused < 30.2

        async def again() -> None:
            async with ticket:
                calls.admitted.append(("refused", now()))

        await asyncio.sleep(5)
        await asyncio.gather(again(), *others)
        assert calls.limiter.snapshot().paused == 0
        return calls

    calls = run(main)
    assert calls.names == ["refused", "other 0", "other 1", "other 2"]
    assert 30 <= calls.times[0] < 30.2


def test_pause_only_moves_forward() -> None:
    """A shorter delay that arrives later does not shorten a pause, a longer one extends it."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(3)]
        for ticket in tickets:
            await ticket.__aenter__()
        paused = []
        for ticket, delay in zip(tickets, (30.0, 5.0, 40.0), strict=True):
            error = RateLimitError("429", retry_after=delay)
            await ticket.__aexit__(RateLimitError, error, None)
            paused.append(calls.limiter.snapshot().paused)
        return paused

    assert run(main) == pytest.approx([30.05, 30.05, 40.05], abs=0.01)


def test_pause_that_is_too_long() -> None:
    """A delay beyond max_pause begins no pause: it is for the caller to know."""

    async def main() -> tuple[float, float]:
        calls = Calls(ImageLimiter(50, max_pause=20.0))
        await calls.fails(RateLimitError("429", retry_after=20.1))
        before = calls.limiter.snapshot().paused
        await calls.fails(RateLimitError("429", retry_after=19.9))
        return before, calls.limiter.snapshot().paused

    before, after = run(main)
    assert before == 0
    assert after > 19


def test_unexplained_429s() -> None:
    """429s without a delay pause longer each time, at most a minute, until a call succeeds."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        pauses = []
        for _ in range(9):
            await calls.fails(RateLimitError("429"))
            pauses.append(calls.limiter.snapshot().paused)
        await calls.one()
        await calls.fails(RateLimitError("429"))
        return [*pauses, calls.limiter.snapshot().paused]

    pauses = run(main)
    for index, pause in enumerate(pauses[:-1]):
        longest = min(60.0, 2.0**index)
        assert longest / 2 <= pause <= longest + 0.1
    assert 0.5 <= pauses[-1] <= 1.1


def test_unexplained_429s_of_one_moment_count_once() -> None:
    """Ten calls that are refused together are one reason to wait, not ten."""

    async def main() -> float:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(10)]
        for ticket in tickets:
            await ticket.__aenter__()
        for ticket in tickets:
            await ticket.__aexit__(RateLimitError, RateLimitError("429"), None)
        return calls.limiter.snapshot().paused

    assert run(main) < 2.2


def test_very_many_unexplained_429s() -> None:
    """Hours of unexplained 429s break nothing."""

    async def main() -> float:
        calls = Calls(ImageLimiter(50))
        for _ in range(1100):
            await calls.fails(RateLimitError("429"))
        return calls.limiter.snapshot().paused

    assert 30 <= run(main) <= 60.1


def test_max_wait() -> None:
    """A wait that would be longer than max_wait is refused at once, with wait and position."""

    async def main() -> RateLimitTooLongError:
        calls = Calls(ImageLimiter(10))
        await calls.one(cost=10)
        queue = [calls.start(cost=10)]
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one(max_wait=100.0)
        assert now() == began
        assert calls.limiter.snapshot().queued == 1
        queue.append(calls.start(max_wait=120.0))
        await asyncio.gather(*queue)
        assert now() == pytest.approx(2 * (60 + MARGIN), abs=0.1)
        return caught.value

    error = run(main)
    assert error.wait == error.retry_after == pytest.approx(110 + 2 * MARGIN, abs=0.1)
    assert (error.max_wait, error.position) == (100.0, 2)
    assert "the limit of 10 images a minute would be 110.7 s (position 2 in the queue)" in str(
        error
    )


def test_max_wait_includes_the_pause() -> None:
    """A pause counts as waiting, and a call that has been admitted once is not refused."""

    async def main() -> float:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(1, max_wait=0.0)
        with pytest.raises(RateLimitError):
            async with ticket:
                raise RateLimitError("429", retry_after=20.0)
        with pytest.raises(RateLimitTooLongError) as caught:
            await calls.one(max_wait=19.0)
        async with ticket:
            pass
        return caught.value.wait

    assert run(main) == pytest.approx(20.05, abs=0.01)


def test_quota_stops_the_queue() -> None:
    """When the account has no credit, the calls that wait end with the same error."""

    async def main() -> list[Any]:
        calls = Calls(ImageLimiter(2))
        tickets = [calls.limiter.ticket(1) for _ in range(2)]
        for ticket in tickets:
            await ticket.__aenter__()
        waiting = [calls.start(), calls.start()]
        await asyncio.sleep(1)
        error = QuotaExceededError("no credit", status=429, code="credit_balance_exhausted")
        await tickets[0].__aexit__(QuotaExceededError, error, None)
        outcomes: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
        assert now() == pytest.approx(1, abs=0.1)
        assert calls.limiter.snapshot().queued == 0
        await calls.one("new")  # the limiter itself goes on
        assert calls.names == ["new"]
        return [error, *outcomes]

    error, *outcomes = run(main)
    for outcome in outcomes:
        assert isinstance(outcome, QuotaExceededError)
        assert outcome is not error
        assert (str(outcome), outcome.code, outcome.attempts) == (str(error), error.code, ())


def test_queued_is_told() -> None:
    """A call that has to wait is told its position once; one that need not is not told."""

    async def main() -> list[tuple[str, int]]:
        told: list[tuple[str, int]] = []
        calls = Calls(ImageLimiter(1))
        await calls.one("a", on_queued=lambda position: told.append(("a", position)))
        await asyncio.gather(
            calls.one("b", on_queued=lambda position: told.append(("b", position))),
            calls.one("c", on_queued=lambda position: told.append(("c", position))),
        )
        return told

    assert run(main) == [("b", 1), ("c", 2)]


def test_snapshot() -> None:
    """The snapshot says what is used, what waits and how long the pause is."""

    async def main() -> None:
        calls = Calls(ImageLimiter(10))
        await calls.one(cost=8)
        tasks = [calls.start(cost=3), calls.start(cost=4)]
        await asyncio.sleep(1)
        snapshot = calls.limiter.snapshot()
        assert (snapshot.images_per_minute, snapshot.used) == (10, 8)
        assert (snapshot.queued, snapshot.queued_images, snapshot.paused) == (2, 7, 0)
        await asyncio.gather(*tasks)
        assert calls.limiter.snapshot().queued == 0

    run(main)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "auto"])
def test_bad_rates(rate: float) -> None:
    """A limit that is no number above 0 is refused with the way to have none."""
    with pytest.raises(ConfigurationError, match="pass None to ImageSession for no limit"):
        ImageLimiter(rate)


def test_bad_arguments() -> None:
    """A burst out of range, and a call that can never be admitted, are refused."""
    for burst in (0, 51):
        with pytest.raises(ConfigurationError, match="from 1 to the limit, 50"):
            ImageLimiter(50, burst=burst)
    for cost in (0, 51):
        with pytest.raises(ConfigurationError, match="takes 1 to 50 images a call; split it"):
            ImageLimiter(50).ticket(cost)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 40),
            st.integers(1, 10),
            st.sampled_from(["ok", "ok", "429", "unexplained", "unsent", "batch", "cancel"]),
        ),
        max_size=30,
    )
)
def test_never_over_the_limit(calls_to_make: list[tuple[float, int, str]]) -> None:
    """Whatever arrives, fails or goes away: no minute holds more than the limit, nothing hangs."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        counted: list[tuple[float, int]] = []
        failures: dict[str, ImageSDKError] = {
            "429": RateLimitError("429", retry_after=7.0),
            "unexplained": RateLimitError("429"),
            "unsent": ConnectError("refused"),
        }

        async def one(cost: int, kind: str) -> None:
            ticket = calls.limiter.ticket(
                cost, priority="batch" if kind == "batch" else "interactive"
            )
            try:
                async with ticket:
                    if kind in failures:
                        raise failures[kind]
                    counted.append((now(), cost))
            except (RateLimitError, ConnectError):
                async with ticket:  # the same place in the queue
                    counted.append((now(), cost))

        tasks = []
        for gap, cost, kind in calls_to_make:
            await asyncio.sleep(gap)
            tasks.append(asyncio.create_task(one(cost, kind)))
            if kind == "cancel":
                await asyncio.sleep(0)
                tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        calls.costs = counted
        assert calls.limiter.snapshot().queued == 0
        assert len(counted) >= sum(kind != "cancel" for _, _, kind in calls_to_make)
        return calls

    calls = run(main)
    assert not calls.costs or calls.worst_minute() <= 10
