from __future__ import annotations

from io import BytesIO
from pathlib import Path

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
