"""Find what the emulator's painter can draw in the words of a prompt."""

from __future__ import annotations

import colorsys
import hashlib
import random
import re
from typing import NamedTuple

from imagesdk.emulator import _scenes, _subjects
from imagesdk.emulator._canvas import Color, Ink, mix
from imagesdk.emulator._looks import PLAIN, Look

__all__ = ("Brief", "ink_of", "palette_of", "read", "seeded")

_READ_CHARS = 4000  # of a prompt; what follows changes the random numbers only
_COLORS: dict[str, Color] = {
    "red": (214, 62, 56), "crimson": (178, 34, 58), "orange": (242, 140, 54),
    "yellow": (248, 206, 74), "gold": (226, 178, 70), "golden": (226, 178, 70),
    "green": (86, 156, 98), "teal": (44, 142, 140), "turquoise": (72, 190, 186),
    "blue": (62, 112, 196), "navy": (38, 54, 106), "purple": (132, 84, 176),
    "violet": (142, 98, 200), "pink": (244, 138, 168), "magenta": (206, 66, 148),
    "white": (255, 255, 255), "black": (56, 52, 62), "gray": (146, 148, 156),
    "grey": (146, 148, 156), "silver": (190, 196, 204), "brown": (136, 92, 66),
    "beige": (226, 206, 176), "ginger": (222, 128, 60),
    "红": (214, 62, 56), "黄": (248, 206, 74), "绿": (86, 156, 98), "蓝": (62, 112, 196),
    "白": (255, 255, 255), "黑": (56, 52, 62), "粉": (244, 138, 168), "紫": (132, 84, 176),
}  # fmt: skip
_TIMES: dict[str, str] = {
    "night": "night", "midnight": "night", "moonlit": "night", "starry": "night", "stars": "night",
    "moonlight": "night", "dark": "night", "夜": "night", "neon": "night",
    "sunset": "sunset", "sunrise": "sunset", "dusk": "sunset", "dawn": "sunset", "日落": "sunset",
}  # fmt: skip


class Brief(NamedTuple):
    """What the word lists found in a prompt.

    Attributes:
        words: Lower-case words.
        subjects: Names of subjects in the order of the prompt, without wearables if there are others.
        worn: Wearables ("beret") for the subjects.
        place: Name of a scene, or None.
        time: ``day``, ``sunset`` or ``night``.
        colors: Colours in the order of the prompt.
        mood: Number from the prompt's hash; the palette of index 0.
    """

    words: frozenset[str]
    subjects: tuple[str, ...]
    worn: tuple[str, ...]
    place: str | None
    time: str
    colors: tuple[Color, ...]
    mood: int


def seeded(key: str | bytes, index: int) -> random.Random:
    """Return random numbers that depend on *key* and *index* only."""
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    digest = hashlib.blake2b(data, digest_size=16, salt=index.to_bytes(8, "big", signed=True))
    return random.Random(int.from_bytes(digest.digest(), "big"))  # noqa: S311 - a picture


def read(prompt: str) -> Brief:
    """Find the known words of *prompt*."""
    text = prompt[:_READ_CHARS].casefold()
    found = re.findall(r"[a-z]+", text)
    if not text.isascii():
        # Chinese has no spaces: look for the known words anywhere, in the order of the text.
        known = {*_subjects.WORDS, *_scenes.WORDS, *_COLORS, *_TIMES, "暹罗", "熊猫"}
        spots = [(text.find(word), word) for word in known if not word.isascii() and word in text]
        found += [word for _, word in sorted(spots)]
    named = [_subjects.WORDS[word] for word in found if word in _subjects.WORDS]
    things = tuple(dict.fromkeys(name for name in named if name not in _subjects.WEARABLE))
    worn = tuple(dict.fromkeys(name for name in named if name in _subjects.WEARABLE))
    if "person" in things and len(things) > 1:  # "a portrait of a cat"
        things = tuple(name for name in things if name != "person")
    places = [_scenes.WORDS[word] for word in found if word in _scenes.WORDS]
    places.sort(key=lambda name: name == "room")
    return Brief(
        words=frozenset(found),
        subjects=things,
        worn=worn,
        place=places[0] if places else None,
        time=next((_TIMES[word] for word in found if word in _TIMES), "day"),
        colors=tuple(dict.fromkeys(_COLORS[word] for word in found if word in _COLORS)),
        mood=seeded(prompt, 0).randrange(1000),
    )


def _turned(color: Color, share: float) -> Color:
    """Return *color* with its hue turned by *share* (0..1) of the circle."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(v / 255 for v in color))
    red, green, blue = colorsys.hls_to_rgb((hue + share) % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def palette_of(brief: Brief, index: int) -> _scenes.Palette:
    """Choose a palette: by the time of day, another one for every index, with named colours."""
    choices = _scenes.PALETTES[brief.time]
    palette = choices[(index + brief.mood) % len(choices)]
    if turn := index // len(choices):
        palette = _scenes.Palette(*(_turned(tone, 0.13 * turn) for tone in palette))
    if brief.colors:
        palette = palette._replace(body=brief.colors[0])
    if len(brief.colors) > 1:
        palette = palette._replace(accent=brief.colors[1])
    if brief.colors and not brief.subjects:
        color = brief.colors[0]
        palette = palette._replace(
            high=mix(palette.high, color, 0.5),
            low=mix(palette.low, color, 0.35),
            far=mix(palette.far, color, 0.5),
            mid=mix(palette.mid, color, 0.5),
            near=mix(palette.near, color, 0.4),
            body=color,
        )
    return palette


def ink_of(brief: Brief, palette: _scenes.Palette, number: int = 0, *, look: Look = PLAIN) -> Ink:
    """Return the colours for subject *number*, with the coat of *look* if none is named."""
    named = len(brief.colors) > number
    body = brief.colors[number] if named else palette.body
    return Ink(body, palette.accent, brief.words, named, look.coat, look.share)
