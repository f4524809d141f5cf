"""What the pipeline asks of a limiter, and what all limiters have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeAlias

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.limiters.quota import RetryQuota

__all__ = (
    "CallTooLarge",
    "Limiter",
    "LimiterSnapshot",
    "OnQueued",
    "Priority",
    "Reason",
    "Slots",
    "Ticket",
)

Priority: TypeAlias = Literal["interactive", "batch"]

Reason: TypeAlias = Literal["queue", "window", "pause", "probe", "pace", "concurrency", "store"]
"""Why a call waits: for those before it, for room in a window, for the end of a pause after a 429,
for the first request after one, for the token bucket, for a free slot of its session, for the store."""

OnQueued: TypeAlias = Callable[[int, float, Reason], None]
"""Told that a call has to wait: its position (1 for the head), the forecast in seconds, the reason."""


class CallTooLarge(Exception):  # noqa: N818 - it is a message to the session, not an error for users
    """A call asks for more images than one request may have now: the session splits it.

    Attributes:
        limit: Images that one request may ask for.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


@attrs.frozen(kw_only=True)
class LimiterSnapshot:
    """The state of a limiter at one moment.

    Attributes:
        images_per_minute: The limit that was configured, None if there is none.
        limit: Images a minute that are used now: less after an adopted limit or unexplained 429s.
        adopted: Images a minute that the server named, None if it named none or it is not followed.
        used: Images that count against the limit now.
        queued: Calls that wait.
        queued_images: Images that they ask for.
        paused: Seconds until the pause that a 429 began is over, 0 without one.
        paused_until: The same as an aware UTC time, None without a pause.
        next_waits: Seconds until the next call may go, as far as it is known; 0 if none waits.
        next_waits_for: Why the next call waits: see `imagesdk.events.Queued`; None if none waits.
    """

    images_per_minute: float | None
    limit: float | None
    adopted: float | None
    used: int
    queued: int
    queued_images: int
    paused: float
    paused_until: datetime | None
    next_waits: float
    next_waits_for: Reason | None


class Ticket(Protocol):
    """One call's place in the queue, for all its attempts.

    Used as ``async with ticket:`` around each attempt: entering waits for admission, leaving tells
    the limiter how the attempt ended.

    Attributes:
        place: The call's place in the queue, for tickets of its parts.
        sent: Set by the caller to False if the attempt that ends never reached the server.
        sent_at: Set by the caller: loop time at which the request was written, None if unknown.
        headers: Set by the caller: those of a successful answer, names in lower case.
    """

    place: Any
    sent: bool
    sent_at: float | None
    headers: Mapping[str, str] | None

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


class Slots:
    """The exchanges that one session may have in flight.

    Args:
        most: 1 or more.

    Raises:
        ConfigurationError: It is not.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ConfigurationError(f"max_concurrency is {most!r}; it must be 1 or more")
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """True if all are taken."""
        return self._taken >= self._most

    def take(self) -> bool:
        """Take one; False if there is none."""
        with self._lock:
            if self._taken >= self._most:
                return False
            self._taken += 1
            return True

    def release(self) -> None:
        """Give one back, and tell those who wait for one."""
        with self._lock:
            self._taken -= 1
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def on_release(self, listener: Callable[[], None]) -> None:
        """Call *listener* whenever one is given back; asking twice does no harm."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)


class Limiter(Protocol):
    """Admits calls, weighted by the images that they ask for.

    Attributes:
        retry_quota: What pays for the retries of all calls that it admits.
    """

    retry_quota: RetryQuota

    @property
    def max_pause(self) -> float | None:
        """Longest pause in seconds that is waited out after a 429.

        None if the limiter does not handle 429: then the retry policy does.
        """
        ...

    def max_cost(self, scope: str = "") -> int | None:
        """Return the images that one call may ask for; the session splits more. None for any number."""
        ...

    def ticket(
        self,
        images: int,
        *,
        input_images: int = 0,
        scope: str = "",
        priority: Priority = "interactive",
        max_wait: float | None = None,
        slots: Slots | None = None,
        place: Any = None,  # noqa: ANN401 - the limiter's own
        on_queued: OnQueued | None = None,
    ) -> Ticket:
        """Return a place in the queue.

        Args:
            images: Images that the call asks for, 1 or more.
            input_images: Reference images that it carries.
            scope: What is limited by itself at the server: a model family, ``""`` for everything.
            priority: Interactive calls go before batch calls.
            max_wait: Seconds that the first admission may take by the limiter's own reckoning;
                None for any time.
            slots: What bounds the exchanges in flight of the caller's session, None for any number.
            place: Place of an earlier ticket that this one takes over; None for the end of the queue.
            on_queued: Called once when the call has to wait.
        """
        ...

    def snapshot(self, scope: str = "") -> LimiterSnapshot:
        """Return the state of the limiter."""
        ...

    def forecast(self, images: int, requests: int, scope: str = "") -> float:
        """Return the seconds until the last of so many could be sent, if only the limiter held them back.

        Args:
            images: That are still to be sent, those of calls that wait already among them.
            requests: That ask for them.
            scope: What is limited by itself at the server.
        """
        ...
