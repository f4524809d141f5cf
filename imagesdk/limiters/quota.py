"""The retry quota: what all calls on one key together may spend on sending again."""

from __future__ import annotations

import threading

__all__ = ("RetryQuota",)


class RetryQuota:
    """What all calls on one key together may spend on sending again.

    Attempts that are counted call by call multiply the load of a server that is down. So each retry
    takes from a quota that the calls share, and only success fills it: while nothing succeeds, a
    full quota pays for 100 retries, however many calls there are; a call that it does not pay for
    ends with its error. What a call took comes back when it succeeds.

    Capacity and costs are those of botocore's standard mode, which gives back only what a call's
    last retry took. Nothing is known of how the outages of image servers go.
    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html (read 2026-11-21)
    https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py (RetryQuotaChecker)

    Args:
        capacity: What a full quota holds; it is full at first.

    Attributes:
        left: What it holds now. It may be used from several threads and event loops.
    """

    def __init__(self, capacity: int = 500) -> None:
        self._capacity = capacity
        self.left: int = capacity
        self._lock = threading.Lock()

    def take(self, outcome: str) -> int:
        """Pay for a retry after an exchange with *outcome*: return its cost, or 0 if it is not paid."""
        cost = 10 if outcome == "still_running" else 5  # the server is still busy with the first
        with self._lock:
            cost = cost if cost <= self.left else 0
            self.left -= cost
        return cost

    def succeeded(self, taken: int = 0) -> None:
        """Give back what a call took in all, now that it succeeded; at least 1."""
        with self._lock:
            self.left = min(self._capacity, self.left + max(taken, 1))
