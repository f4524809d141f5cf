"""Check a request against its model family: pure, complete, before any I/O.

`check` returns every rule that is broken, not only the first; what to do about it (raise, warn,
ignore) is the client's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from imagesdk.models.families import (
    Choice,
    ImageRule,
    IntRange,
    MaskRule,
    ModelFamily,
    Rule,
    SizeRule,
)
from imagesdk.models.requests import (
    Endpoint,
    ImageInfo,
    ImageRequest,
    InputInfos,
    StreamOptions,
    VariationRequest,
    body_fields,
)

__all__ = (
    "MOST_IMAGES",
    "Problem",
    "check",
    "check_inputs",
    "check_prompt",
    "check_stream",
    "check_total",
    "problem",
)

MOST_IMAGES = 100_000
"""Images that one call may ask for, in as many requests as that takes: all of its answers are one result."""
_SIZE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_IMAGE_FIELDS = ("image", "mask", "markup")
_WHY_ALPHA = {
    "mask": "its fully transparent area says where to edit",
    "markup": "where nothing is drawn it is transparent",
}


@attrs.frozen(kw_only=True)
class Problem:
    """One broken rule.

    Attributes:
        field: Name of the argument.
        value: What was given, or a measure of it.
        limit: What is allowed.
        message: What was wrong, the value, the limit and the next step.
    """

    field: str
    value: object
    limit: object
    message: str

    @property
    def is_about_an_image(self) -> bool:
        """True if the field is an image input."""
        return self.field.partition("[")[0] in _IMAGE_FIELDS


def check_total(n: object) -> list[Problem]:
    """Check a total number of images, before it is split: a whole number from 1 to `MOST_IMAGES`."""
    if n is None or (_is_int(n) and 1 <= n <= MOST_IMAGES):  # type: ignore[operator]
        return []
    allowed = f"a whole number from 1 to {MOST_IMAGES:,}"
    return [problem("n", n, allowed, "for more, use map() or a batch")]


def check_prompt(request: ImageRequest, family: ModelFamily) -> list[Problem]:
    """Return what is wrong with the prompt: all that is new in a request like one that broke no rule."""
    found = None if isinstance(request, VariationRequest) else _check_prompt(request.prompt, family)
    return [] if found is None else [found]


def check(request: ImageRequest, family: ModelFamily, inputs: InputInfos) -> list[Problem]:
    """Return the rules that *request* breaks, in the order of its fields; empty if it may be sent.

    Args:
        request: The request, its n already split to what one request may carry.
        family: Limits of the model; what they leave open is the server's to decide.
        inputs: Headers of the image inputs that the request names.
    """
    problems = _check_fields(request, family)
    if inputs.images:
        problems += check_inputs(request, family, inputs)
    return problems


def _check_fields(request: ImageRequest, family: ModelFamily) -> list[Problem]:
    fields = body_fields(request)
    found: list[Problem | None] = []
    if not isinstance(fields.get("model", ""), str):
        found.append(problem("model", request.model, "a string", "the name of a model, or None"))
    found += check_prompt(request, family)
    fields.pop("prompt", None)
    if family.params is not None and request.endpoint not in family.params:
        allowed = f"a model that serves {request.endpoint}"
        advice = f"{family.name} has no {request.endpoint}; {_instead(request.endpoint)}"
        found.append(problem("model", request.model, allowed, advice))
        return [one for one in found if one is not None]
    n = fields.pop("n", None)
    if n is not None:
        found.append(_check_n(n, family))
    size = fields.pop("size", None)
    if size is not None and family.size is not None:
        found.append(_check_size(size, family.size, family))
    if family.params is not None:
        rules = family.params[request.endpoint]
        found += [_check_param(name, fields[name], rules.get(name), family) for name in fields]
    if not family.sends_response_format:
        found += _check_gpt_image(fields, n, family)
    return [one for one in found if one is not None]


def _instead(endpoint: Endpoint) -> str:
    if endpoint == "variations":
        return "use edit() with a prompt that describes the variation you want"
    return "choose a GPT Image model"


def _check_prompt(prompt: object, family: ModelFamily) -> Problem | None:
    longest = family.max_prompt_chars
    if not isinstance(prompt, str):
        return problem("prompt", prompt, "a string", "pass the description as str")
    if not prompt.isascii() and _SURROGATE.search(prompt):
        advice = "half of a surrogate pair cannot be sent; decode your text as UTF-8"
        return problem("prompt", prompt, "whole characters", advice)
    if prompt.strip() and (longest is None or len(prompt) <= longest):
        return None
    allowed = f"1 to {longest:,} characters" if longest else "at least 1 character"
    if not prompt.strip():
        return problem("prompt", prompt, allowed, "describe the picture that you want")
    return Problem(
        field="prompt",
        value=len(prompt),
        limit=longest,
        message=f"prompt has {len(prompt):,} characters; {family.name} takes {allowed}: shorten it",
    )


def _check_n(n: object, family: ModelFamily) -> Problem | None:
    if _is_int(n) and 1 <= n <= family.max_n:  # type: ignore[operator]
        return None
    allowed = f"a whole number from 1 to {family.max_n}"
    return problem("n", n, allowed, f"the limit of {family.name}")


def _check_size(size: object, rule: SizeRule, family: ModelFamily) -> Problem | None:
    if size in rule.names:
        return None
    if rule.multiple_px is None:
        return problem("size", size, rule.names, f"the sizes of {family.name}")
    names = ", ".join(rule.names)
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        return problem("size", size, f"{names} or WIDTHxHEIGHT", f"the sizes of {family.name}")
    reason = _size_reason(int(match[1]), int(match[2]), rule)
    return problem("size", size, reason, f"a bound of {family.name}") if reason else None


def _size_reason(width: int, height: int, rule: SizeRule) -> str | None:
    """Return the bound that a free size breaks, None if it breaks none."""
    step = rule.multiple_px or 1
    longest, shortest = max(width, height), min(width, height)
    if width % step or height % step:
        near = _nearest(width, step), _nearest(height, step)
        hint = f" (the nearest is {near[0]}x{near[1]})" if not _size_reason(*near, rule) else ""
        return f"width and height divisible by {step}{hint}"
    if longest > rule.max_edge_px:
        return f"edges of at most {rule.max_edge_px} pixels"
    if longest > rule.max_ratio * shortest:
        return f"a ratio between 1:{rule.max_ratio:g} and {rule.max_ratio:g}:1"
    if not rule.min_pixels <= width * height <= rule.max_pixels:
        return f"{rule.min_pixels:,} to {rule.max_pixels:,} pixels (this is {width * height:,})"
    return None


def _nearest(value: int, step: int) -> int:
    return max(step, math.floor(value / step + 0.5) * step)


def _check_param(
    name: str, value: object, rule: Rule | None, family: ModelFamily
) -> Problem | None:
    match rule:
        case None if name == "response_format" and not family.sends_response_format:
            if value not in ("url", "b64_json"):
                return problem(name, value, "b64_json", f"the only format of {family.name}")
        case None:
            advice = f"{family.name} does not take it; if your server does, pass it in extra_body"
            return problem(name, value, "left out", advice)
        case Choice(values):
            if value not in values:
                return problem(name, value, values, f"the choices of {family.name}")
        case IntRange(low, high):
            if not _is_int(value) or not low <= value <= high:  # type: ignore[operator]
                return problem(name, value, f"{low} to {high}", f"the range of {family.name}")
        case _:  # AnyValue
            pass
    return None


def _check_gpt_image(
    fields: Mapping[str, Any], n: object, family: ModelFamily
) -> Iterator[Problem]:
    if fields.get("response_format") == "url":
        yield problem(
            "response_format",
            "url",
            "b64_json",
            f"{family.name} sends no URLs; leave response_format out and use image.save() or read()",
        )
    if family.params is not None:
        yield from _check_combinations(fields, n)


def _check_combinations(fields: Mapping[str, Any], n: object) -> Iterator[Problem]:
    """Rules between fields; they are GPT Image's and hold where the family knows the fields.

    https://platform.openai.com/docs/guides/image-generation (read 2026-11-20)
    """
    output = fields.get("output_format", "png")
    if fields.get("background") == "transparent" and output not in ("png", "webp"):
        yield problem(
            "background", "transparent", "with output_format png or webp", f"not {output}"
        )
    if "output_compression" in fields and output not in ("webp", "jpeg"):
        yield problem(
            "output_compression",
            fields["output_compression"],
            "with output_format webp or jpeg",
            f"{output} is not compressed with loss; leave it out or change output_format",
        )
    for name in ("frame_count", "frame_duration_ms"):
        if name in fields and output != "gif":
            yield problem(name, fields[name], "with output_format gif", f"not {output}")
    if ("svg" in fields) != (output == "svg"):
        yield problem("svg", fields.get("svg"), "both svg= and output_format='svg'", "or neither")
    elif output == "svg" and not (isinstance(fields["svg"], Mapping) and "model" in fields["svg"]):
        yield problem("svg", fields["svg"], "{'model': …}", "svg output needs its model")
    if output == "svg" and n not in (None, 1):
        yield problem("n", n, 1, "svg output makes one image a request")


def check_stream(
    request: ImageRequest, stream: StreamOptions, family: ModelFamily
) -> list[Problem]:
    """Return the rules that a streamed answer to *request* would break.

    https://platform.openai.com/docs/guides/image-generation (read 2026-11-20)
    """
    return list(_check_stream(request, stream, family))


def _check_stream(
    request: ImageRequest, stream: StreamOptions, family: ModelFamily
) -> Iterator[Problem]:
    if not family.streams:
        yield problem(
            "model",
            request.model,
            "a model that streams",
            f"{family.name} does not; choose a GPT Image model, or call generate() or edit()",
        )
    wanted, most = stream.partial_images, family.max_partial_images
    if wanted is not None and (not _is_int(wanted) or not 0 <= wanted <= (most or wanted)):
        allowed = "a whole number from 0 up" if most is None else f"a whole number from 0 to {most}"
        yield problem("partial_images", wanted, allowed, "each partial image is billed")
    output = body_fields(request).get("output_format")
    if output in ("gif", "svg"):
        yield problem("output_format", output, ("png", "webp", "jpeg"), f"{output} is not streamed")


def check_inputs(request: ImageRequest, family: ModelFamily, inputs: InputInfos) -> list[Problem]:
    """Return the rules that the image inputs break."""
    return list(_check_inputs(request, family, inputs))


def _check_inputs(
    request: ImageRequest, family: ModelFamily, inputs: InputInfos
) -> Iterator[Problem]:
    rule = family.image
    if rule is None or not inputs.images:
        return
    if len(inputs.images) > rule.max_count:
        yield problem(
            "image",
            len(inputs.images),
            f"at most {rule.max_count} image{'s' if rule.max_count > 1 else ''}",
            f"a limit of {family.name}",
            shown=f"a list of {len(inputs.images)}",
        )
    for index, info in enumerate(inputs.images):
        name = "image" if len(inputs.images) == 1 else f"image[{index}]"
        yield from _check_image(name, info, rule, family)
    first = inputs.images[0]
    if inputs.mask is not None and body_fields(request).get("output_format") == "gif":
        yield problem("mask", "given", "left out for gif output", "or change output_format")
    if inputs.mask is not None and family.mask is not None:
        yield from _check_overlay("mask", inputs.mask, first, family.mask)
    if inputs.markup is not None:
        yield from _check_markup(inputs, first, family)
    if (
        request.endpoint == "edits"
        and rule.alpha_without_mask
        and inputs.mask is None
        and not first.has_alpha
    ):
        opaque, needs = "an opaque image", "transparency of its own, or a mask"
        yield Problem(
            field="image",
            value=opaque,
            limit=needs,
            message=f"image is {opaque}; it needs {needs}, whose transparent area says where to edit: "
            "pass mask=, or an image with an alpha channel",
        )


def _check_image(
    name: str, info: ImageInfo, rule: ImageRule, family: ModelFamily
) -> Iterator[Problem]:
    if info.format not in rule.formats:
        yield problem(name, info.format, rule.formats, f"the formats of {family.name}; convert it")
    if info.size_bytes >= rule.below_bytes:
        yield _size_problem(name, info, rule.below_bytes)
    if rule.square and info.width != info.height:
        yield problem(
            name,
            f"{info.width}x{info.height}",
            "a square",
            "crop or pad it to equal width and height; imagesdk.prepare.square_png does",
        )


def _check_overlay(
    name: str, info: ImageInfo, first: ImageInfo, rule: MaskRule | None
) -> Iterator[Problem]:
    if info.format != "png":
        yield problem(name, info.format, "png", "save it as PNG with an alpha channel")
    if rule is not None and info.size_bytes >= rule.below_bytes:
        yield _size_problem(name, info, rule.below_bytes)
    if (info.width, info.height) != (first.width, first.height):
        yield problem(
            name,
            f"{info.width}x{info.height}",
            f"{first.width}x{first.height}, as the image",
            "resize it to the image",
        )
    if not info.has_alpha:
        has, needs = "no alpha channel", "transparency (RGBA)"
        yield Problem(
            field=name,
            value=has,
            limit=needs,
            message=f"{name} has {has}; save it with {needs}: {_WHY_ALPHA[name]}",
        )


def _check_markup(inputs: InputInfos, first: ImageInfo, family: ModelFamily) -> Iterator[Problem]:
    if family.params is not None and "markup" not in family.params.get("edits", {}):
        yield problem("markup", "given", "left out", f"{family.name} does not take it")
        return
    if inputs.mask is not None:
        yield problem("markup", "given with mask", "either markup or mask", "leave one out")
    markup = inputs.markup
    if markup is not None and family.mask is not None:
        turned = first
        if first.format == "jpeg" and (markup.width, markup.height) == (first.height, first.width):
            # The server compares after EXIF orientation, which may turn a photo by 90 degrees.
            turned = attrs.evolve(first, width=first.height, height=first.width)
        yield from _check_overlay("markup", markup, turned, None)


def _size_problem(name: str, info: ImageInfo, below_bytes: int) -> Problem:
    return Problem(
        field=name,
        value=info.size_bytes,
        limit=below_bytes,
        message=(
            f"{name} has {info.size_bytes:,} bytes; it must be smaller than {below_bytes:,} bytes: "
            "make it smaller; imagesdk.prepare.resize has below_bytes="
        ),
    )


def problem(
    field: str, value: object, limit: object, advice: str, *, shown: str | None = None
) -> Problem:
    """Return the record of one broken rule, with its message.

    Args:
        field: Name of the argument.
        value: What was given.
        limit: What it must be; a tuple holds the values to choose from.
        advice: Why, or what to do.
        shown: How the message calls the value; None shows its beginning.
    """
    if shown is None:
        shown = repr(value)
        if len(shown) > 80:
            shown = f"{shown[:77]}..."
    allowed = limit
    if isinstance(limit, tuple):
        limit = ", ".join(limit)
        allowed = f"one of {limit}" if ", " in limit else limit
    return Problem(
        field=field,
        value=value,
        limit=limit,
        message=f"{field} is {shown}; it must be {allowed} ({advice})",
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
