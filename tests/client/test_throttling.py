"""What a 429 means for the calls of sessions: pipeline, limiter and retry policy together."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter
from imagesdk.protocol.encode import WireRequest
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time
from imagesdk.transport.base import Credentials, Progress, Reply

T = TypeVar("T")
Png = Callable[..., bytes]
PICTURE = base64.b64encode(b"image").decode()


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


def good(images: int = 1, **options: Any) -> ScriptedAnswer:
    return ScriptedAnswer({"data": [{"b64_json": PICTURE}] * images}, **options)


def too_many(message: str = "slow down", code: str | None = None, **headers: str) -> ScriptedAnswer:
    body = {"error": {"message": message, "code": code}}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedAnswer(body, status=429, headers=sent)


def session(script: Any, **options: Any) -> tuple[ImageSession, ScriptedTransport]:
    transport = ScriptedTransport(script)
    arguments: dict[str, Any] = {"base_url": "http://server/v1", "transport": transport}
    return ImageSession(**arguments | options), transport


class Server:
    """Takes *limit* images in a rolling minute, and says what it refuses in the words of *names*."""

    def __init__(self, limit: int, *, names: str = "", delay: float = 5.0) -> None:
        self.limit, self.names, self.delay = limit, names, delay
        self.headers: Mapping[str, str] = {}
        self.log: list[tuple[float, int]] = []
        self.refused = 0

    def __call__(self, request: SentRequest) -> ScriptedAnswer:
        images = request.json.get("n", 1)
        used = sum(n for at, n in self.log if at > request.at - 60)
        if used + images > self.limit:
            self.refused += 1
            free = min((at for at, _ in self.log if at > request.at - 60), default=request.at)
            wait = f"{free + 60 - request.at:.3f}"
            message = self.names.format(limit=self.limit, used=used, wait=wait)
            return too_many(message, retry_after=wait)
        self.log.append((request.at, images))
        return good(images, delay=self.delay, headers=self.headers)


# The pause ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "7400"}, "", 7.4),
        ({"retry-after": "8"}, "", 8.0),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 12:00:09 GMT",
                "date": "Fri, 20 Nov 2026 12:00:00 GMT",
            },
            "",
            9.0,
        ),
        ({}, "Rate limit reached. Please try again in 12s.", 12.0),
        ({}, "Please retry after 51.84 seconds", 51.84),
        ({"x-ratelimit-reset-images": "11"}, "", 11.0),
        ({"x-ratelimit-reset-images": "1m3s"}, "", 63.0),
        ({"x-ratelimit-reset-images": "1500ms"}, "", 1.5),
        ({"retry-after": "3", "x-ratelimit-reset-images": "40"}, "try again in 20s", 3.0),
    ],
)
def test_the_servers_time_in_each_form(
    headers: dict[str, str], message: str, seconds: float
) -> None:
    """Everybody waits for the server's time; then the refused call probes, and the others follow."""

    async def main() -> list[SentRequest]:
        refused = ScriptedAnswer({"error": {"message": message}}, status=429, headers=headers)
        script = [refused, *[good(delay=20.0)] * 3]
        images, transport = session(script, retry=RetryPolicy(1))
        async with images:
            first = asyncio.create_task(images.generate("first"))
            await asyncio.sleep(0.5)
            others = [images.generate(prompt) for prompt in ("second", "third")]
            response, *_ = await asyncio.gather(first, *others)
            assert [a.outcome for a in response.attempts] == ["throttled", "ok"]
            assert not any(a.may_be_billed for a in response.attempts)
        return transport.requests

    requests = run(main)
    assert [r.json["prompt"] for r in requests] == ["first", "first", "second", "third"]
    _, probe, *others = (request.at for request in requests)
    assert probe == pytest.approx(seconds + 0.05, abs=0.02)
    assert all(at >= probe + 1 for at in others)  # no news of the probe for a second
    assert len({r.headers["Idempotency-Key"] for r in requests[:2]}) == 1


def test_two_sessions_pause_together() -> None:
    """A refusal of one session's call pauses the other session on the same limiter."""

    async def main() -> list[float]:
        limiter = ImageLimiter(50)
        one, _ = session([too_many(retry_after="20"), good()], limiter=limiter)
        other, transport = session([good()], limiter=limiter)
        async with one, other:
            first = asyncio.create_task(one.generate("a fox"))
            await asyncio.sleep(1)
            assert other.snapshot().paused == pytest.approx(19, abs=0.1)
            await asyncio.gather(first, other.generate("an otter"))
        return [request.at for request in transport.requests]

    (at,) = run(main)
    assert 20.05 <= at < 22


def test_a_pause_beyond_max_pause() -> None:
    """Everybody gets the server's seconds at once, nothing is sent, until what is left can be waited."""

    async def main() -> tuple[list[Any], int]:
        limiter = ImageLimiter(3, max_pause=60.0)
        hour = ScriptedAnswer(b"", status=429, headers={"retry-after": "3600"}, delay=2.0)
        slow = good(delay=100.0)
        images, transport = session([slow, hour, slow, good()], limiter=limiter)
        async with images:
            calls = [asyncio.create_task(images.generate("a fox")) for _ in range(6)]
            await asyncio.sleep(10)
            ended = [call.exception() for call in calls if call.done()]
            with pytest.raises(RateLimitError) as caught:
                await images.generate("late")
            assert now() == pytest.approx(10, abs=0.01)
            ended.append(caught.value)
            sent = len(transport.requests)
            await asyncio.sleep(3600 - 50 - 10)
            await images.generate("when it fits")
            assert now() == pytest.approx(3602, abs=1)
            await asyncio.gather(*calls, return_exceptions=True)
        return ended, sent

    errors, sent = run(main)
    assert sent == 3
    assert [type(error) for error in errors] == [RateLimitError] * 5
    seconds = [error.retry_after for error in errors]
    assert seconds == pytest.approx([3600, 3600, 3600, 3600, 3592], abs=0.1)
    assert [len(error.attempts) for error in errors] == [1, 0, 0, 0, 0]


def test_refusals_use_up_no_attempt() -> None:
    """However often a call is refused, its attempts are for failures, and all of them are told."""

    async def main() -> list[str]:
        failing = ScriptedAnswer(b"", status=503)
        refused = [too_many(retry_after="3")] * 6
        images, _ = session([*refused, failing, *refused, good()], retry=RetryPolicy(2))
        async with images:
            response = await images.generate("a fox")
        return [attempt.outcome for attempt in response.attempts]

    assert run(main) == ["throttled"] * 6 + ["failed"] + ["throttled"] * 6 + ["ok"]


# Limits that the server names -----------------------------------------------------------------


FORMS = [
    "Rate limit exceeded for images per minute in organization x. Limit: {limit}/1min. Current: 6",
    "on images per min: Limit {limit}, Used {used}, Requested 1. Please try again in {wait}s.",
]


@pytest.mark.parametrize("names", FORMS)
@pytest.mark.parametrize("limit", [5, 20])
def test_a_named_limit_costs_few_refusals(names: str, limit: int) -> None:
    """Told 50 where 5 or 20 are allowed, a session learns it once and then uses what is allowed."""

    async def main() -> tuple[Server, float]:
        server = Server(limit, names=names)
        images, _ = session(server)
        async with images:
            await asyncio.gather(*(images.generate(f"{index}") for index in range(limit * 6)))
            assert images.snapshot().limit == images.snapshot().adopted == limit
        return server, now()

    server, ended = run(main)
    assert sum(n for _, n in server.log) == limit * 6
    assert server.refused <= 12
    assert ended < 5 * 60.5 + 15


def test_a_limit_in_the_headers() -> None:
    """A limit that answers name is adopted before the first refusal."""

    async def main() -> Server:
        server = Server(12, delay=1.0)
        server.headers = {"x-ratelimit-limit-images": "12", "x-ratelimit-remaining-images": "3"}
        images, _ = session(server)
        async with images:
            await images.generate("the first tells")
            await asyncio.gather(*(images.generate("a fox") for _ in range(30)))
        return server

    server = run(main)
    assert server.refused == 0
    assert len(server.log) == 31


def test_auto_follows_upwards() -> None:
    """With "auto" a session that was told nothing uses what the server's headers name."""

    async def main(told: Any) -> tuple[float, Any]:
        server = Server(500, delay=1.0)
        server.headers = {"x-ratelimit-limit-images": "500"}
        images, transport = session(server, images_per_minute=told)
        async with images:
            await asyncio.gather(*(images.generate("a fox") for _ in range(300)))
            assert server.refused == 0
            return transport.requests[-1].at, images.snapshot().limit

    at, limit = run(lambda: main("auto"))
    assert at < 6
    assert limit == 500
    at, limit = run(lambda: main("profile"))
    assert at > 300
    assert limit == 50


def test_auto_follows_downwards_and_up_again() -> None:
    """When the account changes, the headers change, and the session with them."""

    async def main() -> list[Any]:
        server = Server(500, delay=1.0)
        images, _ = session(server, images_per_minute="auto")
        limits = []
        async with images:
            for limit in (50, 500, 20, 20, 100):
                server.headers = {"x-ratelimit-limit-images": f"{limit}"}
                await images.generate("a fox")
                limits.append(images.snapshot().limit)
                await asyncio.sleep(60)
        return limits

    assert run(main) == [50, 500, 20, 20, 100]


# Calls above the limit ------------------------------------------------------------------------


def test_calls_above_an_adopted_limit_are_split() -> None:
    """A call for ten under a limit of five becomes two, and its result has all ten, in one answer."""

    async def main() -> tuple[list[int], Any, Server]:
        server = Server(5, names=FORMS[0])
        images, transport = session(server)
        async with images:
            response = await images.generate("a fox", n=10)
        return [request.json.get("n", 1) for request in transport.requests], response, server

    sent, response, server = run(main)
    assert sent == [10, 5, 5]
    assert len(response.data) == 10
    assert [attempt.outcome for attempt in response.attempts] == ["throttled", "ok", "ok"]
    assert server.refused == 1


def test_the_parts_keep_the_place() -> None:
    """What was split goes before the calls that came later, and those get what is left."""

    async def main() -> list[tuple[str, int]]:
        server = Server(5, names=FORMS[0])
        images, transport = session(server)
        async with images:
            first = asyncio.create_task(images.generate("first", n=10))
            await asyncio.sleep(0.3)
            later = [asyncio.create_task(images.generate("later", n=5)) for _ in range(4)]
            responses = await asyncio.gather(first, *later)
        assert [len(response.data) for response in responses] == [10, 5, 5, 5, 5]
        return [(r.json["prompt"], r.json.get("n", 1)) for r in transport.requests]

    sent = run(main)
    accepted = sent[sent.index(("first", 5)) :]
    assert accepted[:2] == [("first", 5)] * 2
    assert accepted.count(("later", 5)) == 4


def test_a_call_that_is_split_again() -> None:
    """If the limit sinks further, parts are split again, and nothing is lost or made twice."""

    async def main() -> tuple[list[int], int, int]:
        steps = iter((5, 2))

        def answer(request: SentRequest) -> ScriptedAnswer:
            images = request.json.get("n", 1)
            if images > 2:
                return too_many(f"Limit: {next(steps, 2)}/1min", retry_after="1")
            return good(images)

        images, transport = session(answer)
        async with images:
            response = await images.generate("a fox", n=9)
        sent = [request.json.get("n", 1) for request in transport.requests]
        return sent, len(response.data), len(response.attempts)

    sent, made, attempts = run(main)
    assert sent[:2] == [9, 5]
    assert sum(n for n in sent if n <= 2) == made == 9
    assert attempts == len(sent)


def test_large_calls_are_split_while_they_wait() -> None:
    """A call that has not been sent yet is split as soon as it is known that it cannot be."""

    async def main() -> list[int]:
        server = Server(5, names=FORMS[0], delay=0.0)
        images, transport = session(server, images_per_minute=10)
        async with images:
            calls = [asyncio.create_task(images.generate("a fox", n=10)) for _ in range(3)]
            responses = await asyncio.gather(*calls)
        assert [len(response.data) for response in responses] == [10, 10, 10]
        return [request.json.get("n", 1) for request in transport.requests]

    assert run(main) == [10, 5, 5, 5, 5, 5, 5]


# What is final --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (too_many("Limit: 0/1min. Current: 0/1min"), PermissionDeniedError),
        (too_many("no credit", "insufficient_quota"), QuotaExceededError),
        (
            ScriptedAnswer(
                {"error": {"message": "limit", "code": "billing_hard_limit_reached"}}, status=400
            ),
            QuotaExceededError,
        ),
    ],
)
def test_what_is_final_ends_the_queue(answer: ScriptedAnswer, kind: type[ImageSDKError]) -> None:
    """Without access or credit nothing more is sent for those who wait, and nothing is retried."""

    async def main() -> tuple[int, list[Any]]:
        images, transport = session([answer], images_per_minute=1)
        async with images:
            calls = [asyncio.create_task(images.generate("a fox")) for _ in range(5)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert now() < 0.1
            assert images.snapshot().used == 0
        return len(transport.requests), outcomes

    sent, outcomes = run(main)
    assert sent == 1
    assert {type(outcome) for outcome in outcomes} == {kind}
    assert [len(outcome.attempts) for outcome in outcomes] == [1, 0, 0, 0, 0]


# What was not sent ----------------------------------------------------------------------------


class Stuck:
    """A transport that stays for ever in one phase of the exchange."""

    never: Reply

    def __init__(self, phase: Any) -> None:
        self.phase = phase
        self.open = 0

    @asynccontextmanager
    async def send(
        self,
        request: WireRequest,
        *,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None = None,
        foreign: bool = False,
    ) -> AsyncIterator[Reply]:
        del request, credentials, connect_timeout, foreign
        self.open += 1
        progress.phase = self.phase
        try:
            await asyncio.Event().wait()
            yield self.never
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(("phase", "used"), [("connect", 0), ("send", 0), ("receive", 4)])
@pytest.mark.parametrize("how", ["cancelled", "timeout", "closed"])
def test_what_counts_when_an_exchange_is_cut_off(phase: str, used: int, how: str) -> None:
    """Before the whole request was written nothing is charged; from then on it is."""

    async def main() -> tuple[int, int]:
        limiter, transport = ImageLimiter(50), Stuck(phase)
        images = ImageSession(
            base_url="http://server/v1", transport=transport, limiter=limiter, max_concurrency=1
        )
        call = asyncio.create_task(images.generate("a fox", n=4, timeout=30.0))
        await asyncio.sleep(10)
        assert limiter.snapshot().used == 4
        if how == "cancelled":
            call.cancel()
        elif how == "closed":
            await images.aclose()
        with pytest.raises((asyncio.CancelledError, ImageSDKError)):
            await call
        await images.aclose()
        slots = images._pipeline.slots
        assert slots is not None
        assert not slots.full
        return limiter.snapshot().used, transport.open

    assert run(main) == (used, 0)


def test_what_was_admitted_when_the_session_closed() -> None:
    """Calls that are admitted in the moment in which their session is closed are not charged."""

    async def main() -> tuple[int, int]:
        limiter = ImageLimiter(5)
        images, transport = session([], limiter=limiter)
        async with limiter.ticket(5):
            pass

        async def closes() -> None:  # it drives the queue, so it is the first to know
            async with limiter.ticket(1):
                images._pipeline.close()

        closing = asyncio.create_task(closes())
        await asyncio.sleep(1)
        calls = [asyncio.create_task(images.generate("a fox")) for _ in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await closing
        assert {type(outcome) for outcome in outcomes} == {ConfigurationError}
        return limiter.snapshot().used, len(transport.requests)

    assert run(main) == (1, 0)


# The quota of the key -------------------------------------------------------------------------


@pytest.mark.parametrize("limiter", [NoLimiter, ImageLimiter])
def test_sessions_of_one_key_share_its_retries(limiter: Any) -> None:
    """While nothing succeeds, all sessions on one limiter together send again 100 times."""

    async def main() -> tuple[int, list[Any]]:
        shared = limiter() if limiter is NoLimiter else ImageLimiter(10_000)
        failing = ScriptedAnswer(b"", status=500)
        pairs = [session(lambda _: failing, limiter=shared) for _ in range(3)]
        calls = [images.generate("a fox") for images, _ in pairs for _ in range(100)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for images, _ in pairs:
            await images.aclose()
        return sum(len(transport.requests) for _, transport in pairs), outcomes

    sent, outcomes = run(main)
    assert sent == 400
    assert {type(outcome) for outcome in outcomes} == {ServerError}


def test_another_key_has_a_quota_of_its_own() -> None:
    """An outage of one server costs the sessions of another one nothing."""

    async def main() -> int:
        failing, _ = session(lambda _: ConnectError("refused"))
        async with failing:
            calls = (failing.generate("a fox") for _ in range(200))
            await asyncio.gather(*calls, return_exceptions=True)
        images, transport = session([ScriptedAnswer(b"", status=500), good()])
        async with images:
            await images.generate("a fox")
        return len(transport.requests)

    assert run(main) == 2


# Several loops --------------------------------------------------------------------------------


def test_sessions_in_threads_share_a_limit() -> None:
    """Sessions in three threads, each with a loop of its own, keep one limit together."""
    limiter = ImageLimiter(None, windows=((5, 0.3),), burst=5, jitter=0.02)
    sent: list[float] = []

    async def main() -> list[int]:
        images, transport = session(lambda _: good(), limiter=limiter)
        async with images, asyncio.timeout(5):
            calls = [images.generate("a fox") for _ in range(6)]
            responses = await asyncio.gather(*calls)
        sent.extend(request.at for request in transport.requests)
        return [len(response.data) for response in responses]

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: asyncio.run(main()), range(3)))
    assert made == [[1] * 6] * 3
    assert len(sent) == 18
    assert max(sent) - min(sent) >= 3 * 0.3
    assert max(sum(t - 0.25 < u <= t for u in sent) for t in sent) <= 5


def test_a_refusal_in_one_thread_pauses_the_others() -> None:
    """A 429 that one thread's session gets is waited out by all of them."""
    limiter = ImageLimiter(600)
    at: dict[str, float] = {}

    async def main(name: str) -> None:
        script = [too_many(retry_after_ms="300"), good()] if name == "refused" else [good()]
        images, transport = session(script, limiter=limiter)
        async with images, asyncio.timeout(5):
            if name != "refused":
                await asyncio.sleep(0.1)
            await images.generate("a fox")
        at[name] = transport.requests[-1].at - transport.requests[0].at
        at[f"{name} sent"] = transport.requests[-1].at

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: asyncio.run(main(name)), ("refused", "other")))
    assert at["refused"] >= 0.3
    assert at["other sent"] >= at["refused sent"] - 0.1
