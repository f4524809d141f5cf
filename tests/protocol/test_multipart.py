from __future__ import annotations

import email
import email.policy
import re
from collections.abc import AsyncGenerator
from typing import Any, cast

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.protocol.multipart import FilePart, MultipartBody, Source, encode_multipart

BOUNDARY = "5f0c9a3be1d24d0f8a7b6c5d4e3f2a1b"

# https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A", 0: None}


@attrs.frozen
class Bytes:
    """A source in memory."""

    data: bytes
    piece_bytes: int = 7
    replayable: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
        for start in range(0, len(self.data), self.piece_bytes):
            yield memoryview(self.data)[start : start + self.piece_bytes]


def drain(source: Source) -> bytes:
    """Return all bytes of a source that never waits, without an event loop."""

    async def read() -> bytes:
        return b"".join([bytes(piece) async for piece in source.chunks()])

    coroutine = read()
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    return cast("bytes", caught.value.value)


def wire(body: MultipartBody) -> bytes:
    """Return the body as it is sent."""
    return b"".join(s if isinstance(s, bytes) else drain(s) for s in body.segments)


@attrs.frozen
class Part:
    """A part as an independent parser sees it; names are as they stand, escaped."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes


_DISPOSITION = re.compile(r'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?')


def parse(body: MultipartBody) -> list[Part]:
    """Parse a form with the parser for mail, and check that no part has a header too many."""
    data = f"Content-Type: {body.content_type}\r\n\r\n".encode() + wire(body)
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    assert message.is_multipart()
    assert not message.defects
    parts = []
    for part in cast("list[Any]", message.get_payload()):
        items = list(part.raw_items())
        headers = dict(items)
        assert len(headers) == len(items)
        disposition = headers.pop("Content-Disposition")
        text = disposition.encode("ascii", "surrogateescape").decode()
        match = _DISPOSITION.fullmatch(text)
        assert match, text
        content_type = headers.pop("Content-Type", None)
        assert headers == {}
        assert (content_type is None) == (match[2] is None)
        parts.append(Part(match[1], match[2], content_type, part.get_payload(decode=True)))
    return parts


def form(*fields: tuple[str, str], files: tuple[FilePart, ...] = ()) -> MultipartBody:
    return encode_multipart(fields, files, boundary=BOUNDARY)


def a_file(filename: str = "image.png", data: bytes = b"png", name: str = "image") -> FilePart:
    return FilePart(name=name, filename=filename, content_type="image/png", source=Bytes(data))


def filename_of(filename: str) -> str:
    (part,) = parse(form(files=(a_file(filename),)))
    assert part.filename is not None
    return part.filename


# Text with more than its share of what could break a header or a body.
nasty = st.text(
    st.one_of(
        st.sampled_from("\"\r\n\0;:=/-%\\.\t 'é狐\N{FOX FACE}\u2028\x85"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)
names = nasty.filter(lambda text: "\\" not in text)
files_ = st.builds(
    FilePart,
    name=st.sampled_from(["image", "image[]", "mask"]),
    filename=nasty,
    content_type=st.just("image/png"),
    source=st.builds(Bytes, st.binary(max_size=40), st.integers(1, 50)),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(names, nasty), max_size=4), st.lists(files_, max_size=3))
@example([("prompt", '\r\nContent-Disposition: form-data; name="n"\r\n\r\n99')], [])
@example([('a"; filename="evil.png', "x\r\n\r\n--")], [a_file('a"\r\nX-Evil: 1\r\n\r\nbody')])
@example([("user", "")], [a_file("", b""), a_file("..", b"\r\n")])
def test_an_independent_parser_reads_it_back(
    fields: list[tuple[str, str]], files: list[FilePart]
) -> None:
    """What another parser reads are the same fields and files, and the length was right."""
    body = encode_multipart(fields, files, boundary=BOUNDARY)
    assert len(wire(body)) == body.size_bytes
    if not fields and not files:
        assert wire(body) == f"--{BOUNDARY}--\r\n".encode()
        return
    parts = parse(body)
    assert [(p.name, p.data) for p in parts] == [
        *((name.translate(ESCAPES), value.encode()) for name, value in fields),
        *((file.name, cast("Bytes", file.source).data) for file in files),
    ]
    assert [p.content_type for p in parts] == [None] * len(fields) + ["image/png"] * len(files)
    for part in parts[len(fields) :]:
        assert part.filename
        assert not set(part.filename) & set('/\\"\r\n\0')
        assert part.filename not in {".", ".."}
        assert len(part.filename.encode()) <= 255


def test_layout() -> None:
    """The bytes are those of RFC 7578, fields before files."""
    body = form(("prompt", "a fox"), ("n", "2"), files=(a_file(),))
    assert (
        wire(body)
        == (
            f"--{BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="prompt"\r\n\r\na fox\r\n'
            f"--{BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="n"\r\n\r\n2\r\n'
            f"--{BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="image"; filename="image.png"\r\n'
            "Content-Type: image/png\r\n\r\npng\r\n"
            f"--{BOUNDARY}--\r\n"
        ).encode()
    )
    assert body.content_type == f"multipart/form-data; boundary={BOUNDARY}"


def test_the_layout_holds_no_file() -> None:
    """The segments are byte strings and the sources themselves: nothing of a file is copied."""
    one, two = a_file("a.png", bytes(10**6)), a_file("b.png", b"x")
    body = form(("prompt", "a fox"), files=(one, two))
    assert [s for s in body.segments if not isinstance(s, bytes)] == [one.source, two.source]
    assert sum(len(s) for s in body.segments if isinstance(s, bytes)) < 1000
    assert body.size_bytes == len(wire(body))


def test_a_second_attempt_sends_the_same_bytes() -> None:
    """The same layout gives the same bytes, as often as it is sent."""
    body = form(("prompt", "a fox"), files=(a_file(data=b"0123456789"),))
    assert wire(body) == wire(body)


@pytest.mark.parametrize(
    ("filename", "sent"),
    [
        ("lounge.png", "lounge.png"),
        ("../../etc/passwd", "passwd"),
        ("/abs/lute.png", "lute.png"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("C:\\mixed/slashes.png", "slashes.png"),
        ("..", "image"),
        (".", "image"),
        ("a/..", "image"),
        ("\0.\0.", "image"),
        ("", "image"),
        ("folder/", "image"),
        (".hidden", ".hidden"),
        ("a b.png", "a b.png"),
        ('quo"te.png', "quo%22te.png"),
        ("line\r\nbreak.png", "line%0D%0Abreak.png"),
        ("nul\0.png", "nul.png"),
        ("ünï狐.png", "ünï狐.png"),
        ("semi;colon.png", "semi;colon.png"),
        ("broken\udcff.png", "broken?.png"),
    ],
)
def test_filenames(filename: str, sent: str) -> None:
    """Only the last component of a path is sent, with what would end the header escaped."""
    assert filename_of(filename) == sent


@pytest.mark.parametrize(
    ("filename", "sent"),
    [
        ("a" * 251 + ".png", "a" * 251 + ".png"),
        ("a" * 252 + ".png", "a" * 251 + ".png"),
        ("a" * 5000 + ".png", "a" * 251 + ".png"),
        ("狐" * 100 + ".jpeg", "狐" * 83 + ".jpeg"),
        ("a" * 256, "a" * 255),
        ("狐" * 100, "狐" * 85),
        ("a." + "b" * 300, "a." + "b" * 253),
        ("ab." + "c" * 253, "a." + "c" * 253),
        ("ab." + "c" * 254, "ab." + "c" * 252),
        ('"' * 100 + ".png", "%22" * 83 + "%2" + ".png"),
        ("\udcff" * 300 + ".png", "?" * 251 + ".png"),
    ],
)
def test_long_filenames(filename: str, sent: str) -> None:
    """A name has at most 255 bytes on the wire, keeps its suffix, and is cut between characters."""
    assert filename_of(filename) == sent
    assert len(sent.encode()) <= 255


def test_content_type_is_one_line() -> None:
    """A content type can not add a header."""
    part = attrs.evolve(a_file(), content_type="image/png\r\nX-Evil: 1")
    (parsed,) = parse(form(files=(part,)))
    assert parsed.content_type == "image/pngX-Evil: 1"


def test_size_is_exact_for_non_ascii() -> None:
    """The length counts bytes, not characters."""
    body = form(("prompt", "狐狸 \N{FOX FACE}"), files=(a_file("狐.png"),))
    assert body.size_bytes == len(wire(body))
    assert parse(body)[0].data.decode() == "狐狸 \N{FOX FACE}"
