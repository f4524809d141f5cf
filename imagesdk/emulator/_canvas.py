"""Drawing tools of the emulator's painter: colours, a pen with smooth shapes, gradients, glows.

Pictures are drawn without antialiasing at twice their size and reduced afterwards, which is
faster than antialiased drawing and looks the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

__all__ = (
    "DARK",
    "ROSE",
    "WHITE",
    "Color",
    "Ink",
    "Pen",
    "Point",
    "glow",
    "gradient",
    "mix",
    "spline",
)

Color = tuple[int, int, int]
Point = tuple[float, float]

WHITE: Color = (255, 253, 248)
DARK: Color = (38, 34, 46)
ROSE: Color = (238, 140, 150)


def mix(first: Color, second: Color, share: float) -> Color:
    """Return *first* with *share* (0..1) of *second* mixed in."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


class Ink(NamedTuple):
    """Colours of one subject and the words of the prompt that change it.

    Attributes:
        body: Main colour.
        accent: Second colour, for contrast.
        words: Lower-case words of the prompt.
        named: Whether *body* was named in the prompt (otherwise a subject may use its own).
        coat: Colour mixed into a subject's own one.
        share: How much of it, 0..1.
    """

    body: Color
    accent: Color
    words: frozenset[str]
    named: bool
    coat: Color = WHITE
    share: float = 0.0

    def own(self, color: Color) -> Color:
        """Return the named colour if there is one, else the subject's *color* with the coat."""
        return self.body if self.named else mix(color, self.coat, self.share)


def spline(points: Sequence[Point], *, closed: bool, steps: int = 9) -> list[Point]:
    """Return points of a Catmull-Rom curve through *points*.

    Args:
        points: At least two points the curve passes through.
        closed: Whether the curve returns to its first point.
        steps: Points returned for every piece.
    """
    count = len(points)
    curve: list[Point] = []
    for i in range(count if closed else count - 1):
        if closed:
            p0, p1, p2, p3 = (points[(i + k) % count] for k in (-1, 0, 1, 2))
        else:
            p0, p1 = points[max(i - 1, 0)], points[i]
            p2, p3 = points[i + 1], points[min(i + 2, count - 1)]
        for step in range(steps):
            t = step / steps
            a, b = ((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2
            c, d = ((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2
            curve.append(
                (
                    a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0],
                    a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1],
                )
            )
    if not closed:
        curve.append(points[-1])
    return curve


class Pen:
    """Draw shapes in its own coordinates on an RGB image.

    The origin is the pen's centre, one unit is ``unit`` pixels (``unit_y`` vertically), y points
    down. Colours with a fourth value are blended with what is already there.
    """

    def __init__(
        self,
        image: Image.Image,
        center: Point,
        unit: float,
        *,
        unit_y: float | None = None,
        turn: float = 0.0,
        flip: bool = False,
        tint: Color | None = None,
    ) -> None:
        self.image = image
        self.center = center
        self.unit = unit
        self.unit_y = unit if unit_y is None else unit_y
        self.turn = turn
        self.flip = flip
        self.tint = tint
        self._sin, self._cos = math.sin(turn), math.cos(turn)
        self._steps = 5 if unit < 150 else 9
        self._solid = ImageDraw.Draw(image)
        self._blend = ImageDraw.Draw(image, "RGBA")

    def at(self, x: float, y: float, scale: float = 1.0, *, turn: float = 0.0) -> Pen:
        """Return a pen centred at (*x*, *y*), smaller by *scale* and turned by *turn* radians."""
        return Pen(
            self.image,
            self.pixel(x, y),
            self.unit * scale,
            unit_y=self.unit_y * scale,
            turn=self.turn + (-turn if self.flip else turn),
            flip=self.flip,
            tint=self.tint,
        )

    def pixel(self, x: float, y: float) -> Point:
        """Return where (*x*, *y*) lies on the image, in pixels."""
        x = (-x if self.flip else x) * self.unit
        y = y * self.unit_y
        return (
            self.center[0] + x * self._cos - y * self._sin,
            self.center[1] + x * self._sin + y * self._cos,
        )

    def poly(self, points: Iterable[Point], fill: Color, alpha: int = 255) -> None:
        """Fill the polygon through *points*."""
        color = fill if self.tint is None else self.tint
        # The affine map of pixel(), written out: this is where most of the time goes.
        left, top = self.center
        a = -self.unit * self._cos if self.flip else self.unit * self._cos
        c = -self.unit * self._sin if self.flip else self.unit * self._sin
        b, d = self.unit_y * self._sin, self.unit_y * self._cos
        spots = [(left + x * a - y * b, top + x * c + y * d) for x, y in points]
        if alpha == 255:
            self._solid.polygon(spots, fill=color)
        else:
            self._blend.polygon(spots, fill=(*color, alpha))

    def blob(self, points: Sequence[Point], fill: Color, alpha: int = 255) -> None:
        """Fill the smooth closed curve through *points*."""
        self.poly(spline(points, closed=True, steps=self._steps), fill, alpha)

    def twin(self, points: Sequence[Point], fill: Color, alpha: int = 255) -> None:
        """Fill a smooth curve and its mirror image (left and right)."""
        self.blob(points, fill, alpha)
        self.blob([(-x, y) for x, y in points], fill, alpha)

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        *,
        fill: Color,
        alpha: int = 255,
        turn: float = 0.0,
    ) -> None:
        """Fill an ellipse (a circle without *ry*), turned by *turn* radians."""
        ry = rx if ry is None else ry
        count = max(16, min(96, int(max(rx * self.unit, ry * self.unit_y) ** 0.5 * 4)))
        sin, cos = math.sin(turn), math.cos(turn)
        points = []
        for i in range(count):
            angle = math.tau * i / count
            dx, dy = rx * math.cos(angle), ry * math.sin(angle)
            points.append((x + dx * cos - dy * sin, y + dx * sin + dy * cos))
        self.poly(points, fill, alpha)

    def ovals(self, x: float, y: float, rx: float, ry: float | None = None, *, fill: Color) -> None:
        """Fill two ellipses, left and right of the axis."""
        self.oval(x, y, rx, ry, fill=fill)
        self.oval(-x, y, rx, ry, fill=fill)

    def rect(  # noqa: PLR0917 - two corners read best in order
        self, x0: float, y0: float, x1: float, y1: float, fill: Color, alpha: int = 255
    ) -> None:
        """Fill a rectangle given by two corners."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, alpha)

    def card(  # noqa: PLR0917 - two corners read best in order
        self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: Color
    ) -> None:
        """Fill a rectangle with round corners."""
        points: list[Point] = []
        corners = ((x1, y0, 1, 1), (x1, y1, -1, 1), (x0, y1, -1, -1), (x0, y0, 1, -1))
        for quarter, (cx, cy, _, _) in enumerate(corners):
            mx = cx + (-radius if cx == x1 else radius)
            my = cy + (-radius if cy == y1 else radius)
            for step in range(9):
                angle = math.pi / 2 * (quarter - 1 + step / 8)
                points.append((mx + radius * math.cos(angle), my + radius * math.sin(angle)))
        self.poly(points, fill)

    def line(
        self,
        points: Sequence[Point],
        width: float,
        fill: Color,
        *,
        end: float | None = None,
        alpha: int = 255,
    ) -> None:
        """Draw a smooth line with round ends that goes from *width* to *end* units wide."""
        curve = spline(points, closed=False, steps=self._steps) if len(points) > 2 else list(points)
        end = width if end is None else end
        left: list[Point] = []
        right: list[Point] = []
        last = len(curve) - 1
        for i, (x, y) in enumerate(curve):
            (ax, ay), (bx, by) = curve[max(i - 1, 0)], curve[min(i + 1, last)]
            length = math.hypot(bx - ax, by - ay) or 1.0
            half = (width + (end - width) * i / max(last, 1)) / 2
            nx, ny = -(by - ay) / length * half, (bx - ax) / length * half
            left.append((x + nx, y + ny))
            right.append((x - nx, y - ny))
        self.poly(left + right[::-1], fill, alpha)
        if alpha == 255:
            self.oval(*curve[0], width / 2, fill=fill)
            self.oval(*curve[-1], end / 2, fill=fill)


def gradient(size: tuple[int, int], *stops: Color) -> Image.Image:
    """Return an RGB image that runs through *stops* (two or more) from top to bottom."""
    strip = Image.new("RGB", (1, len(stops)))
    strip.putdata(stops)
    # Samples lie at pixel centres, so the outer half pixels are cut off to start with a stop.
    column = strip.resize(
        (1, size[1]), Image.Resampling.BILINEAR, box=(0, 0.5, 1, len(stops) - 0.5)
    )
    return column.resize(size, Image.Resampling.NEAREST)


def glow(
    image: Image.Image, center: Point, radius: float, color: Color, strength: float = 1.0
) -> None:
    """Add a soft round light to *image*, strongest (0..1) in the middle."""
    edge = max(2, round(radius * 2))
    light = Image.radial_gradient("L").point(
        [round(255 * strength * max(0.0, 1 - i / 180) ** 2) for i in range(256)]
    )
    box = (round(center[0] - edge / 2), round(center[1] - edge / 2))
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(image.width, box[0] + edge), min(image.height, box[1] + edge)
    if left >= right or top >= bottom:
        return
    scale = 256 / edge
    # Nearest neighbours are several times faster, and a step of one level in the light is invisible.
    part = light.resize(
        (right - left, bottom - top),
        Image.Resampling.NEAREST,
        box=(
            (left - box[0]) * scale,
            (top - box[1]) * scale,
            (right - box[0]) * scale,
            (bottom - box[1]) * scale,
        ),
    )
    image.paste(color, (left, top, right, bottom), part)
