from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from imagesdk.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LENGTH = 60 + JITTER
HAIR = 1e-3


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


class Calls:
    """Calls on a limiter, and when they were admitted."""

    def __init__(self, limiter: ImageLimiter) -> None:
        self.limiter = limiter
        self.admitted: list[tuple[float, int, int]] = []
        self.tasks: list[asyncio.Task[float]] = []

    async def one(
        self,
        images: int = 1,
        *,
        input_images: int = 0,
        hold: float = 0.0,
        error: Exception | None = None,
        **options: Any,
    ) -> float:
        async with self.limiter.ticket(images, input_images=input_images, **options):
            at = now()
            self.admitted.append((at, images, input_images))
            await asyncio.sleep(hold)
            if error is not None:
                raise error
            return at

    def start(self, images: int = 1, *, calls: int = 1, **options: Any) -> None:
        self.tasks += (asyncio.create_task(self.one(images, **options)) for _ in range(calls))

    async def done(self) -> list[float]:
        times = list(await asyncio.gather(*self.tasks))
        assert self.limiter.snapshot().queued == 0
        self.tasks.clear()
        return times

    async def fails(self, error: ImageSDKError, images: int = 1) -> None:
        with pytest.raises(type(error)):
            await self.one(images, error=error)

    def worst(self, period: float, column: int = 1) -> int:
        """Return the most that went out in any *period* seconds: images, or input images (2)."""
        log = [(each[0], each[1:][column - 1]) for each in self.admitted]
        return max(sum(count for at, count in log if t - period < at <= t) for t, _ in log)


# The pace -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [50, 200, 500])
def test_the_first_minute(limit: int) -> None:
    """Some leave at once, the whole limit is out within 2 s, and the token bucket spreads it."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(limit))
        calls.start(calls=limit)
        return await calls.done()

    times = run(main)
    at_once = max(10, limit // 5)
    assert times[at_once - 1] == 0
    assert times[at_once] > 0
    assert 1.5 < times[-1] < 2.1
    for index, at in enumerate(times):  # never more than the bucket and what flows in
        assert index + 1 <= at_once + at / 0.5 * at_once + HAIR


def test_the_minutes_after() -> None:
    """No minute and its jitter holds more than the limit, and each is used whole."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        calls.start(calls=220)
        await calls.done()
        return calls

    calls = run(main)
    times = [at for at, *_ in calls.admitted]
    assert calls.worst(LENGTH - HAIR) == 50
    for minute in range(1, 5):
        assert minute * LENGTH <= times[50 * minute] < minute * LENGTH + 0.1 * minute
    assert times[199] < 3 * LENGTH + 2.5


def test_a_quiet_session_waits_for_nothing() -> None:
    """As long as less than the limit went out in the last period, ten images leave at once."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        for _ in range(30):
            began = now()
            calls.start(10)
            await calls.done()
            calls.start(calls=10)
            await calls.done()
            assert now() - began <= 0.6
            await asyncio.sleep(30)
        return calls

    assert run(main).worst(60) <= 50


def _refusal(message: str = "429", **values: Any) -> RateLimitError:
    return RateLimitError(message, status=429, **values)


def test_a_limit_that_has_proven_true_is_not_ramped() -> None:
    """Once a whole limit has left and nothing was refused for 2 s, the whole limit leaves at once."""

    async def main() -> tuple[list[float], list[float]]:
        calls = Calls(ImageLimiter(50))
        calls.start(calls=51)
        await calls.done()
        await asyncio.sleep(100)
        began = now()
        calls.start(calls=50)
        proven = [at - began for at in await calls.done()]
        await calls.fails(_refusal("Limit: 40/1min", retry_after=1.0))
        await asyncio.sleep(100)
        began = now()
        calls.start(calls=40)
        return proven, [at - began for at in await calls.done()]

    proven, refused = run(main)
    assert proven == [0] * 50
    assert refused[9] == 0
    assert refused[10] > 0  # a refusal says that the limit is not what was thought
    assert refused[39] < 1.6


def test_a_whole_limit_is_not_proven_by_itself() -> None:
    """Right after a whole limit has left it is not proven yet: refusals may be on their way."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50, windows=((50, 1.0),), jitter=0.0))
        calls.start(calls=60)
        return await calls.done()

    times = run(main)
    assert max(sum(t - 0.25 < u <= t for u in times) for t in times) < 20


def test_burst() -> None:
    """With burst=10 ten images leave at once and the rest follow evenly over the minute."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50, burst=10))
        calls.start(calls=120)
        return await calls.done()

    times = run(main)
    assert times[:10] == [0] * 10
    gaps = [after - before for before, after in pairwise(times[9:])]
    assert gaps[:40] == pytest.approx([1.2] * 40, abs=0.01)
    for first, since in enumerate(times):  # the bucket binds in the later minutes, too
        for last, at in enumerate(times[first:], start=1):
            assert last <= 10 + (at - since) / 1.2 + HAIR
    assert times[-1] < 2 * LENGTH + 20 * 1.2


def test_a_request_larger_than_the_bucket() -> None:
    """It leaves whole when the bucket is empty, and those after it wait for its share."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50, burst=5))
        calls.start(20)
        calls.start()
        calls.start(5)
        calls.start(6)
        return await calls.done()

    whole, after, five, six = run(main)
    assert whole == 0
    assert after == pytest.approx((20 - 5 + 1) * 1.2, abs=0.02)
    assert five == pytest.approx((21 - 5 + 5) * 1.2, abs=0.02)
    assert six == pytest.approx(26 * 1.2, abs=0.05)  # when the bucket is empty


def test_what_was_not_sent_gives_its_pace_back() -> None:
    """Calls that never reached the server do not slow down those that come after them."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50, burst=50))
        for _ in range(5):
            await calls.fails(ConnectError("refused"), 50)
        calls.start(40)
        await asyncio.sleep(0)
        calls.start(10)
        times = await calls.done()
        assert calls.limiter.snapshot().used == 50
        return times

    assert run(main) == [0, 0]


def test_pace_that_others_have_used_is_not_given_back() -> None:
    """What leaked from the bucket since a call was admitted is gone, even if that call fails."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(60, burst=10))
        unsent = calls.limiter.ticket(10)
        await unsent.__aenter__()
        await asyncio.sleep(5)
        calls.start(5)
        await asyncio.sleep(3)
        await unsent.__aexit__(ConnectError, ConnectError("refused"), None)
        await calls.done()
        began = now()
        calls.start(10)
        return [at - began for at in await calls.done()]

    # Of the bucket 5 + 2 are left; 2 of them never left. The other five must leak.
    assert run(main) == pytest.approx([5], abs=0.1)


def test_when_the_bucket_knows_better() -> None:
    """Should aiolimiter's own level ever be above ours, calls wait for it without spinning."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        await calls.one()
        await calls.limiter._queue("")._pace._bucket.acquire(9)
        calls.start(10)
        return await calls.done()

    assert run(main) == pytest.approx([0.5], abs=0.01)


@pytest.mark.parametrize(("rate", "interval"), [(0.5, 120.0), (1, 60.0), (2.5, 48.0)])
def test_slow_limits(rate: float, interval: float) -> None:
    """Fractions of an image a minute stretch the period; nothing is rounded up."""

    async def main() -> list[float]:
        limiter = ImageLimiter(rate)
        calls = Calls(limiter)
        calls.start(calls=2 * (limiter.max_cost() or 0))
        return await calls.done()

    times = run(main)
    half = len(times) // 2
    assert times[half - 1] < 1
    assert times[half] == pytest.approx(interval + JITTER, abs=0.01)


def test_an_uncontended_call_is_cheap() -> None:
    """Admission without a queue costs microseconds, not more: the benchmark has the number."""

    async def main() -> float:
        limiter = ImageLimiter(1_000_000)
        began = time.perf_counter()
        for _ in range(1000):
            async with limiter.ticket(1):
                pass
        return (time.perf_counter() - began) / 1000

    assert run(main) < 500e-6  # ten times what it takes where nothing else runs


# Windows side by side -------------------------------------------------------------------------


def test_all_limits_at_once() -> None:
    """Images and requests a minute, further windows, input images and slots all hold together."""

    async def main() -> tuple[Calls, int]:
        limiter = ImageLimiter(
            30,
            requests_per_minute=12,
            windows=((20, 60), (50, 300)),
            input_images_per_minute=8,
        )
        calls, slots, most, open_now = Calls(limiter), Slots(3), 0, 0

        async def call(index: int) -> None:
            nonlocal most, open_now
            async with limiter.ticket(1 + index % 4, input_images=index % 3, slots=slots):
                calls.admitted.append((now(), 1 + index % 4, index % 3))
                open_now += 1
                most = max(most, open_now)
                await asyncio.sleep(7)
                open_now -= 1

        await asyncio.gather(*(call(index) for index in range(100)))
        return calls, most

    calls, most = run(main)
    assert most == 3
    assert len(calls.admitted) == 100
    assert calls.worst(60) <= 20
    assert calls.worst(300) <= 50
    assert calls.worst(60, 2) <= 8
    times = [at for at, *_ in calls.admitted]
    assert max(sum(t - 60 < u <= t for u in times) for t in times) <= 12
    assert times[-1] < 300 / 50 * 250 + 400  # and they are used


def test_which_limit_binds() -> None:
    """Small calls are bounded by requests, large ones by images, edits by their input images."""

    async def main() -> list[int]:
        counts = []
        for images, inputs in ((1, 0), (10, 0), (1, 4)):
            calls = Calls(
                ImageLimiter(50, requests_per_minute=20, input_images_per_minute=16, adopt="never")
            )
            calls.start(images, calls=30, input_images=inputs)
            await asyncio.sleep(30)
            counts.append(len(calls.admitted))
            for task in calls.tasks:
                task.cancel()
            await asyncio.gather(*calls.tasks, return_exceptions=True)
        return counts

    assert run(main) == [20, 5, 4]


def test_windows_without_a_minute() -> None:
    """The limit may be said by windows alone, of any length."""

    async def main() -> tuple[Calls, Any]:
        calls = Calls(ImageLimiter(None, windows=((5, 10.0), (12, 60.0))))
        calls.start(calls=30)
        await calls.done()
        return calls, calls.limiter.snapshot()

    calls, snapshot = run(main)
    assert calls.worst(10) == 5
    assert calls.worst(60) == 12
    assert (snapshot.images_per_minute, snapshot.limit, snapshot.adopted) == (None, None, None)


def test_scopes_are_limited_by_themselves() -> None:
    """What the server limits by itself has windows, pace and queue of its own."""

    async def main() -> None:
        calls = Calls(ImageLimiter(10))
        await calls.one(10, scope="gpt-image")
        calls.start(scope="gpt-image")
        began = now()
        await calls.one(10, scope="dall-e-3")
        await calls.one(10)
        assert now() == began
        used = [calls.limiter.snapshot(scope).used for scope in ("gpt-image", "dall-e-3", "", "x")]
        assert used == [10, 10, 10, 0]
        assert calls.limiter.snapshot("gpt-image").queued == 1
        await calls.done()
        assert now() == pytest.approx(LENGTH, abs=0.01)

    run(main)


def test_most_images_of_one_call() -> None:
    """A call may ask for what the smallest window takes, wherever it comes from."""
    assert ImageLimiter(50).max_cost() == 50
    assert ImageLimiter(50, windows=((20, 60), (7, 5))).max_cost("x") == 7
    assert ImageLimiter(0.5).max_cost() == 1


class RacingSlots(Slots):
    """Slots of which another queue takes one in the moment between the look and the grip."""

    races = 1

    def take(self) -> bool:
        if self.races and self.listeners():
            self.races -= 1
            return False
        return super().take()

    def listeners(self) -> bool:
        return bool(self._listeners)


def test_a_slot_that_somebody_else_takes_first() -> None:
    """A call that loses its slot to another queue uses nothing up, and tries again."""

    async def main() -> tuple[list[float], int]:
        calls = Calls(ImageLimiter(10, burst=10))
        await calls.one(10)
        slots = RacingSlots(1)
        calls.start(10, slots=slots)
        times = await calls.done()
        return times, calls.limiter.snapshot().used

    times, used = run(main)
    assert times == pytest.approx([LENGTH], abs=0.1)
    assert used == 10


# What counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "used"),
    [
        (ConnectError("refused"), 0),
        (ResponseInterruptedError("reset", phase="send"), 0),
        (RequestTimeoutError("connecting", phase="connect"), 0),
        (_refusal(retry_after=1.0), 0),
        (QuotaExceededError("no credit", status=429), 0),
        (PermissionDeniedError("Limit: 0/1min", status=429), 0),
        (PermissionDeniedError("not yours", status=403), 4),
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


def test_what_failed_before_it_was_sent() -> None:
    """Whatever the error, what its ticket says was not sent does not count."""

    async def main() -> int:
        limiter = ImageLimiter(50)
        ticket = limiter.ticket(4)
        with pytest.raises(ServerError):  # noqa: PT012
            async with ticket:
                ticket.sent = False
                raise ServerError("of our own making")
        async with ticket:  # that was about the first attempt
            pass
        return limiter.snapshot().used

    assert run(main) == 4


def test_giving_back_wakes_the_queue() -> None:
    """Room that is given back is used at once."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(5))
        unsent = calls.limiter.ticket(5)
        await unsent.__aenter__()
        calls.start(5)
        await asyncio.sleep(20)
        await unsent.__aexit__(ConnectError, ConnectError("refused"), None)
        return await calls.done()

    assert run(main) == pytest.approx([20], abs=0.1)


def test_a_slow_upload_counts_from_its_end() -> None:
    """The window of a request begins when it was written, not when it was admitted."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(5))
        ticket = calls.limiter.ticket(5)
        async with ticket:
            await asyncio.sleep(30)
            ticket.sent_at = 20.0
        calls.start(5)
        return await calls.done()

    assert run(main) == pytest.approx([20 + LENGTH], abs=0.1)


def test_leaving_what_was_never_entered() -> None:
    """A ticket whose admission failed has nothing to give back."""

    async def main() -> int:
        limiter = ImageLimiter(50)
        await limiter.ticket(1).__aexit__(None, None, None)
        return limiter.snapshot().used

    assert run(main) == 0


# What cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "auto"])
def test_bad_rates(rate: float) -> None:
    """A limit that is no number above 0 is refused with the way to have none."""
    with pytest.raises(ConfigurationError, match="pass None to ImageSession for no limit"):
        ImageLimiter(rate)


def test_bad_arguments() -> None:
    """Settings that make no sense, and a call that can never be admitted, are refused at once."""
    with pytest.raises(ConfigurationError, match="from 1 to the limit, 50"):
        ImageLimiter(50, burst=51)
    with pytest.raises(ConfigurationError, match="a limiter needs a limit"):
        ImageLimiter(None)
    with pytest.raises(ConfigurationError, match="a call asks for 0 images"):
        ImageLimiter(50).ticket(0)
    with pytest.raises(ConfigurationError, match="5 input images can never be admitted"):
        ImageLimiter(50, input_images_per_minute=4).ticket(1, input_images=5)
