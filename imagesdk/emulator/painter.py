"""Paint deterministic pictures for the emulator: from prompts, into masks, and from other pictures.

Everything that looks accidental comes from a hash of the input, so equal requests give equal
bytes, on any machine with the same Pillow. A prompt is read with a word list: subjects ("otter"),
places ("pool"), colours, times of day and a few details ("backlit", "close up", "beret"). Prompts
without a known word become abstract posters.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageChops

from imagesdk.emulator._brief import read, seeded
from imagesdk.emulator._caption import caption, caption_px
from imagesdk.emulator._collage import collage, restyle
from imagesdk.emulator._figures import cut_out, picture
from imagesdk.emulator._fill import filling
from imagesdk.emulator._modes import opaque, rgba, shrunk

__all__ = ("edit", "encode", "paint", "preview", "vary")

# Longest edge of a picture that has room for the details of the first preview, and for so many
# that a thumbnail looks sharp.
_FIRST_PREVIEW_PX = 24
_SHARP_PX = 320

_TURNS = (22, -26, 44, -48, 72, -76, 104, -112, 148, 180)  # of the hue, in degrees, by index


def paint(
    prompt: str, size: tuple[int, int], *, index: int = 0, transparent: bool = False
) -> Image.Image:
    """Paint a picture of *prompt*.

    Args:
        prompt: Any text; unknown words give an abstract poster.
        size: Width and height in pixels.
        index: Number of the picture among those of one request; each looks different.
        transparent: Whether to draw the subject alone, on nothing.

    Returns:
        An RGB image, or RGBA if *transparent*.
    """
    brief = read(prompt)
    if transparent:
        return cut_out(brief, size, index)
    strip = caption(prompt, size)
    height = size[1] - (strip.height if strip else 0)
    plain = picture(brief, (size[0], height), seeded(prompt, index), index)
    if strip is None:
        return plain
    poster = Image.new("RGB", size)
    poster.paste(plain)
    poster.paste(strip, (0, height))
    return poster


def edit(
    image: Image.Image,
    mask: Image.Image | None,
    prompt: str,
    size: tuple[int, int],
    *,
    index: int = 0,
    others: Sequence[Image.Image] = (),
) -> Image.Image:
    """Paint *prompt* into the fully transparent pixels of *mask*.

    Only pixels where the mask's alpha is exactly 0 change; its colours and its partially
    transparent pixels mean nothing. Without a mask the alpha of *image* itself is used, and an
    image without transparent pixels is restyled as a whole. Several images without a mask are laid
    out side by side and restyled together; with a mask the others appear inside of it as prints.

    Args:
        image: Picture to edit, of any mode; it is not changed.
        mask: Picture with alpha, or None. A mask without alpha edits nothing.
        prompt: Text to paint.
        size: Width and height of the result in pixels. Other than the image's, it is resized
            after the edit.
        index: Number of the picture among those of one request; each looks different.
        others: Further input pictures, of any mode and size; they are not changed.

    Returns:
        RGBA if a kept pixel is not opaque, else RGB.
    """
    brief, rng = read(prompt), seeded(prompt, index)
    prints = [shrunk(other, size) for other in others]
    if prints and mask is None:
        return collage([shrunk(image, size), *prints], prompt, brief, size, index)
    base = rgba(image)
    alpha = (base if mask is None else rgba(mask)).getchannel("A")
    if alpha.size != base.size:
        alpha = alpha.resize(base.size, Image.Resampling.NEAREST)
    hole = alpha.point([255] + [0] * 255)
    box = hole.getbbox()
    if box is not None:
        filled = filling(base, hole, box, brief, others=prints, rng=rng, index=index)
        base.paste(filled.convert("RGBA"), box[:2], hole.crop(box))
    elif mask is None:
        restyled = restyle(base.convert("RGB"), prompt, brief, index)
        restyled.putalpha(base.getchannel("A"))
        base = restyled
    result = base.convert("RGB") if opaque(base) else base
    return result if result.size == size else result.resize(size, Image.Resampling.LANCZOS)


def vary(image: Image.Image, size: tuple[int, int], *, index: int = 0) -> Image.Image:
    """Return a variation of *image*: its composition, bent and mirrored, in other colours.

    A caption below the picture stays as it is.

    Args:
        image: Picture of any mode; it is not changed.
        size: Width and height of the result in pixels.
        index: Number of the variation; each looks different.

    Returns:
        RGBA if *image* has transparent pixels, else RGB.
    """
    base = rgba(image)
    rng = seeded(base.tobytes(), index)
    solid = opaque(base)
    rows = caption_px(base.convert("RGB")) if solid else 0
    low = round(rows * size[1] / base.height)
    strip = base.crop((0, base.height - rows, *base.size)) if low else None
    work = base if strip is None else base.crop((0, 0, base.width, base.height - rows))
    room = (size[0], size[1] - low)
    work = work if work.size == room else work.resize(room, Image.Resampling.BICUBIC)
    work = _bend(work, rng, mirror=index % 2 == 0)
    shift = round(_TURNS[index % len(_TURNS)] / 360 * 256)
    hue, saturation, value = work.convert("RGB").convert("HSV").split()
    hue = hue.point([(i + shift) % 256 for i in range(256)])
    lift = rng.uniform(0.9, 1.2)
    saturation = saturation.point([min(255, round(i * lift)) for i in range(256)])
    graded = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    tint = Image.new("RGB", room, rng.choice(((255, 196, 120), (120, 170, 255), (255, 150, 180))))
    graded = Image.blend(graded, ImageChops.overlay(graded, tint), 0.3)
    if not solid:
        graded.putalpha(work.getchannel("A"))
    if strip is None:
        return graded
    result = Image.new("RGB", size)
    result.paste(graded)
    result.paste(
        strip.convert("RGB").resize((size[0], low), Image.Resampling.BICUBIC), (0, room[1])
    )
    return result


def preview(image: Image.Image, index: int, count: int) -> Image.Image:
    """Return *image* out of focus, as a preview of it while it is made.

    Its details would fit into a much smaller picture, whose edges grow by the same factor from
    preview to preview. Even the last one differs from *image* in a thumbnail.

    Args:
        image: Finished picture, RGB or RGBA; it is not changed.
        index: Number of the preview, from 0; a later one is sharper.
        count: Number of previews that are shown before *image*.

    Returns:
        A picture of the size and mode of *image*.
    """
    edge_px = _FIRST_PREVIEW_PX * (_SHARP_PX / _FIRST_PREVIEW_PX) ** (index / count)
    share = min(1.0, edge_px / max(image.size))
    coarse = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(coarse, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, output_format: str, *, compression: int | None = None) -> bytes:
    """Return *image* as a file without metadata.

    Args:
        image: Picture of any mode.
        output_format: ``png``, ``jpeg`` or ``webp``. JPEG shows transparent pixels on white.
        compression: Quality of JPEG and WebP, 0 to 100; None for the default. PNG ignores it.

    Raises:
        ValueError: Unknown *output_format*.
    """
    plain = image if image.mode in {"RGB", "RGBA", "L"} and not image.info else rgba(image)
    if plain.mode == "RGBA" and opaque(plain):
        plain = plain.convert("RGB")
    quality = 90 if compression is None else max(1, min(100, compression))
    buffer = io.BytesIO()
    if output_format == "png":
        plain.save(buffer, "PNG", compress_level=2)
    elif output_format == "jpeg":
        if plain.mode == "RGBA":
            white = Image.new("RGB", plain.size, (255, 255, 255))
            white.paste(plain, mask=plain.getchannel("A"))
            plain = white
        plain.save(buffer, "JPEG", quality=quality)
    elif output_format == "webp":
        plain.save(buffer, "WEBP", quality=quality, method=1)
    else:
        raise ValueError(f"unknown output format {output_format!r}: use png, jpeg or webp")
    return buffer.getvalue()


def _bend(image: Image.Image, rng: random.Random, *, mirror: bool) -> Image.Image:
    """Look at *image* from slightly closer and warp it gently on a grid."""
    width, height = image.size
    cells = 8
    reach = rng.uniform(0.01, 0.02)
    zoom = rng.uniform(0.9, 0.97)
    left, top = (1 - zoom) * rng.random(), (1 - zoom) * rng.random()
    phase_x, phase_y = rng.uniform(0, math.tau), rng.uniform(0, math.tau)

    def source(column: int, row: int) -> tuple[float, float]:
        u, v = column / cells, row / cells
        hold = math.sin(math.pi * u) * math.sin(math.pi * v)
        x = u + hold * reach * math.sin(math.tau * v + phase_x) * 1.6
        y = v + hold * reach * math.sin(math.tau * u + phase_y) * 1.6
        x = left + x * zoom
        return (1 - x if mirror else x) * width, (top + y * zoom) * height

    mesh = []
    for row in range(cells):
        for column in range(cells):
            target = (
                column * width // cells,
                row * height // cells,
                (column + 1) * width // cells,
                (row + 1) * height // cells,
            )
            corners = (
                source(column, row),
                source(column, row + 1),
                source(column + 1, row + 1),
                source(column + 1, row),
            )
            mesh.append((target, tuple(v for corner in corners for v in corner)))
    return image.transform(
        image.size, Image.Transform.MESH, mesh, resample=Image.Resampling.BILINEAR
    )
