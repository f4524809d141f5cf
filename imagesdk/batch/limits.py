"""When a run ends early: what it may spend, and how much may go wrong.

A request is admitted only if it fits with everything that is in flight: what those may cost at most, and
the room that their images may need on the disk, are reserved until their end is known. So a run never
exceeds its budget, and never asks for an image that it could not keep.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from imagesdk.batch.entries import Entry
from imagesdk.batch.prices import PriceTable
from imagesdk.batch.records import Record
from imagesdk.errors import ConfigurationError, ImageSDKError

__all__ = ("Budget", "Limits", "Stop", "StopReason")

StopReason: TypeAlias = Literal[
    "asked", "cost", "deadline", "disk", "error", "failure_rate", "failures", "images", "refused"
]

_ENOUGH_TO_JUDGE = 50
"""Requests after which a rate of failures says something."""
_IMAGE_BYTES = 2 * 1024 * 1024
"""An image, before one has been seen: a PNG of 1024x1024 has up to 3 MB."""
_MARGIN_BYTES = 1024 * 1024
"""Room for the ledger and the manifest."""


@attrs.frozen(kw_only=True)
class Stop:
    """Why a run was ended early.

    Attributes:
        reason: ``"asked"`` (by the caller, or a signal), ``"images"``, ``"cost"``, ``"failures"``,
            ``"failure_rate"``, ``"deadline"``, ``"refused"``: an error that every request would meet, such
            as a wrong key or an account without credit; ``"disk"`` or ``"error"``, which is raised in the end.
        message: The same for people.
        error: That error, None for the other reasons.
    """

    reason: StopReason
    message: str
    error: ImageSDKError | None = None


def _positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs calls it
    del instance
    if value is not None and not (isinstance(value, int | float) and value > 0):
        raise ConfigurationError(f"{attribute.name} is {value!r}; it must be above 0")


def _fraction(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs calls it
    del instance
    if value is not None and not (isinstance(value, int | float) and 0 <= value < 1):
        raise ConfigurationError(
            f"{attribute.name} is {value!r}; it must be 0 or more, and below 1: 0.2 is a fifth"
        )


@attrs.frozen(kw_only=True)
class Limits:
    """What ends a run early; None for what does not. All of it is counted for this run alone.

    Attributes:
        max_images: Images that it may ask for.
        max_cost: What it may spend, in the currency of *prices*.
        max_failures: Requests that may fail: with that many, it ends.
        max_failure_rate: Share of the requests that may fail, from the 50th that ended on.
        deadline: Seconds from its begin; after them it sends nothing any more.
        prices: What images cost; needed for *max_cost*.
        model: Of requests that name none, for *prices*.

    Raises:
        ConfigurationError: A value is out of range, or max_cost has no prices.
    """

    max_images: int | None = attrs.field(default=None, validator=_positive)
    max_cost: float | None = attrs.field(default=None, validator=_positive)
    max_failures: int | None = attrs.field(default=None, validator=_positive)
    max_failure_rate: float | None = attrs.field(default=None, validator=_fraction)
    deadline: float | None = attrs.field(default=None, validator=_positive)
    prices: PriceTable | None = None
    model: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.max_cost is not None and self.prices is None:
            raise ConfigurationError("max_cost needs a price table: pass prices (--prices FILE)")


@attrs.frozen(kw_only=True)
class _Share:
    """What a request may come to, or what it came to."""

    images: int = 0
    cost: float = 0.0


@attrs.define(kw_only=True)
class Budget:
    """What a run has spent, and what is reserved for the requests that are in flight.

    Attributes:
        limits: What it may spend.
        ended: Requests that ended.
        failed: Those of them that did not bring all that they asked for.
        images: Images that were, or may have been, paid for.
        cost: What they cost, at most, if there are prices.
        free_bytes: Room on the disk, as it was measured last, without what came since.
    """

    limits: Limits
    ended: int = 0
    failed: int = 0
    images: int = 0
    cost: float = 0.0
    free_bytes: int = sys.maxsize
    _reserved: dict[int, _Share] = attrs.field(factory=dict[int, _Share], init=False)
    _largest_bytes: int = attrs.field(default=0, init=False)

    @property
    def in_flight(self) -> int:
        """Requests for which something is reserved."""
        return len(self._reserved)

    def lacks(self, entry: Entry) -> Stop | None:
        """Return what is lacking for a request, beside those in flight; None if it may be sent."""
        share, limits = self._most(entry), self.limits
        images = self.images + share.images + sum(s.images for s in self._reserved.values())
        if limits.max_images is not None and images > limits.max_images:
            return Stop(
                reason="images",
                message=f"the next request would exceed max_images, {limits.max_images:,}: "
                f"asked for so far: {self.images:,}",
            )
        cost = self.cost + share.cost + sum(s.cost for s in self._reserved.values())
        if limits.max_cost is not None and cost > limits.max_cost:
            return Stop(
                reason="cost",
                message=f"the next request may cost {share.cost:,.2f}, and would exceed max_cost, "
                f"{limits.max_cost:,.2f}: up to {self.cost:,.2f} were spent",
            )
        waited_for = share.images + sum(s.images for s in self._reserved.values())
        needed = waited_for * (self._largest_bytes or _IMAGE_BYTES) + _MARGIN_BYTES
        if self.free_bytes < needed:
            message = f"{self.free_bytes:,} bytes are free; the next images may need {needed:,}"
            return Stop(reason="disk", message=message)
        return None

    def reserve(self, entry: Entry) -> None:
        """Reserve what a request may come to."""
        self._reserved[entry.id] = self._most(entry)

    def release(self, entry: Entry) -> None:
        """Give back what is reserved for a request that was not sent."""
        del self._reserved[entry.id]

    def settle(self, entry: Entry, record: Record) -> Record:
        """Count what a request came to; return its record with what it cost."""
        reserved = self._reserved.pop(entry.id)
        missing = entry.images - len(record.images)
        doubtful = missing if record.error and record.error.get("may_be_billed") else 0
        self.ended += 1
        self.failed += record.status != "done"
        self.images += len(record.images) + doubtful
        sizes = [image["bytes"] for image in record.images]
        self._largest_bytes = max(self._largest_bytes, *sizes, 0)
        self.free_bytes -= sum(sizes)
        if (prices := self.limits.prices) is None:
            return record
        cost = prices.cost(
            record.endpoint,
            record.params,
            self.limits.model,
            images=len(record.images),
            usage=record.usage,
        )
        cost += doubtful * reserved.cost / entry.images
        self.cost += cost
        return attrs.evolve(record, cost=round(cost, 6), prices=prices.version)

    def verdict(self) -> Stop | None:
        """Return why too much has gone wrong, None if it has not."""
        most, rate = self.limits.max_failures, self.limits.max_failure_rate
        if most is not None and self.failed >= most:
            message = f"requests that failed: {self.failed:,}, which is max_failures"
            return Stop(reason="failures", message=message)
        if rate is not None and self.ended >= _ENOUGH_TO_JUDGE and self.failed > rate * self.ended:
            message = (
                f"{self.failed:,} of {self.ended:,} requests failed, more than max_failure_rate, "
                f"{rate:g}"
            )
            return Stop(reason="failure_rate", message=message)
        return None

    def _most(self, entry: Entry) -> _Share:
        prices, job = self.limits.prices, entry.job
        if prices is None:
            return _Share(images=entry.images)
        _, cost = prices.estimate(job.endpoint, job.params, self.limits.model)
        return _Share(images=entry.images, cost=cost)


def disk_is_full(stop: Stop, out: Path) -> OSError:
    """Return the error of a disk that has no room for the next images."""
    return OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {stop.message}", str(out))
