from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, strategies as st

from imagesdk import ImageSession, RedisLimiter
from imagesdk.errors import (
    ConfigurationError,
    LimiterUnavailableError,
    QuotaExceededError,
    RateLimitError,
    RateLimitTooLongError,
)
from imagesdk.limiters._redis_scripts import place
from imagesdk.limiters._schedule import Cost, Dimension, Schedule, Window
from imagesdk.limiters.base import Priority, Slots
from imagesdk.testing import ScriptedAnswer, ScriptedTransport

NOWHERE = "unix:///nowhere/redis.sock"
WINDOW = ((6, 0.5),)
"""Six images in half a second: short, because Redis keeps real time."""


@pytest.fixture(scope="module")
def redis_url(redis_socket: Path) -> str:
    """Return the URL of a real server, emptied first."""
    redis.Redis(unix_socket_path=str(redis_socket)).flushall()
    return f"unix://{redis_socket}"


class Shared:
    """Limiters that share one name on one server, as processes would."""

    def __init__(self, url: str, name: str, count: int = 2, **settings: Any) -> None:
        options: dict[str, Any] = {"images_per_minute": None, "windows": WINDOW, "jitter": 0.05}
        options |= {"store_timeout": 5.0, **settings}
        self.limiters = [RedisLimiter(url, name=name, **options) for _ in range(count)]
        self.sent: list[tuple[float, int]] = []

    async def call(self, index: int, cost: int = 1, **options: Any) -> None:
        async with self.limiters[index].ticket(cost, **options):
            self.sent.append((asyncio.get_running_loop().time(), cost))

    def worst(self, period: float) -> int:
        return max(sum(c for u, c in self.sent if t - period < u <= t) for t, _ in self.sent)

    async def aclose(self) -> None:
        for limiter in self.limiters:
            await limiter.aclose()


@pytest.fixture
async def shared(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    """Return two limiters with one window of six images."""
    limiters = Shared(redis_url, request.node.name)
    yield limiters
    await limiters.aclose()


async def test_one_window_for_all(shared: Shared) -> None:
    """What two processes send together stays within the window, and all of it is sent."""
    costs = [1, 3, 2, 1, 4, 1, 2, 1, 1, 5, 1, 2]
    await asyncio.gather(*(shared.call(i % 2, cost) for i, cost in enumerate(costs)))
    assert sum(cost for _, cost in shared.sent) == sum(costs)
    assert shared.worst(0.5) <= 6


async def test_a_429_pauses_the_other_process(shared: Shared) -> None:
    """A refusal to one process pauses the other, too, until the server's time."""
    with pytest.raises(RateLimitError):
        async with shared.limiters[0].ticket(1):
            raise RateLimitError("slow down", status=429, retry_after=0.4)
    before = asyncio.get_running_loop().time()
    await shared.call(1)
    assert asyncio.get_running_loop().time() - before >= 0.35


async def test_a_named_limit_is_shared(redis_url: str) -> None:
    """A limit that the server names to one process holds for the other."""
    shared = Shared(redis_url, "named", images_per_minute=50, windows=())
    error = RateLimitError(
        "Limit: 2/1min", status=429, retry_after=0.05, error={"message": "Limit: 2/1min"}
    )
    with pytest.raises(RateLimitError):
        async with shared.limiters[0].ticket(1):
            raise error
    await shared.call(1)
    state = shared.limiters[1].snapshot()
    assert (state.limit, state.adopted, shared.limiters[1].max_cost()) == (2, 2, 2)
    await shared.call(1)
    with pytest.raises(RateLimitTooLongError):
        await shared.call(0, max_wait=5.0)
    await shared.aclose()


async def test_the_forecast_knows_the_other_process(redis_url: str) -> None:
    """Who has used half of the window expects to get half of what is to come: twice the time."""
    shared = Shared(redis_url, "forecast", windows=((10, 60.0),))
    for _ in range(5):
        await shared.call(0)
        await shared.call(1)
    alone = 10 * 60.0  # the first ten are gone; a hundred more, ten a minute
    forecasts = [limiter.forecast(100, 100) for limiter in shared.limiters]
    assert max(forecasts) == pytest.approx(2 * alone, rel=0.02)
    assert min(forecasts) >= alone - 60
    await shared.aclose()


async def test_interactive_before_batch(shared: Shared) -> None:
    """A user's call goes before the batch of its process, which gives its place up."""
    await shared.call(0, 6)
    order: list[str] = []

    async def call(name: str, priority: Priority) -> None:
        async with shared.limiters[0].ticket(6, priority=priority):
            order.append(name)

    async with asyncio.TaskGroup() as calls:
        calls.create_task(call("batch", "batch"))
        await asyncio.sleep(0.05)
        calls.create_task(call("user", "interactive"))
    assert order == ["user", "batch"]


async def test_cancelled_calls_hold_nothing(shared: Shared) -> None:
    """A call that is cancelled while it waits leaves no place on the common time line."""
    await shared.call(0, 6)
    waiting = asyncio.create_task(shared.call(0, 6))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    before = asyncio.get_running_loop().time()
    await shared.call(1, 6)
    assert asyncio.get_running_loop().time() - before < 0.6


async def test_not_sent_is_given_back(shared: Shared) -> None:
    """What never reached the server does not count for anybody."""
    ticket = shared.limiters[0].ticket(6)
    async with ticket:
        ticket.sent = False
    before = asyncio.get_running_loop().time()
    await shared.call(1, 6)
    assert asyncio.get_running_loop().time() - before < 0.2


async def test_slots(shared: Shared) -> None:
    """A session's max_concurrency holds with a shared limit as well."""
    slots, most, running = Slots(2), 0, 0

    async def call() -> None:
        nonlocal most, running
        async with shared.limiters[0].ticket(1, slots=slots):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1

    await asyncio.gather(*(call() for _ in range(6)))
    assert most == 2


async def test_quota_ends_what_waits(shared: Shared) -> None:
    """When the account has no credit, the calls of the process that wait end with the same error."""

    async def refused() -> None:
        async with shared.limiters[0].ticket(6):
            await asyncio.sleep(0.05)
            raise QuotaExceededError("no credit", status=429)

    calls = [asyncio.create_task(refused()) for _ in range(3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [QuotaExceededError] * 3


@pytest.mark.parametrize(("policy", "at_once"), [("local", 2), ("open", 20)])
async def test_without_the_store_calls_go_on(policy: str, at_once: int) -> None:
    """While the store is away, calls go on: without a limit, or within the share of one of eight
    processes, as long as nobody has said how many there are."""
    shared = Shared(NOWHERE, "away", on_store_error=policy, windows=((20, 0.5),))
    await asyncio.gather(*(shared.call(0) for _ in range(20 if policy == "open" else 6)))
    assert shared.worst(0.5) == at_once
    await shared.aclose()


async def test_without_the_store_calls_are_refused() -> None:
    """With "raise" nothing is sent, and the error says what to do."""
    shared = Shared(NOWHERE, "away", on_store_error="raise")
    with pytest.raises(LimiterUnavailableError, match="nothing was sent") as caught:
        await shared.call(0)
    assert caught.value.__cause__ is not None
    assert shared.sent == []
    await shared.aclose()


async def test_a_session(redis_url: str) -> None:
    """A session works with it as with any limiter, and the limiter outlives the session."""
    transport = ScriptedTransport(
        lambda _: ScriptedAnswer({"data": [{"url": "https://example.org/a.png"}] * 2})
    )
    async with RedisLimiter(redis_url, name="session", jitter=0.05) as limiter:
        for _ in range(2):
            async with ImageSession(
                base_url="http://server/v1", transport=transport, limiter=limiter
            ) as images:
                assert len((await images.generate("a fox", n=2)).data) == 2
                assert images.snapshot().used in (2, 4)


def test_several_processes(redis_url: str) -> None:
    """Real processes share the window: four send twelve images, six of them in the second half second."""
    program = f"""
import asyncio, time
from imagesdk import RedisLimiter
async def main():
    async with RedisLimiter({redis_url!r}, None, windows=((6, 2.0),), jitter=0.05, name="four") as limiter:
        for _ in range(3):
            async with limiter.ticket(1):
                print(time.monotonic(), flush=True)
asyncio.run(main())
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    times = sorted(float(t) for p in processes for t in p.communicate(timeout=30)[0].split())
    assert [p.returncode for p in processes] == [0] * 4
    assert len(times) == 12
    # On a busy machine a process tells of its permit late: half a second is allowed for that.
    assert max(sum(t - 1.5 < u <= t for u in times) for t in times) == 6


@given(
    st.lists(
        st.tuples(st.integers(0, 40_000_000), st.integers(1, 10), st.integers(0, 4)), max_size=40
    )
)
def test_local_and_shared_schedules_agree(calls: list[tuple[int, int, int]]) -> None:
    """Calls that come one after the other go at the same moments by the local arithmetic and by the
    store's, with several windows side by side; `place` and the script are compared in test_redis.py."""
    rules: list[tuple[Dimension, int, int]] = [
        ("images", 10, 60), ("images", 15, 200), ("requests", 4, 60), ("input_images", 6, 60)
    ]  # fmt: skip
    schedule = Schedule([Window(d, limit, float(seconds), 0.0) for d, limit, seconds in rules])
    shared = [(d, limit, seconds * 1_000_000) for d, limit, seconds in rules]
    placed: list[tuple[int, Cost]] = []
    now = 0
    for gap, images, inputs in calls:
        cost = Cost(images, 1, inputs)
        now += gap
        local = now / 1e6 + schedule.delay(now / 1e6, cost)
        now = place(placed, shared, now, cost)
        placed.append((now, cost))
        assert local == pytest.approx(now / 1e6, abs=1e-5)
        schedule.admit(now / 1e6, cost)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_store_error": "ignore"}, "'local', 'raise' or 'open'"),
        ({"name": ""}, "name is ''"),
        ({"store_timeout": 0}, "store_timeout is 0"),
        ({"windows": ()}, "needs a limit"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    """What cannot be used is refused when the limiter is made."""
    with pytest.raises(ConfigurationError, match=words):
        Shared(NOWHERE, **{"name": "x", "count": 1, **settings})
