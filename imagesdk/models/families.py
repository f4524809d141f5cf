"""The limits of each model family, as data with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from imagesdk.models.requests import Endpoint

__all__ = (
    "CLASSIC",
    "DALL_E_3",
    "FAMILIES",
    "NO_MODEL",
    "UNKNOWN",
    "AnyValue",
    "Choice",
    "ImageRule",
    "IntRange",
    "MaskRule",
    "ModelFamily",
    "Rule",
    "SizeRule",
)

MIB = 1024 * 1024


@attrs.frozen
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]


@attrs.frozen
class IntRange:
    """A whole number from low to high, both included."""

    low: int
    high: int


@attrs.frozen
class AnyValue:
    """Whatever the server takes."""


Rule: TypeAlias = Choice | IntRange | AnyValue


@attrs.frozen(kw_only=True)
class SizeRule:
    """Sizes that a model takes: a few by name, or any within bounds.

    Attributes:
        names: Sizes that are always right.
        multiple_px: Width and height must be multiples of it; None if only *names* are right.
        max_edge_px: Longest edge.
        min_pixels: Least width x height.
        max_pixels: Most width x height.
        max_ratio: Longest edge over shortest edge.
    """

    names: tuple[str, ...]
    multiple_px: int | None = None
    max_edge_px: int = 0
    min_pixels: int = 0
    max_pixels: int = 0
    max_ratio: float = 1.0


@attrs.frozen(kw_only=True)
class ImageRule:
    """What an input image must be.

    Attributes:
        formats: Accepted file formats.
        below_bytes: The file must be smaller than this.
        square: Width and height must be equal.
        max_count: Most images in one request.
        alpha_without_mask: Without a mask the image must have transparency of its own.
    """

    formats: tuple[str, ...]
    below_bytes: int
    square: bool = False
    max_count: int = 1
    alpha_without_mask: bool = False


@attrs.frozen(kw_only=True)
class MaskRule:
    """What a mask must be: a PNG with alpha and the size of the first image, smaller than below_bytes."""

    below_bytes: int = 4 * MIB


@attrs.frozen(kw_only=True)
class ModelFamily:
    """What the models of one family take.

    Attributes:
        name: For messages.
        source: Where the rules come from.
        max_prompt_chars: Longest prompt in characters, None for no limit of ours.
        max_n: Most images in one request; more are split by the session.
        size: Rule for ``size``, None if the server decides.
        params: For each endpoint that the family serves, the optional fields with their rules;
            None if the server decides about everything.
        sends_response_format: False if the server refuses the field, because it always sends b64_json.
        image: Rule for input images of edits and variations.
        mask: Rule for masks.
        streams: False if the server refuses to stream.
        max_partial_images: Most partial images of a stream, None if the server decides.
    """

    name: str
    source: str
    max_prompt_chars: int | None = None
    max_n: int = 10
    size: SizeRule | None = None
    params: Mapping[Endpoint, Mapping[str, Rule]] | None = None
    sends_response_format: bool = True
    image: ImageRule | None = None
    mask: MaskRule | None = None
    streams: bool = True
    max_partial_images: int | None = None


# Every family: fields that carry no limit of their own. prompt, n and size have fields of the family.
_COMMON: dict[str, Rule] = {"model": AnyValue(), "user": AnyValue()}
_RESPONSE_FORMAT: dict[str, Rule] = {"response_format": Choice(("url", "b64_json"))}

# https://platform.openai.com/docs/api-reference/images, as of 2023 (the classic API, read 2026-11-20)
_CLASSIC_PARAMS = {**_COMMON, **_RESPONSE_FORMAT}
CLASSIC = ModelFamily(
    name="the classic Images API",
    source="https://platform.openai.com/docs/api-reference/images",
    max_prompt_chars=1000,
    size=SizeRule(names=("256x256", "512x512", "1024x1024")),
    params={
        "generations": _CLASSIC_PARAMS,
        "edits": _CLASSIC_PARAMS,
        "variations": _CLASSIC_PARAMS,
    },
    image=ImageRule(formats=("png",), below_bytes=4 * MIB, square=True, alpha_without_mask=True),
    mask=MaskRule(),
    streams=False,
)
NO_MODEL = attrs.evolve(CLASSIC, name=f"{CLASSIC.name} without model=")
"""What holds where no model is named, which many who break its rules have only forgotten."""

# https://platform.openai.com/docs/api-reference/images/create (dall-e-3 rows, read 2026-11-20)
DALL_E_3 = ModelFamily(
    name="dall-e-3",
    source="https://platform.openai.com/docs/api-reference/images/create",
    max_prompt_chars=4000,
    max_n=1,
    size=SizeRule(names=("1024x1024", "1792x1024", "1024x1792")),
    params={
        "generations": {
            **_COMMON,
            **_RESPONSE_FORMAT,
            "quality": Choice(("standard", "hd")),
            "style": Choice(("vivid", "natural")),
        }
    },
    streams=False,
)

# https://platform.openai.com/docs/guides/image-generation (read 2026-11-20)
_GPT_SOURCE = "https://platform.openai.com/docs/guides/image-generation"
_FIXED_SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
_GPT_IMAGE = ImageRule(formats=("png", "webp", "jpeg"), below_bytes=50 * MIB, max_count=16)


def _gpt_image(
    name: str,
    *,
    any_size: bool = False,
    more_qualities: tuple[str, ...] = (),
    input_fidelity: tuple[str, ...] = (),
    previews: bool = False,
    more: Mapping[str, Rule] | None = None,
    markup: bool = False,
) -> ModelFamily:
    """Build one of the GPT Image families, which differ in a few fields only."""
    shared: dict[str, Rule] = {
        **_COMMON,
        "safety_identifier": AnyValue(),
        "quality": Choice(("low", "medium", "high", "auto", *more_qualities)),
        "background": Choice(("transparent", "opaque", "auto")),
        "output_format": Choice(
            ("png", "webp", "jpeg", "gif", "svg") if previews else ("png", "webp", "jpeg")
        ),
        "output_compression": IntRange(0, 100),
        **(more or {}),
    }
    if previews:  # gif and svg outputs
        shared |= {
            "frame_count": IntRange(2, 16),
            "frame_duration_ms": IntRange(1, 655_350),
            "svg": AnyValue(),
        }
    edits = dict(shared)
    if input_fidelity:
        edits["input_fidelity"] = Choice(input_fidelity)
    if markup:
        edits["markup"] = AnyValue()
    size = SizeRule(names=_FIXED_SIZES)
    if any_size:
        size = SizeRule(
            names=_FIXED_SIZES,
            multiple_px=16,
            max_edge_px=3840,
            min_pixels=655_360,
            max_pixels=8_294_400,
            max_ratio=3.0,
        )
    return ModelFamily(
        name=name,
        source=_GPT_SOURCE,
        max_prompt_chars=32_000,
        size=size,
        params={"generations": {**shared, "moderation": Choice(("low", "auto"))}, "edits": edits},
        sends_response_format=False,
        image=_GPT_IMAGE,
        mask=MaskRule(),
        max_partial_images=3,
    )


_HIGH_AND_LOW = ("high", "low")
_MORE_QUALITIES = ("xhigh", "max")
_COMPLEXITY: dict[str, Rule] = {"complexity": Choice(("low", "medium", "high"))}

# The server decides about a GPT Image model that is newer than this table, all but response_format,
# which the whole line of models refuses.
_NEWER_GPT_IMAGE = ModelFamily(
    name="a GPT Image model that this version does not know",
    source=_GPT_SOURCE,
    sends_response_format=False,
)

UNKNOWN = ModelFamily(name="a model that this version does not know", source="the server decides")

# Name, or name with a suffix such as a date; the first that matches.
FAMILIES: tuple[tuple[str, ModelFamily], ...] = (
    (
        "gpt-image-2.6",
        _gpt_image(
            "GPT Image 2.6",
            any_size=True,
            more_qualities=_MORE_QUALITIES,
            previews=True,
            more=_COMPLEXITY,
            markup=True,
        ),
    ),
    (
        "gpt-image-2.5",
        _gpt_image(
            "GPT Image 2.5",
            any_size=True,
            more_qualities=_MORE_QUALITIES,
            previews=True,
            markup=True,
        ),
    ),
    ("gpt-image-2", _gpt_image("GPT Image 2", any_size=True, previews=True)),
    ("gpt-image-1.5", _gpt_image("GPT Image 1.5", input_fidelity=_HIGH_AND_LOW)),
    ("gpt-image-1-mini", _gpt_image("GPT Image 1 mini", input_fidelity=("low",))),
    ("gpt-image-1", _gpt_image("GPT Image 1", input_fidelity=_HIGH_AND_LOW)),
    ("chatgpt-image-latest", _gpt_image("ChatGPT Image", input_fidelity=_HIGH_AND_LOW)),
    ("gpt-image", _NEWER_GPT_IMAGE),
    ("dall-e-3", DALL_E_3),
    ("dall-e-2", CLASSIC),
)
