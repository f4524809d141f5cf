"""The limiter that is switched off: it bounds nothing but a session's exchanges in flight."""

from __future__ import annotations

from imagesdk.errors import QuotaExceededError
from imagesdk.limiters._queue import CallQueue, QueueTicket
from imagesdk.limiters._schedule import Cost
from imagesdk.limiters.base import LimiterSnapshot, OnQueued, Priority, Reason, Slots
from imagesdk.limiters.quota import RetryQuota

__all__ = ("NoLimiter",)


class NoLimiter:
    """Admit everything at once, or when the session has a free slot.

    A 429 is left to the retry policy.
    """

    max_pause: float | None = None

    def __init__(self) -> None:
        self.retry_quota: RetryQuota = RetryQuota()
        self._queue = _OpenQueue(None)

    def max_cost(self, scope: str = "") -> int | None:
        """Return None: a call may ask for any number of images."""
        del scope
        return None

    def ticket(
        self,
        images: int,
        *,
        input_images: int = 0,
        scope: str = "",
        priority: Priority = "interactive",
        max_wait: float | None = None,
        slots: Slots | None = None,
        place: int | None = None,
        on_queued: OnQueued | None = None,
    ) -> QueueTicket[Cost]:
        """Return a ticket that waits for a slot of the session at most."""
        del scope
        return QueueTicket(
            self._queue,
            Cost(images, 1, input_images),
            is_batch=priority == "batch",
            max_wait=max_wait,
            slots=slots,
            place=place,
            on_queued=on_queued,
        )

    def snapshot(self, scope: str = "") -> LimiterSnapshot:
        """Return a snapshot without a limit."""
        del scope
        return self._queue.snapshot()

    def forecast(self, images: int, requests: int, scope: str = "") -> float:
        """Return 0: nothing is held back."""
        del images, requests, scope
        return 0.0


class _OpenQueue(CallQueue[Cost]):
    """A queue without windows: what waits, waits for a slot."""

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the queue."""
        queued, images = self._queued()
        return LimiterSnapshot(
            images_per_minute=None,
            limit=None,
            adopted=None,
            used=0,
            queued=queued,
            queued_images=images,
            paused=0.0,
            paused_until=None,
            next_waits=0.0,
            next_waits_for="concurrency" if queued else None,
        )

    def most(self) -> int | None:
        """Return None: a call may ask for any number of images."""
        return None

    def words(self) -> str:  # pragma: no cover - a forecast of 0 s is never refused
        """Name what is waited for."""
        return "a free slot of max_concurrency"

    async def _advance(self) -> tuple[float | None, Reason]:
        with self._lock:
            while (head := self._head()) is not None:
                self._grant(head, head.ticket.cost, 0.0)
        return None, "concurrency"

    def _forecast(self, now: float, ahead: Cost) -> float:
        del now, ahead
        return 0.0  # nobody knows how long the exchanges in flight will take

    async def _return(self, permit: Cost) -> None:
        del permit

    async def _settle(
        self, ticket: QueueTicket[Cost], permit: Cost, error: BaseException | None
    ) -> None:
        del ticket, permit
        if isinstance(error, QuotaExceededError):
            self._stop(error)
