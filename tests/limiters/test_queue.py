from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, pairwise
from typing import Any, TypeVar

import pytest

from imagesdk.errors import ConnectError
from imagesdk.limiters._queue import BACKFILL_DELAY, BATCH_SHARE
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.base import Limiter, Slots
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter
from imagesdk.testing import virtual_time

T = TypeVar("T")
LENGTH = 60 + JITTER


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

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.names: list[str] = []
        self.at: dict[str, float] = {}
        self.told: dict[str, Any] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def one(
        self,
        name: str = "",
        cost: int = 1,
        *,
        hold: float = 0.0,
        error: Exception | None = None,
        **options: Any,
    ) -> None:
        def told(position: int, wait: float, reason: str) -> None:
            assert name not in self.told
            self.told[name] = position, wait, reason

        async with self.limiter.ticket(cost, on_queued=told, **options):
            self.names.append(name)
            self.at[name] = now()
            await asyncio.sleep(hold)
            if error is not None:
                raise error

    def start(self, name: str, cost: int = 1, **options: Any) -> None:
        assert name not in self.tasks
        self.tasks[name] = asyncio.create_task(self.one(name, cost, **options))

    def cancel(self, name: str) -> None:
        self.tasks[name].cancel()

    async def done(self) -> list[Any]:
        tasks = self.tasks.values()
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert self.limiter.snapshot().queued == 0
        return outcomes

    async def drop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await self.done()


# Order ----------------------------------------------------------------------------------------


def test_first_come_first_served() -> None:
    """Calls are admitted in the order in which they were made."""

    async def main() -> list[str]:
        calls = Calls(ImageLimiter(20))
        for index in range(12):
            calls.start(str(index), 7)
        await calls.done()
        assert now() == pytest.approx(5 * LENGTH, abs=0.5)
        return calls.names

    assert run(main) == [str(index) for index in range(12)]


def test_the_place_belongs_to_the_call() -> None:
    """A call that is tried again goes before those that came after it."""

    async def main() -> list[str]:
        calls = Calls(ImageLimiter(10))
        ticket = calls.limiter.ticket(10)
        with pytest.raises(ConnectError):  # noqa: PT012
            async with ticket:
                for name in ("a", "b"):
                    calls.start(name, 10)
                await asyncio.sleep(1)
                raise ConnectError("refused")
        async with ticket:
            calls.names.append("again")
        await calls.done()
        return calls.names

    assert run(main) == ["again", "a", "b"]


def test_parts_take_the_place_of_the_whole() -> None:
    """The parts of a call that was split go where it stood, in their order."""

    async def main() -> list[str]:
        calls = Calls(ImageLimiter(10))
        await calls.one("first", 10)
        whole = calls.limiter.ticket(10)
        for name in ("later", "last"):
            calls.start(name, 10)
        await asyncio.sleep(1)
        for name in ("part 1", "part 2"):
            calls.start(name, 10, place=whole.place)
        await calls.done()
        return calls.names

    assert run(main) == ["first", "part 1", "part 2", "later", "last"]


def test_no_starvation() -> None:
    """A call for ten images waits no longer than those that came before it need."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        for index in range(10):
            calls.start(f"early {index}")
        await asyncio.sleep(1)
        calls.start("ten", 10)
        for index in range(100):  # a stream of small calls that would fit first
            await asyncio.sleep(1)
            calls.start(f"late {index}")
        await asyncio.sleep(30)
        await calls.drop()
        return calls

    calls = run(main)
    assert calls.names[10] == "ten"
    assert calls.at["ten"] == pytest.approx(LENGTH, abs=0.1)


# Back-fill ------------------------------------------------------------------------------------


def test_room_that_the_head_cannot_use() -> None:
    """A smaller call slips into room that is left before the head, if it does not delay it."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        await calls.one("first", 7)
        await asyncio.sleep(1)
        calls.start("head", 5)
        calls.start("too large", 4)
        calls.start("fits", 1)
        calls.start("fits better", 2)
        await calls.done()
        return calls

    calls = run(main)
    assert calls.names == ["first", "fits better", "fits", "head", "too large"]
    assert calls.at["fits"] == pytest.approx(1, abs=0.01)
    assert calls.at["head"] == pytest.approx(LENGTH, abs=0.01)


def test_how_long_small_calls_may_delay_the_head() -> None:
    """However many small calls come, the head is delayed by the stated part of a period at most."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(10))
        for index in range(10):  # one image leaves the window each second from 60.35 s on
            await calls.one(f"{index}")
            await asyncio.sleep(1)
        calls.start("head", 5)
        await asyncio.sleep(48)
        for index in range(60):
            await asyncio.sleep(0.3)
            calls.start(f"small {index}")
        await calls.drop()
        return calls

    calls = run(main)
    due = 4 + LENGTH  # the fifth image leaves
    passed = calls.names[10 : calls.names.index("head")]
    assert passed == [f"small {index}" for index in range(len(passed))]
    assert len(passed) >= 1
    assert due <= calls.at["head"] <= due + BACKFILL_DELAY * 60 + 0.1


def test_the_delay_is_counted_once() -> None:
    """A batch call that interactive calls pass now and then is not delayed anew by its own lane."""

    async def main() -> Calls:
        calls = Calls(ImageLimiter(60))
        for index in range(60):
            await calls.one(f"{index}")
            await asyncio.sleep(1)
        calls.start("head", 20, priority="batch")
        for index in range(400):
            calls.start(f"small {index}", priority="batch")
        for index in range(100):  # half of what is freed
            calls.start(f"user {index}")
            await asyncio.sleep(2)
        await calls.drop()
        return calls

    calls = run(main)
    before = calls.names[60 : calls.names.index("head")]
    assert sum(name.startswith("small") for name in before) <= BACKFILL_DELAY * 60 + 1
    assert calls.at["head"] < 60 + 2 * 20 + 5


def test_large_and_small_calls_wait_alike() -> None:
    """Beside more single images than the limit takes, ten wait longer by their own time at most."""

    async def main() -> tuple[float, float]:
        calls = Calls(ImageLimiter(50))
        asked: dict[str, float] = {}
        for index in range(600):  # 105 % of the limit, and each twentieth call is for ten
            large = index % 20 == 10
            name = f"{'large' if large else 'small'} {index}"
            asked[name] = now()
            calls.start(name, 10 if large else 1)
            await asyncio.sleep(60 / 50 / 1.05 * (10 if large else 1))
        await calls.done()
        waits = {name: calls.at[name] - at for name, at in asked.items()}
        means = []
        for kind in ("large", "small"):
            late = [wait for name, wait in waits.items() if name.startswith(kind)]
            means.append(sum(late) / len(late))
        return means[0], means[1]

    large, small = run(main)
    assert small > 5  # they do wait
    assert large <= small + 10 * 60 / 50


# Priorities -----------------------------------------------------------------------------------


def test_interactive_before_batch() -> None:
    """Interactive calls pass batch calls that wait."""

    async def main() -> list[str]:
        calls = Calls(ImageLimiter(1))
        await calls.one("first")
        for index in range(2):
            calls.start(f"batch {index}", priority="batch")
        await asyncio.sleep(59)
        for index in range(2):
            calls.start(f"user {index}")
        await calls.done()
        return calls.names

    assert run(main) == ["first", "user 0", "user 1", "batch 0", "batch 1"]


@pytest.mark.parametrize(("user", "batch"), [(1, 1), (1, 10), (10, 1), (4, 7)])
def test_batch_gets_its_share(user: int, batch: int) -> None:
    """While interactive calls never stop coming, batch calls get their share of the images."""

    async def main() -> tuple[int, int]:
        calls = Calls(ImageLimiter(60))
        images = {"user": 0, "batch": 0}

        async def worker(kind: str, cost: int, priority: str) -> None:
            while True:
                await calls.one(f"{kind} {now()}", cost, priority=priority)
                images[kind] += cost

        calls.one = _untold(calls)  # type: ignore[method-assign]
        workers = [
            asyncio.create_task(worker(*which))
            for which in (("user", user, "interactive"), ("batch", batch, "batch"))
            for _ in range(40)
        ]
        await asyncio.sleep(60 * 25)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert calls.limiter.snapshot().queued == 0
        return images["batch"], sum(images.values())

    made, total = run(main)
    assert total >= 24 * 60
    assert made >= BATCH_SHARE * total - batch - user  # what is owed comes in whole calls
    assert made <= 2 * BATCH_SHARE * total  # interactive calls go first; back-fill adds a little


def _untold(calls: Calls) -> Any:
    """Return `Calls.one` without its notes: they would grow for ever."""

    async def one(_: str, cost: int, priority: Any) -> None:
        async with calls.limiter.ticket(cost, priority=priority):
            await asyncio.sleep(0)

    return one


@pytest.mark.parametrize("limiter", [NoLimiter, ImageLimiter])
def test_a_large_batch_call_is_not_starved_at_the_slots(limiter: Any) -> None:
    """Where interactive calls take every slot of the session, a batch call for ten gets one, too."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(limiter())
        calls.start("first", hold=1.0, slots=slots)
        await asyncio.sleep(0.1)
        calls.start("batch", 10, priority="batch", slots=slots)
        for index in range(200):
            calls.start(f"user {index}", hold=2.0, slots=slots)
            await asyncio.sleep(2.0)
        await calls.drop()
        return calls

    # It is owed ten images once the users had 90.
    assert run(main).names.index("batch") == pytest.approx(91, abs=2)


def test_what_waits_for_a_slot_holds_no_place() -> None:
    """An interactive call takes the slot for which batch calls have waited longer."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(ImageLimiter(50))
        calls.start("first", hold=10.0, slots=slots)
        await asyncio.sleep(1)
        for index in range(3):
            calls.start(f"batch {index}", priority="batch", hold=10.0, slots=slots)
        await asyncio.sleep(1)
        assert calls.limiter.snapshot().next_waits_for == "concurrency"
        calls.start("user", hold=10.0, slots=slots)
        calls.start("of another session")
        await calls.done()
        return calls

    calls = run(main)
    assert calls.names == ["first", "of another session", "user", "batch 0", "batch 1", "batch 2"]
    assert calls.at["of another session"] == pytest.approx(2, abs=0.01)
    assert calls.at["user"] == pytest.approx(10, abs=0.01)


# Slots ----------------------------------------------------------------------------------------


def test_a_session_without_slots_holds_nobody_up() -> None:
    """Calls of another session pass any number of calls that wait for a slot of theirs."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(ImageLimiter(500))
        for index in range(300):
            calls.start(f"{index}", hold=30.0, slots=slots)
        await asyncio.sleep(1)
        calls.start("other")
        await asyncio.sleep(1)
        calls.start("another", slots=Slots(1))
        await asyncio.sleep(40)
        await calls.drop()
        return calls

    calls = run(main)
    assert calls.names == ["0", "other", "another", "1"]
    assert calls.at["other"] == pytest.approx(1, abs=0.01)
    assert calls.at["another"] == pytest.approx(2, abs=0.01)


def test_the_head_behind_those_without_slots() -> None:
    """When the call that goes next leaves, the next one that fits goes at once."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(ImageLimiter(10))
        calls.start("first", hold=500.0, slots=slots)
        await asyncio.sleep(1)
        calls.start("no slot", slots=slots)
        calls.start("head", 10)
        await asyncio.sleep(10)
        calls.start("next", 9)
        await asyncio.sleep(1)
        assert calls.names == ["first"]
        calls.cancel("head")
        await asyncio.sleep(1)
        await calls.drop()
        return calls

    calls = run(main)
    assert calls.names == ["first", "next"]
    assert calls.at["next"] == pytest.approx(12, abs=0.01)


def test_one_session_several_queues() -> None:
    """A slot that a call of one model family gives back is used by another family's."""

    async def main() -> Calls:
        slots = Slots(1)
        calls = Calls(ImageLimiter(50))
        calls.start("one", scope="one", hold=5.0, slots=slots)
        await asyncio.sleep(0)
        calls.start("two", scope="two", hold=5.0, slots=slots)
        calls.start("three", scope="three", slots=slots)
        await calls.done()
        assert calls.limiter.snapshot("two").used == 1
        return calls

    calls = run(main)
    assert calls.at == {
        "one": 0,
        "two": pytest.approx(5, abs=0.01),
        "three": pytest.approx(10, abs=0.01),
    }


def test_slots_are_always_given_back() -> None:
    """Success, failure, cancellation in the queue, after the grant and in the exchange: all return it."""

    async def main() -> None:
        slots = Slots(3)
        calls = Calls(ImageLimiter(50))
        await calls.one(slots=slots)
        with pytest.raises(ConnectError):
            await calls.one(slots=slots, error=ConnectError("refused"))
        for index in range(9):
            calls.start(f"{index}", hold=10.0, slots=slots)
        for index in (4, 0, 5, 8, 1):
            await asyncio.sleep(1)
            calls.cancel(f"{index}")
        await calls.done()
        assert [slots.take() for _ in range(4)] == [True, True, True, False]

    run(main)


def test_a_slot_may_be_released_outside_the_loop() -> None:
    """What gives a slot back while no loop runs wakes those that wait for it all the same."""
    slots = Slots(1)
    calls = Calls(NoLimiter())
    slots.take()
    with virtual_time() as runner:

        async def begin() -> None:
            calls.start("waiting", slots=slots)
            await asyncio.sleep(1)

        runner.run(begin())
        assert calls.names == []
        slots.release()
        runner.run(calls.done())
    assert calls.names == ["waiting"]


def test_the_queue_drains_in_time() -> None:
    """Whatever mixture waits, the windows are filled one after the other until nobody waits."""

    async def main() -> list[float]:
        calls = Calls(ImageLimiter(10))
        for index in range(60):
            calls.start(f"{index}", 1 + index % 5, priority=("batch", "interactive")[index % 2])
        await calls.done()
        return sorted(calls.at.values())

    times = run(main)
    assert times[-1] < (180 / 10 + 3) * LENGTH
    assert max(after - before for before, after in pairwise(chain([0.0], times))) <= LENGTH + 0.1
