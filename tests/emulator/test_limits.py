from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, strategies as st

from imagesdk.emulator.limits import ImageLimit, LimitKind, format_wait, whole_ms

KINDS: tuple[LimitKind, ...] = get_args(LimitKind)
T0 = 1_800_000_000.0  # sums of floats are as coarse as with a real clock


@pytest.mark.parametrize(("images", "admitted"), [(49, True), (50, True), (51, False)])
def test_admits_up_to_the_limit(*, images: int, admitted: bool) -> None:
    """One request may ask for exactly the limit and not for one image more."""
    assert (ImageLimit(50).admit("key", images, 0.0) is None) is admitted


@pytest.mark.parametrize(("now", "admitted"), [(59.999, False), (60.0, True), (60.001, True)])
def test_an_image_counts_for_exactly_one_minute(*, now: float, admitted: bool) -> None:
    """An image leaves the window 60 s after it entered, not earlier and not later."""
    limit = ImageLimit(1)
    assert limit.admit("key", 1, 0.0) is None
    assert (limit.admit("key", 1, now) is None) is admitted


def test_refused_requests_do_not_count() -> None:
    """A refused request leaves the room that was there."""
    limit = ImageLimit(5)
    limit.admit("key", 3, 0.0)
    for _ in range(10):
        assert limit.admit("key", 3, 1.0) is not None
    assert limit.admit("key", 2, 1.0) is None


def test_keys_are_counted_apart() -> None:
    """What one key uses does not limit another."""
    limit = ImageLimit(1)
    assert limit.admit("a", 1, 0.0) is None
    assert limit.admit("b", 1, 0.0) is None


def test_says_when_the_request_would_fit() -> None:
    """The wait is the time until enough of the oldest images have left the window."""
    limit = ImageLimit(5)
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
    overrun = ImageLimit(limit).admit("key", images, 0.0)
    assert overrun is not None
    assert overrun.retry_after is None


def test_status_follows_the_window() -> None:
    """Remaining and reset describe the window at the moment of asking."""
    limit = ImageLimit(5)
    assert (limit.status("key", 0.0).remaining, limit.status("key", 0.0).reset) == (5, 0.0)
    limit.admit("key", 2, 0.0)
    limit.admit("key", 2, 30.0)
    assert (limit.status("key", 40.0).remaining, limit.status("key", 40.0).reset) == (1, 50.0)
    assert (limit.status("key", 90.0).remaining, limit.status("key", 90.0).reset) == (5, 0.0)


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_refuses_senseless_limits(limit: float) -> None:
    """A limit is a finite number of images, 0 or more."""
    with pytest.raises(ValueError, match="images per minute must be 0 or more"):
        ImageLimit(limit)


@given(
    requests=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), max_size=60),
    maximum=st.integers(1, 20),
)
def test_no_window_exceeds_the_limit(requests: list[tuple[float, int]], maximum: int) -> None:
    """Whatever arrives, no 60 seconds ever hold more admitted images than the limit."""
    limit = ImageLimit(maximum)
    now, admitted = 0.0, list[tuple[float, int]]()
    for gap, images in requests:
        now += gap
        if limit.admit("key", images, now) is None:
            admitted.append((now, images))
    for end, _ in admitted:
        assert sum(n for at, n in admitted if at <= end < at + 60) <= maximum


@given(
    requests=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=40),
    kind=st.sampled_from(KINDS),
    counts_refused=st.booleans(),
)
def test_waiting_as_told_is_enough_and_not_too_much(
    requests: list[tuple[float, int]], kind: LimitKind, *, counts_refused: bool
) -> None:
    """After the announced wait the request is admitted, and just before it is not."""
    limit = ImageLimit(5, kind=kind, interval=3.0, counts_refused=counts_refused)
    now = T0
    for gap, images in requests:
        now += gap
        overrun = limit.admit("key", images, now)
        if overrun is None:
            continue
        assert overrun.retry_after is not None
        assert overrun.retry_after > 0
        early = now + overrun.retry_after - 0.001
        if early >= now and not counts_refused:
            assert limit.admit("key", images, early) is not None
        now += whole_ms(overrun.retry_after) / 1000 + 1e-5
        assert limit.admit("key", images, now) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_for_ever_what_is_above_the_limit(kind: LimitKind) -> None:
    """Eleven images never fit into ten, and ten are not kept from fitting by it."""
    limit = ImageLimit(10, kind=kind)
    overrun = limit.admit("key", 11, T0)
    assert overrun is not None
    assert overrun.retry_after is None
    assert limit.admit("key", 10, T0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_admits_nothing_without_access(kind: LimitKind) -> None:
    """A limit of 0 has nothing left, and is reset at once."""
    limit = ImageLimit(0, kind=kind)
    assert limit.admit("key", 1, T0) is not None
    assert (limit.status("key", T0).remaining, limit.status("key", T0).reset) == (0, 0.0)


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        ("sliding", (60.0, 55.0, 30.0)),
        ("fixed", (60.0, 55.0, 30.0)),
        ("bucket", (12.0, 7.0, 0.0)),
        ("quantised", (48.0, 43.0, 18.0)),
    ],
)
def test_the_kinds_wait_for_different_things(kind: LimitKind, waits: tuple[float, ...]) -> None:
    """After 4 of 5 at 0 s: the wait for 2 more at 0, 5 and 30 s, each asked of a fresh limit."""
    for at, wait in zip((0.0, 5.0, 30.0), waits, strict=True):
        limit = ImageLimit(5, kind=kind, interval=12.0)
        assert limit.admit("key", 4, T0) is None
        overrun = limit.admit("key", 2, T0 + at)
        assert (0.0 if overrun is None else overrun.retry_after) == pytest.approx(wait, abs=1e-5)


def test_a_fixed_period_lets_twice_the_limit_through_at_its_edge() -> None:
    """It begins with the first image, ends as a whole, and the next begins with the next image."""
    limit = ImageLimit(5, kind="fixed")
    assert limit.admit("key", 1, T0) is None
    assert limit.admit("key", 4, T0 + 59.9) is None
    assert limit.status("key", T0 + 59.9).remaining == 0
    assert limit.admit("key", 5, T0 + 60) is None
    assert limit.status("key", T0 + 61).reset == pytest.approx(59)


def test_a_bucket_gives_back_evenly() -> None:
    """Fifty at once, then one every 1.2 s; it is full again after a minute."""
    limit = ImageLimit(50, kind="bucket")
    assert limit.admit("key", 50, T0) is None
    assert limit.status("key", T0).reset == pytest.approx(60)
    admitted = sum(limit.admit("key", 1, T0 + tenth / 10) is None for tenth in range(601))
    assert admitted == 50
    assert limit.status("key", T0 + 180).remaining == 50


def test_a_quantised_limit_refuses_a_burst_that_the_minute_would_hold() -> None:
    """Of 50 at once 9 are admitted where ten seconds are worth 8.33, and a large one in debt."""
    limit = ImageLimit(50, kind="quantised", interval=10.0)
    assert sum(limit.admit("key", 1, T0) is None for _ in range(50)) == 9
    assert limit.status("key", T0).remaining == 0
    assert limit.admit("debtor", 10, T0) is None
    overrun = limit.admit("debtor", 1, T0 + 1)
    assert overrun is not None
    assert overrun.retry_after == pytest.approx(9)
    assert limit.status("debtor", T0 + 1).reset == pytest.approx(19)
    assert limit.status("debtor", T0 + 25).remaining == 8


@pytest.mark.parametrize("kind", ["sliding", "fixed"])
def test_counted_refusals_keep_who_hammers_out(kind: LimitKind) -> None:
    """Who asks every second is not served for a minute after the last refusal of the period."""
    limit = ImageLimit(5, kind=kind, counts_refused=True)
    assert limit.admit("key", 5, T0) is None
    assert all(limit.admit("key", 1, T0 + at) is not None for at in range(1, 60))
    assert (limit.admit("key", 5, T0 + 60) is None) is (kind == "fixed")
    assert limit.admit("key", 5, T0 + 120) is None


@pytest.mark.parametrize("kind", KINDS)
def test_counted_refusals_without_access(kind: LimitKind) -> None:
    """A limit of 0 can be asked for its state, whatever is counted."""
    limit = ImageLimit(0, kind=kind, counts_refused=True)
    assert limit.admit("key", 1, T0) is not None
    assert limit.status("key", T0).remaining == 0


def test_clearing_forgets_every_key() -> None:
    """After ``clear`` the limit is untouched."""
    limit = ImageLimit(1)
    assert limit.admit("key", 1, T0) is None
    limit.clear()
    assert limit.admit("key", 1, T0) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"period": 0}, "period must be a number of seconds above 0, from 1e-06 to 1e.09: 0"),
        ({"interval": float("nan")}, "interval must be a number of seconds above 0, .*: nan"),
        ({"period": 1e308}, "period must be .*: 1e.308"),
        ({"kind": "leaky"}, "'leaky': use one of sliding, fixed, bucket, quantised"),
    ],
)
def test_refuses_senseless_settings(settings: dict[str, Any], message: str) -> None:
    """Lengths are above 0, and a kind is one of four."""
    with pytest.raises(ValueError, match=message):
        ImageLimit(5, **settings)


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
