from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from imagesdk.emulator.limits import SlidingWindow, format_wait, whole_ms


@pytest.mark.parametrize(("images", "admitted"), [(49, True), (50, True), (51, False)])
def test_admits_up_to_the_limit(*, images: int, admitted: bool) -> None:
    """One request may ask for exactly the limit and not for one image more."""
    assert (SlidingWindow(50).admit("key", images, 0.0) is None) is admitted


@pytest.mark.parametrize(("now", "admitted"), [(59.999, False), (60.0, True), (60.001, True)])
def test_an_image_counts_for_exactly_one_minute(*, now: float, admitted: bool) -> None:
    """An image leaves the window 60 s after it entered, not earlier and not later."""
    limit = SlidingWindow(1)
    assert limit.admit("key", 1, 0.0) is None
    assert (limit.admit("key", 1, now) is None) is admitted


def test_refused_requests_do_not_count() -> None:
    """A refused request leaves the room that was there."""
    limit = SlidingWindow(5)
    limit.admit("key", 3, 0.0)
    for _ in range(10):
        assert limit.admit("key", 3, 1.0) is not None
    assert limit.admit("key", 2, 1.0) is None


def test_keys_are_counted_apart() -> None:
    """What one key uses does not limit another."""
    limit = SlidingWindow(1)
    assert limit.admit("a", 1, 0.0) is None
    assert limit.admit("b", 1, 0.0) is None


def test_says_when_the_request_would_fit() -> None:
    """The wait is the time until enough of the oldest images have left the window."""
    limit = SlidingWindow(5)
    limit.admit("key", 2, 0.0)
    limit.admit("key", 3, 10.0)
    overrun = limit.admit("key", 3, 20.0)
    assert overrun is not None
    assert (overrun.limit, overrun.used, overrun.retry_after) == (5, 5, 50.0)
    assert limit.admit("key", 3, 69.9) is not None
    assert limit.admit("key", 3, 70.0) is None


@pytest.mark.parametrize(("limit", "images"), [(5, 6), (0, 1)])
def test_no_wait_helps_a_request_above_the_limit(limit: float, images: int) -> None:
    """A request for more images than the limit is refused without a time to wait."""
    overrun = SlidingWindow(limit).admit("key", images, 0.0)
    assert overrun is not None
    assert overrun.retry_after is None


def test_status_follows_the_window() -> None:
    """Remaining and reset describe the window at the moment of asking."""
    limit = SlidingWindow(5)
    assert (limit.status("key", 0.0).remaining, limit.status("key", 0.0).reset) == (5, 0.0)
    limit.admit("key", 2, 0.0)
    limit.admit("key", 2, 30.0)
    assert (limit.status("key", 40.0).remaining, limit.status("key", 40.0).reset) == (1, 50.0)
    assert (limit.status("key", 90.0).remaining, limit.status("key", 90.0).reset) == (5, 0.0)


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_refuses_senseless_limits(limit: float) -> None:
    """A limit is a finite number of images, 0 or more."""
    with pytest.raises(ValueError, match="images per minute must be 0 or more"):
        SlidingWindow(limit)


@given(
    requests=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), max_size=60),
    maximum=st.integers(1, 20),
)
def test_no_window_exceeds_the_limit(requests: list[tuple[float, int]], maximum: int) -> None:
    """Whatever arrives, no 60 seconds ever hold more admitted images than the limit."""
    limit = SlidingWindow(maximum)
    now, admitted = 0.0, list[tuple[float, int]]()
    for gap, images in requests:
        now += gap
        if limit.admit("key", images, now) is None:
            admitted.append((now, images))
    for end, _ in admitted:
        assert sum(n for at, n in admitted if at <= end < at + 60) <= maximum


@given(requests=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=40))
def test_waiting_as_told_is_enough_and_not_too_much(requests: list[tuple[float, int]]) -> None:
    """After the announced wait the request is admitted, and just before it is not."""
    limit = SlidingWindow(5)
    now = 0.0
    for gap, images in requests:
        now += gap
        overrun = limit.admit("key", images, now)
        if overrun is None:
            continue
        assert overrun.retry_after is not None
        early = now + overrun.retry_after - 0.001
        assert early < now or limit.admit("key", images, early) is not None
        now += whole_ms(overrun.retry_after) / 1000 + 1e-6
        assert limit.admit("key", images, now) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.467, "467ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (12, "12s"),
        (12.000000001, "12s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (61.5, "1m1.5s"),
    ],
)
def test_format_wait(seconds: float, text: str) -> None:
    """Durations are spelled as the API spells them."""
    assert format_wait(seconds) == text
