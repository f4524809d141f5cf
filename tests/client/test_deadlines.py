"""Deadlines: what expires, when, and how many timers of the event loop that takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imagesdk.client._deadlines import Deadlines
from imagesdk.testing import virtual_time


async def expired_after(deadlines: Deadlines, *seconds: float | None) -> float:
    """Wait under a timeout that is set to each of *seconds* in turn; return when it expired."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    timeout = asyncio.timeout(None)
    try:
        async with timeout:
            for each in seconds:
                deadlines.set(timeout, each)
            await asyncio.Event().wait()
    except TimeoutError:
        return loop.time() - began
    finally:
        deadlines.drop(timeout)
    raise AssertionError("it ended, and did not expire")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param((5.0,), 5.0, id="once"),
        pytest.param((5.0, 9.0), 9.0, id="later"),
        pytest.param((9.0, 5.0), 5.0, id="earlier"),
        pytest.param((None, 7.0), 7.0, id="after none"),
        pytest.param((0.0,), 0.0, id="at once"),
    ],
)
def test_timeout_expires_when_it_was_set_to_last(
    seconds: tuple[float | None, ...], expected: float
) -> None:
    """The last time that was set counts, whether it is earlier or later."""
    with virtual_time() as runner:
        assert runner.run(expired_after(Deadlines(), *seconds)) == pytest.approx(expected)


def test_each_of_many_expires_in_its_own_time() -> None:
    """Timeouts set in any order expire each at its own time."""

    async def main() -> list[float]:
        deadlines = Deadlines()
        waits = (30.0, 10.0, 20.0, 10.0, 40.0)
        return await asyncio.gather(*(expired_after(deadlines, wait) for wait in waits))

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx([30.0, 10.0, 20.0, 10.0, 40.0])


async def test_timeouts_that_end_in_time_share_one_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand calls that end long before their deadline set one timer together."""
    made: list[float] = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counted(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        made.append(when)
        return call_at(when, *args, **kwargs)

    monkeypatch.setattr(loop, "call_at", counted)
    deadlines = Deadlines()
    for _ in range(1000):
        async with asyncio.timeout(None) as timeout:
            deadlines.set(timeout, 600.0)
            await asyncio.sleep(0)
        deadlines.drop(timeout)
    assert len(made) == 1
    deadlines.expire_all()


def test_dropped_timeout_is_left_alone() -> None:
    """A timeout that was dropped does not expire, and the others still do."""

    async def main() -> float:
        deadlines = Deadlines()
        async with asyncio.timeout(None) as timeout:
            deadlines.set(timeout, 1.0)
            deadlines.drop(timeout)
            await asyncio.sleep(2.0)
        assert not timeout.expired()
        return await expired_after(deadlines, 3.0)

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx(3.0)


def test_expire_all_ends_what_has_no_time_and_leaves_no_timer() -> None:
    """All that is known expires at once, also without a time; then the loop has nothing to wait for."""

    async def main() -> list[float]:
        deadlines = Deadlines()
        waiting = [asyncio.create_task(expired_after(deadlines, wait)) for wait in (None, 50.0)]
        await asyncio.sleep(2.0)
        deadlines.expire_all()
        return await asyncio.gather(*waiting)

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx([2.0, 2.0])
