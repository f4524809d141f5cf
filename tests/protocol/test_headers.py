from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

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
FAMILY = "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-1 on "
WAIT = "Please try again in 467ms. Visit https://platform.openai.com/account/rate-limits"


@pytest.mark.parametrize(
    ("message", "limit", "dimension"),
    [
        (f"{REACHED}Limit: 5/1min. Current: 6/1min. Please visit https://…", 5.0, "images"),
        (f"{REACHED}Limit: 0/1min. Current: 1/1min.", 0.0, "images"),
        (f"{REACHED}Limit: 15/1min. Current: 16/1min.", 15.0, "images"),
        (f"{REACHED}Limit: 50/5min.", 10.0, "images"),
        (f"{REACHED}Limit: 120/60minutes.", 2.0, "images"),
        (f"{REACHED}Limit: 7/min.", 7.0, "images"),
        (f"{REACHED}Limit: 7 / min.", 7.0, "images"),
        (f"{REACHED}Limit: 7/0min.", 7.0, "images"),
        (f"{REACHED_2026}Limit 5, Used 5, Requested 1. Please try again in 12s.", 5.0, "images"),
        (f"{REACHED_2026}Limit 5, Requested 10.", 5.0, "images"),
        (f"{REACHED_2026}Limit 0, Used 0, Requested 1.", 0.0, "images"),
        (f"{REACHED_2026}Limit: 20, Used 20.", 20.0, "images"),
        (f"{REACHED_2026}Limit 4,000, Used 4,000", 4000.0, "images"),
        ("Limit reached on images per minute: Limit 250, Used 250", 250.0, "images"),
        ("on IMAGES PER MINUTE: LIMIT 250, USED 250", 250.0, "images"),
        ("Limit: 5/1min", 5.0, "images"),
        (f"{FAMILY}input-images per min: Limit 4000, Used 4000. {WAIT}", 4000.0, "input_images"),
        (f"{FAMILY}input images per minute: Limit 40, Used 40.", 40.0, "input_images"),
        ("for input_images per minute in organization o. Limit: 8/1min.", 8.0, "input_images"),
        (f"{FAMILY}requests per min (RPM): Limit 3, Used 3, Requested 1.", 3.0, "requests"),
        ("Rate limit exceeded for requests per minute. Limit: 3/1min.", 3.0, "requests"),
        ("default-x on requests per min. Limit: 3 / min. Current: 4 / min.", 3.0, "requests"),
        # Of two the first, with the noun before it: that one refused.
        ("requests per min: Limit 3, Used 3. images per min: Limit 5, Used 1", 3.0, "requests"),
        ("of all requests per day these images per min: Limit 5, Used 5", 5.0, "images"),
        # Not ours, or not a minute's.
        (f"{FAMILY}tokens per min (TPM): Limit 30000, Used 30000. {WAIT}", None, None),
        ("Rate limit exceeded for tokens per minute. Limit: 30000/1min.", None, None),
        (f"{FAMILY}requests per day (RPD): Limit 200, Used 200.", None, None),
        ("on images per day: Limit 100, Used 100", None, None),
        ("Rate limit exceeded for images per day. Limit: 100/1day.", None, None),
        ("Rate limit exceeded for images per hour. Limit: 100/60min.", None, None),
        (f"{REACHED}Limit: 100/1day.", None, None),
        (f"{REACHED}Limit: 100/1440min.", None, None),
        ("at most 2 images per second: Limit 2, Used 2", None, None),
        (" per min: Limit 2, Used 2", None, None),
        # Nothing that can be read.
        (f"{REACHED}Limit: {'9' * 400}/1min.", None, None),
        (f"{REACHED}Limit: {'9' * 12}/1min.", None, None),
        (f"{REACHED}Limit: 5/{'9' * 400}min.", None, None),
        (f"{REACHED_2026}Limit {'9' * 400}, Used 5", None, None),
        (f"{REACHED_2026}Limit 2.5, Used 2", None, None),
        ("on images per min: no more than 5", None, None),
        ("Limit: five/1min", None, None),
        ("Limit: \u0665/1min", None, None),
        ("Limit 5", None, None),
        ("Limit: 5, Used 5", None, None),
        ("Rate limit 429 exceeded, images per min", None, None),
        ("The Prelimit: 5/1min", None, None),
        ("", None, None),
    ],
)
def test_limit_in_the_text(message: str, limit: float | None, dimension: Any) -> None:
    """The limit is found in the server's sentence, so many a minute, and with it what it counts."""
    assert rate_limit_info({}, message) == RateLimitInfo(limit=limit, dimension=dimension)


@settings(deadline=None, max_examples=100)
@given(
    limit=st.integers(0, 1_000_000),
    noun=st.sampled_from(
        [("images", "images"), ("input-images", "input_images"), ("requests", "requests")]
    ),
    form=st.sampled_from(
        [
            "Rate limit exceeded for {} per minute in organization org-1. Limit: {}/1min. Current: 1/1min.",
            "Rate limit reached for m (for limit gpt-image) on {} per min: Limit {}, Used 1, Requested 2.",
            "Rate limit reached for m in organization o on {} per min (XPM): Limit: {}, Used 7.",
            "on {} per minute. Limit: {} / min. Current: 9 / min.",
        ]
    ),
    change=st.sampled_from([str, str.lower, str.upper]),
    header=st.none() | st.integers(0, 5000).map(str),
)
def test_every_form_for_every_dimension(
    limit: int, noun: tuple[str, Any], form: str, change: Any, header: str | None
) -> None:
    """What is limited and how much is read from each form, whatever the header says about images."""
    headers = {} if header is None else {"x-ratelimit-limit-images": header}
    info = rate_limit_info(headers, change(form.format(noun[0], limit)))
    assert (info.limit, info.dimension) == (limit, noun[1])


def test_limit_in_headers() -> None:
    """The headers about images are read; those about something else are not."""
    headers = {
        "x-ratelimit-limit-images": "50",
        "x-ratelimit-remaining-images": "49",
        "x-ratelimit-reset-images": "1s",
        "x-ratelimit-limit-requests": "500",
    }
    expected = RateLimitInfo(limit=50.0, remaining=49.0, reset=1.0, dimension="images")
    assert rate_limit_info(headers) == expected
    assert rate_limit_info(headers, "Please slow down.") == expected
    none = rate_limit_info({"x-ratelimit-limit-images": "0"})
    assert (none.limit, none.dimension) == (0.0, "images")
    assert rate_limit_info({"x-ratelimit-limit-requests": "500"}) == RateLimitInfo()


@pytest.mark.parametrize(
    ("message", "limit", "dimension"),
    [
        (f"{REACHED}Limit: 5/1min. Current: 6/1min.", 5.0, "images"),
        (f"{REACHED_2026}Limit 80, Used 80", 80.0, "images"),
        (f"{FAMILY}requests per min (RPM): Limit 3, Used 3", 3.0, "requests"),
        (f"{FAMILY}tokens per min (TPM): Limit 30000, Used 30000", None, None),
        (f"{FAMILY}requests per day (RPD): Limit 200, Used 200", None, None),
        (f"{REACHED}Please try again later.", 50.0, "images"),
    ],
)
def test_the_text_outranks_the_header(message: str, limit: float | None, dimension: Any) -> None:
    """The refusal names the limit that refused; the header has been seen to name another one."""
    info = rate_limit_info({"x-ratelimit-limit-images": "50"}, message)
    assert (info.limit, info.dimension) == (limit, dimension)


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
                *("input-images", "requests", "tokens", " per minute", " per day", "1min", "1day"),
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
    assert (info.limit is None) == (info.dimension is None)
    assert should_retry({"x-should-retry": value}) in {None, True, False}


HOSTILE = [
    *(
        "images per min ",
        "per ",
        "per min",
        "try again in ",
        "retry ",
        " ",
        "a-",
        "_",
        "1",
        "1,",
        "1m",
    ),
    *(
        "limit ",
        "limit: ",
        "limit 5 ",
        "limit: 5/",
        "limit: 5/1",
        "Limit: 5/99999min ",
        "limit 5/ ",
    ),
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(
    "start", ["", "images per min: Limit 5/", "try again in 1", "retry after "]
)
def test_long_texts_are_read_quickly(start: str, piece: str) -> None:
    """64 KiB that were written to keep a regular expression busy take a moment, not an hour."""
    text = (start + piece * 65_536)[:65_536]
    began = time.process_time()
    wait = retry_after({"x-ratelimit-reset-images": text}, text)
    info = rate_limit_info({}, text)
    assert time.process_time() - began < 2.0
    assert wait is None or 0 <= wait <= YEAR
    assert info.limit in {None, 5.0}
