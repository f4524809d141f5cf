from __future__ import annotations

from typing import Any

import pytest

from imagesdk.emulator.refusals import Refusal
from imagesdk.emulator.spec import (
    MODELS,
    Endpoint,
    check_parameters,
    read_form,
    resolve_model,
)

GENERATION, EDIT, EDIT_JSON, VARIATION = Endpoint


def _check(
    model: str, endpoint: Endpoint, files: tuple[str, ...] = (), **params: Any
) -> tuple[str | None, str | None] | None:
    refusal = check_parameters(MODELS[model].rules[endpoint], params, files)
    if refusal is None:
        return None
    assert (refusal.status, refusal.type) == (400, "invalid_request_error")
    return refusal.param, refusal.code


@pytest.mark.parametrize(
    ("model", "maximum"), [("dall-e-2", 1000), ("dall-e-3", 4000), ("gpt-image-2", 32000)]
)
def test_prompt_lengths(model: str, maximum: int) -> None:
    """Each family takes prompts up to its own length, and not one character more."""
    assert _check(model, GENERATION, prompt="x" * maximum) is None
    too_long = _check(model, GENERATION, prompt="x" * (maximum + 1))
    assert too_long == ("prompt", "string_above_max_length")


@pytest.mark.parametrize(
    ("model", "params", "param", "code"),
    [
        ("dall-e-2", {"prompt": None}, "prompt", "missing_required_parameter"),
        ("dall-e-2", {"prompt": ""}, "prompt", "empty_string"),
        ("dall-e-2", {"prompt": 1}, "prompt", "invalid_type"),
        ("dall-e-2", {"n": 0}, "n", "integer_below_min_value"),
        ("dall-e-2", {"n": 11}, "n", "integer_above_max_value"),
        ("dall-e-2", {"n": True}, "n", "invalid_type"),
        ("dall-e-2", {"n": 1.0}, "n", "invalid_type"),
        ("dall-e-2", {"n": "1"}, "n", "invalid_type"),
        ("dall-e-2", {"size": "1536x1024"}, "size", "invalid_value"),
        ("dall-e-2", {"size": "auto"}, "size", "invalid_value"),
        ("dall-e-2", {"response_format": "base64"}, "response_format", "invalid_value"),
        ("dall-e-2", {"user": 7}, "user", "invalid_type"),
        ("dall-e-2", {"quality": "hd"}, "quality", "unknown_parameter"),
        ("dall-e-2", {"output_format": "png"}, "output_format", "unknown_parameter"),
        ("dall-e-2", {"stream": True}, "stream", "unknown_parameter"),
        ("dall-e-2", {"image": "x"}, "image", "unknown_parameter"),
        ("dall-e-3", {"n": 2}, "n", "integer_above_max_value"),
        ("dall-e-3", {"size": "256x256"}, "size", "invalid_value"),
        ("dall-e-3", {"quality": "high"}, "quality", "invalid_value"),
        ("dall-e-3", {"style": "loud"}, "style", "invalid_value"),
        ("gpt-image-1", {"response_format": "url"}, "response_format", "unknown_parameter"),
        ("gpt-image-1", {"style": "vivid"}, "style", "unknown_parameter"),
        ("gpt-image-1", {"size": "256x256"}, "size", "invalid_value"),
        ("gpt-image-1.5", {"size": "1536x864"}, "size", "invalid_value"),
        ("gpt-image-1", {"quality": "xhigh"}, "quality", "invalid_value"),
        ("gpt-image-2", {"quality": "standard"}, "quality", "invalid_value"),
        ("gpt-image-2", {"size": "100x100"}, "size", "invalid_value"),
        ("gpt-image-2", {"background": "white"}, "background", "invalid_value"),
        ("gpt-image-2", {"moderation": "high"}, "moderation", "invalid_value"),
        ("gpt-image-2", {"output_format": "gif"}, "output_format", "invalid_value"),
        ("gpt-image-2", {"output_format": "svg"}, "output_format", "invalid_value"),
        ("gpt-image-2", {"output_compression": 50}, "output_compression", "invalid_value"),
        ("gpt-image-2", {"frame_count": 1}, "frame_count", "integer_below_min_value"),
        ("gpt-image-2", {"frame_count": 9}, "frame_count", "invalid_value"),
        ("gpt-image-2", {"frame_duration_ms": 20}, "frame_duration_ms", "invalid_value"),
        ("gpt-image-2", {"svg": "x"}, "svg", "invalid_type"),
        ("gpt-image-2", {"svg": {"model": "x"}}, "svg", "invalid_value"),
        ("gpt-image-2", {"partial_images": 4}, "partial_images", "integer_above_max_value"),
        ("gpt-image-2", {"partial_images": 1}, "partial_images", "invalid_value"),
        ("gpt-image-2", {"stream": "yes"}, "stream", "invalid_type"),
        ("gpt-image-2", {"stream": True, "n": 2}, "n", "invalid_value"),
        ("gpt-image-2", {"stream": False, "partial_images": 1}, "partial_images", "invalid_value"),
        ("gpt-image-2", {"complexity": "low"}, "complexity", "unknown_parameter"),
        ("gpt-image-2.6-flare", {"complexity": "most"}, "complexity", "invalid_value"),
        ("gpt-image-2", {"input_fidelity": "high"}, "input_fidelity", "unknown_parameter"),
        ("gpt-image-2", {"seed": 1}, "seed", "unknown_parameter"),
    ],
)
def test_generation_refuses(model: str, params: dict[str, Any], param: str, code: str) -> None:
    """What the contract of the family does not allow is refused by name."""
    assert _check(model, GENERATION, **{"prompt": "a cat", **params}) == (param, code)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("dall-e-2", {"n": 1, "size": "256x256", "response_format": "url", "user": "u"}),
        ("dall-e-2", {"n": 10, "size": None, "user": None}),
        ("dall-e-3", {"n": 1, "size": "1792x1024", "quality": "hd", "style": "natural"}),
        ("gpt-image-1", {"size": "auto", "quality": "auto", "background": "auto"}),
        ("gpt-image-2", {"size": "1536x864", "moderation": "low", "safety_identifier": "u"}),
        ("gpt-image-2", {"output_format": "webp", "output_compression": 0}),
        ("gpt-image-2", {"output_format": "jpeg", "output_compression": 100}),
        ("gpt-image-2", {"background": "transparent", "output_format": "webp"}),
        ("gpt-image-2", {"background": "transparent", "stream": False}),
        ("gpt-image-2", {"stream": True}),
        ("gpt-image-1-mini", {"stream": True, "partial_images": 0, "n": 1}),
        ("gpt-image-2.6-flare", {"stream": True, "partial_images": 3, "n": None}),
        ("gpt-image-2.5-flare", {"quality": "max"}),
        ("gpt-image-2.6-sunburst", {"complexity": "high", "size": "2048x1152"}),
    ],
)
def test_generation_accepts(model: str, params: dict[str, Any]) -> None:
    """What the contract allows is accepted, and null is the same as not given."""
    assert _check(model, GENERATION, prompt="a cat", **params) is None


def test_transparency_needs_a_format_that_has_it() -> None:
    """A transparent JPEG is refused, and the background is at fault."""
    refused = _check(
        "gpt-image-2", GENERATION, prompt="a", background="transparent", output_format="jpeg"
    )
    assert refused == ("background", "invalid_value")


@pytest.mark.parametrize(
    ("model", "files", "params", "expected"),
    [
        ("dall-e-2", ("image",), {}, None),
        ("dall-e-2", ("image", "mask"), {}, None),
        ("dall-e-2", (), {}, ("image", "missing_required_parameter")),
        ("dall-e-2", ("mask",), {}, ("image", "missing_required_parameter")),
        ("dall-e-2", (), {"image": "text"}, ("image", "invalid_type")),
        ("dall-e-2", ("image[]",), {}, ("image", "invalid_type")),
        ("dall-e-2", ("image", "other"), {}, ("other", "unknown_parameter")),
        ("gpt-image-2", ("image",), {}, None),
        ("gpt-image-2", ("image[]",) * 16, {}, None),
        ("gpt-image-2", ("image[]",) * 17, {}, ("image", "array_above_max_length")),
        ("gpt-image-2", ("image", "image"), {}, ("image", "duplicate_parameter")),
        ("gpt-image-2", ("image", "image[]"), {}, ("image", "duplicate_parameter")),
        ("gpt-image-2", ("image", "mask[]"), {}, ("mask", "invalid_type")),
        ("gpt-image-2", ("image", "size"), {}, ("size", "invalid_type")),
        ("gpt-image-2", ("image",), {"moderation": "low"}, ("moderation", "unknown_parameter")),
        ("gpt-image-2", ("image", "markup"), {}, ("markup", "unknown_parameter")),
        ("gpt-image-2.5-flare", ("image", "markup"), {}, None),
        ("gpt-image-2.5-flare", ("image", "markup", "mask"), {}, ("markup", "invalid_value")),
        ("gpt-image-1.5", ("image",), {"input_fidelity": "high"}, None),
        (
            "gpt-image-1-mini",
            ("image",),
            {"input_fidelity": "high"},
            ("input_fidelity", "invalid_value"),
        ),
        (
            "gpt-image-2",
            ("image",),
            {"input_fidelity": "low"},
            ("input_fidelity", "unknown_parameter"),
        ),
    ],
)
def test_edit(
    model: str,
    files: tuple[str, ...],
    params: dict[str, Any],
    expected: tuple[str, str] | None,
) -> None:
    """Edits take the files and parameters of their family and refuse others by name."""
    assert _check(model, EDIT, files, prompt="a cat", **params) == expected


def test_variation() -> None:
    """A variation takes an image and no prompt."""
    assert _check("dall-e-2", VARIATION, ("image",), n=2) is None
    refused = _check("dall-e-2", VARIATION, ("image",), prompt="a cat")
    assert refused == ("prompt", "unknown_parameter")


def test_json_edit() -> None:
    """A JSON edit takes references to images, and moderation."""
    assert _check("gpt-image-2", EDIT_JSON, prompt="a", images=[{}], moderation="low") is None
    assert _check("gpt-image-2", EDIT_JSON, prompt="a") == ("images", "missing_required_parameter")


@pytest.mark.parametrize(
    ("endpoint", "model", "resolved"),
    [
        (GENERATION, None, "dall-e-2"),
        (EDIT_JSON, None, "gpt-image-1.5"),
        (EDIT, "gpt-image-2", "gpt-image-2"),
    ],
)
def test_models(endpoint: Endpoint, model: str | None, resolved: str) -> None:
    """No model means the classic API, or the default of JSON edits."""
    assert resolve_model(endpoint, model) == resolved


@pytest.mark.parametrize(
    ("endpoint", "model", "status", "code"),
    [
        (GENERATION, "gpt-image-9", 404, "model_not_found"),
        (GENERATION, 7, 400, "invalid_type"),
        (VARIATION, "gpt-image-2", 400, "invalid_value"),
        (VARIATION, "dall-e-3", 400, "invalid_value"),
        (EDIT, "dall-e-3", 400, "invalid_value"),
        (EDIT_JSON, "dall-e-2", 400, "invalid_value"),
    ],
)
def test_models_refused(endpoint: Endpoint, model: object, status: int, code: str) -> None:
    """A model that does not exist, or not for this endpoint, is refused."""
    refusal = resolve_model(endpoint, model)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.param) == (status, code, "model")


def test_read_form() -> None:
    """Form fields become values by their rule, and brackets become members."""
    rules = MODELS["gpt-image-2"].rules[EDIT]
    fields = [
        ("n", "2"),
        ("stream", "false"),
        ("prompt", "3"),
        ("seed", "4"),
        ("svg[model]", "m"),
        ("svg[reasoning][effort]", "low"),
    ]
    assert read_form(rules, fields) == {
        "n": 2,
        "stream": False,
        "prompt": "3",
        "seed": "4",
        "svg": {"model": "m", "reasoning": {"effort": "low"}},
    }


def test_read_form_survives_contradictions() -> None:
    """A field that is both a text and an object stays a text."""
    rules = MODELS["gpt-image-2"].rules[EDIT]
    assert read_form(rules, [("svg", "x"), ("svg[model]", "m")]) == {"svg": "x"}
