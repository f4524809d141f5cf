"""Turn a server's refusal into the right exception, whatever dialect it speaks.

Dialects: nested ``{"error": {"message", "type", "param", "code"}}`` · ``{"error": "text"}`` · sd.cpp's
``{"error": "code", "message": "text"}`` · FastAPI's ``{"detail": "text"}``, a list of them or an object · a bare JSON
string · HTML of a proxy · plain text · nothing. Codes may be numbers.

What decides is the code, never the prose, with one exception: "Limit: 0/1min" has no code of its own.
Codes: https://platform.openai.com/docs/guides/error-codes (read 2026-11-20)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

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
from imagesdk.protocol.headers import rate_limit_info, retry_after

__all__ = ("MAX_ERROR_BYTES", "clip", "redact", "refusal")

MAX_ERROR_BYTES = 64 * 1024
"""Bytes of an error's body that are read."""

_MAX_MESSAGE_CHARS = 2000
_MAX_WORD_CHARS = 200
_MIN_SECRET_CHARS = 6
_NOT_KEPT = frozenset({"set-cookie", "set-cookie2"})

# Waiting does not help. https://help.openai.com/en/articles/6614457 (read 2026-11-20)
_QUOTA_CODES = frozenset(
    {
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
# Azure reuses these for a limit a minute; then a Retry-After comes with them.
# https://github.com/promptfoo/promptfoo/pull/10866
_MAYBE_QUOTA_CODES = frozenset({"insufficient_quota", "quota_exceeded"})
_MODERATION_CODES = frozenset(
    {
        "content_policy_violation",
        "content_safety_violation",
        "contentfilter",
        "content_filter",
        "image_content_policy_violation",
        "moderation_blocked",
    }
)
_TRANSIENT = frozenset({408, 409, 425})
# What an error that came with status 200 would have been: in a stream the status leaves first.
_STATUS_OF_CODE = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
    "internal_server_error": 500,
    "server_error": 500,
    "overloaded_error": 503,
    "service_unavailable": 503,
}
_HOW_TO_RAISE = (
    "Lower images_per_minute to your account's limit, or raise the limit at "
    "https://platform.openai.com/settings/organization/limits"
)
_FALSE_POSITIVE = (
    "If you believe this is a mistake, rephrase the prompt or change the image; report a false "
    "positive at https://help.openai.com and quote"
)
# Neither looks beyond the next "<": a page of 64 KiB of "<" is read in linear time.
_MARKUP = re.compile(r"<[a-zA-Z!?/]")
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_CATEGORIES = re.compile(r"safety_violations=\[([^\]]*)\]")


_USER = re.compile("(?<=//)[^/]*(?=@)")
_QUERY = re.compile("[?#].*", re.DOTALL)


@attrs.frozen(kw_only=True)
class _Words:
    """What a refusal says, in the fields of the nested dialect."""

    message: str
    error: Mapping[str, Any] | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None


def redact(value: Any, secret: str) -> Any:  # noqa: ANN401
    """Return *value*, text or JSON data, with every occurrence of *secret* blotted out.

    A secret of fewer than 6 characters is none: it is the ``"x"`` or ``"none"`` that local servers
    are given for a key, and blotting that out would destroy the server's words and codes.
    """
    if len(secret) < _MIN_SECRET_CHARS:
        return value
    match value:
        case str():
            return value.replace(secret, "***")
        case bytes():
            return value.replace(secret.encode(), b"***")
        case Mapping():
            return {redact(k, secret): redact(v, secret) for k, v in value.items()}
        case list() | tuple():
            return [redact(item, secret) for item in value]
        case _:
            return value


def shown_url(url: str) -> str:
    """Return a URL without what may be secret: user and password, and the query with its signature."""
    return _QUERY.sub("", _USER.sub("***", url))


def clip(body: bytes | bytearray, secret: str) -> bytes:
    """Return the first `MAX_ERROR_BYTES` bytes without *secret*, nor the part of it before the cut."""
    kept: bytes = redact(bytes(body[:MAX_ERROR_BYTES]), secret)
    key = secret.encode()
    if len(body) >= MAX_ERROR_BYTES:
        for length in range(len(key) - 1, 0, -1):
            if kept.endswith(key[:length]):
                return kept[:-length]
    return kept


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, secret: str = "") -> APIError:
    """Return the exception for an answer that is no success.

    Args:
        status: HTTP status, 300 or more; or 200 with an error object in the body.
        headers: Names in lower case.
        body: The first `MAX_ERROR_BYTES` bytes.
        secret: The API key: blotted out wherever the server echoes it.
    """
    words = _read(clip(body, secret), secret)
    kept = {k: redact(v, secret) for k, v in headers.items() if k not in _NOT_KEPT}
    if "location" in kept:
        kept["location"] = shown_url(kept["location"])
    kind = _kind(status, words, kept)
    wait = retry_after(kept, words.message)
    fields: dict[str, Any] = {
        "status": status,
        "error": words.error,
        "request_id": kept.get("x-request-id"),
        "retry_after": wait,
        "code": words.code,
        "type": words.type,
        "param": words.param,
        "headers": kept,
    }
    if kind is ModerationError:
        fields["categories"], fields["stage"] = _moderation(words)
    return kind(_message(kind, status, words, wait, kept), **fields)


def _kind(status: int, words: _Words, headers: Mapping[str, str]) -> type[APIError]:
    code = (words.code or "").lower()
    if status < 300:
        by_number = int(code) if re.fullmatch("[45][0-9][0-9]", code) else status
        by_type = _STATUS_OF_CODE.get((words.type or "").lower(), by_number)
        status = _STATUS_OF_CODE.get(code, by_type)
    blocked = words.type == "image_generation_user_error" or _azure_filter(words) is not None
    if code in _MODERATION_CODES or blocked:
        return ModerationError
    if code in _QUOTA_CODES or status == 402:
        return QuotaExceededError
    if code in _MAYBE_QUOTA_CODES or words.type == "insufficient_quota":
        waits = code in _MAYBE_QUOTA_CODES and retry_after(headers) is not None
        return RateLimitError if waits else QuotaExceededError
    if status == 429:
        no_access = rate_limit_info({}, words.message).limit == 0
        return PermissionDeniedError if no_access else RateLimitError
    by_status: dict[int, type[APIError]] = {
        401: AuthenticationError,
        403: PermissionDeniedError,
        404: NotFoundError,
        451: ModerationError,
    }
    if status in by_status:
        return by_status[status]
    failed = status >= 500 or status in _TRANSIENT
    return ServerError if failed or words.type == "server_error" else BadRequestError


def _message(
    kind: type[APIError],
    status: int,
    words: _Words,
    wait: float | None,
    headers: Mapping[str, str],
) -> str:
    label = f"{status}" + (f" {words.code}" if words.code else "")
    parts = [f"{words.message} (HTTP {label})" if words.message else f"HTTP {label}, no message"]
    if kind is RateLimitError:
        parts.append(f"The server asks to wait {wait:g} s." if wait is not None else "")
        parts.append(f"{_HOW_TO_RAISE}.")
    elif kind is ModerationError:
        request_id = headers.get("x-request-id")
        quoted = f"the request id, {request_id}" if request_id else "the request id"
        parts.append(f"{_FALSE_POSITIVE} {quoted}.")
    elif kind is QuotaExceededError:
        parts.append("Waiting does not help: add credit or raise the account's spending limit.")
    elif kind is PermissionDeniedError and status == 429:
        parts.append("A limit of 0 means that this key has no access to the model.")
    elif kind is NotFoundError and (not words.message or words.message.startswith("Invalid URL")):
        parts.append(
            "The server has no such endpoint: check base_url (most end with /v1) and what it offers."
        )
    elif 300 <= status < 400:
        target = headers.get("location", "")
        parts.append(f"It points to {_shorten(target, _MAX_WORD_CHARS)}." if target else "")
        parts.append("API calls follow no redirects: set base_url to where the server really is.")
    return ". ".join(part.rstrip(".") for part in parts if part)


def _read(body: bytes, secret: str) -> _Words:
    text = body.decode("utf-8-sig", "replace").strip()
    try:
        # Blotted out once more: in JSON a key can hide behind escapes such as \u002d.
        data = redact(msgspec.json.decode(text), secret) if text else None
    except (msgspec.DecodeError, RecursionError):
        return _Words(message=_from_markup(text))
    if isinstance(data, dict):
        return _from_object(data)
    return _words(data, {}, None)


def _from_object(data: dict[str, Any]) -> _Words:
    error, message = data.get("error"), data.get("message")
    if isinstance(error, dict):
        return _words(error.get("message") or error.get("detail"), error, error.get("code"))
    if isinstance(error, str) and isinstance(message, str):
        return _words(message, data, error)
    said = error or data.get("detail") or message
    if isinstance(said, dict):  # a detail that is an object
        said = said.get("message") or said.get("error") or said
    return _words(said, data, data.get("code"))


def _words(message: object, error: Mapping[str, Any], code: object) -> _Words:
    def field(name: str) -> str | None:
        value = error.get(name)
        return None if value is None else _shorten(_text(value), _MAX_WORD_CHARS)

    return _Words(
        message=_shorten(_detail(message) if message else ""),
        error=error or None,
        code=None if code is None else _shorten(_text(code), _MAX_WORD_CHARS),
        type=field("type"),
        param=field("param"),
    )


def _detail(detail: object) -> str:
    """Return a message as text; FastAPI's list of validation errors becomes one sentence."""
    if not isinstance(detail, list):
        return _text(detail)
    parts = []
    for item in detail:
        if isinstance(item, Mapping) and "msg" in item:
            loc = item.get("loc")
            steps = loc if isinstance(loc, list) else []
            where = ".".join(str(step) for step in steps if step != "body")
            parts.append(f"{where}: {item['msg']}" if where else str(item["msg"]))
        else:
            parts.append(_text(item))
    return "; ".join(parts)


def _from_markup(text: str) -> str:
    """Say in a few words what a page or a plain text says."""
    if not _MARKUP.search(text):
        return _shorten(" ".join(text.split()), _MAX_WORD_CHARS)
    title = _TITLE.search(text)
    words = " ".join(_TAG.sub(" ", title[1] if title else text).split())
    return f"a proxy or web server answered with a page: {_shorten(words, _MAX_WORD_CHARS)}"


def _azure_filter(words: _Words) -> Mapping[str, Any] | None:
    """Return what Azure's content filter says of a prompt that it blocked, None if it did not.

    LiteLLM passes it on with a code of its own: https://github.com/BerriAI/litellm/pull/16231
    """
    error = words.error or {}
    passed_on = error.get("provider_specific_fields")
    for place in (error, passed_on if isinstance(passed_on, Mapping) else {}):
        inner = place.get("innererror") or place.get("inner_error")
        if isinstance(inner, Mapping) and inner.get("code") == "ResponsibleAIPolicyViolation":
            found = inner.get("content_filter_results") or inner.get("content_filter_result")
            return found if isinstance(found, Mapping) else {}
    return None


def _moderation(words: _Words) -> tuple[tuple[str, ...], str | None]:
    details = (words.error or {}).get("moderation_details")
    if isinstance(details, Mapping):
        categories = details.get("categories")
        stage = details.get("moderation_stage")
        named = tuple(map(str, categories)) if isinstance(categories, list) else ()
        return named, None if stage is None else str(stage)
    if results := _azure_filter(words):
        return tuple(
            str(category)
            for category, result in results.items()
            if isinstance(result, Mapping) and result.get("filtered") is True
        ), None
    match = _CATEGORIES.search(words.message)
    named = tuple(c.strip() for c in match[1].split(",") if c.strip()) if match else ()
    return named, None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    return msgspec.json.encode(value).decode()


def _shorten(text: str, longest: int = _MAX_MESSAGE_CHARS) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
