from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given, strategies as st

from imagesdk.errors import PayloadTooLargeError
from imagesdk.protocol.sse import EventEnd, EventParser, Token

Event = tuple[str, bytes]


def events_of(pieces: Iterable[bytes], max_event_bytes: int = 1000) -> list[Event]:
    """Return (name, data) of each event of a stream that arrives in *pieces*."""
    parser = EventParser(max_event_bytes)

    def tokens() -> Iterator[Token]:
        for piece in pieces:
            yield from parser.feed(piece)
        yield from parser.finish()

    found, data = [], b""
    for token in tokens():
        if isinstance(token, EventEnd):
            found.append((token.name, data))
            data = b""
        else:
            data += token
    assert data == b""
    return found


def expected(text: bytes) -> list[Event]:
    """Return the events as the standard says, by way of whole lines; the end of the text is a line's."""
    found: list[Event] = []
    name, data = b"", list[bytes]()
    for line in [*re.split(rb"\r\n|\r|\n", text.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if data:
                found.append((name.decode("utf-8", "replace"), b"\n".join(data)))
            name, data = b"", []
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return found


PARTS = (
    b"data: a", b"data:b", b"data:", b"data", b"data:  c: d", b"event: x", b"event", b"event:y ",
    b": ping", b"id: 7", b"retry: 5", b"data2: no", b"databases: no", b"\xef\xbb\xbf", b"\xff",
    b"\n", b"\r", b"\r\n", b"\n\n", b" ",
)  # fmt: skip


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the pieces in which it arrives; some of them empty."""
    text = b"".join(draw(st.lists(st.sampled_from(PARTS), max_size=20)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return text, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(chunked())
@example((b"data: a\r\n\r\ndata: b\r\n\r\n", [b"data: a\r", b"\n\r", b"\ndata: b\r\n\r", b"\n"]))
@example((b"\xef\xbb\xbfdata: a\n\n", [b"\xef", b"\xbb\xbfda", b"ta: a\n\n"]))
def test_any_chunking_gives_what_the_standard_says(case: tuple[bytes, list[bytes]]) -> None:
    """Wherever a stream is cut, its events are those of whole lines; one without its end counts."""
    text, pieces = case
    assert events_of(pieces) == expected(text)
    assert events_of(text[i : i + 1] for i in range(len(text))) == expected(text)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"event: e\ndata: 1\n\n", [("e", b"1")]),
        (b"data: 1\n\ndata: [DONE]\n\n", [("", b"1"), ("", b"[DONE]")]),
        (b": keep-alive\n\ndata: 1\n\n", [("", b"1")]),
        (b"data: 1\r\rdata: 2\r\r", [("", b"1"), ("", b"2")]),
        (b"data: 1\ndata: 2\n\n", [("", b"1\n2")]),
        (b"data:  1\n\n", [("", b" 1")]),
        (b"\xef\xbb\xbf\ndata: 1\n\n", [("", b"1")]),
        (b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\n", [("b", b"1"), ("", b"2")]),
        (b"event: a\n\ndata: 1\n\n", [("", b"1")]),
        (b"data: 1", [("", b"1")]),
        (b"event: " + b"n" * 999 + b"\ndata\n\n", [("n" * 200, b"")]),
        (b"", []),
        (b"no colon at all, and no field\n\n", []),
    ],
)
def test_each_form(text: bytes, events: list[Event]) -> None:
    """Names, comments, line ends, several lines, one space after the colon, a byte order mark."""
    assert events_of([text]) == events


def test_data_is_not_held() -> None:
    """The data of an event comes out with the piece that it comes in."""
    parser = EventParser(1000)
    assert [bytes(t) for t in parser.feed(b"data: ab") if isinstance(t, memoryview)] == [b"ab"]
    assert [bytes(t) for t in parser.feed(b"cd") if isinstance(t, memoryview)] == [b"cd"]
    assert list(parser.feed(b"\n\n")) == [EventEnd("")]


def test_an_event_has_a_limit() -> None:
    """An event that is longer than the limit is an error that says so; shorter ones add up to nothing."""
    assert len(events_of([b"data: 123\ndata: 567\n\n"] * 9, max_event_bytes=7)) == 9
    with pytest.raises(PayloadTooLargeError, match="larger than 6 bytes") as caught:
        events_of([b"data: 123\ndata: 567\n\n"], max_event_bytes=6)
    assert (caught.value.limit_bytes, caught.value.may_be_billed) == (6, True)


def test_a_stream_of_many_short_lines_is_read_in_linear_time() -> None:
    """Half a million lines that end in CR, in one piece, take no more than a look at each."""
    assert events_of([b":\r" * 500_000 + b"data: 1\r\r"]) == [("", b"1")]
