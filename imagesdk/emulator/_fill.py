"""Paint into the hole of a mask: a scene or the surroundings, a subject, and small pictures."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageChops

from imagesdk.emulator import _subjects
from imagesdk.emulator._brief import Brief, ink_of, palette_of
from imagesdk.emulator._canvas import WHITE, Ink, Pen
from imagesdk.emulator._collage import card
from imagesdk.emulator._figures import picture, sprite, stamp, work_size
from imagesdk.emulator._looks import FLYING, Look, draw_extra, extra_of, look_of

__all__ = ("filling",)

_Box = tuple[int, int, int, int]
_LEAST_PX = 6  # of a small picture; less cannot be seen
_FEW = 3  # small pictures gather around the subject, more fill the hole in rows
_CELLS = 40  # along the longer edge of a hole, to look for free places


def filling(
    base: Image.Image,
    hole: Image.Image,
    box: _Box,
    brief: Brief,
    *,
    others: Sequence[Image.Image],
    rng: random.Random,
    index: int,
) -> Image.Image:
    """Paint what belongs into *hole*, the size of *box*.

    Args:
        base: Picture to edit, RGBA.
        hole: 255 where pixels may change, else 0; as large as *base*.
        box: Bounding box of the hole.
        brief: What the prompt asks for.
        others: Further input pictures, RGBA; shown as small pictures next to the subject.
        rng: Source of everything accidental.
        index: Number of the picture among those of one request.
    """
    size = (box[2] - box[0], box[3] - box[1])
    local, look, palette = hole.crop(box), look_of(index), palette_of(brief, index)
    name = (brief.worn or brief.subjects or ("",))[-1]
    place = brief.place or (_subjects.SUBJECTS[name].home or "backdrop" if name else None)
    if brief.worn:  # "wearing a beret": the rest of the picture stays
        result = _inpaint(base, hole, box)
    else:
        work = (max(8, size[0]), max(8, size[1]))
        result = picture(brief._replace(subjects=(), place=place), work, rng, index)
    if result.size != size:
        result = result.resize(size)
    wet = place in {"sea", "pool"} and not brief.worn
    taken: _Box | None = None
    if name:
        spot = _worn_spot(local, look) if brief.worn else _spot(local, look, crowd=bool(others))
        shape = (max(2, round(spot[2])), max(2, round(spot[3])))
        scaled, factor = work_size(shape)
        drawn = sprite(brief._replace(worn=()), palette, name, scaled, look)
        drawn = drawn.resize(shape, Image.Resampling.BOX if factor else Image.Resampling.BICUBIC)
        if wet and not _subjects.SUBJECTS[name].afloat:
            _sink(result, drawn, (spot[0], spot[1]))
        corner = (round(spot[0]), round(spot[1]))
        result.paste(drawn, corner, drawn.getchannel("A"))
        inner = drawn.getbbox() or (0, 0, *shape)
        taken = (
            corner[0] + inner[0], corner[1] + inner[1], corner[0] + inner[2], corner[1] + inner[3]
        )  # fmt: skip
    if others:
        _show(result, local, taken, others, look)
    elif taken is not None and look.extra and not brief.worn:
        extra = extra_of(look, name, wet=wet)
        _add_extra(result, local, taken, extra, ink_of(brief, palette))
    return result


def _worn_spot(hole: Image.Image, look: Look) -> tuple[float, float, float, float]:
    """Return left, top, width and height for something that sits on what is below the hole."""
    left, top, edge_x, edge_y = _clearing(hole)
    side = min(edge_x, 1.7 * edge_y) * (0.75 + 0.25 * look.scale)
    # Tilted towards a side, it slips a little that way.
    slip = 0.03 * side * (1 if look.turn > 0 else -1 if look.turn < 0 else 0)
    return left + (edge_x - side) / 2 + slip, top + edge_y - 0.745 * side, side, side


def _spot(hole: Image.Image, look: Look, *, crowd: bool) -> tuple[float, float, float, float]:
    """Return left, top, width and height for a subject; less if a *crowd* needs room, too."""
    left, top, width, height = _clearing(hole)
    scale = look.scale * (0.74 if crowd else 1.0)
    side = min(width, height) * scale
    shift = look.shift
    if crowd and width < 1.5 * height:
        shift = -1.0 if look.flip else 1.0
    # Far from the middle the hole may be narrower than its box.
    room = min(max(0.0, width - side) / 2, 0.75 * side)
    sink = (height - side) / 2 * (1.0 if crowd else 0.7)
    return left + (width - side) / 2 + shift * room, top + (height - side) / 2 + sink, side, side


def _sink(scene: Image.Image, drawn: Image.Image, corner: tuple[float, float]) -> None:
    """Let the lowest part of the subject *drawn* shine through the water of *scene*."""
    width, height = drawn.size
    below = (0, round(height * 0.84), width, height)
    sunk = drawn.getchannel("A")
    sunk.paste(sunk.crop(below).point([i // 4 for i in range(256)]), below[:2])
    drawn.putalpha(sunk)
    pen = Pen(scene, (corner[0] + width / 2, corner[1] + height / 2), min(width, height) / 2)
    for k, reach in enumerate((0.3, 0.46)):
        y = (0.68 + k * 0.06) * height / min(width, height)
        pen.line([(-reach, y), (0, y + 0.03), (reach, y)], 0.02, WHITE, alpha=200 - 70 * k)


def _add_extra(scene: Image.Image, hole: Image.Image, taken: _Box, extra: str, ink: Ink) -> None:
    """Put the small thing *extra* next to what is at *taken*, if the hole has room there."""
    most = 0.42 * (taken[3] - taken[1])
    for left, top, side in _free_places(hole, taken, 1, most=most, low=extra not in FLYING):
        work, _ = work_size((side, side))
        drawn = stamp(lambda pen: draw_extra(pen, extra, ink), work)
        drawn = drawn.resize((side, side), Image.Resampling.BOX)
        scene.paste(drawn, (left, top), drawn.getchannel("A"))


def _show(
    scene: Image.Image,
    hole: Image.Image,
    taken: _Box | None,
    others: Sequence[Image.Image],
    look: Look,
) -> None:
    """Put small framed pictures of *others* into the hole, beside *taken* if there is room."""
    most = 0.8 * min(hole.size)
    places = _free_places(hole, taken, len(others), most=most)
    # Rather on top of the subject than too small to be seen.
    least = 0.4 * min(hole.size) / math.sqrt(len(others))
    if len(places) < len(others) or places[0][2] < least:
        places = _free_places(hole, None, len(others), most=most / 2) or places
    for number, (other, (left, top, side)) in enumerate(zip(others, places, strict=False)):
        tilt = (4, -5, 3, -3)[(number + round(look.turn * 50)) % 4]
        drawn = card(other, (side, side), tilt)
        corner = (left + (side - drawn.width) // 2, top + (side - drawn.height) // 2)
        scene.paste(drawn, corner, drawn.getchannel("A"))


def _free_places(
    hole: Image.Image, taken: _Box | None, count: int, *, most: float, low: bool = False
) -> list[tuple[int, int, int]]:
    """Find equal squares that lie in the hole, do not overlap and keep clear of *taken*.

    Squares on a coarse grid, as large as possible; of those close to *taken* (or to the middle)
    if there are only a few.

    Args:
        hole: 255 where pixels may change, else 0.
        taken: Box to keep clear of, or None.
        count: Squares wanted.
        most: Longest edge in pixels.
        low: Whether the lower end of *taken* attracts, instead of its middle.

    Returns:
        Left, top and edge of up to *count* squares.
    """
    cell = max(hole.size) / _CELLS
    columns, rows = (max(1, round(edge / cell)) for edge in hole.size)
    step_x, step_y = hole.width / columns, hole.height / rows
    grid = bytearray(hole.resize((columns, rows), Image.Resampling.BOX).tobytes())
    x, y = columns / 2, rows / 2
    if taken is not None:
        left, top = max(0, int(taken[0] / step_x)), max(0, int(taken[1] / step_y))
        right = min(columns, math.ceil(taken[2] / step_x))
        bottom = min(rows, math.ceil(taken[3] / step_y))
        for row in range(top, bottom):
            grid[row * columns + left : row * columns + right] = bytes(max(0, right - left))
        x, y = (left + right) / 2, bottom - 1.0 if low else (top + bottom) / 2
    sums = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows):
        for column in range(columns):
            free = grid[row * columns + column] > 250
            sums[row + 1][column + 1] = (
                sums[row][column + 1] + sums[row + 1][column] - sums[row][column] + free
            )
    edge = min(step_x, step_y)
    largest = min(rows, columns, max(1, int(most / edge)), math.isqrt(sums[-1][-1] // count))
    best: list[tuple[int, int, int]] = []
    for side in range(largest, 0, -1):
        if int(side * edge) < _LEAST_PX or len(best) == count:
            break
        chosen = _packed(sums, side, (x, y), count)
        if len(chosen) > len(best):
            best = [(round(a * step_x), round(b * step_y), int(side * edge)) for a, b in chosen]
    return best


def _packed(
    sums: Sequence[Sequence[int]], side: int, middle: tuple[float, float], count: int
) -> list[tuple[int, int]]:
    """Return up to *count* free squares of *side* cells apart from each other, by column and row.

    Args:
        sums: How many free cells lie above and to the left of each corner of the grid.
        side: Edge of the squares.
        middle: Column and row that the squares are close to.
        count: Squares wanted.
    """
    fits = [
        (math.hypot(x + side / 2 - middle[0], 2 * (y + side / 2 - middle[1])), x, y)
        for y in range(len(sums) - side)
        for x in range(len(sums[0]) - side)
        if sums[y + side][x + side] - sums[y][x + side] - sums[y + side][x] + sums[y][x]
        == side * side
    ]
    if count <= _FEW:
        fits.sort()
    chosen: list[tuple[int, int]] = []
    for _, x, y in fits:
        if all(abs(x - a) >= side or abs(y - b) >= side for a, b in chosen):
            chosen.append((x, y))
            if len(chosen) == count:
                break
    return chosen


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
