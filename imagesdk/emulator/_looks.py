"""Vary how a subject is drawn by the number of the picture within its request.

Scenes and palettes change with every number anyway; a look changes the subject itself: its size,
side, tilt, coat, hat and the small thing next to it. Number 0 is the plain drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from imagesdk.emulator import _subjects
from imagesdk.emulator._canvas import DARK, WHITE, Color, Ink, Pen, mix

__all__ = ("FLYING", "PLAIN", "Look", "draw_extra", "extra_of", "look_of", "trim")


class Look(NamedTuple):
    """What one picture of a request changes about its subject.

    Attributes:
        scale: Size, 1 at most.
        shift: Where it stands, from -1 (left end of the free room) to 1.
        turn: Tilt in radians; for things that are worn.
        coat: Colour mixed into a coat that the prompt does not name.
        share: How much of it, 0..1.
        felt: Colour of something worn that the prompt does not name; None for its own.
        extra: Small thing next to the subject, or an empty string.
        trim: Number of the ornament on something worn.
        flip: Whether the subject looks the other way.
    """

    scale: float = 1.0
    shift: float = 0.0
    turn: float = 0.0
    coat: Color = WHITE
    share: float = 0.0
    felt: Color | None = None
    extra: str = ""
    trim: int = 0
    flip: bool = False


FLYING = frozenset({"balloon", "butterfly", "heart", "star"})

PLAIN = Look()
_LOOKS = (
    PLAIN,
    Look(0.8, 0.62, 0.14, (250, 226, 190), 0.34, (48, 104, 184), "ball", 1),
    Look(0.92, -0.7, -0.16, (64, 40, 40), 0.36, (52, 138, 96), "butterfly", 2),
    Look(0.7, -0.35, -0.04, (232, 132, 58), 0.46, (240, 180, 58), "flower", 3),
    Look(0.86, 0.8, 0.2, (156, 164, 182), 0.52, (134, 86, 180), "balloon", 4),
    Look(0.96, -0.5, -0.1, (252, 196, 60), 0.6, (34, 132, 142), "ring", 1),
    Look(0.74, 0.4, 0.08, (48, 44, 60), 0.56, (240, 132, 164), "heart", 3),
    Look(0.88, 0.9, -0.18, (228, 120, 136), 0.5, (66, 60, 78), "cup", 2),
    Look(0.78, -0.9, 0.12, (84, 112, 170), 0.52, (244, 238, 226), "star", 4),
    Look(0.94, 0.25, -0.06, (255, 246, 232), 0.62, (224, 112, 54), "boat", 2),
)


def look_of(index: int) -> Look:
    """Return the look of picture number *index*."""
    return _LOOKS[index % len(_LOOKS)]._replace(flip=index % 2 == 1)


def extra_of(look: Look, subject: str, *, wet: bool) -> str:
    """Return the small thing next to *subject*; in water one that floats."""
    swap = {"flower": "boat", "cup": "ring"} if wet else {"ring": "cactus", "boat": "ball"}
    extra = swap.get(look.extra, look.extra)
    return extra if extra != subject else "ball"


def _ball(pen: Pen, ink: Ink) -> None:
    """Draw a beach ball."""
    pen.oval(0, 0, 1, fill=WHITE)
    for side in (-1, 1):
        pen.blob([(side * 0.12, -0.98), (side * 0.62, -0.6), (side * 0.74, 0), (side * 0.62, 0.6),
                  (side * 0.12, 0.98), (side * 0.3, 0.5), (side * 0.36, 0), (side * 0.3, -0.5)],
                 ink.body if side < 0 else ink.accent)  # fmt: skip
    pen.oval(0, -0.86, 0.16, 0.12, fill=mix(ink.body, DARK, 0.2))
    pen.oval(-0.42, -0.46, 0.16, 0.1, fill=WHITE, alpha=150, turn=-0.7)


def _ring(pen: Pen, ink: Ink) -> None:
    """Draw a striped swimming ring that lies flat."""
    pen.oval(0, 0.3, 1, 0.5, fill=ink.accent)
    for x in (-0.72, 0, 0.72):
        pen.oval(x, 0.68 - 0.36 * abs(x), 0.17, 0.2, fill=WHITE)
    pen.oval(0, 0.16, 0.62, 0.22, fill=mix(ink.accent, DARK, 0.4))
    pen.oval(0, 0.22, 0.58, 0.17, fill=(120, 196, 214))


_EXTRAS: dict[str, Callable[[Pen, Ink], None]] = {"ball": _ball, "ring": _ring}


def draw_extra(pen: Pen, name: str, ink: Ink) -> None:
    """Draw the small thing *name* in the accents of *ink*, its own colours where it has some."""
    draw = _EXTRAS.get(name) or _subjects.SUBJECTS[name].draw
    draw(pen, Ink(ink.body, ink.accent, frozenset(), named=False))


def trim(pen: Pen, number: int) -> None:
    """Put ornament *number* on the beret of *pen*; 0 is none."""
    gold: Color = (255, 220, 120)
    if number == 1:
        for x, y in ((-0.5, 0.06), (-0.06, -0.12), (0.36, 0.08), (0.66, -0.14), (-0.2, 0.24)):
            pen.oval(x, y, 0.09, fill=WHITE)
    elif number == 2:
        star = pen.at(0.44, -0.02, 0.26)
        star.poly([(0, -1), (0.26, -0.34), (0.96, -0.3), (0.42, 0.14), (0.6, 0.82), (0, 0.44),
                   (-0.6, 0.82), (-0.42, 0.14), (-0.96, -0.3), (-0.26, -0.34)], gold)  # fmt: skip
    elif number == 3:
        pen.line([(-0.86, 0.1), (0, 0.24), (0.9, 0.08)], 0.13, WHITE)
        pen.oval(0.12, -0.62, 0.17, fill=WHITE)
    elif number == 4:
        for k in range(5):
            pen.at(0.44, 0.02, turn=k * 1.2566).oval(0, -0.16, 0.13, fill=(255, 244, 238))
        pen.oval(0.44, 0.02, 0.1, fill=gold)
