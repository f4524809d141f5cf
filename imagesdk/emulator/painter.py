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

from PIL import Image, ImageChops, ImageOps

from imagesdk.emulator import _scenes, _subjects
from imagesdk.emulator._brief import Brief, ink_of, palette_of, read, seeded
from imagesdk.emulator._canvas import WHITE, Ink, Pen, glow, mix
from imagesdk.emulator._caption import caption

__all__ = ("edit", "encode", "paint", "vary")

_WORK_PX = 1024  # longest edge that is supersampled; larger pictures are enlarged

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
        return _cut_out(brief, size, index)
    strip = caption(prompt, size)
    height = size[1] - (strip.height if strip else 0)
    picture = _picture(brief, (size[0], height), seeded(prompt, index), index)
    if strip is None:
        return picture
    poster = Image.new("RGB", size)
    poster.paste(picture)
    poster.paste(strip, (0, height))
    return poster


def edit(
    image: Image.Image,
    mask: Image.Image | None,
    prompt: str,
    size: tuple[int, int],
    *,
    index: int = 0,
) -> Image.Image:
    """Paint *prompt* into the fully transparent pixels of *mask*.

    Only pixels where the mask's alpha is exactly 0 change; its colours and its partially
    transparent pixels mean nothing. Without a mask the alpha of *image* itself is used, and an
    image without transparent pixels is restyled as a whole.

    Args:
        image: Picture to edit, of any mode; it is not changed.
        mask: Picture with alpha, or None. A mask without alpha edits nothing.
        prompt: Text to paint.
        size: Width and height of the result in pixels. Other than the image's, it is resized
            after the edit.
        index: Number of the picture among those of one request.

    Returns:
        RGBA if a kept pixel is not opaque, else RGB.
    """
    base = _rgba(image)
    alpha = (base if mask is None else _rgba(mask)).getchannel("A")
    if alpha.size != base.size:
        alpha = alpha.resize(base.size, Image.Resampling.NEAREST)
    hole = alpha.point([255] + [0] * 255)
    box = hole.getbbox()
    brief, rng = read(prompt), seeded(prompt, index)
    if box is not None:
        filling = _filling(base, hole, box, brief, rng=rng, index=index)
        base.paste(filling.convert("RGBA"), box[:2], hole.crop(box))
    elif mask is None:
        restyled = _restyle(base.convert("RGB"), prompt, brief, index)
        restyled.putalpha(base.getchannel("A"))
        base = restyled
    result = base.convert("RGB") if _opaque(base) else base
    return result if result.size == size else result.resize(size, Image.Resampling.LANCZOS)


def vary(image: Image.Image, size: tuple[int, int], *, index: int = 0) -> Image.Image:
    """Return a variation of *image*: its composition, bent and mirrored, in other colours.

    Args:
        image: Picture of any mode; it is not changed.
        size: Width and height of the result in pixels.
        index: Number of the variation; each looks different.

    Returns:
        RGBA if *image* has transparent pixels, else RGB.
    """
    base = _rgba(image)
    rng = seeded(base.tobytes(), index)
    work = base if base.size == size else base.resize(size, Image.Resampling.BICUBIC)
    work = _bend(work, rng, mirror=index % 2 == 0)
    shift = round(_TURNS[index % len(_TURNS)] / 360 * 256)
    hue, saturation, value = work.convert("RGB").convert("HSV").split()
    hue = hue.point([(i + shift) % 256 for i in range(256)])
    lift = rng.uniform(0.9, 1.2)
    saturation = saturation.point([min(255, round(i * lift)) for i in range(256)])
    graded = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    tint = Image.new("RGB", size, rng.choice(((255, 196, 120), (120, 170, 255), (255, 150, 180))))
    graded = Image.blend(graded, ImageChops.overlay(graded, tint), 0.3)
    if not _opaque(base):
        graded.putalpha(work.getchannel("A"))
    return graded


def encode(image: Image.Image, output_format: str, *, compression: int | None = None) -> bytes:
    """Return *image* as a file without metadata.

    Args:
        image: Picture of any mode.
        output_format: ``png``, ``jpeg`` or ``webp``. JPEG shows transparent pixels on white.
        compression: Quality of JPEG and WebP, 0 to 100; None for the default. PNG ignores it.

    Raises:
        ValueError: Unknown *output_format*.
    """
    plain = image if image.mode in {"RGB", "RGBA", "L"} and not image.info else _rgba(image)
    if plain.mode == "RGBA" and _opaque(plain):
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


def _work_size(size: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return the size to draw at and the factor by which it is reduced afterwards."""
    longest = max(size)
    if longest <= _WORK_PX:
        return (size[0] * 2, size[1] * 2), 2
    scale = 2 * _WORK_PX / longest
    return (max(2, round(size[0] * scale)), max(2, round(size[1] * scale))), 0


def _picture(brief: Brief, size: tuple[int, int], rng: random.Random, index: int) -> Image.Image:
    """Paint the scene and its subjects without a caption."""
    work, factor = _work_size(size)
    palette = palette_of(brief, index)
    stage = _scenes.Stage(work, palette, rng, brief.words, brief.time)
    names = brief.subjects or brief.worn
    if names:
        home = _subjects.SUBJECTS[names[0]].home
        _scenes.SCENES[brief.place or home or "backdrop"](stage)
        _cast(stage, brief, names)
    elif brief.place or brief.time != "day":
        _scenes.SCENES[brief.place or "hills"](stage)
    else:
        _scenes.ABSTRACTS[(rng.randrange(4) + index) % 4](stage)
    _weather(stage)
    if factor:
        return stage.image.reduce(factor)
    return stage.image.resize(size, Image.Resampling.BICUBIC)


def _cast(stage: _scenes.Stage, brief: Brief, names: tuple[str, ...]) -> None:
    """Put up to three subjects side by side on the ground of *stage*."""
    names = names[:3]
    wide, high = stage.size[0] / stage.unit, stage.size[1] / stage.unit
    close = "close" in brief.words or "closeup" in brief.words or "特写" in brief.words
    scale = min(0.36, 0.34 * wide / (1 + 0.62 * (len(names) - 1)))
    if brief.place and not close:
        scale *= 0.86
    flip = stage.rng.random() < 0.5
    scene = brief.place or _subjects.SUBJECTS[names[0]].home
    beach = {"beach", "sand", "shore", "island", "海滩"} & brief.words
    for number, name in enumerate(names):
        subject = _subjects.SUBJECTS[name]
        ink = ink_of(brief, stage.palette, number)
        x = 0.5 + (number - (len(names) - 1) / 2) * 1.9 * scale / wide
        if len(names) == 1 and brief.place:
            x = stage.rng.choice((0.42, 0.5, 0.58))
        if close and subject.head and len(names) == 1:
            head_x, head_y, radius = subject.head
            zoom = min(0.36 / radius, 1.1)
            x = 0.5 - (-head_x if flip else head_x) * zoom / wide
            y = 0.47 - head_y * zoom / high
            pen = stage.place(x, y, zoom, flip=flip)
        else:
            if subject.bust:
                scale = max(scale, 0.4)
            ground = 1.01 if subject.bust else stage.ground
            y = 0.47 if subject.afloat else ground - scale / high
            pen = stage.place(x, y, scale, flip=flip)
        swims = scene in {"sea", "pool"} and not beach and not close and name != "lighthouse"
        water = stage.image.crop(_underwater(stage, pen)) if swims else None
        plain = subject.afloat or subject.bust or close or swims
        _pose(stage, pen, subject, ink, brief, shadow=not plain)
        if water is not None:
            _submerge(stage, pen, water)


def _underwater(stage: _scenes.Stage, pen: Pen) -> tuple[int, int, int, int]:
    """Return the part of the picture where *pen* draws what is under water."""
    (one, top), (two, bottom) = pen.pixel(-1.1, 0.7), pen.pixel(1.1, 1.1)
    return (
        max(0, round(min(one, two))),
        round(top),
        min(stage.size[0], round(max(one, two))),
        min(stage.size[1], round(bottom)),
    )


def _submerge(stage: _scenes.Stage, pen: Pen, water: Image.Image) -> None:
    """Let the lowest part of what *pen* drew shine through *water*, the picture before it."""
    box = _underwater(stage, pen)
    stage.image.paste(Image.blend(stage.image.crop(box), water, 0.74), box[:2])
    for k, (width, alpha) in enumerate(((0.5, 190), (0.72, 120), (0.92, 70))):
        y = 0.7 + k * 0.07
        pen.line([(-width, y), (-width / 2, y + 0.025), (0, y + 0.032), (width / 2, y + 0.025),
                  (width, y)], 0.022, WHITE, end=0.01, alpha=alpha)  # fmt: skip


def _pose(
    stage: _scenes.Stage,
    pen: Pen,
    subject: _subjects.Subject,
    ink: Ink,
    brief: Brief,
    *,
    shadow: bool,
) -> None:
    """Draw one subject with its shadow, back light and what it wears."""
    if shadow:
        pen.oval(0, 1.0, 0.86, 0.09, fill=(20, 16, 40), alpha=64)
    if {"backlit", "backlight", "glowing", "rim", "背光"} & brief.words:
        x, y, _ = subject.head or (0, 0, 0)
        light = (255, 232, 178)
        glow(stage.image, pen.pixel(x, y), pen.unit * 1.7, light, 0.95)
        for dx, dy in ((-0.022, -0.016), (0.022, -0.016), (0, -0.026)):
            rim = Pen(stage.image, pen.pixel(dx, dy), pen.unit, flip=pen.flip, tint=(255, 246, 214))
            subject.draw(rim, ink)
    subject.draw(pen, ink)
    for thing in brief.worn:
        if brief.subjects:
            _subjects.dress(
                pen, subject, thing, ink._replace(body=stage.palette.accent, named=False)
            )


def _weather(stage: _scenes.Stage) -> None:
    """Add rain, snow or sparkles named in the prompt."""
    rng = stage.rng
    if {"rain", "rainy", "storm", "雨"} & stage.words:
        for _ in range(90):
            pen = stage.place(rng.random(), rng.random(), 0.03)
            pen.line([(0.3, -1), (-0.1, 1)], 0.07, (214, 230, 246), end=0.02, alpha=140)
    if {"snow", "snowy", "winter", "雪"} & stage.words:
        for _ in range(110):
            pen = stage.place(rng.random(), rng.random(), rng.uniform(0.003, 0.009))
            pen.oval(0, 0, 1, fill=(255, 255, 255), alpha=210)
    if {"magic", "magical", "sparkling", "sparkle", "dreamy", "party", "fantasy"} & stage.words:
        for _ in range(22):
            pen = stage.place(rng.random(), rng.random(), rng.uniform(0.01, 0.028))
            star = [(0, -1), (0.18, -0.18), (1, 0), (0.18, 0.18), (0, 1), (-0.18, 0.18), (-1, 0),
                    (-0.18, -0.18)]  # fmt: skip
            pen.poly(star, (255, 246, 206), 220)


def _cut_out(brief: Brief, size: tuple[int, int], index: int) -> Image.Image:
    """Draw the subject alone on a transparent background."""
    work, _ = _work_size(size)
    palette = palette_of(brief, index)
    name = (brief.subjects or brief.worn or ("",))[-1]
    return _sprite(brief, palette, name, work, flip=index % 2 == 1).resize(
        size, Image.Resampling.BOX
    )


def _sprite(
    brief: Brief, palette: _scenes.Palette, name: str, work: tuple[int, int], *, flip: bool
) -> Image.Image:
    """Draw subject *name* (an emblem if unknown) as large as it fits, on nothing.

    Drawn once on black and once on white, the difference of the two is its transparency. This
    keeps the blended edges and shadows that drawing on a transparent image would punch out.
    """
    # A hat needs room above the head.
    scale, middle = (0.38, 0.56) if set(brief.worn) - {name} else (0.44, 0.5)
    shots = []
    for ground in ((0, 0, 0), (255, 255, 255)):
        shot = Image.new("RGB", work, ground)
        pen = Pen(shot, (work[0] / 2, work[1] * middle), min(work) * scale, flip=flip)
        if name:
            subject = _subjects.SUBJECTS[name]
            subject.draw(pen, ink_of(brief, palette))
            for thing in brief.worn:
                if thing != name:
                    _subjects.dress(
                        pen, subject, thing, ink_of(brief, palette)._replace(named=False)
                    )
        else:
            _emblem(pen, palette, len(brief.words))
        shots.append(shot)
    lack = ImageChops.subtract(shots[1], shots[0])
    red, green, blue = lack.split()
    alpha = ImageChops.invert(ImageChops.lighter(ImageChops.lighter(red, green), blue))
    return Image.merge("RGBa", (*shots[0].split(), alpha)).convert("RGBA")


def _emblem(pen: Pen, palette: _scenes.Palette, turns: int) -> None:
    """Draw an abstract flower of circles."""
    petals = 5 + turns % 4
    for k in range(petals):
        angle = math.tau * k / petals
        tone = mix(palette.body, palette.accent, k % 2)
        pen.oval(0.5 * math.cos(angle), 0.5 * math.sin(angle), 0.42, fill=tone, alpha=225)
    pen.oval(0, 0, 0.36, fill=palette.low)
    pen.oval(0, 0, 0.2, fill=palette.near)


def _filling(
    base: Image.Image,
    hole: Image.Image,
    box: tuple[int, int, int, int],
    brief: Brief,
    *,
    rng: random.Random,
    index: int,
) -> Image.Image:
    """Paint what belongs into *hole*, the size of *box*."""
    size = (box[2] - box[0], box[3] - box[1])
    work = (max(8, size[0]), max(8, size[1]))
    palette = palette_of(brief, index)
    name = (brief.worn or brief.subjects or ("",))[-1]
    place = brief.place or (_subjects.SUBJECTS[name].home or "backdrop" if name else None)
    picture = (
        _inpaint(base, hole, box)  # "wearing a beret": the rest of the picture stays
        if brief.worn
        else _picture(brief._replace(subjects=(), place=place), work, rng, index)
    )
    picture = picture.resize(size) if picture.size != size else picture
    if not name:
        return picture
    left, top, edge_x, edge_y = _clearing(hole.crop(box))
    if brief.worn:  # sits on whatever is below the hole
        side = min(edge_x, 1.7 * edge_y)
        left, top = left + (edge_x - side) / 2, top + edge_y - 0.745 * side
        edge_x = edge_y = side
    spot = (max(2, round(edge_x)), max(2, round(edge_y)))
    scaled, factor = _work_size(spot)
    sprite = _sprite(brief._replace(worn=()), palette, name, scaled, flip=rng.random() < 0.5)
    sprite = sprite.resize(spot, Image.Resampling.BOX if factor else Image.Resampling.BICUBIC)
    corner = (round(left), round(top))
    if place in {"sea", "pool"} and not _subjects.SUBJECTS[name].afloat and not brief.worn:
        below = (0, round(spot[1] * 0.84), *spot)
        sunk = sprite.getchannel("A")
        sunk.paste(sunk.crop(below).point([i // 4 for i in range(256)]), below[:2])
        sprite.putalpha(sunk)
        pen = Pen(picture, (left + spot[0] / 2, top + spot[1] / 2), min(spot) / 2)
        for k, reach in enumerate((0.3, 0.46)):
            y = (0.68 + k * 0.06) * spot[1] / min(spot)
            pen.line([(-reach, y), (0, y + 0.03), (reach, y)], 0.02, WHITE, alpha=200 - 70 * k)
    picture.paste(sprite, corner, sprite.getchannel("A"))
    return picture


def _clearing(hole: Image.Image) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the best place for a subject within *hole*.

    The whole box if its middle is editable, else the largest editable square on a coarse grid
    (a border around a kept picture has no editable middle).
    """
    width, height = hole.size
    if hole.resize((3, 3), Image.Resampling.BOX).tobytes()[4] > 150:
        return 0, 0, width, height
    cells = 24
    grid = hole.resize((cells, cells), Image.Resampling.BOX).tobytes()
    best, spot = 0, (0, 0)
    sides = [[0] * (cells + 1) for _ in range(cells + 1)]
    for y in range(cells):
        for x in range(cells):
            if grid[y * cells + x] > 200:
                side = 1 + min(sides[y][x], sides[y][x + 1], sides[y + 1][x])
                sides[y + 1][x + 1] = side
                if side >= best:
                    best, spot = side, (x + 1 - side, y + 1 - side)
    if not best:
        return 0, 0, width, height
    return (
        spot[0] * width / cells,
        spot[1] * height / cells,
        best * width / cells,
        best * height / cells,
    )


def _inpaint(base: Image.Image, hole: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return the area of *box* with the hole filled by the colours around it.

    Kept pixels are averaged over larger and larger squares; coarse averages show only where finer
    ones have no kept pixel. What is below the hole (the head that gets a hat) is left out.
    """
    kept = base.copy()
    kept.putalpha(ImageChops.multiply(base.getchannel("A"), ImageChops.invert(hole)))
    if box[1] > 0 or box[0] > 0 or box[2] < base.width:
        kept.paste((0, 0, 0, 0), (0, box[3], *base.size))
    kept = kept.convert("RGBa")
    result = Image.new("RGBA", base.size, (200, 200, 200, 255))
    for cells in (1, 2, 4, 8, 16, 32, 64):
        small = kept.resize((cells, cells), Image.Resampling.BOX)
        red, green, blue, alpha = small.split()
        solid = Image.merge("RGBa", (red, green, blue, alpha)).convert("RGBA")
        weight = alpha.point([min(255, i * 3) for i in range(256)])
        solid.putalpha(weight)
        layer = solid.convert("RGBa").resize(base.size, Image.Resampling.BICUBIC).convert("RGBA")
        result.alpha_composite(layer)
    return result.convert("RGB").crop(box)


def _restyle(image: Image.Image, prompt: str, brief: Brief, index: int) -> Image.Image:
    """Tint the whole *image* towards the palette of the prompt and add the caption."""
    palette = palette_of(brief, index)
    tones = ImageOps.colorize(
        ImageOps.autocontrast(image.convert("L")),
        black=mix(palette.near, (0, 0, 0), 0.6),
        mid=palette.body,
        white=mix(palette.low, WHITE, 0.6),
    )
    result = Image.blend(image, tones, 0.8)
    strip = caption(prompt, image.size)
    if strip is not None:
        result.paste(strip, (0, image.height - strip.height))
    return result


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


def _opaque(image: Image.Image) -> bool:
    """Tell whether no pixel of the RGBA *image* lets anything through."""
    return image.getchannel("A").getextrema()[0] == 255


def _rgba(image: Image.Image) -> Image.Image:
    """Return *image* as 8-bit RGBA without metadata, with palette transparency as alpha."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        data = image.tobytes()
        big = image.mode.endswith("B")
        high = Image.frombytes("L", image.size, data[0 if big else 1 :: 2])
        low = Image.frombytes("L", image.size, data[1 if big else 0 :: 2])
        result = high.convert("RGBA")
        if isinstance(clear, int):
            same = ImageChops.multiply(
                high.point([255 * (i == clear >> 8) for i in range(256)]),
                low.point([255 * (i == clear & 255) for i in range(256)]),
            )
            result.putalpha(ImageChops.invert(same))
        return result
    if image.mode in {"I", "F"}:
        # The 32-bit modes have no fixed range: 16-bit files are read into them, too.
        top = image.convert("F").getextrema()[1]
        scale = 255 / 65535 if isinstance(top, float) and top > 255 else 1.0
        image = image.convert("F").point(lambda i: i * scale).convert("L")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Pillow reads 16-bit RGB as 8-bit but leaves the transparent colour as it was.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    result = image.convert("RGBA")
    result.info = {}
    return result if result is not image else image.copy()
