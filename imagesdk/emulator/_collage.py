"""Lay several pictures out on one, and tint a picture as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageOps

from imagesdk.emulator._brief import Brief, palette_of
from imagesdk.emulator._canvas import WHITE, gradient, mix
from imagesdk.emulator._caption import caption, caption_px
from imagesdk.emulator._looks import look_of

__all__ = ("card", "collage", "restyle")


def card(image: Image.Image, size: tuple[int, int], tilt: float) -> Image.Image:
    """Return the RGBA *image* as a framed print with a shadow that fits into *size*.

    Args:
        image: Picture of any size; its proportions are kept.
        size: Room in pixels.
        tilt: Degrees to turn it.
    """
    room = (max(1, round(size[0] * 0.9)), max(1, round(size[1] * 0.9)))
    rim = max(1, round(min(room) * 0.03)) if min(room) > 6 else 0
    share = min((room[0] - 2 * rim) / image.width, (room[1] - 2 * rim) / image.height)
    inner = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    small = image.resize(inner, Image.Resampling.BICUBIC, reducing_gap=2.0)
    pad = rim + 1  # a clear pixel around smooths the edges of a turned print
    paper = Image.new("RGB", (inner[0] + 2 * rim, inner[1] + 2 * rim), WHITE)
    paper.paste(small, (rim, rim), small.getchannel("A"))
    clear = Image.new("RGBA", (inner[0] + 2 * pad, inner[1] + 2 * pad), (*WHITE, 0))
    clear.paste(paper, (1, 1))
    clear = clear.rotate(tilt, Image.Resampling.BICUBIC, expand=True, fillcolor=(*WHITE, 0))
    drop = max(1, round(min(room) * 0.02))
    result = Image.new("RGBA", (clear.width + drop, clear.height + drop), (24, 20, 40, 0))
    shadow = Image.new("RGBA", clear.size, (24, 20, 40, 0))
    shadow.putalpha(clear.getchannel("A").point([i * 3 // 10 for i in range(256)]))
    result.paste(shadow, (drop, drop))
    result.alpha_composite(clear)
    return result


def collage(
    images: Sequence[Image.Image], prompt: str, brief: Brief, size: tuple[int, int], index: int
) -> Image.Image:
    """Lay the RGBA *images* out side by side or in a grid, tinted and with the caption."""
    strip = caption(prompt, size)
    width, height = size[0], size[1] - (strip.height if strip else 0)
    look, palette = look_of(index), palette_of(brief, index)
    result = gradient((width, height), palette.high, palette.low)

    def area(columns: int) -> float:
        """Return the area all pictures have in so many columns."""
        rows = -(-len(images) // columns)
        shares = (min(width / columns / i.width, height / rows / i.height) for i in images)
        return sum(s * s * i.width * i.height for s, i in zip(shares, images, strict=True))

    columns = max(range(1, len(images) + 1), key=area)
    rows = -(-len(images) // columns)
    cell = (width / columns, height / rows)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        in_row = min(columns, len(images) - row * columns)
        if look.flip:
            column = in_row - 1 - column
        x = (column + 0.5 + (columns - in_row) / 2) * cell[0]
        drawn = card(
            image, (round(cell[0]), round(cell[1])), (2.5, -2, 1.5, -3)[(number + index) % 4]
        )
        corner = (round(x - drawn.width / 2), round((row + 0.5) * cell[1] - drawn.height / 2))
        result.paste(drawn, corner, drawn.getchannel("A"))
    result = _tinted(result, brief, index, 0.55)
    return result if strip is None else _on_strip(result, strip)


def restyle(image: Image.Image, prompt: str, brief: Brief, index: int) -> Image.Image:
    """Tint the whole RGB *image* towards the palette of the prompt and add the caption."""
    strip = caption(prompt, image.size)
    old, height = caption_px(image), image.height - (strip.height if strip else 0)
    if old:  # the old caption goes
        plain = image.crop((0, 0, image.width, image.height - old))
        plain = plain.resize((image.width, height), Image.Resampling.BICUBIC)
    else:
        plain = image.crop((0, 0, image.width, height))
    result = _tinted(plain, brief, index, 0.8)
    return result if strip is None else _on_strip(result, strip)


def _on_strip(image: Image.Image, strip: Image.Image) -> Image.Image:
    """Return *image* with *strip* below."""
    result = Image.new("RGB", (image.width, image.height + strip.height))
    result.paste(image)
    result.paste(strip, (0, image.height))
    return result


def _tinted(image: Image.Image, brief: Brief, index: int, share: float) -> Image.Image:
    """Return *image* with *share* (0..1) of the palette in place of its colours."""
    palette = palette_of(brief, index)
    tones = ImageOps.colorize(
        ImageOps.autocontrast(image.convert("L")),
        black=mix(palette.near, (0, 0, 0), 0.6),
        mid=palette.body,
        white=mix(palette.low, WHITE, 0.6),
    )
    return Image.blend(image, tones, share)
