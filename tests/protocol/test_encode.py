from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from types import MappingProxyType
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from imagesdk.models.families import CLASSIC, UNKNOWN
from imagesdk.models.profiles import family_of
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageRequest,
    StreamOptions,
    VariationRequest,
    body_fields,
)
from imagesdk.models.servers import profile_named
from imagesdk.protocol.encode import BytesBody, InputFile, WireRequest, encode
from imagesdk.protocol.multipart import MultipartBody

BOUNDARY = "b0undary"
GPT = family_of("gpt-image-2", profile_named("openai"))
PNG = b"\x89PNG"


@attrs.frozen
class Bytes:
    """A source in memory."""

    data: bytes
    replayable: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        yield self.data


def a_file(field: str = "image", *, replayable: bool = True) -> InputFile:
    return InputFile(
        field=field,
        filename=f"{field}.png",
        content_type="image/png",
        source=Bytes(b"pixels", replayable),
    )


def sent(request: GenerateRequest, family: Any = CLASSIC) -> Any:
    """Return the JSON that a server reads."""
    wire = encode(request, family, [], boundary=BOUNDARY)
    assert isinstance(wire.body, BytesBody)
    assert wire.body.content_type == "application/json"
    assert wire.body.segments == (wire.body.data,)
    assert wire.body.size_bytes == len(wire.body.data)
    return json.loads(wire.body.data)


def form(request: ImageRequest, *files: InputFile, family: Any = CLASSIC) -> list[tuple[str, str]]:
    """Return (name, value) of each part that a server reads, the file name for a file."""
    wire = encode(request, family, files, boundary=BOUNDARY)
    assert isinstance(wire.body, MultipartBody)
    text = b"".join(
        s if isinstance(s, bytes) else cast("Bytes", s).data for s in wire.body.segments
    ).decode()
    *parts, end = text.split(f"--{BOUNDARY}")[1:]
    assert end == "--\r\n"
    pairs = []
    for part in parts:
        head, _, value = part.removeprefix("\r\n").removesuffix("\r\n").partition("\r\n\r\n")
        name, _, filename = head.partition('name="')[2].partition('"')
        if filename:
            assert value == "pixels"
            value = filename.partition('filename="')[2].partition('"')[0]
        pairs.append((name, value))
    return pairs


# JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (GenerateRequest("a fox"), "images/generations"),
        (EditRequest(PNG, "a fox"), "images/edits"),
        (VariationRequest(PNG), "images/variations"),
    ],
)
def test_where_it_goes(request_: ImageRequest, path: str) -> None:
    """Each request goes by POST to its own path, relative to base_url."""
    wire = encode(request_, CLASSIC, [], boundary=BOUNDARY)
    assert (wire.method, wire.path) == ("POST", path)
    assert dict(wire.headers) == {"Accept": "application/json"}


def test_generation_of_the_reference() -> None:
    """The first example of the API reference is sent as it stands there."""
    request = GenerateRequest("A cute baby sea otter", n=2, size="1024x1024")
    assert sent(request) == {"prompt": "A cute baby sea otter", "n": 2, "size": "1024x1024"}


def test_none_is_omitted_and_zero_is_not() -> None:
    """What is None is left out of the body; zero and the empty string are sent."""
    assert sent(GenerateRequest("")) == {"prompt": ""}
    assert sent(GenerateRequest("x", output_compression=0), GPT) == {
        "prompt": "x",
        "output_compression": 0,
    }


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "flux", None])
def test_response_format_is_sent(model: str | None) -> None:
    """Classic and unknown models are asked for the format."""
    family = family_of(model, profile_named("classic"))
    request = GenerateRequest("x", response_format="b64_json")
    assert sent(request, family)["response_format"] == "b64_json"
    pairs = form(EditRequest(PNG, "x", response_format="url"), family=family)
    assert ("response_format", "url") in pairs


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-2.6-flare", "gpt-image-3"])
def test_response_format_is_dropped(model: str) -> None:
    """GPT Image models refuse the field, so it is not sent, unless extra_body insists."""
    family = family_of(model, profile_named("openai"))
    assert sent(GenerateRequest("x", response_format="b64_json"), family) == {"prompt": "x"}
    assert form(EditRequest(PNG, "x", response_format="b64_json"), family=family) == [
        ("prompt", "x")
    ]
    insisting = GenerateRequest("x", extra_body={"response_format": "b64_json"})
    assert sent(insisting, family)["response_format"] == "b64_json"


def test_extra_body_wins() -> None:
    """Extra fields are merged into the body, replace what they name, and may be null."""
    request = GenerateRequest(
        "x", n=2, size="1x1", extra_body={"n": 3, "seed": None, "loras": [{"id": 1}]}
    )
    assert sent(request) == {
        "prompt": "x",
        "n": 3,
        "size": "1x1",
        "seed": None,
        "loras": [{"id": 1}],
    }
    assert request.n == 2


def test_extra_body_is_not_changed() -> None:
    """Neither the request nor its extra_body is changed by being encoded."""
    extra = {"seed": 1}
    request = GenerateRequest("x", model="m", response_format="url", extra_body=extra)
    before = body_fields(request)
    assert sent(request, GPT) == sent(request, GPT)
    assert extra == {"seed": 1}
    assert body_fields(request) == before


def test_mappings_that_are_no_dicts() -> None:
    """Any mapping will do for svg and extra_body."""
    svg = MappingProxyType({"model": "m", "reasoning": MappingProxyType({"effort": "low"})})
    request = GenerateRequest(
        "x", svg=svg, extra_body=MappingProxyType({"a": MappingProxyType({"b": 1})})
    )
    assert sent(request, GPT) == {
        "prompt": "x",
        "svg": {"model": "m", "reasoning": {"effort": "low"}},
        "a": {"b": 1},
    }


def test_what_json_can_not_say() -> None:
    """A value that has no form in JSON is a TypeError that shows it, before anything is sent."""
    with pytest.raises(TypeError, match=r"<object object at .* has no form in JSON"):
        sent(GenerateRequest("x", extra_body={"bad": object()}))


def test_extra_headers_win() -> None:
    """Extra headers are added, and replace ours."""
    request = GenerateRequest("x", extra_headers={"Accept": "*/*", "X-Trace": "1"})
    wire = encode(request, CLASSIC, [], boundary=BOUNDARY)
    assert dict(wire.headers) == {"Accept": "*/*", "X-Trace": "1"}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
optional_text = st.none() | text
generations = st.builds(
    GenerateRequest,
    text,
    model=optional_text,
    n=st.none() | st.integers(-(2**53), 2**53),
    size=optional_text,
    quality=optional_text,
    style=optional_text,
    response_format=optional_text,
    background=optional_text,
    moderation=optional_text,
    output_format=optional_text,
    output_compression=st.none() | st.integers(0, 100),
    complexity=optional_text,
    frame_count=st.none() | st.integers(2, 16),
    frame_duration_ms=st.none() | st.integers(1, 655_350),
    svg=st.none() | st.dictionaries(text, text | st.dictionaries(text, text), max_size=3),
    safety_identifier=optional_text,
    user=optional_text,
)


@settings(deadline=None, max_examples=80)
@given(generations)
def test_a_generation_survives_the_wire(request: GenerateRequest) -> None:
    """Decoding what was encoded gives the request again."""
    assert GenerateRequest(**sent(request, UNKNOWN)) == request


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(text, json_values, max_size=4))
def test_extra_body_survives_the_wire(extra: dict[str, Any]) -> None:
    """Whatever JSON is passed in extra_body arrives as it is."""
    assert sent(GenerateRequest("x", extra_body=extra)) == {"prompt": "x", **extra}


# Forms ----------------------------------------------------------------------------------------


def test_edit_of_the_reference() -> None:
    """The example of the API reference: one image, one mask, plain fields."""
    request = EditRequest(
        PNG, "A cute baby sea otter wearing a beret", mask=PNG, n=2, size="1024x1024"
    )
    assert form(request, a_file(), a_file("mask")) == [
        ("prompt", "A cute baby sea otter wearing a beret"),
        ("n", "2"),
        ("size", "1024x1024"),
        ("image", "image.png"),
        ("mask", "mask.png"),
    ]


def test_variation_has_no_prompt() -> None:
    """A variation is its image and the fields that were given."""
    assert form(VariationRequest(PNG, n=4), a_file()) == [("n", "4"), ("image", "image.png")]


@pytest.mark.parametrize(("count", "name"), [(1, "image"), (2, "image[]"), (16, "image[]")])
def test_one_image_and_several(count: int, name: str) -> None:
    """One image is the field ``image``, several are ``image[]``, and the mask is never several."""
    files = [a_file()] * count + [a_file("mask"), a_file("markup")]
    names = [pair[0] for pair in form(EditRequest(PNG, "x"), *files)]
    assert names == ["prompt", *[name] * count, "mask", "markup"]


def test_files_keep_name_type_and_bytes() -> None:
    """A file part has the name and the type of its input, and streams from its source."""
    file = a_file()
    wire = encode(VariationRequest(PNG), CLASSIC, [file], boundary=BOUNDARY)
    assert isinstance(wire.body, MultipartBody)
    head, source, _ = wire.body.segments
    assert isinstance(head, bytes)
    assert b'filename="image.png"\r\nContent-Type: image/png\r\n' in head
    assert source is file.source


@pytest.mark.parametrize(
    ("extra", "pairs"),
    [
        ({"svg": {"model": "m"}}, [("svg[model]", "m")]),
        (
            {"svg": {"model": "m", "reasoning": {"effort": "low", "x": None}}},
            [("svg[model]", "m"), ("svg[reasoning][effort]", "low")],
        ),
        ({"a": True, "b": False}, [("a", "true"), ("b", "false")]),
        ({"a": 1, "b": 0.5, "c": None}, [("a", "1"), ("b", "0.5")]),
        ({"url": ["u1", "u2"]}, [("url[]", "u1"), ("url[]", "u2")]),
        ({"flags": (True, None, 2)}, [("flags[]", "true"), ("flags[]", "2")]),
        (
            {"loras": [{"name": "a", "scale": 1}, {"name": "b"}]},
            [("loras[][name]", "a"), ("loras[][scale]", "1"), ("loras[][name]", "b")],
        ),
        ({"a": [["x"]]}, [("a[][]", "x")]),
        ({"a": {}, "b": []}, []),
    ],
)
def test_nested_fields_of_a_form(extra: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
    """Nested fields are spelled with brackets, bools in lower case, and None is left out."""
    assert form(EditRequest(PNG, "x", extra_body=extra)) == [("prompt", "x"), *pairs]


def test_svg_argument_of_an_edit() -> None:
    """The svg argument is spelled as the API document spells it."""
    svg = {"model": "gpt-5.5", "reasoning": {"effort": "xhigh"}}
    assert form(EditRequest(PNG, "x", output_format="svg", svg=svg), family=GPT)[2:] == [
        ("svg[model]", "gpt-5.5"),
        ("svg[reasoning][effort]", "xhigh"),
    ]


def test_extra_body_of_a_form_wins() -> None:
    """Extra fields replace the fields of a form as well."""
    assert form(EditRequest(PNG, "x", n=1, extra_body={"n": 3, "seed": 7})) == [
        ("prompt", "x"),
        ("n", "3"),
        ("seed", "7"),
    ]


@pytest.mark.parametrize(("wanted", "sent"), [(None, {}), (0, {"partial_images": 0})])
def test_a_stream_is_asked_for(wanted: int | None, sent: dict[str, Any]) -> None:
    """A streamed request says so in its body and in Accept; the count is sent if it is given."""
    stream = StreamOptions(partial_images=wanted)
    wire = encode(GenerateRequest("x"), GPT, [], boundary=BOUNDARY, stream=stream)
    assert wire.body is not None
    assert json.loads(b"".join(wire.body.segments)) == {"prompt": "x", "stream": True} | sent  # type: ignore[arg-type]
    assert wire.headers["Accept"] == "text/event-stream, application/json"


# Replay ---------------------------------------------------------------------------------------


def test_replayable() -> None:
    """A request can be sent again unless a source of its form can not be read again."""
    download = WireRequest(method="GET", path="https://x/1.png", headers={}, body=None)
    assert download.replayable
    assert encode(GenerateRequest("x"), CLASSIC, [], boundary=BOUNDARY).replayable
    once, again = a_file(replayable=False), a_file()
    request = EditRequest(PNG, "x")
    assert encode(request, CLASSIC, [again], boundary=BOUNDARY).replayable
    assert not encode(request, CLASSIC, [again, once], boundary=BOUNDARY).replayable


def test_a_header_of_the_caller_replaces_ours_whatever_its_case() -> None:
    """The caller's accept header is sent instead of ours, not beside it."""
    request = GenerateRequest("a fox", extra_headers={"accept": "text/event-stream"})
    headers = encode(request, UNKNOWN, [], boundary="x").headers
    assert headers == {"accept": "text/event-stream"}
