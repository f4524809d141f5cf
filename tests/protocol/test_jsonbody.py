"""JSON with files in it: the layout says its length, and base64 is made on the way."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from imagesdk.protocol.jsonbody import DataURL, JSONBody, encode_json


@attrs.frozen
class Pieces:
    """A source of given pieces."""

    pieces: tuple[bytes, ...]
    replayable: bool = True

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        for piece in self.pieces:
            yield piece


def url(*pieces: bytes, content_type: str = "image/png") -> DataURL:
    """Return a data URL of a file that comes in pieces."""
    return DataURL(content_type, Pieces(pieces))


async def sent(body: JSONBody) -> bytes:
    """Return what is sent."""
    parts: list[bytes | memoryview] = []
    for segment in body.segments:
        parts += [segment] if isinstance(segment, bytes) else [p async for p in segment.chunks()]
    return b"".join(parts)


async def test_files_stand_in_json_as_data_urls() -> None:
    """What is sent is JSON with the files in it, and as long as it was said to be."""
    value = {"a": 1, "images": [{"image_url": url(b"abcd")}, {"image_url": url(b"")}], "z": "ä"}
    body = encode_json(value, boundary="0123456789abcdef")
    whole = await sent(body)
    assert json.loads(whole) == {
        "a": 1,
        "images": [
            {"image_url": "data:image/png;base64," + base64.b64encode(b"abcd").decode()},
            {"image_url": "data:image/png;base64,"},
        ],
        "z": "ä",
    }
    assert body.size_bytes == len(whole)
    assert body.content_type == "application/json"
    assert await sent(body) == whole  # once more


@given(st.lists(st.binary(max_size=40), max_size=8))
async def test_any_pieces_of_a_file_give_the_same_text(pieces: list[bytes]) -> None:
    """How a file is read makes no difference."""
    body = encode_json({"u": url(*pieces, content_type="image/webp")}, boundary="0123456789abcdef")
    whole = await sent(body)
    text = json.loads(whole)["u"]
    assert text == "data:image/webp;base64," + base64.b64encode(b"".join(pieces)).decode()
    assert body.size_bytes == len(whole)


def test_a_file_that_can_be_read_once_says_so() -> None:
    """A body can be sent again if its files can be read again."""
    once = DataURL("image/png", Pieces((b"a",), replayable=False))
    assert not once.replayable


@pytest.mark.parametrize("value", [object(), {1, 2}.__iter__()])
def test_what_has_no_form_in_json_is_refused(value: Any) -> None:
    """A value that JSON cannot hold is an error, and not its repr."""
    with pytest.raises(TypeError, match="has no form in JSON"):
        encode_json({"a": value}, boundary="x")
