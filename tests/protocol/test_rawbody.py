from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from imagesdk.protocol.parts import MemorySink
from imagesdk.protocol.rawbody import ImageBody, ZipBody, body_kind

PNG = b"\x89PNG\r\n\x1a\n and so on"
JPEG = b"\xff\xd8\xff and so on"


class Sink(MemorySink):
    """Remembers what became of an image."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        super().__init__()
        self.state = "open"

    def finish(self) -> None:
        super().finish()
        self.state = "finished"

    def discard(self) -> None:
        super().discard()
        self.state = "discarded"


class Sinks(list[Sink]):
    """Makes sinks and remembers them."""

    def __call__(self) -> Sink:
        self.append(Sink())
        return self[-1]


def archive(
    members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED
) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, content in members:
            out.writestr(name, content)
    return bytearray(file.getvalue())


def unpack(wire: bytes | bytearray, **options: int) -> tuple[list[bytes | str], Sinks]:
    sinks = Sinks()
    body = ZipBody(sinks, **options)
    for at in range(0, len(wire), 1000):
        body.feed(wire[at : at + 1000])
    found = body.end()
    shown = [image.content if isinstance(image, Sink) else str(image) for image in found]
    assert [s for s in sinks if s.state != "discarded"] == [s for s in found if isinstance(s, Sink)]
    assert {sink.state for sink in sinks} <= {"finished", "discarded"}
    body.discard()
    assert {sink.state for sink in sinks} <= {"discarded"}
    return shown, sinks


@pytest.mark.parametrize(
    ("content_type", "begin", "kind"),
    [
        ("application/json", b"{", "json"),
        ("application/json", PNG, "json"),
        ("Application/JSON; charset=utf-8", PNG, "json"),
        ("", b"{", "json"),
        ("", b"", "json"),
        ("", b"hello", "json"),
        ("text/html", b"<html>", "json"),
        ("text/plain", PNG, "json"),
        ("image/png", PNG, "image"),
        ("image/png; q=1", JPEG, "image"),
        ("IMAGE/AVIF", b"????ftypavif", "image"),
        ("image/png", b' \n{"data"', "json"),
        ("image/png", b"[]", "json"),
        ("image/svg+xml", b"<svg", "image"),
        ("application/octet-stream", PNG, "image"),
        ("binary/octet-stream", JPEG, "image"),
        ("", JPEG, "image"),
        ("", b"<svg", "json"),
        ("application/octet-stream", b'{"data"', "json"),
        ("application/zip", b"PK\x03\x04", "zip"),
        ("application/x-zip-compressed", b"", "zip"),
        ("application/zip", b"{", "json"),
        ("", b"PK\x03\x04", "zip"),
        ("application/octet-stream", b"PK\x03\x04", "zip"),
        ("text/plain", b"PK\x03\x04", "json"),
    ],
)
def test_kinds(content_type: str, begin: bytes, kind: str) -> None:
    """The server's word counts unless the bytes are JSON; without a word the bytes decide."""
    assert body_kind(content_type, begin) == kind
    assert body_kind(content_type, bytearray(begin)) == kind


def test_an_image_is_passed_on() -> None:
    """The pieces of an image reach its sink as they come, and it is finished at the end."""
    sinks = Sinks()
    body = ImageBody(sinks)
    body.feed(b"")
    assert sinks == []
    body.feed(PNG)
    body.feed(bytearray(b"more"))
    assert sinks[0].content == PNG + b"more"
    assert body.end() is sinks[0]
    assert sinks[0].state == "finished"
    body.discard()
    assert sinks[0].state == "discarded"


def test_nothing_is_no_image() -> None:
    """A body without a byte is no image."""
    body = ImageBody(Sinks())
    with pytest.raises(ValueError, match="is empty"):
        body.end()
    body.discard()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_images_of_an_archive(compression: int) -> None:
    """Each image is unpacked in the archive's order; folders and other files are left out."""
    big = PNG + bytes(1_000_000)
    members = [
        ("../../etc/passwd", PNG),
        ("folder/", b""),
        ("meta.json", b"{}"),
        ("empty.png", b""),
        ("b.png", big),
        ("a", JPEG),
        ("a", PNG),
    ]
    with pytest.warns(UserWarning, match="Duplicate name"):
        wire = archive(members, compression)
    assert unpack(wire)[0] == [PNG, big, JPEG, PNG]


def test_a_broken_member_spoils_one_image() -> None:
    """What cannot be unpacked is told in its place, and the others are kept."""
    wire = archive([("a", PNG), ("b", PNG + b"!"), ("c", JPEG)], zipfile.ZIP_STORED)
    wire[wire.index(PNG + b"!") + len(PNG)] = ord("?")
    found, sinks = unpack(wire)
    assert [found[0], found[2]] == [PNG, JPEG]
    assert str(found[1]).startswith("cannot be unpacked: Bad CRC-32")
    assert len(sinks) == 2


def test_damaged_compression() -> None:
    """Compressed data that makes no sense is an error of its image."""
    wire = archive([("a", PNG + bytes(range(256)) * 400)])
    wire[120:140] = b"\xff" * 20
    (found,), _ = unpack(wire)
    assert str(found).startswith("cannot be unpacked: ")


def test_encryption() -> None:
    """A member that needs a password is an error of its image."""
    wire = archive([("a", PNG)])
    for head, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        wire[wire.index(head) + offset] |= 1
    (found,), _ = unpack(wire)
    assert str(found).startswith("cannot be unpacked: ")
    assert "password" in str(found)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(compression: int) -> None:
    """Compression that cannot be unpacked within bounds is refused."""
    (found,), sinks = unpack(archive([("a", PNG)], compression))
    assert found == f"is compressed by method {compression}, which is not read"
    assert sinks == []


def test_a_bomb() -> None:
    """An archive that unpacks to more than the cap is stopped there; images before it are kept."""
    wire = archive([("a", PNG), ("b", PNG + bytes(5_000_000)), ("c", PNG)])
    assert len(wire) < 10_000
    found, _ = unpack(wire, max_unpacked_bytes=1_000_000)
    why = "does not fit: the archive unpacks to more than 1,000,000 bytes"
    assert found == [PNG, why, why]


def test_members_without_end() -> None:
    """An archive of very many members is refused before its list is read."""
    wire = archive([(str(number), b"") for number in range(1001)])
    with pytest.raises(ValueError, match="has more than 1,000 members"):
        unpack(wire)


def test_a_sink_that_fails() -> None:
    """An error of a sink passes, and what was written before is discarded."""
    sinks = Sinks()

    def new_sink() -> Sink:
        if sinks:
            raise OSError("disk full")
        return sinks()

    body = ZipBody(new_sink)
    body.feed(archive([("a", PNG), ("b", PNG)]))
    with pytest.raises(OSError, match="disk full"):
        body.end()
    body.discard()
    assert [sink.state for sink in sinks] == ["discarded"]


@pytest.mark.parametrize("wire", [b"", b"PK\x03\x04", b"no archive"])
def test_what_is_no_archive(wire: bytes) -> None:
    """Bytes that are no archive are an error."""
    with pytest.raises(ValueError, match="is no zip archive: File is not a zip file"):
        unpack(wire)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_anywhere(data: st.DataObject) -> None:
    """However an archive is damaged or cut, there are images, named errors, or it is no archive."""
    wire = archive([("a", PNG), ("b", JPEG + bytes(100))])
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = wire[: data.draw(st.integers(len(wire) // 2, len(wire)) | st.just(len(wire)))]
    try:
        found, _ = unpack(wire)
    except ValueError as error:
        assert str(error).startswith("is no zip archive: ")  # noqa: PT017
    else:
        assert len(found) <= 2
