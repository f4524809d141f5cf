from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from imagesdk.limiters._schedule import MARGIN, Permit, WindowSchedule

LIMIT, PERIOD = 10, 60.0
# Seconds until a call arrives, its cost, and which earlier permit is given back then, if any.
ARRIVALS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 90)),
        st.integers(1, LIMIT),
        st.none() | st.integers(0, 100),
    ),
    max_size=60,
)


def _run(schedule: WindowSchedule, arrivals: list[tuple[float, int, int | None]]) -> list[Permit]:
    """Admit one call after the other, each as soon as it may go; return what was not given back."""
    now = 0.0
    permits: list[Permit] = []
    for gap, cost, returned in arrivals:
        now += gap
        if returned is not None and permits:
            schedule.give_back(permits[returned % len(permits)])
        now += schedule.delay(now, cost)
        assert schedule.delay(now, cost) == pytest.approx(0, abs=1e-6)
        permits.append(schedule.admit(now, cost))
    return permits


@given(ARRIVALS)
def test_no_window_over_the_limit(arrivals: list[tuple[float, int, int | None]]) -> None:
    """No rolling window of the period and its margin holds more than the limit."""
    schedule = WindowSchedule(LIMIT, PERIOD)
    given_back: set[int] = set()
    permits: list[Permit] = []
    now = 0.0
    for gap, cost, returned in arrivals:
        now += gap
        if returned is not None and permits:
            index = returned % len(permits)
            if permits[index].live:
                given_back.add(index)
            schedule.give_back(permits[index])
        now += schedule.delay(now, cost)
        permits.append(schedule.admit(now, cost))
        kept = [p for i, p in enumerate(permits) if i not in given_back]
        in_window = sum(p.cost for p in kept if now - PERIOD - MARGIN + 1e-5 < p.at)
        assert in_window <= LIMIT
        assert schedule.used(now) >= in_window


@given(ARRIVALS, st.lists(st.integers(1, LIMIT), max_size=20), st.floats(0, 100))
def test_forecast_agrees(
    arrivals: list[tuple[float, int, int | None]], costs: list[int], later: float
) -> None:
    """The forecast is the time at which the last of the calls is then really admitted."""
    schedule = WindowSchedule(LIMIT, PERIOD)
    permits = _run(schedule, arrivals)
    now = (permits[-1].at if permits else 0.0) + later
    wait = schedule.forecast(now, costs)
    moment = now
    for cost in costs:
        moment += schedule.delay(moment, cost)
        schedule.admit(moment, cost)
    assert wait == pytest.approx(moment - now, abs=1e-6)


def test_forecast_changes_nothing() -> None:
    """Asking for a forecast leaves the schedule as it is, and what was given back does not count."""
    schedule = WindowSchedule(LIMIT, PERIOD)
    schedule.give_back(schedule.admit(0.0, 10))
    schedule.admit(1.0, 4)
    assert schedule.forecast(2.0, [6]) == 0
    assert schedule.forecast(2.0, [7]) == pytest.approx(59 + MARGIN)
    assert schedule.used(2.0) == 4


def test_gives_back_once() -> None:
    """Giving back twice, or after the window has passed, does no harm."""
    schedule = WindowSchedule(LIMIT, PERIOD)
    first, second = schedule.admit(0.0, 4), schedule.admit(0.0, 6)
    assert schedule.delay(1.0, 1) == pytest.approx(59 + MARGIN)
    schedule.give_back(first)
    schedule.give_back(first)
    assert (schedule.used(1.0), schedule.delay(1.0, 4)) == (6, 0.0)
    assert schedule.used(PERIOD + MARGIN) == 0
    schedule.give_back(second)
    assert schedule.used(PERIOD + MARGIN) == 0


def test_too_much() -> None:
    """A cost above the limit never fits, and says so."""
    schedule = WindowSchedule(LIMIT, PERIOD)
    with pytest.raises(ValueError, match="11 images never fit into a limit of 10"):
        schedule.delay(0.0, 11)
