"""From an aspect ratio to a size that a model takes.

Among the sizes near the wanted number of pixels the one whose ratio is nearest wins, and among those
the one whose number of pixels is nearest. Ratios and pixels are compared by their logarithms: twice as
wide is as far off as half as wide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TypeAlias

from imagesdk.errors import InvalidRequestError
from imagesdk.models.families import SizeRule
from imagesdk.models.profiles import family_of
from imagesdk.models.servers import profile_named

__all__ = ("AspectRatio", "size_for")

AspectRatio: TypeAlias = str | float | tuple[float, float]
"""Width to height: ``"16:9"``, ``(16, 9)``, ``16 / 9``."""

_RATIO = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[:/x]\s*(\d+(?:\.\d+)?)\s*", re.ASCII)
_PIXELS = 1024 * 1024
_NEAR = math.log(1.25)
"""How far the pixels may be off for the sake of the ratio."""
_ANY = SizeRule(names=(), multiple_px=16, max_edge_px=8192, max_pixels=8192**2, max_ratio=math.inf)
"""For a model whose rule is not known: what most of them can do."""


def size_for(
    ratio: AspectRatio,
    *,
    model: str | None = None,
    pixels: int | None = None,
    long_edge: int | None = None,
) -> str:
    """Return the size for an aspect ratio, as ``size=`` takes it.

    Models that take any size (GPT Image 2 and later) get width and height in multiples of 16, with up
    to 25 % more or fewer pixels than wanted if that makes the ratio right. Models with a few fixed
    sizes get the nearest of them, which may be far from the ratio: crop the result, for example with
    `imagesdk.prepare.resize`.

    Args:
        ratio: Width to height: ``"16:9"``, ``(16, 9)`` or ``16 / 9``; above 0.
        model: As the session takes it; None for the classic API.
        pixels: Wanted width x height; None for 1,048,576, as many as 1024x1024 has.
        long_edge: Wanted longest edge in pixels, instead of *pixels*; rounded down to what the model
            takes.

    Returns:
        ``"<width>x<height>"``.

    Raises:
        InvalidRequestError: It is no ratio; or the model takes no such ratio, pixels or edge.

    Example:
        >>> from imagesdk import size_for
        >>> size_for("16:9", model="gpt-image-2")
        '1280x720'
        >>> size_for("16:9", model="gpt-image-2", long_edge=2560)
        '2560x1440'
        >>> size_for("16:9", model="gpt-image-1")
        '1536x1024'
    """
    wanted = _number(ratio)
    if pixels is not None and long_edge is not None:
        raise _error("long_edge", long_edge, "left out with pixels=", "name one of the two")
    for name, number in (("pixels", pixels), ("long_edge", long_edge)):
        if number is not None and number < 1:
            raise _error(name, number, "1 or more", "in pixels")
    family = family_of(model, profile_named("classic"))
    rule = family.size or _ANY
    if rule.multiple_px is None:
        return _nearest_name(rule, wanted, pixels, long_edge)
    if max(wanted, 1 / wanted) > rule.max_ratio:
        limit = f"from 1:{rule.max_ratio:g} to {rule.max_ratio:g}:1"
        raise _error("ratio", ratio, limit, f"a limit of {family.name}")
    if long_edge is not None:
        sizes = _with_edge(rule, wanted, long_edge)
    else:
        sizes = _with_pixels(rule, wanted, pixels or _PIXELS)
    found = min(sizes, default=None)
    if found is None:
        name = "pixels" if long_edge is None else "long_edge"
        given = pixels if long_edge is None else long_edge
        limit = (
            f"a number for which {family.name} has a size: {rule.min_pixels:,} to "
            f"{rule.max_pixels:,} pixels, edges up to {rule.max_edge_px:,}"
        )
        raise _error(name, given, limit, "leave it out for about 1024x1024")
    return f"{found[2]}x{found[3]}"


def _number(ratio: AspectRatio) -> float:
    """Return width over height."""
    width, height = 0.0, 1.0
    if isinstance(ratio, str):
        if match := _RATIO.fullmatch(ratio):
            width, height = float(match[1]), float(match[2])
    elif isinstance(ratio, tuple):
        width, height = ratio
    else:
        width = ratio
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise _error("ratio", ratio, "above 0, like '16:9', (16, 9) or 1.78", "width to height")
    return width / height


def _nearest_name(rule: SizeRule, wanted: float, pixels: int | None, long_edge: int | None) -> str:
    def off(name: str) -> tuple[float, float]:
        width, height = map(int, name.split("x"))
        if long_edge is not None:
            return _off(width / height, wanted), _off(max(width, height), long_edge)
        size = -width * height if pixels is None else _off(width * height, pixels)
        return _off(width / height, wanted), size

    return min((name for name in rule.names if "x" in name), key=off)


def _with_pixels(
    rule: SizeRule, wanted: float, pixels: int
) -> Iterator[tuple[float, float, int, int]]:
    """Yield how far the ratio and the pixels of each near size are off, and the size."""
    step = rule.multiple_px or 1
    for width in range(step, rule.max_edge_px + 1, step):
        for height in _near(width / wanted, step):
            if not _takes(rule, width, height):
                continue
            off = _off(width * height, pixels)
            if off <= _NEAR:
                yield _off(width / height, wanted), off, width, height


def _with_edge(
    rule: SizeRule, wanted: float, long_edge: int
) -> Iterator[tuple[float, float, int, int]]:
    """Yield the sizes whose longest edge is *long_edge*, or the next smaller one."""
    step = rule.multiple_px or 1
    longest = long_edge // step * step
    for short in _near(longest / max(wanted, 1 / wanted), step):
        width, height = (longest, short) if wanted >= 1 else (short, longest)
        if short <= longest and _takes(rule, width, height):
            yield _off(width / height, wanted), 0.0, width, height


def _near(length: float, step: int) -> tuple[int, int]:
    """Return the multiples of *step* on both sides of a length."""
    below = int(length) // step * step
    return below, below + step


def _takes(rule: SizeRule, width: int, height: int) -> bool:
    return (
        min(width, height) > 0
        and max(width, height) <= rule.max_edge_px
        and rule.min_pixels <= width * height <= rule.max_pixels
        and max(width, height) <= rule.max_ratio * min(width, height)
    )


def _off(value: float, wanted: float) -> float:
    return abs(math.log(value / wanted))


def _error(field: str, value: object, limit: str, advice: str) -> InvalidRequestError:
    message = f"{field} is {value!r}; it must be {limit} ({advice})"
    return InvalidRequestError(message, field=field, value=value, limit=limit, problems=(message,))
