from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin, get_type_hints

import pytest

from imagesdk.client.fanout import ImageMap, Outcome
from imagesdk.client.results import ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    BadRequestError,
    ConfigurationError,
    InvalidRequestError,
    LedgerError,
)
from imagesdk.models.requests import GenerateRequest
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


class Server:
    """A session on a scripted server whose delay is the number in the prompt."""

    def __init__(self) -> None:
        self.most = 0
        self.transport = ScriptedTransport(self._answer)
        self.images = ImageSession(
            base_url="http://server/v1", transport=self.transport, images_per_minute=None
        )

    def _answer(self, sent: SentRequest) -> ScriptedAnswer:
        self.most = max(self.most, self.transport.open + 1)
        prompt = sent.json["prompt"]
        if prompt == "bad":
            return ScriptedAnswer({"error": {"message": "bad"}}, status=400)
        return ScriptedAnswer(
            {"data": [{"url": f"http://a/{prompt}"}]}, delay=float(prompt.partition("#")[0])
        )

    @property
    def prompts(self) -> list[str]:
        return [request.json["prompt"] for request in self.transport.requests]


def tasks() -> int:
    return len(asyncio.all_tasks())


async def asynchronous(items: Any) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("make", [list, iter, asynchronous], ids=["list", "iterator", "async"])
def test_as_completed_and_bounded(make: Callable[[Any], Any]) -> None:
    """Outcomes come as they complete, with no more than *concurrency* in flight."""

    async def main() -> list[Any]:
        server = Server()
        prompts = ["9", "1", "5", "3", "bad", "2"]
        async with server.images, server.images.map(make(prompts), concurrency=3) as outcomes:
            results = [outcome async for outcome in outcomes]
        assert server.most == 3
        assert tasks() == 1
        assert [prompts[o.index] for o in results] == [o.request for o in results]
        return results

    results = run(main)
    assert [outcome.request for outcome in results] == ["1", "bad", "3", "5", "2", "9"] or [
        outcome.request for outcome in results
    ] == ["1", "3", "bad", "5", "2", "9"]
    bad = next(outcome for outcome in results if outcome.request == "bad")
    assert isinstance(bad.error, BadRequestError)
    assert bad.response is None
    with pytest.raises(BadRequestError):
        bad.unwrap()
    assert results[0].unwrap().data[0].url == "http://a/1"


@pytest.mark.parametrize("make", [list, asynchronous], ids=["list", "async"])
def test_ordered(make: Callable[[Any], Any]) -> None:
    """With ordered=True outcomes come in the order of the requests."""

    async def main() -> list[str]:
        server = Server()
        prompts = ["9", "1", "bad", "5", "3"]
        async with server.images:
            mapped = server.images.map(make(prompts), concurrency=2, ordered=True)
            results = [o.request async for o in mapped]
        assert server.most == 2
        return results

    assert run(main) == ["9", "1", "bad", "5", "3"]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("make", [lambda i: i, asynchronous], ids=["sync", "async"])
def test_early_exit(make: Callable[[Any], Any], ordered: bool) -> None:  # noqa: FBT001
    """Leaving an infinite source early cancels what is in flight; no task is left."""

    async def main() -> None:
        server = Server()
        endless = make(f"{1 + n % 3}#{n}" for n in itertools.count())
        async with server.images:
            async with server.images.map(endless, concurrency=4, ordered=ordered) as outcomes:
                async for outcome in outcomes:
                    if outcome.index >= 5:
                        break
                assert server.transport.open > 0
            assert (server.transport.open, tasks()) == (0, 1)
            sent = len(server.prompts)
            assert sent <= 5 + 2 * 4
            await asyncio.sleep(100)
            assert len(server.prompts) == sent
            assert [o async for o in outcomes] == []  # it has ended
            assert server.images._maps == set()

    run(main)


@pytest.mark.parametrize("ordered", [False, True])
def test_slow_consumer(ordered: bool) -> None:  # noqa: FBT001
    """A slow consumer slows the requests down: taking an outcome is what starts the next one."""

    async def main() -> None:
        server = Server()
        prompts = (f"0#{n}" for n in range(100))
        async with (
            server.images,
            server.images.map(prompts, concurrency=3, ordered=ordered) as outcomes,
        ):
            taken = 0
            async for _ in outcomes:
                taken += 1
                await asyncio.sleep(10)
                assert len(server.prompts) <= taken + 3
            assert taken == 100

    run(main)


class Request(str):
    """A prompt that can be watched by the garbage collector."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("ordered", [False, True])
def test_memory(ordered: bool) -> None:  # noqa: FBT001
    """Memory is that of *concurrency* requests, however many there are."""

    async def main() -> int:
        server = Server()
        alive: weakref.WeakSet[Request] = weakref.WeakSet()
        most = 0

        def prompts() -> Iterator[Request]:
            for n in range(300):
                prompt = Request(f"{n % 3}#{n}")
                alive.add(prompt)
                yield prompt

        async with (
            server.images,
            server.images.map(prompts(), concurrency=4, ordered=ordered) as outcomes,
        ):
            async for _ in outcomes:
                if len(alive) > 20:
                    gc.collect()
                most = max(most, len(alive))
        return most

    assert run(main) <= 20


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_source_that_raises(kind: str) -> None:
    """When the source raises, what is in flight is handed out first, then the error is raised."""

    def broken() -> Iterator[str]:
        yield "5"
        yield "1"
        raise ZeroDivisionError("a bug")

    async def broken_async() -> AsyncIterator[str]:
        for prompt in ("5", "1"):
            yield prompt
        raise ZeroDivisionError("a bug")

    async def main() -> list[str]:
        server = Server()
        seen: list[str] = []
        async with server.images:
            source: Any = broken() if kind == "sync" else broken_async()
            async with server.images.map(source, concurrency=8) as outcomes:
                with pytest.raises(ZeroDivisionError, match="a bug"):  # noqa: PT012
                    async for outcome in outcomes:
                        seen.append(outcome.request)  # noqa: PERF401 - keeps what came before
        assert tasks() == 1
        return seen

    assert run(main) == ["1", "5"]


def test_slow_source() -> None:
    """Outcomes are handed out while an async source is still waited for."""

    async def slow() -> AsyncIterator[str]:
        yield "1"
        await asyncio.sleep(50)
        yield "2"

    async def main() -> list[float]:
        server = Server()
        async with server.images, server.images.map(slow()) as outcomes:
            return [asyncio.get_running_loop().time() async for _ in outcomes]

    assert run(main) == pytest.approx([1, 52], abs=0.1)


def test_exit_while_the_source_is_awaited() -> None:
    """Leaving early ends the wait for an async source."""

    async def never() -> AsyncIterator[str]:
        yield "1"
        await asyncio.sleep(10_000)

    async def main() -> float:
        server = Server()
        async with server.images, server.images.map(never()) as outcomes:
            async for _ in outcomes:
                break
        assert tasks() == 1
        return asyncio.get_running_loop().time()

    assert run(main) < 10


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("make", [list, asynchronous], ids=["list", "async"])
def test_session_ends_the_rest(make: Callable[[Any], Any], ordered: bool) -> None:  # noqa: FBT001
    """Closing the session ends a map() that is waited on: what was in flight says what it may cost."""

    async def main() -> list[tuple[str, bool]]:
        server = Server()
        seen: list[tuple[str, bool]] = []

        async def consume(requests: list[str]) -> None:
            async for outcome in server.images.map(make(requests), concurrency=4, ordered=ordered):
                billed = outcome.error is not None and outcome.error.may_be_billed
                seen.append((outcome.request, billed))

        whole = asyncio.create_task(consume(["1", "50", "60", "70"]))
        more = asyncio.create_task(consume(["80"] * 9))
        await asyncio.sleep(10)
        await server.images.aclose()
        async with asyncio.timeout(5):
            await whole
            with pytest.raises(ConfigurationError, match="before the map came to the end"):
                await more
        assert (server.transport.open, tasks()) == (0, 1)
        return seen

    seen = run(main)
    assert seen[0] == ("1", False)
    assert sorted(seen[1:]) == [(r, True) for r in ("50", "60", "70", "80", "80", "80", "80")]


def test_plain_loop() -> None:
    """A plain async for that runs to its end needs no async with."""

    async def main() -> int:
        server = Server()
        async with server.images:
            count = len([o async for o in server.images.map(["1", "2"])])
            assert server.images._maps == set()
        return count

    assert run(main) == 2


def test_an_item_that_is_no_request() -> None:
    """An item that is no request is an outcome with an error, like any other; nothing is sent."""

    async def main() -> None:
        server = Server()
        async with server.images:
            nonsense: Any = [5]
            async with server.images.map(nonsense) as outcomes:
                (outcome,) = [outcome async for outcome in outcomes]
            assert isinstance(outcome.error, InvalidRequestError)
            assert "map() was given a int" in str(outcome.error)

    run(main)


def test_bad_arguments() -> None:
    """No concurrency at all, and a bare string, are refused: each letter would be paid for."""
    images = Server().images
    with pytest.raises(ConfigurationError, match="concurrency is 0"):
        images.map(["a"], concurrency=0)
    with pytest.raises(ConfigurationError, match="put a single prompt in a list"):
        images.map("a fox")
    with pytest.raises(ConfigurationError, match="GenerateRequest is one: put it in a list"):
        images.map(cast("Any", GenerateRequest("a fox")))
    assert images._maps == set()


async def test_without_a_session() -> None:
    """The fan-out runs anything that returns a response."""

    async def respond(number: int) -> ImagesResponse:
        return ImagesResponse(created=number, data=())

    mapped = ImageMap(respond, range(3), concurrency=1, ordered=False)
    outcomes = [outcome async for outcome in mapped]
    assert [(o.index, o.request, o.unwrap().created) for o in outcomes] == [
        (0, 0, 0),
        (1, 1, 1),
        (2, 2, 2),
    ]
    assert Outcome(index=0, request="a").error is None


def test_before_send() -> None:
    """*before_send* is awaited when the wait is over, before each attempt, *after_attempt* called when that has ended."""
    ended: list[tuple[str, str]] = []

    async def main() -> list[tuple[str, float, int]]:
        noted: list[tuple[str, float, int]] = []
        answers = iter([500, 200, 200])

        def answer(_: SentRequest) -> ScriptedAnswer:
            return ScriptedAnswer({"data": [{"url": "http://a/b"}]}, status=next(answers))

        transport = ScriptedTransport(answer)

        async def note(prompt: str) -> None:
            await asyncio.sleep(1)
            now = asyncio.get_running_loop().time()
            noted.append((prompt, now, len(transport.requests)))

        async with ImageSession(
            base_url="http://server/v1",
            transport=transport,
            images_per_minute=1,
            retry=RetryPolicy(backoff=0.001),
        ) as images:
            outcomes = images.map(
                ["a", "b"],
                before_send=note,
                after_attempt=lambda prompt, attempt: ended.append((prompt, attempt.outcome)),
            )
            assert [o.unwrap().data[0].url async for o in outcomes] == ["http://a/b"] * 2
        return noted

    noted = run(main)
    assert [(prompt, sent) for prompt, _, sent in noted] == [("a", 0), ("a", 1), ("b", 2)]
    assert ended == [("a", "failed"), ("a", "ok"), ("b", "ok")]
    assert noted[0][1] < 60 < noted[1][1] < 120 < noted[2][1]


def test_before_send_that_raises() -> None:
    """What *before_send* raises ends the request before it is sent, and costs nothing of the limit."""

    async def main() -> None:
        transport = ScriptedTransport([ScriptedAnswer({"data": [{"url": "http://a/b"}]})])

        async def note(prompt: str) -> None:
            if prompt == "bad":
                raise LedgerError("no room")

        async with ImageSession(
            base_url="http://server/v1", transport=transport, images_per_minute=1
        ) as images:
            outcomes = images.map(["bad", "good"], before_send=note, ordered=True, concurrency=1)
            first, second = [outcome async for outcome in outcomes]
        assert isinstance(first.error, LedgerError)
        assert first.error.attempts == ()
        assert second.response
        assert len(transport.requests) == 1
        assert asyncio.get_running_loop().time() < 60

    run(main)


def test_types_can_be_written_without_what_they_leave_open() -> None:
    """Where a program evaluates a type, it names the request alone, or also whether the images are on disk."""
    for outcome in (Outcome[str], Outcome[str, Path], Outcome[GenerateRequest, Path | None]):
        assert get_origin(outcome) is Outcome
    assert get_origin(ImageMap[str]) is get_origin(ImageMap[str, Path]) is ImageMap
    assert {*get_type_hints(Outcome)} == {"index", "request", "response", "error"}
