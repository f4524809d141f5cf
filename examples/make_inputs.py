"""Draw the PNG files that the other examples upload, next to this file.

    python examples/make_inputs.py [DIRECTORY]

Needs Pillow. The files are committed, so this runs only to change them. Everything is drawn at
twice its size and reduced, which gives smooth edges.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from imagesdk.emulator import painter

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
POOL = ((214, 640), (810, 640), (934, 944), (90, 944))
CREAM: Color = (250, 240, 222)


def main() -> None:
    """Write all files and print their names, sizes and bytes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    otter_image = otter()
    files = {
        "sunlit_lounge.png": sunlit_lounge(),
        "mask.png": pool_mask(),
        "corgi_and_cat_paw.png": corgi_and_cat_paw(),
        "otter.png": otter_image,
        "otter_mask.png": otter_mask(otter_image),
        "image.png": painter.paint("a cottage in the mountains at sunset", (640, 524)).crop(
            (0, 0, 640, 480)
        ),
        "cutout.png": cutout(),
    }
    for name, picture in files.items():
        path = folder / name
        picture.save(path, optimize=True)
        print(f"{path}  {picture.width}x{picture.height} {picture.mode}  {path.stat().st_size} B")


class Sketch:
    """A picture drawn at twice its size in RGB, with translucent fills and soft shadows."""

    def __init__(self, size: tuple[int, int], top: Color, bottom: Color) -> None:
        self.image = shade((size[0] * 2, size[1] * 2), top, bottom)
        self.draw = ImageDraw.Draw(self.image, "RGBA")

    def poly(self, points: Sequence[tuple[float, float]], fill: Color, alpha: int = 255) -> None:
        """Fill a polygon."""
        self.draw.polygon([(x * 2, y * 2) for x, y in points], fill=(*fill, alpha))

    def oval(self, box: Box, fill: Color, alpha: int = 255) -> None:
        """Fill an ellipse."""
        self.draw.ellipse([v * 2 for v in box], fill=(*fill, alpha))

    def card(self, box: Box, radius: float, fill: Color, alpha: int = 255) -> None:
        """Fill a rectangle with round corners."""
        self.draw.rounded_rectangle([v * 2 for v in box], radius * 2, fill=(*fill, alpha))

    def line(self, points: list[tuple[float, float]], fill: Color, width: float) -> None:
        """Draw a line with round joints."""
        spots = [(x * 2, y * 2) for x, y in points]
        self.draw.line(spots, fill=fill, width=round(width * 2), joint="curve")
        for x, y in (spots[0], spots[-1]):
            self.draw.ellipse((x - width, y - width, x + width, y + width), fill=fill)

    def pour(self, region: Image.Image, top: Color, bottom: Color) -> None:
        """Fill *region* (an L image of the drawing size) with a vertical gradient."""
        box = region.getbbox()
        if box is not None:
            filling = shade((box[2] - box[0], box[3] - box[1]), top, bottom)
            self.image.paste(filling, box[:2], region.crop(box))

    def soft(self, region: Image.Image, color: Color, strength: float, blur: float) -> None:
        """Lay a blurred *region* of *color* over the picture: light or shadow."""
        small = region.resize((region.width // 8, region.height // 8), Image.Resampling.BOX)
        small = small.filter(ImageFilter.GaussianBlur(blur / 4))
        mask = small.resize(region.size, Image.Resampling.BICUBIC)
        self.image.paste(color, (0, 0), mask.point([round(i * strength) for i in range(256)]))

    def region(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """Return an empty mask of the drawing size and its drawing tool."""
        mask = Image.new("L", self.image.size, 0)
        return mask, ImageDraw.Draw(mask)

    def place(self, sprite: Image.Image, x: int, y: int) -> None:
        """Paste a transparent picture (of the drawing size) at (*x*, *y*)."""
        self.image.paste(sprite, (x * 2, y * 2), sprite.getchannel("A"))

    def finish(self) -> Image.Image:
        """Return the picture in its final size."""
        return self.image.reduce(2)


def shade(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    """Return a vertical gradient."""
    column = Image.new("RGB", (1, size[1]))
    last = max(1, size[1] - 1)
    for y in range(size[1]):
        red, green, blue = (round(a + (b - a) * y / last) for a, b in zip(top, bottom, strict=True))
        column.putpixel((0, y), (red, green, blue))
    return column.resize(size, Image.Resampling.NEAREST)


def round_shape(
    size: tuple[int, int], points: tuple[tuple[int, int], ...], radius: int
) -> Image.Image:
    """Return a mask of the polygon with its corners rounded."""
    mask = Image.new("L", size, 0)
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    inner = [
        (x + math.copysign(radius, middle_x - x), y + math.copysign(radius, middle_y - y))
        for x, y in points
    ]
    draw = ImageDraw.Draw(mask)
    draw.polygon(inner, fill=255)
    for (x0, y0), (x1, y1) in zip(inner, [*inner[1:], inner[0]], strict=True):
        draw.line((x0, y0, x1, y1), fill=255, width=radius * 2)
        draw.ellipse((x0 - radius, y0 - radius, x0 + radius, y0 + radius), fill=255)
    return mask


def pool_shape(grow: int = 0) -> Image.Image:
    """Return the mask of the pool in the drawing size, larger by *grow* pixels on each side."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = POOL
    corners = (
        (ax - grow, ay - grow // 2), (bx + grow, by - grow // 2),
        (cx + grow * 2, cy + grow), (dx - grow * 2, dy + grow),
    )  # fmt: skip
    return round_shape((2048, 2048), tuple((x * 2, y * 2) for x, y in corners), 56)


def pool_mask() -> Image.Image:
    """Draw the mask of the lounge: white, transparent over the water."""
    mask = Image.new("RGBA", (1024, 1024), (255, 255, 255, 255))
    hole = pool_shape().reduce(2).point([0] * 128 + [255] * 128)
    mask.paste((0, 0, 0, 0), (0, 0), hole)
    return mask


def sunlit_lounge() -> Image.Image:
    """Draw an indoor lounge with tall windows, plants, armchairs and a pool in the sun."""
    sketch = Sketch((1024, 1024), (244, 224, 196), (238, 208, 172))
    _shell(sketch)
    for x in (120, 402, 684):
        _window(sketch, x)
    _pool(sketch)
    _sun_on_floor(sketch)
    _armchair(sketch, 180, 566, (214, 112, 78))
    _armchair(sketch, 846, 566, (58, 122, 122))
    _table(sketch, 512, 560)
    for x, y, scale in ((62, 640, 1.25), (968, 640, 1.2)):
        _plant(sketch, x, y, scale)
    for x, drop in ((372, 150), (652, 150)):
        _lamp(sketch, x, drop)
    light, draw = sketch.region()
    for x in (190, 470, 750):
        draw.polygon([(x * 2, 240), (x * 2 + 300, 240), (x * 2 - 260, 2040), (x * 2 - 760, 2040)],
                     fill=255)  # fmt: skip
    sketch.soft(light, (255, 240, 200), 0.16, 16)
    # Steps of two levels are invisible and make the file a third smaller.
    return sketch.finish().point([min(255, round(i / 3) * 3) for i in range(256)] * 3)


def _shell(sketch: Sketch) -> None:
    """Draw ceiling, walls and floor."""
    sketch.poly([(0, 0), (1024, 0), (900, 96), (124, 96)], (226, 196, 156))
    for k in range(7):
        far, near = 124 + k * 776 / 6, k * 1024 / 6
        sketch.poly([(near - 16, 0), (near + 16, 0), (far + 7, 96), (far - 7, 96)], (150, 104, 72))
    sketch.poly([(0, 0), (124, 96), (124, 560), (0, 640)], (226, 198, 164))
    sketch.poly([(1024, 0), (900, 96), (900, 560), (1024, 640)], (218, 186, 150))
    floor, draw = sketch.region()
    draw.polygon([(248, 1120), (1800, 1120), (2048, 1280), (2048, 2048), (0, 2048), (0, 1280)],
                 fill=255)  # fmt: skip
    sketch.pour(floor, (214, 172, 132), (236, 200, 158))
    for k in range(-8, 17):
        x = k * 1024 / 8
        sketch.draw.line([((512 + (x - 512) * 0.62) * 2, 1120), ((512 + (x - 512) * 2.2) * 2, 2048)],
                         fill=(190, 146, 108, 90), width=3)  # fmt: skip
    for k in range(9):
        y = 560 + 464 * (k / 8) ** 1.6
        sketch.draw.line([(0, y * 2), (2048, y * 2)], fill=(190, 146, 108, 70), width=3)
    sketch.poly([(124, 546), (900, 546), (900, 562), (124, 562)], (250, 236, 214))
    sketch.poly([(0, 622), (124, 546), (124, 562), (0, 642)], (250, 236, 214))
    sketch.poly([(1024, 622), (900, 546), (900, 562), (1024, 642)], (242, 224, 200))


def _window(sketch: Sketch, x: float) -> None:
    """Draw a tall arched window with hills and a palm behind it."""
    wide, top, low = 220, 140, 520
    glass, draw = sketch.region()
    x += 12
    draw.rounded_rectangle((x * 2, top * 2, (x + wide - 24) * 2, (low + 120) * 2), 196, fill=255)
    draw.rectangle((0, low * 2, 2048, 2048), fill=0)
    sketch.card((x - 10, top - 10, x + wide - 14, low + 6), 104, CREAM)
    sketch.card((x - 10, top + 120, x + wide - 14, low + 6), 4, CREAM)
    view = Sketch((1024, 1024), (118, 194, 230), (252, 240, 214))
    view.oval((540, 196, 620, 276), (255, 246, 206))
    for k, (tone, base, swing, phase) in enumerate(
        (
            ((156, 198, 190), 400, 34, 0.4),
            ((116, 172, 150), 440, 26, 2.0),
            ((82, 142, 112), 484, 16, 4),
        )
    ):
        hills = [
            (px, base + swing * math.sin(px / (120 - k * 20) + phase)) for px in range(0, 1025, 8)
        ]
        view.poly([*hills, (1024, 700), (0, 700)], tone)
    palm = (x + wide * (0.3 + 0.42 * (x % 5) / 4), 350 + x % 7 * 10)
    view.line([(palm[0] - 26, 560), (palm[0] - 14, 470), palm], (122, 94, 72), 9)
    for k in range(7):
        angle = math.pi * (1.0 + k / 6)
        tip = (palm[0] + 74 * math.cos(angle), palm[1] + 46 * math.sin(angle) + 34)
        bend = (palm[0] + 44 * math.cos(angle), palm[1] + 46 * math.sin(angle) - 6)
        view.poly([palm, (bend[0], bend[1] - 9), tip, (bend[0], bend[1] + 9)], (52, 120, 88))
    sketch.image.paste(view.image, (0, 0), glass)
    sketch.poly([(x, top + 40), (x + 70, top), (x + 20, low), (x, low)], (255, 255, 255), 36)
    sketch.card((x + wide / 2 - 15, top, x + wide / 2 - 9, low), 0, CREAM)
    sketch.card((x, 318, x + wide - 24, 324), 0, CREAM)
    sketch.card((x - 18, low, x + wide - 6, low + 14), 4, (255, 250, 238))


def _pool(sketch: Sketch) -> None:
    """Draw the pool with its stone border, tiles and light on the water."""
    rng = random.Random(4)  # noqa: S311 - a picture
    sketch.soft(pool_shape(40), (120, 76, 50), 0.3, 24)
    sketch.image.paste((252, 244, 230), (0, 0), pool_shape(30))
    sketch.image.paste((222, 204, 180), (0, 0), pool_shape(8))
    water = pool_shape()
    sketch.pour(water, (112, 214, 220), (20, 136, 170))
    layer = Sketch((1024, 1024), (0, 0, 0), (0, 0, 0))
    layer.image.paste(sketch.image)
    layer.poly([(150, 620), (880, 620), (880, 664), (150, 664)], (62, 160, 184), 150)
    for _ in range(84):
        depth = rng.random()
        y = 662 + 292 * depth
        half = (560 + 250 * depth) / 2
        x = 512 + rng.uniform(-half, half)
        length, thick = (12 + 46 * depth) * rng.uniform(0.5, 1.3), 1.4 + 2.4 * depth
        tone = (214, 248, 246) if rng.random() < 0.6 else (86, 196, 210)
        wave = [(x + length * k / 8, y + (1 + 3 * depth) * math.sin(k * 0.7)) for k in range(-8, 9)]
        layer.line(wave, tone, thick)
    sketch.image.paste(layer.image, (0, 0), water)
    glints, draw = sketch.region()
    for x in (300, 560, 800):
        draw.polygon([(x * 2, 1280), (x * 2 + 150, 1280), (x * 2 - 120, 1910), (x * 2 - 420, 1910)],
                     fill=255)  # fmt: skip
    sketch.soft(ImageChops.multiply(glints, water), (255, 252, 226), 0.3, 10)


def _sun_on_floor(sketch: Sketch) -> None:
    """Let the sun fall through the windows onto the floor around the pool."""
    light, draw = sketch.region()
    for x in (230, 512, 794):
        draw.polygon([(x * 2 - 190, 1130), (x * 2 + 190, 1130), (x * 2 - 40, 1270),
                      (x * 2 - 470, 1270)], fill=255)  # fmt: skip
    sketch.soft(light, (255, 246, 206), 0.62, 4)


def _armchair(sketch: Sketch, x: float, y: float, tone: Color) -> None:
    """Draw a round armchair that stands at (*x*, *y* + 60)."""
    dark: Color = (round(tone[0] * 0.74), round(tone[1] * 0.74), round(tone[2] * 0.74))
    shadow, draw = sketch.region()
    draw.ellipse(((x - 96) * 2, (y + 34) * 2, (x + 70) * 2, (y + 78) * 2), fill=255)
    sketch.soft(shadow, (86, 50, 30), 0.5, 8)
    for leg in (-54, 54):
        sketch.line([(x + leg * 0.8, y + 30), (x + leg, y + 64)], (96, 64, 44), 6)
    sketch.card((x - 70, y - 86, x + 70, y + 34), 44, dark)
    sketch.card((x - 58, y - 76, x + 58, y + 20), 36, tone)
    sketch.card((x - 84, y - 26, x - 48, y + 46), 17, dark)
    sketch.card((x + 48, y - 26, x + 84, y + 46), 17, dark)
    sketch.card((x - 56, y + 2, x + 56, y + 44), 14, (
        min(255, tone[0] + 22), min(255, tone[1] + 22), min(255, tone[2] + 22)
    ))  # fmt: skip
    sketch.card((x - 30, y - 46, x + 30, y + 8), 12, CREAM)
    for k in range(3):
        sketch.line([(x - 22, y - 34 + k * 15), (x + 22, y - 34 + k * 15)], (226, 180, 96), 4)


def _table(sketch: Sketch, x: float, y: float) -> None:
    """Draw a low table with a vase and a cup."""
    shadow, draw = sketch.region()
    draw.ellipse(((x - 90) * 2, (y + 20) * 2, (x + 80) * 2, (y + 52) * 2), fill=255)
    sketch.soft(shadow, (86, 50, 30), 0.45, 7)
    for leg in (-50, 50):
        sketch.line([(x + leg * 0.7, y), (x + leg, y + 36)], (110, 74, 50), 6)
    sketch.oval((x - 84, y - 20, x + 84, y + 14), (126, 84, 56))
    sketch.oval((x - 84, y - 26, x + 84, y + 8), (170, 118, 78))
    sketch.line([(x - 20, y - 50), (x - 40, y - 108)], (74, 128, 92), 4)
    sketch.line([(x - 16, y - 50), (x - 10, y - 122)], (74, 128, 92), 4)
    sketch.line([(x - 14, y - 50), (x + 18, y - 102)], (74, 128, 92), 4)
    for dx, dy, tone in ((-40, -110, (240, 128, 128)), (-10, -124, (250, 196, 92)),
                         (18, -104, (240, 128, 128))):  # fmt: skip
        sketch.oval((x + dx - 14, y + dy - 14, x + dx + 14, y + dy + 14), tone)
        sketch.oval((x + dx - 5, y + dy - 5, x + dx + 5, y + dy + 5), CREAM)
    sketch.card((x - 34, y - 56, x + 2, y - 8), 12, (72, 126, 150))
    sketch.card((x + 28, y - 30, x + 54, y - 8), 6, (255, 250, 240))


def _plant(sketch: Sketch, x: float, y: float, scale: float) -> None:
    """Draw a large plant in a pot."""
    shadow, draw = sketch.region()
    draw.ellipse(((x - 70 * scale) * 2, (y - 18) * 2, (x + 56 * scale) * 2, (y + 22) * 2), fill=255)
    sketch.soft(shadow, (86, 50, 30), 0.5, 8)
    foot = (x, y - 70 * scale)
    for k in range(9):
        angle = -math.pi / 2 + (k - 4) * 0.3 * (1 if k % 2 else 0.86)
        reach = (176 - abs(k - 4) * 16) * scale
        tip = (foot[0] + reach * math.cos(angle), foot[1] + reach * math.sin(angle))
        side = 22 * scale
        nx, ny = -math.sin(angle) * side, math.cos(angle) * side
        half = (foot[0] + (tip[0] - foot[0]) * 0.55, foot[1] + (tip[1] - foot[1]) * 0.55)
        tone = ((58, 122, 86), (84, 152, 104), (44, 104, 76))[k % 3]
        quarter = (foot[0] + (tip[0] - foot[0]) * 0.3, foot[1] + (tip[1] - foot[1]) * 0.3)
        sketch.poly([foot, (quarter[0] + nx * 0.7, quarter[1] + ny * 0.7),
                     (half[0] + nx, half[1] + ny), tip, (half[0] - nx, half[1] - ny),
                     (quarter[0] - nx * 0.7, quarter[1] - ny * 0.7)], tone)  # fmt: skip
        sketch.line([foot, tip], (134, 188, 132), 1.6)
    w = 46 * scale
    sketch.poly([(x - w, y - 78 * scale), (x + w, y - 78 * scale), (x + w * 0.74, y), (x - w * 0.74, y)],
                (206, 118, 84))  # fmt: skip
    sketch.poly([(x + w * 0.3, y - 78 * scale), (x + w, y - 78 * scale), (x + w * 0.74, y),
                 (x + w * 0.24, y)], (178, 94, 66))  # fmt: skip
    sketch.card((x - w * 1.12, y - 90 * scale, x + w * 1.12, y - 68 * scale), 5, (222, 138, 102))


def _lamp(sketch: Sketch, x: float, drop: float) -> None:
    """Draw a hanging lamp of wicker."""
    sketch.line([(x, 40), (x, drop)], (96, 70, 52), 2.4)
    shape, draw = sketch.region()
    draw.ellipse(((x - 60) * 2, (drop - 10) * 2, (x + 60) * 2, (drop + 110) * 2), fill=255)
    sketch.soft(shape, (255, 236, 180), 0.5, 22)
    sketch.oval((x - 36, drop - 4, x + 36, drop + 76), (232, 190, 132))
    for k in range(-2, 3):
        sketch.oval((x - 36 * abs(math.cos(k)), drop + 34 + k * 14 - 2,
                     x + 36 * abs(math.cos(k)), drop + 34 + k * 14 + 2), (196, 146, 96))  # fmt: skip


def corgi_and_cat_paw() -> Image.Image:
    """Draw a corgi that looks at a cat's paw reaching into the picture."""
    sketch = Sketch((1024, 1024), (252, 212, 164), (250, 236, 208))
    sun, draw = sketch.region()
    draw.ellipse((480, 200, 1560, 1280), fill=255)
    sketch.soft(sun, (255, 252, 236), 0.75, 44)
    sketch.card((0, 800, 1024, 1024), 0, (116, 160, 156))
    sketch.card((0, 800, 1024, 808), 0, (150, 188, 180))
    shadow, draw = sketch.region()
    draw.ellipse((330, 1720, 1520, 1880), fill=255)
    sketch.soft(shadow, (30, 52, 60), 0.55, 14)
    sketch.place(painter.paint("a corgi", (1560, 1560), transparent=True), 70, 178)
    coat, stripe, light = (150, 148, 158), (112, 110, 122), (214, 212, 220)
    arm, draw = sketch.region()
    draw.polygon([(2048, 700), (2048, 1000), (1560, 1130), (1500, 870)], fill=255)
    arm_shadow = ImageChops.offset(arm, 0, 60)
    sketch.soft(arm_shadow, (60, 50, 60), 0.25, 12)
    sketch.image.paste(coat, (0, 0), arm)
    for k in range(3):
        x = 842 + k * 66
        sketch.poly([(x, 410 - k * 15), (x + 22, 404 - k * 15), (x + 34, 470 - k * 12),
                     (x + 18, 478 - k * 12)], stripe)  # fmt: skip
    sketch.oval((690, 426, 838, 574), coat)
    for k, (dx, dy) in enumerate(((684, 430), (668, 476), (682, 524))):
        sketch.oval((dx, dy, dx + 62, dy + 54), light if k == 1 else (190, 188, 198))
        sketch.oval((dx + 10, dy + 14, dx + 34, dy + 40), (240, 152, 160))
    sketch.oval((742, 468, 806, 540), (240, 152, 160))
    return sketch.finish()


def otter() -> Image.Image:
    """Draw an otter in front of the sea, with room for a hat."""
    sketch = Sketch((512, 512), (138, 204, 224), (250, 236, 212))
    sun, draw = sketch.region()
    draw.ellipse((640, 60, 960, 380), fill=255)
    sketch.soft(sun, (255, 248, 220), 0.9, 26)
    sketch.oval((376, 78, 424, 126), (255, 240, 186))
    for x, y, scale in ((70, 84, 1.0), (446, 190, 0.7)):
        for dx, dy, r in ((-30, 4, 16), (0, -6, 24), (30, 3, 18)):
            sketch.oval((x + (dx - r) * scale, y + (dy - r) * scale,
                         x + (dx + r) * scale, y + (dy + r) * scale), (255, 253, 246))  # fmt: skip
        sketch.card(
            (x - 48 * scale, y, x + 48 * scale, y + 20 * scale), 10 * scale, (255, 253, 246)
        )
    for k in range(5):
        y = 300 + k * 30
        tone: Color = (92 - k * 12, 170 - k * 17, 188 - k * 12)
        wave = [(x, y + (3 + k) * math.sin(x / (26 + 6 * k) + k * 2)) for x in range(0, 513, 4)]
        sketch.poly([*wave, (512, 512), (0, 512)], tone)
    beach = [(x, 428 + 10 * math.sin(x / 90 + 1)) for x in range(0, 513, 4)]
    sketch.poly([(x, y - 7) for x, y in beach] + [(512, 512), (0, 512)], (244, 250, 246))
    sketch.poly([*beach, (512, 512), (0, 512)], (242, 218, 172))
    for x, y, r in ((60, 470, 7), (420, 482, 9), (470, 456, 5), (110, 494, 5)):
        sketch.oval((x - r * 1.4, y - r, x + r * 1.4, y + r), (214, 184, 138))
    shadow, draw = sketch.region()
    draw.ellipse((200, 910, 860, 990), fill=255)
    sketch.soft(shadow, (104, 70, 40), 0.55, 7)
    sketch.place(painter.paint("an otter", (840, 840), transparent=True), 46, 86)
    return sketch.finish()


def otter_mask(image: Image.Image) -> Image.Image:
    """Draw the otter's mask: its own pixels, transparent where a hat belongs."""
    mask = image.convert("RGBA")
    hole = Image.new("L", image.size, 0)
    ImageDraw.Draw(hole).rounded_rectangle((128, 24, 384, 160), 48, fill=255)
    mask.paste((0, 0, 0, 0), (0, 0), hole)
    return mask


def cutout() -> Image.Image:
    """Draw a wall with a picture frame that is empty: transparent, for an edit without a mask."""
    sketch = Sketch((512, 512), (86, 128, 132), (62, 102, 110))
    for x in range(0, 512, 64):
        sketch.poly([(x, 0), (x + 32, 0), (x + 32, 512), (x, 512)], (255, 255, 255), 9)
    light, draw = sketch.region()
    draw.polygon([(440, 0), (600, 0), (920, 760), (100, 760)], fill=255)
    sketch.soft(light, (255, 234, 186), 0.34, 30)
    sketch.card((0, 436, 512, 512), 0, (150, 104, 76))
    sketch.card((0, 424, 512, 440), 0, (236, 226, 206))
    for x in range(-40, 560, 74):
        sketch.line(
            [(256 + (x - 256) * 0.9, 442), (256 + (x - 256) * 1.25, 512)], (126, 84, 60), 1.5
        )
    shadow, draw = sketch.region()
    draw.rectangle((210, 140, 840, 790), fill=255)
    sketch.soft(shadow, (16, 34, 40), 0.6, 9)
    sketch.card((96, 56, 416, 376), 6, (206, 160, 84))
    sketch.card((102, 62, 410, 370), 4, (236, 200, 128))
    sketch.card((112, 72, 400, 360), 3, (180, 132, 64))
    sketch.card((118, 78, 394, 354), 2, (250, 246, 236))
    _plant(sketch, 52, 462, 0.62)
    sketch.card((392, 410, 500, 424), 5, (206, 150, 104))
    for leg in (402, 490):
        sketch.line([(leg, 424), (leg, 474)], (150, 100, 66), 5)
    for k, tone in enumerate(((216, 104, 84), (244, 196, 108), (86, 148, 150))):
        sketch.card((404 + k * 4, 400 - k * 10, 484 - k * 6, 410 - k * 10), 2, tone)
    picture = sketch.finish().convert("RGBA")
    picture.paste((0, 0, 0, 0), (142, 102, 370, 330))
    return picture


if __name__ == "__main__":
    main()
