from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    PayloadTooLargeError,
    QuotaExceededError,
    RateLimitTooLongError,
    RequestTimeoutError,
    ResponseInterruptedError,
)
from imagesdk.events import (
    Admitted,
    Attempted,
    Done,
    Event,
    Failed,
    Queued,
    Retrying,
    Started,
    Throttled,
)
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time

T = TypeVar("T")
GOOD = ScriptedAnswer({"data": [{"b64_json": base64.b64encode(b"image").decode()}]})


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def session(transport: ScriptedTransport, **options: Any) -> ImageSession:
    return ImageSession(base_url="http://server/v1", transport=transport, **options)


def test_events_in_order() -> None:
    """One event per step, in the order in which things happened, with what they cost."""
    events: list[Event] = []

    async def main() -> None:
        too_many = ScriptedAnswer(
            {"error": {"message": "slow"}}, status=429, headers={"retry-after": "5"}
        )
        transport = ScriptedTransport(
            [too_many, ScriptedAnswer(b"", status=503, headers={"x-request-id": "r"}), GOOD, GOOD]
        )
        async with session(
            transport, images_per_minute=1, on_event=events.append, model="dall-e-2"
        ) as images:
            await images.generate("a fox")
            await images.generate("an otter")

    run(main)
    first, second = ([e for e in events if e.call == n] for n in (1, 2))
    assert [type(event) for event in first] == [
        Started,
        Admitted,
        Attempted,
        Throttled,
        Queued,
        Admitted,
        Attempted,
        Retrying,
        Queued,
        Admitted,
        Attempted,
        Done,
    ]
    assert [type(event) for event in second] == [Started, Queued, Admitted, Attempted, Done]
    assert {(e.endpoint, e.model) for e in events} == {("generations", "dall-e-2")}
    attempted = [e for e in first if isinstance(e, Attempted)]
    assert [(e.number, e.outcome, e.status) for e in attempted] == [
        (1, "throttled", 429),
        (2, "failed", 503),
        (3, "ok", 200),
    ]
    assert attempted[1].request_id == "r"
    done = first[-1]
    assert isinstance(done, Done)
    assert (done.images, done.attempts) == (1, 3)
    assert done.waited == pytest.approx(done.elapsed, abs=0.6)
    assert done.elapsed > 65
    queued = second[1]
    assert isinstance(queued, Queued)
    assert (queued.cost, queued.position) == (1, 1)


def test_what_the_events_say() -> None:
    """A line of a log can be written from each event alone: how long, why, which attempt."""
    events: list[Event] = []

    async def main() -> None:
        too_many = ScriptedAnswer(
            {"error": {"message": "Limit: 2/1min. Current: 3/1min"}},
            status=429,
            headers={"retry-after": "5", "x-request-id": "req_1"},
        )
        gone = ScriptedAnswer(b"", status=504, headers={"x-request-id": "req_2"})
        transport = ScriptedTransport([too_many, gone, GOOD, GOOD])
        async with session(transport, on_event=events.append) as images:
            first = asyncio.create_task(images.generate("a fox"))
            await asyncio.sleep(1)
            await asyncio.gather(first, images.generate("an otter"))

    run(main)

    def only(kind: type[T], call: int) -> list[T]:
        return [e for e in events if isinstance(e, kind) and getattr(e, "call", 0) == call]

    (throttled,) = only(Throttled, 1)
    assert (throttled.attempt, throttled.status, throttled.request_id) == (1, 429, "req_1")
    assert (throttled.retry_after, throttled.limit) == (5.0, 2.0)
    assert throttled.pause == pytest.approx(5.05, abs=0.01)
    assert "Limit: 2/1min" in throttled.message
    (retrying,) = only(Retrying, 1)
    assert (retrying.attempt, retrying.status, retrying.request_id) == (2, 504, "req_2")
    assert (retrying.reason, retrying.may_be_billed) == ("ambiguous", True)
    assert 0 <= retrying.delay <= 1
    assert "504" in retrying.message
    assert [e.attempt for e in only(Admitted, 1)] == [1, 2, 3]
    assert [e.attempt for e in only(Admitted, 2)] == [1]
    paused, *_ = only(Queued, 1)
    assert (paused.position, paused.reason, paused.cost) == (1, "pause", 1)
    assert paused.wait == pytest.approx(5.05, abs=0.01)
    (behind,) = only(Queued, 2)
    assert (behind.position, behind.reason) == (2, "queue")
    assert behind.wait == pytest.approx(4.05, abs=0.01)
    (done,) = only(Done, 2)
    (admitted,) = only(Admitted, 2)
    assert done.waited == admitted.waited > 4


def test_nobody_listens() -> None:
    """Without a listener nothing is forecast and nothing told: waiting costs nothing more."""

    async def main() -> int:
        transport = ScriptedTransport(lambda _: GOOD)
        async with session(transport, images_per_minute=1) as images:
            await asyncio.gather(*(images.generate("a fox") for _ in range(3)))
        return len(transport.requests)

    assert run(main) == 3


def test_listener_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that raises is logged, and costs no image."""

    def listener(event: Event) -> None:
        raise RuntimeError(f"cannot handle {type(event).__name__}")

    async def main() -> int:
        async with session(ScriptedTransport([GOOD]), on_event=listener) as images:
            return len((await images.generate("a fox")).data)

    assert run(main) == 1
    assert [r.levelname for r in caplog.records] == ["ERROR"] * 4
    assert "on_event failed on Done; the call goes on" in caplog.text


def test_failed_event_and_warning(caplog: pytest.LogCaptureFixture) -> None:
    """An attempt that may be billed is a warning in the log, and the call's end an event."""
    events: list[Event] = []
    reset = ResponseInterruptedError("reset", phase="receive")

    async def main() -> None:
        async with session(ScriptedTransport(lambda _: reset), on_event=events.append) as images:
            await images.generate("a fox")

    with caplog.at_level(logging.WARNING, "imagesdk"), pytest.raises(ImageSDKError):
        run(main)
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.error, failed.may_be_billed, failed.attempts) == ("AmbiguousError", True, 2)
    assert len(caplog.records) == 2
    assert "attempt 1 may have been billed although it failed: reset" in caplog.text


def test_max_concurrency() -> None:
    """No more exchanges are open at a time than max_concurrency says."""
    most = 0

    async def main() -> float:
        nonlocal most

        def answer(_: object) -> ScriptedAnswer:
            nonlocal most
            most = max(most, transport.open + 1)
            return ScriptedAnswer(GOOD.body, delay=10.0)

        transport = ScriptedTransport(answer)
        async with session(transport, max_concurrency=3) as images:
            await asyncio.gather(*(images.generate("a fox") for _ in range(9)))
        return asyncio.get_running_loop().time()

    assert run(main) == pytest.approx(30, abs=1)
    assert most == 3


def test_slots_are_free_during_backoff() -> None:
    """A call that waits to be sent again lets others use its slot."""

    async def main() -> list[str]:
        later = ScriptedAnswer(b"", status=503, headers={"retry-after": "30"})
        transport = ScriptedTransport([later, GOOD, GOOD])
        async with session(transport, max_concurrency=1) as images:
            first = asyncio.create_task(images.generate("first"))
            await asyncio.sleep(1)
            await images.generate("second")
            assert asyncio.get_running_loop().time() < 2
            await first
        return [request.json["prompt"] for request in transport.requests]

    assert run(main) == ["first", "second", "first"]


def test_closed_while_waiting() -> None:
    """A session that is closed sends nothing more, and the error tells what may be billed."""

    async def main() -> tuple[int, Any]:
        gone = ScriptedAnswer(b"", status=504, headers={"retry-after": "30"})
        transport = ScriptedTransport([gone])
        images = session(transport)
        task = asyncio.create_task(images.generate("a fox"))
        await asyncio.sleep(1)
        await images.aclose()
        with pytest.raises(ConfigurationError) as caught:
            await task
        return len(transport.requests), caught.value

    sent, error = run(main)
    assert sent == 1
    assert "the session was closed" in str(error)
    assert error.may_be_billed
    assert [attempt.outcome for attempt in error.attempts] == ["ambiguous"]


def test_closed_in_the_queue() -> None:
    """Calls that wait in the limiter's queue when the session is closed are not sent."""

    async def main() -> int:
        transport = ScriptedTransport(lambda _: GOOD)
        images = session(transport, images_per_minute=1)
        calls = [asyncio.create_task(images.generate("a fox")) for _ in range(3)]
        await asyncio.sleep(1)
        await images.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(o, ConfigurationError) for o in outcomes) == 2
        return len(transport.requests)

    assert run(main) == 1


def test_deadline_in_the_queue_after_a_429() -> None:
    """A timeout while the call waits for the limiter says where the call stood."""

    async def main() -> RequestTimeoutError:
        limiter = ImageLimiter(2)
        too_many = ScriptedAnswer(b"", status=429, headers={"retry-after": "5"})
        transport = ScriptedTransport([too_many])
        async with session(transport, limiter=limiter) as images:
            task = asyncio.create_task(images.generate("a fox", timeout=20.0, priority="batch"))
            await asyncio.sleep(1)
            first = asyncio.create_task(limiter.ticket(2).__aenter__())  # fills the minute
            with pytest.raises(RequestTimeoutError) as caught:
                await task
            assert asyncio.get_running_loop().time() == pytest.approx(20, abs=0.1)
            first.cancel()
            await asyncio.wait([first])
        return caught.value

    error = run(main)
    assert "it was waiting to be sent again: raise timeout" in str(error)
    assert (error.phase, error.may_be_billed) == ("connect", False)


def test_refused_wait() -> None:
    """A wait beyond max_wait, of the session or of the call, is refused without sending."""

    async def main() -> int:
        transport = ScriptedTransport(lambda _: GOOD)
        async with session(transport, images_per_minute=1, max_wait=10.0) as images:
            await images.generate("a fox")
            with pytest.raises(RateLimitTooLongError) as caught:
                await images.generate("a fox")
            assert caught.value.attempts == ()
            with pytest.raises(RateLimitTooLongError):
                await images.generate("a fox", max_wait=0.0)
            await images.generate("a fox", max_wait=61.0)
        return len(transport.requests)

    assert run(main) == 2


def test_quota_ends_queued_calls() -> None:
    """When the account has no credit, calls in the queue end without being sent."""

    async def main() -> int:
        broke = ScriptedAnswer(
            {"error": {"code": "insufficient_quota", "message": "no credit"}}, status=429, delay=1.0
        )
        transport = ScriptedTransport([broke])
        async with session(transport, images_per_minute=1) as images:
            outcomes = await asyncio.gather(
                *(images.generate("a fox") for _ in range(4)), return_exceptions=True
            )
        assert all(isinstance(outcome, QuotaExceededError) for outcome in outcomes)
        assert [len(outcome.attempts) for outcome in outcomes] == [1, 0, 0, 0]  # type: ignore[union-attr]
        return len(transport.requests)

    assert run(main) == 1


def test_large_answers() -> None:
    """A large answer is read whole, and errors in it are found, although a thread decodes it."""
    text = base64.b64encode(bytes(1_000_000)).decode()

    async def main() -> None:
        good = ScriptedAnswer({"data": [{"b64_json": text}]})
        bad = ScriptedAnswer({"data": [{"b64_json": text + "!"}]})
        async with session(ScriptedTransport([good, bad])) as images:
            assert await (await images.generate("a fox")).data[0].read() == bytes(1_000_000)
            with pytest.raises(ImageSDKError, match="no base64") as caught:
                await images.generate("a fox")
            assert len(caught.value.body) == 65_536  # type: ignore[attr-defined]

    run(main)


def test_answer_without_end() -> None:
    """Reading an answer stops at 64 MiB an image in base64, whatever the server sends."""

    async def main() -> tuple[PayloadTooLargeError, int]:
        endless = b'{"data": [{"b64_json": "' + b"A" * (88 * 1024 * 1024)
        transport = ScriptedTransport([ScriptedAnswer(endless, chunk_bytes=2**20)])
        async with session(transport) as images:
            with pytest.raises(PayloadTooLargeError) as caught:
                await images.generate("a fox")
        return caught.value, transport.open

    error, still_open = run(main)
    assert (error.limit_bytes, still_open) == (64 * 1024 * 1024 * 4 // 3 + 2 * 1024 * 1024, 0)
    assert error.may_be_billed


def test_error_bodies_are_cut() -> None:
    """Of a refusal no more than 64 KiB are read."""

    async def main() -> ImageSDKError:
        page = b"x" * 10_000_000
        async with session(ScriptedTransport([ScriptedAnswer(page, status=400)])) as images:
            with pytest.raises(ImageSDKError) as caught:
                await images.generate("a fox")
        return caught.value

    assert len(str(run(main))) < 1000


RESET = ResponseInterruptedError("reset", phase="receive")


def test_nothing_was_sent_is_no_comfort_after_an_ambiguous_attempt() -> None:
    """A call that was reset once and then refused a connection ends as ambiguous, not as never sent."""

    async def main() -> tuple[AmbiguousError, int]:
        transport = ScriptedTransport([RESET, ConnectError("refused"), ConnectError("refused")])
        async with session(transport) as images:
            with pytest.raises(AmbiguousError) as caught:
                await images.generate("a fox")
        return caught.value, len(transport.requests)

    error, sent = run(main)
    assert sent == 3
    assert error.may_be_billed
    assert isinstance(error.__cause__, ConnectError)
    assert len(error.__notes__) == 2


def test_a_deadline_after_an_ambiguous_attempt() -> None:
    """A call that runs out of time while it waits to be sent again says that it may be billed."""

    async def main() -> AmbiguousError:
        limiter = ImageLimiter(1)
        async with session(ScriptedTransport([RESET]), limiter=limiter, timeout=20.0) as images:
            with pytest.raises(AmbiguousError) as caught:
                await images.generate("a fox")
        return caught.value

    error = run(main)
    assert error.may_be_billed
    assert isinstance(error.__cause__, RequestTimeoutError)
    assert [note[:20] for note in error.__notes__] == ["attempt 1: ambiguous"]


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequestError), (401, AuthenticationError)])
def test_a_refusal_that_is_cut_off_is_a_refusal(status: int, kind: type[APIError]) -> None:
    """The status is known even if the error's body breaks off: it is final, and sent once."""

    async def main() -> int:
        transport = ScriptedTransport(
            [ScriptedAnswer(b'{"error": {"mess', status=status, break_after=10)]
        )
        async with session(transport) as images:
            with pytest.raises(kind) as caught:
                await images.generate("a fox")
        assert not caught.value.may_be_billed
        return len(transport.requests)

    assert run(main) == 1


def test_a_429_that_is_cut_off_pauses_the_limiter() -> None:
    """A 429 whose body breaks off is waited for like any other."""

    async def main() -> float:
        too_many = ScriptedAnswer(b"{", status=429, headers={"retry-after": "20"}, break_after=0)
        transport = ScriptedTransport([too_many, GOOD])
        async with session(transport) as images:
            await images.generate("a fox")
        return transport.requests[1].at - transport.requests[0].at

    assert run(main) == pytest.approx(20.05, abs=0.01)


def test_closing_ends_what_waits() -> None:
    """Calls that wait for the limiter end when their session is closed, and cost the others nothing."""

    async def main() -> tuple[list[Any], float]:
        limiter = ImageLimiter(10)
        loop = asyncio.get_running_loop()
        first = session(ScriptedTransport(lambda _: GOOD), limiter=limiter)
        calls = [asyncio.create_task(first.generate("a", n=1)) for _ in range(50)]
        await asyncio.sleep(1)
        await first.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert limiter.snapshot().queued == 0
        async with session(ScriptedTransport(lambda _: GOOD), limiter=limiter) as second:
            await second.generate("a fox")
        return outcomes, loop.time()

    outcomes, ended = run(main)
    errors = [o for o in outcomes if isinstance(o, ConfigurationError)]
    assert len(errors) == 40
    assert "the session was closed" in str(errors[0])
    assert ended == pytest.approx(60.35, abs=0.1)


def test_max_wait_holds_when_the_wait_grows() -> None:
    """A call whose wait became longer than it looked, because of a 429, is refused in time."""

    async def main() -> tuple[RateLimitTooLongError, float]:
        transport = ScriptedTransport(
            [ScriptedAnswer(b"", status=429, headers={"retry-after": "200"}, delay=5.0), GOOD]
        )
        async with session(transport, images_per_minute=1) as images:
            first = asyncio.create_task(images.generate("a fox"))
            await asyncio.sleep(1)
            started = asyncio.get_running_loop().time()
            with pytest.raises(RateLimitTooLongError) as caught:
                await images.generate("an otter", max_wait=65.0)
            waited = asyncio.get_running_loop().time() - started
            await first
        return caught.value, waited

    error, waited = run(main)
    assert error.max_wait == 65.0
    assert "became longer than it looked" in str(error)
    assert waited == pytest.approx(67.5, abs=0.1)


def test_a_cancelled_call_ends_with_an_event() -> None:
    """A call that its caller cancels is told to the listener as failed, so that gauges come out even."""
    events: list[Event] = []

    async def main() -> None:
        transport = ScriptedTransport([ScriptedAnswer(b"", delay=10.0)])
        async with session(transport, on_event=events.append) as images:
            task = asyncio.create_task(images.generate("a fox"))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)
    assert isinstance(events[-1], Failed)
    assert (events[-1].error, events[-1].may_be_billed) == ("CancelledError", True)


def test_an_error_with_status_200_is_never_sent_again() -> None:
    """A rate limit error inside a 200 answer is unusable: it may have been billed."""

    async def main() -> int:
        body = {"error": {"message": "slow", "code": "insufficient_quota"}}
        transport = ScriptedTransport([ScriptedAnswer(body, headers={"retry-after": "1"})])
        async with session(transport) as images:
            with pytest.raises(APIError) as caught:
                await images.generate("a fox")
        assert caught.value.attempts[0].outcome == "unusable"
        return len(transport.requests)

    assert run(main) == 1


def test_max_wait_bounds_the_queue_alone() -> None:
    """A call without a timeout that was admitted in time is not cut off by its max_wait."""

    async def main() -> float:
        transport = ScriptedTransport([attrs.evolve(GOOD, delay=100.0)])
        async with session(transport, timeout=None, max_wait=1.0) as images:
            await images.generate("a fox")
        return asyncio.get_running_loop().time()

    assert run(main) == pytest.approx(100.0, abs=0.1)
