"""The benchmark that kills batches would notice a loss; it runs in tests/conformance/test_engines.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.crash import Tally


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
