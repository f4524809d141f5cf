"""The deadlines of a session's calls, on one timer of the event loop.

A timer for each call takes a tenth of the time of a small one, and is nearly always cancelled unused.
Invariant: the timer is set for the earliest deadline, or for an earlier one that was dropped since.
"""

from __future__ import annotations

import asyncio
import math

__all__ = ("Deadlines",)


class Deadlines:
    """Expires timeouts that were made without a time of their own: ``asyncio.timeout(None)``."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, timeout: asyncio.Timeout, seconds: float | None) -> None:
        """Let *timeout* expire in so many seconds from now; None for `expire_all` only."""
        if seconds is None:
            self._ends[timeout] = math.inf
            return
        end = self._ends[timeout] = asyncio.get_running_loop().time() + seconds
        if self._timer is None or end < self._timer.when():
            self._arm(end)

    def drop(self, timeout: asyncio.Timeout) -> None:
        """Forget *timeout*, which has ended, or never began."""
        self._ends.pop(timeout, None)

    def expire_all(self) -> None:
        """Let everything expire that has not ended."""
        self._expire(math.inf)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        running = when < math.inf
        self._timer = asyncio.get_running_loop().call_at(when, self._fire) if running else None

    def _fire(self) -> None:
        self._expire(asyncio.get_running_loop().time())

    def _expire(self, until: float) -> None:
        now = asyncio.get_running_loop().time()
        for timeout in [timeout for timeout, end in self._ends.items() if end <= until]:
            del self._ends[timeout]
            timeout.reschedule(now)
        self._arm(min(self._ends.values(), default=math.inf))
