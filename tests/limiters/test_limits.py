from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagesdk.errors import ConfigurationError
from imagesdk.limiters._limits import Adopt, LimitInUse, Settings
from imagesdk.limiters._schedule import JITTER, Cost

DAY = 86_400.0


@pytest.mark.parametrize(
    ("configured", "adopt", "named", "used", "changes"),
    [
        (50.0, "down", 5.0, 5.0, True),
        (50.0, "down", 500.0, 50.0, False),
        (50.0, "down", 50.0, 50.0, False),
        (50.0, "auto", 5.0, 5.0, True),
        (50.0, "auto", 500.0, 500.0, True),
        (50.0, "never", 5.0, 50.0, False),
        (50.0, "never", 500.0, 50.0, False),
        (None, "down", 5.0, 5.0, True),
        (None, "auto", 5.0, 5.0, True),
        (None, "never", 5.0, None, False),
        (50.0, "down", 0.5, 0.5, True),
    ],
)
@pytest.mark.parametrize("refused", [True, False])
def test_what_is_adopted(
    configured: Any, adopt: Adopt, *, named: float, used: Any, changes: bool, refused: bool
) -> None:
    """A named limit is adopted downwards, in both directions or never, as the caller says."""
    limit = LimitInUse(configured, adopt)
    assert limit.at(0.0) == configured
    assert limit.hear(named, refused=refused) is changes
    assert limit.at(0.0) == limit.ceiling == used


@pytest.mark.parametrize("said", [None, 0.0, -5.0])
def test_what_says_nothing(said: Any) -> None:
    """No limit, or one that cannot be a limit, changes nothing."""
    limit = LimitInUse(50.0, "auto")
    assert not limit.hear(said, refused=True)
    assert not limit.hear(said, refused=False)
    assert (limit.at(0.0), limit.named) == (50.0, None)


def test_a_header_that_never_changes_undoes_no_refusal() -> None:
    """A server that says 50 in every header and 5 in its refusals is believed where it refuses."""
    limit = LimitInUse(50.0, "auto")
    limit.hear(50.0, refused=False)
    assert limit.hear(5.0, refused=True)
    for _ in range(3):
        assert not limit.hear(50.0, refused=False)
    assert limit.at(0.0) == 5.0


def test_the_first_header_undoes_no_refusal_either() -> None:
    """If the refusal comes before any answer, the header that comes then is not taken for news."""
    for adopt in ("down", "auto"):
        limit = LimitInUse(50.0, adopt)
        limit.hear(5.0, refused=True)
        assert not limit.hear(50.0, refused=False)
        assert limit.at(0.0) == 5.0
        assert limit.hear(20.0, refused=False)  # the account was changed meanwhile
        assert limit.at(0.0) == 20.0


def test_a_header_that_changes_is_news() -> None:
    """With "auto" a limit that is raised is followed, and one that is lowered, too."""
    limit = LimitInUse(50.0, "auto")
    heard = [limit.hear(said, refused=False) for said in (50.0, 500.0, 500.0, 20.0)]
    assert heard == [False, True, False, True]
    assert (limit.at(0.0), limit.named) == (20.0, 20.0)


def test_a_refusal_may_raise_what_a_refusal_lowered() -> None:
    """The server's last refusal counts: it names the limit as it is now."""
    limit = LimitInUse(50.0, "down")
    assert limit.hear(5.0, refused=True)
    assert limit.hear(20.0, refused=True)
    assert not limit.hear(20.0, refused=True)
    assert limit.hear(100.0, refused=True)
    assert limit.at(0.0) == 50.0


@pytest.mark.parametrize("configured", [50.0, 500.0, 7.5])
def test_a_learned_limit_climbs_back(configured: float) -> None:
    """A limit that was lowered climbs, never falls by itself, and ends where it was within hours."""
    limit = LimitInUse(configured)
    limit.lower(configured / 4, 100.0)
    assert limit.learns
    course = [limit.at(100.0 + minute * 60.0) for minute in range(6 * 60)]
    values = [value for value in course if value is not None]
    assert len(values) == len(course)
    assert values[0] <= configured / 4 or values[0] == 1.0
    assert all(after >= before for before, after in pairwise(values))
    assert values[-1] == configured
    assert values[5] < configured  # it takes its time
    assert all(value >= 1.0 for value in values)
    assert not limit.learns


def test_it_climbs_step_by_step() -> None:
    """Within a period the learned limit stands still: a step costs at most one refusal."""
    limit = LimitInUse(500.0)
    limit.lower(100.0, 0.0)
    assert limit.at(59.0) == limit.at(1.0) == 100.0
    after = limit.at(61.0)
    assert after is not None
    assert 100.0 < after < 200.0


def test_the_learned_limit_may_be_lowered_again() -> None:
    """Each lesson replaces the one before, and one image a minute is the least."""
    limit = LimitInUse(50.0)
    limit.lower(20.0, 0.0)
    limit.lower(0.3, 10.0)
    assert limit.at(10.0) == 1.0


def test_the_lowest_of_the_three_counts() -> None:
    """Configured, named and learned: the lowest is used, and a lesson does not outlive its reason."""
    limit = LimitInUse(50.0)
    limit.lower(20.0, 0.0)
    limit.hear(10.0, refused=True)
    assert limit.at(0.0) == 10.0
    assert not limit.learns


def test_months_without_a_ceiling() -> None:
    """Where only windows are configured, a learned limit climbs for months and breaks nothing."""
    limit = LimitInUse(None)
    limit.lower(20.0, 0.0)
    for days in (1, 10, 365, 3650):
        value = limit.at(days * DAY)
        assert value is not None
        assert 20.0 < value < math.inf


@given(
    st.sampled_from(["down", "auto", "never"]),
    st.none() | st.floats(0.01, 1000),
    st.lists(st.tuples(st.booleans(), st.none() | st.floats(0, 1000), st.floats(0, 300))),
)
def test_whatever_is_said_there_is_a_limit(
    adopt: Adopt, configured: Any, said: list[tuple[bool, float | None, float]]
) -> None:
    """Whatever is named, a limit is above 0, stays below the configured one, and changes when told."""
    limit = LimitInUse(configured, adopt)
    now = 0.0
    for refused, named, gap in said:
        before = limit.ceiling
        changed = limit.hear(named, refused=refused)
        assert changed == (limit.ceiling != before)
        value = limit.at(now)
        assert value is None or 0 < value < math.inf
        if adopt != "auto" and configured is not None:
            assert value is not None
            assert value <= configured
        now += gap


# Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, "auto", "50"])
def test_bad_rates(rate: Any) -> None:
    """A limit that is no number above 0 is refused, with the way to have none."""
    with pytest.raises(ConfigurationError, match="pass None to ImageSession for no limit"):
        Settings(images_per_minute=rate)


@pytest.mark.parametrize("name", ["requests_per_minute", "input_images_per_minute"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "3"])
def test_bad_further_rates(name: str, value: Any) -> None:
    """The other limits are numbers above 0, or None."""
    with pytest.raises(ConfigurationError, match=f"{name} is {value!r}; it must be a number above"):
        Settings(images_per_minute=50.0, **{name: value})


@pytest.mark.parametrize(
    "window",
    [
        (0, 60),
        (-1, 60),
        (2.5, 60),
        (5, 0),
        (5, -1),
        (5, math.inf),
        (5, math.nan),
        (math.inf, 60),
        (5,),
        (),
        5,
        "ab",
        (None, 60),
    ],
)
def test_bad_windows(window: Any) -> None:
    """A window that is no whole number of images in some seconds is shown, and how to write it."""
    with pytest.raises(ConfigurationError, match="20 a minute and 50 in five minutes"):
        Settings(images_per_minute=None, windows=[window])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"images_per_minute": None}, "a limiter needs a limit"),
        ({"images_per_minute": 50.0, "burst": 0}, "burst is 0; it must be from 1 to the limit, 50"),
        ({"images_per_minute": 50.0, "burst": 51}, "from 1 to the limit, 50"),
        ({"images_per_minute": 50.0, "burst": "5"}, "burst is '5'; it must be from 1"),
        ({"images_per_minute": 50.0, "burst": 2.5}, "burst is 2.5; it must be from 1"),
        ({"images_per_minute": 0.5, "burst": 2}, "from 1 to the limit, 1"),
        (
            {"images_per_minute": 50.0, "windows": ((20, 60),), "burst": 21},
            "from 1 to the limit, 20",
        ),
        ({"images_per_minute": 50.0, "adopt": "up"}, "adopt is 'up'; it must be 'down', 'auto' or"),
        ({"images_per_minute": 50.0, "max_pause": -1.0}, "max_pause is -1.0; it must be 0 or more"),
        ({"images_per_minute": 50.0, "max_pause": math.inf}, "max_pause is inf"),
        ({"images_per_minute": 50.0, "max_pause": None}, "max_pause is None"),
        ({"images_per_minute": 50.0, "jitter": math.nan}, "jitter is nan"),
        ({"images_per_minute": 50.0, "jitter": "0"}, "jitter is '0'"),
    ],
)
def test_bad_settings(values: dict[str, Any], words: str) -> None:
    """A limiter that makes no sense is refused when it is made."""
    with pytest.raises(ConfigurationError, match=words):
        Settings(**values)


def test_windows_are_kept_as_they_are_meant() -> None:
    """Windows may come as lists, and from any iterable; they have the limiter's jitter."""
    windows: Any = iter([[20, 60], (50.0, 300)])
    settings = Settings(images_per_minute=None, windows=windows, jitter=0.1)
    assert settings.windows == ((20, 60.0), (50, 300.0))
    made = settings.further_windows()
    assert [(w.dimension, w.limit, w.period, w.jitter) for w in made] == [
        ("images", 20, 60.0, 0.1),
        ("images", 50, 300.0, 0.1),
    ]
    assert settings.further_windows()[0] is not made[0]


def test_the_limits_that_the_server_may_change() -> None:
    """Each dimension has its own limit, with the same rule of adoption; the jitter has a default."""
    settings = Settings(images_per_minute=50.0, requests_per_minute=10.0, adopt="auto")
    limits = settings.limits()
    assert {name: limit.at(0.0) for name, limit in limits.items()} == {
        "images": 50.0,
        "requests": 10.0,
        "input_images": None,
    }
    assert {limit.adopt for limit in limits.values()} == {"auto"}
    assert settings.jitter == JITTER


def test_what_a_call_costs() -> None:
    """A call costs its images, one request and the input images that it carries."""
    settings = Settings(images_per_minute=50.0, input_images_per_minute=4.5)
    assert settings.cost(10, 4) == Cost(10, 1, 4)
    with pytest.raises(ConfigurationError, match="a call asks for 0 images; it must be 1 or more"):
        settings.cost(0, 0)
    with pytest.raises(
        ConfigurationError, match=r"5 input images can never .* takes 4\.5 a minute"
    ):
        settings.cost(1, 5)
    assert Settings(images_per_minute=50.0).cost(1, 16).input_images == 16
