"""Draw the buildings, plants, machines and small things of the emulator's painter.

Every drawing fits into x, y = -1..1 of its pen, stands on y = 1 and uses the colours of an `Ink`.
"""

from __future__ import annotations

import math

from imagesdk.emulator._canvas import DARK, ROSE, WHITE, Ink, Pen, Point, mix

__all__ = (
    "balloon",
    "beret",
    "boat",
    "cactus",
    "car",
    "crown",
    "cup",
    "flower",
    "glasses",
    "heart",
    "house",
    "lighthouse",
    "moon",
    "robot",
    "rocket",
    "scarf",
    "star",
    "sun",
    "tree",
)


def house(pen: Pen, ink: Ink) -> None:
    """Draw a house."""
    wall = ink.own((246, 226, 196))
    roof = mix(ink.accent, (140, 50, 40), 0.4)
    frame = mix(wall, WHITE, 0.7)
    glass = (255, 214, 122) if {"night", "sunset", "夜"} & ink.words else (150, 204, 220)
    pen.rect(0.28, -0.86, 0.46, -0.3, mix(roof, DARK, 0.3))
    for k in range(3):
        pen.oval(0.42 + k * 0.12, -0.96 - k * 0.13, 0.08 + k * 0.03, fill=WHITE, alpha=110)
    pen.rect(-0.64, -0.16, 0.64, 1.0, wall)
    pen.rect(0.3, -0.16, 0.64, 1.0, mix(wall, DARK, 0.1))
    pen.poly([(-0.84, -0.08), (0, -0.78), (0.84, -0.08)], roof)
    pen.poly([(-0.84, -0.08), (0, -0.78), (0.1, -0.7), (-0.66, -0.08)], mix(roof, WHITE, 0.14))
    pen.oval(0, -0.34, 0.12, fill=frame)
    pen.oval(0, -0.34, 0.085, fill=glass)
    pen.card(-0.15, 0.4, 0.15, 1.02, 0.05, mix(roof, DARK, 0.25))
    pen.oval(0.09, 0.72, 0.024, fill=(250, 206, 100))
    for x in (-0.42, 0.42):
        pen.card(x - 0.17, 0.12, x + 0.17, 0.56, 0.03, frame)
        pen.rect(x - 0.13, 0.16, x + 0.13, 0.52, glass)
        pen.rect(x - 0.012, 0.16, x + 0.012, 0.52, frame)
        pen.rect(x - 0.13, 0.33, x + 0.13, 0.354, frame)
    for x in (-0.74, -0.58, 0.6, 0.78):
        pen.oval(x, 0.92, 0.16, 0.14, fill=(88, 140, 92))


def tree(pen: Pen, ink: Ink) -> None:
    """Draw a tree."""
    leaf = ink.own((86, 148, 92))
    if {"autumn", "fall"} & ink.words:
        leaf = (222, 122, 52)
    bark = (112, 78, 62)
    pen.blob([(-0.1, 0.1), (0.1, 0.1), (0.1, 0.7), (0.24, 1.0), (-0.24, 1.0), (-0.1, 0.7)], bark)
    pen.line([(0, 0.44), (0.2, 0.2), (0.3, 0.0)], 0.08, bark, end=0.04)
    dark, light = mix(leaf, DARK, 0.25), mix(leaf, (255, 246, 180), 0.28)
    for x, y, r in ((-0.42, 0.0, 0.36), (0.42, -0.02, 0.36), (0, -0.1, 0.44), (0, -0.5, 0.42)):
        pen.oval(x, y + 0.06, r, fill=dark)
    for x, y, r in ((-0.42, -0.06, 0.33), (0.4, -0.1, 0.32), (-0.04, -0.5, 0.4), (0.02, -0.2, 0.4)):
        pen.oval(x, y, r, fill=leaf)
    for x, y, r in ((-0.5, -0.14, 0.16), (-0.14, -0.62, 0.2), (0.32, -0.2, 0.15)):
        pen.oval(x, y, r, fill=light)
    if {"apple", "fruit", "cherry"} & ink.words:
        for x, y in ((-0.5, 0.1), (0.1, -0.3), (0.46, 0.0), (-0.2, -0.1), (0.2, -0.66)):
            pen.oval(x, y, 0.06, fill=(216, 62, 58))


def flower(pen: Pen, ink: Ink) -> None:
    """Draw a flower."""
    petal = ink.own((240, 120, 138))
    green = (82, 140, 90)
    pen.line([(0.02, 1.0), (-0.06, 0.5), (0, -0.2)], 0.075, green)
    pen.blob([(-0.04, 0.8), (0.3, 0.4), (0.62, 0.42), (0.4, 0.72)], green)
    pen.blob([(-0.03, 0.66), (-0.36, 0.36), (-0.6, 0.42), (-0.36, 0.66)], mix(green, WHITE, 0.16))
    for ring, (count, reach, tone) in enumerate(((9, 0.42, 0.18), (9, 0.36, 0.0))):
        for k in range(count):
            angle = math.tau * (k + ring / 2) / count
            x, y = reach * math.cos(angle), -0.36 + reach * math.sin(angle)
            fill = mix(petal, DARK, tone) if tone else mix(petal, WHITE, 0.08 * (k % 2))
            pen.oval(x, y, 0.24, 0.125, fill=fill, turn=angle)
    pen.oval(0, -0.36, 0.2, fill=(248, 198, 82))
    for k in range(8):
        angle = math.tau * k / 8
        pen.oval(0.12 * math.cos(angle), -0.36 + 0.12 * math.sin(angle), 0.026, fill=(206, 136, 50))


def robot(pen: Pen, ink: Ink) -> None:
    """Draw a robot."""
    metal = ink.own((134, 164, 184))
    dark, light = mix(metal, DARK, 0.45), mix(metal, WHITE, 0.45)
    pen.line([(0, -0.78), (0, -0.92)], 0.05, dark)
    pen.oval(0, -0.94, 0.07, fill=ink.accent)
    for side in (-1, 1):
        pen.line([(side * 0.42, 0.16), (side * 0.68, 0.3), (side * 0.64, 0.58)], 0.13, dark)
        pen.oval(side * 0.64, 0.62, 0.12, fill=metal)
        pen.card(min(side * 0.1, side * 0.34), 0.72, max(side * 0.1, side * 0.34), 0.94, 0.04, dark)
        pen.card(
            min(side * 0.06, side * 0.42), 0.88, max(side * 0.06, side * 0.42), 1.0, 0.05, metal
        )
        pen.card(min(side * 0.48, side * 0.62), -0.56, max(side * 0.48, side * 0.62), -0.26, 0.05,
                 dark)  # fmt: skip
    pen.card(-0.14, -0.16, 0.14, 0.06, 0.03, dark)
    pen.card(-0.46, 0.0, 0.46, 0.78, 0.12, metal)
    pen.card(-0.3, 0.14, 0.3, 0.5, 0.06, light)
    pen.line([(-0.22, 0.34), (-0.1, 0.34), (-0.04, 0.22), (0.05, 0.43), (0.1, 0.34), (0.22, 0.34)],
             0.03, ink.accent)  # fmt: skip
    for k in range(3):
        pen.oval(-0.16 + k * 0.16, 0.64, 0.045, fill=mix(ink.accent, WHITE, k * 0.3))
    pen.card(-0.52, -0.8, 0.52, -0.1, 0.16, metal)
    pen.card(-0.4, -0.68, 0.4, -0.26, 0.12, mix(DARK, metal, 0.12))
    glow = mix(ink.accent, WHITE, 0.5)
    pen.ovals(0.2, -0.48, 0.11, fill=glow)
    pen.ovals(0.22, -0.5, 0.04, fill=WHITE)
    pen.line([(-0.14, -0.19), (0.14, -0.19)], 0.035, dark)


def rocket(pen: Pen, ink: Ink) -> None:
    """Draw a rocket."""
    hull = ink.own((244, 240, 232))
    tip = ink.accent
    pen.blob([(-0.18, 0.5), (0.18, 0.5), (0.16, 0.76), (0, 1.0), (-0.16, 0.76)], (250, 160, 60))
    pen.blob([(-0.1, 0.5), (0.1, 0.5), (0.07, 0.68), (0, 0.82), (-0.07, 0.68)], (255, 232, 140))
    for side in (-1, 1):
        pen.blob([(side * 0.26, 0.06), (side * 0.58, 0.4), (side * 0.56, 0.72), (side * 0.24, 0.46)],
                 mix(tip, DARK, 0.15))  # fmt: skip
    pen.blob([(0, -0.98), (0.2, -0.66), (0.33, -0.2), (0.3, 0.24), (0.2, 0.54), (-0.2, 0.54),
              (-0.3, 0.24), (-0.33, -0.2), (-0.2, -0.66)], hull)  # fmt: skip
    pen.blob([(0.06, -0.9), (0.2, -0.66), (0.33, -0.2), (0.3, 0.24), (0.2, 0.54), (0.08, 0.54),
              (0.18, -0.1)], mix(hull, DARK, 0.14))  # fmt: skip
    pen.blob([(0, -1.0), (0.2, -0.66), (0, -0.6), (-0.2, -0.66)], tip)
    pen.oval(0, -0.24, 0.18, fill=mix(tip, DARK, 0.2))
    pen.oval(0, -0.24, 0.13, fill=(136, 204, 226))
    pen.oval(-0.04, -0.29, 0.045, fill=WHITE)
    pen.rect(-0.2, 0.46, 0.2, 0.55, mix(hull, DARK, 0.55))


def star(pen: Pen, ink: Ink) -> None:
    """Draw a star."""
    fill = ink.own((252, 204, 84))
    points: list[Point] = []
    for k in range(10):
        radius = 0.92 if k % 2 == 0 else 0.42
        angle = math.tau * k / 10 - math.pi / 2
        points.append((radius * math.cos(angle), radius * math.sin(angle) + 0.05))
    pen.poly(points, fill)
    for k in range(0, 10, 2):
        pen.poly([points[k], points[(k + 1) % 10], (0, 0.05)], mix(fill, (214, 120, 40), 0.32))


def heart(pen: Pen, ink: Ink) -> None:
    """Draw a heart."""
    fill = ink.own((226, 66, 84))
    pen.poly(
        [
            (0.056 * 16 * math.sin(t) ** 3,
             -0.056 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)
                       - math.cos(4 * t)))
            for t in (math.tau * k / 90 for k in range(90))
        ],
        fill,
    )  # fmt: skip
    pen.oval(-0.42, -0.36, 0.2, 0.12, fill=mix(fill, WHITE, 0.5), turn=-0.7)


def moon(pen: Pen, ink: Ink) -> None:
    """Draw the moon."""
    fill = ink.own((252, 238, 200))
    pen.oval(0, 0, 0.86, fill=fill)
    for x, y, r in ((-0.3, -0.3, 0.2), (0.3, 0.1, 0.26), (-0.2, 0.4, 0.15), (0.3, -0.5, 0.11)):
        pen.oval(x, y, r, fill=mix(fill, DARK, 0.16))
        pen.oval(x + 0.02, y + 0.03, r * 0.84, fill=mix(fill, DARK, 0.09))


def sun(pen: Pen, ink: Ink) -> None:
    """Draw the sun."""
    fill = ink.own((252, 190, 70))
    for k in range(16):
        angle = math.tau * k / 16
        far = 0.98 if k % 2 == 0 else 0.84
        pen.poly(
            [
                (0.6 * math.cos(angle - 0.1), 0.6 * math.sin(angle - 0.1)),
                (far * math.cos(angle), far * math.sin(angle)),
                (0.6 * math.cos(angle + 0.1), 0.6 * math.sin(angle + 0.1)),
            ],
            mix(fill, WHITE, 0.3),
        )
    pen.oval(0, 0, 0.54, fill=fill)
    pen.oval(-0.03, -0.03, 0.44, fill=mix(fill, WHITE, 0.16))


def boat(pen: Pen, ink: Ink) -> None:
    """Draw a boat."""
    hull = ink.own((196, 72, 58))
    pen.line([(-0.02, -0.92), (-0.02, 0.5)], 0.045, (110, 80, 64))
    pen.blob([(0.04, -0.86), (0.46, -0.3), (0.68, 0.34), (0.36, 0.38), (0.04, 0.36)], WHITE)
    pen.blob([(-0.08, -0.7), (-0.08, 0.34), (-0.36, 0.36), (-0.6, 0.3), (-0.32, -0.2)],
             mix(ink.accent, WHITE, 0.35))  # fmt: skip
    pen.poly([(-0.02, -0.96), (0.24, -0.9), (-0.02, -0.84)], hull)
    pen.blob([(-0.86, 0.46), (-0.4, 0.5), (0.4, 0.5), (0.92, 0.42), (0.6, 0.86), (0.0, 0.94),
              (-0.56, 0.88)], hull)  # fmt: skip
    pen.line([(-0.78, 0.55), (0.0, 0.6), (0.8, 0.53)], 0.05, mix(hull, WHITE, 0.7))


def car(pen: Pen, ink: Ink) -> None:
    """Draw a car."""
    paint = ink.own((216, 74, 62))
    pen.blob([(-0.56, 0.36), (-0.4, -0.1), (-0.16, -0.22), (0.24, -0.22), (0.44, -0.08),
              (0.64, 0.36)], paint)  # fmt: skip
    pen.poly(
        [(-0.4, 0.26), (-0.29, -0.02), (-0.16, -0.1), (0.0, -0.1), (0.0, 0.26)], (186, 222, 232)
    )
    pen.poly([(0.06, 0.26), (0.06, -0.1), (0.22, -0.1), (0.36, 0.0), (0.46, 0.26)], (186, 222, 232))
    pen.card(-0.96, 0.24, 0.96, 0.76, 0.2, paint)
    pen.rect(-0.9, 0.54, 0.9, 0.6, mix(paint, WHITE, 0.5))
    pen.line([(0.06, 0.38), (0.16, 0.38)], 0.035, mix(paint, DARK, 0.5))
    pen.oval(-0.88, 0.42, 0.07, 0.09, fill=(255, 236, 170))
    for x in (-0.52, 0.54):
        pen.oval(x, 0.76, 0.24, fill=DARK)
        pen.oval(x, 0.76, 0.12, fill=(214, 214, 214))
        pen.oval(x, 0.76, 0.04, fill=DARK)


def cup(pen: Pen, ink: Ink) -> None:
    """Draw a cup."""
    cup = ink.own((248, 240, 228))
    shade = mix(cup, DARK, 0.12)
    pen.line([(0.4, 0.14), (0.76, 0.14), (0.78, 0.52), (0.34, 0.6)], 0.11, shade)
    pen.oval(0, 0.9, 0.78, 0.1, fill=shade)
    pen.blob([(-0.56, -0.08), (0.56, -0.08), (0.5, 0.5), (0.26, 0.86), (-0.26, 0.86),
              (-0.5, 0.5)], cup)  # fmt: skip
    pen.oval(0, -0.06, 0.56, 0.13, fill=mix(cup, WHITE, 0.6))
    pen.oval(0, -0.05, 0.48, 0.095, fill=(110, 68, 48))
    pen.line([(-0.4, 0.42), (0.0, 0.47), (0.4, 0.42)], 0.07, ink.accent)
    for x in (-0.22, 0.02, 0.26):
        pen.line([(x, -0.22), (x + 0.1, -0.44), (x - 0.06, -0.62), (x + 0.06, -0.9)], 0.07, WHITE,
                 end=0.02, alpha=150)  # fmt: skip


def balloon(pen: Pen, ink: Ink) -> None:
    """Draw a balloon."""
    one, two = ink.body, mix(ink.accent, WHITE, 0.2)
    pen.line([(-0.16, 0.5), (-0.1, 0.74)], 0.018, DARK)
    pen.line([(0.16, 0.5), (0.1, 0.74)], 0.018, DARK)
    pen.blob([(0, -0.98), (0.5, -0.8), (0.68, -0.34), (0.46, 0.14), (0.16, 0.5), (-0.16, 0.5),
              (-0.46, 0.14), (-0.68, -0.34), (-0.5, -0.8)], one)  # fmt: skip
    pen.twin([(0.08, -0.94), (0.32, -0.72), (0.42, -0.34), (0.3, 0.12), (0.1, 0.5), (0.16, 0.1),
              (0.2, -0.34), (0.16, -0.72)], two)  # fmt: skip
    pen.card(-0.14, 0.72, 0.14, 0.98, 0.04, (150, 104, 66))
    pen.rect(-0.15, 0.72, 0.15, 0.78, (112, 74, 50))


def lighthouse(pen: Pen, ink: Ink) -> None:
    """Draw a lighthouse."""
    stripe = ink.own((208, 66, 58))
    pen.poly([(0, -0.66), (-2.2, -1.0), (-2.2, -0.3)], (255, 240, 180), 90)
    pen.blob([(-0.8, 1.02), (-0.5, 0.8), (0.1, 0.76), (0.62, 0.84), (0.86, 1.02)], (110, 104, 110))
    pen.poly([(-0.2, -0.46), (0.2, -0.46), (0.34, 0.9), (-0.34, 0.9)], WHITE)
    for k in range(3):
        top = -0.32 + k * 0.42
        a, b = 0.2 + (top + 0.46) * 0.103, 0.2 + (top + 0.67) * 0.103
        pen.poly([(-a, top), (a, top), (b, top + 0.21), (-b, top + 0.21)], stripe)
    pen.rect(-0.28, -0.52, 0.28, -0.45, DARK)
    pen.rect(-0.15, -0.78, 0.15, -0.52, (255, 226, 130))
    pen.poly([(-0.22, -0.76), (0, -0.98), (0.22, -0.76)], mix(stripe, DARK, 0.2))
    pen.card(-0.09, 0.62, 0.09, 0.92, 0.05, DARK)
    pen.poly([(0.06, -0.46), (0.2, -0.46), (0.34, 0.9), (0.18, 0.9)], DARK, 36)


def cactus(pen: Pen, ink: Ink) -> None:
    """Draw a cactus."""
    green = ink.own((86, 146, 102))
    light = mix(green, WHITE, 0.25)
    pen.line([(0.2, 0.3), (0.54, 0.28), (0.56, -0.2)], 0.2, green)
    pen.line([(-0.2, 0.06), (-0.5, 0.04), (-0.52, -0.36)], 0.19, green)
    pen.line([(0, 0.8), (0, -0.72)], 0.42, green)
    for x in (-0.1, 0, 0.1):
        pen.line([(x, 0.7), (x, -0.74)], 0.02, light)
    pen.oval(0, -0.94, 0.12, 0.08, fill=ROSE)
    pen.oval(0.56, -0.32, 0.08, 0.06, fill=ROSE)
    pen.poly([(-0.46, 0.52), (0.46, 0.52), (0.36, 1.0), (-0.36, 1.0)], ink.accent)
    pen.rect(-0.52, 0.46, 0.52, 0.6, mix(ink.accent, WHITE, 0.2))


def beret(pen: Pen, ink: Ink) -> None:
    """Draw a beret."""
    felt = ink.own((196, 48, 58))
    pen.line([(0.06, -0.44), (0.12, -0.62)], 0.07, mix(felt, DARK, 0.25))
    pen.blob([(-0.92, 0.2), (-0.8, -0.2), (-0.2, -0.5), (0.5, -0.46), (0.94, -0.1), (0.96, 0.2),
              (0.6, 0.42), (0, 0.44), (-0.6, 0.4)], felt)  # fmt: skip
    pen.blob([(-0.7, -0.08), (-0.2, -0.38), (0.3, -0.38), (-0.1, -0.22)], mix(felt, WHITE, 0.3))
    pen.blob([(-0.62, 0.3), (0, 0.38), (0.62, 0.3), (0.58, 0.52), (0, 0.6), (-0.58, 0.52)],
             mix(felt, DARK, 0.35))  # fmt: skip


def crown(pen: Pen, ink: Ink) -> None:
    """Draw a crown."""
    gold = ink.own((246, 196, 76))
    pen.poly([(-0.8, 0.5), (-0.92, -0.4), (-0.42, 0.06), (0, -0.6), (0.42, 0.06), (0.92, -0.4),
              (0.8, 0.5)], gold)  # fmt: skip
    pen.card(-0.8, 0.36, 0.8, 0.6, 0.05, mix(gold, DARK, 0.2))
    for x, y in ((-0.92, -0.42), (0, -0.62), (0.92, -0.42)):
        pen.oval(x, y, 0.1, fill=(216, 66, 82))
    for x in (-0.5, 0, 0.5):
        pen.oval(x, 0.48, 0.07, fill=(86, 160, 196))


def glasses(pen: Pen, ink: Ink) -> None:
    """Draw a pair of glasses."""
    frame = ink.own((40, 36, 46))
    for x in (-0.46, 0.46):
        pen.oval(x, 0, 0.42, 0.38, fill=frame)
        pen.oval(x, 0, 0.33, 0.29, fill=(120, 176, 196) if "sunglasses" not in ink.words else DARK)
        pen.line([(x - 0.14, 0.08), (x + 0.06, -0.16)], 0.06, WHITE, alpha=150)
    pen.line([(-0.1, -0.04), (0, -0.08), (0.1, -0.04)], 0.08, frame)


def scarf(pen: Pen, ink: Ink) -> None:
    """Draw a scarf."""
    wool = ink.accent
    pen.blob([(0.2, 0.1), (0.5, 0.1), (0.56, 0.9), (0.26, 0.9)], mix(wool, DARK, 0.15))
    pen.blob([(-0.8, -0.16), (0, 0.1), (0.8, -0.16), (0.78, 0.14), (0, 0.42), (-0.78, 0.14)], wool)
    for k in range(-3, 4):
        y = 0.22 - abs(k) * 0.05
        pen.line([(k * 0.2, y - 0.11), (k * 0.2, y + 0.11)], 0.05, mix(wool, WHITE, 0.55))
