"""What ends a run early: its budget is never exceeded, and too much that goes wrong is noticed."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.entries import Entry
from imagesdk.batch.jobs import jobs_of_rows
from imagesdk.batch.limits import Budget, Limits, Stop, disk_is_full
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.batch.records import Record, Status
from imagesdk.errors import ConfigurationError

ROOM = 1 << 40
PRICES = PriceTable(
    prices=(
        Price(model="dear", image=(1.0, 4.0), output=1_000_000.0),
        Price(image=(0.5, 0.5)),
    ),
    version="v1",
)


def entry_of(number: int = 1, **params: Any) -> Entry:
    """Return the entry of a job."""
    (job,) = jobs_of_rows([{"id": str(number), "prompt": "a", **params}], Path())
    images = params.get("n", 1)
    return Entry(
        id=number,
        job=job,
        images=images,
        first=0,
        stem=str(number),
        state="pending",
        idempotency_key=None,
        record=None,
    )


def record_of(entry: Entry, images: int, status: Status = "done", **more: Any) -> Record:
    """Return a record with so many images of 1000 bytes."""
    fields: dict[str, Any] = {"usage": None, "error": None, **more}
    return Record(
        custom_id=entry.job.custom_id,
        status=status,
        endpoint="generations",
        params=entry.job.params,
        key="k",
        images=[{"bytes": 1000}] * images,
        request_id=None,
        attempts=1,
        finished_at="",
        **fields,
    )


def reasons(budget: Budget, entry: Entry, free_bytes: int = ROOM) -> str | None:
    """Return what is lacking."""
    budget.free_bytes = free_bytes
    stop = budget.lacks(entry)
    return None if stop is None else stop.reason


def test_images_in_flight_count() -> None:
    """What is in flight counts with all its images until it is known how many came."""
    budget = Budget(limits=Limits(max_images=5))
    first = entry_of(1, n=4)
    assert reasons(budget, first) is None
    budget.reserve(first)
    assert reasons(budget, entry_of(2, n=2)) == "images"
    assert reasons(budget, entry_of(2, n=1)) is None
    budget.settle(first, record_of(first, 1, "partial", error={"may_be_billed": False}))
    assert reasons(budget, entry_of(2, n=4)) is None
    assert reasons(budget, entry_of(2, n=5)) == "images"


def test_what_may_be_billed_counts() -> None:
    """Images that did not come count if they may have been billed, and those of a failure do not."""
    budget = Budget(limits=Limits(max_images=10, prices=PRICES))
    for number, error in enumerate([True, False]):
        entry = entry_of(number, n=4)
        budget.reserve(entry)
        budget.settle(entry, record_of(entry, 0, "failed", error={"may_be_billed": error}))
    assert (budget.images, budget.cost, budget.failed) == (4, 2.0, 2)


def test_a_request_that_was_not_sent_gives_its_share_back() -> None:
    """Released shares are free again."""
    budget = Budget(limits=Limits(max_images=1))
    budget.reserve(entry_of(1))
    assert budget.in_flight == 1
    budget.release(entry_of(1))
    assert budget.in_flight == 0
    assert reasons(budget, entry_of(2)) is None


def test_cost_in_flight_is_the_highest_that_is_possible() -> None:
    """Until the tokens are known a request counts with its highest price, then with what it cost."""
    budget = Budget(limits=Limits(max_cost=8.0, prices=PRICES, model="dear"))
    first = entry_of(1)
    budget.reserve(first)
    budget.reserve(entry_of(2))
    assert reasons(budget, entry_of(3)) == "cost"
    usage = {"input_tokens": 0, "output_tokens": 2}
    record = budget.settle(first, record_of(first, 1, usage=usage))
    assert (record.cost, record.prices) == (2.0, "v1")
    assert reasons(budget, entry_of(3)) == "cost"
    assert reasons(budget, entry_of(3, model="cheap")) is None


def test_images_cost_their_highest_price_without_tokens() -> None:
    """Where the server counts no tokens the cost is what the images come to at most."""
    budget = Budget(limits=Limits(prices=PRICES))
    entry = entry_of(1, n=3, model="dear")
    budget.reserve(entry)
    error = {"may_be_billed": True}
    assert budget.settle(entry, record_of(entry, 2, "partial", error=error)).cost == 12.0
    assert budget.cost == 12.0


def test_an_image_must_have_room_on_the_disk() -> None:
    """Room is kept for the images in flight, each as large as the largest one so far."""
    budget = Budget(limits=Limits())
    entry = entry_of(1, n=2)
    assert reasons(budget, entry, 5 << 20) is None
    assert reasons(budget, entry, 4 << 20) == "disk"
    budget.reserve(entry)
    assert reasons(budget, entry_of(2, n=2), 8 << 20) == "disk"
    budget.settle(entry, record_of(entry, 2))
    assert reasons(budget, entry_of(2, n=2), (1 << 20) + 2000) is None
    assert reasons(budget, entry_of(2, n=2), (1 << 20) + 1999) == "disk"
    budget.free_bytes = 1_000_007
    budget.reserve(entry)
    budget.settle(entry, record_of(entry, 1000))
    stop = budget.lacks(entry_of(2))
    assert stop is not None
    error = disk_is_full(stop, Path("out"))
    assert error.errno == errno.ENOSPC
    assert "7 bytes are free; the next images may need 1,049,576" in str(error)


def test_failures_end_a_run() -> None:
    """With max_failures failures the run is to end."""
    budget = Budget(limits=Limits(max_failures=2))
    verdicts: list[Stop | None] = []
    for number, status in enumerate(("failed", "done", "in_doubt")):
        entry = entry_of(number)
        budget.reserve(entry)
        budget.settle(entry, record_of(entry, 0, status))  # type: ignore[arg-type]
        verdicts.append(budget.verdict())
    assert [verdict and verdict.reason for verdict in verdicts] == [None, None, "failures"]


def test_a_rate_of_failures_is_judged_from_the_fiftieth_request_on() -> None:
    """A share of failures above the limit ends the run, but not before there are 50 requests."""
    budget = Budget(limits=Limits(max_failure_rate=0.2))
    seen: list[str | None] = []
    for number in range(60):
        entry = entry_of(number)
        budget.reserve(entry)
        budget.settle(entry, record_of(entry, 0, "failed" if number % 4 == 0 else "done"))
        verdict = budget.verdict()
        seen.append(None if verdict is None else verdict.reason)
    assert seen == [None] * 49 + ["failure_rate"] * 11


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"max_images": 0}, "max_images is 0; it must be above 0"),
        ({"max_failures": -1}, "max_failures is -1"),
        ({"deadline": 0.0}, "deadline is 0.0"),
        ({"max_failure_rate": 20}, "max_failure_rate is 20; it must be 0 or more, and below 1"),
        ({"max_cost": 5.0}, "max_cost needs a price table"),
        ({"max_cost": "5"}, "max_cost is '5'"),
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, Any], what: str) -> None:
    """What cannot be a limit says what it may be."""
    with pytest.raises(ConfigurationError, match=what):
        Limits(**limits)
