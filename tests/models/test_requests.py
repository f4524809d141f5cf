from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageInfo,
    ImageRequest,
    InputInfos,
    VariationRequest,
    body_fields,
    file_fields,
    shape_of,
)

PNG = b"\x89PNG secret pixels"

REQUESTS = (GenerateRequest("a fox"), EditRequest(PNG, "a fox"), VariationRequest(PNG))

every_request = pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.endpoint)


@pytest.mark.parametrize(
    ("request_", "endpoint", "fields", "files"),
    [
        (GenerateRequest("a fox"), "generations", {"prompt": "a fox"}, ()),
        (EditRequest(PNG, "a fox"), "edits", {"prompt": "a fox"}, ("image", "mask", "markup")),
        (VariationRequest(PNG), "variations", {}, ("image",)),
    ],
)
def test_least_request(
    request_: ImageRequest, endpoint: str, fields: dict[str, object], files: tuple[str, ...]
) -> None:
    """Only the required arguments are in the body; the server's defaults hold for the others."""
    assert request_.endpoint == endpoint
    assert body_fields(request_) == fields
    assert file_fields(type(request_)) == files


def test_generate_has_every_field_of_the_wire() -> None:
    """A generation takes every field that the API document lists, spelled as on the wire."""
    names = {a.name for a in attrs.fields(GenerateRequest)}
    # stream and partial_images are stream_generate's
    assert names == {
        *("prompt", "model", "n", "size", "quality", "style", "response_format", "background"),
        *("moderation", "output_format", "output_compression", "complexity", "frame_count"),
        *("frame_duration_ms", "svg", "safety_identifier", "user", "extra_body", "extra_headers"),
    }


def test_edit_has_every_field_of_the_wire() -> None:
    """An edit takes every field that the API document lists, spelled as on the wire."""
    names = {a.name for a in attrs.fields(EditRequest)}
    assert names == {
        *("image", "prompt", "mask", "markup", "model", "n", "size", "quality", "response_format"),
        *("background", "input_fidelity", "output_format", "output_compression", "complexity"),
        *("frame_count", "frame_duration_ms", "svg", "safety_identifier", "user"),
        *("extra_body", "extra_headers"),
    }


def test_variation_has_every_field_of_the_wire() -> None:
    """A variation takes every field that the API document lists, spelled as on the wire."""
    names = {a.name for a in attrs.fields(VariationRequest)}
    assert names == {
        *("image", "model", "n", "size", "response_format", "user", "extra_body", "extra_headers"),
    }


def test_body_fields_keeps_falsy_values() -> None:
    """Zero and the empty string are values: only None means left out."""
    request = GenerateRequest("", n=0, output_compression=0, user="", svg={})
    assert body_fields(request) == {
        "prompt": "",
        "n": 0,
        "output_compression": 0,
        "user": "",
        "svg": {},
    }


def test_body_fields_leaves_files_and_extras_out() -> None:
    """Files, extra fields and extra headers are not fields of the body."""
    request = EditRequest(
        [PNG, Path("a.png"), BytesIO(PNG)],
        "a fox",
        mask=PNG,
        markup=PNG,
        n=2,
        extra_body={"seed": 1},
        extra_headers={"X-Trace": "1"},
    )
    assert body_fields(request) == {"prompt": "a fox", "n": 2}


@every_request
def test_requests_are_frozen(request_: ImageRequest) -> None:
    """A request can not change between two attempts."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request_.n = 2  # type: ignore[misc]
    assert attrs.evolve(request_, n=2).n == 2


def test_repr_shows_what_was_given() -> None:
    """A request with two of its twenty fields is told in one line."""
    assert repr(GenerateRequest("a fox", n=2)) == "GenerateRequest(prompt='a fox', n=2)"
    assert repr(VariationRequest(b"x")) == "VariationRequest()"


@every_request
def test_repr_shows_no_bytes_and_no_headers(request_: ImageRequest) -> None:
    """Neither images nor headers, which may hold secrets, are in a request's repr."""
    shown = repr(attrs.evolve(request_, extra_headers={"Authorization": "Bearer sk-1"}))
    assert "secret pixels" not in shown
    assert "sk-1" not in shown


def test_image_infos_are_values() -> None:
    """What is known of an image is a value without defaults; inputs are empty by default."""
    info = ImageInfo(format="png", width=2, height=3, has_alpha=True, size_bytes=70)
    assert info == attrs.evolve(info)
    assert info != attrs.evolve(info, has_alpha=False)
    assert (InputInfos().images, InputInfos().mask, InputInfos().markup) == ((), None, None)


def shapes(*requests: ImageRequest) -> set[object]:
    """Return the different shapes among *requests*."""
    return {shape_of(request) for request in requests}


def test_shape_leaves_prompt_and_end_user_out() -> None:
    """Requests that differ in their prompts and users alone have one shape."""
    one = GenerateRequest("a fox", model="m", n=2, user="ann")
    assert shapes(one, GenerateRequest("an otter", model="m", n=2, user="bob")) == {shape_of(one)}
    assert None not in shapes(one)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"n": True}, id="a bool that equals the number"),
        pytest.param({"n": 1.0}, id="a float that equals the number"),
        pytest.param({"n": 2}, id="another number"),
        pytest.param({"model": "m"}, id="a model"),
        pytest.param({"size": "auto"}, id="a size"),
        pytest.param({"user": "ann"}, id="a user where there was none"),
        pytest.param({"safety_identifier": "ann"}, id="an identifier where there was none"),
    ],
)
def test_shape_tells_everything_else_apart(other: dict[str, Any]) -> None:
    """Whatever else differs, type included, makes another shape."""
    one: dict[str, Any] = {"n": 1}
    assert (
        len(shapes(GenerateRequest("a fox", **one), GenerateRequest("a fox", **one | other))) == 2
    )


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(EditRequest(b"", "a fox"), id="images"),
        pytest.param(GenerateRequest("a fox", svg={"model": "x"}), id="svg"),
        pytest.param(GenerateRequest("a fox", extra_body={"seed": 1}), id="further fields"),
        pytest.param(GenerateRequest("a fox", size=cast("str", ["x"])), id="no plain value"),
    ],
)
def test_shape_is_not_told_of_what_is_no_plain_value(request_: ImageRequest) -> None:
    """Requests with files or values of any kind have no shape."""
    assert shape_of(request_) is None
