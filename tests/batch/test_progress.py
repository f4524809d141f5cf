"""Progress: counts, reasons, and a time left that is true while a mean rate is off by a multiple."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.progress import BatchProgress, ProgressSnapshot
from imagesdk.limiters.base import LimiterSnapshot
from tests.batch.conftest import IDLE, record

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import eta

OFF = attrs.evolve(IDLE, images_per_minute=None, limit=None)


def job(custom_id: str = "a", n: int = 1) -> Job:
    """Return a job that asks for *n* images."""
    (read,) = read_jobs([f'{{"id": "{custom_id}", "prompt": "a fox", "n": {n}}}'], Path())
    return read


def begun(jobs: int = 10, images: int = 20, concurrency: int = 4) -> BatchProgress:
    """Return the progress of a batch that began at 0 s."""
    progress = BatchProgress(concurrency, price=lambda r: 0.5 * len(r.images) or None, now=0.0)
    progress.begin(Total(jobs, images))
    return progress


def look(
    progress: BatchProgress, now: float, limiter: LimiterSnapshot = IDLE, forecast: float = 0.0
) -> ProgressSnapshot:
    """Look at it, with a limiter that foresees *forecast* seconds for whatever there is."""
    return progress.snapshot(now, limiter, lambda _images, _requests: forecast)


# The time left ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", eta.SCENARIOS, ids=lambda scenario: str(scenario.title))
def test_the_time_left_is_true(scenario: eta.Scenario) -> None:
    """It is within 5 % from 20 s on where the limit holds the batch back, and near it elsewhere."""
    estimates = eta.simulate(scenario)
    assert [round(each.at) for each in estimates] == [round(at) for at in scenario.times]
    assert [each.error for each in estimates if each.error > scenario.within] == []


def test_a_mean_rate_would_be_off() -> None:
    """What the estimate is compared with is not a straw man: it is right after an hour, not at 20 s."""
    estimates = eta.simulate(eta.SCENARIOS[0])
    assert all(each.mean is not None and each.rich is not None for each in estimates)
    first, last = estimates[0], estimates[-1]
    assert 3 * (first.mean or 0.0) < first.true
    assert 6 * (first.rich or 0.0) < first.true
    assert last.mean == pytest.approx(last.true, rel=0.05)


def test_the_time_left_asks_for_what_was_not_sent() -> None:
    """The limiter is asked for the images and requests that are neither done nor in flight."""
    asked: list[tuple[int, int]] = []

    def forecast(images: int, requests: int) -> float:
        asked.append((images, requests))
        return 100.0

    progress = begun(jobs=10, images=20)
    progress.end(record("before", 3), 0.0, is_new=False)
    progress.start(job("a", 4), 1.0)
    progress.start(job("b", 2), 1.0)
    progress.end(record("b", 2), 13.0)
    assert progress.snapshot(13.0, IDLE, forecast).left == pytest.approx(100 + 10)
    assert asked == [(20 - 3 - 4 - 2, 10 - 3)]


def test_the_time_left_without_a_limit_is_that_of_the_slots() -> None:
    """Unknown until the first request has ended; then the work that is left, by the slots."""
    progress = begun(jobs=41, images=41, concurrency=4)
    for name in "abcd":
        progress.start(job(name), 0.0)
    assert look(progress, 5.0, OFF).left is None
    state = look(progress, 5.0, IDLE, 60.0)
    assert (state.left, state.at_least) == (None, 60.0)
    for name in "abcd":
        progress.end(record(name), 10.0)
    assert look(progress, 10.0, OFF).left == pytest.approx(37 * 10 / 4 - 5 + 10)


def test_the_last_requests_end_when_the_slow_ones_do() -> None:
    """With nothing left to send, what is in flight decides, and a late one is expected at once."""
    progress = begun(jobs=3, images=3)
    progress.end(record("a"), 10.0)
    progress.start(job("b"), 5.0)
    progress.start(job("c"), 8.0)
    assert look(progress, 12.0, forecast=99.0).left == pytest.approx(8 + 10 - 12)
    assert look(progress, 30.0).left == 0.0
    progress.end(record("b"), 30.0)
    progress.end(record("c"), 30.0)
    assert look(progress, 31.0).left == 0.0


def test_a_run_that_drains_sends_nothing_more() -> None:
    """What is left is what is in flight, however much was asked for."""
    progress = begun()
    progress.end(record("a"), 10.0)
    progress.start(job("b"), 10.0)
    progress.drain()
    state = look(progress, 12.0, forecast=99.0)
    assert (state.why, state.waiting) == ("end", 0)
    assert state.left == pytest.approx(8.0)


# Counts -------------------------------------------------------------------------------------------


def test_counts() -> None:
    """Images of earlier runs count as images and neither as of this minute nor as spent."""
    progress = begun(jobs=10, images=20)
    progress.end(record("old", 4), 0.0, is_new=False)
    progress.start(job("a", 2), 0.0)
    progress.start(job("b", 3), 1.0)
    progress.end(record("a", 2), 10.0)
    progress.end(
        record("b", 1, status="partial", params={"prompt": "a fox", "n": 3}, error={}), 30.0
    )
    progress.start(job("c"), 31.0)
    state = look(progress, 40.0)
    assert (state.images, state.total, state.failed) == (7, 20, 1)
    assert (state.in_flight, state.waiting, state.last_minute) == (1, 6, 3)
    assert (state.spent, state.elapsed) == (1.5, 40.0)
    assert [look(progress, now).last_minute for now in (69.9, 70.0, 89.9, 90.0)] == [3, 1, 1, 0]


def test_nobody_knows_a_price() -> None:
    """Without a price nothing is said about money; not that it was 0."""
    progress = BatchProgress(1, now=0.0)
    progress.end(record(), 1.0)
    assert look(progress, 1.0).spent is None


@pytest.mark.parametrize(
    ("limiter", "in_flight", "why"),
    [
        (attrs.evolve(IDLE, paused=12.0, queued=3), 1, "pause"),
        (attrs.evolve(IDLE, queued=3, next_waits_for="window"), 1, "limit"),
        (attrs.evolve(IDLE, queued=3, next_waits_for="pace"), 4, "limit"),
        (attrs.evolve(IDLE, queued=3, next_waits_for="concurrency"), 1, "concurrency"),
        (IDLE, 4, "concurrency"),
        (IDLE, 3, None),
    ],
)
def test_why_the_next_request_waits(
    limiter: LimiterSnapshot, in_flight: int, why: str | None
) -> None:
    """A pause goes before the limit, the limit before the slots."""
    progress = begun(concurrency=4)
    for number in range(in_flight):
        progress.start(job(str(number)), 0.0)
    assert look(progress, 1.0, limiter).why == why


def test_the_last_requests_wait_for_nothing() -> None:
    """When all are sent, full slots hold nothing back; the limit that the server named is told."""
    progress = begun(jobs=1, images=1, concurrency=1)
    progress.start(job(), 0.0)
    state = look(progress, 1.0, attrs.evolve(IDLE, limit=5.0, adopted=5.0))
    assert (state.why, state.limit, state.limit_is_named) == (None, 5.0, True)
    assert not look(progress, 1.0, OFF).limit_is_named


def test_a_run_may_have_less_to_do_than_is_left() -> None:
    """A sample, or what failed before: the rest of the input does not count as waiting."""
    progress = begun(jobs=1000, images=2000, concurrency=1)
    progress.end(record("old", 2), 0.0, is_new=False)
    progress.due(Total(4, 8))
    progress.start(job("a", 2), 0.0)
    progress.end(record("a", 2), 10.0)
    progress.start(job("b", 2), 10.0)
    state = look(progress, 10.0)
    assert (state.images, state.total, state.waiting) == (4, 2000, 2)
    assert state.left == pytest.approx(3 * 10 - 5 + 10)
