from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from imagesdk.errors import (
    ConnectError,
    ImageSDKError,
    RateLimitError,
    ServerError,
)
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LENGTH = 60 + JITTER
HOUR = 3600.0


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run *main* in virtual time."""

    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


def refusal(message: str = "slow down", **values: Any) -> RateLimitError:
    return RateLimitError(message, status=429, **values)


class Calls:
    """Calls on a limiter, and the order and time in which they were admitted."""

    def __init__(self, limiter: ImageLimiter) -> None:
        self.limiter = limiter
        self.names: list[str] = []
        self.at: dict[str, float] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def one(
        self,
        name: str = "",
        images: int = 1,
        *,
        hold: float = 0.0,
        error: Exception | None = None,
        **options: Any,
    ) -> None:
        async with self.limiter.ticket(images, **options):
            self.names.append(name)
            self.at[name] = now()
            await asyncio.sleep(hold)
            if error is not None:
                raise error

    def start(self, name: str, images: int = 1, **options: Any) -> None:
        self.tasks[name] = asyncio.create_task(self.one(name, images, **options))

    async def done(self) -> list[Any]:
        tasks = self.tasks.values()
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert self.limiter.snapshot().queued == 0
        return outcomes

    async def fails(self, error: ImageSDKError, images: int = 1, **options: Any) -> None:
        with pytest.raises(type(error)):
            await self.one("", images, error=error, **options)

    async def hears(self, limit: object) -> None:
        """Let a call succeed whose answer names a limit."""
        ticket = self.limiter.ticket(1)
        async with ticket:
            ticket.headers = {"x-ratelimit-limit-images": str(limit)}


# The pause ------------------------------------------------------------------------------------


def test_a_refusal_pauses_everybody() -> None:
    """Nobody sends before the server's time, and the refused call goes first."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(1)
        with pytest.raises(RateLimitError):  # noqa: PT012
            async with ticket:
                for index in range(3):
                    calls.start(f"other {index}")
                raise refusal(retry_after=30.0)
        assert calls.limiter.snapshot().paused == pytest.approx(30.05, abs=0.01)

        async def again() -> None:
            async with ticket:
                calls.names.append("refused")
                calls.at["refused"] = now()

        await asyncio.sleep(5)
        await asyncio.gather(again(), calls.done())
        assert calls.limiter.snapshot().paused == 0
        return calls

    calls = run(main)
    assert calls.names == ["refused", "other 0", "other 1", "other 2"]
    assert 30 <= calls.at["refused"] < 30.2


def test_it_pauses_those_who_wait_for_the_pace() -> None:
    """A call that is being paced when a refusal arrives waits for the server's time like all others."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50, burst=1))
        refused = calls.limiter.ticket(1)
        await refused.__aenter__()
        calls.start("paced", 10)
        await asyncio.sleep(0.1)
        error = refusal("Limit: 40/1min", retry_after=30.0)
        await refused.__aexit__(RateLimitError, error, None)
        await calls.done()
        return calls

    assert run(main).at["paced"] == pytest.approx(30.1, abs=0.1)


def test_it_pauses_one_scope() -> None:
    """What the server limits by itself is paused by itself."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await calls.fails(refusal(retry_after=30.0), scope="gpt-image")
        await calls.one("dall-e", scope="dall-e-2")
        await calls.one("gpt", scope="gpt-image")
        return calls

    calls = run(main)
    assert (calls.at["dall-e"], calls.at["gpt"] > 30) == (0, True)


def test_pauses_only_move_forward() -> None:
    """A shorter delay that arrives later does not shorten a pause, a longer one extends it."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(3)]
        for ticket in tickets:
            await ticket.__aenter__()
        paused = []
        for ticket, delay in zip(tickets, (30.0, 5.0, 40.0), strict=True):
            await ticket.__aexit__(RateLimitError, refusal(retry_after=delay), None)
            paused.append(calls.limiter.snapshot().paused)
        return paused

    assert run(main) == pytest.approx([30.05, 30.05, 40.05], abs=0.01)


def test_a_pause_that_is_extended_while_it_is_waited_out() -> None:
    """Whoever waits for the end of a pause waits for the end that it has by then."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        late = calls.limiter.ticket(1)
        await late.__aenter__()
        await calls.fails(refusal("Limit: 40/1min", retry_after=10.0))
        calls.start("waiting")
        await asyncio.sleep(5)
        error = refusal("Limit: 40/1min", retry_after=60.0)
        await late.__aexit__(RateLimitError, error, None)
        await calls.done()
        return calls

    assert run(main).at["waiting"] == pytest.approx(65, abs=0.2)


# The probe ------------------------------------------------------------------------------------


async def _probed(calls: Calls, **probe: Any) -> None:
    """Pause, and let three calls wait: the first of them probes."""
    await calls.fails(refusal("Limit: 40/1min", retry_after=10.0))
    calls.start("probe", **probe)
    calls.start("second")
    calls.start("third")
    await asyncio.sleep(0)


@pytest.mark.parametrize("hold", [0.0, 0.3, 0.8])
def test_others_follow_when_the_probe_was_accepted(hold: float) -> None:
    """After a pause one request goes alone; when it has succeeded, the others go."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await _probed(calls, hold=hold)
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["probe"] == pytest.approx(10.05, abs=0.01)
    for name in ("second", "third"):
        assert calls.at[name] == pytest.approx(10.05 + hold, abs=0.15)


def test_others_follow_when_there_is_no_news() -> None:
    """A probe that is not refused within a second counts as accepted: images take much longer."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await _probed(calls, hold=30.0)
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["second"] == pytest.approx(11.05, abs=0.1)
    assert calls.at["third"] == pytest.approx(11.05, abs=0.2)


def test_a_probe_that_is_refused() -> None:
    """If the server refuses the probe, the others wait for the next one: one refusal a pause."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await _probed(calls, hold=0.2, error=refusal("Limit: 40/1min", retry_after=20.0))
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["second"] == pytest.approx(30.3, abs=0.1)
    assert calls.at["third"] >= calls.at["second"]


def test_a_probe_that_failed_otherwise() -> None:
    """A server that fails has at least not refused: the others go."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await _probed(calls, hold=0.2, error=ServerError("boom", status=500))
        await calls.done()
        return calls

    assert run(main).at["second"] == pytest.approx(10.3, abs=0.1)


def test_a_probe_that_never_arrived() -> None:
    """If the probe could not be sent it has proven nothing: the next call probes."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await calls.fails(refusal("Limit: 40/1min", retry_after=10.0))
        calls.start("unsent", hold=0.2, error=ConnectError("refused"))
        calls.start("probe", hold=0.5)
        calls.start("third")
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["probe"] == pytest.approx(10.3, abs=0.1)
    assert calls.at["third"] == pytest.approx(10.8, abs=0.1)


class CancellingSlots(Slots):
    """Slots that cancel a task in the very moment in which it is granted one."""

    task: asyncio.Task[Any] | None = None

    def take(self) -> bool:
        taken = super().take()
        if self.task is not None:
            self.task.cancel()
        return taken


def test_a_probe_that_is_cancelled_before_it_hears_of_it() -> None:
    """If the call that was to probe goes away, the next one probes at once."""

    async def main() -> Calls:
        calls, slots = Calls(ImageLimiter(50)), CancellingSlots(1)
        await calls.fails(refusal("Limit: 40/1min", retry_after=10.0))
        calls.start("batch", priority="batch")  # it drives the queue
        await asyncio.sleep(0)
        calls.start("gone", slots=slots)
        calls.start("probe", hold=0.5)
        calls.start("third")
        slots.task = calls.tasks["gone"]
        await calls.done()
        assert slots.task.cancelled()
        assert not slots.full
        assert calls.limiter.snapshot().used == 3
        return calls

    calls = run(main)
    assert calls.names[:2] == ["", "probe"]
    assert "gone" not in calls.names
    assert calls.at["probe"] == pytest.approx(10.05, abs=0.05)
    assert calls.at["third"] == pytest.approx(10.55, abs=0.1)


def test_the_first_after_a_pause_probes_though_nobody_waited() -> None:
    """A call that comes long after the pause probes, too, and others wait for its news."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await calls.fails(refusal("Limit: 40/1min", retry_after=10.0))
        await asyncio.sleep(100)
        calls.start("probe", hold=0.5)
        calls.start("second")
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["probe"] == pytest.approx(100, abs=0.01)
    assert calls.at["second"] == pytest.approx(100.5, abs=0.1)


# Pauses that are too long ---------------------------------------------------------------------


def test_a_pause_beyond_max_pause_ends_the_queue() -> None:
    """Everybody who waits gets the refusal with the seconds that are left, at once."""

    async def main() -> list[Any]:
        calls = Calls(ImageLimiter(50, max_pause=60.0))
        refused = calls.limiter.ticket(1)
        await refused.__aenter__()
        await calls.fails(refusal("Limit: 40/1min", retry_after=30.0))
        calls.start("user")
        calls.start("batch", priority="batch")
        await asyncio.sleep(1)
        error = refusal("an hour", retry_after=HOUR, code="rate_limit_exceeded", request_id="r")
        await refused.__aexit__(RateLimitError, error, None)
        outcomes = await calls.done()
        assert now() == pytest.approx(1, abs=0.01)
        assert calls.names == [""]
        return outcomes

    for outcome in run(main):
        assert type(outcome) is RateLimitError
        assert outcome.retry_after == pytest.approx(HOUR + 0.05, abs=0.01)
        assert (outcome.code, outcome.request_id, outcome.attempts) == (
            "rate_limit_exceeded",
            "r",
            (),
        )


def test_nothing_is_sent_until_what_is_left_fits() -> None:
    """New calls are refused at once with what is left, until that is no more than max_pause."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50, max_pause=60.0))
        await calls.fails(refusal(retry_after=HOUR))
        left = []
        for _ in range(3):
            with pytest.raises(RateLimitError) as caught:
                await calls.one("refused")
            left.append(caught.value.retry_after or 0.0)
            await asyncio.sleep(1000)
        await asyncio.sleep(HOUR - 60 - now() + 0.1)
        await calls.one("waits")
        left.append(now())
        return left

    assert run(main) == pytest.approx([HOUR, HOUR - 1000, HOUR - 2000, HOUR], abs=0.2)


def test_a_pause_of_just_max_pause_is_waited_out() -> None:
    """The longest pause that is allowed is a pause, for those who wait and those who come."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50, max_pause=60.0))
        refused = calls.limiter.ticket(1)
        await refused.__aenter__()
        await refused.__aexit__(RateLimitError, refusal(retry_after=60.0), None)
        calls.start("comes")
        await calls.done()
        return calls

    assert run(main).at["comes"] == pytest.approx(60.05, abs=0.1)


def test_no_pause_at_all() -> None:
    """With max_pause=0 a refusal is always the caller's, and the limiter goes on when it is over."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50, max_pause=0.0))
        await calls.fails(refusal(retry_after=5.0))
        with pytest.raises(RateLimitError):
            await calls.one("refused")
        await asyncio.sleep(5.1)
        await calls.one("later")
        return calls

    assert run(main).names == ["", "later"]


# Refusals without a time ----------------------------------------------------------------------


def test_guessed_pauses_double() -> None:
    """Refusals without a time pause longer each time, a minute at most, until a call succeeds."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        pauses = []
        for _ in range(9):
            await calls.fails(refusal())
            pauses.append(calls.limiter.snapshot().paused)
        await calls.one()
        await calls.fails(refusal())
        return [*pauses, calls.limiter.snapshot().paused]

    pauses = run(main)
    for index, pause in enumerate(pauses[:-1]):
        longest = min(130.0, 2.0**index)
        assert longest / 2 <= pause <= longest + 0.1
    assert 0.5 <= pauses[-1] <= 1.1


def test_refusals_of_one_moment_count_once() -> None:
    """Ten calls that are refused together are one reason to wait, not ten."""

    async def main() -> tuple[float, float | None]:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(10)]
        for ticket in tickets:
            await ticket.__aenter__()
        for ticket in tickets:
            await ticket.__aexit__(RateLimitError, refusal(), None)
        snapshot = calls.limiter.snapshot()
        return snapshot.paused, snapshot.limit

    paused, limit = run(main)
    assert paused < 2.2
    assert limit == 50  # one refusal alone lowers no limit


def test_very_many_refusals() -> None:
    """Hours of refusals without a time break nothing, and one image a minute is still tried."""

    async def main() -> tuple[float, float | None]:
        calls = Calls(ImageLimiter(50))
        for _ in range(1100):
            await calls.fails(refusal())
        snapshot = calls.limiter.snapshot()
        return snapshot.paused, snapshot.limit

    paused, limit = run(main)
    assert 65 <= paused <= 130.1
    assert limit == 1
