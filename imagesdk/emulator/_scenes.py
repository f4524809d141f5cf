"""Draw the backgrounds of the emulator's painter: landscapes, rooms, backdrops, abstract posters."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from imagesdk.emulator._canvas import WHITE, Color, Pen, Point, glow, gradient, mix

__all__ = ("ABSTRACTS", "PALETTES", "SCENES", "WORDS", "Palette", "Stage")

NIGHT: Color = (22, 26, 54)


class Palette(NamedTuple):
    """Colours of a picture, from far to near, and two contrasting ones."""

    high: Color
    low: Color
    far: Color
    mid: Color
    near: Color
    accent: Color
    body: Color


def _palette(line: str) -> Palette:
    """Read a palette from seven hexadecimal colours."""
    return Palette(*(_color(code) for code in line.split()))


def _color(code: str) -> Color:
    value = int(code, 16)
    return value >> 16, value >> 8 & 255, value & 255


PALETTES: dict[str, tuple[Palette, ...]] = {
    "day": tuple(
        map(
            _palette,
            (
                "8fd0e6 fdeed3 a5cdb4 6fae8f 3f7f72 f2784b e4593b",
                "f7c8a6 fff1dc e9a58a c9746a 7c4a5c 2f7f86 2a9d8f",
                "bfe3d8 fbf6e4 9ecbc0 5b9ea6 2c6178 f4a340 ee6c4d",
                "f9d9dc fdf4ea e5b3c0 b987a8 6a5688 f6b042 e0567a",
                "a9c8f0 f4ecf7 98a9dc 6a78bb 3e4a86 ffb35c f2785c",
                "f6dfa4 fff8e4 d9c27c 8fab74 4d7a5e e2604a 3c7ea6",
                "c9e6f2 ffffff b4cbe0 7fa0c4 486a94 ef5d60 f0a04b",
                "ffd3b0 ffefd8 f4a27a d46a5f 74405e 3d9fa3 f2c14e",
            ),
        )
    ),
    "sunset": tuple(
        map(
            _palette,
            (
                "58417f ffb36b c4688a 7d4379 3a2757 ffd36e f0605d",
                "2f5d8c ffc487 e58a7a a3557a 43315f ffe08a f4765a",
                "7b3f6e ffcf70 e9794f a94555 4a2545 fff0a8 ef5b4c",
                "3f8c96 ffd9a0 e8a06c b3655e 4d3a56 fff0b0 e4574e",
                "8c4a9e ff9fa0 d76a92 8f4a8c 432a62 ffd080 ffb35c",
            ),
        )
    ),
    "night": tuple(
        map(
            _palette,
            (
                "101a42 4b5c9c 3b4a86 263468 141d44 ffd97a 8fb8f0",
                "0d2138 2f7288 2c6078 1b4259 0d2436 ffe39a 6fd0c4",
                "22123f 7a4d96 5a3b80 3b2663 1d1239 ffc36e e884b4",
                "1d1a26 8a4a4e 6b3a44 472a38 221a28 ffcf8a e0735c",
                "0b2a26 4f8a6c 37705c 225045 0f2f2c f6e08c e89a6a",
            ),
        )
    ),
}


class Stage:
    """The picture being painted: an RGB image, its palette and its own random numbers.

    Attributes:
        image: Working image.
        palette: Colours.
        rng: Source of everything accidental; seeded by the prompt.
        words: Lower-case words of the prompt.
        time: ``day``, ``sunset`` or ``night``.
        ground: Height (0..1) on which subjects stand; set by the scene.
    """

    def __init__(
        self,
        size: tuple[int, int],
        palette: Palette,
        rng: random.Random,
        words: frozenset[str],
        time: str,
    ) -> None:
        self.size = size
        self.image = gradient(size, palette.high, palette.low)
        self.palette = palette
        self.rng = rng
        self.words = words
        self.time = time
        self.ground = 0.88
        self.unit = min(size)

    @property
    def frame(self) -> Pen:
        """Return a pen whose coordinates run from 0 to 1 across the whole picture."""
        return Pen(self.image, (0, 0), self.size[0], unit_y=self.size[1])

    def place(self, x: float, y: float, scale: float, *, flip: bool = False) -> Pen:
        """Return a pen at (*x*, *y*), 0..1, whose unit is *scale* of the shorter edge."""
        return Pen(
            self.image,
            (x * self.size[0], y * self.size[1]),
            scale * self.unit,
            flip=flip,
        )

    def shine(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Add a soft light; *radius* is a share of the shorter edge."""
        glow(self.image, (x * self.size[0], y * self.size[1]), radius * self.unit, color, strength)

    def ridge(
        self, height: float, swing: float, color: Color, *, bumps: int = 4, sharp: bool = False
    ) -> list[Point]:
        """Fill everything under a wavy (or jagged) line at *height* and return the line."""
        rng = self.rng
        bumps = max(2, round(bumps * max(1.0, self.size[0] / self.size[1])))
        points: list[Point] = []
        if sharp:
            for k in range(bumps * 2 + 1):
                up = swing if k % 2 else -swing * 0.5
                points.append(
                    (k / (bumps * 2) + rng.uniform(-0.03, 0.03), height - up * rng.uniform(0.5, 1))
                )
            points[0], points[-1] = (-0.01, points[0][1]), (1.01, points[-1][1])
        else:
            phases = [rng.uniform(0, math.tau) for _ in range(3)]
            for k in range(65):
                x = k / 64
                y = sum(
                    math.sin(x * math.tau * bumps * share + phase) / (n + 1.3)
                    for n, (share, phase) in enumerate(zip((0.3, 0.6, 1.0), phases, strict=True))
                )
                points.append((x, height - swing * y * 0.6))
        self.frame.poly([*points, (1.01, 1.01), (-0.01, 1.01)], color)
        return points

    def sky(self, *, low: float = 0.5) -> None:
        """Draw the sun or the moon, stars or clouds above *low*."""
        rng = self.rng
        x, y = rng.choice((0.2, 0.27, 0.72, 0.8)), rng.uniform(0.16, 0.26)
        if self.time == "night":
            for _ in range(70):
                star = self.place(rng.random(), rng.uniform(0, low + 0.1), 1)
                star.oval(
                    0, 0, rng.uniform(0.0012, 0.0042), fill=WHITE, alpha=rng.randint(120, 255)
                )
            self.shine(x, y, 0.34, (214, 222, 255), 0.5)
            moon = self.place(x, y, 0.075)
            moon.oval(0, 0, 1, fill=(252, 246, 222))
            moon.oval(-0.3, -0.2, 0.24, fill=(232, 222, 192))
            moon.oval(0.34, 0.3, 0.18, fill=(232, 222, 192))
            return
        if self.time == "sunset":
            y = low - 0.06
            self.shine(x, y, 0.7, (255, 214, 130), 0.85)
            self.place(x, y, 0.12).oval(0, 0, 1, fill=(255, 236, 176))
        else:
            self.shine(x, y, 0.46, WHITE, 0.8)
            self.place(x, y, 0.075).oval(0, 0, 1, fill=(255, 226, 140))
        for _ in range(3):
            self.cloud(rng.random(), rng.uniform(0.08, low * 0.62), rng.uniform(0.05, 0.1))

    def cloud(self, x: float, y: float, scale: float) -> None:
        """Draw one flat cloud."""
        pen = self.place(x, y, scale)
        color = mix(WHITE, self.palette.low, 0.35 if self.time == "sunset" else 0.1)
        pen.card(-1.5, -0.06, 1.5, 0.34, 0.2, color)
        pen.oval(-0.55, -0.06, 0.45, fill=color)
        pen.oval(0.25, -0.18, 0.6, fill=color)


def _hills(stage: Stage) -> None:
    palette = stage.palette
    stage.sky(low=0.5)
    stage.ridge(0.56, 0.1, mix(palette.far, palette.low, 0.35), bumps=3)
    stage.ridge(0.66, 0.08, mix(palette.far, palette.mid, 0.4))
    for _ in range(7):
        x = stage.rng.random()
        pine(
            stage,
            x,
            0.76 + stage.rng.uniform(-0.02, 0.02),
            0.07,
            mix(palette.mid, palette.near, 0.5),
        )
    stage.ridge(0.77, 0.05, palette.mid)
    stage.ridge(0.88, 0.04, palette.near)
    for _ in range(36):
        blade = stage.place(stage.rng.random(), stage.rng.uniform(0.9, 1.0), 0.02)
        tone = mix(palette.near, palette.mid, stage.rng.uniform(0.2, 0.8))
        blade.line([(0, 1), (stage.rng.uniform(-0.5, 0.5), -0.5)], 0.24, tone, end=0.05)
    stage.ground = 0.91


def _mountains(stage: Stage) -> None:
    palette = stage.palette
    stage.sky(low=0.55)
    for height, swing, color in (
        (0.58, 0.2, mix(palette.far, palette.low, 0.35)),
        (0.7, 0.22, mix(palette.mid, palette.far, 0.4)),
    ):
        points = stage.ridge(height, swing, color, bumps=3, sharp=True)
        for left, peak, right in zip(points[::2], points[1::2], points[2::2], strict=False):
            share = 0.34
            a = (peak[0] + (left[0] - peak[0]) * share, peak[1] + (left[1] - peak[1]) * share)
            b = (peak[0] + (right[0] - peak[0]) * share, peak[1] + (right[1] - peak[1]) * share)
            low = max(a[1], b[1])
            third = (b[0] - a[0]) / 4
            stage.frame.poly(
                [
                    peak,
                    b,
                    (b[0] - third, low - 0.03),
                    (peak[0], low + 0.01),
                    (a[0] + third, low - 0.03),
                    a,
                ],
                mix(WHITE, palette.low, 0.2),
            )
            stage.frame.poly([peak, right, (peak[0], right[1])], palette.near, 40)
    stage.ridge(0.82, 0.06, palette.mid)
    for k in range(12):
        pine(stage, (k + stage.rng.random()) / 12, 0.9, 0.1, mix(palette.near, NIGHT, 0.12))
    stage.ridge(0.9, 0.03, palette.near)
    stage.ground = 0.92


def pine(stage: Stage, x: float, y: float, scale: float, color: Color) -> None:
    """Draw a pine standing at (*x*, *y*)."""
    pen = stage.place(x, y, scale)
    for k in range(3):
        top = -1.9 + k * 0.5
        pen.poly([(0, top), (0.3 + k * 0.14, top + 0.8), (-0.3 - k * 0.14, top + 0.8)], color)
    pen.rect(-0.08, -0.4, 0.08, 0.3, color)


def _waves(stage: Stage, top: float, bottom: float, deep: Color, light: Color) -> None:
    """Draw short bright strokes on water between two heights."""
    for _ in range(44):
        share = stage.rng.random() ** 1.4
        y = top + (bottom - top) * share
        length = 0.02 + 0.07 * share
        x = stage.rng.random()
        tone = mix(deep, light, stage.rng.uniform(0.35, 0.9))
        pen = stage.frame
        pen.line(
            [(x - length, y), (x - length / 3, y - 0.006), (x + length / 3, y + 0.004), (x + length, y)],
            0.003 + 0.006 * share, tone, end=0.002,
        )  # fmt: skip


def _sea(stage: Stage) -> None:
    palette = stage.palette
    stage.sky(low=0.52)
    blue = (52, 134, 168) if stage.time == "day" else palette.mid
    water = mix(blue, palette.near, 0.25)
    stage.frame.rect(0, 0.54, 1, 1, mix(water, palette.low, 0.25))
    for k in range(4):
        stage.ridge(
            0.6 + k * 0.11, 0.014 + k * 0.006, mix(water, mix(palette.near, NIGHT, 0.2), k / 5)
        )
    _waves(stage, 0.56, 1.0, water, mix(palette.low, WHITE, 0.4))
    if {"beach", "sand", "shore", "island", "海滩"} & stage.words:
        sand = (240, 216, 168) if stage.time == "day" else mix(palette.low, palette.mid, 0.4)
        stage.ridge(0.85, 0.03, mix(WHITE, water, 0.2))
        stage.ridge(0.87, 0.03, sand)
    stage.ground = 0.9


def _water(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    top = mix((112, 206, 216), palette.high, 0.25)
    deep = mix((22, 92, 134), palette.near, 0.25)
    stage.image.paste(gradient(stage.size, top, mix(top, deep, 0.6), deep))
    for k in range(4):
        x = 0.1 + k * 0.24 + rng.uniform(-0.05, 0.05)
        stage.frame.poly([(x, -0.01), (x + 0.1, -0.01), (x + 0.02, 0.9), (x - 0.2, 0.9)], WHITE, 26)
    for _ in range(26):
        pen = stage.place(rng.random(), rng.random(), rng.uniform(0.004, 0.016))
        pen.oval(0, 0, 1, fill=WHITE, alpha=70)
        pen.oval(-0.2, -0.2, 0.5, fill=WHITE, alpha=110)
    stage.ridge(0.93, 0.03, mix((228, 206, 160), deep, 0.3))
    for k in range(9):
        x, color = (
            (k + rng.random()) / 9,
            mix((64, 150, 110), palette.accent, rng.choice((0, 0.2, 0.9))),
        )
        pen = stage.place(x, 0.98, rng.uniform(0.1, 0.2))
        sway = rng.choice((-0.2, 0.2))
        pen.line([(0, 0.1), (sway, -0.3), (-sway, -0.6), (sway * 0.6, -1)], 0.16, color, end=0.05)
    stage.ground = 0.86


def _pool(stage: Stage) -> None:
    palette = stage.palette
    light = mix((126, 222, 224), palette.low, 0.1)
    deep = mix((30, 142, 172), palette.mid, 0.12)
    stage.image.paste(gradient(stage.size, light, deep))
    frame, rng = stage.frame, stage.rng
    for row in range(7):
        y = 0.06 + row * row * 0.02 + row * 0.03
        for k in range(5):
            x = (k + rng.uniform(-0.2, 0.2) + (row % 2) / 2) / 4.5
            w = 0.06 + row * 0.014
            frame.line([(x - w, y), (x - w / 3, y + 0.012), (x + w / 3, y - 0.012), (x + w, y)],
                       0.008 + row * 0.002, mix(light, WHITE, 0.65), end=0.004)  # fmt: skip
    stage.shine(rng.uniform(0.3, 0.7), 0.1, 0.5, WHITE, 0.5)
    stage.ground = 0.86


def _forest(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    green = mix((64, 122, 88), palette.mid, 0.35)
    stage.shine(0.5, 0.34, 0.7, WHITE if stage.time == "day" else palette.accent, 0.6)
    for layer in range(3):
        tone = mix(mix(green, palette.low, 0.55), mix(green, NIGHT, 0.45), layer / 2)
        for k in range(9 - layer * 2):
            x = (k + rng.random()) / (9 - layer * 2)
            pine(stage, x, 0.72 + layer * 0.1, 0.2 + layer * 0.07 + rng.uniform(0, 0.06), tone)
        stage.ridge(0.74 + layer * 0.08, 0.03, mix(tone, palette.near, 0.15))
    for _ in range(12):
        pen = stage.place(rng.random(), rng.uniform(0.3, 0.9), 0.006)
        pen.oval(0, 0, 1, fill=mix(palette.accent, WHITE, 0.5), alpha=200)
    stage.ground = 0.93


def _city(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    stage.sky(low=0.5)
    lit = (255, 222, 130) if stage.time != "day" else mix(palette.low, WHITE, 0.4)
    across = max(1.0, stage.size[0] / stage.size[1])
    for layer, tone in enumerate((mix(palette.far, palette.low, 0.3), palette.mid, palette.near)):
        x = -0.02
        while x < 1:
            width = rng.uniform(0.08, 0.15) / across
            top = rng.uniform(0.3, 0.52) + layer * 0.11
            stage.frame.rect(x, top, x + width, 1.01, mix(tone, NIGHT, rng.uniform(0, 0.12)))
            if rng.random() < 0.3:
                stage.frame.rect(x + width * 0.46, top - 0.06, x + width * 0.54, top, tone)
            if layer:
                for column in range(3):
                    for row in range(8):
                        if rng.random() < (0.5 if stage.time == "day" else 0.62):
                            wx = x + width * (0.16 + column * 0.26)
                            wy = top + 0.03 + row * 0.045
                            stage.frame.rect(wx, wy, wx + width * 0.16, wy + 0.022, lit, 190)
            x += width + rng.choice((0, 0.006)) / across
    stage.frame.rect(0, 0.88, 1, 1.01, mix(palette.near, NIGHT, 0.5))
    for k in range(8):
        stage.frame.rect(k / 8 + 0.02, 0.945, k / 8 + 0.08, 0.955, mix(palette.low, WHITE, 0.5))
    stage.ground = 0.93


def _desert(stage: Stage) -> None:
    palette = stage.palette
    stage.sky(low=0.55)
    sand = mix((232, 178, 112), palette.far, 0.3)
    stage.ridge(0.6, 0.08, mix(sand, palette.low, 0.45), bumps=2)
    for k in range(3):
        tone = mix(sand, palette.near, 0.14 + k * 0.18)
        points = stage.ridge(0.7 + k * 0.1, 0.07, tone, bumps=2)
        shade = [(x, y + 0.02 + 0.05 * x) for x, y in points]
        stage.frame.poly([*shade, (1.01, 1.01), (-0.01, 1.01)], palette.near, 26)
    stage.ground = 0.92


def _space(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    high, low = mix(NIGHT, palette.near, 0.3), mix(NIGHT, palette.mid, 0.55)
    # Nebulae are soft: mixed at a quarter of the size they cost a tenth of the time.
    small = gradient((max(1, stage.size[0] // 4), max(1, stage.size[1] // 4)), high, low)
    for _ in range(3):
        center = (rng.random() * small.width, rng.random() * small.height)
        glow(small, center, rng.uniform(0.4, 0.7) * min(small.size), palette.body, 0.36)
    stage.image.paste(small.resize(stage.size, Image.Resampling.BILINEAR))
    for _ in range(110):
        star = stage.place(rng.random(), rng.random(), 1)
        star.oval(0, 0, rng.uniform(0.001, 0.0045), fill=WHITE, alpha=rng.randint(110, 255))
    pen = stage.place(rng.choice((0.18, 0.82)), rng.uniform(0.18, 0.3), rng.uniform(0.09, 0.13))
    planet = mix(palette.accent, palette.far, 0.4)
    pen.oval(0, 0, 1, fill=planet)
    pen.oval(-0.16, -0.16, 0.8, fill=mix(planet, WHITE, 0.18))
    ring = pen.at(0, 0, turn=-0.35)
    turns = [math.tau * k / 40 for k in range(41)]
    outline = [(1.7 * math.cos(a), 0.36 * math.sin(a)) for a in turns]
    ring.line(outline, 0.11, mix(palette.low, WHITE, 0.3))
    ring.poly([(0.98 * math.cos(a), -0.98 * math.sin(a)) for a in turns[:21]], planet)
    pen = stage.place(0.5, 1.62, 0.8 * max(1.0, stage.size[0] / stage.size[1]))
    pen.oval(0, 0, 1, fill=mix(palette.mid, NIGHT, 0.3))
    stage.ground = 0.92


def _room(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    wall = mix(palette.low, palette.far, 0.35)
    stage.image.paste(gradient(stage.size, mix(wall, WHITE, 0.25), wall))
    frame = stage.frame
    left = rng.choice((0.1, 0.58))
    sky = gradient((64, 64), palette.high, palette.low).resize(
        (round(0.32 * stage.size[0]), round(0.42 * stage.size[1]))
    )
    frame.rect(left - 0.016, 0.104, left + 0.336, 0.556, mix(WHITE, wall, 0.15))
    stage.image.paste(sky, (round(left * stage.size[0]), round(0.12 * stage.size[1])))
    frame.rect(left + 0.154, 0.12, left + 0.166, 0.54, mix(WHITE, wall, 0.15))
    frame.rect(left, 0.32, left + 0.32, 0.332, mix(WHITE, wall, 0.15))
    frame.rect(0, 0.74, 1, 1.01, mix((176, 122, 82), palette.near, 0.25))
    frame.rect(0, 0.725, 1, 0.745, mix(WHITE, wall, 0.4))
    for k in range(6):
        frame.line(
            [(k / 5, 0.75), (k / 5 + (k / 5 - 0.5) * 0.4, 1.01)], 0.003, palette.near, alpha=70
        )
    frame.poly([(left + 0.02, 0.76), (left + 0.3, 0.76), (left + 0.22, 1.0), (left - 0.14, 1.0)],
               WHITE, 60)  # fmt: skip
    other = 0.86 if left < 0.4 else 0.14
    pot = stage.place(other, 0.8, 0.12)
    for k in range(7):
        angle = -math.pi / 2 + (k - 3) * 0.36
        pot.at(0, -0.5).oval(math.cos(angle) * 0.6, math.sin(angle) * 0.6, 0.6, 0.17,
                             fill=mix((74, 142, 96), palette.near, k % 3 * 0.2), turn=angle)  # fmt: skip
    pot.poly([(-0.5, -0.45), (0.5, -0.45), (0.36, 0.5), (-0.36, 0.5)], palette.accent)
    stage.ground = 0.9


def _backdrop(stage: Stage) -> None:
    """Draw a plain coloured studio: a disc, an arch, rays or hills of paper behind the subject."""
    palette, rng = stage.palette, stage.rng
    frame = stage.frame
    style = rng.randrange(5)
    if style == 0:
        stage.place(0.5, 0.48, 0.37).oval(0, 0, 1, fill=mix(palette.high, palette.accent, 0.45))
        stage.place(0.5, 0.48, 0.32).oval(0, 0, 1, fill=mix(palette.low, palette.accent, 0.32))
    elif style == 1:
        for k, tone in enumerate((palette.far, mix(palette.far, palette.low, 0.4), palette.low)):
            r = 0.42 - k * 0.07
            arch = stage.place(0.5, 0.5, r)
            arch.oval(0, 0, 1, fill=tone)
            arch.rect(-1, 0, 1, 4, tone)
    elif style == 2:
        reach = math.hypot(1, max(stage.size) / stage.unit)
        rays = stage.place(0.5, 0.5, reach)
        turn = rng.random()
        for k in range(14):
            a = math.tau * (k + turn) / 14
            b = a + math.tau / 28
            rays.poly([(0, 0), (math.cos(a), math.sin(a)), (math.cos(b), math.sin(b))],
                      mix(palette.high, palette.accent, 0.25))  # fmt: skip
        stage.shine(0.5, 0.5, 0.55, palette.low, 0.95)
    elif style == 3:
        frame.rect(0, 0, 0.5, 1, mix(palette.far, palette.high, 0.4))
        for row in range(6):
            for k in range(6):
                dot = stage.place((k + 0.5 + row % 2 / 2) / 6, (row + 0.5) / 7, 0.014)
                dot.oval(0, 0, 1, fill=WHITE, alpha=130)
    else:
        for _ in range(7):
            leaf = stage.place(rng.choice((rng.uniform(0, 0.2), rng.uniform(0.8, 1))),
                               rng.uniform(0.05, 0.8), rng.uniform(0.09, 0.16))  # fmt: skip
            turn, tone = rng.uniform(-1.2, 1.2), mix(palette.far, palette.mid, rng.random())
            leaf.at(0, 0, turn=turn).blob([(0, -1), (0.42, -0.2), (0.3, 0.6), (0, 1), (-0.3, 0.6),
                                           (-0.42, -0.2)], tone)  # fmt: skip
            leaf.at(0, 0, turn=turn).line([(0, -0.8), (0, 1.3)], 0.05, mix(tone, palette.low, 0.4))
    frame.rect(0, 0.84, 1, 1.01, palette.mid)
    frame.rect(0, 0.84, 1, 0.846, mix(palette.mid, WHITE, 0.3))
    stage.ground = 0.9


def _bauhaus(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    tones = (*palette[:7], WHITE)
    cell = max(stage.size) / (4 if max(stage.size) < 1.6 * stage.unit else 6)
    for row in range(math.ceil(stage.size[1] / cell)):
        for column in range(math.ceil(stage.size[0] / cell)):
            pen = Pen(stage.image, ((column + 0.5) * cell, (row + 0.5) * cell), cell / 2,
                      turn=math.pi / 2 * rng.randrange(4))  # fmt: skip
            one, two, three = rng.sample(tones, 3)
            pen.rect(-1.01, -1.01, 1.01, 1.01, one)
            kind = rng.randrange(5)
            if kind == 0:
                pen.oval(0, 0, 0.8, fill=two)
                pen.oval(0, 0, 0.4, fill=three)
            elif kind == 1:
                pen.poly([(-1, -1), *((-1 + 2 * math.sin(a), 1 - 2 * math.cos(a)) for a in
                                      (math.pi / 2 * k / 24 for k in range(25))), (-1, 1)], two)  # fmt: skip
            elif kind == 2:
                pen.poly([(-1, -1), (1, -1), (-1, 1)], two)
                pen.oval(0.4, 0.4, 0.3, fill=three)
            elif kind == 3:
                for k in range(4):
                    pen.rect(-1, -1 + k * 0.5, 1, -0.75 + k * 0.5, two)
            else:
                half = [(math.cos(a), math.sin(a)) for a in (math.pi * k / 30 for k in range(31))]
                pen.poly([(x, y - 1) for x, y in half], two)
                pen.poly([(x, y) for x, y in half], three)


def _dunes(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    stage.shine(0.5, 0.3, 0.6, WHITE, 0.6)
    stage.place(rng.uniform(0.3, 0.7), 0.3, 0.17).oval(0, 0, 1, fill=palette.accent)
    for k in range(7):
        share = k / 6
        low = mix(palette.far, palette.mid, min(1, share * 2))
        tone = mix(low, palette.near, max(0, share * 2 - 1))
        stage.ridge(0.44 + k * 0.085, 0.09, tone, bumps=3)


def _orbits(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    x, y = rng.uniform(0.36, 0.64), rng.uniform(0.36, 0.6)
    pen = stage.place(x, y, 0.1)
    tones = (palette.near, palette.mid, palette.far, palette.low, palette.body, palette.accent)
    count = math.ceil(max(stage.size) / stage.unit * 5)
    for k in range(count, 0, -1):
        pen.oval(0, 0, k * 1.1, fill=tones[k % len(tones)])
        angle = rng.uniform(0, math.tau)
        pen.oval(
            k * 1.1 * math.cos(angle), k * 1.1 * math.sin(angle), 0.34, fill=tones[(k + 3) % 6]
        )
    pen.oval(0, 0, 0.6, fill=WHITE)


def _ribbons(stage: Stage) -> None:
    palette, rng = stage.palette, stage.rng
    tones = (palette.accent, palette.far, palette.body, palette.mid, palette.near)
    base = rng.uniform(0.15, 0.3)
    for k in range(10):
        y = base + k * 0.075
        sway = rng.uniform(0.06, 0.16)
        stage.frame.line([(-0.1, y), (0.2, y - sway), (0.5, y + sway * 0.6), (0.8, y - sway * 0.5),
                          (1.1, y + sway)], 0.07, tones[k % 5], end=0.07)  # fmt: skip
    for _ in range(5):
        dot = stage.place(rng.random(), rng.random(), rng.uniform(0.02, 0.06))
        dot.oval(0, 0, 1, fill=rng.choice(tones))


SCENES: dict[str, Callable[[Stage], None]] = {
    "backdrop": _backdrop,
    "hills": _hills,
    "mountains": _mountains,
    "sea": _sea,
    "water": _water,
    "pool": _pool,
    "forest": _forest,
    "city": _city,
    "desert": _desert,
    "space": _space,
    "room": _room,
}
ABSTRACTS: tuple[Callable[[Stage], None], ...] = (_bauhaus, _dunes, _orbits, _ribbons)

_ALIASES: dict[str, str] = {
    "hills": "hill hills meadow field garden park countryside valley grass farm 草地 花园",
    "mountains": "mountain mountains alps peak summit snow snowy winter 山",
    "sea": "sea ocean beach coast shore island lake harbor harbour river 海 海滩",
    "water": "water underwater aquarium reef 水下",
    "pool": "pool swimming 泳池 游泳池",
    "forest": "forest woods jungle woodland 森林",
    "city": "city town street skyline downtown urban tokyo paris london 城市",
    "desert": "desert dunes sahara canyon 沙漠",
    "space": "space galaxy planet cosmos universe mars orbit 太空",
    "room": "room indoor lounge kitchen library office cafe bedroom sofa 室内 房间",
}
WORDS: dict[str, str] = {word: name for name, line in _ALIASES.items() for word in line.split()}
