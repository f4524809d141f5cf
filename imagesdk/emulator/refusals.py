"""Refusals: every error answer of the API as a value, in the words of the real server.

Wording and codes: shared/reference/images-api.md section 3.7 and the issue threads named there,
read 2026-11-20. Codes of ``invalid_request_error`` are the API's own; a refusal for which the
documents name no code uses the nearest general one (``invalid_value``, ``invalid_image``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

__all__ = (
    "Refusal",
    "above_maximum",
    "array_too_long",
    "below_minimum",
    "duplicate_parameter",
    "idempotency_key_in_use",
    "idempotency_key_reused",
    "invalid_fault",
    "invalid_image",
    "invalid_type",
    "invalid_value",
    "key_missing",
    "key_wrong",
    "limit_reached_classic",
    "limit_reached_gpt",
    "malformed_body",
    "missing_parameter",
    "model_not_found",
    "moderation_blocked",
    "policy_violation",
    "server_error",
    "string_too_long",
    "too_large",
    "unknown_parameter",
    "unknown_route",
    "unsupported_content_type",
    "unsupported_method",
    "unsupported_value",
)

_KEYS_PAGE = "https://platform.openai.com/account/api-keys"
LIMITS_PAGE = "https://platform.openai.com/docs/guides/rate-limits"
ORGANIZATION = "org-emulator"


@attrs.frozen(kw_only=True)
class Refusal:
    """One error answer.

    Attributes:
        message: What was wrong, for people.
        param: The parameter at fault, or None.
        code: Machine-readable reason, or None.
        type: Class of the error.
        status: HTTP status.
        headers: Headers that belong to this refusal, such as ``Retry-After``.
        details: Further members of the error object.
    """

    message: str
    param: str | None = None
    code: str | None = None
    type: str = "invalid_request_error"
    status: int = 400
    headers: Mapping[str, str] = attrs.field(factory=dict)
    details: Mapping[str, Any] = attrs.field(factory=dict)

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer, safe to encode whatever the client sent."""
        error = {
            "message": _encodable(self.message),
            "type": self.type,
            "param": None if self.param is None else _encodable(self.param),
            "code": self.code,
        }
        return {"error": {**error, **self.details}}


def _encodable(text: str) -> str:
    """Replace lone surrogates, which headers and paths may carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _listed(values: Iterable[str]) -> str:
    """Return values as the server lists them: 'a', 'b', and 'c'."""
    *head, last = [f"'{value}'" for value in values]
    match head:
        case []:
            return last
        case [only]:
            return f"{only} and {last}"
    return f"{', '.join(head)}, and {last}"


# Parameters


def missing_parameter(param: str) -> Refusal:
    """Refuse a request without a required parameter."""
    return Refusal(
        message=f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def unknown_parameter(param: str) -> Refusal:
    """Refuse a parameter that the model does not take."""
    return Refusal(message=f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def duplicate_parameter(param: str) -> Refusal:
    """Refuse a form field that came twice (openai/openai-ruby#311)."""
    return Refusal(
        message=(
            f"Duplicate parameter: '{param}'. You provided multiple values for this parameter, "
            "whereas only one is allowed. If you are trying to provide a list of values, use the "
            f"array syntax instead e.g. '{param}[]=<value>'."
        ),
        param=param,
        code="duplicate_parameter",
    )


def invalid_type(param: str, expected: str, got: object) -> Refusal:
    """Refuse a value of the wrong JSON type."""
    return Refusal(
        message=f"Invalid type for '{param}': expected {expected}, but got {_kind(got)} instead.",
        param=param,
        code="invalid_type",
    )


def _kind(value: object) -> str:
    """Name the JSON type of a value as the server does."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal number"),
        (str, "a string"),
        (list, "an array"),
        (dict, "an object"),
        (type(None), "null"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "a file")


def unsupported_value(param: str, value: str, supported: Iterable[str]) -> Refusal:
    """Refuse a value that is not in the list of the model."""
    values = tuple(supported)
    verb = "Supported values are" if len(values) > 1 else "Supported value is"
    return invalid_value(param, f"Invalid value: '{value[:200]}'. {verb}: {_listed(values)}.")


def invalid_value(param: str, message: str) -> Refusal:
    """Refuse a value that breaks a rule which the message explains."""
    return Refusal(message=message, param=param, code="invalid_value")


def invalid_fault(message: str) -> Refusal:
    """Refuse a fault that is asked for and cannot be."""
    return Refusal(message=message, code="invalid_fault")


def below_minimum(param: str, minimum: int, got: int) -> Refusal:
    """Refuse an integer that is too small."""
    return Refusal(
        message=(
            f"Invalid '{param}': integer below minimum value. "
            f"Expected a value >= {minimum}, but got {got} instead."
        ),
        param=param,
        code="integer_below_min_value",
    )


def above_maximum(param: str, maximum: int, got: int) -> Refusal:
    """Refuse an integer that is too large."""
    return Refusal(
        message=(
            f"Invalid '{param}': integer above maximum value. "
            f"Expected a value <= {maximum}, but got {got} instead."
        ),
        param=param,
        code="integer_above_max_value",
    )


def string_too_long(param: str, maximum: int, got: int) -> Refusal:
    """Refuse a string with too many characters."""
    return Refusal(
        message=(
            f"Invalid '{param}': string too long. Expected a string with maximum length "
            f"{maximum}, but got a string with length {got} instead."
        ),
        param=param,
        code="string_above_max_length",
    )


def array_too_long(param: str, maximum: int, got: int) -> Refusal:
    """Refuse an array with too many members."""
    return Refusal(
        message=(
            f"Invalid '{param}': array too long. Expected an array with maximum length "
            f"{maximum}, but got an array with length {got} instead."
        ),
        param=param,
        code="array_above_max_length",
    )


def invalid_image(param: str, message: str, code: str = "invalid_image") -> Refusal:
    """Refuse an uploaded picture, with one of the image codes of section 3.7."""
    return Refusal(message=message, param=param, code=code)


def model_not_found(model: str) -> Refusal:
    """Refuse a model that does not exist."""
    return Refusal(
        message=f"The model '{model[:200]}' does not exist",
        param="model",
        code="model_not_found",
        status=404,
    )


# Bodies and routes


def malformed_body(what: str) -> Refusal:
    """Refuse a body that cannot be parsed; *what* is "JSON" or "multipart form"."""
    return Refusal(
        message=(
            f"We could not parse the {what} body of your request. (HINT: This likely means you "
            f"aren't using your HTTP library correctly. The OpenAI API expects a {what} payload, "
            "but what was sent was not valid.)"
        )
    )


def unsupported_content_type(got: str, expected: str) -> Refusal:
    """Refuse a body of a type that the method does not take."""
    return Refusal(
        message=(
            f"Unsupported content type: '{got[:200]}'. This API method only accepts {expected} "
            "requests. Please try again with a supported content type."
        ),
        code="unsupported_content_type",
    )


def too_large(maximum: int) -> Refusal:
    """Refuse a body of too many bytes."""
    return Refusal(message=f"Maximum content size limit ({maximum}) exceeded.", status=413)


def unknown_route(method: str, path: str) -> Refusal:
    """Refuse an address that does not exist."""
    return Refusal(message=f"Invalid URL ({method} {path})", status=404)


def unsupported_method(method: str, path: str) -> Refusal:
    """Refuse a method that the address does not take."""
    return Refusal(
        message=(
            f"Not allowed to {method} on {path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)"
        ),
        code="method_not_supported",
        status=405,
    )


def server_error() -> Refusal:
    """Report a fault of the server itself."""
    return Refusal(
        message="The server had an error while processing your request. Sorry about that!",
        type="server_error",
        status=500,
    )


# Keys


def key_missing() -> Refusal:
    """Refuse a request without a key."""
    return Refusal(
        message=(
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password "
            "field (with blank username) if you're accessing the API from your browser and are "
            "prompted for a username and password. You can obtain an API key from "
            f"{_KEYS_PAGE}."
        ),
        status=401,
    )


def key_wrong(key: str) -> Refusal:
    """Refuse a wrong key; the message shows only its ends."""
    masked = f"{key[:5]}***{key[-4:]}" if len(key) > 12 else "***"
    return Refusal(
        message=(
            f"Incorrect API key provided: {masked}. You can find your API key at {_KEYS_PAGE}."
        ),
        code="invalid_api_key",
        status=401,
    )


# Idempotency keys: status 409 and 422 as in
# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (read 2026-11-26)


def idempotency_key_in_use() -> Refusal:
    """Refuse a request whose key belongs to one that is not answered yet."""
    return Refusal(
        message="A request with this Idempotency-Key is still being processed.",
        code="idempotency_key_in_use",
        status=409,
    )


def idempotency_key_reused() -> Refusal:
    """Refuse a request whose key was used before."""
    return Refusal(
        message="This Idempotency-Key was used for another request. Use a new one.",
        code="idempotency_key_reused",
        status=422,
    )


# Content policy


def policy_violation() -> Refusal:
    """Refuse a prompt or picture on content policy, as the classic models do."""
    return Refusal(
        message=(
            "Your request was rejected as a result of our safety system. Your prompt may contain "
            "text that is not allowed by our safety system."
        ),
        code="content_policy_violation",
    )


def moderation_blocked(request_id: str, category: str = "violence") -> Refusal:
    """Refuse a prompt or picture on content policy, as the GPT Image models do."""
    return Refusal(
        message=(
            "Your request was rejected by the safety system. If you believe this is an error, "
            f"contact us at help.openai.com and include the request ID {request_id}. "
            f"safety_violations=[{category}]."
        ),
        type="image_generation_user_error",
        code="moderation_blocked",
        details={"moderation_details": {"categories": [category], "moderation_stage": "input"}},
    )


# Rate limits: both forms are quoted in shared/reference/rate-limits.md section 3, read 2026-11-20


def limit_reached_classic(limit: float, used: int, requested: int) -> Refusal:
    """Refuse images beyond the limit, in the words of 2023-25."""
    return Refusal(
        message=(
            f"Rate limit exceeded for images per minute in organization {ORGANIZATION}. "
            f"Limit: {limit:g}/1min. Current: {used + requested}/1min. "
            f"Please visit {LIMITS_PAGE} to learn how to increase your rate limit."
        ),
        type="requests",
        code="rate_limit_exceeded",
        status=429,
    )


def limit_reached_gpt(
    model: str, limit: float, used: int, requested: int, wait: str | None
) -> Refusal:
    """Refuse images beyond the limit, in the words of 2026.

    *wait* is None when no waiting helps, because one request asks for more than the limit.
    """
    again = "" if wait is None else f"Please try again in {wait}. "
    return Refusal(
        message=(
            f"Rate limit reached for {model} (for limit gpt-image) in organization {ORGANIZATION} "
            f"on images per min: Limit {limit:g}, Used {used}, Requested {requested}. {again}"
            f"Visit {LIMITS_PAGE} to learn more."
        ),
        type="requests",
        code="rate_limit_exceeded",
        status=429,
    )
