from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagesdk.limiters._schedule import (
    JITTER,
    Cost,
    Dimension,
    Permit,
    Schedule,
    Window,
    whole_limit,
)

LIMIT, PERIOD = 10, 60.0
LENGTH = PERIOD + JITTER
HAIR = 1e-5

# Seconds until a call arrives, its cost, and which earlier permit is given back then, if any.
ARRIVALS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 90)),
        st.integers(1, LIMIT),
        st.none() | st.integers(0, 100),
    ),
    max_size=60,
)
Arrivals = list[tuple[float, int, int | None]]


def schedule_of(*windows: Window) -> Schedule:
    return Schedule(list(windows) or [Window("images", LIMIT, PERIOD)])


def play(schedule: Schedule, arrivals: Arrivals) -> tuple[float, list[Permit]]:
    """Admit one call after the other, each as soon as it may go; return the time and the permits."""
    now = 0.0
    permits: list[Permit] = []
    for gap, images, returned in arrivals:
        now += gap
        if returned is not None and permits:
            schedule.give_back(permits[returned % len(permits)])
        cost = Cost(images)
        wait = schedule.delay(now, cost)
        assert (wait <= 0) == schedule.has_room(now, cost)
        if wait > HAIR:
            assert not schedule.has_room(now + wait - HAIR, cost)
        now += wait
        assert schedule.has_room(now, cost)
        permits.append(schedule.admit(now, cost))
    return now, permits


def counted(permits: list[Permit], now: float, length: float = LENGTH) -> int:
    return sum(p.cost.images for p in permits if p.live and now - length + HAIR < p.at <= now)


@given(ARRIVALS)
def test_no_window_over_the_limit(arrivals: Arrivals) -> None:
    """No rolling window of the period and its jitter holds more than the limit."""
    schedule = schedule_of()
    _, permits = play(schedule, arrivals)
    for permit in permits:
        assert counted(permits, permit.at) <= LIMIT


@given(ARRIVALS, st.floats(0, 100))
def test_used_is_what_counts(arrivals: Arrivals, later: float) -> None:
    """What is used is what was admitted in the last period and not given back."""
    schedule = schedule_of()
    now, permits = play(schedule, arrivals)
    now += later
    used = schedule.used(now)
    assert counted(permits, now) <= used <= counted(permits, now, LENGTH + 2 * HAIR)
    for permit in permits:
        schedule.give_back(permit)
    assert schedule.used(now) == 0


@given(ARRIVALS, st.integers(0, 40), st.floats(0, 100))
def test_forecast_for_single_images_is_exact(arrivals: Arrivals, calls: int, later: float) -> None:
    """The forecast is the time at which the last of the calls is then really admitted."""
    schedule = schedule_of()
    now, _ = play(schedule, arrivals)
    now += later
    foreseen = schedule.forecast(now, Cost(calls, calls))
    moment = now
    for _ in range(calls):
        moment += schedule.delay(moment, Cost(1))
        schedule.admit(moment, Cost(1))
    assert foreseen == pytest.approx(moment - now, abs=1e-3)


@given(ARRIVALS, st.lists(st.integers(1, LIMIT), max_size=20), st.floats(0, 100))
def test_forecast_promises_no_more_than_is_known(
    arrivals: Arrivals, costs: list[int], later: float
) -> None:
    """For larger calls the real wait is the forecast or longer: what does not fit is not foreseen."""
    schedule = schedule_of()
    now, _ = play(schedule, arrivals)
    now += later
    foreseen = schedule.forecast(now, Cost(sum(costs), len(costs)))
    moment = now
    for images in costs:
        moment += schedule.delay(moment, Cost(images))
        schedule.admit(moment, Cost(images))
    assert foreseen <= moment - now + 1e-3


def test_forecast_changes_nothing() -> None:
    """Asking for a forecast leaves the schedule as it is, and what was given back does not count."""
    schedule = schedule_of()
    schedule.give_back(schedule.admit(0.0, Cost(10)))
    schedule.admit(1.0, Cost(4))
    assert schedule.forecast(2.0, Cost(6)) == 0
    assert schedule.forecast(2.0, Cost(7)) == pytest.approx(59 + JITTER)
    assert schedule.forecast(2.0, Cost(0, 0)) == 0
    assert schedule.used(2.0) == 4


def test_gives_back_once() -> None:
    """Giving back twice, or after the window has passed, does no harm."""
    schedule = schedule_of()
    first, second = schedule.admit(0.0, Cost(4)), schedule.admit(0.0, Cost(6))
    assert schedule.delay(1.0, Cost(1)) == pytest.approx(59 + JITTER)
    schedule.give_back(first)
    schedule.give_back(first)
    assert (schedule.used(1.0), schedule.delay(1.0, Cost(4))) == (6, 0.0)
    assert schedule.used(LENGTH) == 0
    schedule.give_back(second)
    assert schedule.used(LENGTH) == 0


def test_what_comes_too_large_waits_for_an_empty_window() -> None:
    """A cost above the limit does not fit, and the time at which the window is empty is known."""
    schedule = schedule_of()
    assert schedule.takes(Cost(10))
    assert not schedule.takes(Cost(11))
    assert schedule.delay(0.0, Cost(11)) == 0
    schedule.admit(0.0, Cost(1))
    schedule.admit(5.0, Cost(1))
    assert schedule.delay(6.0, Cost(11)) == pytest.approx(59 + JITTER)


def test_a_delay_after_something_else() -> None:
    """How long a call would wait if another one went first can be asked without admitting it."""
    schedule = schedule_of()
    schedule.admit(0.0, Cost(4))
    schedule.admit(10.0, Cost(4))
    assert schedule.delay(20.0, Cost(6)) == pytest.approx(40 + JITTER)
    assert schedule.delay(20.0, Cost(6), after=Cost(1)) == pytest.approx(50 + JITTER)
    assert schedule.delay(20.0, Cost(6), after=Cost(2)) == pytest.approx(50 + JITTER)
    assert schedule.delay(20.0, Cost(9), after=Cost(2)) == pytest.approx(LENGTH)
    assert schedule.used(20.0) == 8


def test_each_window_counts_its_own() -> None:
    """Images, requests and input images are counted side by side, and all must have room."""
    schedule = schedule_of(
        Window("images", 10, 60.0), Window("requests", 2, 60.0), Window("input_images", 3, 60.0)
    )
    schedule.admit(0.0, Cost(1, 1, 3))
    assert schedule.has_room(1.0, Cost(9))  # no input images, so that window does not matter
    assert not schedule.has_room(1.0, Cost(1, 1, 1))
    assert not schedule.takes(Cost(1, 1, 4))
    schedule.admit(1.0, Cost(1))
    assert schedule.delay(2.0, Cost(1)) == pytest.approx(58 + JITTER)  # two requests
    assert schedule.used(2.0) == 2
    assert schedule.forecast(2.0, Cost(3, 3)) == pytest.approx(58 + LENGTH + JITTER, abs=1.1)


def test_windows_of_several_lengths() -> None:
    """20 a minute and 50 in five minutes: the one that is full decides."""
    schedule = schedule_of(Window("images", 20, 60.0), Window("images", 50, 300.0))
    times = []
    now = 0.0
    for _ in range(70):
        now += schedule.delay(now, Cost(1))
        schedule.admit(now, Cost(1))
        times.append(now)
    assert times[19] == 0
    assert times[49] == pytest.approx(2 * LENGTH)
    assert times[20] == pytest.approx(LENGTH)
    assert times[50] == pytest.approx(300 + JITTER)
    assert times[69] == pytest.approx(300 + JITTER)
    assert schedule.used(times[69]) == 50


def test_without_windows() -> None:
    """No window admits everything."""
    schedule = Schedule([])
    cost = Cost(1000, 1, 16)
    assert schedule.takes(cost)
    assert schedule.has_room(0.0, cost)
    schedule.admit(0.0, cost)
    assert (schedule.delay(0.0, cost), schedule.forecast(0.0, cost), schedule.used(0.0)) == (
        0,
        0,
        0,
    )


def test_a_lowered_limit() -> None:
    """What was admitted under the higher limit stays; nothing more is until there is room."""
    window = Window("images", 10, 60.0)
    schedule = schedule_of(window)
    schedule.admit(0.0, Cost(4))
    schedule.admit(10.0, Cost(4))
    window.limit = 5
    assert schedule.used(20.0) == 8
    assert schedule.delay(20.0, Cost(1)) == pytest.approx(40 + JITTER)
    assert schedule.forecast(20.0, Cost(2)) == pytest.approx(50 + JITTER)
    window.limit = 20
    assert schedule.has_room(20.0, Cost(12))


def test_a_moved_permit_counts_from_then_on() -> None:
    """A request whose upload took long is counted from when it was written, never from earlier."""
    schedule = schedule_of()
    permit = schedule.admit(0.0, Cost(10))
    assert schedule.move(permit, 0.0) is permit
    assert schedule.move(permit, -1.0) is permit
    moved = schedule.move(permit, 20.0)
    assert (moved.at, permit.live, schedule.used(30.0)) == (20.0, False, 10)
    assert schedule.delay(30.0, Cost(1)) == pytest.approx(50 + JITTER)
    schedule.give_back(permit)
    assert schedule.used(30.0) == 10
    schedule.give_back(moved)
    assert schedule.used(30.0) == 0
    assert schedule.move(moved, 40.0) is moved  # it was given back: nothing counts


def test_a_permit_that_is_moved_between_others() -> None:
    """The order of the log is that of the times, whatever was admitted last."""
    schedule = schedule_of()
    early = schedule.admit(0.0, Cost(5))
    schedule.admit(10.0, Cost(5))
    schedule.move(early, 5.0)
    assert schedule.delay(20.0, Cost(1)) == pytest.approx(45 + JITTER)
    assert schedule.delay(20.0, Cost(6)) == pytest.approx(50 + JITTER)


def test_a_permit_that_is_moved_too_late() -> None:
    """What has left the window does not come back into it, even if its upload ended later."""
    schedule = schedule_of()
    permit = schedule.admit(0.0, Cost(4))
    assert schedule.used(100.0) == 0
    moved = schedule.move(permit, 30.0)
    assert schedule.used(100.0) == 0
    schedule.give_back(moved)
    assert schedule.used(100.0) == 0


def test_a_window_that_comes_later_knows_what_was_sent() -> None:
    """A limit that the server names counts what is in flight, and giving that back makes it none less."""
    schedule = schedule_of(Window("images", 50, 60.0), Window("images", 20, 10.0))
    old, *sent = [schedule.admit(float(at), Cost(2)) for at in range(0, 30, 10)]
    schedule.give_back(old)
    late = Window("requests", 3, 60.0)
    schedule.add(late)
    assert late.used(21.0) == 2
    assert schedule.has_room(21.0, Cost(1))
    for permit in sent:
        schedule.give_back(permit)
    assert late.used(21.0) == 0
    schedule.admit(21.0, Cost(1))
    assert (late.used(22.0), late.limit) == (1, 3)


def test_a_window_that_comes_later_than_others_remember() -> None:
    """What no window remembers counts in none, and giving it back does not make room for more."""
    schedule = schedule_of(Window("images", 5, 10.0))
    forgotten = schedule.admit(0.0, Cost(5))
    assert schedule.used(20.0) == 0
    schedule.add(Window("images", 5, 60.0))
    schedule.give_back(forgotten)
    assert schedule.used(20.0) == 0
    assert not schedule.has_room(20.0, Cost(6))


def test_the_first_window() -> None:
    """A window can be added where there was none; giving back what came before makes no room in it."""
    schedule = Schedule([])
    before = schedule.admit(0.0, Cost(5))
    schedule.add(Window("images", 5, 60.0))
    schedule.admit(1.0, Cost(5))
    assert (schedule.used(1.0), before.live) == (5, True)
    schedule.give_back(before)
    assert schedule.used(1.0) == 5


@pytest.mark.parametrize(
    ("per_minute", "limit", "period"),
    [
        (50, 50, 60.0),
        (1, 1, 60.0),
        (0.5, 1, 120.0),
        (2.5, 2, 48.0),
        (0.001, 1, 60_000.0),
        (50.9, 50, 3000 / 50.9),
    ],
)
def test_whole_limits(per_minute: float, limit: int, period: float) -> None:
    """A rate becomes whole images and the time for them; nothing is rounded up."""
    assert whole_limit(per_minute) == pytest.approx((limit, period))


DIMENSIONS: tuple[Dimension, ...] = ("images", "requests", "input_images")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "give back", "move", "add", "limit"]),
            st.floats(0, 40),
            st.integers(0, 10),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_count_is_right(steps: list[tuple[str, float, int]]) -> None:
    """After admissions, returns, moves, new windows and new limits each window counts what it must."""
    windows = [Window("images", LIMIT, PERIOD)]
    schedule = schedule_of(*windows)
    permits: list[Permit] = []
    now = 0.0
    for kind, gap, number in steps:
        now += gap
        some: Any = permits[number % len(permits)] if permits else None
        if kind == "admit":
            permits.append(schedule.admit(now, Cost(1 + number % 4, 1, number % 3)))
        elif kind == "give back" and some is not None:
            schedule.give_back(some)
        elif kind == "move" and some is not None:
            permits.append(schedule.move(some, min(now, some.at + number)))
        elif kind == "add" and len(schedule.windows) < 4:
            schedule.add(Window(DIMENSIONS[number % 3], 5 + number, 10.0 + 5 * number))
        elif kind == "limit":
            schedule.windows[number % len(schedule.windows)].limit = 1 + number
        live = {id(permit): permit for permit in permits if permit.live}.values()
        for window in schedule.windows:
            index = Cost._fields.index(window.dimension)
            length = window.period + window.jitter
            least = sum(p.cost[index] for p in live if p.at > now - length + HAIR)
            most = sum(p.cost[index] for p in live if p.at > now - length - HAIR)
            if window is schedule.windows[0]:
                assert least <= window.used(now) <= most
            assert 0 <= window.used(now) <= most


def test_a_high_limit_keeps_a_short_log() -> None:
    """However much is admitted in a minute, memory is bounded; nothing counts shorter, or much longer."""
    window = Window("images", 1_000_000, PERIOD)
    schedule = schedule_of(window)
    permits = [schedule.admit(number / 1000, Cost(2)) for number in range(60_000)]
    assert len(window._log) <= 4097
    assert schedule.used(60.0) == 120_000
    assert schedule.used(LENGTH + 29.99) >= 60_000
    assert schedule.used(LENGTH + 30.02) <= 60_000
    for permit in permits:
        schedule.give_back(permit)
    assert schedule.used(LENGTH + 30.05) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "give back", "move"]),
            st.one_of(st.floats(0, 0.03), st.floats(0, 30)),
            st.integers(0, 50),
        ),
        max_size=80,
    )
)
def test_a_high_limit_counts_right(steps: list[tuple[str, float, int]]) -> None:
    """What left within 15 ms counts as one, as long as its last: never shorter than it must."""
    length, grain = 2.0 + JITTER, (2.0 + JITTER) / 4096
    schedule = schedule_of(Window("images", 5000, 2.0))
    permits: list[Permit] = []
    now = 0.0
    for kind, gap, number in steps:
        now += gap / 20
        if kind == "admit" or not permits:
            permits.append(schedule.admit(now, Cost(1 + number)))
        elif kind == "give back":
            schedule.give_back(permits[number % len(permits)])
        else:
            some = permits[number % len(permits)]
            permits.append(schedule.move(some, min(now, some.at + number / 100)))
        live = {id(permit): permit for permit in permits if permit.live}.values()
        least = sum(p.cost.images for p in live if p.at > now - length + HAIR)
        # What is given back when its own time is over, but not its slot's, counts until then.
        most = sum(p.cost.images for p in permits if p.at > now - length - grain - HAIR)
        assert least <= schedule.used(now) <= most


def test_what_is_sent_at_once_is_not_moved() -> None:
    """A request that left within 10 ms of its admission counts from its admission on."""
    schedule = schedule_of()
    permit = schedule.admit(1.0, Cost(1))
    assert schedule.move(permit, 1.009) is permit
    assert schedule.move(permit, 1.02).at == 1.02
