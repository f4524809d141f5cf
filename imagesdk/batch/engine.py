"""What runs the jobs of a batch: the seam between the one who keeps the ledger and those who work.

The driver (`imagesdk.batch.runner`) is the only one that writes the ledger. An engine gets one job at a
time, as many side by side as the driver likes, and answers for each with a report. Two rules hold
whatever is killed in between:

- nothing is sent before *before_send* has returned, which is when the ledger says so;
- what a report names is on the disk, under its final name, before the report is made. What arrived and
  was not reported is found in the folder by the next run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import attrs

from imagesdk.batch.entries import Entry
from imagesdk.batch.records import Record
from imagesdk.errors import Attempt, ImageSDKError
from imagesdk.limiters.base import LimiterSnapshot

__all__ = ("AfterAttempt", "BeforeSend", "Engine", "Report", "WorkerLost")

BeforeSend: TypeAlias = Callable[[], Awaitable[object]]
"""Notes that a request is about to be sent; what it raises keeps the request from being sent."""

AfterAttempt: TypeAlias = Callable[[Attempt], object]
"""Notes how an attempt ended: until the next one nothing is in flight."""


@attrs.frozen(kw_only=True)
class Report:
    """What became of one job.

    Attributes:
        record: For the ledger and the manifest.
        stop: The error that the next job would meet, too: a wrong key, no credit. None otherwise.
    """

    record: Record
    stop: ImageSDKError | None = None


class WorkerLost(Exception):  # noqa: N818 - it is a message to the runner, not an error for users
    """Whoever did a job is gone. If it was sent, nobody knows what became of it."""


class Engine(Protocol):
    """Does jobs; called for as many side by side as are to be in flight."""

    async def do(
        self, entry: Entry, before_send: BeforeSend, after_attempt: AfterAttempt
    ) -> Report:
        """Do one job: wait for the limit, send the request, put its images in their place.

        Args:
            entry: With the Idempotency-Key that the request goes out with.
            before_send: Awaited when the wait for the limit is over, right before each attempt.
            after_attempt: Called when an attempt has ended. An engine that never calls it is waited for
                when the run ends, although it may only be waiting to try again.

        Returns:
            What came of it.

        Raises:
            OSError: An image cannot be put in its place.
            WorkerLost: Whoever did it is gone.
            Exception: What *before_send* raised.
        """
        ...

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limit that the jobs wait for."""
        ...

    def forecast(self, images: int, requests: int) -> float:
        """Return the seconds until the last of so many could be sent; see `ImageSession.forecast`."""
        ...
