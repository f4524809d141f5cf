from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, clip, redact, refusal, shown_url

SECRET = "sk-proj-SECRETKEY-0123456789abcdef"  # noqa: S105
HEADERS = {"x-request-id": "req_42", "content-type": "application/json"}


def refuse(status: int = 400, body: object = b"", headers: Mapping[str, str] = HEADERS) -> APIError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal(status, headers, data, secret=SECRET)


def nested(code: str | None = None, message: str = "no", **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": "t", "param": None, "code": code, **more}}


# Dialects -------------------------------------------------------------------------------------


def test_nested_dialect() -> None:
    """OpenAI's own dialect: each of its fields is a field of the error."""
    body = {
        "error": {
            "message": "Invalid value: 'x'.",
            "type": "invalid_request_error",
            "param": "size",
            "code": "invalid_value",
        }
    }
    error = refuse(400, body, {**HEADERS, "retry-after": "3"})
    assert type(error) is BadRequestError
    assert str(error) == "Invalid value: 'x'. (HTTP 400 invalid_value)"
    assert (error.status, error.code, error.type, error.param) == (
        400,
        "invalid_value",
        "invalid_request_error",
        "size",
    )
    assert error.error == body["error"]
    assert (error.request_id, error.retry_after) == ("req_42", 3.0)
    assert not error.may_be_billed


@pytest.mark.parametrize(
    ("body", "message", "code", "error"),
    [
        ({"error": "boom"}, "boom", None, {"error": "boom"}),
        (
            {"error": "server_error", "message": "boom"},
            "boom",
            "server_error",
            {"error": "server_error", "message": "boom"},
        ),
        ({"detail": "boom"}, "boom", None, {"detail": "boom"}),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "x"}]},
            "n: too big",
            None,
            None,
        ),
        (
            {"detail": [{"loc": ["body", "a", 0], "msg": "x"}, {"loc": ["body"], "msg": "y"}, "z"]},
            "a.0: x; y; z",
            None,
            None,
        ),
        ({"detail": [{"msg": "x", "loc": None}, {"msg": 5}]}, "x; 5", None, None),
        ({"detail": [{"loc": ["n"]}, 5]}, '{"loc":["n"]}; 5', None, None),
        ({"detail": {"why": "boom"}}, '{"why":"boom"}', None, None),
        ({"detail": {"error": "boom"}}, "boom", None, {"detail": {"error": "boom"}}),
        ({"detail": {"message": "boom", "error": "x"}}, "boom", None, None),
        (
            {"code": "Client specified an invalid argument", "error": "boom"},
            "boom",
            "Client specified an invalid argument",
            None,
        ),
        ({"code": 20012, "message": "boom", "data": None}, "boom", "20012", None),
        ({"message": "boom", "code": 20012}, "boom", "20012", None),
        ({"object": "error", "message": "boom", "code": 500}, "boom", "500", None),
        ({"error": {"message": "boom", "code": 1302}}, "boom", "1302", None),
        ({"error": {"detail": "boom"}}, "boom", None, {"detail": "boom"}),
        ({"error": {"message": {"why": 1}}}, '{"why":1}', None, None),
        ({"error": ["a", "b"]}, "a; b", None, None),
        ({"error": 7, "message": "boom"}, "7", None, None),
        ({"error": None, "message": "boom"}, "boom", None, None),
        ({"error": {"message": "boom", "code": True}}, "boom", "True", None),
        ({"error": {"message": "boom", "code": {"a": 1}}}, "boom", '{"a":1}', None),
    ],
)
def test_dialects(
    body: object, message: str, code: str | None, error: Mapping[str, object] | None
) -> None:
    """Each dialect gives its message and its code, and the object is kept as it was sent."""
    got = refuse(400, body)
    label = f"400 {code}" if code else "400"
    assert str(got) == f"{message} (HTTP {label})"
    assert got.code == code
    assert got.error is not None
    assert error is None or got.error == error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'"boom"', "boom (HTTP 400)"),
        (b'["a", "b"]', "a; b (HTTP 400)"),
        (b'[{"loc": ["body", "n"], "msg": "too big"}]', "n: too big (HTTP 400)"),
        (b"17", "17 (HTTP 400)"),
        (b"boom", "boom (HTTP 400)"),
        (b"  two\r\n\tlines ", "two lines (HTTP 400)"),
        (b"error code: 1015", "error code: 1015 (HTTP 400)"),
        (b"caf\xe9", "caf\ufffd (HTTP 400)"),
        (b"", "HTTP 400, no message"),
        (b" \r\n ", "HTTP 400, no message"),
        (b"null", "HTTP 400, no message"),
        (b"[]", "HTTP 400, no message"),
        (b'{"error": {}}', "HTTP 400, no message"),
        (b"{}", "HTTP 400, no message"),
        (
            b"<html><head><title>502 Bad\n Gateway</title></head><body>nginx</body></html>",
            "a proxy or web server answered with a page: 502 Bad Gateway (HTTP 400)",
        ),
        (
            b"<HTML><TITLE lang=en>Not found</TITLE><p>x",
            "a proxy or web server answered with a page: Not found (HTTP 400)",
        ),
        (
            b"<h1>Gone</h1> <p>for ever",
            "a proxy or web server answered with a page: Gone for ever (HTTP 400)",
        ),
        (
            b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
            "a proxy or web server answered with a page: AccessDenied (HTTP 400)",
        ),
    ],
)
def test_what_is_no_object(body: bytes, message: str) -> None:
    """Text, a page, bytes or nothing: the message is short and readable, the object is None."""
    error = refuse(400, body, {})
    assert str(error) == message
    assert (error.error, error.code, error.type, error.param, error.request_id) == (
        *(None, None, None, None, None),
    )


def test_wrong_encodings() -> None:
    """JSON in Latin-1 or behind a byte order mark keeps its code: it decides what is done."""
    latin = refuse(400, b'{"error": {"message": "caf\xe9", "code": "moderation_blocked"}}')
    assert type(latin) is ModerationError
    assert str(latin).startswith("caf\ufffd (HTTP 400 moderation_blocked)")
    marked = refuse(400, b'\xef\xbb\xbf{"error": {"message": "no", "code": "c"}}')
    assert str(marked) == "no (HTTP 400 c)"


def test_binary() -> None:
    """Bytes that are no text give a message that can be printed."""
    error = refuse(500, bytes(range(256)) * 10)
    str(error).encode()
    assert len(str(error)) < 400


def test_empty_404_says_what_to_look_at() -> None:
    """A 404 without words is a wrong base_url or a server without the endpoint."""
    assert "check base_url" in str(refuse(404, b""))
    assert "check base_url" not in str(refuse(404, nested("model_not_found", "no such model")))


# Status and code ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        *((status, BadRequestError) for status in (300, 301, 302, 307, 308)),
        *((status, BadRequestError) for status in (400, 405, 406, 410, 413, 415, 418, 422, 431)),
        (401, AuthenticationError),
        (402, QuotaExceededError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        *((status, ServerError) for status in (408, 409, 425)),
        (429, RateLimitError),
        (451, ModerationError),
        *((status, ServerError) for status in (500, 501, 502, 503, 504, 520, 524, 529, 599)),
        (200, BadRequestError),
    ],
)
def test_every_status_has_its_class(status: int, cls: type[APIError]) -> None:
    """Where no code says otherwise the status decides."""
    for body in (b"", b"<html>x</html>", b'"no"', nested(None), nested("new")):
        error = refuse(status, body)
        assert type(error) is cls
        assert error.status == status
        assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize("status", [300, 301, 307, 308, 399])
def test_redirects_say_what_to_do(status: int) -> None:
    """A redirect is not followed, and the error says what to set."""
    assert "set base_url" in str(refuse(status, b""))


def test_what_a_redirect_points_to_is_shown_without_secrets() -> None:
    """Neither a password nor a signature of it is in the message or the headers that are kept."""
    error = refusal(302, {"location": "https://me:pass@other:8/v1/x?sig=secret#part"}, b"")
    assert "It points to https://***@other:8/v1/x." in str(error)
    assert error.headers["location"] == "https://***@other:8/v1/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a@2x.png?sig=x", "https://host/a@2x.png"),
        ("https://me:p?s#s@host:1/a", "https://***@host:1/a"),
        ("//me@host/a", "//***@host/a"),
        ("images/a@b.png#x?y", "images/a@b.png"),
        ("http://[", "http://["),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    """User and password are masked, query and fragment are left out, whatever the URL is."""
    assert shown_url(url) == shown


# The codes of https://platform.openai.com/docs/guides/error-codes and of Azure, read 2026-11-20
WRONG = (
    *("unknown_parameter", "duplicate_parameter", "unsupported_file_mimetype", "invalid_image"),
    *("invalid_image_format", "invalid_image_file", "invalid_base64_image", "invalid_image_url"),
    *("image_too_large", "image_too_small", "image_parse_error", "invalid_image_mode"),
    *("image_file_too_large", "unsupported_image_media_type", "empty_image_file"),
    *("failed_to_download_image", "image_file_not_found"),
)
MODERATED = (
    *("moderation_blocked", "content_policy_violation", "contentFilter", "content_filter"),
    *("content_safety_violation", "image_content_policy_violation"),
)
NO_MONEY = (
    *("credit_balance_exhausted", "organization_spend_limit_exceeded"),
    *("project_spend_limit_exceeded", "organization_usage_limit_exceeded"),
)


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        *((400, code, BadRequestError) for code in WRONG),
        *((400, code, ModerationError) for code in MODERATED),
        (400, "billing_hard_limit_reached", QuotaExceededError),
        *((429, code, QuotaExceededError) for code in (*NO_MONEY, "insufficient_quota")),
        (429, "quota_exceeded", QuotaExceededError),
        (429, "rate_limit_exceeded", RateLimitError),
        (429, "slow_down", RateLimitError),
        (429, "1302", RateLimitError),
        (429, "429", RateLimitError),
        (401, "invalid_api_key", AuthenticationError),
        (403, "invalid_api_key", PermissionDeniedError),
        (404, "model_not_found", NotFoundError),
        (500, "server_error", ServerError),
        (503, "server_is_overloaded", ServerError),
        (503, "slow_down", ServerError),
        (403, "content_policy_violation", ModerationError),
        (200, "moderation_blocked", ModerationError),
        (400, "MODERATION_BLOCKED", ModerationError),
    ],
)
def test_every_code_has_its_class(status: int, code: str, cls: type[APIError]) -> None:
    """The code decides, whatever the prose says."""
    prose = "billing quota moderation safety rate limit; Please try again in 5s."
    error = refuse(status, nested(code, prose))
    assert type(error) is cls
    assert error.code == code


@pytest.mark.parametrize(
    "message",
    [
        "You exceeded your current quota, please check your plan and billing details.",
        "Your request was rejected by the safety system.",
        "Billing hard limit has been reached",
    ],
)
def test_prose_decides_nothing(message: str) -> None:
    """Without a code, words about money or safety change nothing."""
    assert type(refuse(429, nested(None, message))) is RateLimitError
    assert type(refuse(400, nested(None, message))) is BadRequestError


def test_type_of_the_error_where_the_code_is_new() -> None:
    """The type tells what a code that is not known belongs to."""
    quota = nested("new_spend_code", type="insufficient_quota")
    assert type(refuse(429, quota)) is QuotaExceededError
    assert type(refuse(429, quota, {"retry-after": "5"})) is QuotaExceededError
    moderated = nested("new_code", type="image_generation_user_error")
    assert type(refuse(400, moderated)) is ModerationError


@pytest.mark.parametrize(
    "hint",
    [
        {"retry-after": "7"},
        {"retry-after-ms": "7000"},
        {"x-ratelimit-reset-images": "7s"},
        {
            "retry-after": "Fri, 20 Nov 2026 12:00:07 GMT",
            "date": "Fri, 20 Nov 2026 12:00:00 GMT",
        },
    ],
)
def test_quota_of_azure_is_a_limit_a_minute(hint: dict[str, str]) -> None:
    """Azure's quota codes with a time to wait are a rate limit; the definitive codes never are."""
    for code in ("insufficient_quota", "quota_exceeded"):
        error = refuse(429, nested(code, type="insufficient_quota"), hint)
        assert type(error) is RateLimitError
        assert error.retry_after == 7.0
    for code in (*NO_MONEY, "billing_hard_limit_reached"):
        assert type(refuse(429, nested(code), hint)) is QuotaExceededError


@pytest.mark.parametrize("headers", [{}, {"retry-after": "soon"}, {"retry-after": "-1"}])
def test_quota_without_a_time_to_wait(headers: dict[str, str]) -> None:
    """Without a time to wait in the headers the account is out of money, whatever the text says."""
    body = nested("insufficient_quota", "Please try again in 5s.")
    assert type(refuse(429, body, headers)) is QuotaExceededError


def test_limit_of_zero_is_no_access() -> None:
    """ "Limit: 0/1min" means that the key has no access: waiting would never help."""
    message = "Rate limit exceeded for images per minute in organization o. Limit: 0/1min."
    error = refuse(429, nested("rate_limit_exceeded", message))
    assert type(error) is PermissionDeniedError
    assert "no access to the model" in str(error)
    assert "no access to the model" not in str(refuse(403, nested(None, message)))
    other = refuse(429, nested("rate_limit_exceeded", message.replace("0/1", "5/1")))
    assert type(other) is RateLimitError
    assert type(refuse(400, nested(None, message))) is BadRequestError


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Limit: 0/1min", PermissionDeniedError),
        ("on images per min: Limit 0, Used 0, Requested 1.", PermissionDeniedError),
        ("on input-images per min: Limit 0, Used 0, Requested 1.", PermissionDeniedError),
        ("for requests per minute in organization o. Limit: 0/1min.", PermissionDeniedError),
        ("on images per min: Limit 10, Used 10, Requested 1.", RateLimitError),
        # What does not count images or requests is not read.
        ("on tokens per min (TPM): Limit 0, Used 0, Requested 9.", RateLimitError),
    ],
)
def test_every_form_of_a_limit_of_zero(message: str, kind: type[APIError]) -> None:
    """A limit of 0 is no access in each form and for all that is counted here."""
    assert type(refuse(429, nested("rate_limit_exceeded", message))) is kind


# What the messages say ------------------------------------------------------------------------


def test_rate_limit_says_how_to_raise_it() -> None:
    """The message has the wait and says how to raise the limit."""
    error = refuse(429, nested("rate_limit_exceeded", "Limit 5, Used 5. Please try again in 12s."))
    assert error.retry_after == 12.0
    assert "The server asks to wait 12 s" in str(error)
    assert "raise the limit at https://platform.openai.com/settings/organization/limits" in str(
        error
    )
    without = refuse(429, nested("rate_limit_exceeded", "Slow down."))
    assert without.retry_after is None
    assert "asks to wait" not in str(without)
    assert "raise the limit" in str(without)


def test_quota_says_what_to_do() -> None:
    """The message says that waiting does not help."""
    assert "Waiting does not help: add credit" in str(refuse(429, nested("insufficient_quota")))


def test_moderation_says_what_to_do_about_a_false_positive() -> None:
    """The message says where to report a false positive, with the request id that they ask for."""
    error = refuse(400, nested("moderation_blocked", "Rejected by the safety system."))
    assert "false positive at https://help.openai.com" in str(error)
    assert error.request_id == "req_42"


@pytest.mark.parametrize(
    ("error", "categories", "stage"),
    [
        (
            {"moderation_details": {"categories": ["violence"], "moderation_stage": "input"}},
            ("violence",),
            "input",
        ),
        (
            {"moderation_details": {"categories": ["a", "b"], "moderation_stage": "output"}},
            ("a", "b"),
            "output",
        ),
        ({"moderation_details": {"categories": None}}, (), None),
        ({"moderation_details": {"categories": "violence"}}, (), None),
        ({"moderation_details": {"categories": [1], "moderation_stage": 2}}, ("1",), "2"),
        ({"moderation_details": {}}, (), None),
        ({"moderation_details": "x"}, (), None),
        ({"message": "Rejected. safety_violations=[violence]."}, ("violence",), None),
        ({"message": "safety_violations=[sexual, self-harm]"}, ("sexual", "self-harm"), None),
        ({"message": "safety_violations=[]"}, (), None),
        ({"message": "Rejected."}, (), None),
        (
            {
                "message": "safety_violations=[x]",
                "moderation_details": {"categories": ["y"], "moderation_stage": "unknown"},
            },
            ("y",),
            "unknown",
        ),
    ],
)
def test_moderation_details(
    error: dict[str, object], categories: tuple[str, ...], stage: str | None
) -> None:
    """Categories and stage come from the details, or the categories from the message."""
    got = refuse(400, {"error": {"code": "moderation_blocked", **error}})
    assert isinstance(got, ModerationError)
    assert (got.categories, got.stage) == (categories, stage)


FILTERED = {"violence": {"filtered": True, "severity": "high"}, "hate": {"filtered": False}}
POLICY = "ResponsibleAIPolicyViolation"


@pytest.mark.parametrize(
    ("error", "categories"),
    [
        ({"inner_error": {"code": POLICY, "content_filter_results": FILTERED}}, ("violence",)),
        ({"innererror": {"code": POLICY, "content_filter_result": FILTERED}}, ("violence",)),
        (
            {
                "code": "400",
                "provider_specific_fields": {
                    "innererror": {"code": POLICY, "content_filter_result": FILTERED}
                },
            },
            ("violence",),
        ),
        ({"innererror": {"code": POLICY, "content_filter_result": {"hate": True}}}, ()),
        ({"innererror": {"code": POLICY, "content_filter_result": "high"}}, ()),
        ({"innererror": {"code": POLICY}}, ()),
    ],
)
def test_azures_content_filter(error: dict[str, object], categories: tuple[str, ...]) -> None:
    """What Azure's filter blocked is a moderation with its categories, also behind a gateway."""
    got = refuse(400, {"error": {"message": "filtered", **error}})
    assert isinstance(got, ModerationError)
    assert got.categories == categories


@pytest.mark.parametrize(
    "error",
    [
        {"innererror": {"code": "Other"}},
        {"innererror": POLICY},
        {"provider_specific_fields": "x", "inner_error": None},
    ],
)
def test_what_is_no_content_filter(error: dict[str, object]) -> None:
    """Another inner error is an ordinary refusal."""
    assert type(refuse(400, {"error": {"message": "no", **error}})) is BadRequestError


def test_moderation_without_an_object() -> None:
    """A 451 without words is a moderation without categories."""
    error = refuse(451, b"")
    assert isinstance(error, ModerationError)
    assert (error.categories, error.stage) == ((), None)


# Headers, secrets, bounds -----------------------------------------------------------------------


def test_headers_are_kept_without_cookies() -> None:
    """The headers of the answer are kept, cookies are not."""
    error = refuse(500, b"", {**HEADERS, "set-cookie": "s=1", "set-cookie2": "s=1", "via": "x"})
    assert error.headers == {**HEADERS, "via": "x"}


@pytest.mark.parametrize(
    "body",
    [
        nested(None, f"Incorrect API key provided: {SECRET}."),
        nested(SECRET, "x", type=f"a{SECRET}b", param=SECRET),
        {"error": {SECRET: SECRET, "deep": [{"a": [SECRET]}]}},
        {"error": SECRET, "message": SECRET},
        {"detail": [{"loc": ["header", SECRET], "msg": SECRET}]},
        {"error": {"code": "moderation_blocked", "moderation_details": {"categories": [SECRET]}}},
        SECRET,
        [SECRET],
        SECRET.encode(),
        f"<html><title>{SECRET}</title></html>".encode(),
        SECRET.replace("-", "\\u002d").join(['{"error":{"message":"', '"}}']).encode(),
        b"\xff" + SECRET.encode(),
        SECRET.encode() * 3000,
    ],
)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_an_echoed_key_is_nowhere(status: int, body: object) -> None:
    """A key that the server echoes is in no part of the error, however it is looked at."""
    headers = {"x-request-id": f"req-{SECRET}", "www-authenticate": f"Bearer {SECRET}"}
    error = refuse(status, body, headers)
    assert error.headers == {"x-request-id": "req-***", "www-authenticate": "Bearer ***"}
    for shown in (
        str(error),
        repr(error),
        str(vars(error)),
        str(error.args),
        str(error.error),
        str(error.headers),
        pickle.dumps(error).decode("latin-1"),
    ):
        assert SECRET not in shown


def test_redact() -> None:
    """Text, bytes, keys and values of JSON are blotted out; numbers and a short key are not."""
    data = {SECRET: [SECRET, 1, None, True, {"a": f"<{SECRET}>"}], "b": (SECRET,)}
    assert redact(data, SECRET) == {"***": ["***", 1, None, True, {"a": "<***>"}], "b": ["***"]}
    assert redact(f"a{SECRET}b{SECRET}", SECRET) == "a***b***"
    assert redact(SECRET.encode() + b"\xff", SECRET) == b"***\xff"
    assert redact("plain", SECRET) == "plain"
    assert redact(data, "") is data


@pytest.mark.parametrize("placeholder", ["", "x", "e", "none", "EMPTY", "error"])
def test_a_placeholder_is_no_secret(placeholder: str) -> None:
    """Local servers are given "x" or "none" for a key: their words and codes stay whole."""
    body = json.dumps(nested("rate_limit_exceeded", "x none EMPTY error")).encode()
    error = refusal(429, {"via": "x"}, body, secret=placeholder)
    assert type(error) is RateLimitError
    assert error.code == "rate_limit_exceeded"
    assert str(error).startswith("x none EMPTY error (HTTP 429 rate_limit_exceeded)")
    assert error.headers == {"via": "x"}


def test_six_characters_are_a_secret() -> None:
    """From 6 characters on a key is blotted out."""
    body = json.dumps(nested(None, "your key abc123 is wrong")).encode()
    assert "abc123" not in str(refusal(401, {}, body, secret="abc123"))  # noqa: S106


@pytest.mark.parametrize("size", [0, 1, MAX_ERROR_BYTES - 1, MAX_ERROR_BYTES, 10**6])
def test_clip(size: int) -> None:
    """At most 64 KiB of a body are kept."""
    assert clip(b"a" * size, SECRET) == b"a" * min(size, MAX_ERROR_BYTES)
    assert clip(bytearray(size), "") == bytes(min(size, MAX_ERROR_BYTES))


def test_clip_leaves_no_half_of_the_key() -> None:
    """The half of a key that the cut leaves is left out; a whole body is not touched."""
    for visible in range(1, len(SECRET)):
        start = b"@" * (MAX_ERROR_BYTES - visible)
        assert clip(start + SECRET.encode(), SECRET) == start
    assert clip(b"my key is sk", SECRET) == b"my key is sk"


def test_the_longest_message() -> None:
    """A message of 2,000 characters is shown whole, a longer one is cut."""
    assert str(refuse(400, nested(None, "m" * 2000))) == f"{'m' * 2000} (HTTP 400)"
    assert str(refuse(400, nested(None, "m" * 2001))) == f"{'m' * 2000}... (HTTP 400)"


@pytest.mark.parametrize(
    "body",
    [
        nested("c" * 70_000),
        nested("c" * 60_000, "m" * 100),
        nested(None, "m" * 60_000),
        nested(None, type="t" * 60_000),
        nested(None, param="p" * 60_000),
        "s" * 60_000,
        ["s" * 100] * 600,
        {"detail": [{"loc": ["x"], "msg": "m" * 50}] * 800},
        b"t" * 10**6,
        b"<html>" + b"t " * 10**6,
    ],
)
def test_the_error_is_bounded(body: object) -> None:
    """Of an endless body a few lines are shown and at most 64 KiB are kept."""
    error = refuse(400, body)
    assert len(str(error)) < 2500
    assert len(json.dumps(error.error)) <= MAX_ERROR_BYTES + 100
    assert len(pickle.dumps(error)) <= MAX_ERROR_BYTES + 5000
    assert all(len(w or "") < 300 for w in (error.code, error.type, error.param))


@pytest.mark.parametrize(
    "body",
    [b"<" * MAX_ERROR_BYTES, b"<title" * 10_900, b"<title>" * 9_300, b"< " * 32_000],
    ids=lambda body: body[:7].decode(),
)
@pytest.mark.timeout(2)
def test_hostile_pages_are_read_quickly(body: bytes) -> None:
    """A page that was written to keep a regular expression busy does not block the event loop."""
    assert len(str(refuse(502, body))) < 400


@pytest.mark.parametrize("depth", [10, 100, 500, 900, 1000, 2000, 30_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"error":', "}"), ('{"detail":[', "]}")])
def test_deep_bodies(depth: int, left: str, right: str) -> None:
    """A body that is nested as deep as it can be is an error like others."""
    error = refuse(400, (left * depth + "1" + right * depth).encode())
    assert type(error) is BadRequestError
    assert len(str(error)) < 2500


# Anything -------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.sampled_from(
    [
        *("error", "message", "code", "type", "param", "detail", "loc", "msg", "errors"),
        *("moderation_details", "categories", "moderation_stage", "x"),
    ]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.sampled_from(["moderation_blocked", "insufficient_quota", "Limit: 0/1min", SECRET]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(200, 599),
    anything | st.binary(max_size=60),
    st.dictionaries(st.sampled_from(["retry-after", "x-request-id", "date"]), text),
)
@example(400, {"detail": [{"msg": "x", "loc": None}]}, {})
@example(
    400, {"error": {"code": "moderation_blocked", "moderation_details": {"categories": 1}}}, {}
)
@example(400, {"error": {"message": {"a": 10**30}}}, {})
def test_anything_gives_an_error(status: int, body: object, headers: dict[str, str]) -> None:
    """Whatever a server answers: an APIError with its status, which can be printed and pickled."""
    error = refuse(status, body, headers)
    assert isinstance(error, APIError)
    assert error.status == status
    assert f"HTTP {status}" in str(error)
    assert SECRET not in repr(error)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(back), str(back), back.error) == (type(error), str(error), error.error)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_cut_body_gives_an_error(rest: bytes, end: int) -> None:
    """A body that is cut or damaged anywhere still gives the class of its status."""
    body = json.dumps(nested("rate_limit_exceeded", "slow down")).encode()[:end] + rest
    assert isinstance(refuse(401, body), APIError)
