"""Say a request in a server's own words, and find what cannot be said in them: pure.

A value that has no form there is left as it is: `check_server` names it, and what to do about it
(raise, warn, ignore) is the client's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any

from imagesdk.models.checks import Problem, problem
from imagesdk.models.profiles import ServerProfile, bare_name
from imagesdk.models.requests import EditRequest, Endpoint, ImageInfo, ImageRequest

__all__ = ("check_server", "not_served", "spell")

_SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)", re.ASCII)
_RATIO = re.compile(r"\d+(\.\d+)?:\d+(\.\d+)?", re.ASCII)


def spell(fields: Mapping[str, Any], endpoint: Endpoint, profile: ServerProfile) -> dict[str, Any]:
    """Return the fields of a body as the server wants them.

    Args:
        fields: As `imagesdk.models.requests.body_fields` gives them.
        endpoint: Of the request.
        profile: Of the server; one that is standard changes nothing.
    """
    spelled: dict[str, Any] = {}
    formats = profile.response_formats or {}
    for name, value in {**profile.defaults.get(endpoint, {}), **fields}.items():
        if name == "size" and (size := _size(value, profile)) is not None:
            spelled |= {profile.rename.get(own, own): what for own, what in size.items()}
        elif name == "response_format" and isinstance(value, str) and value in formats:
            if formats[value] is not None:
                spelled[profile.rename.get(name, name)] = formats[value]
        else:
            spelled[profile.rename.get(name, name)] = value
    return spelled


def _size(size: object, profile: ServerProfile) -> Mapping[str, Any] | None:
    """Return the fields that say *size*, None if there are none."""
    if profile.size_style == "size":
        return {"size": size}
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if profile.size_style == "width_height":
        return {"width": int(match[1]), "height": int(match[2])} if match else None
    ratio = str(size)
    if match:
        width, height = int(match[1]), int(match[2])
        ratio = f"{width // gcd(width, height)}:{height // gcd(width, height)}"
    known = profile.aspect_ratios
    takes = ratio in known if known else _RATIO.fullmatch(ratio) is not None
    return {"aspect_ratio": ratio} if takes or ratio == "auto" else None


def not_served(endpoint: Endpoint, profile: ServerProfile) -> str:
    """Return the message for an endpoint that the server does not have."""
    instead = profile.gone.get(endpoint) or (
        "use edit() with a prompt that describes the variation you want, or a server that has them: "
        "see docs/servers.md"
        if endpoint == "variations"
        else "choose a server that has them: see docs/servers.md"
    )
    return f"{profile.name} has no {endpoint}: {instead}"


def check_server(
    request: ImageRequest,
    profile: ServerProfile,
    *,
    input_images: int,
    mask: ImageInfo | None = None,
    streamed: bool,
) -> list[Problem]:
    """Return what of *request* the server does not take, whatever its model.

    Args:
        request: For an endpoint that the server has.
        profile: Of the server.
        input_images: How many images the request carries.
        mask: Header of its mask.
        streamed: Whether its answer is to be streamed.
    """
    found = list(_check(request, profile, input_images, streamed=streamed))
    if isinstance(request, EditRequest):
        found += _check_mask(request, profile, mask)
    return found


def _check(
    request: ImageRequest, profile: ServerProfile, input_images: int, *, streamed: bool
) -> Iterator[Problem]:
    if (what := profile.gone.get(bare_name(request.model))) is not None:
        yield problem("model", request.model, f"a model that {profile.name} has", what)
    if streamed and request.endpoint not in profile.streams:
        how = "generate()" if request.endpoint == "generations" else "edit()"
        limit = f"left out: {profile.name} does not stream {request.endpoint}"
        yield problem("stream", True, limit, f"call {how}")  # noqa: FBT003 - the field's value
    formats, wanted = profile.response_formats, request.response_format
    offered = formats is None or (isinstance(wanted, str) and wanted in formats)
    if formats is not None and wanted is not None and not offered:
        advice = f"all that {profile.name} offers; image.save() and read() work with either"
        yield problem("response_format", wanted, tuple(formats), advice)
    if request.size is not None and _size(request.size, profile) is None:
        yield problem("size", request.size, _sizes(profile), f"what {profile.name} takes")
    most = 1 if profile.images_field is None else profile.max_images
    if most is not None and input_images > most:
        limit = f"at most {most} image{'s' if most > 1 else ''}"
        shown = f"a list of {input_images}"
        yield problem("image", input_images, limit, f"a limit of {profile.name}", shown=shown)


def _check_mask(
    request: EditRequest, profile: ServerProfile, mask: ImageInfo | None
) -> Iterator[Problem]:
    if request.mask is not None and profile.mask_field is None:
        advice = f"{profile.name} takes no masks of this kind: see docs/servers.md"
        yield problem("mask", "given", "left out", advice)
    elif mask is not None and mask.has_alpha and profile.mask_edits == "white":
        yield problem(
            "mask",
            "an image with transparency",
            "black and white",
            f"{profile.name} edits where it is white, and does not look at transparency",
        )
    if request.markup is not None and profile.edit_body == "json":
        yield problem("markup", "given", "left out", "it is sent in forms only")


def _sizes(profile: ServerProfile) -> str:
    if profile.size_style == "width_height":
        return "WIDTHxHEIGHT"
    ratios = ", ".join(profile.aspect_ratios) or "any"
    return f"auto, or WIDTHxHEIGHT or W:H with one of the ratios {ratios}"
