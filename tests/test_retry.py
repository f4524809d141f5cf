from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypeVar

import attrs
import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    RateLimitError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.events import Event, Retrying, Throttled
from imagesdk.limiters.quota import RetryQuota
from imagesdk.retry import RetryPolicy, may_be_billed, retrying
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

T = TypeVar("T")
Step = ScriptedAnswer | ImageSDKError
GOOD = ScriptedAnswer({"data": [{"b64_json": base64.b64encode(b"image").decode()}]})
RESET = ResponseInterruptedError("reset", phase="receive")


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def says(status: int, code: str | None = None, message: str = "boom", **headers: str) -> Step:
    """Return the answer of a server that refuses."""
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedAnswer(body, status=status, headers={"x-request-id": "req_1", **sent})


class Played:
    """What came of one call against a script."""

    def __init__(self, script: list[Step] | Callable[[SentRequest], Step], **options: Any) -> None:
        self.transport = ScriptedTransport(script)
        self.events: list[Event] = []
        self.open_in_pauses: list[int] = []
        self.error: Any = None
        self.took = 0.0
        call = {k: options.pop(k) for k in ("timeout",) if k in options}
        options = {"base_url": "http://server/v1", "transport": self.transport} | options
        run(lambda: self._call(options, call))

    async def _call(self, options: dict[str, Any], call: dict[str, Any]) -> None:
        async with ImageSession(on_event=self._on_event, **options) as images:
            try:
                self.response = await images.generate("a fox", **call)
            except ImageSDKError as error:
                self.error = error
            self.took = asyncio.get_running_loop().time()

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Retrying | Throttled):
            self.open_in_pauses.append(self.transport.open)

    @property
    def sent(self) -> int:
        return len(self.transport.requests)

    @property
    def gaps(self) -> list[float]:
        return [b.at - a.at for a, b in pairwise(self.transport.requests)]

    @property
    def outcomes(self) -> list[str]:
        source = self.error if self.error is not None else self.response
        return [attempt.outcome for attempt in source.attempts]


CUT = ScriptedAnswer({"data": [{"b64_json": "aaaa"}]}, break_after=10)
NO_ANSWER = RequestTimeoutError("nothing", phase="receive")


@pytest.mark.parametrize(
    "step", [ConnectError("refused"), says(503), RESET, says(504), CUT], ids=lambda s: str(s)[:20]
)
def test_second_attempt_succeeds(step: Step) -> None:
    """What may be sent again is, and the response tells of both attempts."""
    played = Played([step, GOOD])
    assert played.error is None
    assert played.outcomes[1] == "ok"
    assert played.response.attempts[0].error
    assert 0 <= played.gaps[0] <= 0.5


def test_ambiguous_error_keeps_the_cause() -> None:
    """AmbiguousError has its cause, the ids and the advice to look before sending again."""
    played = Played(lambda _: says(504, retry_after="1"))
    error = played.error
    assert isinstance(error.__cause__, ServerError)
    assert (error.status, error.request_id, error.retry_after) == (504, "req_1", 1.0)
    assert error.error["message"] == "boom"
    assert "Look at the account's usage before you send it again" in str(error)


@pytest.mark.parametrize(
    ("ambiguous", "sent_reset", "sent_timeout"), [("never", 1, 1), ("once", 2, 1), ("always", 4, 4)]
)
def test_ambiguous_policy(ambiguous: Any, sent_reset: int, sent_timeout: int) -> None:
    """The policy decides how often a call goes out again that may have been billed."""
    policy = RetryPolicy(4, ambiguous=ambiguous)
    reset = Played(lambda _: RESET, retry=policy)
    assert (reset.sent, type(reset.error)) == (sent_reset, AmbiguousError)
    timeout = Played(lambda _: NO_ANSWER, retry=policy)
    assert (timeout.sent, type(timeout.error)) == (sent_timeout, RequestTimeoutError)


def test_once_counts_ambiguous_failures_only() -> None:
    """Failures that cost nothing do not use up the one second chance."""
    played = Played([says(500), RESET, GOOD])
    assert played.outcomes == ["failed", "ambiguous", "ok"]
    played = Played([RESET, says(500), RESET, GOOD], retry=RetryPolicy(9))
    assert played.outcomes == ["ambiguous", "failed", "ambiguous"]
    assert isinstance(played.error, AmbiguousError)


def test_billed_attempt_is_not_forgotten() -> None:
    """A last error that costs nothing still tells that an earlier attempt may be billed."""
    played = Played([RESET, says(400)])
    assert type(played.error) is BadRequestError
    assert played.error.may_be_billed
    assert [a.may_be_billed for a in played.error.attempts] == [True, False]


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        (says(400, x_should_retry="true"), 3),
        (says(501, x_should_retry="TRUE "), 3),
        (says(504, x_should_retry="true"), 3),
        (says(503, x_should_retry="false"), 1),
        (says(504, x_should_retry="false"), 1),
        (says(429, x_should_retry="false"), 1),
        (says(503, x_should_retry="maybe"), 3),
    ],
)
def test_x_should_retry(step: Step, sent: int) -> None:
    """The server's own word on sending again wins over the table."""
    assert Played(lambda _: step).sent == sent


def test_max_attempts() -> None:
    """max_attempts bounds the exchanges, and one means none again."""
    assert Played(lambda _: says(500), retry=RetryPolicy(1)).sent == 1
    assert Played(lambda _: says(500), retry=RetryPolicy(5)).sent == 5


def test_very_many_attempts() -> None:
    """The doubling of the backoff ends before numbers do."""
    policy = RetryPolicy(10**6, backoff=0.001, max_backoff=0.002)
    error = ConnectError("refused")
    assert policy.delay(error, Call(counted_attempts=10**6 - 1), 1.0) == 0.002


def test_backoff() -> None:
    """The pauses are random up to a bound that doubles and then stays."""
    policy = RetryPolicy(8, backoff=1.0, max_backoff=8.0)
    runs = [Played(lambda _: says(500), retry=policy).gaps for _ in range(20)]
    for gaps in runs:
        bounds = (1, 2, 4, 8, 8, 8, 8)
        assert all(0 <= gap <= bound + 0.01 for gap, bound in zip(gaps, bounds, strict=True))
    assert max(gaps[3] for gaps in runs) > 4
    assert len({round(gaps[3], 3) for gaps in runs}) > 5


def test_retry_after_is_the_minimum() -> None:
    """The server's delay is waited for, plus a little jitter."""
    gaps = Played(lambda _: says(503, retry_after="20")).gaps
    assert len(gaps) == 2
    assert 20 <= gaps[0] <= 20.51
    assert 20 <= gaps[1] <= 21.01


def test_429_uses_no_attempt() -> None:
    """With a limiter, 429s are waited out although only one attempt is allowed."""
    played = Played([*[says(429, retry_after="7")] * 5, GOOD], retry=RetryPolicy(1))
    assert played.outcomes == ["throttled"] * 5 + ["ok"]
    assert all(7 <= gap < 7.2 for gap in played.gaps)
    assert not any(attempt.may_be_billed for attempt in played.response.attempts)
    throttled = [event for event in played.events if isinstance(event, Throttled)]
    assert len(throttled) == 5
    assert throttled[0].pause == pytest.approx(7.05, abs=0.01)
    assert played.open_in_pauses == [0] * 5


def test_429_without_limiter_uses_attempts() -> None:
    """Without a limiter the retry policy waits as the server asks, and attempts are used up."""
    played = Played(lambda _: says(429, retry_after="7"), images_per_minute=None)
    assert (played.sent, type(played.error)) == (3, RateLimitError)
    assert played.outcomes == ["throttled"] * 3
    assert all(7 <= gap <= 8.01 for gap in played.gaps)
    assert [type(e) for e in played.events if isinstance(e, Retrying | Throttled)] == [Retrying] * 2


def test_429_that_takes_too_long() -> None:
    """A pause beyond the limiter's max_pause, or beyond the call's timeout, is raised at once."""
    hour = Played(lambda _: says(429, retry_after="3600"))
    assert (hour.sent, type(hour.error), hour.error.retry_after) == (1, RateLimitError, 3600)
    assert hour.took < 0.1
    late = Played(lambda _: says(429, retry_after="60"), timeout=50.0)
    assert (late.sent, type(late.error), round(late.took)) == (1, RateLimitError, 0)


def test_deadline_during_backoff() -> None:
    """A pause that would end after the deadline is not begun: the last error is raised instead."""
    played = Played(lambda _: says(503, retry_after="30"), timeout=50.0)
    assert (played.sent, type(played.error)) == (2, ServerError)
    assert played.took < 32


def test_deadline_during_the_exchange() -> None:
    """When the time is over while the server works, the error says that it may bill."""
    played = Played(lambda _: ScriptedAnswer(b"", delay=100.0), timeout=50.0)
    assert played.took == pytest.approx(50, abs=0.1)
    assert type(played.error) is RequestTimeoutError
    assert isinstance(played.error, TimeoutError)
    assert played.error.may_be_billed
    assert (played.error.phase, played.outcomes) == ("receive", ["still_running"])
    assert "the server is probably still working and will bill: raise timeout" in str(played.error)
    assert played.transport.open == 0


def test_one_deadline_for_all_attempts() -> None:
    """The timeout bounds all attempts together."""
    played = Played(
        lambda _: ScriptedAnswer({"error": "x"}, status=500, delay=20.0),
        timeout=50.0,
        retry=RetryPolicy(9, backoff=0.1),
    )
    assert played.outcomes == ["failed", "failed", "still_running"]
    assert played.took == pytest.approx(50, abs=0.1)
    assert type(played.error) is RequestTimeoutError


def test_attempt_timeout() -> None:
    """attempt_timeout ends one exchange; it is sent again only if the policy says always."""
    slow = ScriptedAnswer(b"", delay=100.0)
    played = Played(lambda _: slow, retry=RetryPolicy(3, attempt_timeout=10.0))
    assert (played.sent, type(played.error)) == (1, RequestTimeoutError)
    assert "no answer within attempt_timeout, 10 s" in str(played.error)
    assert played.error.may_be_billed
    assert played.took == pytest.approx(10, abs=0.1)
    always = RetryPolicy(3, attempt_timeout=10.0, ambiguous="always")
    assert Played(lambda _: slow, retry=always).sent == 3


def test_timeout_begins_at_the_first_admission() -> None:
    """Time in the queue does not count: a thousand calls may be gathered."""

    async def main() -> float:
        transport = ScriptedTransport(lambda _: GOOD)
        async with ImageSession(
            base_url="http://server/v1", transport=transport, images_per_minute=1
        ) as images:
            await asyncio.gather(*(images.generate("a fox", timeout=5.0) for _ in range(3)))
        return transport.requests[-1].at

    assert run(main) == pytest.approx(120.7, abs=0.1)


def test_keys_of_calls_differ() -> None:
    """Each call, and each part of a call that is split, has an Idempotency-Key of its own."""

    async def main() -> list[str]:
        transport = ScriptedTransport(
            lambda _: ScriptedAnswer({"data": [{"url": "http://a/b"}] * 10})
        )
        async with ImageSession(base_url="http://server/v1", transport=transport) as images:
            await images.generate("a fox", n=20)
            await images.generate("a fox", n=10)
        return [request.headers["Idempotency-Key"] for request in transport.requests]

    keys = run(main)
    assert len(keys) == len(set(keys)) == 3


def test_bugs_pass_through() -> None:
    """An exception that is none of ours is a bug: it is neither retried nor dressed up."""

    def bug(_: SentRequest) -> Step:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        Played(bug)


@pytest.mark.parametrize("at", [5.0, 15.0])
def test_cancellation(at: float) -> None:
    """A call that is cancelled, in the exchange or in a pause, ends as cancelled and leaves nothing."""

    async def main() -> tuple[int, int, int]:
        slow = ScriptedAnswer({"error": "x"}, status=503, delay=10.0, headers={"retry-after": "60"})
        transport = ScriptedTransport(lambda _: slow)
        session = ImageSession(
            base_url="http://server/v1", transport=transport, images_per_minute=1, timeout=None
        )
        async with session as images:
            task = asyncio.create_task(images.generate("a fox"))
            await asyncio.sleep(at)
            assert transport.open == (at < 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(500)
            snapshot = images.snapshot()
        return len(transport.requests), transport.open, snapshot.used + snapshot.queued

    assert run(main) == (1, 0, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_attempts": 0}, "max_attempts is 0; it must be a whole number from 1 up"),
        ({"ambiguous": "twice"}, "ambiguous is 'twice'"),
        ({"attempt_timeout": 0.0}, "attempt_timeout is 0.0"),
    ],
)
def test_bad_policies(values: dict[str, Any], words: str) -> None:
    """A policy that makes no sense is refused when it is made."""
    with pytest.raises(ConfigurationError, match=words):
        RetryPolicy(**values)


@attrs.define
class Call:
    """What the policy needs to know of a call."""

    counted_attempts: int = 1
    ambiguous_failures: int = 0
    replayable: bool = True
    remaining: float | None = None
    max_pause: float | None = None


def test_a_body_that_can_be_read_once() -> None:
    """A call whose body cannot be made again is sent once, whatever failed."""
    policy = RetryPolicy()
    for error in (ConnectError("refused"), RateLimitError("429", retry_after=1.0)):
        assert policy.allows(error, Call())
        assert not policy.allows(error, Call(replayable=False))
        assert not policy.allows(error, Call(replayable=False, max_pause=300.0))


def test_success_is_not_billed_twice() -> None:
    """Only failures may be billed although they failed."""
    assert not may_be_billed("ok")


@pytest.mark.parametrize(
    "values",
    [
        {"backoff": -1.0},
        {"backoff": "1"},
        {"max_backoff": math.nan},
        {"attempt_timeout": math.nan},
        {"max_attempts": 2.5},
    ],
)
def test_values_that_are_no_times_or_counts(values: dict[str, Any]) -> None:
    """A policy is refused when it is made, not when the first failure meets it."""
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        RetryPolicy(**values)


# The quota ------------------------------------------------------------------------------------


class Driven:
    """Calls that are driven by `retrying`, without a session."""

    def __init__(self, policy: RetryPolicy, quota: RetryQuota, **values: Any) -> None:
        self.policy, self.quota, self.values = policy, quota, values
        self.exchanges = 0
        self.pauses = 0

    def call(self, *steps: BaseException | str) -> Any:
        """Return what one call gives or raises; its exchanges end as *steps* say, the last for ever."""
        return run(lambda: self._call(steps))

    async def _call(self, steps: tuple[BaseException | str, ...]) -> Any:
        call = Call(**{"counted_attempts": 0} | self.values)

        async def attempt() -> str:
            step = steps[min(call.counted_attempts, len(steps) - 1)]
            call.counted_attempts += 1
            self.exchanges += 1
            if isinstance(step, ImageSDKError):
                raise attrs.evolve(step)
            if isinstance(step, BaseException):
                raise step
            return step

        def before_retry(error: ImageSDKError, delay: float) -> None:
            assert isinstance(error, ImageSDKError)
            assert delay >= 0
            self.pauses += 1

        try:
            return await retrying(self.policy, call, before_retry, self.quota)(attempt)
        except ImageSDKError as error:
            return error


BROKEN = ServerError("boom", status=500)
THROTTLED = RateLimitError("slow down", status=429, retry_after=1.0)


def notes_of(error: Any) -> list[str]:
    return list(getattr(error, "__notes__", []))


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (BROKEN, "Nothing was billed for it"),
        (ResponseInterruptedError("reset", phase="send"), "Nothing was billed for it"),
        (ResponseInterruptedError("reset", phase="receive"), "It may have been billed"),
        (THROTTLED, "Nothing was billed for it"),
        (BadRequestError("no", status=400), None),
        (RequestTimeoutError("slow", phase="receive"), None),
    ],
)
def test_a_body_that_can_be_read_once_is_named(error: ImageSDKError, note: str | None) -> None:
    """An error that only such a body kept from being sent again says so, and what it may cost."""
    driven = Driven(RetryPolicy(3, backoff=0.0), RetryQuota(), replayable=False)
    ended = driven.call(error)
    assert driven.exchanges == 1
    assert len(notes_of(ended)) == (note is not None)
    if note is not None:
        assert notes_of(ended)[0].endswith(f"any number of times). {note}")


def test_the_quota_pays_for_100_retries() -> None:
    """While nothing succeeds, calls without number are sent again 100 times together."""
    quota = RetryQuota()
    driven = Driven(RetryPolicy(3, backoff=0.0), quota)
    errors = [driven.call(BROKEN) for _ in range(200)]
    assert (driven.exchanges, driven.pauses, quota.left) == (300, 100, 0)
    assert all(type(error) is ServerError for error in errors)
    unpaid = [error for error in errors if notes_of(error)]
    assert len(unpaid) == 150
    (note,) = notes_of(unpaid[0])
    assert note == (
        "not sent again: the retry quota of this key is used up because many calls fail; it fills up "
        "as calls succeed"
    )


def test_success_gives_back_what_the_call_took() -> None:
    """A server that fails now and then uses up nothing; a plain success gives back 1."""
    quota = RetryQuota(20)
    driven = Driven(RetryPolicy(3, backoff=0.0), quota)
    for _ in range(50):
        assert driven.call(BROKEN, BROKEN, "image") == "image"
        assert quota.left == 20
    driven.call(BROKEN)
    assert quota.left == 10
    driven.call("image")
    assert quota.left == 11
    driven.call(BROKEN, "image")
    assert quota.left == 11


def test_an_empty_quota_fills_up_with_success() -> None:
    """After an outage each five calls that succeed pay for one retry, up to the capacity."""
    quota = RetryQuota(10)
    driven = Driven(RetryPolicy(3, backoff=0.0), quota)
    driven.call(BROKEN)
    assert quota.left == 0
    for _ in range(4):
        driven.call("image")
    assert driven.call(BROKEN, "image") is not None
    assert driven.exchanges == 3 + 4 + 1
    driven.call("image")
    assert driven.call(BROKEN, "image") == "image"
    for _ in range(20):
        driven.call("image")
    assert quota.left == 10


@pytest.mark.parametrize(
    ("error", "policy", "values", "cost"),
    [
        (BROKEN, RetryPolicy(2), {}, 5),
        (ConnectError("refused"), RetryPolicy(2), {}, 5),
        (RESET, RetryPolicy(2), {}, 5),
        (NO_ANSWER, RetryPolicy(2, ambiguous="always"), {}, 10),
        (NO_ANSWER, RetryPolicy(2), {}, 0),
        (BadRequestError("no", status=400), RetryPolicy(2), {}, 0),
        (BROKEN, RetryPolicy(1), {}, 0),
        # Without a limiter the policy sends again after a 429, with one it is the limiter.
        (THROTTLED, RetryPolicy(2), {}, 5),
        # A pause that would end after the deadline is not begun, so it costs nothing.
        (ServerError("boom", status=500, retry_after=9.0), RetryPolicy(2), {"remaining": 5.0}, 0),
    ],
)
def test_what_a_retry_costs(error: Any, policy: RetryPolicy, values: Any, cost: int) -> None:
    """A retry costs 5, after a timeout 10, and what is not sent again costs nothing."""
    quota = RetryQuota()
    driven = Driven(policy, quota, **values)
    assert notes_of(driven.call(error)) == []
    assert driven.exchanges == (2 if cost else 1)
    assert quota.left == 500 - cost


def test_the_limiter_pays_for_its_own_waits() -> None:
    """A 429 that the limiter waits out is sent again however empty the quota is."""
    quota = RetryQuota(0)
    driven = Driven(RetryPolicy(1), quota, max_pause=300.0)
    assert driven.call(*[THROTTLED] * 50, "image") == "image"
    assert (driven.exchanges, quota.left) == (51, 0)


@pytest.mark.parametrize("end", [ZeroDivisionError(), asyncio.CancelledError()])
def test_what_is_no_success_gives_nothing_back(end: BaseException) -> None:
    """A bug or a cancellation after a retry is not taken for a sign that the server works."""
    quota = RetryQuota()
    with pytest.raises(type(end)):
        Driven(RetryPolicy(3, backoff=0.0), quota).call(BROKEN, end)
    assert quota.left == 495


def test_without_a_quota() -> None:
    """Who drives calls without a quota sends them again as often as the policy says."""
    driven = Driven(RetryPolicy(300, backoff=0.0), None)  # type: ignore[arg-type]
    assert notes_of(driven.call(BROKEN)) == []
    assert driven.call(BROKEN, "image") == "image"
    assert driven.exchanges == 302


@pytest.mark.timeout(300)  # ten thousand calls take 10 s, and twice that when coverage is measured
def test_an_outage_does_not_multiply_the_load() -> None:
    """Ten thousand calls against a server that is down cause 100 retries, not 20,000."""

    async def main() -> tuple[int, list[Any], list[Event]]:
        transport = ScriptedTransport(lambda _: says(500))
        events: list[Event] = []
        async with ImageSession(
            base_url="http://server/v1",
            transport=transport,
            images_per_minute=None,
            on_event=events.append,
        ) as images:
            calls = (images.generate("a fox") for _ in range(10_000))
            errors = await asyncio.gather(*calls, return_exceptions=True)
        return len(transport.requests), list(errors), events

    requests, errors, events = run(main)
    assert requests == 10_100
    assert {type(error) for error in errors} == {ServerError}
    assert sum(isinstance(event, Retrying) for event in events) == 100
    assert all("retry quota" in "".join(notes_of(error)) for error in errors)
