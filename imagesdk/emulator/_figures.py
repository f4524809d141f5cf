"""Paint scenes with their subjects, and subjects alone on nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageChops

from imagesdk.emulator import _scenes, _subjects
from imagesdk.emulator._brief import Brief, ink_of, palette_of
from imagesdk.emulator._canvas import WHITE, Ink, Pen, glow, mix
from imagesdk.emulator._looks import FLYING, Look, draw_extra, extra_of, look_of, trim

__all__ = ("cut_out", "picture", "sprite", "stamp", "work_size")

_WORK_PX = 1024  # longest edge that is supersampled; larger pictures are enlarged


def work_size(size: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return the size to draw at and the factor by which it is reduced afterwards."""
    longest = max(size)
    if longest <= _WORK_PX:
        return (size[0] * 2, size[1] * 2), 2
    scale = 2 * _WORK_PX / longest
    return (max(2, round(size[0] * scale)), max(2, round(size[1] * scale))), 0


def picture(brief: Brief, size: tuple[int, int], rng: random.Random, index: int) -> Image.Image:
    """Paint the scene and its subjects without a caption."""
    work, factor = work_size(size)
    palette = palette_of(brief, index)
    stage = _scenes.Stage(work, palette, rng, brief.words, brief.time)
    look = look_of(index)
    names = brief.subjects or brief.worn
    if names:
        home = _subjects.SUBJECTS[names[0]].home
        _scenes.SCENES[brief.place or home or "backdrop"](stage)
        _cast(stage, brief, names, look)
    elif brief.place or brief.time != "day":
        _scenes.SCENES[brief.place or "hills"](stage)
    else:
        _scenes.ABSTRACTS[(rng.randrange(4) + index) % 4](stage)
    _weather(stage)
    if factor:
        return stage.image.reduce(factor)
    return stage.image.resize(size, Image.Resampling.BICUBIC)


def _cast(stage: _scenes.Stage, brief: Brief, names: tuple[str, ...], look: Look) -> None:
    """Put up to three subjects side by side on the ground of *stage*."""
    names = names[:3]
    wide, high = stage.size[0] / stage.unit, stage.size[1] / stage.unit
    close = "close" in brief.words or "closeup" in brief.words or "特写" in brief.words
    scale = min(0.36, 0.34 * wide / (1 + 0.62 * (len(names) - 1)))
    scale *= (0.86 if brief.place and not close else 1.0) * (0.45 + 0.55 * look.scale)
    flip = stage.rng.random() < 0.5
    scene = brief.place or _subjects.SUBJECTS[names[0]].home
    beach = {"beach", "sand", "shore", "island", "海滩"} & brief.words
    for number, name in enumerate(names):
        subject = _subjects.SUBJECTS[name]
        ink = ink_of(brief, stage.palette, number, look=look)
        spot = len(names) - 1 - number if look.flip else number
        x = 0.5 + (spot - (len(names) - 1) / 2) * 1.9 * scale / wide
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
        _pose(stage, pen, subject, ink, brief, shadow=not plain, look=look)
        if water is not None:
            _submerge(stage, pen, water)
        if look.extra and len(names) == 1 and not (subject.afloat or subject.bust or close):
            afloat = scene in {"sea", "pool"} and not beach
            _accompany(stage, pen, look, name, afloat=afloat)


def _accompany(stage: _scenes.Stage, pen: Pen, look: Look, name: str, *, afloat: bool) -> None:
    """Put the small thing of *look* next to the subject *name* that *pen* drew."""
    extra = extra_of(look, name, wet=afloat)
    side = -1.0 if pen.center[0] > stage.size[0] * 0.46 else 1.0
    size = 0.24
    if extra in FLYING:
        x, y = side * 1.06, -0.62
    else:
        x, y = side * 1.02, 0.94 - size
    flip = pen.flip
    spot = Pen(stage.image, pen.center, pen.unit).at(x, y, size)
    if extra not in FLYING and not afloat:
        spot.oval(0, 1.0, 0.9, 0.12, fill=(20, 16, 40), alpha=64)
    spot = Pen(stage.image, spot.center, spot.unit, flip=flip)
    draw_extra(spot, extra, Ink(stage.palette.body, stage.palette.accent, frozenset(), named=False))


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
    look: Look,
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
            _subjects.dress(pen, subject, thing, _worn_ink(brief, ink, look))


def _worn_ink(brief: Brief, ink: Ink, look: Look) -> Ink:
    """Return *ink* for something worn: its own colour, or that of *look* if none is named."""
    felt = None if brief.colors else look.felt
    return ink._replace(body=felt or ink.accent, named=felt is not None, share=0.0)


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


def cut_out(brief: Brief, size: tuple[int, int], index: int) -> Image.Image:
    """Draw the subject alone on a transparent background."""
    work, _ = work_size(size)
    name = (brief.subjects or brief.worn or ("",))[-1]
    drawn = sprite(brief, palette_of(brief, index), name, work, look_of(index))
    return drawn.resize(size, Image.Resampling.BOX)


def sprite(
    brief: Brief, palette: _scenes.Palette, name: str, work: tuple[int, int], look: Look
) -> Image.Image:
    """Draw subject *name* (an emblem if unknown) as large as it fits, on nothing."""
    # A hat needs room above the head.
    scale, middle = (0.38, 0.56) if set(brief.worn) - {name} else (0.44, 0.5)

    def draw(pen: Pen) -> None:
        if not name:
            _emblem(pen, palette, len(brief.words))
            return
        subject, ink = _subjects.SUBJECTS[name], ink_of(brief, palette, look=look)
        if name in _subjects.WEARABLE:
            pen = pen.at(0, 0, turn=look.turn)
            subject.draw(pen, ink if ink.named else _worn_ink(brief, ink, look))
            if name == "beret":
                trim(pen, look.trim)
            return
        subject.draw(pen, ink)
        for thing in brief.worn:
            _subjects.dress(pen, subject, thing, _worn_ink(brief, ink, look))

    return stamp(draw, work, scale=scale, middle=middle, flip=look.flip)


def stamp(
    draw: Callable[[Pen], None],
    work: tuple[int, int],
    *,
    scale: float = 0.44,
    middle: float = 0.5,
    flip: bool = False,
) -> Image.Image:
    """Return what *draw* draws, on nothing.

    Drawn once on black and once on white, the difference of the two is its transparency. This
    keeps the blended edges and shadows that drawing on a transparent image would punch out.
    """
    shots = []
    for ground in ((0, 0, 0), (255, 255, 255)):
        shot = Image.new("RGB", work, ground)
        draw(Pen(shot, (work[0] / 2, work[1] * middle), min(work) * scale, flip=flip))
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
