from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from imagesdk.emulator.failures import FailureName, fail_with

NAMES: tuple[FailureName, ...] = get_args(FailureName)


def error(name: FailureName | int) -> tuple[int, str, str | None]:
    failure = fail_with(name, request_id="req_1")
    envelope = json.loads(failure.body)["error"]
    assert envelope.keys() >= {"message", "type", "param", "code"}
    return failure.status, envelope["type"], envelope["code"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("rate_limit", (429, "requests", "rate_limit_exceeded")),
        ("slow_down", (429, "rate_limit_error", "slow_down")),
        ("no_access", (429, "requests", "rate_limit_exceeded")),
        ("quota", (429, "insufficient_quota", "insufficient_quota")),
        ("credit", (429, "insufficient_quota", "credit_balance_exhausted")),
        ("billing", (400, "invalid_request_error", "billing_hard_limit_reached")),
        ("moderation", (400, "image_generation_user_error", "moderation_blocked")),
        ("unverified", (403, "invalid_request_error", None)),
        ("overloaded", (503, "service_unavailable_error", "server_is_overloaded")),
        (401, (401, "invalid_request_error", "invalid_api_key")),
        (418, (418, "invalid_request_error", None)),
        (429, (429, "requests", "rate_limit_exceeded")),
        (500, (500, "server_error", None)),
        (503, (503, "service_unavailable_error", "server_is_overloaded")),
        (524, (524, "server_error", None)),
        (200, (200, "invalid_request_error", None)),
    ],
)
def test_failures_have_the_codes_of_the_real_server(
    name: FailureName | int, answer: tuple[int, str, str | None]
) -> None:
    """Status, type and code are what clients decide by."""
    assert error(name) == answer


def test_no_access_names_a_limit_of_nothing() -> None:
    """What tells a tier without access from a busy minute is in the words alone."""
    assert b"Limit: 0/1min" in fail_with("no_access", request_id="r").body


@pytest.mark.parametrize(("name", "kind"), [("cloudflare", "plain"), ("gateway", "html")])
def test_proxies_do_not_answer_in_json(name: FailureName, kind: str) -> None:
    """What stands before the server answers in its own words."""
    failure = fail_with(name, request_id="req_1")
    assert failure.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
    assert b"{" not in failure.body


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        ("plain", b"plain", "text/plain; charset=utf-8"),
        (" <html>", b" <html>", "text/html; charset=utf-8"),
        ({"data": None}, b'{"data":null}', "application/json"),
        (None, b"null", "application/json"),
        ([], b"[]", "application/json"),
    ],
)
def test_a_body_of_ones_own(body: Any, content: bytes, kind: str) -> None:
    """A text is sent as it is, anything else as JSON."""
    failure = fail_with(500, request_id="r", body=body)
    assert (failure.body, failure.headers["Content-Type"]) == (content, kind)


def test_a_message_and_a_code_of_ones_own() -> None:
    """They replace those of the failure."""
    failure = fail_with(429, request_id="r", message="Please try again in 1.2s.", code="x")
    envelope = json.loads(failure.body)["error"]
    assert (envelope["message"], envelope["code"]) == ("Please try again in 1.2s.", "x")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    """HTTP forbids one."""
    assert fail_with(status, request_id="r").body == b""


@pytest.mark.parametrize("name", NAMES)
def test_every_failure_has_its_answer(name: FailureName) -> None:
    """There is no name without an answer, and none of them is a success."""
    assert fail_with(name, request_id="req_1").status >= 400
