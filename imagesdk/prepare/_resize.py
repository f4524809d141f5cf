"""Scale, crop and pad pictures, and keep them below a number of bytes."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from imagesdk.models.families import MIB
from imagesdk.models.requests import ImageInput
from imagesdk.prepare._pictures import MAX_PIXELS, Draft, Prepared, draft, invalid

__all__ = ("Fit", "resize", "square_png", "upright")

Fit: TypeAlias = Literal["inside", "crop", "pad", "stretch"]
Format: TypeAlias = Literal["png", "jpeg", "webp"]

_CENTRE = (0.5, 0.5)


def upright(image: ImageInput, *, max_pixels: int = MAX_PIXELS) -> Prepared:
    """Turn a picture as its EXIF orientation says, and leave that out.

    Args:
        image: In any form that a session takes.
        max_pixels: Most width x height that is decoded, 1 or more.

    Returns:
        The picture, byte for byte the same if it was upright. JPEG and WebP are encoded anew with
        quality 92, anything else as PNG.

    Raises:
        InvalidImageError: It cannot be read, is no image or is larger than *max_pixels*.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import upright
        >>> upright("examples/sunlit_lounge.png").changes  # nothing was done
        ()
    """
    found = draft("image", image, max_pixels)
    return found.as_it_is() or found.encode(_format_of(found))


def resize(
    image: ImageInput,
    size: str | tuple[int, int] | int,
    *,
    fit: Fit = "inside",
    format: Format | None = None,  # noqa: A002 - as Pillow calls it
    below_bytes: int | None = None,
    centre: tuple[float, float] = _CENTRE,
    background: str = "#00000000",
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Scale a picture to a size, upright.

    Args:
        image: In any form that a session takes.
        size: ``"1536x1024"`` or (width, height) in pixels; or one number, the longest edge.
        fit: What to do when the ratio differs: ``"inside"`` keeps the whole picture, which becomes
            smaller than *size* in one direction and is never enlarged; ``"crop"`` fills *size* and cuts off
            what is beyond it; ``"pad"`` adds *background* around the whole picture; ``"stretch"`` distorts it.
        format: ``"png"``, ``"jpeg"`` or ``"webp"``, the last two with quality 92; None keeps these and
            makes a PNG of anything else.
        below_bytes: The file must be smaller than this: it is scaled down further until it is. None
            for any size.
        centre: What *fit* ``"crop"`` keeps and where ``"pad"`` puts the picture: from (0.0, 0.0), the upper
            left, to (1.0, 1.0).
        background: Colour of what is added, as Pillow names it: ``"white"``, ``"#rrggbb"``,
            ``"#rrggbbaa"``. Transparent unless said otherwise, and white in a JPEG.
        max_pixels: Most width x height that is decoded, 1 or more.

    Returns:
        The picture, byte for byte the same if nothing had to be done.

    Raises:
        InvalidImageError: As `upright`; or an argument cannot be used.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import resize
        >>> small = resize("examples/sunlit_lounge.png", 200)
        >>> small.width, small.height, small.changes
        (200, 200, ('scaled from 1024x1024 to 200x200',))
    """
    width, height = _size(size)
    found = draft("image", image, max_pixels)
    if fit == "inside":
        scale = min(width / found.size[0], height / found.size[1], 1.0)
        _scale(found, *(max(1, round(edge * scale)) for edge in found.size))
    elif fit == "crop":
        _crop(found, width / height, centre)
        _scale(found, width, height)
    elif fit == "pad":
        scale = min(width / found.size[0], height / found.size[1])
        inner = [max(1, round(edge * scale)) for edge in found.size]
        _scale(found, *inner)
        _pad(found, width, height, centre, background)
    else:
        _scale(found, width, height)
    return _finish(found, format or _format_of(found), below_bytes)


def square_png(
    image: ImageInput,
    *,
    fit: Literal["crop", "pad"] = "crop",
    edge: int | None = None,
    below_bytes: int = 4 * MIB,
    centre: tuple[float, float] = _CENTRE,
    background: str = "#00000000",
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Make what edits and variations of the classic API take: a square PNG smaller than 4 MiB.

    Args:
        image: In any form that a session takes.
        fit: ``"crop"`` keeps the middle, ``"pad"`` the whole picture, with *background* around it. What is
            transparent is what an edit without a mask fills: ``"pad"`` extends a picture beyond its edges.
        edge: Width and height in pixels; None for the shorter (crop) or longer (pad) edge of the picture.
        below_bytes: The file must be smaller than this: it is scaled down until it is.
        centre: As in `resize`.
        background: As in `resize`.
        max_pixels: As in `resize`.

    Returns:
        The picture in RGBA, byte for byte the same if it was right.

    Raises:
        InvalidImageError: As `resize`.
        ConfigurationError: Pillow is not installed.

    Example:
        >>> from imagesdk.prepare import square_png
        >>> square = square_png("examples/sunlit_lounge.png", edge=256)
        >>> square.format, square.width, square.height
        ('png', 256, 256)
    """
    # https://platform.openai.com/docs/api-reference/images/createEdit (2023, read 2026-11-20)
    found = draft("image", image, max_pixels)
    length = edge or (min(found.size) if fit == "crop" else max(found.size))
    if length < 1:
        raise invalid("edge", edge, "1 or more", "in pixels")
    if fit == "crop":
        _crop(found, 1.0, centre)
        _scale(found, length, length)
    else:
        scale = length / max(found.size)
        _scale(found, *(max(1, round(side * scale)) for side in found.size))
        _pad(found, length, length, centre, background)
    if found.picture.mode != "RGBA":
        found.change(found.picture.convert("RGBA"), "given an alpha channel (RGBA)")
    return _finish(found, "png", below_bytes)


def _size(size: str | tuple[int, int] | int) -> tuple[int, int]:
    try:
        if isinstance(size, str):
            width, height = map(int, size.split("x"))
        else:
            width, height = (size, size) if isinstance(size, int) else size
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise invalid("size", repr(size), "like '1024x1024', (1024, 1024) or 1024", "in pixels")
    return width, height


def _format_of(found: Draft) -> str:
    return found.format if found.format in ("png", "jpeg", "webp") else "png"


def _scale(found: Draft, width: int, height: int) -> None:
    if found.size == (width, height):
        return
    from PIL.Image import Resampling

    what = f"scaled from {_text(found.size)} to {width}x{height}"
    found.change(found.picture.resize((width, height), Resampling.LANCZOS, reducing_gap=3.0), what)


def _crop(found: Draft, ratio: float, centre: tuple[float, float]) -> None:
    """Cut off what is beyond a ratio of width to height."""
    width, height = found.size
    if width > height * ratio:
        kept_width, kept_height = max(1, round(height * ratio)), height
    else:
        kept_width, kept_height = width, max(1, round(width / ratio))
    if (kept_width, kept_height) == (width, height):
        return
    left, top = _offset(width - kept_width, height - kept_height, centre)
    box = (left, top, left + kept_width, top + kept_height)
    what = f"cropped from {width}x{height} to {kept_width}x{kept_height} at ({left}, {top})"
    found.change(found.picture.crop(box), what)


def _pad(
    found: Draft, width: int, height: int, centre: tuple[float, float], background: str
) -> None:
    """Put the picture on a larger ground."""
    if found.size == (width, height):
        return
    from PIL import Image

    try:
        ground = Image.new("RGBA", (width, height), background)
    except ValueError as error:
        raise invalid("background", repr(background), "a colour", str(error)) from None
    left, top = _offset(width - found.size[0], height - found.size[1], centre)
    ground.paste(found.picture.convert("RGBA"), (left, top))
    what = f"padded from {_text(found.size)} to {width}x{height} at ({left}, {top})"
    if "icc_profile" in found.picture.info:
        ground.info["icc_profile"] = found.picture.info["icc_profile"]
    found.change(ground, what)


def _offset(width: int, height: int, centre: tuple[float, float]) -> tuple[int, int]:
    if not all(0.0 <= part <= 1.0 for part in centre):
        raise invalid("centre", centre, "from (0.0, 0.0) to (1.0, 1.0)", "(0.5, 0.5) is the middle")
    return round(width * centre[0]), round(height * centre[1])


def _finish(found: Draft, kind: str, below_bytes: int | None) -> Prepared:
    """Encode a picture, smaller and smaller until it fits."""
    unchanged = found.as_it_is() if kind == found.format else None
    if unchanged is not None and (below_bytes is None or len(unchanged.data) < below_bytes):
        return unchanged
    full, changes = found.picture, list(found.changes)
    result = found.encode(kind)
    while below_bytes is not None and len(result.data) >= below_bytes:
        if result.width == result.height == 1:
            raise invalid("below_bytes", below_bytes, "larger", "one pixel takes more than that")
        found.picture, found.changes = full, list(changes)
        _shrink(found, result, below_bytes)
        result = found.encode(kind)
    return result


def _shrink(found: Draft, last: Prepared, below_bytes: int) -> None:
    """Scale the full picture so that its file can be expected to be small enough, by one pixel at least."""
    from PIL.Image import Resampling

    scale = math.sqrt(0.95 * below_bytes / len(last.data))
    longest = max(last.width, last.height)
    scale = min(scale, (longest - 1) / longest)
    width = max(1, int(last.width * scale))
    height = width if last.width == last.height else max(1, int(last.height * scale))
    what = f"scaled from {_text(found.size)} to {width}x{height}, to be smaller than {below_bytes:,} bytes"
    found.change(found.picture.resize((width, height), Resampling.LANCZOS, reducing_gap=3.0), what)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
