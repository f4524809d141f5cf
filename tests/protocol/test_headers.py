from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.protocol.headers import (
    RateLimitInfo,
    parse_duration,
    rate_limit_info,
    retry_after,
    should_retry,
)

DATE = "Fri, 20 Nov 2026 12:00:00 GMT"
YEAR = 366 * 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("12", 12.0),
        ("1.5s", 1.5),
        ("0", 0.0),
        ("0s", 0.0),
        ("1h2m3s4ms", 3723.004),
        ("2d", 172_800.0),
        (" 12 ", 12.0),
        ("0.25", 0.25),
        ("366d", YEAR),
        ("366d1s", None),
        ("-1", None),
        ("-1s", None),
        ("nan", None),
        ("inf", None),
        ("1e99", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("12 s", None),
        ("1s or so", None),
        ("s", None),
        ("1.s", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    """A duration is a number or number-unit pairs; all else, and the absurd, counts as not said."""
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


# The Retry-After header -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0),
        ("12", 12.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("51.84", 51.84),
        (" 7 ", 7.0),
        ("54749", 54_749.0),
        (str(YEAR), YEAR),
        (str(YEAR + 1), None),
        ("99999999999", None),
        ("9" * 400, None),
        ("-1", None),
        ("-0.001", None),
        ("nan", None),
        ("NaN", None),
        ("inf", None),
        ("-inf", None),
        ("1e400", None),
        ("soon", None),
        ("12s", None),
        ("1,5", None),
        ("", None),
        (" ", None),
    ],
)
def test_retry_after_seconds(text: str, seconds: float | None) -> None:
    """Seconds count if they are finite, not negative and not absurd."""
    assert retry_after({"retry-after": text}) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Fri, 20 Nov 2026 12:00:02 GMT", 2.0),
        ("Fri, 20 Nov 2026 12:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2026 13:00:00 +0100", 0.0),
        ("Sat, 21 Nov 2026 12:00:00 GMT", 86_400.0),
        ("Fri, 20 Nov 2026 11:59:59 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Friday, 20-Nov-26 12:00:05 GMT", 5.0),
        ("Sun, 20 Nov 2033 12:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 20 Nov 99999 12:00:00 GMT", None),
        ("Fri, 40 Nov 2026 12:00:00 GMT", None),
        ("Fri, 20 Nov 2026 12:00:02 -0000", None),
        ("Fri, 20 Nov 2026 12:00:02 +9999999999999999999999", None),
        ("Fri, 20 Nov 2026 99999999999999999999:00:00 GMT", None),
        ("Fri, 99999999999999999999 Nov 2026 12:00:00 GMT", None),
        ("Fri, 20 Nov", None),
        ("2026-11-20T12:00:02Z", None),
    ],
)
def test_retry_after_date(text: str, seconds: float | None) -> None:
    """A date is read against the answer's own Date header, and one that has passed means now."""
    assert retry_after({"retry-after": text, "date": DATE}) == seconds


@settings(deadline=None, max_examples=100)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),  # noqa: DTZ001
    st.integers(-(10**6), YEAR + 10),
)
def test_retry_after_any_date(moment: datetime, wait: int) -> None:
    """Whatever the server's clock says, what counts is the difference of its two dates."""
    now = moment.replace(tzinfo=UTC, microsecond=0)
    headers = {
        "date": format_datetime(now, usegmt=True),
        "retry-after": format_datetime(now + timedelta(seconds=wait), usegmt=True),
    }
    assert retry_after(headers) == (max(0.0, wait) if wait <= YEAR else None)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 20 Nov 2026 12:00:00 -0000"])
def test_retry_after_date_without_a_date(date: str | None) -> None:
    """Without a Date header that can be read, a date says nothing: our clock may be wrong."""
    headers = {"retry-after": "Fri, 20 Nov 2026 12:00:02 GMT"}
    assert retry_after(headers if date is None else headers | {"date": date}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("467", 0.467),
        ("300", 0.3),
        ("0", 0.0),
        ("1500.5", 1.5005),
        ("86400000", 86_400.0),
        (str(YEAR * 1000), YEAR),
        (str(YEAR * 1000 + 1), None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("467ms", None),
        ("", None),
    ],
)
def test_retry_after_ms(text: str, seconds: float | None) -> None:
    """Milliseconds have the same bounds as seconds: a day of them is a day."""
    assert retry_after({"retry-after-ms": text}) == seconds


# The text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 12s. Visit https://…", 12.0),
        ("Please try again in 12s", 12.0),
        ("Limit 4000, Used 4000. Please try again in 467ms.", 0.467),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1.2s.", 1.2),
        ("please slow down and try again after 51.84 seconds.", 51.84),
        ("Please retry after 86400 seconds.", 86_400.0),
        ("PLEASE TRY AGAIN IN 12S.", 12.0),
        ("Please retry after 1 second.", 1.0),
        ("try again in 5 minutes", 300.0),
        ("try again in 1 hour", 3600.0),
        ("retry in 2 days", 172_800.0),
        ("retry in 250 milliseconds", 0.25),
        ("retry in 5minutes", 300.0),
        ("try again in 1h30m", 5400.0),
        ("try again\nin  3s", 3.0),
        ("try again in 1d2h", 93_600.0),
        ("Please try again in " + "9" * 400 + " seconds", None),
        ("Please try again in " + "9" * 400 + "s", None),
        ("Please try again in 400 days", None),
        ("Please try again in 400d", None),
        ("Please try again in -5 seconds", None),
        ("Please try again in 5 parsecs", None),
        ("Please try again in 5 \u017feconds", None),
        ("Please try again in 5\u017f", None),
        ("Please try again later", None),
        ("Please try again in a few seconds", None),
        ("I waited 12s", None),
        ("", None),
    ],
)
def test_retry_after_in_the_text(message: str, seconds: float | None) -> None:
    """The wait is found in the server's sentence where it is the only source of it."""
    assert retry_after({}, message) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("12", 12.0), ("soon", None), ("-1s", None)],
)
def test_retry_after_from_reset(text: str, seconds: float | None) -> None:
    """The time until the images' limit is whole again is the last source of a wait."""
    assert retry_after({"x-ratelimit-reset-images": text}) == seconds
    assert retry_after({"x-ratelimit-reset-tokens": text}) is None


def test_precedence() -> None:
    """Milliseconds win over Retry-After, that over the text, that over the reset header."""
    headers = {"retry-after-ms": "1000", "retry-after": "2", "x-ratelimit-reset-images": "4s"}
    message = "Please try again in 3s."
    found = []
    for name in ("retry-after-ms", "retry-after", None):
        found.append(retry_after(headers, message))
        headers.pop(name or "", None)
    assert [*found, retry_after(headers), retry_after({})] == [1.0, 2.0, 3.0, 4.0, None]


@pytest.mark.parametrize("nonsense", ["-1", "nan", "inf", "soon", "", "99999999999999"])
def test_nonsense_gives_way(nonsense: str) -> None:
    """A source that says nonsense is passed over for the next one."""
    headers = {"retry-after-ms": nonsense, "retry-after": nonsense}
    assert retry_after(headers, "Please try again in 3s.") == 3.0
    assert retry_after({**headers, "retry-after": "2"}) == 2.0
    headers["x-ratelimit-reset-images"] = "4s"
    assert retry_after(headers, "try again in 999999999d") == 4.0


def test_zero_is_an_answer() -> None:
    """A wait of zero is said, and does not fall through to the next source."""
    headers = {"retry-after": "0", "x-ratelimit-reset-images": "4s"}
    assert retry_after(headers, "Please try again in 3s.") == 0.0


# Limits ---------------------------------------------------------------------------------------

REACHED = "Rate limit exceeded for images per minute in organization org-1. "
REACHED_2026 = "Rate limit reached for gpt-image-2 in organization org-1 on images per min: "


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (f"{REACHED}Limit: 5/1min. Current: 6/1min. Please visit https://…", 5.0),
        (f"{REACHED}Limit: 0/1min. Current: 1/1min.", 0.0),
        (f"{REACHED}Limit: 15/1min. Current: 16/1min.", 15.0),
        (f"{REACHED}Limit: 50/5min.", 10.0),
        (f"{REACHED}Limit: 7/min.", 7.0),
        (f"{REACHED}Limit: 7 / min.", 7.0),
        (f"{REACHED}Limit: 7/0min.", 7.0),
        (f"{REACHED_2026}Limit 5, Used 5, Requested 1. Please try again in 12s.", 5.0),
        (f"{REACHED_2026}Limit: 20, Used 20.", 20.0),
        ("Limit reached on images per minute: Limit 250, Used 250", 250.0),
        (f"{REACHED}Limit: {'9' * 400}/1min.", None),
        (f"{REACHED}Limit: 5/{'9' * 400}min.", None),
        (f"{REACHED_2026}Limit {'9' * 400}, Used 5", None),
        ("Rate limit reached on requests per min: Limit 500, Used 500", None),
        ("Limit: five/1min", None),
        ("Limit 5", None),
        ("The Prelimit: 5/1min", None),
        ("", None),
    ],
)
def test_limit_in_the_text(message: str, limit: float | None) -> None:
    """The limit is found in the server's sentence, images a minute."""
    assert rate_limit_info({}, message) == RateLimitInfo(limit=limit)


def test_limit_in_headers() -> None:
    """The headers about images are read, and win over the text."""
    headers = {
        "x-ratelimit-limit-images": "50",
        "x-ratelimit-remaining-images": "49",
        "x-ratelimit-reset-images": "1s",
        "x-ratelimit-limit-requests": "500",
    }
    assert rate_limit_info(headers, f"{REACHED}Limit: 5/1min.") == RateLimitInfo(
        limit=50.0, remaining=49.0, reset=1.0
    )
    assert rate_limit_info({"x-ratelimit-limit-images": "0"}).limit == 0.0


@pytest.mark.parametrize("nonsense", ["", "many", "-5", "nan", "inf", "5/1min"])
def test_nonsense_in_limit_headers(nonsense: str) -> None:
    """Headers that can not be read say nothing, and the text is asked."""
    headers = {f"x-ratelimit-{what}-images": nonsense for what in ("limit", "remaining", "reset")}
    assert rate_limit_info(headers) == RateLimitInfo()
    assert rate_limit_info(headers, "Limit: 5/1min").limit == 5.0


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({}, None),
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "false"}, False),
        ({"x-should-retry": " False "}, False),
        ({"x-should-retry": "TRUE"}, True),
        ({"x-should-retry": "1"}, None),
        ({"x-should-retry": ""}, None),
    ],
)
def test_should_retry(headers: Mapping[str, str], word: object) -> None:
    """The server's own word on sending again is taken if it is one."""
    assert should_retry(headers) is word


# Anything -------------------------------------------------------------------------------------

pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("1", "12", ".5", "99999999999999999999", "-", "+", "e", "nan", "inf", "\u0661"),
                *("ms", "s", "m", "h", "d", " ", "seconds", "\u017feconds", "min", "/", ":", ","),
                *("try again in ", "retry after ", "Limit: ", "Limit ", "images per min", "Used"),
                *("Fri, ", "20 ", "Nov ", "2026 ", "12:00:00 ", "GMT", "+0000", "-9999", "\0"),
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=9,
).map("".join)


@settings(deadline=None, max_examples=200)
@given(value=pieces, message=pieces, date=pieces | st.just(DATE))
@example(value="Fri, 20 Nov 2026 12:00:00 +99999999999999999999", message="", date=DATE)
@example(value="", message="retry in 5 \u017feconds", date="")
@example(value="1_0", message="", date="")
def test_anything_gives_none_or_a_bounded_number(value: str, message: str, date: str) -> None:
    """Whatever a server writes: None or a finite number from 0 up, and never an exception."""
    for name in ("retry-after-ms", "retry-after", "x-ratelimit-reset-images"):
        wait = retry_after({name: value, "date": date}, message)
        assert wait is None or 0 <= wait <= YEAR
    names = ("limit", "remaining", "reset")
    info = rate_limit_info({f"x-ratelimit-{what}-images": value for what in names}, message)
    for number in (info.limit, info.remaining, info.reset, parse_duration(value)):
        assert number is None or (math.isfinite(number) and number >= 0)
    assert should_retry({"x-should-retry": value}) in {None, True, False}


def test_long_texts_are_read_quickly() -> None:
    """A text that was written to keep a regular expression busy does not."""
    for text in ("images per min" * 140, "try again in " + "1" * 2000, "retry " + " " * 2000):
        assert retry_after({"x-ratelimit-reset-images": text}, text) is None
        assert rate_limit_info({}, text) == RateLimitInfo()
