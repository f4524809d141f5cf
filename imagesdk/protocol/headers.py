"""Read what a server says about time and limits, in headers and in the text of its errors.

Everything that comes from outside is bounded: negative, infinite, absurd or unreadable values count
as not said. An HTTP date is read against the answer's own Date header, so that a wrong clock on
either side does not matter.

Forms seen: ``retry-after-ms: 467`` · ``retry-after: 12`` or an HTTP date
(https://www.rfc-editor.org/rfc/rfc9110#name-retry-after) · "Please try again in 12s", "after 51.84
seconds" in the message · ``x-ratelimit-reset-images: 6m0s``, ``20ms`` or ``12``. The forms of a
limit are at `rate_limit_info`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

import attrs

__all__ = (
    "Dimension",
    "RateLimitInfo",
    "parse_duration",
    "rate_limit_info",
    "retry_after",
    "should_retry",
)

Dimension: TypeAlias = Literal["images", "requests", "input_images"]
"""What a limit counts: images that are made, HTTP requests, reference images that are sent."""

_LONGEST = 366 * 86_400.0
"""Seconds; a longer wait is a mistake or a joke."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_IN_TEXT = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+"
    r"(?:(?P<compact>(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)\b"
    r"|(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>milliseconds?|seconds?|minutes?|hours?|days?))",
    re.IGNORECASE | re.ASCII,  # without ASCII, the long s of old German print is an s
)
_WORDS = {"milli": 0.001, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_MINUTES = frozenset({"min", "mins", "minute", "minutes"})
_LONGEST_WINDOW_MINUTES = 60.0
"""A limit of more minutes than this says nothing about one of them: a day's may be used up at once."""

# What a limit counts, "images per min", and the limit, "Limit: 5/1min" or "Limit 4,000, Used". Every
# repetition has a bound, so that 64 KiB of anything are read in linear time.
_SAID = re.compile(
    r"\bper\s{1,3}(?P<period>sec(?:ond)?|min(?:ute)?|hour|day|week|month)\b"
    r"|\blimit(?::\s{0,3}|\s{1,3})(?P<limit>\d[\d,]{0,15})(?!\.?\w)"
    r"(?:\s{0,3}/\s{0,3}(?P<minutes>\d{0,4})\s{0,3}(?P<unit>[a-z]{1,9})\b|(?!\s{0,3}/))",
    re.IGNORECASE | re.ASCII,
)
_MOST_A_MINUTE = 1_000_000.0
"""A limit above this is a mistake or a joke."""

_NOUN_CHARS = 40
"""Characters before "per" in which the noun is looked for."""


@attrs.frozen(kw_only=True)
class RateLimitInfo:
    """What an answer says about the limit, None where it says nothing.

    Attributes:
        limit: So many a minute; None also for a limit that is none of a minute or that is none of ours.
        remaining: Images that are left now.
        reset: Seconds until the limit in images is whole again.
        dimension: What *limit* counts, None without a limit.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    dimension: Dimension | None = None


_NOTHING = RateLimitInfo()
_SAYS_SOMETHING = frozenset(
    f"x-ratelimit-{what}-images" for what in ("limit", "remaining", "reset")
)


def _seconds(value: float) -> float | None:
    return value if math.isfinite(value) and 0 <= value <= _LONGEST else None


def _number(text: str | None, divisor: float = 1.0) -> float | None:
    try:
        return _seconds(float(text) / divisor) if text is not None else None
    except ValueError:
        return None


def parse_duration(text: str | None) -> float | None:
    """Return the seconds of ``"12"``, ``"1.5s"``, ``"6m0s"`` or ``"20ms"``, None if it is neither."""
    if text is None:
        return None
    text = text.strip()
    if _DURATION.fullmatch(text):
        return _seconds(sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
    return _number(text)


def retry_after(headers: Mapping[str, str], message: str = "") -> float | None:
    """Return the seconds that the server asks to wait, None if it does not say.

    Args:
        headers: Names in lower case.
        message: The error's text.
    """
    for value in (
        _number(headers.get("retry-after-ms"), 1000.0),
        _retry_after_header(headers),
        _from_text(message),
        parse_duration(headers.get("x-ratelimit-reset-images")),
    ):
        if value is not None:
            return value
    return None


def _retry_after_header(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    then, now = _http_date(text), _http_date(headers.get("date", ""))
    if then is None or now is None:
        return None
    return _seconds(max(0.0, (then - now).total_seconds()))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None


def _from_text(message: str) -> float | None:
    match = _IN_TEXT.search(message)
    if match is None:
        return None
    if match["compact"]:
        return parse_duration(match["compact"].lower())
    unit = next(
        seconds for word, seconds in _WORDS.items() if match["unit"].lower().startswith(word)
    )
    return _seconds(float(match["number"]) * unit)


def rate_limit_info(headers: Mapping[str, str], message: str = "") -> RateLimitInfo:
    """Return what an answer says about the limit, and what that limit counts.

    Forms seen (read 2026-11-20):

    - "Rate limit exceeded for images per minute in organization org-x. Limit: 5/1min. Current: 6/1min"
      (2023 to 2025: https://community.openai.com/t/1104758); without a noun it counts images
    - "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-x on input-images
      per min: Limit 4000, Used 4000, Requested 3. Please try again in 467ms." (2026)
    - "... on requests per min (RPM): Limit 3, Used 3, Requested 1", "... on requests per min. Limit:
      3 / min. Current: 4 / min."
    - "... on tokens per min (TPM): Limit 30000", "... on requests per day (RPD): Limit 200": not
      ours, or not a minute's

    The limit in the text was the one that refused, so it outranks the header: users saw a header of
    50 while the text said 5 (https://community.openai.com/t/542791). That holds where it is not ours,
    too: then nothing is known about a limit of ours.

    Args:
        headers: Names in lower case.
        message: The error's text, which often names the limit where the headers do not.
    """
    if not message and _SAYS_SOMETHING.isdisjoint(headers):
        return _NOTHING
    said = _limit_in_text(message)
    limit, dimension = said or _limit(headers.get("x-ratelimit-limit-images"), "images")
    return RateLimitInfo(
        limit=limit,
        remaining=_number(headers.get("x-ratelimit-remaining-images")),
        reset=parse_duration(headers.get("x-ratelimit-reset-images")),
        dimension=dimension,
    )


_Limit: TypeAlias = tuple[float, Dimension] | tuple[None, None]
_NOT_OURS: _Limit = (None, None)


def _limit(text: str | None, dimension: Dimension, minutes: float = 1.0) -> _Limit:
    number = _number(text, max(1.0, minutes))
    return (number, dimension) if number is not None and number <= _MOST_A_MINUTE else _NOT_OURS


def _limit_in_text(message: str) -> _Limit | None:
    """Return the first limit that a text names and what it counts; None if it names none."""
    ours: bool | None = None  # None: no noun so far
    dimension: Dimension | None = None
    for match in _SAID.finditer(message):
        if match["period"] is not None:
            dimension = _noun(message[max(0, match.start() - _NOUN_CHARS) : match.start()])
            ours = dimension is not None and match["period"].lower() in _MINUTES
            continue
        unit, minutes = match["unit"], float(match["minutes"] or 1)
        if ours is None and unit is None:  # "limit 5" may be anything
            continue
        long = minutes > _LONGEST_WINDOW_MINUTES
        if ours is False or long or (unit is not None and unit.lower() not in _MINUTES):
            return _NOT_OURS
        return _limit(match["limit"].replace(",", ""), dimension or "images", minutes)
    return None


def _noun(text: str) -> Dimension | None:
    """Return what is counted by the words that stand before "per"."""
    match text.lower().replace("-", " ").replace("_", " ").split():
        case [*_, "input", "image" | "images"]:
            return "input_images"
        case [*_, "image" | "images"]:
            return "images"
        case [*_, "request" | "requests"]:
            return "requests"
        case _:
            return None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return the server's own word on whether to send again, None if it does not say."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
