"""The contract as data: which model takes which parameter, and what is refused and why.

Pure: values in, a refusal or None out. Sources: shared/seeds (the classic API) and
shared/reference/images-api.md sections 3.1 to 3.3 (today's API), both read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

import attrs

from imagesdk.emulator.refusals import (
    Refusal,
    array_too_long,
    duplicate_parameter,
    invalid_type,
    invalid_value,
    missing_parameter,
    model_not_found,
    unknown_parameter,
    unsupported_value,
)
from imagesdk.emulator.rules import Choice, Flag, Integer, Opaque, Rule, Size, Text, Upload

__all__ = (
    "DEFAULT_MODELS",
    "MODELS",
    "REQUIRED",
    "Endpoint",
    "Family",
    "UploadLimits",
    "check_parameters",
    "read_form",
    "resolve_model",
)

_MB = 1024 * 1024


class Endpoint(Enum):
    """A route together with the kind of body it got, because the two decide what it takes."""

    GENERATION = "/v1/images/generations"
    EDIT = "/v1/images/edits"
    EDIT_JSON = "/v1/images/edits (JSON)"
    VARIATION = "/v1/images/variations"


@attrs.frozen(kw_only=True)
class UploadLimits:
    """What pictures a family accepts. Byte limits are exclusive ("less than 4MB").

    Attributes:
        formats: Accepted formats, by the bytes.
        max_bytes: One picture must be smaller than this.
        max_images: Pictures in one request.
        square: Whether the picture must be square.
        mimetypes: Accepted declared types, or None if the declaration does not matter.
    """

    formats: tuple[str, ...]
    max_bytes: int
    max_images: int
    square: bool
    mimetypes: tuple[str, ...] | None


@attrs.frozen(kw_only=True)
class Family:
    """Models with one and the same contract.

    Attributes:
        rules: For each endpoint that the family serves: parameter name to rule.
        uploads: What pictures it accepts.
        default_size: Size when none is given.
        is_gpt: Whether it is a GPT Image family: always base64, with usage.
    """

    rules: Mapping[Endpoint, Mapping[str, Rule]]
    uploads: UploadLimits
    default_size: str
    is_gpt: bool


# The classic contract, from shared/seeds/images-api-reference.txt

_CLASSIC_COMMON: dict[str, Rule] = {
    "model": Text(),
    "n": Integer(1, 10),
    "size": Size(("256x256", "512x512", "1024x1024")),
    "response_format": Choice(("url", "b64_json")),
    "user": Text(),
}
_CLASSIC_PROMPT = Text(1, 1000)
_CLASSIC_UPLOADS = UploadLimits(
    formats=("png",), max_bytes=4 * _MB, max_images=1, square=True, mimetypes=None
)
_CLASSIC = Family(
    rules=MappingProxyType(
        {
            Endpoint.GENERATION: {**_CLASSIC_COMMON, "prompt": _CLASSIC_PROMPT},
            Endpoint.EDIT: {
                **_CLASSIC_COMMON,
                "prompt": _CLASSIC_PROMPT,
                "image": Upload(),
                "mask": Upload(),
            },
            Endpoint.VARIATION: {**_CLASSIC_COMMON, "image": Upload()},
        }
    ),
    uploads=_CLASSIC_UPLOADS,
    default_size="1024x1024",
    is_gpt=False,
)

# dall-e-3: images-api.md section 3.1 "Classic contract", and the legacy notes of section 3.2

_DALLE3 = Family(
    rules=MappingProxyType(
        {
            Endpoint.GENERATION: {
                **_CLASSIC_COMMON,
                "prompt": Text(1, 4000),
                "n": Integer(1, 1),
                "size": Size(("1024x1024", "1792x1024", "1024x1792")),
                "quality": Choice(("standard", "hd")),
                "style": Choice(("vivid", "natural")),
            }
        }
    ),
    uploads=_CLASSIC_UPLOADS,
    default_size="1024x1024",
    is_gpt=False,
)

# GPT Image: images-api.md sections 3.2 and 3.3

_GPT_SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
_GPT_QUALITIES = ("low", "medium", "high", "auto")
_GPT_FORMATS = ("png", "jpeg", "webp")
_GPT_UPLOADS = UploadLimits(
    formats=_GPT_FORMATS,
    max_bytes=50 * _MB,
    max_images=16,
    square=False,
    mimetypes=("image/jpeg", "image/png", "image/webp"),
)


def _gpt(
    *,
    free_size: bool = False,
    qualities: tuple[str, ...] = _GPT_QUALITIES,
    fidelities: tuple[str, ...] = (),
    markup: bool = False,
    complexity: bool = False,
) -> Family:
    """Return a GPT Image family; the arguments are what differs between them."""
    common: dict[str, Rule] = {
        "model": Text(),
        "prompt": Text(1, 32_000),
        "n": Integer(1, 10),
        "size": Size(_GPT_SIZES, free=free_size),
        "quality": Choice(qualities),
        "background": Choice(("transparent", "opaque", "auto")),
        "output_format": Choice(_GPT_FORMATS),
        "output_compression": Integer(0, 100),
        "stream": Flag(),
        "partial_images": Integer(0, 3),
        "user": Text(),
        "safety_identifier": Text(),
    }
    moderation: dict[str, Rule] = {"moderation": Choice(("low", "auto"))}
    vector: dict[str, Rule] = {
        "frame_count": Integer(2, 16),
        "frame_duration_ms": Integer(0),
        "svg": Opaque(dict),
        **({"complexity": Choice(("low", "medium", "high"))} if complexity else {}),
    }
    fidelity: dict[str, Rule] = {"input_fidelity": Choice(fidelities)} if fidelities else {}
    edit: dict[str, Rule] = {
        **common,
        **vector,
        **fidelity,
        "image": Upload(several=True),
        "mask": Upload(),
        **({"markup": Upload()} if markup else {}),
    }
    edit_json: dict[str, Rule] = {
        **common,
        **moderation,
        **fidelity,
        "images": Opaque(list),
        "mask": Opaque(dict),
    }
    return Family(
        rules=MappingProxyType(
            {
                Endpoint.GENERATION: {**common, **moderation, **vector},
                Endpoint.EDIT: edit,
                Endpoint.EDIT_JSON: edit_json,
            }
        ),
        uploads=_GPT_UPLOADS,
        default_size="auto",
        is_gpt=True,
    )


_GPT_1 = _gpt(fidelities=("high", "low"))
_GPT_1_MINI = _gpt(fidelities=("low",))
_GPT_2 = _gpt(free_size=True)
_GPT_2_5 = _gpt(free_size=True, qualities=(*_GPT_QUALITIES, "xhigh", "max"), markup=True)
_GPT_2_6 = _gpt(free_size=True, complexity=True)

# openai-python 3.52, types/image_model.py (read 2026-11-21). Retired models stay: compatible
# servers still serve them.
MODELS: Mapping[str, Family] = MappingProxyType(
    {
        "chatgpt-image-latest": _GPT_1,
        "dall-e-2": _CLASSIC,
        "dall-e-3": _DALLE3,
        "gpt-image-1": _GPT_1,
        "gpt-image-1-mini": _GPT_1_MINI,
        "gpt-image-1.5": _GPT_1,
        "gpt-image-2": _GPT_2,
        "gpt-image-2-2026-04-21": _GPT_2,
        "gpt-image-2.5-flare": _GPT_2_5,
        "gpt-image-2.5-flare-2026-09-08": _GPT_2_5,
        "gpt-image-2.5-sunburst": _GPT_2_5,
        "gpt-image-2.5-sunburst-2026-09-08": _GPT_2_5,
        "gpt-image-2.6-flare": _GPT_2_6,
        "gpt-image-2.6-sunburst": _GPT_2_6,
    }
)
# images-api.md section 3.3: the schema of JSON edits has this default
DEFAULT_MODELS = {
    **dict.fromkeys(Endpoint, "dall-e-2"),
    Endpoint.EDIT_JSON: "gpt-image-1.5",
}
REQUIRED = ("image", "images", "prompt")
"""Parameters that must be given where they are known."""


def resolve_model(endpoint: Endpoint, model: object) -> str | Refusal:
    """Return the model that serves the request, or refuse the one that was asked for."""
    if model is None:
        return DEFAULT_MODELS[endpoint]
    if not isinstance(model, str):
        return invalid_type("model", "a string", model)
    family = MODELS.get(model)
    if family is None:
        return model_not_found(model)
    if endpoint not in family.rules:
        serving = (name for name, other in MODELS.items() if endpoint in other.rules)
        return unsupported_value("model", model, serving)
    return model


def read_form(rules: Mapping[str, Rule], fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn the text fields of a form into values: "2" into 2 where an integer is due.

    ``svg[model]`` becomes the member ``model`` of the object ``svg``.
    """
    values: dict[str, Any] = {}
    for name, text in fields:
        base, *members = name.replace("]", "").split("[")
        if not members:
            values[name] = rules[name].from_text(text) if name in rules else text
            continue
        inner = values
        for key in (base, *members[:-1]):
            inner = inner.setdefault(key, {}) if isinstance(inner.get(key, {}), dict) else {}
        inner[members[-1]] = text
    return values


def check_parameters(
    rules: Mapping[str, Rule], params: Mapping[str, Any], file_fields: Sequence[str]
) -> Refusal | None:
    """Refuse a request for its parameters, or return None.

    Args:
        rules: What the family takes at the endpoint.
        params: Values by name; None is the same as not given.
        file_fields: Field names of the uploaded files, such as ``image`` or ``image[]``.
    """
    given = {name: value for name, value in params.items() if value is not None}
    return (
        _check_names(rules, given, file_fields)
        or _check_files(rules, file_fields)
        or _check_values(rules, given)
        or _check_together(given, {_base(field) for field in file_fields})
    )


def _base(field: str) -> str:
    """Return the parameter that a field belongs to: ``image[]`` is ``image``."""
    return field.removesuffix("[]")


def _check_names(
    rules: Mapping[str, Rule], given: Mapping[str, Any], file_fields: Sequence[str]
) -> Refusal | None:
    """Refuse unknown parameters, then missing ones."""
    names = (*given, *map(_base, file_fields))
    for name in names:
        if name not in rules:
            return unknown_parameter(name)
    for required in REQUIRED:
        if required in rules and required not in names:
            return missing_parameter(required)
    return None


def _check_files(rules: Mapping[str, Rule], file_fields: Sequence[str]) -> Refusal | None:
    """Refuse files where none belong, and more files than belong there."""
    for field in file_fields:
        name = _base(field)
        rule = rules[name]
        if not isinstance(rule, Upload):
            return invalid_type(name, "a string", object())
        if field != name and not rule.several:
            return invalid_type(name, "a file", [])
        if field == name and sum(_base(other) == name for other in file_fields) > 1:
            return duplicate_parameter(name)
    count = sum(_base(field) == "image" for field in file_fields)
    maximum = _GPT_UPLOADS.max_images
    return array_too_long("image", maximum, count) if count > maximum else None


def _check_values(rules: Mapping[str, Rule], given: Mapping[str, Any]) -> Refusal | None:
    """Refuse the first value that breaks the rule of its parameter."""
    checks = (rules[name].check(name, value) for name, value in given.items())
    return next((refusal for refusal in checks if refusal is not None), None)


def _check_together(given: Mapping[str, Any], files: set[str]) -> Refusal | None:
    """Refuse values that are right alone and wrong together (sections 3.2 and 3.3)."""
    output_format = given.get("output_format", "png")
    streams = given.get("stream", False)
    # parameter at fault, whether it is, message
    conflicts = (
        (
            "output_compression",
            "output_compression" in given and output_format not in {"jpeg", "webp"},
            f"Compression is not supported for output format '{output_format}'.",
        ),
        (
            "background",
            given.get("background") == "transparent" and output_format not in {"png", "webp"},
            f"Transparent background is not supported for output format '{output_format}'.",
        ),
        ("frame_count", "frame_count" in given, "frame_count requires output_format=gif."),
        (
            "frame_duration_ms",
            "frame_duration_ms" in given,
            "frame_duration_ms requires output_format=gif.",
        ),
        ("svg", "svg" in given, "svg requires output_format=svg."),
        (
            "partial_images",
            "partial_images" in given and not streams,
            "partial_images requires stream=true.",
        ),
        ("markup", {"markup", "mask"} <= files, "markup cannot be combined with mask."),
        # theopenco/llmgateway#3963, read 2026-11-21
        ("n", streams and given.get("n", 1) != 1, "Streaming is only supported with n=1."),
    )
    found = ((param, message) for param, at_fault, message in conflicts if at_fault)
    return next((invalid_value(param, message) for param, message in found), None)
