"""A worker and a limit that are called from elsewhere: no cluster is needed to see what they promise."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from imagesdk.batch.engine import Report, WorkerLost
from imagesdk.batch.entries import Entry
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.remote import LimiterHost, RemoteLimiter, WorkerHost, foresee
from imagesdk.batch.worker import WorkerSpec
from imagesdk.client.session import ImageSession
from imagesdk.emulator.server import EmulatorServer
from imagesdk.errors import (
    BatchError,
    ConfigurationError,
    ImageSDKError,
    LedgerError,
    RateLimitTooLongError,
)
from imagesdk.limiters.local import ImageLimiter
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time
from tests.batch.conftest import image_answer, jobs_of

KEY = "0123456789abcdef0123456789abcdef"


async def entry_of(out: Path, **more: object) -> Entry:
    """Return a job that is ready to be sent."""
    async with Ledger(out) as ledger:
        await ledger.load(jobs_of({"id": "a", "prompt": "a", "size": "256x256", **more}))
        (entry,) = await ledger.page(["pending"])
    return attrs.evolve(entry, idempotency_key=KEY)


# The worker ---------------------------------------------------------------------------------------


@pytest.fixture
async def host(
    server: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WorkerHost]:
    """A worker of the emulator."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-worker")
    host = WorkerHost(WorkerSpec(out=tmp_path, base_url=server.base_url, images_per_minute=None))
    yield host
    await host.aclose()


async def test_nothing_is_sent_before_the_driver_says_so(
    host: WorkerHost, server: EmulatorServer, tmp_path: Path
) -> None:
    """begin answers when the request is about to be sent; proceed lets it go, and brings the report."""
    entry = pickle.loads(pickle.dumps(await entry_of(tmp_path)))  # noqa: S301 - our own
    assert await host.begin(entry) is None
    assert not server.requests
    report = pickle.loads(pickle.dumps(await host.proceed(KEY)))  # noqa: S301
    assert isinstance(report, Report)
    assert [(tmp_path / image["file"]).exists() for image in report.record.images] == [True]
    assert [r.method for r in server.requests].count("POST") == 1


async def test_the_parts_of_a_request_are_noted_one_after_the_other(
    host: WorkerHost, tmp_path: Path
) -> None:
    """A request that is split asks the driver once for each of its parts."""
    asked = 1
    assert await host.begin(await entry_of(tmp_path, n=23)) is None
    while (step := await host.proceed(KEY)) is None:
        asked += 1
    assert isinstance(step, Report)
    assert len(step.record.images) == 23
    assert asked == 3


async def test_a_job_that_ends_unsent_needs_no_word_of_the_driver(
    host: WorkerHost, server: EmulatorServer, tmp_path: Path
) -> None:
    """What breaks a rule is reported at once."""
    report = await host.begin(await entry_of(tmp_path, n=0))
    assert isinstance(report, Report)
    assert report.record.status == "failed"
    assert not server.requests


async def test_a_job_that_is_dropped_is_never_sent(
    host: WorkerHost, server: EmulatorServer, tmp_path: Path
) -> None:
    """After drop nobody knows the job any more; dropping it again does no harm."""
    assert await host.begin(await entry_of(tmp_path)) is None
    await host.drop(KEY)
    await host.drop(KEY)
    assert isinstance(await host.proceed(KEY), WorkerLost)
    assert not server.requests


async def test_what_cannot_be_noted_is_not_sent(
    host: WorkerHost, server: EmulatorServer, tmp_path: Path
) -> None:
    """The driver's refusal ends the job, and comes back with what the worker knows of it."""
    assert await host.begin(await entry_of(tmp_path)) is None
    step = await host.proceed(KEY, BatchError("the run was ended"))
    assert isinstance(step, BatchError)
    assert not step.may_be_billed
    assert not server.requests


async def test_a_driver_that_is_gone_lets_nothing_go(
    host: WorkerHost,
    server: EmulatorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that nobody notes in time ends unsent."""
    monkeypatch.setattr("imagesdk.batch.remote._PATIENCE", 0.01)
    assert await host.begin(await entry_of(tmp_path)) is None
    await asyncio.sleep(0.05)
    step = await host.proceed(KEY)
    assert isinstance(step, WorkerLost)
    assert not server.requests


async def test_why_a_worker_cannot_work_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key where one is needed, and with a disk that fails, the driver gets the error."""
    spec = WorkerSpec(out=tmp_path, base_url="https://api.openai.com/v1")
    host = WorkerHost(spec)
    assert isinstance(await host.ready(), ConfigurationError)
    assert isinstance(await host.begin(await entry_of(tmp_path)), ConfigurationError)
    assert await host.snapshot() is None
    await host.aclose()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-worker")
    async with EmulatorServer(images_per_minute=None) as server:
        spec = attrs.evolve(spec, base_url=server.base_url, images_per_minute=7.0)
        host = WorkerHost(spec)
        (tmp_path / "a-1.png" / "in the way").mkdir(parents=True)
        assert await host.begin(await entry_of(tmp_path)) is None
        snapshot = await host.snapshot()
        assert snapshot is not None
        assert (snapshot.limit, snapshot.used) == (7, 1)
        assert isinstance(await host.proceed(KEY), OSError)
        await host.aclose()


def test_a_spec_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is not in what is sent to the workers, nor a Redis password in what is shown."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-SECRET")
    spec = WorkerSpec(out=Path("out"), limiter="redis://:PASSWORD@localhost")
    assert b"SECRET" not in pickle.dumps(spec)
    assert "PASSWORD" not in repr(spec)


# The limit ----------------------------------------------------------------------------------------


@asynccontextmanager
async def sessions(
    host: LimiterHost, transport: ScriptedTransport, number: int, *, like: ImageLimiter
) -> AsyncIterator[list[ImageSession]]:
    """Sessions that get their permits from one host, over what a cluster would carry."""

    async def call(name: str, argument: object) -> Any:
        answer = await getattr(host, name)(pickle.loads(pickle.dumps(argument)))  # noqa: S301
        return pickle.loads(pickle.dumps(answer))  # noqa: S301

    opened = [
        ImageSession(
            base_url="http://server/v1",
            api_key="sk-test",
            transport=transport,
            limiter=RemoteLimiter(worker, like, call),
            retry=RetryPolicy(1),
        )
        for worker in range(number)
    ]
    yield opened
    for session in opened:
        await session.aclose()


Moments = list[tuple[float, int]]


def counting(moments: Moments) -> Callable[[SentRequest], ScriptedAnswer]:
    """Return answers that note when how many images were asked for."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        count = request.json.get("n", 1)
        moments.append((asyncio.get_running_loop().time(), count))
        return image_answer(*[b"\x89PNG\r\n\x1a\n"] * count)

    return answer


def most_in_a_minute(moments: Moments) -> int:
    """Return the images of the fullest minute."""
    return max(
        sum(count for at, count in moments if begin <= at < begin + 60) for begin, _ in moments
    )


def test_several_workers_keep_one_limit() -> None:
    """However many workers ask, no minute has more images than the limit; and none is left unused."""
    moments: Moments = []

    async def main() -> float:
        host = LimiterHost(ImageLimiter(20))
        transport = ScriptedTransport(counting(moments))
        async with sessions(host, transport, 3, like=ImageLimiter(20)) as each:
            calls = [s.generate("a", n=1 + i % 3) for i in range(30) for s in each]
            await asyncio.gather(*calls)
            assert each[0].snapshot().limit == 20
            assert each[0].forecast(100, 100) > 0
        assert (await host.snapshot()).queued == 0
        return asyncio.get_running_loop().time()

    with virtual_time() as runner:
        assert runner.run(main()) < 60 * 10
    assert sum(count for _, count in moments) == 180
    assert most_in_a_minute(moments) <= 20


def test_a_refusal_pauses_all_workers() -> None:
    """A 429 that one worker gets is waited out by all; the call that got it is sent again."""
    moments: list[float] = []

    def answer(_request: SentRequest) -> ScriptedAnswer:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) == 1:
            error = {"message": "slow down", "code": "rate_limit_exceeded"}
            return ScriptedAnswer({"error": error}, status=429, headers={"retry-after": "30"})
        return image_answer()

    async def main() -> None:
        transport = ScriptedTransport(answer)
        async with sessions(
            LimiterHost(ImageLimiter(20)), transport, 2, like=ImageLimiter(20)
        ) as each:
            first = asyncio.create_task(each[0].generate("a"))
            await asyncio.sleep(1)
            await asyncio.gather(first, each[1].generate("b"))

    with virtual_time() as runner:
        runner.run(main())
    assert len(moments) == 3
    assert min(moments[1:]) - moments[0] >= 30


def test_a_lower_limit_splits_the_calls_of_all_workers() -> None:
    """When the server names a limit below what a call asks for, the call is split by it."""
    asked: list[int] = []

    def answer(request: SentRequest) -> ScriptedAnswer:
        asked.append(request.json.get("n", 1))
        if asked[-1] > 3:
            said = {"message": "Limit: 3/1min. Current: 6/1min", "code": "rate_limit_exceeded"}
            return ScriptedAnswer({"error": said}, status=429, headers={"retry-after": "1"})
        return image_answer(*[b"\x89PNG\r\n\x1a\n"] * asked[-1])

    async def main() -> None:
        transport = ScriptedTransport(answer)
        async with sessions(LimiterHost(ImageLimiter(20)), transport, 1, like=ImageLimiter(20)) as (
            session,
        ):
            assert len((await session.generate("a", n=6)).data) == 6

    with virtual_time() as runner:
        runner.run(main())
    assert asked[0] == 6
    assert sum(asked[1:]) == 6
    assert max(asked[1:]) <= 3


def test_a_wait_that_is_too_long_is_refused_across() -> None:
    """max_wait holds for the queue of all workers."""

    async def main() -> None:
        transport = ScriptedTransport(lambda _: image_answer())
        async with sessions(
            LimiterHost(ImageLimiter(1)), transport, 2, like=ImageLimiter(1)
        ) as each:
            await each[0].generate("a")
            with pytest.raises(RateLimitTooLongError):
                await each[1].generate("b", max_wait=10)

    with virtual_time() as runner:
        runner.run(main())


def test_a_call_that_is_cancelled_is_accounted_for() -> None:
    """A call that is cancelled in flight keeps its place in the window: it may have been counted."""

    async def main() -> int:
        transport = ScriptedTransport(lambda _: ScriptedAnswer(image_answer().body, delay=5))
        host = LimiterHost(ImageLimiter(5))
        async with sessions(host, transport, 1, like=ImageLimiter(5)) as (session,):
            task = asyncio.create_task(session.generate("a"))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            return (await host.snapshot()).used

    with virtual_time() as runner:
        assert runner.run(main()) == 1


def test_a_limiter_after_a_loss_waits_for_a_minute() -> None:
    """One that does not know what the last minute brought admits nothing until that is over."""
    moments: Moments = []

    async def main() -> None:
        transport = ScriptedTransport(counting(moments))
        host = LimiterHost(ImageLimiter(20), after_loss=True)
        async with sessions(host, transport, 2, like=ImageLimiter(20)) as each:
            await asyncio.gather(*(session.generate("a") for session in each))

    with virtual_time() as runner:
        runner.run(main())
    assert all(at >= 60 for at, _ in moments)


def test_what_a_lost_worker_waited_for_is_forgotten() -> None:
    """A new worker of the same number takes the old one's calls out of the queue."""

    async def main() -> tuple[int, int]:
        transport = ScriptedTransport(lambda _: image_answer())
        host = LimiterHost(ImageLimiter(1))
        async with sessions(host, transport, 2, like=ImageLimiter(1)) as each:
            await each[0].generate("a")
            waiting = [asyncio.create_task(each[1].generate("b")) for _ in range(4)]
            await asyncio.sleep(1)
            before = (await host.snapshot()).queued
            await host.join(1)
            await asyncio.wait(waiting)
            return before, (await host.snapshot()).queued

    with virtual_time() as runner:
        assert runner.run(main()) == (4, 0)


def test_what_a_limiter_never_admitted_is_settled_in_silence() -> None:
    """A worker may hold a permit of a limiter that is lost."""

    async def main() -> None:
        hosts = [LimiterHost(ImageLimiter(5)), LimiterHost(ImageLimiter(5))]

        async def call(name: str, argument: object) -> Any:
            return await getattr(hosts[name == "settle"], name)(argument)

        limiter = RemoteLimiter(0, ImageLimiter(5), call)
        async with limiter.ticket(1):
            pass

    asyncio.run(main())


@pytest.mark.parametrize(("images", "seconds"), [(0, 0), (5, 0), (15, 60)])
async def test_the_time_left_is_foreseen_from_the_state(images: int, seconds: float) -> None:
    """What is free goes at once, the rest by the limit; without a limit nothing waits."""
    state = ImageLimiter(10).snapshot()
    assert foresee(attrs.evolve(state, used=5), images) == seconds
    assert foresee(attrs.evolve(state, limit=None), images) == 0
    assert foresee(attrs.evolve(state, used=5, paused=9.0), 15) == 69


def test_errors_that_go_through_a_cluster_are_values() -> None:
    """What a step may be can be pickled, and keeps its message."""
    for error in (LedgerError("no room"), WorkerLost("gone"), ImageSDKError("no", status=500)):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(again) is type(error)
        assert str(again) == str(error)
