from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from imagesdk.errors import ConfigurationError, InvalidImageError
from imagesdk.prepare import Prepared, resize, upright

Encode = Callable[..., bytes]
LEFT, RIGHT = (200, 0, 0), (0, 0, 200)


def picture(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Return a picture with a red left and a blue right half."""
    image = Image.new("RGB", size, LEFT)
    image.paste(RIGHT, (size[0] // 2, 0, *size))
    return image


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(prepared: Prepared) -> Image.Image:
    """Decode a result, and check that it is what it says."""
    image = Image.open(io.BytesIO(prepared.data))
    assert (image.format or "").lower() == prepared.format
    assert image.size == (prepared.width, prepared.height)
    return image


def near(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(pixel, colour, strict=True))


def test_every_kind_of_input_is_read(tmp_path: Path) -> None:
    """Whatever a session takes as an image can be prepared, with the same result."""
    data = file(picture())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    encoded = base64.b64encode(data).decode()
    with path.open("rb") as opened_file:
        inputs: list[Any] = [
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            str(path),
            path,
            opened_file,
            f"data:image/png;base64,{encoded}",
            ("a.png", data, "image/png"),
            ("a.png", path, None),
            (None, io.BytesIO(data)),
        ]
        assert {upright(one).data for one in inputs} == {data}
    from_pillow = upright(picture())
    assert from_pillow.changes == ()
    assert opened(from_pillow).tobytes() == picture().tobytes()


def test_a_file_object_stays_where_it_is() -> None:
    """A file is read from its position, which is then as before; it is not closed."""
    data = file(picture())
    with tempfile.TemporaryFile() as stream:
        stream.write(b"before" + data)
        stream.seek(6)
        assert upright(stream).data == data
        assert stream.tell() == 6


def test_a_stream_without_a_position_is_read() -> None:
    """What can only be read, such as the answer of a server, is read once."""

    class Stream:
        def read(self, size: int = -1, /) -> bytes:
            del size
            return file(picture())

    assert upright(Stream()).width == 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation: int) -> None:
    """Each orientation of EXIF gives the same picture, which carries none any more."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    photo = picture().transpose(turns[orientation]) if orientation in turns else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(photo, "JPEG", exif=exif, quality=95)
    turned = upright(data)
    result = opened(turned)
    assert result.size == (40, 20)
    assert near(result.getpixel((3, 10)), LEFT)
    assert near(result.getpixel((36, 10)), RIGHT)
    if orientation == 1:
        assert (turned.data, turned.changes) == (data, ())
    else:
        assert turned.changes == (f"turned upright (EXIF orientation {orientation})",)
        assert 0x0112 not in result.getexif()


def test_what_is_right_comes_back_byte_for_byte() -> None:
    """Nothing is encoded anew without need: metadata and credentials stay in the file."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a fox")
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    for data in (file(picture(), pnginfo=info), file(palette)):
        assert upright(data).data == data
        assert resize(data, 40).data == data
    other = file(picture(), "GIF")
    assert (upright(other).data, upright(other).format) == (other, "gif")


def test_what_is_lost_is_said() -> None:
    """A file that is encoded anew names what of it is gone."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    data = file(picture().convert("CMYK"), "JPEG", exif=exif)
    marked = data[:2] + b"\xff\xfe\x00\x06c2pa" + data[2:]
    assert resize(marked, 20).changes == (
        "converted from CMYK to RGB",
        "left out EXIF metadata",
        "left out content credentials (C2PA), which hold for the original alone",
        "scaled from 40x20 to 20x10",
    )
    frames = file(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 20))])
    first = resize(frames, 20)
    assert first.changes == (
        "kept the first of 2 frames",
        "scaled from 40x20 to 20x10",
        "encoded as png instead of gif",
    )
    assert near(opened(first).convert("RGB").getpixel((2, 5)), LEFT)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_can_be_scaled(mode: str) -> None:
    """Palettes, print colours and 16 bits are converted, transparency is kept."""
    small = opened(resize(Image.new(mode, (8, 8)), 4))
    assert small.mode in ("L", "LA", "RGB", "RGBA")
    assert ("A" in small.mode) is ("A" in mode)


def test_the_transparent_colour_of_a_palette_is_kept() -> None:
    """A GIF or PNG with one transparent colour keeps it."""
    image = picture().convert("P", palette=Image.Palette.ADAPTIVE)
    data = file(image, "PNG", transparency=image.getpixel((1, 1)))
    result = opened(resize(data, 20))
    assert result.getpixel((2, 5))[3] == 0  # type: ignore[index]
    assert result.getpixel((17, 5))[3] == 255  # type: ignore[index]


def test_a_colour_profile_is_kept() -> None:
    """Colours mean the same as before."""
    result = opened(resize(file(picture(), "PNG", icc_profile=b"a profile"), 20))
    assert result.info["icc_profile"] == b"a profile"


def test_a_picture_that_is_too_large_is_not_decoded(png: Encode) -> None:
    """The number of pixels is checked before any of them is decoded."""
    head = png((300, 200))[:100]  # the pixels are cut off
    with pytest.raises(InvalidImageError) as caught:
        upright(head, max_pixels=50_000)
    assert str(caught.value) == (
        "image is 300x200, 60,000 pixels; it must be at most 50,000 pixels (scale it down, or raise "
        "max_pixels if there is memory for it)"
    )
    assert (caught.value.field, caught.value.limit) == ("image", "at most 50,000 pixels")
    with pytest.raises(InvalidImageError, match="at most 10 pixels"):
        upright(picture(), max_pixels=10)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, png: Encode) -> None:
    """Pillow's own alarm, a warning or an error, is an error of ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for size in ((64, 20), (64, 64)):
        with pytest.raises(InvalidImageError, match="decompression bomb"):
            upright(png(size), max_pixels=1000)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"<svg></svg>", "image is a file that begins with b'<svg></s'; it must be an image file"),
        (5, "image is int; it must be an image"),
        ("nothing.png", "image is 'nothing.png'; it must be a file that exists"),
        (io.StringIO("text"), "image is not readable: str from a file object: open it with mode"),
        ("data:image/png;base64,%", "it must be an image file that Pillow reads"),
    ],
)
def test_what_is_no_image_is_told(image: Any, message: str) -> None:
    """An error says what was given and what is wanted."""
    with pytest.raises(InvalidImageError) as caught:
        upright(image)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_damaged_file_is_told(kind: str) -> None:
    """A file that is cut off is an error, and never half a picture."""
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    data = file(noise, kind)
    for length in (30, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(InvalidImageError):
            upright(data[:length])


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[prepare\]'"):
        upright(b"")
