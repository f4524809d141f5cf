from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFile

from imagesdk.models.requests import ImageInfo
from imagesdk.protocol.imageinfo import (
    HEAD_BYTES,
    MIME_TYPES,
    SUFFIXES,
    dimensions,
    probe,
    sniff,
)

Kind = Literal["PNG", "JPEG", "WEBP", "GIF"]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

edges = st.integers(1, 70)


def make(kind: Kind, width: int = 9, height: int = 7, mode: str = "RGB", **options: Any) -> bytes:
    """Make an image file with a little of everything in it, so that no encoder simplifies it."""
    picture = Image.effect_noise((width, height), 80).convert("L")
    if mode in {"RGBA", "LA"}:
        picture = Image.merge("LA", (picture, picture.transpose(Image.Transpose.ROTATE_180)))
    buffer = BytesIO()
    picture.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def look(data: bytes, *, whole: bool = True) -> ImageInfo:
    return probe(lambda offset, size: data[offset : offset + size], len(data), whole=whole)


def look_or_error(data: bytes, *, whole: bool = True) -> ImageInfo | ValueError:
    try:
        return look(data, whole=whole)
    except ValueError as error:
        return error


def pillows(data: bytes) -> tuple[int, int, bool]:
    """Return what Pillow says about a file."""
    with Image.open(BytesIO(data)) as picture:
        alpha = picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
        return *picture.size, alpha


def ours(data: bytes) -> tuple[int, int, bool]:
    info = look(data)
    assert info.size_bytes == len(data)
    return info.width, info.height, info.has_alpha


# Agreement with Pillow ------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(edges, edges, st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]), st.booleans())
def test_png_agrees_with_pillow(width: int, height: int, mode: str, interlaced: bool) -> None:  # noqa: FBT001
    """Size and transparency of a PNG are what Pillow says, in each colour type and depth."""
    if mode == "I;16":
        buffer = BytesIO()
        Image.new(mode, (width, height)).save(buffer, "PNG")
        data = buffer.getvalue()
    else:
        data = make("PNG", width, height, mode, interlace=interlaced)
    assert look(data).format == "png"
    assert ours(data) == pillows(data) == (width, height, mode in {"LA", "RGBA"})


@pytest.mark.parametrize(
    ("mode", "transparency"), [("P", 0), ("P", b"\x00\x80\xff"), ("L", 7), ("RGB", (1, 2, 3))]
)
def test_png_with_transparent_colours(mode: str, transparency: Any) -> None:
    """A palette or a colour that is transparent (tRNS) counts as transparency."""
    data = make("PNG", mode=mode, transparency=transparency)
    assert b"tRNS" in data
    assert ours(data) == pillows(data) == (9, 7, True)
    assert look(data, whole=False).has_alpha


@settings(deadline=None, max_examples=40)
@given(edges, edges, st.sampled_from(["L", "RGB", "CMYK"]), st.booleans())
def test_jpeg_agrees_with_pillow(width: int, height: int, mode: str, progressive: bool) -> None:  # noqa: FBT001
    """Size of a JPEG is what Pillow says, baseline and progressive; it has no transparency."""
    data = make("JPEG", width, height, mode, progressive=progressive)
    assert look(data).format == "jpeg"
    assert ours(data) == pillows(data) == (width, height, False)


@settings(deadline=None, max_examples=60)
@given(edges, edges, st.sampled_from(["RGB", "RGBA"]), st.booleans(), st.booleans())
def test_webp_agrees_with_pillow(
    width: int,
    height: int,
    mode: str,
    lossless: bool,  # noqa: FBT001
    extended: bool,  # noqa: FBT001
) -> None:
    """Size and transparency of a WebP are what Pillow says: lossy, lossless and extended."""
    options = {"icc_profile": b"some profile"} if extended else {}
    data = make("WEBP", width, height, mode, lossless=lossless, **options)
    assert look(data).format == "webp"
    assert ours(data) == pillows(data)
    assert ours(data)[:2] == (width, height)


def test_every_webp_layout_is_covered() -> None:
    """The files above are of all three layouts, else the test before this one proves too little."""
    assert make("WEBP")[12:16] == b"VP8 "
    assert make("WEBP", lossless=True)[12:16] == b"VP8L"
    assert make("WEBP", mode="RGBA", lossless=True)[12:16] == b"VP8L"
    assert make("WEBP", icc_profile=b"some profile")[12:16] == b"VP8X"


def test_animated_webp() -> None:
    """Of an animation the canvas counts."""
    buffer = BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    assert ours(buffer.getvalue())[:2] == (40, 30)


@settings(deadline=None, max_examples=20)
@given(edges, edges)
def test_gif_agrees_with_pillow(width: int, height: int) -> None:
    """Size of a GIF is what Pillow says; its frames may have transparency, so it counts as having."""
    data = make("GIF", width, height, "P")
    assert look(data).format == "gif"
    assert ours(data) == (*pillows(data)[:2], True)


# Unusual and good -----------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + b"crc!"


def test_big_chunk_before_the_pixels() -> None:
    """Metadata of megabytes before the pixels (content credentials, profiles) is stepped over."""
    data = make("PNG", mode="P", transparency=0)
    grown = data[:33] + png_chunk(b"caBX", bytes(3_000_000)) + data[33:]
    read = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal read
        piece = grown[offset : offset + size]
        read += len(piece)
        return piece

    info = probe(read_at, len(grown))
    assert (info.width, info.height, info.has_alpha) == (9, 7, True)
    assert read < 1000


def test_data_after_the_end_of_a_png() -> None:
    """Bytes after IEND do not matter."""
    assert ours(make("PNG") + b"trailing") == (9, 7, False)


def thumbnail_exif() -> bytes:
    """Return EXIF data that holds a whole JPEG, end marker included, as cameras write it."""
    return b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00" + make("JPEG", 4, 4)


@pytest.mark.parametrize("appended", [0, 10, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 300_000])
def test_film_after_a_jpeg(appended: int) -> None:
    """Phones append films to photos: the end marker may be far from the end of the file."""
    assert ours(make("JPEG") + bytes(appended)) == (9, 7, False)


def test_jpeg_with_fill_bytes_and_lone_markers() -> None:
    """Fill bytes before a marker, and markers without data, are stepped over."""
    data = make("JPEG")
    assert ours(data[:2] + b"\xff\xff\xff" + data[2:]) == (9, 7, False)
    assert ours(data[:2] + b"\xff\x01\xff\xd0" + data[2:]) == (9, 7, False)


def test_dimensions_of_a_whole_image() -> None:
    """`dimensions` is width and height of an image in memory."""
    images: Mapping[str, bytes] = {kind: make(kind) for kind in ("PNG", "JPEG", "WEBP")}
    assert {kind: dimensions(data) for kind, data in images.items()} == dict.fromkeys(
        images, (9, 7)
    )
    assert dimensions(make("GIF", mode="P")) == (9, 7)


def test_dimensions_need_the_header_alone() -> None:
    """The beginning of a file is enough for `dimensions`: it does not check that the rest is there."""
    png = make("PNG", 70, 70, "P", transparency=0)
    assert dimensions(png[: png.index(b"IDAT") + 4]) == (70, 70)
    assert dimensions(png[:33]) == (70, 70)  # nothing but IHDR
    jpeg = make("JPEG", 70, 70)
    assert dimensions(jpeg[: jpeg.index(b"\xff\xc0") + 20]) == (70, 70)
    webp = make("WEBP", 70, 70)
    assert dimensions(webp[:40]) == (70, 70)


@pytest.mark.parametrize("data", [b"", b"text", PNG_SIGNATURE, b"\xff\xd8\xff\xe0", b"<svg/>"])
def test_dimensions_of_anything_else(data: bytes) -> None:
    """`dimensions` is None for what has none that can be read."""
    assert dimensions(data) is None


# Truncated ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(make("PNG", mode="RGBA"), id="png"),
        pytest.param(make("PNG", mode="P", transparency=b"\x00\x10"), id="png-palette"),
        pytest.param(make("JPEG", 40, 40), id="jpeg"),
        pytest.param(make("JPEG", 40, 40, progressive=True), id="jpeg-progressive"),
        pytest.param(make("JPEG", 40, 40, exif=thumbnail_exif()), id="jpeg-thumbnail"),
        pytest.param(make("WEBP"), id="webp-lossy"),
        pytest.param(make("WEBP", lossless=True), id="webp-lossless"),
        pytest.param(make("WEBP", mode="RGBA", icc_profile=b"1234"), id="webp-extended"),
    ],
)
def test_truncation_at_every_byte(data: bytes) -> None:
    """A file that is cut anywhere is refused, with a ValueError that says so and nothing else."""
    assert look(data).size_bytes == len(data)
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"^is ") as caught:
            look(data[:end])
        assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"a text", r"is no PNG, JPEG, WebP or GIF image: it begins with b'a text'"),
        (b"BM" + bytes(60), r"it begins with b'BM\\x00"),
        (b"<svg xmlns='x'/>", r"is no PNG, JPEG, WebP or GIF image"),
        (b'<?xml version="1.0"?><svg/>', r"is no PNG, JPEG, WebP or GIF image"),
        (PNG_SIGNATURE, "is a PNG file that ends inside its header"),
        (make("PNG")[:45], r"truncated PNG file: it has 45 bytes, and chunk IDAT would end"),
        (make("PNG")[:41], r"it has 41 bytes, and chunk IDAT would end"),
        (make("PNG")[:33], "truncated PNG file: it ends after chunk IHDR, without IEND"),
        (PNG_SIGNATURE + png_chunk(b"IDAT", bytes(13)), "first chunk is not IHDR"),
        (PNG_SIGNATURE + png_chunk(b"IHDR", bytes(14)), "first chunk is not IHDR"),
        (
            PNG_SIGNATURE + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"IEND", b""),
            "is a PNG file of 0x0 pixels",
        ),
        (b"\xff\xd8\xff\xe0", "is a JPEG file that ends inside its header|no frame header"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG file: it has no frame header"),
        (b"\xff\xd8\xff\xe0\x00\x02junk", "damaged JPEG file: no marker where one must be"),
        (make("JPEG")[:-2], "truncated JPEG file: its end marker is missing"),
        (b"RIFF\x16\x00\x00\x00WEBPVP9 " + bytes(14), r"damaged WebP file: .* b'VP9 '"),
        (make("WEBP")[:-1], r"truncated WebP file: it has .* bytes of "),
        (b"GIF89a\x00\x00\x01\x00", "is a GIF file of 0x1 pixels"),
        (b"GIF87a\x00", "is a GIF file that ends inside its header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_messages(data: bytes, message: str) -> None:
    """The message says what the file is and what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        look(data)


def test_pillow_refuses_what_we_call_truncated() -> None:
    """The cut photo with a thumbnail is broken for Pillow too, although it holds an end marker."""
    data = make("JPEG", 40, 40, exif=thumbnail_exif())
    cut = data[: len(data) - 40]
    assert b"\xff\xd9" in cut
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(OSError, match="truncated"), Image.open(BytesIO(cut)) as picture:
        picture.load()
    with pytest.raises(ValueError, match="end marker is missing"):
        look(cut)


# Anything -------------------------------------------------------------------------------------

BEGINNINGS = (
    b"",
    PNG_SIGNATURE,
    PNG_SIGNATURE + b"\x00\x00\x00\x0dIHDR",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xc0\x00\x0b",
    b"GIF89a",
    b"RIFF\x05\x00\x00\x00WEBP",
    *(b"RIFF\x05\x00\x00\x00WEBP" + kind for kind in (b"VP8 ", b"VP8L", b"VP8X")),
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=80), st.booleans())
def test_anything_gives_an_answer_or_a_value_error(
    beginning: bytes,
    rest: bytes,
    whole: bool,  # noqa: FBT001
) -> None:
    """Whatever the bytes are: an ImageInfo with real dimensions or a ValueError, nothing else."""
    data = beginning + rest
    answer = look_or_error(data, whole=whole)
    if isinstance(answer, ImageInfo):
        assert answer.width >= 1
        assert answer.height >= 1
        assert answer.format == sniff(data[:HEAD_BYTES])
    else:
        assert type(answer) is ValueError
        assert str(answer).startswith("is ")


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([make("PNG"), make("JPEG"), make("WEBP"), make("GIF", mode="P")]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
)
def test_damaged_files(data: bytes, damage: list[tuple[int, int]]) -> None:
    """A file with a few wrong bytes gives an answer or a ValueError, nothing else."""
    broken = bytearray(data)
    for place, value in damage:
        broken[place % len(broken)] = value
    answer = look_or_error(bytes(broken))
    assert isinstance(answer, ImageInfo) or str(answer).startswith("is ")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (make("PNG"), "png"),
        (make("JPEG"), "jpeg"),
        (make("WEBP"), "webp"),
        (make("GIF", mode="P"), "gif"),
        (b"GIF87a", "gif"),
        (b"<svg", "svg"),
        (b'<?xml version="1.0"?><svg/>', "svg"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', None),
        (b"\xef\xbb\xbf  \r\n\t<svg>", "svg"),
        (b"<html>", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"RIFF", None),
        (b"\x89PNG", None),
        (b"\xff\xd8", None),
        (b"GIF88a", None),
        (b"%PDF", None),
        (b"", None),
    ],
)
def test_sniff(head: bytes, kind: str | None) -> None:
    """The type comes from the first bytes."""
    assert sniff(head[:HEAD_BYTES]) == kind


def test_every_kind_has_a_type_and_a_suffix() -> None:
    """Each format that is recognised can be named to a server and on disk."""
    assert set(MIME_TYPES) == set(SUFFIXES) == {"png", "jpeg", "webp", "gif", "svg"}
    assert MIME_TYPES["jpeg"] == "image/jpeg"
    assert all(s.startswith(".") for s in SUFFIXES.values())
