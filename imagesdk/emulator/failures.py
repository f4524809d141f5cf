"""Failures on demand: what the real server and the proxies before it answer, by name or status. Pure.

Words and codes: shared/reference/images-api.md section 3.7 and rate-limits.md section 3, with the
threads named there, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Literal

import attrs
import msgspec

from imagesdk.emulator.refusals import (
    LIMITS_PAGE,
    ORGANIZATION,
    Refusal,
    key_wrong,
    limit_reached_classic,
    moderation_blocked,
    server_error,
)

__all__ = ("Failure", "FailureName", "fail_with")

FailureName = Literal[
    "rate_limit",
    "slow_down",
    "no_access",
    "quota",
    "credit",
    "billing",
    "moderation",
    "unverified",
    "overloaded",
    "cloudflare",
    "gateway",
]

_NO_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED}
_CLOUDFLARE = "error code: 1015"
_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@attrs.frozen(kw_only=True)
class Failure:
    """An answer in place of the images."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


def fail_with(
    fail: int | FailureName,
    *,
    request_id: str,
    message: str | None = None,
    code: str | None = None,
    body: Any = msgspec.UNSET,  # noqa: ANN401  # any JSON value
) -> Failure:
    """Return a failure.

    Args:
        fail: A status, or the name of a failure.
        request_id: Named in some messages.
        message: Instead of the usual message.
        code: Instead of the usual code.
        body: Instead of the usual body: a text as it is, anything else as JSON.
    """
    refusal = _of_status(fail) if isinstance(fail, int) else _NAMED[fail](request_id)
    if message is not None:
        refusal = attrs.evolve(refusal, message=message)
    if code is not None:
        refusal = attrs.evolve(refusal, code=code)
    if body is msgspec.UNSET:
        plain = {"cloudflare": _CLOUDFLARE, "gateway": _GATEWAY}
        body = plain.get(str(fail), refusal.envelope())
    content, content_type = _encoded(body)
    return Failure(
        status=refusal.status,
        headers={"Content-Type": content_type, **refusal.headers},
        body=b"" if refusal.status in _NO_BODY else content,
    )


def _encoded(body: Any) -> tuple[bytes, str]:  # noqa: ANN401  # any JSON value
    """Return a body and its type."""
    if not isinstance(body, str):
        return msgspec.json.encode(body), "application/json"
    kind = "html" if body.lstrip().startswith("<") else "plain"
    return body.encode("utf-8", "replace"), f"text/{kind}; charset=utf-8"


def _of_status(status: int) -> Refusal:
    """Return what the server most likely means by a status."""
    known: Mapping[int, Callable[[], Refusal]] = {
        401: lambda: key_wrong("sk-test-emulated-fault"),
        429: _rate_limit,
        500: server_error,
        503: _overloaded,
    }
    if status in known:
        return known[status]()
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "no standard status"
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return Refusal(message=f"A fault on demand: {status} {phrase}.", type=kind, status=status)


def _rate_limit() -> Refusal:
    """Refuse without naming a limit: a client that was told one would go by it from then on."""
    return Refusal(
        message=(
            f"Rate limit reached for images per minute in organization {ORGANIZATION}. "
            f"Please try again later. Visit {LIMITS_PAGE} to learn more."
        ),
        type="requests",
        code="rate_limit_exceeded",
        status=429,
    )


def _overloaded() -> Refusal:
    return Refusal(
        message="The server is currently overloaded. Please try again later.",
        type="service_unavailable_error",
        code="server_is_overloaded",
        status=503,
    )


def _slow_down() -> Refusal:
    return Refusal(
        message=(
            "Your request rate rose too fast. Please reduce it to its former level, keep it there "
            "for at least 15 minutes, and then raise it gradually."
        ),
        type="rate_limit_error",
        code="slow_down",
        status=429,
    )


def _exhausted(code: str, message: str) -> Refusal:
    return Refusal(message=message, type="insufficient_quota", code=code, status=429)


def _unverified() -> Refusal:
    return Refusal(
        message=(
            f"Your organization {ORGANIZATION} must be verified to use this model. Please go to "
            "https://platform.openai.com/settings/organization/general and click on Verify "
            "Organization."
        ),
        status=403,
    )


_NAMED: Mapping[FailureName, Callable[[str], Refusal]] = {
    "rate_limit": lambda _: _rate_limit(),
    "slow_down": lambda _: _slow_down(),
    "no_access": lambda _: limit_reached_classic(0, 0, 1),
    "quota": lambda _: _exhausted(
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "credit": lambda _: _exhausted("credit_balance_exhausted", "You have no credits remaining."),
    "billing": lambda _: Refusal(
        message="Billing hard limit has been reached", code="billing_hard_limit_reached"
    ),
    "moderation": moderation_blocked,
    "unverified": lambda _: _unverified(),
    "overloaded": lambda _: _overloaded(),
    # A page or a line of a proxy, not the server's envelope: the refusal gives the status alone.
    "cloudflare": lambda _: Refusal(message="", status=429),
    "gateway": lambda _: Refusal(message="", status=502),
}
