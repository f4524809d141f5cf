"""Make masks: PNG files that are transparent where an image is to be edited.

A server edits where the alpha of the mask is 0 and nowhere else, and does not look at its colours. The
masks made here are black, and fully opaque or fully transparent.
https://platform.openai.com/docs/api-reference/images/createEdit (2023, read 2026-11-20)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from imagesdk.models.requests import ImageInput
from imagesdk.prepare._pictures import MAX_PIXELS, Draft, Prepared, draft, has_alpha, invalid

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ("mask_from_alpha", "mask_from_boxes", "mask_from_difference", "mask_from_luma")


def mask_from_alpha(
    image: ImageInput, *, threshold: int = 128, grow: int = 0, max_pixels: int = MAX_PIXELS
) -> Prepared:
    """Make a mask of a picture's own transparency: it is edited where it can be seen through.

    Args:
        image: A picture with an alpha channel, in any form that a session takes.
        threshold: Alpha from 1 to 255 from which on a pixel is kept.
        grow: Pixels by which the area that is edited grows on each side, 0 or more; below 0 it shrinks.
        max_pixels: Most width x height that is decoded, 1 or more.

    Returns:
        The mask, with the size of the picture.

    Raises:
        InvalidImageError: The picture cannot be read, or has no transparency; or an argument is out of
            range.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import mask_from_alpha
        >>> mask = mask_from_alpha("examples/mask.png")
        >>> mask.changes
        ('edited where alpha is below 128: 21.0 % of 1024x1024',)
    """
    _check_threshold(threshold)
    found = draft("image", image, max_pixels)
    if not has_alpha(found.picture):
        raise invalid(
            "image", "opaque", "a picture with an alpha channel", "use another mask_from_"
        )
    alpha = found.picture.getchannel("A")
    edited = alpha.point([255 * (value < threshold) for value in range(256)])
    return _mask(found, edited, grow, f"where alpha is below {threshold}")


def mask_from_boxes(
    image: ImageInput,
    *boxes: tuple[int, int, int, int],
    edit: Literal["inside", "outside"] = "inside",
    grow: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Make a mask of rectangles.

    Args:
        image: The picture that is edited: the mask gets its size.
        boxes: (left, top, right, bottom) in pixels of the upright picture, from its upper left corner;
            right and bottom are the first that are not in it. One or more.
        edit: Whether the picture is edited inside the boxes or outside.
        grow: As in `mask_from_alpha`.
        max_pixels: As in `mask_from_alpha`.

    Returns:
        The mask, with the size of the picture.

    Raises:
        InvalidImageError: The picture cannot be read; or a box is empty or not in the picture.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import mask_from_boxes
        >>> mask = mask_from_boxes("examples/sunlit_lounge.png", (0, 0, 1024, 512))
        >>> mask.changes
        ('edited inside (0, 0, 1024, 512): 50.0 % of 1024x1024',)
    """
    found = draft("image", image, max_pixels)
    from PIL import ImageDraw

    width, height = found.size
    if not boxes:
        raise invalid("boxes", "empty", "one or more of (left, top, right, bottom)", "name an area")
    inside = edit == "inside"
    edited = _blank(found.size, 0 if inside else 255)
    pen = ImageDraw.Draw(edited)
    for box in boxes:
        left, top, right, bottom = box
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise invalid(
                "boxes", box, f"within (0, 0, {width}, {height})", "left, top, right, bottom"
            )
        pen.rectangle((left, top, right - 1, bottom - 1), fill=255 if inside else 0)
    return _mask(found, edited, grow, f"{edit} {', '.join(map(str, boxes))}")


def mask_from_difference(
    image: ImageInput,
    other: ImageInput,
    *,
    threshold: int = 40,
    grow: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Make a mask of what differs between two pictures, for example one that somebody has scribbled on.

    Args:
        image: The picture that is edited: the mask gets its size.
        other: The other one; scaled to that size if need be.
        threshold: Largest difference of a colour channel, 1 to 255, from which on a pixel is edited. A JPEG
            differs by some 30 from what it was made of, more along sharp edges: compare originals.
        grow: As in `mask_from_alpha`: a few pixels take in the soft edges of a brush.
        max_pixels: As in `mask_from_alpha`, for each picture.

    Returns:
        The mask, with the size of *image*.

    Raises:
        InvalidImageError: A picture cannot be read; or an argument is out of range.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import mask_from_difference
        >>> lounge = "examples/sunlit_lounge.png"
        >>> mask_from_difference(lounge, lounge).changes
        ('edited where they differ by 40 or more: 0.0 % of 1024x1024',)
    """
    _check_threshold(threshold)
    found = draft("image", image, max_pixels)
    two = _fitted("other", draft("other", other, max_pixels).picture.convert("RGBA"), found)
    from PIL import ImageChops

    apart = ImageChops.difference(found.picture.convert("RGBA"), two)
    red, green, blue, alpha = apart.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), ImageChops.lighter(blue, alpha))
    edited = largest.point([255 * (value >= threshold) for value in range(256)])
    return _mask(found, edited, grow, f"where they differ by {threshold} or more")


def mask_from_luma(
    image: ImageInput,
    drawing: ImageInput,
    *,
    threshold: int = 128,
    edit: Literal["bright", "dark"] = "bright",
    grow: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Make a mask of a drawing in black and white, as other image tools use them.

    Args:
        image: The picture that is edited: the mask gets its size.
        drawing: White where to edit; scaled to that size if need be. What is transparent in it counts
            as black.
        threshold: Brightness from 1 to 255 from which on a pixel is bright.
        edit: Whether the picture is edited where the drawing is bright or where it is dark.
        grow: As in `mask_from_alpha`.
        max_pixels: As in `mask_from_alpha`, for each picture.

    Returns:
        The mask, with the size of *image*.

    Raises:
        InvalidImageError: A picture cannot be read; or an argument is out of range.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from PIL import Image
        >>> from imagesdk.prepare import mask_from_luma
        >>> drawing = Image.new("L", (64, 64))
        >>> drawing.paste(255, (32, 0, 64, 64))
        >>> mask_from_luma("examples/sunlit_lounge.png", drawing).changes[0]
        'scaled drawing from 64x64 to 1024x1024'
    """
    _check_threshold(threshold)
    found = draft("image", image, max_pixels)
    with_alpha = draft("drawing", drawing, max_pixels).picture.convert("RGBA")
    from PIL import Image

    black = Image.new("RGBA", with_alpha.size, "black")
    luma = _fitted("drawing", Image.alpha_composite(black, with_alpha).convert("L"), found)
    bright = edit == "bright"
    edited = luma.point([255 * ((value >= threshold) is bright) for value in range(256)])
    return _mask(found, edited, grow, f"where the drawing is {edit}")


def _fitted(name: str, picture: Picture, found: Draft) -> Picture:
    """Scale the second picture to the first, and say so."""
    if picture.size == found.size:
        return picture
    (width, height), (to_width, to_height) = picture.size, found.size
    found.changes.append(f"scaled {name} from {width}x{height} to {to_width}x{to_height}")
    return picture.resize(found.size)


def _check_threshold(threshold: int) -> None:
    if not 1 <= threshold <= 255:
        raise invalid("threshold", threshold, "1 to 255", "128 is the middle")


def _blank(size: tuple[int, int], value: int) -> Picture:
    from PIL import Image

    return Image.new("L", size, value)


def _mask(found: Draft, edited: Picture, grow: int, where: str) -> Prepared:
    """Encode a mask from a picture that is white where the image is to be edited."""
    from PIL import Image, ImageChops, ImageFilter

    step = ImageFilter.MaxFilter(3) if grow > 0 else ImageFilter.MinFilter(3)
    for _ in range(abs(grow)):  # one filter of that size would take its square in time
        edited = edited.filter(step)
    mask = Image.new("RGBA", found.size, "black")
    mask.putalpha(ImageChops.invert(edited))
    width, height = found.size
    share = edited.histogram()[255] / (width * height)
    grown = f", {'grown' if grow > 0 else 'shrunk'} by {abs(grow)} pixels" if grow else ""
    found.changes.append(f"edited {where}{grown}: {share * 100:.1f} % of {width}x{height}")
    if found.turned:
        found.changes.append("made for the picture turned upright: send upright(image) with it")
    # Nothing of the picture itself is in its mask.
    return Draft(picture=mask, data=None, format="png", changes=found.changes).encode("png")
