from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagesdk.errors import InvalidRequestError
from imagesdk.models.checks import check
from imagesdk.models.profiles import family_of
from imagesdk.models.requests import GenerateRequest, InputInfos
from imagesdk.models.servers import profile_named
from imagesdk.models.sizes import size_for

ANY_SIZE = "gpt-image-2"


@pytest.mark.parametrize(
    ("ratio", "any_size", "fixed"),
    [
        ("1:1", "1024x1024", "1024x1024"),
        ("16:9", "1280x720", "1536x1024"),
        ("9:16", "720x1280", "1024x1536"),
        ("3:2", "1248x832", "1536x1024"),
        ("4:3", "1152x864", "1536x1024"),
        ("4:5", "896x1120", "1024x1536"),
        ("21:9", "1568x672", "1536x1024"),
        ("3:1", "1776x592", "1536x1024"),
    ],
)
def test_common_ratios(ratio: str, any_size: str, fixed: str) -> None:
    """A common ratio comes out exactly where the model takes any size, else as the nearest size."""
    assert size_for(ratio, model=ANY_SIZE) == any_size
    assert size_for(ratio, model="gpt-image-1") == fixed
    width, height = map(int, any_size.split("x"))
    first, second = map(int, ratio.split(":"))
    assert width * second == height * first


@pytest.mark.parametrize("ratio", ["16:9", "16/9", "16x9", " 16 : 9 ", "1.6:0.9", (16, 9), 16 / 9])
def test_ways_to_write_a_ratio(ratio: Any) -> None:
    """A ratio is text, a pair or a number."""
    assert size_for(ratio, model=ANY_SIZE) == "1280x720"


@given(
    ratio=st.floats(1 / 3, 3.0),
    pixels=st.integers(655_360, 4_000_000),
    model=st.sampled_from([None, "dall-e-3", "gpt-image-1", "gpt-image-2", "gpt-image-2.6-flare"]),
)
def test_every_size_is_one_that_the_model_takes(
    ratio: float, pixels: int, model: str | None
) -> None:
    """Whatever the ratio and the pixels within its limits, the checks pass the size."""
    size = size_for(ratio, model=model, pixels=pixels)
    family = family_of(model, profile_named("classic"))
    assert check(GenerateRequest("a", size=size, model=model), family, InputInfos()) == []
    width, height = map(int, size.split("x"))
    if model is not None and model.startswith("gpt-image-2"):
        assert abs(math.log(width * height / pixels)) <= math.log(1.25)
        assert abs(math.log(width / height / ratio)) < 0.02


@pytest.mark.parametrize(
    ("ratio", "long_edge", "size"),
    [
        ("16:9", 2560, "2560x1440"),
        ("9:16", 3840, "2160x3840"),
        ("16:9", 2000, "2000x1120"),
        ("1:1", 1999, "1984x1984"),
    ],
)
def test_a_long_edge(ratio: str, long_edge: int, size: str) -> None:
    """The longest edge is as wanted, or the next smaller one that the model takes."""
    assert size_for(ratio, model=ANY_SIZE, long_edge=long_edge) == size


def test_fixed_sizes_by_pixels_and_edge() -> None:
    """Among fixed sizes of one ratio the nearest is taken, the largest if nothing is said."""
    assert size_for("1:1") == "1024x1024"
    assert size_for("1:1", pixels=300 * 300) == "256x256"
    assert size_for("16:9", long_edge=600) == "512x512"
    assert size_for("16:9", model="dall-e-3") == "1792x1024"


def test_a_model_that_is_not_known() -> None:
    """A model without a rule gets multiples of 16, in any ratio: the server decides."""
    assert size_for("16:9", model="flux-2") == "1280x720"
    width, height = map(int, size_for("8:1", model="flux-2").split("x"))
    assert width == 8 * height


@pytest.mark.parametrize(
    ("ratio", "options", "message"),
    [
        ("wide", {}, "ratio is 'wide'; it must be above 0, like '16:9', (16, 9) or 1.78"),
        ("0:1", {}, "ratio is '0:1'"),
        (-1.0, {}, "ratio is -1.0"),
        ((1, math.inf), {}, "ratio is (1, inf)"),
        ("4:1", {}, "ratio is '4:1'; it must be from 1:3 to 3:1 (a limit of GPT Image 2)"),
        ("1:1", {"pixels": 100}, "pixels is 100; it must be a number for which GPT Image 2 has a"),
        ("1:1", {"pixels": 0}, "pixels is 0; it must be 1 or more"),
        ("1:1", {"long_edge": 5000}, "edges up to 3,840"),
        ("1:1", {"long_edge": 500, "pixels": 500}, "it must be left out with pixels="),
    ],
)
def test_what_has_no_size_is_told(ratio: Any, options: dict[str, int], message: str) -> None:
    """A ratio that is none, or that the model does not take, is named with the limit."""
    with pytest.raises(InvalidRequestError) as caught:
        size_for(ratio, model=ANY_SIZE, **options)
    assert message in str(caught.value)
