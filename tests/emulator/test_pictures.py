from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import pytest

from imagesdk.emulator.pictures import MAX_PIXELS, Picture, check_pictures, read_picture
from imagesdk.emulator.spec import MODELS

Encode = Callable[..., bytes]
MB = 1024 * 1024


def _check(
    model: str, *uploads: tuple[str, bytes] | tuple[str, bytes, str], alpha_is_mask: bool = False
) -> tuple[str | None, str | None] | None:
    pictures = [
        read_picture(role, types[0] if types else "image/png", data)
        for role, data, *types in uploads
    ]
    return _refused(model, pictures, alpha_is_mask=alpha_is_mask)


def _refused(
    model: str, pictures: Sequence[Picture], *, alpha_is_mask: bool = False
) -> tuple[str | None, str | None] | None:
    refusal = check_pictures(MODELS[model].uploads, pictures, alpha_is_mask=alpha_is_mask)
    if refusal is None:
        return None
    assert (refusal.status, refusal.type) == (400, "invalid_request_error")
    return refusal.param, refusal.code


def _padded(png: bytes, size: int) -> bytes:
    """Grow a PNG to exactly *size* bytes with an ancillary chunk."""
    data = bytes(size - len(png) - 12)
    chunk = struct.pack(">I", len(data)) + b"paDd" + data
    chunk += struct.pack(">I", zlib.crc32(b"paDd" + data))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize(
    ("image_format", "mode", "name", "has_alpha"),
    [
        ("PNG", "RGBA", "png", True),
        ("PNG", "LA", "png", True),
        ("PNG", "RGB", "png", False),
        ("JPEG", "RGB", "jpeg", False),
        ("WEBP", "RGBA", "webp", True),
        ("GIF", "L", None, False),
    ],
)
def test_reads_the_bytes(
    picture: Encode, image_format: str, mode: str, name: str | None, *, has_alpha: bool
) -> None:
    """Format, size and alpha come from the bytes, whatever was declared."""
    read = read_picture("image", "text/plain", picture((30, 20), mode, image_format))
    assert (read.format, read.has_alpha) == (name, has_alpha)
    assert read.size == ((30, 20) if name else (0, 0))


def test_a_transparent_colour_is_alpha(picture: Encode) -> None:
    """A PNG with a tRNS chunk is transparent somewhere."""
    assert read_picture("image", "", picture(mode="RGB", transparency=(0, 0, 0))).has_alpha
    assert read_picture("image", "", picture(mode="P", transparency=0)).has_alpha


def test_pictures_are_read_upright(picture: Encode) -> None:
    """The EXIF orientation is applied before sizes are compared."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    sideways = picture((30, 20), "RGB", "JPEG", exif=exif)
    assert read_picture("image", "image/jpeg", sideways).size == (20, 30)


def test_a_cut_png_is_damaged_wherever_it_is_cut(picture: Encode) -> None:
    """A PNG that lost its end is refused, even if all pixels arrived."""
    png = picture()
    for length in range(8, len(png)):
        assert _check("dall-e-2", ("image", png[:length])) == ("image", "invalid_image")


@pytest.mark.parametrize(("image_format", "length"), [("JPEG", 300), ("WEBP", 30)])
def test_a_cut_jpeg_or_webp_is_damaged(picture: Encode, image_format: str, length: int) -> None:
    """Other formats that lost their end are refused too."""
    data = picture((64, 64), "RGB", image_format)[:length]
    assert _check("gpt-image-2", ("image", data)) == ("image", "invalid_image")


def test_too_many_pixels_are_never_decoded(picture: Encode) -> None:
    """The number of pixels is read from the header and refused before decoding."""
    png = bytearray(picture())
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    read = read_picture("image", "image/png", bytes(png))
    assert read.size == (60_000, 60_000)
    assert read.image is None
    assert read.size[0] * read.size[1] > MAX_PIXELS
    assert _check("dall-e-2", ("image", bytes(png))) == ("image", "image_too_large")


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "empty_image_file"), (b"just some text", "invalid_image_format")],
)
def test_what_is_no_picture(data: bytes, code: str) -> None:
    """An empty file and a text file are refused for what they are."""
    assert _check("dall-e-2", ("image", data)) == ("image", code)
    assert _check("gpt-image-2", ("image", data)) == ("image", code)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain", "image/png"])
def test_classic_does_not_mind_the_declared_type(picture: Encode, content_type: str) -> None:
    """Legacy clients upload without a type, and the classic API looks at the bytes."""
    assert _check("dall-e-2", ("image", picture(), content_type)) is None


def test_gpt_minds_the_declared_type(picture: Encode) -> None:
    """GPT Image models refuse octet-stream in the words of the real server."""
    read = read_picture("image", "application/octet-stream", picture())
    refusal = check_pictures(MODELS["gpt-image-2"].uploads, [read], alpha_is_mask=False)
    assert refusal is not None
    assert refusal.code == "unsupported_file_mimetype"
    assert refusal.message == (
        "Invalid file 'image': unsupported mimetype ('application/octet-stream'). "
        "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
    )
    mask = ("mask", picture(), "image/webp")
    refused = _check("gpt-image-2", ("image", picture()), mask)
    assert refused == ("mask", "unsupported_file_mimetype")


def test_classic_takes_square_pngs(picture: Encode) -> None:
    """A classic image is a PNG and square."""
    assert _check("dall-e-2", ("image", picture((64, 64)))) is None
    assert _check("dall-e-2", ("image", picture((64, 63)))) == ("image", "invalid_image")
    jpeg = picture((64, 64), "RGB", "JPEG")
    assert _check("dall-e-2", ("image", jpeg)) == ("image", "invalid_image_format")


def test_gpt_takes_any_shape_in_three_formats(picture: Encode) -> None:
    """GPT Image models take PNG, JPEG and WebP of any shape."""
    for name in ("PNG", "JPEG", "WEBP"):
        upload = ("image", picture((64, 30), "RGB", name), f"image/{name.lower()}")
        assert _check("gpt-image-2", upload) is None


@pytest.mark.parametrize(("size", "code"), [(4 * MB - 1, None), (4 * MB, "image_file_too_large")])
def test_classic_images_are_less_than_4_mb(picture: Encode, size: int, code: str | None) -> None:
    """An image of exactly 4 MB is not less than 4 MB."""
    refused = _check("dall-e-2", ("image", _padded(picture(), size)))
    assert refused == (code and ("image", code))


@pytest.mark.parametrize(("size", "code"), [(4 * MB - 1, None), (4 * MB, "image_file_too_large")])
def test_masks_are_less_than_4_mb(picture: Encode, size: int, code: str | None) -> None:
    """The 4 MB of masks hold for every family."""
    refused = _check("gpt-image-2", ("image", picture()), ("mask", _padded(picture(), size)))
    assert refused == (code and ("mask", code))


@pytest.mark.parametrize(("size", "code"), [(50 * MB - 1, None), (50 * MB, "image_file_too_large")])
def test_gpt_images_are_less_than_50_mb(picture: Encode, size: int, code: str | None) -> None:
    """An image of exactly 50 MB is not less than 50 MB."""
    read = read_picture("image", "image/png", picture())
    big = Picture(
        role="image",
        content_type="image/png",
        size_bytes=size,
        format="png",
        size=read.size,
        image=read.image,
        has_alpha=True,
    )
    assert _refused("gpt-image-2", [big]) == (code and ("image", code))


@pytest.mark.parametrize("model", ["dall-e-2", "gpt-image-2"])
def test_masks(picture: Encode, model: str) -> None:
    """A mask is a PNG with alpha and the dimensions of the image."""
    image = ("image", picture(mode="RGB"))
    assert _check(model, image, ("mask", picture())) is None
    wrong_size = _check(model, image, ("mask", picture((32, 32))))
    assert wrong_size == ("mask", "invalid_image")
    opaque = _check(model, image, ("mask", picture(mode="RGB")))
    assert opaque == ("mask", "invalid_image_mode")
    webp = _check(model, image, ("mask", picture(image_format="WEBP")))
    assert webp == ("mask", "invalid_image_format")
    assert _check(model, image, ("mask", b"")) == ("mask", "empty_image_file")


def test_without_a_mask_the_image_is_its_own(picture: Encode) -> None:
    """A classic edit without a mask needs transparency in the image."""
    opaque = ("image", picture(mode="RGB"))
    assert _check("dall-e-2", ("image", picture()), alpha_is_mask=True) is None
    assert _check("dall-e-2", opaque, alpha_is_mask=True) == ("image", "invalid_image_mode")
    assert _check("dall-e-2", opaque, ("mask", picture()), alpha_is_mask=True) is None


def test_masks_are_compared_with_the_first_image(picture: Encode) -> None:
    """With several images the mask belongs to the first."""
    images = [("image", picture((64, 64))), ("image", picture((32, 32)))]
    assert _check("gpt-image-2", *images, ("mask", picture((64, 64)))) is None
    refused = _check("gpt-image-2", *images, ("mask", picture((32, 32))))
    assert refused == ("mask", "invalid_image")


def test_markup_shows_the_image_through(picture: Encode) -> None:
    """A markup has transparent pixels, not only an alpha channel."""
    image = ("image", picture())
    assert _check("gpt-image-2.5-flare", image, ("markup", picture())) is None
    opaque = picture(color=(1, 2, 3, 255))
    refused = _check("gpt-image-2.5-flare", image, ("markup", opaque))
    assert refused == ("markup", "invalid_image_mode")
