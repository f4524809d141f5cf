"""Lines of the server's batches: as they are uploaded, and as they come back."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from imagesdk.errors import (
    BadRequestError,
    BatchError,
    ImageSDKError,
    InvalidImageError,
    ModerationError,
    ProtocolError,
    ServerError,
)
from imagesdk.models.families import ModelFamily
from imagesdk.models.profiles import family_of
from imagesdk.models.requests import EditRequest, GenerateRequest, ImageRequest
from imagesdk.models.servers import profile_for_host
from imagesdk.protocol.batchlines import AnswerLine, LineDecoder, encode_line
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.encode import InputFile
from imagesdk.protocol.parts import MemorySink

CLASSIC = family_of("dall-e-2", profile_for_host("127.0.0.1"))
GPT = family_of("gpt-image-2", profile_for_host("api.openai.com"))
SECRET = "sk-test-0123456789"  # noqa: S105


@attrs.frozen
class Bytes:
    """A source of bytes, said to be as many as one likes."""

    data: bytes
    size_bytes: int
    replayable: bool = True

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        yield self.data


def file(field: str, data: bytes = b"abc", size_bytes: int | None = None) -> InputFile:
    """Return an image input."""
    size = len(data) if size_bytes is None else size_bytes
    return InputFile(
        field=field, filename="a.png", content_type="image/png", source=Bytes(data, size)
    )


async def line_of(request: ImageRequest, family: ModelFamily, *files: InputFile) -> dict[str, Any]:
    """Return a line as the server reads it."""
    body = encode_line("a", request, family, files, boundary="0123456789abcdef")
    text = b""
    for segment in body.segments:
        if isinstance(segment, bytes):
            text += segment
        else:
            text += b"".join([bytes(piece) async for piece in segment.chunks()])
    assert len(text) == body.size_bytes
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    line: dict[str, Any] = json.loads(text)
    return line


async def test_a_generation_is_a_line() -> None:
    """A line has the id, the endpoint and the body that the same request has by itself."""
    request = GenerateRequest("a\nb", model="gpt-image-2", n=2, extra_body={"seed": 7})
    assert await line_of(request, GPT) == {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/images/generations",
        "body": {"prompt": "a\nb", "model": "gpt-image-2", "n": 2, "seed": 7},
    }


async def test_an_edit_is_json_with_its_images_in_it() -> None:
    """Images and mask of an edit are data URLs."""
    request = EditRequest(["x", "y"], "a", mask="m", model="gpt-image-2")
    line = await line_of(request, GPT, file("image"), file("image", b"d"), file("mask", b"m"))
    assert line["url"] == "/v1/images/edits"
    assert line["body"] == {
        "prompt": "a",
        "model": "gpt-image-2",
        "images": [
            {"image_url": "data:image/png;base64,YWJj"},
            {"image_url": "data:image/png;base64,ZA=="},
        ],
        "mask": {"image_url": "data:image/png;base64,bQ=="},
    }


@pytest.mark.parametrize(
    ("family", "asked", "sent"),
    [
        (CLASSIC, None, "b64_json"),
        (CLASSIC, "url", "url"),
        (GPT, "b64_json", None),
    ],
)
async def test_the_image_itself_is_asked_for(
    family: ModelFamily, asked: str | None, sent: str | None
) -> None:
    """A URL would be dead by the time that the answer is read, so it must be asked for."""
    line = await line_of(GenerateRequest("a", response_format=asked), family)
    assert line["body"].get("response_format") == sent


@pytest.mark.parametrize(
    ("given_file", "words"),
    [
        (file("image", size_bytes=15_728_640), "at most 15,728,640 bytes"),
        (file("markup"), "markup cannot stand"),
    ],
)
def test_what_json_cannot_hold_is_refused(given_file: InputFile, words: str) -> None:
    """An image whose data URL would be too long, and a markup, are errors that name the way out."""
    with pytest.raises(InvalidImageError, match=words) as caught:
        encode_line("a", EditRequest("x", "a"), GPT, [given_file], boundary="0123")
    assert "batch run" in str(caught.value)
    assert caught.value.field == given_file.field


# Answers ------------------------------------------------------------------------------------------


def read(text: bytes, cuts: list[int] | None = None) -> AnswerLine:
    """Read a line that comes in pieces."""
    decoder = LineDecoder(MemorySink, SECRET)
    ends = [0, *sorted(cut % (len(text) + 1) for cut in cuts or ()), len(text)]
    for begin, end in pairwise(ends):
        decoder.feed(text[begin:end])
    return decoder.finish()


def answer(*images: bytes, status: int = 200, **body: Any) -> bytes:
    """Return a line of an output file."""
    data = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    response = {"status_code": status, "request_id": "req_1", "body": {"data": data} | body}
    line = {"id": "b", "custom_id": "a", "response": response, "error": None}
    return json.dumps(line).encode()


@given(st.lists(st.integers(min_value=0), max_size=6))
def test_any_pieces_of_a_line_give_the_same_answer(cuts: list[int]) -> None:
    """An answer comes out as it would by itself, however it arrives."""
    line = read(answer(b"abc", b"de", created=1, usage={"total_tokens": 5}), cuts)
    assert (line.custom_id, line.request_id) == ("a", "req_1")
    assert isinstance(line.result, Answer)
    assert [item.content for item in line.result.items] == [b"abc", b"de"]
    assert line.result.created == 1
    assert line.result.fields["usage"] == {"total_tokens": 5}
    assert line.result.headers == {"x-request-id": "req_1"}


def test_images_may_be_at_urls_and_in_data_urls() -> None:
    """All forms of an image are read."""
    line = read(answer(data=[{"url": "data:image/png;base64,YWJj"}, {"url": "http://x/a.png"}]))
    assert isinstance(line.result, Answer)
    assert [(item.content, item.url) for item in line.result.items] == [
        (b"abc", None),
        (None, "http://x/a.png"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", BadRequestError),
        (400, "moderation_blocked", ModerationError),
        (500, None, ServerError),
        (99, None, BadRequestError),
    ],
)
def test_a_refusal_is_the_error_that_it_would_be_by_itself(
    status: int, code: str | None, kind: type[ImageSDKError]
) -> None:
    """A line with another status is the server's refusal, without the key in it."""
    line = read(answer(status=status, error={"message": f"no {SECRET}", "code": code}))
    assert isinstance(line.result, kind)
    assert SECRET not in str(line.result)
    assert line.result.status == status
    assert line.result.request_id == "req_1"


def test_what_was_not_run_says_why() -> None:
    """A line without a response is an error that names the reason and the way on."""
    error = {"code": "batch_expired", "message": "too late"}
    text = json.dumps({"custom_id": "a", "response": None, "error": error}).encode()
    result = read(text).result
    assert isinstance(result, BatchError)
    assert "too late (batch_expired)" in str(result)
    assert "batch run" in str(result)
    assert not result.may_be_billed
    assert result.error == error


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"b64_json": "?"}]}, {"data": None}, {}])
def test_an_answer_without_images_may_have_been_billed(body: dict[str, Any]) -> None:
    """A success that brings nothing is an error of the protocol."""
    result = read(answer(**({"data": None} | body))).result
    assert isinstance(result, ProtocolError)
    assert result.may_be_billed


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"response": {}}',
        b'{"custom_id": 7}',
        b'{"custom_id": "a", "response": {}}',
    ],
)
def test_a_line_that_is_none_is_an_error(text: bytes) -> None:
    """What cannot be read, or does not say whose answer it is, is told."""
    with pytest.raises(ProtocolError, match="a line of the batch's file") as caught:
        read(text)
    assert caught.value.may_be_billed


def test_images_of_a_line_that_is_given_up_are_dropped() -> None:
    """Nothing is kept of what is not handed out."""
    sinks: list[MemorySink] = []

    def new_sink() -> MemorySink:
        sinks.append(MemorySink())
        return sinks[-1]

    for end in ("discard", "finish"):
        decoder = LineDecoder(new_sink, SECRET)
        decoder.feed(answer(b"abc", status=500))
        getattr(decoder, end)()
    assert [sink.content for sink in sinks] == [b"", b""]
