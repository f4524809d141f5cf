"""The parameters of the session beside those of the official client: drift is seen here.

The official client's types are generated from OpenAI's API description, so a parameter or a value that is
new there is one that users will ask for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types import (
    ImageModel,
    image_create_variation_params,
    image_edit_params,
    image_generate_params,
)

from imagesdk import ImageSession
from imagesdk.models import choices

OFFICIAL: dict[str, Any] = {
    "generate": image_generate_params.ImageGenerateParamsBase,
    "edit": image_edit_params.ImageEditParamsBase,
    "create_variation": image_create_variation_params.ImageCreateVariationParams,
    "stream_generate": image_generate_params.ImageGenerateParamsStreaming,
    "stream_edit": image_edit_params.ImageEditParamsStreaming,
}
OURS = {
    "extra_body",
    "extra_headers",
    "max_wait",
    "partial",
    "priority",
    "save_to",
    "timeout",
}
"""What is not in the body, or goes into it as it is."""
ELSEWHERE = {
    "generate": {"partial_images"},  # of streams
    "edit": {"partial_images"},
    "create_variation": set[str](),
    # A stream is one image of a GPT Image model, in a format that can be streamed.
    "stream_generate": {"stream", "n", "style", "response_format", "svg", "frame_count"}
    | {"frame_duration_ms"},
    "stream_edit": {"stream", "n", "response_format", "svg", "frame_count", "frame_duration_ms"},
}
ALIASES = {
    "background": choices.Background,
    "complexity": choices.Complexity,
    "input_fidelity": choices.InputFidelity,
    "moderation": choices.Moderation,
    "output_format": choices.OutputFormat,
    "quality": choices.Quality,
    "response_format": choices.ResponseFormat,
    "size": choices.Size,
    "style": choices.Style,
}


def literals(hint: object) -> Iterator[str]:
    """Yield the literal values anywhere in a type."""
    for part in get_args(hint):
        if get_origin(hint) is Literal:
            yield part
        else:
            yield from literals(part)


@pytest.mark.parametrize("method", OFFICIAL)
def test_parameters_are_named_as_in_the_official_client(method: str) -> None:
    """A call takes every parameter of the official one, by the same name, and only few of its own."""
    ours = {*inspect.signature(getattr(ImageSession, method)).parameters} - {"self"}
    theirs = {*get_type_hints(OFFICIAL[method])}
    assert ours - OURS == theirs - ELSEWHERE[method]
    assert ELSEWHERE[method] <= theirs
    assert ours & OURS


@pytest.mark.parametrize("method", OFFICIAL)
def test_values_of_the_official_client_are_known(method: str) -> None:
    """Each value that the official client names for a parameter is one that our editors offer, too."""
    theirs = get_type_hints(OFFICIAL[method])
    for field, alias in ALIASES.items():
        if field in theirs and field not in ELSEWHERE[method]:
            assert {*literals(theirs[field])} <= {*literals(alias)}, field


def test_models_of_the_official_client_are_known() -> None:
    """Each model that the official client names is one that we know rules for."""
    assert {*literals(ImageModel)} <= {*literals(choices.Model)}
