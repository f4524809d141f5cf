from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

from imagesdk.errors import InvalidImageError
from imagesdk.models.checks import check
from imagesdk.models.families import CLASSIC
from imagesdk.models.requests import EditRequest, InputInfos
from imagesdk.prepare import (
    Prepared,
    mask_from_alpha,
    mask_from_boxes,
    mask_from_difference,
    mask_from_luma,
)
from imagesdk.protocol.imageinfo import probe

SIZE = (60, 60)


def edited(mask: Prepared) -> Callable[[int, int], bool]:
    """Return what tells whether a mask lets a pixel be edited; its alpha is 0 or 255 and nothing else."""
    image = Image.open(io.BytesIO(mask.data))
    assert image.mode == "RGBA"
    alpha = image.getchannel("A")
    assert {value for _, value in alpha.getcolors() or ()} <= {0, 255}
    return lambda x, y: alpha.getpixel((x, y)) == 0


def photo(size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert("RGB")


def test_masks_are_what_servers_take() -> None:
    """Each mask passes the checks for the picture that it was made for."""
    buffer = io.BytesIO()
    photo().save(buffer, "PNG")
    data = buffer.getvalue()
    for mask in (
        mask_from_boxes(data, (0, 0, 20, 20)),
        mask_from_difference(data, data),
        mask_from_luma(data, photo()),
        mask_from_alpha(Image.new("RGBA", SIZE)),
    ):
        image, info = (
            probe(lambda o, s, d=each: d[o : o + s], len(each))  # type: ignore[misc]
            for each in (data, mask.data)
        )
        infos = InputInfos(images=(image,), mask=info)
        assert check(EditRequest(data, "a fox", mask=mask.data), CLASSIC, infos) == []


def test_boxes() -> None:
    """What is in a box is edited, right and bottom excluded; or what is outside."""
    mask = mask_from_boxes(photo(), (10, 20, 30, 40), (50, 50, 60, 60))
    assert mask.changes == ("edited inside (10, 20, 30, 40), (50, 50, 60, 60): 13.9 % of 60x60",)
    inside = edited(mask)
    corners = [(10, 20), (29, 39), (59, 59), (9, 20), (30, 39), (29, 40), (49, 50)]
    assert [inside(*corner) for corner in corners] == [True] * 3 + [False] * 4
    outside = edited(mask_from_boxes(photo(), (10, 20, 30, 40), edit="outside"))
    assert [outside(*corner) for corner in corners[:2]] == [False, False]
    assert outside(0, 0)


@pytest.mark.parametrize("box", [(0, 0, 61, 10), (5, 5, 5, 10), (-1, 0, 10, 10), (0, 9, 10, 8)])
def test_a_box_must_be_in_the_picture(box: tuple[int, int, int, int]) -> None:
    """An empty box, or one beyond an edge, is refused with the edges."""
    with pytest.raises(InvalidImageError, match=r"it must be within \(0, 0, 60, 60\)"):
        mask_from_boxes(photo(), box)


def test_no_box_is_refused() -> None:
    """A mask of nothing is a mistake."""
    with pytest.raises(InvalidImageError, match="boxes is empty"):
        mask_from_boxes(photo())


def test_alpha() -> None:
    """What can be seen through is edited, from the threshold on kept."""
    image = Image.new("RGBA", SIZE, (9, 9, 9, 255))
    image.paste((9, 9, 9, 127), (0, 0, 30, 30))
    image.paste((9, 9, 9, 128), (30, 0, 60, 30))
    mask = mask_from_alpha(image)
    assert mask.changes == ("edited where alpha is below 128: 25.0 % of 60x60",)
    assert [edited(mask)(x, 5) for x in (5, 40)] == [True, False]
    assert edited(mask_from_alpha(image, threshold=200))(40, 5)


def test_an_opaque_picture_has_no_mask_of_its_own() -> None:
    """Without transparency there is nothing to make a mask of."""
    with pytest.raises(InvalidImageError, match="image is opaque"):
        mask_from_alpha(photo())


def test_difference() -> None:
    """What somebody has drawn on a copy is edited, in any colour, or erased from it."""
    copy = photo().convert("RGBA")
    pen = ImageDraw.Draw(copy)
    pen.rectangle((10, 10, 19, 19), fill="#00ff00")
    pen.rectangle((40, 40, 49, 49), fill=(0, 0, 0, 0))
    mask = mask_from_difference(photo(), copy)
    assert mask.changes == ("edited where they differ by 40 or more: 5.6 % of 60x60",)
    assert [edited(mask)(*p) for p in ((10, 10), (19, 19), (45, 45), (20, 20), (0, 0))] == [
        *(True, True, True),
        *(False, False),
    ]


def test_luma() -> None:
    """A drawing in white says where to edit, whatever its size; transparent counts as black."""
    drawing = Image.new("RGBA", (6, 6), (255, 255, 255, 0))
    drawing.paste((255, 255, 255, 255), (0, 0, 3, 6))
    mask = mask_from_luma(photo(), drawing)
    assert mask.changes == (
        "scaled drawing from 6x6 to 60x60",
        "edited where the drawing is bright: 50.0 % of 60x60",
    )
    assert [edited(mask)(x, 30) for x in (5, 55)] == [True, False]
    dark = edited(mask_from_luma(photo(), drawing, edit="dark"))
    assert [dark(x, 30) for x in (5, 55)] == [False, True]
    grey = Image.new("L", SIZE, 100)
    assert not edited(mask_from_luma(photo(), grey))(5, 5)
    assert edited(mask_from_luma(photo(), grey, threshold=100))(5, 5)


def test_grow_and_shrink() -> None:
    """The area that is edited grows by so many pixels on each side, or shrinks."""
    grown = mask_from_boxes(photo(), (20, 20, 30, 30), grow=3)
    assert grown.changes == ("edited inside (20, 20, 30, 30), grown by 3 pixels: 7.1 % of 60x60",)
    assert [edited(grown)(x, 25) for x in (16, 17, 32, 33)] == [False, True, True, False]
    shrunk = mask_from_boxes(photo(), (20, 20, 30, 30), grow=-3)
    assert "shrunk by 3 pixels" in shrunk.changes[0]
    assert [edited(shrunk)(x, 25) for x in (22, 23, 26, 27)] == [False, True, True, False]


def test_a_mask_of_a_turned_photo_says_so() -> None:
    """A mask fits the upright photo: it says what to send with it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    photo((60, 30)).save(buffer, "JPEG", exif=exif)
    mask = mask_from_boxes(buffer.getvalue(), (0, 0, 30, 60))
    assert (mask.width, mask.height) == (30, 60)
    assert mask.changes[-1] == ("made for the picture turned upright: send upright(image) with it")


@pytest.mark.parametrize("threshold", [0, 256])
def test_a_threshold_out_of_range_is_refused(threshold: int) -> None:
    """A threshold is a value that a pixel can reach, and not every pixel reaches."""
    calls: list[Callable[..., Any]] = [
        lambda **options: mask_from_alpha(Image.new("RGBA", SIZE), **options),
        lambda **options: mask_from_difference(photo(), photo(), **options),
        lambda **options: mask_from_luma(photo(), photo(), **options),
    ]
    for call in calls:
        with pytest.raises(InvalidImageError, match=f"threshold is {threshold}; it must be 1 to"):
            call(threshold=threshold)
