from __future__ import annotations

from typing import Any, cast

import pytest

from imagesdk.models.dialects import check_server, not_served, spell
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageInfo,
    ImageRequest,
    VariationRequest,
    body_fields,
)
from imagesdk.models.servers import PROFILES, profile_named

PNG = b"\x89PNG"


def fields_of(server: ServerProfile, **given: Any) -> dict[str, Any]:
    """Return the body of a generation without its prompt."""
    request = GenerateRequest("x", **given)
    spelled = spell(body_fields(request), "generations", server)
    assert spelled.pop("prompt") == "x"
    return spelled


def problems(
    server: ServerProfile, request: ImageRequest, *, input_images: int = 0, streamed: bool = False
) -> list[str]:
    found = check_server(request, server, input_images=input_images, streamed=streamed)
    assert all(one.message.startswith(f"{one.field} is ") for one in found)
    return [one.message for one in found]


# Words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["size", "width_height", "aspect_ratio"])
def test_what_is_not_given_is_not_sent(style: Any) -> None:
    """No style of size makes a field of none, and order is kept."""
    profile = ServerProfile(name="s", size_style=style)
    assert list(fields_of(profile, model="m", n=2, quality="low")) == ["model", "n", "quality"]


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ("1024x768", {"width": 1024, "height": 768}),
        ("auto", {"size": "auto"}),
        ("1024", {"size": "1024"}),
        ("0x1", {"size": "0x1"}),
        (5, {"size": 5}),
    ],
)
def test_width_and_height(size: Any, sent: dict[str, Any]) -> None:
    """A size becomes two numbers; one that is none stays as it is, for the check to name."""
    profile = ServerProfile(name="s", size_style="width_height")
    assert fields_of(profile, size=size) == sent
    assert bool(problems(profile, GenerateRequest("x", size=size))) is ("size" in sent)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ("1024x1024", "1:1"),
        ("1536x1024", "3:2"),
        ("1280x720", "16:9"),
        ("16:9", "16:9"),
        ("19.5:9", "19.5:9"),
        ("auto", "auto"),
        ("1792x1024", None),  # 7:4
        ("7:4", None),
        ("wide", None),
        (5, None),
    ],
)
def test_aspect_ratios(size: Any, ratio: str | None) -> None:
    """A size becomes the ratio of its edges, if the server takes that; a ratio stays one."""
    xai = profile_named("xai")
    sent = {"size": size} if ratio is None else {"aspect_ratio": ratio}
    assert fields_of(xai, size=size) == sent
    assert bool(problems(xai, GenerateRequest("x", size=size))) is (ratio is None)


def test_any_aspect_ratio() -> None:
    """A server that names no ratios takes any, but no other word."""
    profile = ServerProfile(name="s", size_style="aspect_ratio")
    assert fields_of(profile, size="1792x1024") == {"aspect_ratio": "7:4"}
    assert fields_of(profile, size="large") == {"size": "large"}
    (said,) = problems(profile, GenerateRequest("x", size="large"))
    assert "with one of the ratios any" in said


def test_names_and_formats_of_a_servers_own() -> None:
    """Fields are renamed, formats are called as the server calls them, or not named at all."""
    profile = ServerProfile(
        name="s",
        rename={"n": "batch_size", "size": "image_size", "width": "w"},
        response_formats={"b64_json": "base64", "url": None},
    )
    given: dict[str, Any] = {"n": 3, "size": "1x1"}
    assert fields_of(profile, **given, response_format="b64_json") == {
        "batch_size": 3,
        "image_size": "1x1",
        "response_format": "base64",
    }
    assert "response_format" not in fields_of(profile, response_format="url")
    assert fields_of(profile, response_format="file") == {"response_format": "file"}
    assert fields_of(profile, response_format=["url"]) == {"response_format": ["url"]}


def test_defaults_of_a_server() -> None:
    """What a server must be told is sent if the request does not say otherwise."""
    profile = ServerProfile(name="s", defaults={"generations": {"n": 1, "seed": 7}})
    assert fields_of(profile) == {"n": 1, "seed": 7}
    assert fields_of(profile, n=2) == {"n": 2, "seed": 7}
    assert spell({"prompt": "x"}, "edits", profile) == {"prompt": "x"}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_a_standard_profile_changes_nothing(profile: ServerProfile) -> None:
    """What the hot path leaves out would not change a request."""
    request = GenerateRequest("x", model="m", n=2, size="1024x1024", response_format="b64_json")
    fields = body_fields(request)
    assert (spell(fields, "generations", profile) == fields) or not profile.is_standard


# Checks ---------------------------------------------------------------------------------------


def test_nothing_to_object() -> None:
    """A plain request is taken by every server that serves it."""
    for profile in PROFILES:
        assert problems(profile, GenerateRequest("x", model="m")) == []
        if "edits" in profile.paths:
            assert problems(profile, EditRequest(PNG, "x", model="m"), input_images=1) == []


@pytest.mark.parametrize("model", ["dall-e-3", "openai/dall-e-3", "gpt-image-1-2025-04-23"])
def test_models_that_are_gone(model: str) -> None:
    """A model that OpenAI has shut down is named with the day and the way out; others are not."""
    openai = profile_named("openai")
    (said,) = problems(openai, GenerateRequest("x", model=model))
    assert said.startswith(f"model is '{model}'; it must be a model that openai has (OpenAI shut")
    assert "use gpt-image-2.6-sunburst" in said
    for other in ("gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "dall-e-33", None):
        assert problems(openai, GenerateRequest("x", model=other)) == []
    assert problems(profile_named("classic"), GenerateRequest("x", model=model)) == []


def test_endpoints_that_are_not_there() -> None:
    """What a server does not have is refused in one sentence with the way out."""
    said = not_served("variations", profile_named("openai"))
    assert said.startswith("openai has no variations: OpenAI shut dall-e-2 down on 2026-05-12")
    assert "use edit() with a prompt" in said
    assert "use edit() with a prompt" in not_served("variations", profile_named("sglang"))
    assert not_served("edits", profile_named("localai")) == (
        "localai has no edits: choose a server that has them: see docs/servers.md"
    )


@pytest.mark.parametrize(
    ("server", "request_", "way_out"),
    [
        ("xai", GenerateRequest("x"), "call generate()"),
        ("xai", EditRequest(PNG, "x"), "call edit()"),
        ("vllm-omni", GenerateRequest("x"), "vllm-omni does not stream generations"),
        ("vllm-omni", EditRequest(PNG, "x"), None),
        ("openai", GenerateRequest("x"), None),
        ("classic", EditRequest(PNG, "x"), None),
    ],
)
def test_streams(server: str, request_: ImageRequest, way_out: str | None) -> None:
    """Where nothing is streamed, that is said before anything is sent."""
    found = problems(profile_named(server), request_, streamed=True)
    assert [way_out in one for one in found] == [True] * (way_out is not None)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("server", "wanted", "is_offered"),
    [
        ("stable-diffusion.cpp", "url", False),
        ("stable-diffusion.cpp", "b64_json", True),
        ("vllm-omni", "file", True),
        ("vllm-omni", "url", False),
        ("xinference", "url", False),
        ("siliconflow", "b64_json", False),
        ("sglang", "file", False),
        ("sglang", ["url"], False),
        ("classic", "file", True),  # the family decides
        ("localai", None, True),
    ],
)
def test_response_formats(server: str, wanted: Any, is_offered: bool) -> None:  # noqa: FBT001
    """A format that the server cannot send is refused, with those that it can."""
    found = problems(profile_named(server), GenerateRequest("x", response_format=wanted))
    assert bool(found) is not is_offered
    assert all(f"all that {server} offers" in one for one in found)


@pytest.mark.parametrize(
    ("server", "count", "limit"),
    [("xai", 3, None), ("xai", 4, "at most 3 images"), ("siliconflow", 2, "at most 1 image (")],
)
def test_input_images(server: str, count: int, limit: str | None) -> None:
    """More images than the server takes are refused."""
    found = problems(profile_named(server), EditRequest([PNG] * count, "x"), input_images=count)
    assert [cast("str", limit) in one for one in found] == [True] * (limit is not None)


@pytest.mark.parametrize(
    ("server", "given", "field"),
    [
        ("together", {"mask": PNG}, "mask"),
        ("vllm-omni", {"mask": PNG}, "mask"),
        ("sglang", {"mask": PNG}, "mask"),
        ("xai", {"mask": PNG}, None),
        ("openai", {"mask": PNG, "markup": PNG}, None),
        ("openai-json", {"markup": PNG}, "markup"),
    ],
)
def test_masks(server: str, given: dict[str, Any], field: str | None) -> None:
    """A mask that would be dropped, or mean something else, is refused."""
    request = EditRequest(PNG, "x", **given)
    found = check_server(request, profile_named(server), input_images=1, streamed=False)
    assert [one.field for one in found] == [field] * (field is not None)
    assert all(one.is_about_an_image for one in found)


@pytest.mark.parametrize(
    ("server", "has_alpha", "is_refused"),
    [
        ("stable-diffusion.cpp", True, True),
        ("stable-diffusion.cpp", False, False),
        ("xinference", True, True),
        ("xai", True, False),
        ("openai", True, False),
    ],
)
def test_masks_that_would_be_misread(server: str, has_alpha: bool, is_refused: bool) -> None:  # noqa: FBT001
    """Where white is edited, a mask whose transparency says what to edit would be read the other way."""
    mask = ImageInfo(format="png", width=1, height=1, has_alpha=has_alpha, size_bytes=1)
    request = EditRequest(PNG, "x", model="m", mask=PNG)
    found = check_server(request, profile_named(server), input_images=1, mask=mask, streamed=False)
    assert [f"{server} edits where it is white" in one.message for one in found] == [
        True
    ] * is_refused


def test_a_variation_has_neither_mask_nor_stream() -> None:
    """A variation is checked without the fields that it does not have."""
    assert problems(profile_named("xinference"), VariationRequest(PNG), input_images=1) == []
