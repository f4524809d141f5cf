"""What the pipeline asks of a limiter, and the limiter that is switched off."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

import attrs

__all__ = ("Limiter", "LimiterSnapshot", "NoLimiter", "Priority", "Ticket")

Priority: TypeAlias = Literal["interactive", "batch"]


@attrs.frozen(kw_only=True)
class LimiterSnapshot:
    """The state of a limiter at one moment.

    Attributes:
        images_per_minute: The limit, None if the limiter is off.
        used: Images that count against the limit now.
        queued: Calls that wait.
        queued_images: Images that they ask for.
        paused: Seconds until the pause that a 429 began is over, 0 without one.
    """

    images_per_minute: float | None
    used: int
    queued: int
    queued_images: int
    paused: float


class Ticket(Protocol):
    """One call's place in the queue, for all its attempts.

    Used as ``async with ticket:`` around each attempt: entering waits for admission, leaving tells
    the limiter how the attempt ended.
    """

    async def __aenter__(self) -> Self:
        """Wait until an attempt may be sent."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Account for the attempt: refused, not sent, or counted by the server."""
        ...


class Limiter(Protocol):
    """Admits calls, weighted by the images that they ask for."""

    @property
    def max_cost(self) -> int | None:
        """Images that one call may ask for; the session splits more. None for any number."""
        ...

    @property
    def max_pause(self) -> float | None:
        """Longest pause in seconds that is waited out after a 429.

        None if the limiter does not handle 429: then the retry policy does.
        """
        ...

    def ticket(
        self,
        cost: int,
        *,
        priority: Priority = "interactive",
        max_wait: float | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> Ticket:
        """Return a place in the queue.

        Args:
            cost: Images that the call asks for, 1 or more.
            priority: Interactive calls go before batch calls.
            max_wait: Seconds that the first admission may take by the limiter's own reckoning;
                None for any time.
            on_queued: Called with the position in the queue, 1 for its head, when the call has to wait.
        """
        ...

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limiter."""
        ...


class NoLimiter:
    """The limiter that is switched off: everything is admitted at once."""

    max_cost: int | None = None
    max_pause: float | None = None

    def ticket(
        self,
        cost: int,
        *,
        priority: Priority = "interactive",
        max_wait: float | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> Ticket:
        """Return a ticket that never waits."""
        del cost, priority, max_wait, on_queued
        return _FreeTicket()

    def snapshot(self) -> LimiterSnapshot:
        """Return a snapshot without a limit."""
        return LimiterSnapshot(
            images_per_minute=None, used=0, queued=0, queued_images=0, paused=0.0
        )


class _FreeTicket:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None
