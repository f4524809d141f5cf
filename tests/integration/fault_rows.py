"""What can go wrong with a call, and what then happens: a table, run by test_fault_matrix.py.

``python -m tests.integration.fault_rows`` writes it into docs/faults.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    ExpiredURLError,
    ImageSDKError,
    ModerationError,
    PartialResultError,
    PayloadTooLargeError,
    PermissionDeniedError,
    ProtocolError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
    StreamIncompleteError,
)
from tests.integration import fault_steps as act
from tests.integration.raw_server import (
    GOOD,
    RawServer,
    Step,
    close_after_request,
    cut,
    good,
    hang,
    reset_after_request,
    reset_in_upload,
    reset_on_accept,
    says,
)

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

Where: TypeAlias = Literal["server", "refused", "dns", "self-signed", "https to http"]
Call: TypeAlias = Callable[[ImageSession, Path], Awaitable[Any]]


@attrs.frozen(kw_only=True)
class Ran:
    """What came of a row.

    Attributes:
        result: What the call returned, None if it raised.
        error: What it raised, None if it returned.
        server: Its requests.
        other: Another server, that should hear nothing.
        gaps: Seconds between the requests.
    """

    result: Any
    error: Any
    server: RawServer
    other: RawServer
    gaps: Sequence[float]


@attrs.frozen(kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: As in the list of faults that the project started from.
        when: For readers.
        steps: What the server does with the requests; after the last it is `good`.
        error: What the caller gets, None for the image.
        note: For readers: what the caller sees besides.
        outcomes: Of the attempts, in order; ``"a|b"`` where it is a race.
        made: Images that the server made, and bills.
        call: What the caller does.
        where: What there is at base_url.
        options: Of the session.
        waits: Least and most seconds before the last request.
        says: What the error's message must hold.
        holds: What else must be true.
        paid: Whether the error may have cost something; None if that is said by the outcomes.
        sent: Requests, where downloads are among them; None for as many as there are outcomes.
        fit: Whether the same session makes an image afterwards.
        speed: How much faster than real time the clock of the loop goes.
        peak_bytes: Most memory that client and server together take.
    """

    name: str
    when: str
    steps: tuple[Step, ...] = ()
    error: type[ImageSDKError] | None = None
    note: str = ""
    outcomes: str = "ok"
    made: int = 1
    call: Call = act.generate
    where: Where = "server"
    options: Mapping[str, Any] = attrs.field(factory=dict)
    waits: tuple[float, float] | None = None
    says: str = ""
    holds: Callable[[Ran], bool] = lambda _: True
    paid: bool | None = None
    sent: int | None = None
    fit: bool = True
    speed: float = 1.0
    peak_bytes: int | None = None

    @property
    def attempts(self) -> list[str]:
        """Outcomes of the attempts."""
        return self.outcomes.split()

    @property
    def may_be_billed(self) -> bool:
        """Whether something may be billed that did not arrive."""
        return self.paid or any(
            outcome in ("ambiguous", "still_running", "unusable") for outcome in self.attempts
        )


def ok(name: str, when: str, *steps: Step, **fields: Any) -> Row:
    """Return a row that ends with the image."""
    return Row(name=name, when=when, steps=steps, **fields)


def fails(
    error: type[ImageSDKError],
    name: str,
    when: str,
    *steps: Step,
    outcomes: str,
    made: int = 0,
    **fields: Any,
) -> Row:
    """Return a row that ends with an error."""
    return Row(
        name=name, when=when, steps=steps, error=error, outcomes=outcomes, made=made, **fields
    )


def unusable(name: str, when: str, body: bytes | str, **fields: Any) -> Row:
    """Return a row for an answer with status 200 that holds no image."""
    step = says(body.encode() if isinstance(body, str) else body, x_request_id="req-1")
    fields = {"error": ProtocolError, "outcomes": "unusable", "made": 1, **fields}
    return Row(
        name=name,
        when=when,
        steps=(step,),
        holds=lambda ran: ran.error.request_id == "req-1",
        **fields,
    )


def told(
    name: str, when: str, waits: tuple[float, float], *, text: str = "", **headers: Any
) -> Row:
    """Return a row for a 429 that says how long to wait."""
    return Row(
        name=f"ra+{name}+1",
        when=f"429, once, with {when}",
        steps=(act.refuses(429, text or "Rate limit reached", "rate_limit_exceeded", **headers),),
        outcomes="throttled ok",
        waits=waits,
        speed=20.0,
        note="the call keeps its place, and no attempt is used up",
    )


def final(error: type[ImageSDKError], name: str, when: str, step: Step, **fields: Any) -> Row:
    """Return a row for a refusal for good."""
    return fails(error, name, when, step, outcomes="final", **fields)


# fmt: off
SHORT = {"timeout": 0.15}
BACKOFF = (0.0, 30.0)
"""Seconds of a pause that nobody asked for."""

_CONNECTION = [
    fails(ConnectError, "refused", "nothing listens at base_url", where="refused",
          outcomes="not_sent not_sent not_sent", fit=False, note="its cause is the OSError"),
    fails(ConnectError, "dns", "the name in base_url has no address", where="dns",
          outcomes="not_sent not_sent not_sent", fit=False),
    ok("reset_on_accept", "the connection is reset as soon as it is open, once", reset_on_accept,
       outcomes="not_sent|ambiguous ok",
       note="a small request may be gone before the reset is seen: then it counts as ambiguous"),
    ok("reset_after_request+1", "the connection is reset after the request was read, once",
       reset_after_request, outcomes="ambiguous ok", made=2,
       holds=lambda ran: act.same_key(ran.server), note="sent again with the same Idempotency-Key"),
    ok("fin_after_request+1", "the connection is closed after the request was read, once",
       close_after_request, outcomes="ambiguous ok", made=2,
       holds=lambda ran: act.same_key(ran.server), note="the same"),
    fails(AmbiguousError, "reset_after_request+9", "the connection is reset each time after the request was read",
          *[reset_after_request] * 3, outcomes="ambiguous ambiguous", made=2, fit=False,
          says="whether the image was made, and billed", note="sent again only once"),
    fails(AmbiguousError, "reset_after_request+never", 'the same, with `RetryPolicy(ambiguous="never")`',
          *[reset_after_request] * 3, outcomes="ambiguous", made=1, fit=False,
          options={"retry": act.NEVER}),
    ok("reset_mid_upload+1", "the connection is reset in the middle of an upload from a path, once",
       reset_in_upload, call=act.upload_path, outcomes="not_sent ok",
       holds=lambda ran: act.whole_file(ran.server), note="the whole file is sent again"),
    ok("reset_mid_upload+1#bytesio", "the same, from a BytesIO", reset_in_upload,
       call=act.upload_bytesio, outcomes="not_sent ok", holds=lambda ran: act.whole_file(ran.server),
       note="the whole buffer is sent again"),
    fails(ResponseInterruptedError, "reset_mid_upload+1#gen",
          "the same, from a stream that can be read only once", reset_in_upload,
          call=act.upload_tape, outcomes="not_sent", note="a note says why it is not sent again"),
    ok("stale+fin", "the server closed the kept connection of the call before", act.good_and_close,
       call=act.twice, made=2, note="made in two calls"),
    ok("stale+rstnext", "the kept connection dies while the second request is on it",
       good, act.reset_unread, call=act.twice, outcomes="ambiguous ok", made=2),
    fails(ConnectError, "tls_selfsigned", "nobody vouches for the server's certificate",
          where="self-signed", outcomes="not_sent not_sent not_sent", fit=False,
          says="cannot be trusted", holds=lambda ran: not ran.server.requests,
          note="the key is not sent"),
    fails(RequestTimeoutError, "tls_on_plain", "https to a server that does not answer the TLS hello", act.silent,
          where="https to http", outcomes="not_sent", options=SHORT, fit=False,
          says="the request was still on its way: check base_url",
          note="a connection is given 30 s, or what `timeout` leaves"),
]

_BODIES = [
    ok("cut_body+fin+1", "the answer is cut off by a close, once", cut(GOOD[:-20], content_length=str(len(GOOD))),
       outcomes="ambiguous ok", made=2, note="never half an image"),
    ok("cut_body+rst+1", "the answer is cut off by a reset, once",
       cut(GOOD[:-20], reset=True, content_length=str(len(GOOD))), outcomes="ambiguous ok", made=2),
    ok("cut_chunked+1", "a chunked answer is cut off, once", act.cut_chunked,
       outcomes="ambiguous ok", made=2),
    unusable("json_cut", "a whole answer with half a JSON document", GOOD[:-20]),
    fails(RequestTimeoutError, "cl_big_hang", "the answer is shorter than its Content-Length, and the server waits",
          act.hangs_after(GOOD[:-20]), outcomes="still_running", made=1, options=SHORT),
    ok("cl_big_hang#whole", "the same, but the image is complete", act.hangs_after(GOOD),
       options=SHORT, note="what is complete is kept when the time is up"),
    fails(ProtocolError, "cl_small", "the answer is longer than its Content-Length",
          cut(GOOD, content_length=str(len(GOOD) - 5)), outcomes="unusable", made=1,
          note="its connection is not used again"),
    unusable("bad_b64", "the image is no valid base64", '{"data": [{"b64_json": "aW1hZ2U=x"}]}',
             says=r"data\[0\]"),
    fails(PartialResultError, "bad_b64#2", "one of two images is no valid base64",
          says(act.items('{"b64_json": "aW1hZ2U="}', '{"b64_json": "%"}'), charged=2),
          call=act.generate_2, outcomes="ok", made=2, paid=True, says=r"data\[1\]",
          holds=lambda ran: len(ran.error.result.data) == 1, note="the good one is in `.result`"),
    ok("not_image", "the image is a page of HTML in base64",
       says(act.items('{"b64_json": "PGh0bWw+bm9wZQ=="}')), made=1,
       holds=lambda ran: ran.result.data[0].mime_type is None, note="its `mime_type` is None"),
    unusable("body200+error", "200 with an error object", '{"error": {"message": "boom", "code": "server_error"}}',
             error=ServerError, says="boom"),
    unusable("body200+empty", "200 with `data: []`", '{"created": 1, "data": []}'),
    unusable("body200+nodata", "200 without data", '{"created": 1}'),
    unusable("body200+nulldata", "200 with `data: null`", '{"created": 1, "data": null}'),
    unusable("body200+list", "200 with a list", "[]"),
    unusable("body200+null", "200 with null", "null"),
    unusable("body200+str", "200 with a string", '"hello"'),
    unusable("body200+dataobj", "200 with an object as data", '{"data": {"b64_json": "aW1hZ2U="}}'),
    unusable("body200+itemnull", "200 with null instead of an image", '{"data": [null]}'),
    unusable("body200+nokeys", "200 with an image that has neither base64 nor URL", '{"data": [{}]}'),
    fails(PartialResultError, "body200+short", "200 with one image instead of three",
          says(charged=1), call=act.generate_3, outcomes="ok", made=1, says="1 of 3 images arrived",
          note="the one is in `.result`"),
    unusable("empty200", "200 with an empty body", "", says="is no JSON"),
    fails(ProtocolError, "s204", "204", says(b"", 204), outcomes="unusable", says="is no JSON"),
    ok("html+502+1", "502 with a page of HTML, once", act.page(502), outcomes="failed ok"),
    fails(ServerError, "html+502+9", "502 with a page of HTML, each time", *[act.page(502)] * 3,
          outcomes="failed failed failed", says="Bad gateway",
          holds=lambda ran: len(str(ran.error)) < 200, note="the title of the page is the message"),
    fails(ProtocolError, "html+200+9", "200 with a page of HTML", act.page(200),
          outcomes="unusable", says="text/html", note="it may be billed: not sent again"),
]

_STATUSES = [
    *(ok(f"status+{status}+1", f"{status}, once", act.refuses(status, f"fault {status}"),
         outcomes="failed ok") for status in (500, 502, 503, 529, 408, 409, 425)),
    *(ok(f"status+{status}+1", f"{status}, once", act.refuses(status, f"fault {status}", made=1),
         outcomes="ambiguous ok", made=2, note="a gateway gave up on a server that may go on")
      for status in (504, 520, 521, 522, 523, 524)),
    *(final(ServerError, f"status+{status}+1", f"{status}", act.refuses(status, f"fault {status}"))
      for status in (501, 505, 511)),
    fails(ServerError, "status+500+9", "500, each time", *[act.refuses(500, "fault 500")] * 3,
          outcomes="failed failed failed", says="fault 500",
          holds=lambda ran: len(ran.error.__notes__) == 2, note="earlier attempts are notes"),
    *(final(BadRequestError, f"status+{status}", f"{status}", act.refuses(status, f"fault {status}"))
      for status in (400, 405, 413, 415, 422)),
    final(AuthenticationError, "status+401", "401", act.refuses(401, "fault 401")),
    final(PermissionDeniedError, "status+403", "403", act.refuses(403, "fault 403")),
    fails(ServerError, "should_retry+false", "500 with `x-should-retry: false`",
          act.refuses(500, "no", x_should_retry="false"), outcomes="failed"),
]

_WAITS = [
    told("sec1", "Retry-After of 1 s", (1.0, 30.0), retry_after="1"),
    told("frac", "Retry-After of 0.4 s", (0.4, 30.0), retry_after="0.4"),
    told("date2", "Retry-After as a date, 2 s after the answer's own Date", (2.0, 30.0), date=act.DATE,
         retry_after=act.DATE_2),
    told("ms300", "retry-after-ms of 300", (0.3, 30.0), retry_after_ms="300"),
    told("none", "nothing", BACKOFF),
    told("neg", "a negative Retry-After", BACKOFF, retry_after="-5"),
    told("nan", "Retry-After of NaN", BACKOFF, retry_after="nan"),
    told("inf", "an infinite Retry-After", BACKOFF, retry_after="inf"),
    told("garbage", "an unreadable Retry-After", BACKOFF, retry_after="soon, maybe"),
    told("datepast", "a date that has passed", BACKOFF, date=act.DATE_2, retry_after=act.DATE),
    told("text", '"Please try again in 1.2s" in its message', (1.2, 30.0),
         text="Rate limit reached. Please try again in 1.2s."),
    told("reset", "x-ratelimit-reset-images of 1.5 s", (1.5, 30.0), x_ratelimit_reset_images="1.5s"),
    fails(RateLimitError, "ra+huge+1", "429 with Retry-After of an hour", act.refuses(429, "no", retry_after="3600"),
          outcomes="throttled", fit=False, holds=lambda ran: ran.error.retry_after == 3600.0,
          note="at once, with `retry_after`"),
    ok("ra+mid90+1", "429, once, with Retry-After of 90 s", act.refuses(429, "no", retry_after="90"),
       outcomes="throttled ok", waits=(90.0, 200.0), speed=300.0, note="up to the limiter's `max_pause`"),
    fails(RateLimitError, "ra+mid90+1#8", "the same, with `timeout=8`", act.refuses(429, "no", retry_after="90"),
          outcomes="throttled", options={"timeout": 8.0}, fit=False, note="at once: the wait would be in vain"),
    fails(RateLimitError, "ra+shouldfalse+1", "429 with `x-should-retry: false`",
          act.refuses(429, "no", x_should_retry="false"), outcomes="throttled", fit=False),
    ok("ra+sec1+1#off", "429, once, with Retry-After of 1 s and `images_per_minute=None`",
       act.refuses(429, "no", retry_after="1"), outcomes="throttled ok", waits=(1.0, 30.0), speed=20.0,
       options={"images_per_minute": None}, note="the retry policy waits, and an attempt is used up"),
    final(QuotaExceededError, "quota+insufficient_quota", "429 `insufficient_quota`",
          act.refuses(429, "You exceeded your current quota", "insufficient_quota")),
    final(QuotaExceededError, "quota+credit", "429 `credit_balance_exhausted`",
          act.refuses(429, "You have no credits remaining.", "credit_balance_exhausted")),
    final(PermissionDeniedError, "quota+limit0", '429 "Limit: 0/1min"', act.refuses(429, act.LIMIT_0)),
    final(QuotaExceededError, "quota+billing", "400 `billing_hard_limit_reached`",
          act.refuses(400, "Billing hard limit has been reached", "billing_hard_limit_reached")),
    final(ModerationError, "quota+moderation", "400 `moderation_blocked`",
          act.refuses(400, "Your request was rejected by the safety system.", "moderation_blocked")),
    fails(RequestTimeoutError, "hang+30", "the server does not answer in time", hang,
          outcomes="still_running", made=1, options=SHORT,
          note="not sent again: the image is probably still made, and billed"),
    fails(RequestTimeoutError, "loris+0.3", "the answer drips, a byte now and then", act.drips,
          outcomes="still_running", made=1, options=SHORT, note="`timeout` counts, not the last byte"),
]

_REDIRECTS = [
    final(BadRequestError, f"redirect+{name}", f"{when}", act.redirects(status, to),
          says="points to /?[a-z].* API calls follow no redirects: set base_url", note="neither prompt nor key go there")
    for name, when, status, to in (
        ("307+same", "307 within the same origin", 307, "/elsewhere"),
        ("307+cross", "307 to another host", 307, "http://localhost:{port}/v1/images/generations"),
        ("307+port", "307 to another port", 307, "http://127.0.0.1:{port}/v1/images/generations"),
        ("302+cross", "302 to another host", 302, "http://localhost:{port}/v1/images/generations"),
        ("307+loop", "307 to itself", 307, "/v1/images/generations"),
        ("302+file", "302 to a file: URL", 302, "file:///etc/passwd"),
    )
]


def streamed(name: str, when: str, step: Step, **fields: Any) -> Row:
    """Return a row for a stream that does not come to its image."""
    fields = {"error": StreamIncompleteError, "outcomes": "unusable", "made": 1, **fields}
    return Row(name=f"sse+{name}", when=when, steps=(step,), call=act.stream, **fields)


_STREAMS = [
    streamed("ok", "a stream comes to its image", act.streams(act.PARTIAL, act.COMPLETED), error=None, outcomes="ok"),
    streamed("cut_clean", "a stream ends without its image", act.streams(act.PARTIAL),
             holds=lambda ran: ran.error.partial is not None, note="`.partial` holds the last partial image"),
    streamed("cut_fin", "a stream is cut off by a close", act.streams(act.PARTIAL, end="close")),
    streamed("cut_rst", "a stream is cut off by a reset", act.streams(act.PARTIAL, end="reset")),
    streamed("error", "an error event", act.streams(act.PARTIAL, act.FAILED), error=ServerError, says="boom"),
    streamed("error_flat", "an error event in the flat form", act.streams(act.PARTIAL, act.FAILED_FLAT),
             error=ServerError, says="boom"),
    streamed("badjson", "an event that is no JSON", act.streams("data: {nope\n\n"), note="the event is logged and passed over"),
    streamed("midevent", "a stream ends in the middle of its image", act.streams(act.PARTIAL, act.COMPLETED[:-30])),
    streamed("hang", "a stream stops", act.streams(act.PARTIAL, end="hang"), error=RequestTimeoutError,
             outcomes="still_running", options=SHORT),
    streamed("reset_before", "a stream is reset before its first event, once", act.streams(end="reset"),
             error=None, outcomes="ambiguous ok", made=2,
             note="until the first event it is sent again as any call"),
]

_WORDS = [
    final(BadRequestError, f"weird_err+{name}", f"400 with {when}", says(body, 400), says=message)
    for name, when, body, message in (
        ("latin", "a message in Latin-1", b'{"error": {"message": "caf\xe9"}}', "caf"),
        ("str", "a JSON string", b'"no such size"', "no such size"),
        ("detail", "FastAPI's list of details", b'{"detail": [{"loc": ["body", "n"], "msg": "too big"}]}', "n: too big"),
        ("empty", "an empty body", b"", "HTTP 400, no message"),
        ("list", "a list", b'["no such size"]', "no such size"),
        ("bin", "binary rubbish", bytes(range(256)), "HTTP 400"),
        ("nested", "an error in an error", b'{"error": {"message": {"error": {"message": "deep"}}}}', "deep"),
    )
] + [
    final(AuthenticationError, "echo_key_err", "401 that repeats the key", act.echoes_key,
          says=r"Incorrect API key provided: \*\*\*", note="the key is blotted out"),
    final(BadRequestError, "huge_err", "400 with 64 MiB of a message", act.huge_error(64),
          peak_bytes=4_000_000, note="64 KiB are read"),
]

_INJECTION = [
    fails(ConfigurationError, "crlf_key", "a line break in the key", call=act.crlf_key, outcomes="",
          says="characters that cannot be sent", note="before anything is sent; the message does not show it"),
    fails(ConfigurationError, "crlf_header", "a line break in `extra_headers`", call=act.crlf_header, outcomes="",
          says="line break", note="before anything is sent"),
    ok("crlf_filename", "a line break in a file name", call=act.crlf_filename,
       holds=lambda ran: act.filename(ran.server) == "x.png%0D%0AContent-Type: evil", note="it is escaped"),
    ok("quote_filename", "a quote in a file name", call=act.quote_filename,
       holds=lambda ran: act.filename(ran.server) == "x%22; name=%22prompt", note="it is escaped"),
    ok("crlf_prompt", "a prompt that looks like a boundary", call=act.crlf_prompt,
       holds=lambda ran: act.prompt(ran.server) == act.EVIL_PROMPT, note="it arrives as it is"),
]

MIB = 1024 * 1024
_BOMBS = [
    ok("bomb+png", "a picture of 30,000 x 30,000 pixels in a few bytes", says(act.items(act.PICTURE_BOMB)),
       peak_bytes=MIB, holds=lambda ran: (ran.result.data[0].width, ran.result.data[0].height) == (30_000, 30_000),
       note="only its header is read, no pixel decoded"),
    fails(PayloadTooLargeError, "bomb+gzip+512+200", "200 with 512 MiB in 0.5 MB of gzip", act.bomb(200, packed=True),
          outcomes="unusable", peak_bytes=16 * MIB, note="64 MiB an image are accepted"),
    fails(PayloadTooLargeError, "bomb+raw+512+200", "200 with 512 MiB", act.bomb(200), outcomes="unusable",
          peak_bytes=16 * MIB),
    fails(PayloadTooLargeError, "bomb+b64+512+200", "200 with an image of 384 MiB in base64", act.bomb(200, begin=act.OPEN),
          outcomes="unusable", peak_bytes=76 * MIB),
    fails(ServerError, "bomb+gzip+512+500", "500 with 512 MiB in 0.5 MB of gzip", *[act.bomb(500, packed=True)] * 3,
          outcomes="failed failed failed", peak_bytes=8 * MIB, note="64 KiB are read"),
    fails(ServerError, "bomb+raw+512+500", "500 with 512 MiB", *[act.bomb(500)] * 3,
          outcomes="failed failed failed", peak_bytes=8 * MIB, note="64 KiB are read"),
]


def at_url(name: str, when: str, url: str, *steps: Step, sent: int, **fields: Any) -> Row:
    """Return a row for an image that is at a URL, and read."""
    step = says(act.items(f'{{"url": "{url}"}}'))
    fields = {"outcomes": "ok" if fields.get("error") is None else "", **fields}
    return Row(
        name=f"url+{name}", when=when, steps=(step, *steps), call=act.read, sent=sent, speed=10.0,
        **fields,
    )


_IMAGE = says(b"image", charged=0)
_DOWNLOADS = [
    at_url("ok", "an image at a URL", "/a.png", _IMAGE, sent=2),
    at_url("gone", "404, 403 or 410 for an image", "/a.png?sig=x", says(b"", 404), error=ExpiredURLError, sent=2,
           says=r"no longer at its URL, http://127\.0\.0\.1:[0-9]+/a\.png \(HTTP 404\)", note="the signature is not shown"),
    at_url("failed", "500 for an image, twice", "/a.png", act.page(500), act.page(500), _IMAGE, sent=4,
           note="the download is repeated, the generation never"),
    at_url("cut", "an image is cut off, once", "/a.png", act.cut_image, _IMAGE, sent=3),
    at_url("redirect", "an image has moved", "/a.png", act.redirects(302, "/b.png"), _IMAGE, sent=3),
    at_url("loop", "an image moves round and round", "/a.png", *[act.redirects(302, "/a.png")] * 4, error=ProtocolError,
           sent=5, says="redirected more than 3 times"),
    at_url("metadata", "an image is said to be where clouds keep credentials", "http://169.254.169.254/", error=ProtocolError,
           sent=1, says="is at a private address"),
    at_url("moved to metadata", "an image moves there", "/a.png", act.redirects(302, "http://169.254.169.254/"),
           error=ProtocolError, sent=2, says="is at a private address"),
    at_url("file", "a file: URL", "file:///etc/passwd", error=ProtocolError, sent=1, says="must be http or https"),
    at_url("bomb", "an image of 512 MiB in 0.5 MB of gzip", "/a.png", act.bomb(200, packed=True), error=PayloadTooLargeError,
           sent=2, paid=True, peak_bytes=80 * MIB, note="64 MiB are accepted"),
]
# fmt: on

ROWS: Mapping[str, Sequence[Row]] = {
    "The connection": _CONNECTION,
    "The answer's body": _BODIES,
    "The status": _STATUSES,
    "429, quota and time": _WAITS,
    "Redirects": _REDIRECTS,
    "Streams": _STREAMS,
    "The words of a refusal": _WORDS,
    "Line breaks and quotes": _INJECTION,
    "Too much": _BOMBS,
    "Images at URLs": _DOWNLOADS,
}


def table() -> str:
    """Return the rows as they stand in the page."""
    lines: list[str] = []
    for heading, rows in ROWS.items():
        lines += [
            f"### {heading}",
            "",
            "| when | you get | sent | made | may be billed |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            gets = "the image" if row.error is None else f"`{row.error.__name__}`"
            known = "yes" if row.may_be_billed else "no"
            sent = len(row.attempts) if row.sent is None else row.sent
            billed = "it depends" if "|" in row.outcomes else known
            note = f"; {row.note}" if row.note else ""
            lines.append(f"| {row.when} | {gets}{note} | {sent} | {row.made} | {billed} |")
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page *text* with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
