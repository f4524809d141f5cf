"""Every exception that this package raises.

The tree::

    ImageSDKError
      ConfigurationError(ValueError)
      InvalidRequestError(ValueError)          before any I/O
        InvalidImageError
      TransportError                           no usable answer arrived
        ConnectError
        ResponseInterruptedError
        RequestTimeoutError(TimeoutError)
      ProtocolError                            the server's bytes make no sense
        PayloadTooLargeError
        StreamIncompleteError
      APIError                                 the server refused
        BadRequestError
        AuthenticationError
        PermissionDeniedError
        NotFoundError
        RateLimitError
        QuotaExceededError
        ServerError
        ModerationError
      AmbiguousError                           its cause is one of the above
      PartialResultError                       some images arrived, some did not
      ExpiredURLError
      RateLimitTooLongError
      LimiterUnavailableError
      BatchError
        LedgerError

``except ImageSDKError as e: e.status, e.error`` works for every one of them: both are None when
there was no answer. Errors pickle, carry no API key, and hold at most 64 KiB of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from imagesdk.client.results import ImagesResponse
    from imagesdk.client.streaming import PartialImage

__all__ = (
    "APIError",
    "AmbiguousError",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BatchError",
    "ConfigurationError",
    "ConnectError",
    "ExpiredURLError",
    "ImageSDKError",
    "InvalidImageError",
    "InvalidRequestError",
    "LedgerError",
    "LimiterUnavailableError",
    "ModerationError",
    "NotFoundError",
    "PartialResultError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "ProtocolError",
    "QuotaExceededError",
    "RateLimitError",
    "RateLimitTooLongError",
    "RequestTimeoutError",
    "ResponseInterruptedError",
    "ServerError",
    "StreamIncompleteError",
    "TransportError",
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BREAK = re.compile(r"[\t-\r\x85\u2028\u2029]+ *")

Phase = Literal["connect", "send", "receive"]


@attrs.frozen(kw_only=True)
class Attempt:
    """One HTTP exchange of a call.

    Attributes:
        number: 1 for the first exchange of the call.
        outcome: ``"ok"``, or the class of the failure: ``"not_sent"``, ``"throttled"``, ``"failed"``,
            ``"ambiguous"``, ``"still_running"``, ``"unusable"`` or ``"final"``.
        elapsed: Seconds from the start of the exchange to its end.
        status: HTTP status, None when no answer arrived.
        request_id: The server's ``x-request-id``.
        error: One line on what went wrong, None for ``"ok"``.
        may_be_billed: True if the server may charge for this exchange although it failed.
    """

    number: int
    outcome: str
    elapsed: float
    status: int | None = None
    request_id: str | None = None
    error: str | None = None
    may_be_billed: bool = False


def _one_line(text: str) -> str:
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BREAK.sub(" ", text))


def _rebuild(
    cls: type[ImageSDKError], fields: dict[str, Any], state: dict[str, Any]
) -> ImageSDKError:
    """Make an error again from what `ImageSDKError.__reduce__` kept of it."""
    error = cls(**fields)
    error.__dict__.update(state)
    return error


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class ImageSDKError(Exception):
    """Base class of all errors of this package.

    Attributes:
        message: What was wrong, the value, the limit and the next step. One line without control
            characters, whatever a server said: it is safe on a terminal and in a log.
        status: HTTP status of the server's answer, None when there was none.
        error: The server's error object as it was sent, with the API key blotted out; None without one.
        request_id: The server's ``x-request-id``: quote it when you ask the server's support.
        attempts: The HTTP exchanges of the call, in order.
        may_be_billed: True if at least one exchange that failed may still have been charged.
        retry_after: Seconds that the server asked to wait, None if it did not say.
    """

    message: str
    status: int | None = attrs.field(default=None, kw_only=True)
    error: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    request_id: str | None = attrs.field(default=None, kw_only=True)
    attempts: tuple[Attempt, ...] = attrs.field(default=(), kw_only=True, repr=False)
    may_be_billed: bool = attrs.field(default=False, kw_only=True)
    retry_after: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.message: str = _one_line(self.message)
        self.args: tuple[Any, ...] = (self.message,)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {a.name: getattr(self, a.name) for a in attrs.fields(type(self))}
        state = {k: v for k, v in self.__dict__.items() if k not in fields}  # notes
        return _rebuild, (type(self), fields, state)


class ConfigurationError(ImageSDKError, ValueError):
    """The session cannot work as it was set up: no key, a bad base_url, used from two event loops."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class InvalidRequestError(ImageSDKError, ValueError):
    """The request breaks a rule of the API; nothing was sent.

    Attributes:
        field: Name of the argument, for example ``"prompt"`` or ``"image[1]"``.
        value: What was given (a measure of it where the value itself is long).
        limit: What the API allows.
        problems: One line for each rule that was broken; the first is the message.
    """

    field: str | None = attrs.field(default=None, kw_only=True)
    value: object = attrs.field(default=None, kw_only=True)
    limit: object = attrs.field(default=None, kw_only=True)
    problems: tuple[str, ...] = attrs.field(default=(), kw_only=True)


class InvalidImageError(InvalidRequestError):
    """An input image is missing, unreadable or breaks a rule of the API; nothing was sent."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class TransportError(ImageSDKError):
    """No usable answer arrived.

    Attributes:
        phase: Where the exchange broke: ``"connect"`` and ``"send"`` (before the last byte of the
            request was written: the server cannot have made an image) or ``"receive"``.
    """

    phase: Phase = attrs.field(default="connect", kw_only=True)


class ConnectError(TransportError):
    """No connection: name resolution, refusal, TLS. Nothing was sent."""


class ResponseInterruptedError(TransportError):
    """The connection broke while the request was written or the answer was read."""


class RequestTimeoutError(TransportError, TimeoutError):
    """The call's ``timeout``, or an attempt's, passed."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class ProtocolError(ImageSDKError):
    """The server answered with success, but its bytes make no sense. Never sent again: it was billed.

    Attributes:
        body: What arrived, up to 64 KiB, with the API key blotted out.
    """

    body: bytes = attrs.field(default=b"", kw_only=True, repr=False)


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class PayloadTooLargeError(ProtocolError):
    """The answer is larger than the session accepts.

    Attributes:
        limit_bytes: The cap that was passed.
    """

    limit_bytes: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class StreamIncompleteError(ProtocolError):
    """A stream ended without its completed image.

    Attributes:
        partial: The last `PartialImage` that arrived, None if there was none.
    """

    partial: PartialImage | None = attrs.field(default=None, kw_only=True, repr=False)


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class APIError(ImageSDKError):
    """The server refused the request.

    Attributes:
        code: The server's machine-readable code, for example ``"rate_limit_exceeded"``.
        type: The server's class of error, for example ``"invalid_request_error"``.
        param: The parameter that the server complains about.
        headers: Headers of the answer, names in lower case, without cookies.
    """

    code: str | None = attrs.field(default=None, kw_only=True)
    type: str | None = attrs.field(default=None, kw_only=True)
    param: str | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, repr=False)


class BadRequestError(APIError):
    """400, 413, 422 and other 4xx: the request itself is wrong."""


class AuthenticationError(APIError):
    """401: the key is wrong or missing."""


class PermissionDeniedError(APIError):
    """403, or 429 with a limit of zero: this key may not use this model."""


class NotFoundError(APIError):
    """404: no such endpoint or model on this server."""


class RateLimitError(APIError):
    """429: the limit was reached and the call could not wait for it."""


class QuotaExceededError(APIError):
    """The account has no credit or has reached its spending limit: waiting does not help."""


class ServerError(APIError):
    """5xx, 408, 409, 425: the server failed."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class ModerationError(APIError):
    """The prompt, an input image or the result was refused by the server's safety system.

    Attributes:
        categories: What the server names, for example ``("violence",)``; empty if it does not say.
        stage: ``"input"``, ``"output"`` or ``"unknown"``; None if it does not say.
    """

    categories: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    stage: str | None = attrs.field(default=None, kw_only=True)


class AmbiguousError(ImageSDKError):
    """It is not known whether the server made (and billed) the images; the cause is chained."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class PartialResultError(ImageSDKError):
    """Fewer images arrived than were asked for; those that did are in *result*.

    Attributes:
        result: The `ImagesResponse` with everything that was paid for.
        errors: Why the others are missing, one error for each part of the call that failed; empty
            when the server sent fewer than asked for without saying why.
        requested: Number of images that were asked for.
    """

    result: ImagesResponse = attrs.field(default=None, kw_only=True, repr=False)
    errors: tuple[ImageSDKError, ...] = attrs.field(default=(), kw_only=True)
    requested: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class ExpiredURLError(ImageSDKError):
    """The image is no longer at its URL.

    Attributes:
        url: The URL without its query, which may hold a signature.
        expired_at: When the URL stopped working, as far as it is known.
    """

    url: str = attrs.field(default="", kw_only=True)
    expired_at: datetime | None = attrs.field(default=None, kw_only=True)


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class RateLimitTooLongError(ImageSDKError):
    """The wait for the limiter is longer than the caller allows; nothing was sent.

    Attributes:
        wait: Seconds that the call would have had to wait.
        max_wait: Seconds that were allowed.
        position: Place in the queue that it would have had, 1 for the head.
    """

    wait: float = attrs.field(default=0.0, kw_only=True)
    max_wait: float = attrs.field(default=0.0, kw_only=True)
    position: int = attrs.field(default=0, kw_only=True)


class LimiterUnavailableError(ImageSDKError):
    """The store of a shared limiter does not answer."""


@attrs.define(eq=False, slots=False, str=False, auto_exc=False)
class BatchError(ImageSDKError):
    """A batch job cannot go on.

    Attributes:
        line: Line of the input file, counted from 1; None where it is not about one line.
        file: Name of that file; None where it is not about one line, or rows came from a program.
    """

    line: int | None = attrs.field(default=None, kw_only=True)
    file: str | None = attrs.field(default=None, kw_only=True)


class LedgerError(BatchError):
    """The record of a batch run is unreadable or in use by another runner."""
