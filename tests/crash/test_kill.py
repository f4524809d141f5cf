"""A batch that is killed at any moment: nothing is lost, and nothing is paid for without need."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.crash import MANNERS, Tally, serve, torture

KILLS = 4
"""In the ordinary run of the tests; ``python -m benchmarks.crash`` does fifty."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that keeps books, in a process of its own."""
    with serve() as url:
        yield url


@pytest.mark.parametrize("manner", MANNERS)
def test_a_batch_that_is_killed_loses_nothing(server: str, manner: str, tmp_path: Path) -> None:
    """After kills at random moments every image is there and whole, and what was charged twice was in flight."""
    tally = torture(server, manner, KILLS, tmp_path)
    assert tally.kills
    assert tally.is_good, tally


@pytest.mark.parametrize(
    ("tally", "is_good"),
    [
        (Tally(manner="honours", kills=1, in_flight=3), True),
        (Tally(manner="ignores", kills=1, in_flight=3, extra=3), True),
        (Tally(manner="honours", kills=1, in_flight=3, extra=1), False),
        (Tally(manner="ignores", kills=1, in_flight=3, extra=4), False),
        (Tally(manner="ignores", missing=1), False),
        (Tally(manner="ignores", torn=1), False),
        (Tally(manner="ignores", rest=["x"]), False),
        (Tally(manner="ignores", extra=-1), False),
    ],
)
def test_a_loss_would_be_noticed(tally: Tally, is_good: bool) -> None:  # noqa: FBT001
    """What is missing, torn, unknown or paid for without need is no good end."""
    assert tally.is_good is is_good
