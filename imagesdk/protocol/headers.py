"""Read what a server says about time and limits, in headers and in the text of its errors.

Everything that comes from outside is bounded: negative, infinite, absurd or unreadable values count
as not said. An HTTP date is read against the answer's own Date header, so that a wrong clock on
either side does not matter.

Forms seen: ``retry-after-ms: 467`` · ``retry-after: 12`` or an HTTP date
(https://www.rfc-editor.org/rfc/rfc9110#name-retry-after) · "Please try again in 12s", "after 51.84
seconds" in the message · ``x-ratelimit-reset-images: 6m0s``, ``20ms`` or ``12``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import attrs

__all__ = ("RateLimitInfo", "parse_duration", "rate_limit_info", "retry_after", "should_retry")

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
# "Limit: 5/1min. Current: 6/1min" (2023 to 2025) and "on images per min: Limit 5, Used 5" (2026)
_LIMIT_A_MINUTE = re.compile(r"\bLimit:\s*(\d+)\s*/\s*(\d*)\s*min", re.IGNORECASE)
_LIMIT_USED = re.compile(r"images per min\w*[^.]*?\bLimit:?\s+(\d+)\b(?!\s*/)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class RateLimitInfo:
    """What an answer says about the limit, None where it says nothing.

    Attributes:
        limit: Images a minute.
        remaining: Images that are left now.
        reset: Seconds until the limit is whole again.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


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
    """Return what an answer says about the limit in images.

    Args:
        headers: Names in lower case.
        message: The error's text, which often names the limit where the headers do not.
    """
    limit = _number(headers.get("x-ratelimit-limit-images"))
    if limit is None:
        limit = _limit_in_text(message)
    return RateLimitInfo(
        limit=limit,
        remaining=_number(headers.get("x-ratelimit-remaining-images")),
        reset=parse_duration(headers.get("x-ratelimit-reset-images")),
    )


def _limit_in_text(message: str) -> float | None:
    if match := _LIMIT_A_MINUTE.search(message):
        limit, minutes = _number(match[1]), _number(match[2] or "1")
        return None if limit is None or minutes is None else limit / max(1.0, minutes)
    if match := _LIMIT_USED.search(message):
        return _number(match[1])
    return None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return the server's own word on whether to send again, None if it does not say."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
