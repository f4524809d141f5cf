from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from imagesdk.errors import InvalidImageError
from imagesdk.models.checks import check
from imagesdk.models.families import CLASSIC
from imagesdk.models.requests import InputInfos, VariationRequest
from imagesdk.prepare import Prepared, resize, square_png
from imagesdk.protocol.imageinfo import probe

GREEN = (0, 200, 0, 255)


def picture(size: tuple[int, int], mode: str = "RGBA") -> Image.Image:
    """Return a green picture, whose right half is blue."""
    image = Image.new(mode, size, GREEN[: len(mode)])
    image.paste((0, 0, 200, 255)[: len(mode)], (size[0] // 2, 0, *size))
    return image


def noise(size: tuple[int, int]) -> Image.Image:
    """Return a picture that does not compress."""
    return Image.merge("RGB", [Image.effect_noise(size, 200) for _ in range(3)])


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(prepared: Prepared) -> Image.Image:
    return Image.open(io.BytesIO(prepared.data))


@pytest.mark.parametrize(
    ("given", "size", "wanted"),
    [
        ((300, 200), "150x150", (150, 100)),
        ((300, 200), (600, 100), (150, 100)),
        ((300, 200), 60, (60, 40)),
        ((300, 200), 3000, (300, 200)),
        ((3000, 1), 30, (30, 1)),
    ],
)
def test_inside(
    given: tuple[int, int], size: str | tuple[int, int] | int, wanted: tuple[int, int]
) -> None:
    """The whole picture fits into the size, in its own ratio, and is never enlarged."""
    result = resize(picture(given), size)
    assert (result.width, result.height) == wanted == opened(result).size


def test_crop() -> None:
    """The size is filled, and what is beyond it cut off: in the middle, or where it is said."""
    middle = resize(picture((300, 100)), "50x50", fit="crop")
    assert middle.changes == (
        "cropped from 300x100 to 100x100 at (100, 0)",
        "scaled from 100x100 to 50x50",
    )
    left = resize(picture((300, 100)), "100x100", fit="crop", centre=(0.0, 0.5))
    assert set(opened(left).getcolors() or ()) == {(10_000, GREEN)}
    tall = resize(picture((100, 300)), "100x50", fit="crop", centre=(0.5, 1.0))
    assert tall.changes == ("cropped from 100x300 to 100x50 at (0, 250)",)


def test_pad() -> None:
    """The whole picture is on a ground of the size, transparent or of a colour."""
    result = resize(picture((300, 100)), "150x150", fit="pad")
    assert result.changes == (
        "scaled from 300x100 to 150x50",
        "padded from 150x50 to 150x150 at (0, 50)",
    )
    image = opened(result)
    assert [image.getpixel((5, y)) for y in (5, 75, 145)] == [(0, 0, 0, 0), GREEN, (0, 0, 0, 0)]
    top = resize(
        picture((300, 100)), (300, 300), fit="pad", centre=(0.5, 0.0), background="#102030"
    )
    assert [opened(top).getpixel((5, y)) for y in (5, 290)] == [GREEN, (16, 32, 48, 255)]
    larger = resize(picture((30, 10)), "60x60", fit="pad")
    assert larger.changes[0] == "scaled from 30x10 to 60x20"
    profile = file(picture((30, 10)), icc_profile=b"a profile")
    assert opened(resize(profile, "60x60", fit="pad")).info["icc_profile"] == b"a profile"


def test_stretch() -> None:
    """Both edges are as wanted, whatever becomes of the ratio."""
    assert opened(resize(picture((300, 100)), "50x80", fit="stretch")).size == (50, 80)


def test_formats() -> None:
    """JPEG and WebP stay what they are; a JPEG has no transparency."""
    jpeg = file(picture((30, 30), "RGB"), "JPEG")
    assert resize(jpeg, 20).format == "jpeg"
    assert resize(file(picture((30, 30)), "WEBP"), 20).format == "webp"
    assert resize(file(picture((30, 30)), "TIFF"), 20).format == "png"
    flat = resize(Image.new("RGBA", (8, 8)), 8, format="jpeg")
    assert flat.changes == (
        "encoded as jpeg instead of png",
        "put on white: JPEG has no transparency",
    )
    assert min(opened(flat).getpixel((4, 4))) > 250  # type: ignore[arg-type]
    opaque = resize(picture((8, 8)), 8, format="jpeg")
    assert opaque.changes == ("encoded as jpeg instead of png",)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("below_bytes", [100_000, 9_000])
def test_below_a_number_of_bytes(kind: Any, below_bytes: int) -> None:
    """A file that is too large is scaled down until it is smaller, and not much smaller than that."""
    result = resize(noise((600, 400)), 600, format=kind, below_bytes=below_bytes)
    assert below_bytes / 4 < len(result.data) < below_bytes
    assert result.width / result.height == pytest.approx(1.5, abs=0.06)
    (why,) = (change for change in result.changes if "to be smaller" in change)
    assert why.startswith("scaled from 600x400 to ")
    assert why.endswith(f", to be smaller than {below_bytes:,} bytes")


def test_what_is_small_enough_is_left_alone() -> None:
    """A limit that is kept changes nothing."""
    data = file(picture((64, 64)))
    assert resize(data, 64, below_bytes=len(data) + 1).data == data
    smaller = resize(data, 64, below_bytes=len(data))
    assert len(smaller.data) < len(data)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_square_png_is_what_classic_servers_take(fit: Any) -> None:
    """Whatever it is made of, the result passes the checks of the classic API, without a mask too."""
    for image in (noise((300, 200)), picture((20, 300)), picture((64, 64), "RGB")):
        result = square_png(image, fit=fit, below_bytes=50_000)
        info = probe(lambda o, s, d=result.data: d[o : o + s], len(result.data))  # type: ignore[misc]
        assert check(VariationRequest(result.data), CLASSIC, InputInfos(images=(info,))) == []
        assert opened(result).mode == "RGBA"
        assert len(result.data) < 50_000


def test_the_edge_of_a_square() -> None:
    """The edge is the shorter or the longer one of the picture, or what is wanted."""
    assert square_png(picture((300, 100))).width == 100
    assert square_png(picture((300, 100)), fit="pad").width == 300
    assert square_png(picture((300, 100)), edge=512).width == 512
    padded = square_png(picture((300, 100)), fit="pad", edge=60)
    assert padded.changes == (
        "scaled from 300x100 to 60x20",
        "padded from 60x20 to 60x60 at (0, 20)",
    )


def test_a_right_square_is_left_alone() -> None:
    """A square PNG with alpha that is small enough comes back byte for byte."""
    data = file(picture((64, 64)))
    assert square_png(data).data == data
    opaque = square_png(file(picture((64, 64), "RGB")))
    assert opaque.changes == ("given an alpha channel (RGBA)",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "wide"}, "size is 'wide'; it must be like '1024x1024', (1024, 1024) or 1024"),
        ({"size": (0, 5)}, "size is (0, 5)"),
        ({"size": "5x5", "fit": "crop", "centre": (2.0, 0.0)}, "centre is (2.0, 0.0)"),
        ({"size": "50x90", "fit": "pad", "background": "puce"}, "background is 'puce'"),
        ({"size": 8, "below_bytes": 20}, "below_bytes is 20"),
    ],
)
def test_what_cannot_be_used_is_told(arguments: dict[str, Any], message: str) -> None:
    """An argument that makes no sense is named, with what would."""
    with pytest.raises(InvalidImageError) as caught:
        resize(picture((40, 20)), **arguments)
    assert message in str(caught.value)


def test_an_edge_below_one_is_refused() -> None:
    """A square has at least one pixel."""
    with pytest.raises(InvalidImageError, match="edge is -1; it must be 1 or more"):
        square_png(picture((4, 4)), edge=-1)
