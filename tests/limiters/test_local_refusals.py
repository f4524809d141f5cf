from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from imagesdk.errors import (
    ConfigurationError,
    ImageSDKError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import CallTooLarge
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


# Limits that the server names -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "headers"),
    [
        ("Rate limit exceeded for images per minute. Limit: 5/1min. Current: 6/1min", {}),
        ("on images per min: Limit 5, Used 5, Requested 1. Please try again in 12s", {}),
        ("too many", {"x-ratelimit-limit-images": "5"}),
        ("Limit: 5/1min", {"x-ratelimit-limit-images": "50"}),
    ],
)
@pytest.mark.parametrize("adopt", ["down", "auto", "never"])
def test_a_named_limit_is_adopted(message: str, headers: dict[str, str], adopt: Any) -> None:
    """The limit that a refusal names, in its text or its headers, is used from then on."""

    async def main() -> tuple[Any, int, int]:
        calls = Calls(ImageLimiter(50, adopt=adopt))
        await calls.fails(refusal(message, headers=headers, retry_after=1.0))
        await asyncio.sleep(70)
        for index in range(40):
            calls.start(f"{index}")
        await asyncio.sleep(55)
        sent = len(calls.names) - 1
        await calls.done()
        snapshot = calls.limiter.snapshot()
        return (snapshot.limit, snapshot.adopted), sent, calls.limiter.max_cost() or 0

    shown, sent, most = run(main)
    if adopt == "never":
        assert (shown, most) == ((50, None), 50)
        assert sent > 5
    else:
        assert (shown, sent, most) == ((5, 5), 5, 5)


@pytest.mark.parametrize(("adopt", "limit"), [("down", 50), ("auto", 500), ("never", 50)])
def test_upwards_only_with_auto(adopt: Any, limit: int) -> None:
    """A higher limit, in a refusal or in the headers of an answer, is followed with "auto" alone."""

    async def main() -> list[float | None]:
        heard = Calls(ImageLimiter(50, adopt=adopt))
        await heard.hears(500)
        refused = Calls(ImageLimiter(50, adopt=adopt))
        await refused.fails(refusal("on images per min: Limit 500, Used 1", retry_after=1.0))
        return [calls.limiter.snapshot().limit for calls in (heard, refused)]

    assert run(main) == [limit, limit]


def test_an_answer_that_raises_the_limit_wakes_the_queue() -> None:
    """An exchange that ends with a higher limit in its headers lets the queue go on at once."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10, adopt="auto"))
        ticket = calls.limiter.ticket(10)
        await ticket.__aenter__()
        for index in range(30):
            calls.start(f"{index}")
        await asyncio.sleep(5)
        assert calls.names == []
        ticket.headers = {"x-ratelimit-limit-images": "100"}
        await ticket.__aexit__(None, None, None)
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["0"] == pytest.approx(5, abs=0.01)
    assert calls.at["29"] < 7


def test_a_header_that_never_changes_undoes_no_refusal() -> None:
    """A server that says 50 in each header and 5 in its refusals is believed where it refuses."""

    async def main() -> list[float | None]:
        limits = []
        for first in (True, False):  # whether an answer comes before the first refusal
            calls = Calls(ImageLimiter(50, adopt="auto"))
            if first:
                await calls.hears(50)
            await calls.fails(refusal("Limit: 5/1min", retry_after=1.0))
            for _ in range(3):
                await calls.hears(50)
                limits.append(calls.limiter.snapshot().limit)
            await calls.hears(60)
            limits.append(calls.limiter.snapshot().limit)
        return limits

    assert run(main) == [5, 5, 5, 60] * 2


def test_what_is_in_flight_counts_under_the_adopted_limit() -> None:
    """After five of fifty were accepted, a limit of five lets nothing more go for a minute."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(10)]
        for ticket in tickets:
            await ticket.__aenter__()
        for ticket in tickets[5:]:
            error = refusal("Limit: 5/1min", retry_after=1.0)
            await ticket.__aexit__(RateLimitError, error, None)
        calls.start("next")
        for ticket in tickets[:5]:
            await ticket.__aexit__(None, None, None)
        await calls.done()
        return calls

    assert run(main).at["next"] == pytest.approx(LENGTH, abs=0.1)


def test_a_limit_in_requests_becomes_a_window_of_its_own() -> None:
    """Requests that were sent count in it, those that were refused do not, and images are as before."""

    async def main() -> tuple[list[float], Any]:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(2) for _ in range(5)]
        for ticket in tickets:
            await ticket.__aenter__()
        error = refusal("on requests per min (RPM): Limit 3, Used 3, Requested 1", retry_after=1.0)
        for ticket in tickets[3:]:
            await ticket.__aexit__(RateLimitError, error, None)
        for index in range(7):
            calls.start(f"{index}", 2)
        await calls.done()
        return list(calls.at.values()), calls.limiter.snapshot()

    times, snapshot = run(main)
    assert [at // LENGTH for at in times] == [1, 1, 1, 2, 2, 2, 3]
    assert (snapshot.limit, snapshot.adopted) == (50, None)


def test_refused_requests_do_not_make_room_for_more() -> None:
    """Permits older than the window that a refusal brought are given back without making it negative."""

    async def main() -> int:
        calls = Calls(ImageLimiter(50))
        tickets = [calls.limiter.ticket(1) for _ in range(8)]
        for ticket in tickets:
            await ticket.__aenter__()
        error = refusal("on requests per min. Limit: 3 / min. Current: 4 / min.", retry_after=1.0)
        for ticket in tickets:
            await ticket.__aexit__(RateLimitError, error, None)
        for index in range(20):
            calls.start(f"{index}")
        await asyncio.sleep(50)
        sent = len(calls.names)
        await calls.done()
        return sent

    assert run(main) == 3


def test_a_limit_in_input_images() -> None:
    """Edits wait for their own window; generations, which carry no images, do not."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        message = "on input-images per min: Limit 4, Used 4, Requested 2. Please try again in 1s."
        await calls.fails(refusal(message, retry_after=1.0), input_images=2)
        for index in range(3):
            calls.start(f"edit {index}", input_images=2)
        calls.start("generation")
        await calls.done()
        return calls

    calls = run(main)
    assert calls.at["generation"] < 5
    edits = [calls.at[f"edit {index}"] for index in range(3)]
    assert edits[1] < 5
    assert edits[2] == pytest.approx(edits[0] + LENGTH, abs=0.1)


def test_more_input_images_than_the_server_takes() -> None:
    """A call that no waiting can help ends: the refused one, those that wait, those that come."""

    async def main() -> list[Any]:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(1, input_images=5)
        message = "on input-images per min: Limit 4, Used 0, Requested 5."
        await ticket.__aenter__()
        await calls.fails(refusal(retry_after=2.0))
        calls.start("waits", input_images=6)
        calls.start("fits", input_images=4)
        await asyncio.sleep(0)
        await ticket.__aexit__(RateLimitError, refusal(message), None)
        for again in (ticket, calls.limiter.ticket(1, input_images=9)):
            with pytest.raises(ConfigurationError, match="the server takes 4 a minute"):
                await again.__aenter__()
        return await calls.done()

    waits, fits = run(main)
    assert type(waits) is ConfigurationError
    assert "a call with 6 input images can never be admitted" in str(waits)
    assert fits is None


# Calls above the adopted limit ----------------------------------------------------------------


def test_calls_above_an_adopted_limit_are_split() -> None:
    """Who asks for more than the new limit, refused, waiting or coming, is told what one may ask for."""

    async def main() -> list[Any]:
        calls = Calls(ImageLimiter(50))
        ticket = calls.limiter.ticket(10)
        await ticket.__aenter__()
        await calls.fails(refusal(retry_after=2.0))
        calls.start("user", 6)
        calls.start("batch", 7, priority="batch")
        calls.start("fits", 5)
        await asyncio.sleep(1)
        await ticket.__aexit__(RateLimitError, refusal("Limit: 5/1min"), None)
        outcomes = await calls.done()
        for again in (ticket, calls.limiter.ticket(8)):
            with pytest.raises(CallTooLarge) as caught:
                await again.__aenter__()
            outcomes.append(caught.value)
        assert calls.names == ["", "fits"]
        return [outcome and outcome.limit for outcome in outcomes]

    assert run(main) == [5, 5, None, 5, 5]


def test_parts_find_their_place_without_a_time() -> None:
    """A refusal that names a limit below the call's and no time leaves the parts before the others."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        whole = calls.limiter.ticket(10)
        await whole.__aenter__()
        await asyncio.sleep(5)
        for index in range(12):
            calls.start(f"later {index}", 5)
        await whole.__aexit__(RateLimitError, refusal("Limit: 5/1min"), None)
        for _ in range(5):  # the session takes a few turns to split it
            await asyncio.sleep(0)
        for index in range(2):
            calls.start(f"part {index}", 5, place=whole.place)
        await calls.done()
        return calls

    names = run(main).names
    sent_before = names.index("part 0")
    assert names[sent_before : sent_before + 2] == ["part 0", "part 1"]
    assert sent_before <= 4  # what left before the refusal


# Refusals that explain nothing ----------------------------------------------------------------


def test_an_unexplained_refusal_spreads_the_images() -> None:
    """After a refusal that names no limit images leave evenly instead of together."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(50))
        await calls.fails(refusal(retry_after=1.0))
        for index in range(60):
            calls.start(f"{index}")
        await calls.done()
        assert calls.limiter.snapshot().limit == 50
        return calls

    times = list(run(main).at.values())
    assert min(after - before for before, after in pairwise(times[1:])) > 1.15


def test_later_ones_lower_the_limit_and_it_climbs_back() -> None:
    """If refusals go on the limit goes down step by step, and up again when they end."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(50))
        limits = []
        for _ in range(6):
            await calls.fails(refusal())
            limits.append(calls.limiter.snapshot().limit or 0.0)
            await asyncio.sleep(120)
        for _ in range(10):
            await asyncio.sleep(900)
            await calls.one()
            limits.append(calls.limiter.snapshot().limit or 0.0)
        assert calls.limiter.snapshot().adopted is None
        return limits

    limits = run(main)
    down, up = limits[:6], limits[6:]
    assert down[0] == 50
    assert min(down) < 50
    assert all(limit >= 1 for limit in limits)
    assert all(after >= before for before, after in pairwise(up))
    assert up[-1] == 50


def test_images_leave_together_again() -> None:
    """Some time after the last unexplained refusal the first images leave at once, as before."""

    async def main() -> float:
        calls = Calls(ImageLimiter(50))
        await calls.fails(refusal(retry_after=1.0))
        await asyncio.sleep(HOUR)
        began = now()
        await calls.one("probe")
        for index in range(9):
            calls.start(f"{index}")
        await calls.done()
        return now() - began

    assert run(main) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("windows", [((50, 60),), ((5, 10),), ((20, 60), (50, 300))])
def test_unexplained_refusals_with_windows_alone(windows: Any) -> None:
    """Where windows say the limit, refusals slow the calls down, and never below what got through."""

    async def main() -> tuple[list[float], list[float]]:
        calls = Calls(ImageLimiter(None, windows=windows))
        for index in range(4):
            await calls.one(f"before {index}")
        for _ in range(3):
            await calls.fails(refusal())
        for index in range(12):
            calls.start(f"{index}")
        await calls.done()
        times = [calls.at[f"{index}"] for index in range(12)]
        await asyncio.sleep(10 * HOUR)
        began = now()
        for index in range(5):
            calls.start(f"late {index}")
        await calls.done()
        return times, [calls.at[f"late {index}"] - began for index in range(5)]

    times, late = run(main)
    images, seconds = min(windows, key=lambda window: window[0] / window[1])
    gaps = [after - before for before, after in pairwise(times[1:])]
    assert min(gaps) > 0.95 * seconds / images
    assert sum(gaps) < 1.5 * 11 * seconds / images
    assert late[-1] < 1.1


def test_a_refusal_that_is_a_little_early() -> None:
    """If a limit that has proven true is refused by a moment only, the windows become a little longer."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        for index in range(11):
            calls.start(f"first {index}")
        await calls.done()
        await asyncio.sleep(100)
        await calls.one("second", 9)
        await calls.fails(refusal(retry_after=0.3))
        await asyncio.sleep(1)
        await calls.one("third")
        calls.start("fourth", 9)
        await calls.done()
        assert calls.limiter.snapshot().limit == 10
        return calls

    calls = run(main)
    longer = calls.at["fourth"] - calls.at["second"] - LENGTH
    assert 0.1 < longer < 1


# What is final --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        QuotaExceededError("no credit", status=429, code="insufficient_quota"),
        QuotaExceededError("hard limit", status=400, code="billing_hard_limit_reached"),
        PermissionDeniedError("Limit: 0/1min", status=429),
    ],
)
def test_what_is_final_ends_the_queue(error: Any) -> None:
    """Without credit or access it is in vain to wait: all that wait end with the same error."""

    async def main() -> list[Any]:
        calls = Calls(ImageLimiter(2))
        tickets = [calls.limiter.ticket(1) for _ in range(2)]
        for ticket in tickets:
            await ticket.__aenter__()
        calls.start("user")
        calls.start("batch", priority="batch")
        await asyncio.sleep(1)
        await tickets[0].__aexit__(type(error), error, None)
        outcomes = await calls.done()
        assert now() == pytest.approx(1, abs=0.1)
        await calls.one("new")  # the limiter itself goes on
        assert calls.names == ["new"]
        return outcomes

    for outcome in run(main):
        assert type(outcome) is type(error)
        assert outcome is not error
        assert (str(outcome), outcome.code, outcome.attempts) == (str(error), error.code, ())


def test_an_account_has_one_credit() -> None:
    """No credit ends what waits in every scope, no access only what waits for the same models."""

    async def main() -> list[str]:
        ended = []
        for error in (QuotaExceededError("no credit"), PermissionDeniedError("0", status=429)):
            calls = Calls(ImageLimiter(1))
            exchange = calls.limiter.ticket(1, scope="a")
            await exchange.__aenter__()
            await calls.one(scope="b")
            for scope in ("a", "b"):
                calls.start(f"{error} {scope}", scope=scope)
            await asyncio.sleep(0)
            await exchange.__aexit__(type(error), error, None)
            await asyncio.sleep(0)
            ended += [name for name, task in calls.tasks.items() if task.done()]
            await calls.done()
        return ended

    assert run(main) == ["no credit a", "no credit b", "0 a"]


def test_a_plain_denial_ends_nothing() -> None:
    """A 403 is the matter of the call that got it."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(1))
        denied = calls.limiter.ticket(1)
        await denied.__aenter__()
        calls.start("waits")
        await asyncio.sleep(1)
        error = PermissionDeniedError("not yours", status=403)
        await denied.__aexit__(PermissionDeniedError, error, None)
        await calls.done()
        return calls

    assert run(main).at["waits"] == pytest.approx(LENGTH, abs=0.1)
