"""Set the prompt as a caption in Pillow's own font, without characters the font cannot draw."""

from __future__ import annotations

import functools
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFont

from imagesdk.emulator._canvas import Color

__all__ = ("caption", "caption_px")

_READ_CHARS = 400
_INK: Color = (44, 40, 52)
_PAPER: Color = (250, 246, 236)


@functools.lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font (no font files are needed)."""
    return ImageFont.load_default(size_px)


@functools.lru_cache(maxsize=4096)
def _drawable(character: str) -> bool:
    """Tell whether the font has a picture of *character* (it draws a box if not)."""
    if character.isspace():
        return True
    font = _font(20)
    glyph: Any = font.getmask(character)  # ImagingCore, which can be iterated
    box: Any = font.getmask("\uffff")
    return glyph.size != box.size or bytes(glyph) != bytes(box)


def caption(prompt: str, size: tuple[int, int]) -> Image.Image | None:
    """Return the strip under a picture with up to two lines of *prompt*.

    None without text, and if the picture is so low that the strip would take half of it.
    """
    text = "".join(c for c in prompt[:_READ_CHARS] if c.isprintable() or c.isspace())
    words = "".join(c if _drawable(c) else " " for c in text).split()
    if not words or not any(c.isalnum() for word in words for c in word):
        return None
    unit = min(size)
    font_px = max(10, round(min(unit * 0.03, size[0] * 0.042)))
    font = _font(font_px)
    room = round((size[0] - 2 * font_px) * 0.9)
    lines: list[str] = []
    while words and len(lines) < 2:
        line = words.pop(0)
        while words and font.getlength(f"{line} {words[0]}") <= room:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    if words or len(prompt) > _READ_CHARS:
        lines[-1] += "…"
    for number, line in enumerate(lines):
        while font.getlength(line) > room and len(line) > 1:
            line = line[:-2].rstrip() + "…"  # noqa: PLW2901
        lines[number] = line
    # Hinting makes the spaces of small letters too narrow to see.
    gap = "  " if font_px < 16 else " "
    leading = round(font_px * 1.35)
    height = leading * len(lines) + round(font_px * 1.1)
    if 2 * height > size[1]:
        return None
    strip = Image.new("RGB", (size[0], height), _PAPER)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(plain.replace(" ", gap) for plain in lines):
        x = (size[0] - font.getlength(line)) / 2
        draw.text((x, round(font_px * 0.5) + number * leading), line, fill=_INK, font=font)
    return strip


def caption_px(image: Image.Image) -> int:
    """Return the height of the caption under the RGB *image* in pixels, 0 without one.

    A caption is a strip of its paper, in less than a quarter of the height, that is empty along
    its edges and has dark letters in between.
    """
    reach, margin = image.height // 4, max(1, image.width // 40)
    bottom = image.crop((0, image.height - reach, image.width, image.height))
    if not reach:
        return 0
    far = ImageChops.difference(bottom, Image.new("RGB", bottom.size, _PAPER)).convert("L")
    ends = (far.crop((0, 0, margin, reach)), far.crop((far.width - margin, 0, far.width, reach)))
    rows = [
        max(pair)
        for pair in zip(
            *(end.resize((1, reach), Image.Resampling.BOX).tobytes() for end in ends), strict=True
        )
    ]
    height = next((k for k, off in enumerate(reversed(rows)) if off > 6), reach)
    if not 8 <= height < reach:
        return 0
    top, pad = reach - height, max(1, height // 10)
    edges = [far.crop((0, y, far.width, y + pad)) for y in (top, reach - pad)]
    letters = far.crop((0, top + pad, far.width, reach - pad))
    is_framed = not any(any(edge.histogram()[16:]) for edge in edges)
    return height if is_framed and any(letters.histogram()[50:]) else 0
