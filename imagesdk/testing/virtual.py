"""An event loop whose clock jumps to the next timer: an hour of waiting takes a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

__all__ = ("VirtualTimeLoop", "virtual_time")

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_STEP = 1e-6
"""Seconds past the timer. A clock that lands exactly on it never finishes aiolimiter, whose float
arithmetic then leaves a residue that asks for the same moment again."""
_MOST_TURNS = 1000
"""Turns of the loop at one moment, after which the clock moves on by a step, as a real one would have."""


def virtual_time() -> asyncio.Runner:
    """Return a runner whose loop has virtual time, starting at 0.

    Time passes only when nothing is left to do: then it jumps to the next timer. Threads take no
    virtual time. Use it with `ScriptedTransport`; real sockets take real time and do not mix with it.

    Example:
        >>> import asyncio
        >>> from imagesdk.testing import virtual_time
        >>> async def wait():
        ...     await asyncio.sleep(3600)
        ...     return round(asyncio.get_running_loop().time())
        >>> with virtual_time() as runner:
        ...     runner.run(wait())
        3600
    """
    return asyncio.Runner(loop_factory=VirtualTimeLoop)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop of `virtual_time`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._in_threads = 0
        self._turns = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def jump(self, timeout: float | None) -> bool:
        """Move the clock on by *timeout*; False if something real must be awaited instead."""
        if timeout is not None and timeout <= 0:  # something is ready to run
            self._turns += 1
            if self._turns > _MOST_TURNS and not self._in_threads:
                self._turns, self._now = 0, self._now + _STEP
            return True
        self._turns = 0
        if timeout is None or self._in_threads:
            return False
        self._now += timeout + _STEP
        return True

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run *func* in a thread; the clock stands still until it is done."""
        self._in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._left_thread)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """End the threads; the clock stands still until they are gone."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._in_threads -= 1

    def _left_thread(self, _future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves the loop's clock instead of waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or self._loop.jump(timeout):
            return ready
        waited: list[tuple[selectors.SelectorKey, int]] = super().select(None)
        return waited
