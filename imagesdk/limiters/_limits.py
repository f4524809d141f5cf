"""The limit in use: what was configured, what the server names, and what its refusals teach.

Three sources, and the lowest counts. The *configured* limit. The limit that the server *named*, in a refusal
or in the headers of an answer, which ``adopt="auto"`` follows in both directions. And the *learned* one: when
the server refuses a request that should have fitted, and does not name another limit, somebody else
uses the key or the limit is lower than anybody says. Then what got through during the last period is
what can get through, and from there the limit climbs back by 10 % a minute: additive increase would
take hours at 500 a minute, and a step a period costs at most one refusal a period.

A header is news only when it changes, and the first one only if no refusal named a limit before: a server whose headers say 50 while it refuses the sixth image has been
seen (https://community.openai.com/t/542791, read 2026-11-20), so a refusal outranks them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.limiters._schedule import JITTER, Cost, Dimension, Window, whole_limit

__all__ = ("Adopt", "LimitInUse", "Settings")

Adopt: TypeAlias = Literal["down", "auto", "never"]

_GROWTH = 1.1
"""Factor by which a learned limit climbs back in each period."""
_PERIOD = 60.0
_MOST_PERIODS = 1000
"""After so many the climb ends, before numbers do; only a limit without a ceiling climbs so far."""


@attrs.define(eq=False)
class LimitInUse:
    """One limit a minute.

    Attributes:
        configured: Per minute, None for none.
        adopt: ``"down"``: a lower limit that the server names is adopted; ``"auto"``: any; ``"never"``.
        named: What the server named and is followed, None without.
    """

    configured: float | None
    adopt: Adopt = "down"
    named: float | None = attrs.field(default=None, init=False)
    _header: float | None = attrs.field(default=None, init=False)
    _refused: bool = attrs.field(default=False, init=False)
    _learned: float = attrs.field(default=math.inf, init=False)
    _learned_at: float = attrs.field(default=0.0, init=False)

    def at(self, now: float) -> float | None:
        """Return the limit a minute at *now*, None for none."""
        ceiling = self.ceiling
        if self._learned == math.inf:
            return ceiling
        periods = min((now - self._learned_at) // _PERIOD, _MOST_PERIODS)
        climbed: float = self._learned * _GROWTH**periods
        if ceiling is None or climbed < ceiling:
            return max(1.0, float(int(climbed)))
        self._learned = math.inf
        return ceiling

    @property
    def learns(self) -> bool:
        """True while a learned limit is in force."""
        return self._learned < math.inf

    def hear(self, limit: float | None, *, refused: bool) -> bool:
        """Take note of what an answer names; return True if the limit changed."""
        if limit is None or limit <= 0 or self.adopt == "never":
            return False
        if not refused:
            known, self._header = self._header, limit
            if limit == known or (known is None and self._refused):
                return False
        self._refused = self._refused or refused
        before = self.ceiling
        self.named = limit
        return self.ceiling != before

    def lower(self, limit: float, now: float) -> None:
        """Learn that no more than *limit* gets through now."""
        self._learned, self._learned_at = max(1.0, limit), now

    @property
    def ceiling(self) -> float | None:
        """What was configured or named."""
        if self.named is None or self.adopt == "never":
            return self.configured
        if self.adopt == "auto" or self.configured is None:
            return self.named
        return min(self.named, self.configured)


def _number(name: str, value: float | None, *, why: str = "") -> None:
    """Refuse what is no number above 0."""
    if value is None:
        return
    try:
        usable = 0 < value < math.inf
    except TypeError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{name} is {value!r}; it must be a number above 0{why}")


def _as_windows(windows: Iterable[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Return *windows* checked: pairs of images and seconds."""
    return tuple(_as_window(window) for window in windows)


def _as_window(window: tuple[int, float]) -> tuple[int, float]:
    try:
        images, seconds = int(window[0]), float(window[1])
        usable = images == window[0] and images >= 1 and 0 < seconds < math.inf
    except (TypeError, ValueError, OverflowError, LookupError):
        images, seconds, usable = 0, 0.0, False
    if not usable:
        raise ConfigurationError(
            f"windows has {window!r}; each must be (images, seconds), as in "
            "((20, 60), (50, 300)) for 20 a minute and 50 in five minutes"
        )
    return images, seconds


@attrs.frozen(kw_only=True)
class Settings:
    """What a limiter was told, checked; see `imagesdk.ImageLimiter` for the fields."""

    images_per_minute: float | None
    burst: int | None = None
    requests_per_minute: float | None = None
    input_images_per_minute: float | None = None
    windows: tuple[tuple[int, float], ...] = attrs.field(default=(), converter=_as_windows)
    adopt: Adopt = "down"
    max_pause: float = 300.0
    jitter: float = JITTER

    def __attrs_post_init__(self) -> None:
        if self.images_per_minute is None and not self.windows:
            raise ConfigurationError(
                "a limiter needs a limit: give images_per_minute or windows; for no limit, pass "
                "images_per_minute=None to ImageSession"
            )
        _number(
            "images_per_minute",
            self.images_per_minute,
            why=": pass None to ImageSession for no limit",
        )
        _number("requests_per_minute", self.requests_per_minute)
        _number("input_images_per_minute", self.input_images_per_minute)
        limits = [images for images, _ in self.windows]
        if self.images_per_minute is not None:
            limits.append(whole_limit(self.images_per_minute)[0])
        most = min(limits)
        burst: Any = self.burst
        if burst is not None and not (isinstance(burst, int) and 1 <= burst <= most):
            raise ConfigurationError(
                f"burst is {self.burst!r}; it must be from 1 to the limit, {most}"
            )
        if self.adopt not in ("down", "auto", "never"):
            raise ConfigurationError(
                f"adopt is {self.adopt!r}; it must be 'down', 'auto' or 'never'"
            )
        for name in ("max_pause", "jitter"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more seconds")

    def cost(self, images: int, input_images: int) -> Cost:
        """Return what a call uses up.

        Raises:
            ConfigurationError: It can never be admitted.
        """
        if images < 1:
            raise ConfigurationError(f"a call asks for {images} images; it must be 1 or more")
        most = self.input_images_per_minute
        if most is not None and input_images > whole_limit(most)[0]:
            raise ConfigurationError(
                f"a call with {input_images} input images can never be admitted: the limiter takes "
                f"{most:g} a minute. Send fewer in one call, or raise input_images_per_minute"
            )
        return Cost(images, 1, input_images)

    def further_windows(self) -> list[Window]:
        """Return the windows that no answer of the server changes."""
        return [Window("images", images, seconds, self.jitter) for images, seconds in self.windows]

    def limits(self) -> dict[Dimension, LimitInUse]:
        """Return the limits a minute that the server's word may change."""
        return {
            "images": LimitInUse(self.images_per_minute, self.adopt),
            "requests": LimitInUse(self.requests_per_minute, self.adopt),
            "input_images": LimitInUse(self.input_images_per_minute, self.adopt),
        }
