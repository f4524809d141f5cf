"""Draw the animals and the person of the emulator's painter.

Every drawing fits into x, y = -1..1 of its pen, stands on y = 1 and uses the colours of an `Ink`.
"""

from __future__ import annotations

from imagesdk.emulator._canvas import DARK, ROSE, WHITE, Color, Ink, Pen, mix

__all__ = (
    "bear",
    "bird",
    "butterfly",
    "cat",
    "dog",
    "fish",
    "flamingo",
    "fox",
    "horse",
    "otter",
    "owl",
    "penguin",
    "person",
    "rabbit",
    "whale",
)


def _eyes(pen: Pen, x: float, y: float, size: float, iris: Color | None = None) -> None:
    """Draw a pair of eyes with a glint."""
    for side in (-x, x):
        if iris is None:
            pen.oval(side, y, size, size * 1.15, fill=DARK)
        else:
            pen.oval(side, y, size * 1.25, size * 1.2, fill=iris)
            pen.oval(side, y, size * 0.55, size * 1.05, fill=DARK)
        pen.oval(side + size * 0.3, y - size * 0.4, size * 0.32, fill=WHITE)


def _whiskers(pen: Pen, y: float, color: Color) -> None:
    """Draw three whiskers on both sides of a nose."""
    for side in (-1, 1):
        for k in (-1, 0, 1):
            pen.line(
                [(side * 0.2, y + k * 0.04), (side * 0.62, y + k * 0.11 - 0.02)],
                0.016,
                color,
                end=0.005,
            )


def _snout(pen: Pen, y: float, nose: Color, mouth: Color, size: float = 0.07) -> None:
    """Draw a nose and a small smiling mouth."""
    pen.line([(0, y), (0, y + 0.1)], 0.02, mouth)
    pen.line([(0, y + 0.1), (-0.06, y + 0.14), (-0.13, y + 0.11)], 0.02, mouth, end=0.012)
    pen.line([(0, y + 0.1), (0.06, y + 0.14), (0.13, y + 0.11)], 0.02, mouth, end=0.012)
    pen.blob([(-size, y - 0.03), (0, y - 0.05), (size, y - 0.03), (0, y + size * 0.75)], nose)


def cat(pen: Pen, ink: Ink) -> None:
    """Draw a cat."""
    siamese = bool({"siamese", "暹罗"} & ink.words)
    coat = ink.own((233, 218, 199) if siamese else (222, 140, 72))
    if ink.named and coat == (255, 255, 255):
        coat = (250, 245, 236)
    shade = mix(coat, (120, 90, 90), 0.16)
    points = mix((84, 62, 56), coat, 0.08) if siamese else mix(coat, (110, 60, 40), 0.28)
    tips = points if siamese else coat
    pen.line(
        [(0.36, 0.86), (0.8, 0.84), (0.93, 0.5), (0.8, 0.22), (0.86, 0.04)], 0.17, tips, end=0.1
    )
    pen.blob(
        [(0, -0.2), (0.34, 0.02), (0.46, 0.46), (0.52, 0.86), (0.3, 1.0), (0, 1.0), (-0.3, 1.0),
         (-0.52, 0.86), (-0.46, 0.46), (-0.34, 0.02)], coat,
    )  # fmt: skip
    pen.blob([(-0.3, 0.5), (-0.52, 0.8), (-0.4, 0.97), (-0.24, 0.94), (-0.2, 0.7)], shade)
    pen.blob([(0.3, 0.5), (0.52, 0.8), (0.4, 0.97), (0.24, 0.94), (0.2, 0.7)], shade)
    pen.blob([(0, 0.0), (0.2, 0.2), (0.17, 0.5), (0, 0.66), (-0.17, 0.5), (-0.2, 0.2)],
             mix(coat, WHITE, 0.55))  # fmt: skip
    pen.card(-0.2, 0.4, -0.03, 1.0, 0.08, coat)
    pen.card(0.03, 0.4, 0.2, 1.0, 0.08, coat)
    pen.line([(0, 0.52), (0, 0.94)], 0.018, shade)
    for x in (-0.14, 0.14):
        pen.oval(x, 0.95, 0.13, 0.07, fill=tips)
    for side in (-1, 1):
        ear = [(side * 0.5, -0.42), (side * 0.5, -0.98), (side * 0.12, -0.72)]
        pen.poly(ear, tips)
        pen.oval(side * 0.5, -0.965, 0.012, fill=tips)
        pen.poly([(side * 0.43, -0.55), (side * 0.45, -0.84), (side * 0.22, -0.7)], ROSE)
    pen.blob(
        [(0, -0.78), (0.3, -0.72), (0.5, -0.46), (0.5, -0.24), (0.28, -0.04), (0, 0.02),
         (-0.28, -0.04), (-0.5, -0.24), (-0.5, -0.46), (-0.3, -0.72)], coat,
    )  # fmt: skip
    if siamese:
        pen.blob([(0, -0.58), (0.2, -0.36), (0.26, -0.16), (0, -0.01), (-0.26, -0.16),
                  (-0.2, -0.36)], points, 215)  # fmt: skip
    else:
        for x in (-0.12, 0, 0.12):
            pen.line([(x, -0.77), (x * 0.8, -0.62)], 0.05, points, end=0.02)
        pen.ovals(0.09, -0.14, 0.12, 0.09, fill=mix(coat, WHITE, 0.7))
    _eyes(pen, 0.23, -0.36, 0.085, (120, 178, 222) if siamese else (158, 190, 88))
    _whiskers(pen, -0.15, mix(WHITE, coat, 0.1))
    _snout(pen, -0.2, (224, 130, 136), mix(points, DARK, 0.4), 0.055)


def dog(pen: Pen, ink: Ink) -> None:
    """Draw a dog."""
    coat = ink.own((226, 148, 74))
    white = (255, 248, 238)
    shade = mix(coat, DARK, 0.2)
    pen.blob([(0.4, 0.7), (0.72, 0.62), (0.84, 0.4), (0.7, 0.44), (0.5, 0.52)], coat)
    pen.blob(
        [(0, -0.2), (0.4, 0.04), (0.54, 0.46), (0.58, 0.86), (0.34, 1.0), (0, 1.0), (-0.34, 1.0),
         (-0.58, 0.86), (-0.54, 0.46), (-0.4, 0.04)], coat,
    )  # fmt: skip
    pen.blob([(-0.34, 0.54), (-0.58, 0.8), (-0.46, 0.98), (-0.28, 0.94), (-0.24, 0.74)], shade)
    pen.blob([(0.34, 0.54), (0.58, 0.8), (0.46, 0.98), (0.28, 0.94), (0.24, 0.74)], shade)
    pen.blob([(0, -0.1), (0.3, 0.1), (0.26, 0.5), (0.1, 0.72), (-0.1, 0.72), (-0.26, 0.5),
              (-0.3, 0.1)], white)  # fmt: skip
    for x in (-0.15, 0.15):
        pen.card(x - 0.11, 0.46, x + 0.11, 1.0, 0.1, white)
        pen.line([(x - 0.03, 0.93), (x - 0.03, 0.98)], 0.015, shade)
        pen.line([(x + 0.03, 0.93), (x + 0.03, 0.98)], 0.015, shade)
    if "corgi" in ink.words or not {"puppy", "hound", "labrador"} & ink.words:
        pen.twin([(0.5, -0.38), (0.66, -0.86), (0.6, -1.0), (0.42, -0.92), (0.14, -0.6)], coat)
        pen.twin([(0.46, -0.5), (0.56, -0.84), (0.46, -0.82), (0.28, -0.62)], (240, 172, 160))
        ears = False
    else:
        ears = True
    pen.blob(
        [(0, -0.76), (0.28, -0.7), (0.48, -0.46), (0.52, -0.24), (0.32, -0.02), (0, 0.06),
         (-0.32, -0.02), (-0.52, -0.24), (-0.48, -0.46), (-0.28, -0.7)], coat,
    )  # fmt: skip
    if ears:
        pen.twin([(0.34, -0.68), (0.56, -0.6), (0.66, -0.2), (0.54, -0.06), (0.44, -0.3)], shade)
    pen.blob([(0, -0.74), (0.07, -0.5), (0.12, -0.3), (0.32, -0.16), (0.24, 0.0), (0, 0.05),
              (-0.24, 0.0), (-0.32, -0.16), (-0.12, -0.3), (-0.07, -0.5)], white)  # fmt: skip
    _eyes(pen, 0.23, -0.38, 0.068)
    pen.blob([(-0.07, 0.0), (0.07, 0.0), (0.06, 0.13), (0, 0.17), (-0.06, 0.13)], (236, 112, 120))
    _snout(pen, -0.18, DARK, DARK, 0.085)


def otter(pen: Pen, ink: Ink) -> None:
    """Draw an otter."""
    coat = ink.own((126, 88, 66))
    cream = mix(coat, (250, 232, 204), 0.78)
    shade = mix(coat, DARK, 0.25)
    pen.line([(0.2, 0.9), (0.6, 0.92), (0.86, 0.72), (0.94, 0.5)], 0.26, shade, end=0.06)
    pen.blob(
        [(0, -0.3), (0.36, -0.06), (0.5, 0.4), (0.5, 0.84), (0.26, 1.0), (-0.26, 1.0),
         (-0.5, 0.84), (-0.5, 0.4), (-0.36, -0.06)], coat,
    )  # fmt: skip
    pen.blob([(0, -0.1), (0.26, 0.1), (0.33, 0.5), (0.26, 0.86), (0, 0.95), (-0.26, 0.86),
              (-0.33, 0.5), (-0.26, 0.1)], cream)  # fmt: skip
    pen.ovals(0.26, 0.96, 0.2, 0.08, fill=shade)
    pen.ovals(0.46, -0.66, 0.13, fill=coat)
    pen.ovals(0.46, -0.65, 0.07, fill=shade)
    pen.blob(
        [(0, -0.9), (0.34, -0.82), (0.52, -0.56), (0.56, -0.3), (0.36, -0.06), (0, 0.02),
         (-0.36, -0.06), (-0.56, -0.3), (-0.52, -0.56), (-0.34, -0.82)], coat,
    )  # fmt: skip
    pen.blob([(0, -0.46), (0.26, -0.46), (0.44, -0.28), (0.34, -0.06), (0, 0.01), (-0.34, -0.06),
              (-0.44, -0.28), (-0.26, -0.46)], cream)  # fmt: skip
    _eyes(pen, 0.25, -0.52, 0.072)
    pen.ovals(0.38, -0.3, 0.075, 0.045, fill=mix(cream, ROSE, 0.6))
    _whiskers(pen, -0.2, mix(cream, DARK, 0.35))
    _snout(pen, -0.32, DARK, mix(coat, DARK, 0.6), 0.11)
    for side in (-1, 1):
        pen.line([(side * 0.42, 0.16), (side * 0.36, 0.4), (side * 0.1, 0.42)], 0.2, coat, end=0.17)
        for k in (0, 1):
            pen.line([(side * 0.06, 0.39 + k * 0.06), (side * 0.12, 0.39 + k * 0.06)], 0.014, shade)


def fox(pen: Pen, ink: Ink) -> None:
    """Draw a fox."""
    coat = ink.own((226, 104, 48))
    white = (255, 246, 234)
    socks = mix(coat, DARK, 0.75)
    pen.blob([(0.3, 0.9), (0.7, 0.98), (0.98, 0.7), (0.94, 0.3), (0.8, 0.08), (0.66, 0.4),
              (0.5, 0.66)], coat)  # fmt: skip
    pen.blob([(0.72, 0.36), (0.8, 0.08), (0.94, 0.3), (0.955, 0.44), (0.84, 0.36)], white)
    pen.blob(
        [(0, -0.2), (0.32, 0.0), (0.44, 0.5), (0.48, 0.88), (0.26, 1.0), (-0.26, 1.0),
         (-0.48, 0.88), (-0.44, 0.5), (-0.32, 0.0)], coat,
    )  # fmt: skip
    pen.blob([(0, 0.0), (0.24, 0.12), (0.16, 0.46), (0, 0.62), (-0.16, 0.46), (-0.24, 0.12)], white)
    for x in (-0.13, 0.13):
        pen.card(x - 0.085, 0.6, x + 0.085, 1.0, 0.08, socks)
    for side in (-1, 1):
        pen.poly([(side * 0.56, -0.4), (side * 0.5, -1.0), (side * 0.1, -0.66)], coat)
        pen.poly([(side * 0.46, -0.56), (side * 0.46, -0.86), (side * 0.22, -0.64)], socks)
    pen.blob([(0, -0.72), (0.34, -0.66), (0.54, -0.4), (0.66, -0.16), (0.3, -0.1), (0, 0.1),
              (-0.3, -0.1), (-0.66, -0.16), (-0.54, -0.4), (-0.34, -0.66)], coat)  # fmt: skip
    pen.twin([(0.02, 0.07), (0.06, -0.18), (0.3, -0.32), (0.58, -0.18), (0.3, -0.09)], white)
    _eyes(pen, 0.24, -0.38, 0.062)
    pen.oval(0, 0.03, 0.075, 0.055, fill=DARK)


def rabbit(pen: Pen, ink: Ink) -> None:
    """Draw a rabbit."""
    coat = ink.own((214, 200, 190))
    shade = mix(coat, DARK, 0.14)
    pen.oval(0.5, 0.76, 0.15, fill=mix(coat, WHITE, 0.6))
    pen.blob([(0, -0.04), (0.36, 0.16), (0.5, 0.6), (0.46, 0.94), (0, 1.0), (-0.46, 0.94),
              (-0.5, 0.6), (-0.36, 0.16)], coat)  # fmt: skip
    pen.oval(0, 0.52, 0.26, 0.34, fill=mix(coat, WHITE, 0.6))
    pen.ovals(0.26, 0.95, 0.2, 0.08, fill=shade)
    for side in (-1, 1):
        pen.oval(side * 0.25, -0.72, 0.13, 0.34, fill=coat, turn=side * 0.16)
        pen.oval(side * 0.25, -0.7, 0.065, 0.26, fill=(240, 176, 178), turn=side * 0.16)
    pen.oval(0, -0.2, 0.44, 0.36, fill=coat)
    pen.ovals(0.1, -0.06, 0.13, 0.1, fill=mix(coat, WHITE, 0.65))
    _eyes(pen, 0.23, -0.26, 0.065)
    _whiskers(pen, -0.08, shade)
    _snout(pen, -0.12, ROSE, mix(coat, DARK, 0.6), 0.055)


def bear(pen: Pen, ink: Ink) -> None:
    """Draw a bear."""
    panda = bool({"panda", "熊猫"} & ink.words)
    coat = (250, 246, 238) if panda else ink.own((150, 98, 62))
    limb = (48, 44, 54) if panda else coat
    muzzle = mix(coat, WHITE, 0.55)
    pen.blob([(0, -0.1), (0.42, 0.1), (0.56, 0.56), (0.48, 0.94), (0, 1.0), (-0.48, 0.94),
              (-0.56, 0.56), (-0.42, 0.1)], coat)  # fmt: skip
    pen.oval(0, 0.56, 0.32, 0.36, fill=muzzle)
    for side in (-1, 1):
        pen.line([(side * 0.38, 0.14), (side * 0.52, 0.4), (side * 0.36, 0.6)], 0.24, limb)
        pen.oval(side * 0.34, 0.9, 0.23, 0.17, fill=limb)
        pen.oval(side * 0.34, 0.91, 0.12, 0.09, fill=mix(limb, ROSE, 0.45))
        pen.oval(side * 0.4, -0.72, 0.18, fill=limb)
        pen.oval(side * 0.4, -0.71, 0.09, fill=mix(limb, ROSE, 0.35))
    pen.oval(0, -0.4, 0.54, 0.46, fill=coat)
    if panda:
        for side in (-1, 1):
            pen.oval(side * 0.23, -0.42, 0.13, 0.17, fill=limb, turn=side * 0.5)
        pen.ovals(0.22, -0.43, 0.06, fill=WHITE)
    else:
        pen.oval(0, -0.22, 0.24, 0.19, fill=muzzle)
    _eyes(pen, 0.22, -0.43, 0.045 if panda else 0.06)
    _snout(pen, -0.29, DARK, DARK, 0.085)


def owl(pen: Pen, ink: Ink) -> None:
    """Draw an owl."""
    coat = ink.own((140, 104, 82))
    pale = mix(coat, (255, 240, 214), 0.7)
    pen.blob([(0, -0.84), (0.34, -0.72), (0.56, -0.96), (0.6, -0.4), (0.6, 0.3), (0.4, 0.82),
              (0, 0.94), (-0.4, 0.82), (-0.6, 0.3), (-0.6, -0.4), (-0.56, -0.96),
              (-0.34, -0.72)], coat)  # fmt: skip
    pen.oval(0, 0.3, 0.4, 0.54, fill=pale)
    for row in range(5):
        for k in range(-2, 3):
            if abs(k) + row / 2 < 3:
                spot = pen.at((k + (row % 2) / 2 - 0.25) * 0.15, row * 0.15)
                spot.line([(-0.04, 0), (0, 0.05), (0.04, 0)], 0.022, coat)
    pen.twin([(0.54, -0.2), (0.74, 0.2), (0.6, 0.72), (0.42, 0.4)], mix(coat, DARK, 0.3))
    for x in (-0.2, 0.2):
        for toe in (-0.08, 0, 0.08):
            pen.line([(x, 0.88), (x + toe, 0.98)], 0.06, (232, 168, 70), end=0.04)
    for x in (-0.25, 0.25):
        pen.oval(x, -0.42, 0.28, fill=pale)
        pen.oval(x, -0.42, 0.18, fill=(246, 190, 66))
        pen.oval(x, -0.42, 0.115, fill=DARK)
        pen.oval(x + 0.045, -0.47, 0.04, fill=WHITE)
    pen.blob([(0, -0.34), (0.08, -0.24), (0, -0.06), (-0.08, -0.24)], (232, 168, 70))


def penguin(pen: Pen, ink: Ink) -> None:
    """Draw a penguin."""
    coat = ink.own((44, 52, 74))
    beak = (246, 164, 60)
    pen.ovals(0.22, 0.95, 0.2, 0.07, fill=beak)
    pen.twin([(0.34, -0.1), (0.62, 0.2), (0.66, 0.56), (0.5, 0.44)], mix(coat, DARK, 0.3))
    pen.blob([(0, -0.94), (0.3, -0.84), (0.42, -0.5), (0.52, 0.2), (0.44, 0.78), (0, 0.96),
              (-0.44, 0.78), (-0.52, 0.2), (-0.42, -0.5), (-0.3, -0.84)], coat)  # fmt: skip
    pen.blob([(0, -0.5), (0.16, -0.7), (0.32, -0.54), (0.3, -0.24), (0.38, 0.3), (0.26, 0.78),
              (0, 0.86), (-0.26, 0.78), (-0.38, 0.3), (-0.3, -0.24), (-0.32, -0.54),
              (-0.16, -0.7)], WHITE)  # fmt: skip
    _eyes(pen, 0.17, -0.55, 0.052)
    pen.ovals(0.25, -0.42, 0.06, 0.035, fill=(246, 190, 190))
    pen.blob([(-0.1, -0.46), (0, -0.5), (0.1, -0.46), (0, -0.34)], beak)


def flamingo(pen: Pen, ink: Ink) -> None:
    """Draw a flamingo."""
    coat = ink.own((246, 126, 146))
    deep = mix(coat, (196, 44, 92), 0.42)
    pale = mix(coat, WHITE, 0.42)
    pen.line([(0.16, 0.3), (0.15, 0.66), (0.17, 1.0)], 0.042, deep)
    pen.line([(0.17, 0.98), (0.02, 1.0)], 0.035, deep, end=0.02)
    pen.line([(0.3, 0.28), (0.46, 0.6)], 0.04, deep)
    pen.line([(0.46, 0.6), (0.2, 0.68)], 0.034, deep, end=0.028)
    pen.blob([(0.6, 0.04), (0.92, 0.2), (0.98, 0.32), (0.7, 0.3), (0.5, 0.26)], deep)
    neck = [(-0.12, 0.16), (-0.34, 0.0), (-0.32, -0.24), (-0.08, -0.42), (0.0, -0.64),
            (-0.12, -0.84), (-0.32, -0.84)]  # fmt: skip
    pen.line(neck, 0.19, coat, end=0.115)
    pen.blob([(-0.24, 0.1), (0.02, -0.1), (0.36, -0.1), (0.66, 0.06), (0.8, 0.24), (0.52, 0.36),
              (0.16, 0.42), (-0.14, 0.32)], coat)  # fmt: skip
    pen.blob([(0.06, 0.08), (0.34, 0.0), (0.62, 0.1), (0.86, 0.26), (0.5, 0.3), (0.2, 0.26)], pale)
    for k in range(3):
        pen.line([(0.24 + k * 0.13, 0.13 + k * 0.03), (0.46 + k * 0.13, 0.21 + k * 0.025)],
                 0.026, coat, end=0.012)  # fmt: skip
    pen.oval(-0.32, -0.83, 0.13, 0.115, fill=coat)
    pen.blob([(-0.4, -0.9), (-0.53, -0.82), (-0.6, -0.66), (-0.57, -0.56), (-0.48, -0.66),
              (-0.38, -0.76)], (255, 226, 206))  # fmt: skip
    pen.blob([(-0.575, -0.74), (-0.62, -0.62), (-0.575, -0.53), (-0.5, -0.64)], DARK)
    pen.oval(-0.345, -0.865, 0.024, fill=DARK)


def fish(pen: Pen, ink: Ink) -> None:
    """Draw a fish with two white bands."""
    coat = ink.own((244, 128, 58))
    fin = mix(coat, ink.accent, 0.45)
    pen.blob([(0.5, 0.0), (0.9, -0.42), (0.98, -0.34), (0.84, 0.02), (0.98, 0.4), (0.9, 0.46)], fin)
    pen.blob([(-0.2, -0.34), (0.1, -0.66), (0.42, -0.52), (0.34, -0.24)], fin)
    pen.blob([(-0.1, 0.34), (0.12, 0.6), (0.3, 0.5), (0.24, 0.26)], fin)
    pen.blob([(-0.9, 0.02), (-0.66, -0.28), (-0.2, -0.44), (0.26, -0.32), (0.62, -0.04),
              (0.62, 0.06), (0.26, 0.34), (-0.2, 0.44), (-0.66, 0.3)], coat)  # fmt: skip
    for x in (-0.36, 0.1):
        h = 0.39 if x < 0 else 0.36
        pen.blob([(x - 0.06, -h), (x + 0.08, -h), (x + 0.12, 0), (x + 0.08, h), (x - 0.06, h),
                  (x - 0.02, 0)], WHITE)  # fmt: skip
    pen.blob([(0.0, 0.04), (0.2, -0.04), (0.3, 0.1), (0.16, 0.2)], fin)
    pen.oval(-0.62, -0.08, 0.1, fill=WHITE)
    pen.oval(-0.63, -0.08, 0.058, fill=DARK)
    pen.line([(-0.86, 0.1), (-0.76, 0.14), (-0.7, 0.1)], 0.022, DARK, end=0.01)
    for x, y, r in ((-1.02, -0.3, 0.05), (-0.94, -0.52, 0.035), (-1.06, -0.7, 0.06)):
        pen.oval(x, y, r, fill=WHITE, alpha=120)


def whale(pen: Pen, ink: Ink) -> None:
    """Draw a whale."""
    coat = ink.own((64, 106, 158))
    pen.blob([(0.5, 0.2), (0.76, -0.1), (0.64, -0.42), (0.84, -0.34), (0.92, -0.2), (1.02, -0.4),
              (1.1, -0.44), (1.04, -0.06), (0.84, 0.36)], coat)  # fmt: skip
    pen.blob([(-0.94, 0.1), (-0.8, -0.3), (-0.4, -0.46), (0.1, -0.36), (0.56, 0.06), (0.86, 0.14),
              (0.6, 0.5), (0.0, 0.66), (-0.6, 0.56)], coat)  # fmt: skip
    pen.blob([(-0.92, 0.16), (-0.5, 0.22), (0.0, 0.34), (0.4, 0.52), (0.0, 0.65), (-0.6, 0.55)],
             mix(coat, WHITE, 0.75))  # fmt: skip
    pen.blob([(-0.2, 0.4), (0.1, 0.42), (0.14, 0.8), (-0.06, 0.7)], mix(coat, DARK, 0.25))
    for k in range(4):
        pen.line([(-0.76 + k * 0.16, 0.3 + k * 0.04), (-0.6 + k * 0.16, 0.5 + k * 0.02)],
                 0.014, mix(coat, WHITE, 0.45))  # fmt: skip
    pen.oval(-0.62, 0.04, 0.045, fill=DARK)
    pen.oval(-0.605, 0.025, 0.016, fill=WHITE)
    for side in (-1, 1):
        pen.line([(-0.38, -0.46), (-0.38 + side * 0.06, -0.74), (-0.38 + side * 0.24, -0.82),
                  (-0.38 + side * 0.3, -0.68)], 0.07, (190, 226, 244), end=0.03)  # fmt: skip


def bird(pen: Pen, ink: Ink) -> None:
    """Draw a bird."""
    coat = ink.own((66, 138, 200))
    pen.blob([(0.4, 0.3), (0.96, 0.56), (1.0, 0.7), (0.6, 0.62), (0.3, 0.5)], mix(coat, DARK, 0.3))
    pen.line([(-0.02, 0.6), (-0.06, 0.98)], 0.04, (226, 150, 70))
    pen.line([(0.14, 0.6), (0.12, 0.98)], 0.04, (226, 150, 70))
    pen.blob([(-0.56, -0.3), (-0.3, -0.6), (0.04, -0.5), (0.22, -0.2), (0.56, 0.22), (0.4, 0.6),
              (0.0, 0.72), (-0.36, 0.5), (-0.5, 0.1)], coat)  # fmt: skip
    pen.blob([(-0.5, 0.0), (-0.3, -0.1), (-0.02, 0.2), (0.1, 0.64), (-0.06, 0.71), (-0.36, 0.5)],
             mix(ink.accent, WHITE, 0.25))  # fmt: skip
    pen.blob([(-0.06, 0.02), (0.24, 0.0), (0.7, 0.44), (0.3, 0.5), (0.06, 0.36)],
             mix(coat, DARK, 0.22))  # fmt: skip
    pen.poly([(-0.54, -0.36), (-0.84, -0.22), (-0.52, -0.16)], (246, 176, 66))
    pen.oval(-0.34, -0.32, 0.062, fill=WHITE)
    pen.oval(-0.345, -0.32, 0.042, fill=DARK)


def butterfly(pen: Pen, ink: Ink) -> None:
    """Draw a butterfly."""
    wing, spot = ink.body, ink.accent
    edge = mix(wing, DARK, 0.55)
    pen.twin(
        [(0.02, 0.0), (0.3, -0.7), (0.8, -0.84), (0.96, -0.5), (0.72, -0.06), (0.3, 0.1)], edge
    )
    pen.twin([(0.02, 0.04), (0.4, 0.08), (0.74, 0.3), (0.68, 0.7), (0.4, 0.76), (0.14, 0.4)], edge)
    pen.twin([(0.08, -0.06), (0.34, -0.6), (0.76, -0.74), (0.86, -0.5), (0.66, -0.14)], wing)
    pen.twin([(0.1, 0.1), (0.4, 0.15), (0.65, 0.33), (0.6, 0.62), (0.4, 0.66), (0.2, 0.4)],
             mix(wing, spot, 0.4))  # fmt: skip
    pen.ovals(0.62, -0.52, 0.13, fill=spot)
    pen.ovals(0.44, 0.42, 0.1, fill=mix(spot, WHITE, 0.4))
    pen.ovals(0.4, -0.26, 0.07, fill=mix(spot, WHITE, 0.4))
    pen.line([(0, -0.24), (0, 0.1), (0, 0.5)], 0.12, DARK, end=0.05)
    for side in (-1, 1):
        pen.line([(0, -0.24), (side * 0.1, -0.5), (side * 0.24, -0.62)], 0.025, DARK)


def horse(pen: Pen, ink: Ink) -> None:
    """Draw a horse."""
    coat = ink.own((138, 86, 58))
    mane = mix(coat, DARK, 0.6)
    pen.line([(0.62, 0.02), (0.86, 0.14), (0.88, 0.5), (0.8, 0.7)], 0.16, mane, end=0.04)
    for x, bend in ((-0.36, -0.04), (-0.18, 0.05), (0.36, -0.03), (0.52, 0.05)):
        pen.line([(x, 0.24), (x + bend, 0.6), (x, 0.92)], 0.17, mix(coat, DARK, 0.12), end=0.09)
        pen.line([(x - 0.03, 0.96), (x + 0.03, 0.96)], 0.1, mane)
    pen.blob([(-0.5, 0.0), (-0.2, -0.12), (0.3, -0.08), (0.62, -0.06), (0.72, 0.2), (0.5, 0.42),
              (0.0, 0.4), (-0.4, 0.38), (-0.54, 0.2)], coat)  # fmt: skip
    pen.blob([(-0.1, -0.06), (-0.36, -0.42), (-0.46, -0.7), (-0.62, -0.74), (-0.66, -0.4),
              (-0.6, -0.02), (-0.46, 0.24)], coat)  # fmt: skip
    pen.line([(-0.42, -0.76), (-0.3, -0.46), (-0.1, -0.14)], 0.14, mane, end=0.06)
    pen.poly([(-0.58, -0.7), (-0.54, -0.94), (-0.44, -0.7)], coat)
    pen.blob([(-0.48, -0.74), (-0.66, -0.76), (-0.86, -0.5), (-0.96, -0.32), (-0.86, -0.24),
              (-0.68, -0.36), (-0.5, -0.46)], coat)  # fmt: skip
    pen.blob(
        [(-0.86, -0.44), (-0.97, -0.32), (-0.86, -0.23), (-0.78, -0.32)], mix(coat, WHITE, 0.4)
    )
    pen.oval(-0.66, -0.6, 0.035, fill=DARK)


def person(pen: Pen, ink: Ink) -> None:
    """Draw head and shoulders of a person."""
    skin = (236, 186, 152) if len(ink.words) % 2 else (168, 112, 84)
    hair = mix(mix(DARK, (120, 70, 40), 0.3), ink.coat, ink.share * 0.8)
    pen.blob([(0, -0.95), (0.42, -0.84), (0.54, -0.4), (0.56, 0.3), (0.3, 0.44), (-0.3, 0.44),
              (-0.56, 0.3), (-0.54, -0.4), (-0.42, -0.84)], hair)  # fmt: skip
    pen.blob([(-0.16, 0.2), (0.16, 0.2), (0.5, 0.48), (0.84, 0.66), (0.98, 1.3), (-0.98, 1.3),
              (-0.84, 0.66), (-0.5, 0.48)], ink.body)  # fmt: skip
    pen.blob([(-0.17, 0.0), (0.17, 0.0), (0.18, 0.4), (0, 0.58), (-0.18, 0.4)],
             mix(skin, DARK, 0.14))  # fmt: skip
    pen.blob([(0, -0.74), (0.32, -0.62), (0.38, -0.26), (0.28, 0.06), (0, 0.24), (-0.28, 0.06),
              (-0.38, -0.26), (-0.32, -0.62)], skin)  # fmt: skip
    pen.blob([(-0.4, -0.2), (-0.42, -0.7), (0, -0.92), (0.42, -0.7), (0.4, -0.2), (0.3, -0.48),
              (-0.08, -0.62), (-0.28, -0.46)], hair)  # fmt: skip
    _eyes(pen, 0.15, -0.24, 0.042)
    for side in (-1, 1):
        pen.line([(side * 0.08, -0.35), (side * 0.16, -0.38), (side * 0.23, -0.35)], 0.026, hair)
    pen.ovals(0.22, -0.06, 0.07, 0.045, fill=mix(skin, ROSE, 0.6))
    pen.line([(0.01, -0.2), (-0.03, -0.06), (0.03, -0.05)], 0.016, mix(skin, DARK, 0.35))
    pen.line([(-0.1, 0.07), (0, 0.11), (0.1, 0.07)], 0.04, (196, 74, 78), end=0.02)
