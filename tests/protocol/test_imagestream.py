from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from imagesdk.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ModerationError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.imagestream import PartialItem, StreamDecoder, StreamItem

SECRET = "sk-0123456789"  # noqa: S105 - no secret
IMAGE = b"\x89PNG partly"
B64 = base64.b64encode(IMAGE).decode()
PARTIAL = {"type": "image_generation.partial_image", "b64_json": B64, "partial_image_index": 0}
COMPLETED = {
    "type": "image_generation.completed",
    "b64_json": B64,
    "created_at": 5,
    "usage": {"total_tokens": 7},
    "size": "1024x1024",
    "safety_identifier": "u",
}


def event(data: object, name: str | None = None) -> bytes:
    """Return one event as it is sent."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, text)


def decoder() -> StreamDecoder:
    headers = {"x-request-id": f"req {SECRET}"}
    return StreamDecoder(200, headers, max_event_bytes=10_000, secret=SECRET)


def read(pieces: Iterable[bytes]) -> list[StreamItem]:
    stream = decoder()
    found = [item for piece in pieces for item in stream.feed(piece)]
    return [*found, *stream.finish()]


def test_a_whole_stream() -> None:
    """Partial images come with index, bytes and unknown fields; the last one with usage as well."""
    second = PARTIAL | {"partial_image_index": 1, "seed": 3, "size": "auto", "created_at": 1}
    first, another, answer = read([event(PARTIAL), event(second), event(COMPLETED)])
    assert first == PartialItem(index=0, content=IMAGE)
    assert another == PartialItem(index=1, content=IMAGE, extra={"seed": 3})
    assert isinstance(answer, Answer)
    assert [item.content for item in answer.items] == [IMAGE]
    assert answer.created == 5
    assert answer.fields == {"usage": {"total_tokens": 7}, "size": "1024x1024"}
    assert answer.extra == {"safety_identifier": "u"}


@settings(max_examples=30)
@given(st.lists(st.integers(0, 500), max_size=6))
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    """Wherever the stream is cut, the images are the same."""
    text = event(PARTIAL, PARTIAL["type"]) + event(COMPLETED) + event(b"[DONE]")  # type: ignore[arg-type]
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    partial, answer = read(text[a:b] for a, b in itertools.pairwise(at))
    assert partial == PartialItem(index=0, content=IMAGE)
    assert isinstance(answer, Answer)
    assert answer.items[0].content == IMAGE


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (None, "image_generation.completed"),
        (None, "image_edit.completed"),
        ("image_edit.completed", None),
        ("message", "image_edit.completed"),
        ("image_edit.completed", 7),
        (None, "response.image_generation_call.completed"),
    ],
)
def test_the_type_is_told_by_either(name: str | None, kind: object) -> None:
    """The event's own type counts, else its name."""
    data = {"b64_json": B64} | ({} if kind is None else {"type": kind})
    (answer,) = read([event(data, name)])
    assert isinstance(answer, Answer)
    assert (answer.created, answer.fields, answer.extra) == (None, {}, {})


@pytest.mark.parametrize(
    "encoded", [f"data:image/png;base64,{B64}", B64[:5] + "\n" + B64[5:], B64.replace("/", "\\/")]
)
def test_base64_in_each_form(encoded: str) -> None:
    """A data URL and base64 in lines are images, too."""
    (partial,) = read([event(PARTIAL | {"b64_json": encoded})])
    assert isinstance(partial, PartialItem)
    assert partial.content == IMAGE


def test_an_index_is_counted_where_there_is_none() -> None:
    """Servers that send no index are counted for, from 0."""
    bare = {"type": "image_edit.partial_image", "b64_json": B64}
    assert [getattr(item, "index", None) for item in read([event(bare)] * 2)] == [0, 1]


def test_a_completed_image_at_a_url() -> None:
    """A completed image may be at a URL, with a prompt of the server's."""
    data = {"type": "x.completed", "url": "https://e.org/a.png", "revised_prompt": "a red fox"}
    (answer,) = read([event(data)])
    assert isinstance(answer, Answer)
    (item,) = answer.items
    assert (item.url, item.content, item.revised_prompt) == (data["url"], None, "a red fox")


@pytest.mark.parametrize(
    "fields",
    [
        {"b64_json": B64, "url": "https://e.org/a.png"},
        {"url": f"data:image/png;base64,{B64}"},
        {"b64_json": None, "url": f"data:image/png;base64,{B64}"},
    ],
)
def test_a_completed_image_that_came_needs_no_download(fields: dict[str, Any]) -> None:
    """An image beside its URL, or within it, is taken as it came."""
    (answer,) = read([event({"type": "x.completed", **fields})])
    assert isinstance(answer, Answer)
    assert [(item.url, item.content) for item in answer.items] == [(None, IMAGE)]


def test_a_broken_image_beside_its_url_can_be_downloaded() -> None:
    """A URL stands in for an image that came broken."""
    data = {"type": "x.completed", "b64_json": "!", "url": "https://e.org/a.png"}
    (answer,) = read([event(data)])
    assert isinstance(answer, Answer)
    assert [(item.url, item.content) for item in answer.items] == [(data["url"], None)]


def test_a_key_in_the_name_of_an_event_is_not_told() -> None:
    """What a server echoes as the name of an event is blotted out of errors, too."""
    reader = StreamDecoder(200, {}, max_event_bytes=99, secret=SECRET)
    (item,) = reader.feed(f"event: {SECRET}\ndata: nope\n\n".encode())
    assert SECRET not in f"{item} {reader.incomplete()}"
    assert "*** is no JSON object" in str(item)


@pytest.mark.parametrize(
    "data", [b"[DONE]", b"", b" ", b"{}", b'{"type":"x"}', b'{"type":"x","error":null}']
)
def test_what_says_nothing_is_ignored(data: bytes) -> None:
    """Unknown events, empty ones and the end mark bring nothing and break nothing."""
    assert read([event(data)]) == []


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (PARTIAL | {"b64_json": "?"}, "a partial image has a b64_json that is no base64"),
        (PARTIAL | {"b64_json": ""}, "a partial image has an empty b64_json"),
        (PARTIAL | {"b64_json": None}, "a partial image has no b64_json"),
        ({"type": "x.partial_image"}, "a partial image has no b64_json"),
        (b'{"type":', "an event is no JSON object"),
        (b"[1]", "an event is no JSON object"),
        (b"[" * 5000, "an event is no JSON object"),
    ],
)
def test_a_broken_event_is_passed_over(data: Any, what: str) -> None:
    """What is broken is told, with what arrived, and the stream goes on; it is named at its end."""
    stream = decoder()
    broken, answer = stream.feed(event(data) + event(COMPLETED))
    assert isinstance(broken, ProtocolError)
    assert str(broken).startswith(what)
    assert broken.may_be_billed
    assert isinstance(answer, Answer)
    error = stream.incomplete()
    assert what in str(error)
    assert str(error).count("may have been billed") == 1
    assert error.body == broken.body
    assert (error.may_be_billed, error.status, error.request_id) == (True, 200, "req ***")


def test_a_broken_completed_image_is_an_error() -> None:
    """The image that was paid for cannot be passed over."""
    with pytest.raises(ProtocolError, match="the completed image has a b64_json that") as caught:
        read([event(COMPLETED | {"b64_json": "?", "x": SECRET})])
    assert caught.value.may_be_billed
    assert SECRET.encode() not in caught.value.body
    assert b"total_tokens" in caught.value.body


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        ({"type": "error", "error": {"message": "no", "code": "server_error"}}, None, ServerError),
        ({"error": {"message": "no", "code": "moderation_blocked"}}, None, ModerationError),
        ({"error": {"message": "no", "type": "server_error"}}, "error", ServerError),
        ({"object": "error", "error": {"message": "no", "code": 503}}, None, ServerError),
        ({"error": {"message": "no", "code": "429"}}, None, RateLimitError),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "no"}, None, RateLimitError),
        ({"type": "error", "code": "invalid_api_key", "message": "no"}, None, AuthenticationError),
        ({"type": "error", "code": None, "message": "no", "param": "n"}, None, BadRequestError),
        ({"message": "no"}, "error", BadRequestError),
        (b"no", "error", BadRequestError),
        ({"error": "no"}, None, BadRequestError),
    ],
)
def test_an_error_event_is_the_right_error(
    data: object, name: str | None, kind: type[APIError]
) -> None:
    """Each dialect gives the error that its code stands for, and it may be billed."""
    with pytest.raises(kind, match=r"^no \(HTTP 200") as caught:
        read([event(PARTIAL), event(data, name)])
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.may_be_billed) == (200, True)


def test_an_event_without_its_empty_line_counts() -> None:
    """A completed image whose empty line is missing at the end is not lost; a cut one is no image."""
    text = event(COMPLETED)
    (answer,) = read([text[:-2]])
    assert isinstance(answer, Answer)
    (broken,) = read([text[:-9]])
    assert isinstance(broken, ProtocolError)


def test_how_an_incomplete_stream_is_told() -> None:
    """The error says how much arrived, why there is no more, and what to do."""
    stream = decoder()
    assert "no partial image arrived" in str(stream.incomplete())
    assert list(stream.feed(event(PARTIAL)))
    assert str(stream.incomplete("the connection broke")) == (
        "the stream brought no completed image: the connection broke; 1 partial image arrived, the "
        "last is in .partial. The call may have been billed: look at the account's usage before you "
        "send it again"
    )


# Whole answers as events ----------------------------------------------------------------------

DELTA = {"object": "image.edit.chunk", "type": "ar_delta", "delta": "A close-up", "index": 0}
CHUNK = {
    "object": "image.edit.chunk",
    "type": "image",
    "data": [{"b64_json": B64, "url": None}, {"url": "/v1/a.png", "revised_prompt": "b"}],
    "size": "1x1",
    "created": 5,
    "model": "m",
}


def answers(pieces: Iterable[bytes], list_key: str = "data") -> list[StreamItem]:
    stream = StreamDecoder(200, {}, max_event_bytes=10_000, list_key=list_key)
    return [item for piece in pieces for item in stream.feed(piece)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 500), max_size=6))
def test_an_event_that_is_a_whole_answer(cuts: list[int]) -> None:
    """The completed images come in a list, and what the model says before is ignored, wherever it is cut."""
    text = event(DELTA) + event({"type": "mask_loaded"}, "processing") + event(CHUNK)
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    (answer,) = answers(text[a:b] for a, b in itertools.pairwise(at))
    assert isinstance(answer, Answer)
    assert [(item.content, item.url) for item in answer.items] == [
        (IMAGE, None),
        (None, "/v1/a.png"),
    ]
    assert [item.revised_prompt for item in answer.items] == [None, "b"]
    assert (answer.created, answer.fields) == (5, {"size": "1x1"})
    assert answer.extra == {"object": "image.edit.chunk", "model": "m"}


def test_a_list_under_another_name() -> None:
    """The list is found where the server's profile says."""
    (answer,) = answers([event({"images": [{"b64_json": B64}]})], "images")
    assert isinstance(answer, Answer)
    assert [item.content for item in answer.items] == [IMAGE]
    assert answers([event({"data": []}), event({"data": "x"})]) == []


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        ({"object": "error", "error": {"message": "boom", "code": 500}}, None, ServerError),
        ({"type": "image_edit_error", "error": "boom"}, "error", BadRequestError),
        ({"data": [{"b64_json": "!"}]}, None, ProtocolError),
        ({"data": [{}]}, None, ProtocolError),
        ({"data": ["x"]}, None, ProtocolError),
    ],
)
def test_whole_answers_that_fail(data: Any, name: str | None, kind: type[Exception]) -> None:
    """Errors end the stream, and so does an answer without an image in it."""
    with pytest.raises(kind) as caught:
        answers([event(data, name)])
    assert caught.value.may_be_billed  # type: ignore[attr-defined]


def test_partial_images_beside_whole_answers() -> None:
    """In such a stream an image that is not where the list is cannot be read, and is passed over."""
    (passed,) = answers([event(PARTIAL)])
    assert isinstance(passed, ProtocolError)
