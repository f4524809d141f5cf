"""The failure table as a pure policy, and the tenacity adapter that carries it out.

What a failed exchange means decides what happens next (`classify`):

=============== ====================================================== ==========================
class           examples                                               sent again?
=============== ====================================================== ==========================
not_sent        refused, DNS, TLS, reset before the body was written   yes
throttled       429                                                    the limiter waits, no attempt is used up
failed          500, 502, 503, 529, 408, 409, 425 with an answer       yes, Retry-After as the minimum
ambiguous       reset after the body was written, 504, 520..524        once, then `AmbiguousError`
still_running   no answer in time                                      no: it is probably still made, and billed
unusable        200 with bad JSON, bad base64, no data                 never: it was billed
final           400, 401, 403, 404, 413, 422, moderation, quota        never
=============== ====================================================== ==========================

Backoff is full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState

from imagesdk.errors import (
    APIError,
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    ProtocolError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)
from imagesdk.protocol.headers import should_retry

__all__ = (
    "FailureClass",
    "Outcome",
    "Quota",
    "RetryContext",
    "RetryPolicy",
    "classify",
    "may_be_billed",
    "retry_after",
    "retrying",
)

T = TypeVar("T")

FailureClass: TypeAlias = Literal[
    "not_sent", "throttled", "failed", "ambiguous", "still_running", "unusable", "final"
]

Outcome: TypeAlias = FailureClass | Literal["ok"]
"""How an exchange ended."""

_FAILED_STATUSES = frozenset({408, 409, 425, 500, 502, 503, 529})
# A gateway cut the connection to a server that may go on: nginx 504, Cloudflare 520 to 524.
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
_AMBIGUOUS_STATUSES = frozenset({504, *range(520, 525)})
_MAY_BE_BILLED = frozenset({"ambiguous", "still_running", "unusable"})
_NO_QUOTA = """not sent again: the retry quota of this key is used up because many calls fail; \
it fills up as calls succeed"""
_ONLY_ONCE = """not sent again: a part of its answer was handed out, or one of its images is a stream that \
can be read only once (pass bytes or a path, which can be sent any number of times). %s"""


def classify(error: BaseException) -> FailureClass:  # noqa: PLR0911 - a table
    """Return what a failed exchange means for the images and for the money."""
    match error:
        case ConnectError() | TransportError(phase="connect" | "send"):
            return "not_sent"
        case RequestTimeoutError():
            return "still_running"
        case TransportError():
            return "ambiguous"
        case APIError(may_be_billed=True):  # an error object with status 200
            return "unusable"
        case RateLimitError():
            return "throttled"
        case ServerError(status=status) if status in _FAILED_STATUSES:
            return "failed"
        case ServerError(status=status) if status in _AMBIGUOUS_STATUSES:
            return "ambiguous"
        case ProtocolError():
            return "unusable"
        case _:
            return "final"


def may_be_billed(outcome: Outcome) -> bool:
    """Return True if an exchange failed and the server may charge for it all the same."""
    return outcome in _MAY_BE_BILLED


@attrs.frozen
class RetryPolicy:
    """What to do when an exchange fails.

    Attributes:
        max_attempts: HTTP exchanges a call may use, 1 or more; a 429 that the limiter waits for does not count.
        attempt_timeout: Seconds for one exchange, None for what the call's ``timeout`` leaves. A server
            that is slower is probably still working, and will bill: keep it above the slowest image.
        ambiguous: What to do when the server may have made, and billed, the images although no answer
            arrived: send again ``"once"``, ``"never"`` or ``"always"`` (within *max_attempts*).
        backoff: Seconds; the first pause is a random time up to this, and it doubles.
        max_backoff: Seconds; longest pause, unless the server asks for more.

    Raises:
        ConfigurationError: A value is out of range.

    Example:
        >>> from imagesdk import RetryPolicy
        >>> RetryPolicy(5, ambiguous="never", max_backoff=30).max_attempts
        5
        >>> RetryPolicy(0)
        Traceback (most recent call last):
        ...
        imagesdk.errors.ConfigurationError: max_attempts is 0; it must be a whole number from 1 up
    """

    max_attempts: int = 3
    attempt_timeout: float | None = attrs.field(default=None, kw_only=True)
    ambiguous: Literal["once", "never", "always"] = attrs.field(default="once", kw_only=True)
    backoff: float = attrs.field(default=0.5, kw_only=True)
    max_backoff: float = attrs.field(default=8.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.max_attempts < 1 or self.max_attempts % 1:
            raise ConfigurationError(
                f"max_attempts is {self.max_attempts!r}; it must be a whole number from 1 up"
            )
        if self.ambiguous not in ("once", "never", "always"):
            raise ConfigurationError(
                f"ambiguous is {self.ambiguous!r}; it must be 'once', 'never' or 'always'"
            )
        if self.attempt_timeout is not None and not self.attempt_timeout > 0:
            raise ConfigurationError(
                f"attempt_timeout is {self.attempt_timeout!r}; it must be above 0 seconds, or None"
            )
        for name in ("backoff", "max_backoff"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ConfigurationError(f"{name} is {value!r}; it must be 0 or more seconds")

    def allows(self, error: ImageSDKError, context: RetryContext) -> bool:
        """Return True if the call may be sent again after *error*.

        Args:
            error: How the last exchange failed.
            context: The call.
        """
        return context.replayable and _is_worth_it(self, error, context)

    def delay(self, error: ImageSDKError, context: RetryContext, jitter: float) -> float:
        """Return the seconds to wait before the next exchange.

        Args:
            error: How the last one failed.
            context: The call.
            jitter: A random number from 0 to 1.
        """
        if _is_the_limiters(classify(error), context):
            return 0.0  # the ticket waits in the limiter instead
        longest = min(self.max_backoff, self.backoff * 2.0 ** min(context.counted_attempts - 1, 60))
        return max(error.retry_after or 0.0, 0.0) + jitter * longest


def _is_worth_it(policy: RetryPolicy, error: ImageSDKError, context: RetryContext) -> bool:
    """Return True if a call should be sent again after *error*, if only its body can be."""
    failure = classify(error)
    if _is_the_limiters(failure, context):
        return _waits_for(error, context)
    said = should_retry(error.headers) if isinstance(error, APIError) else None
    if failure == "unusable" or isinstance(error, QuotaExceededError):
        again = False  # billed already, or in vain: whatever the server says
    elif said is not None:
        again = said
    elif failure == "ambiguous":
        again = policy.ambiguous == "always" or (
            policy.ambiguous == "once" and context.ambiguous_failures <= 1
        )
    elif failure == "still_running":
        again = policy.ambiguous == "always"
    else:
        again = failure in ("not_sent", "failed", "throttled")
    return again and context.counted_attempts < policy.max_attempts


def _allowed(policy: RetryPolicy, error: ImageSDKError, context: RetryContext) -> bool:
    """Ask the policy; an error for which the body alone forbids another attempt says so in a note."""
    if not context.replayable and _is_worth_it(policy, error, context):
        billed = may_be_billed(classify(error))
        error.add_note(
            _ONLY_ONCE % ("It may have been billed" if billed else "Nothing was billed for it")
        )
    return policy.allows(error, context)


def _is_the_limiters(failure: FailureClass, context: RetryContext) -> bool:
    """Return True if the limiter decides on a failure, and not this policy."""
    return failure == "throttled" and context.max_pause is not None


def _waits_for(error: ImageSDKError, context: RetryContext) -> bool:
    """Return True if the limiter will wait out a 429."""
    if isinstance(error, APIError) and should_retry(error.headers) is False:
        return False
    pause = error.retry_after or 0.0
    if context.max_pause is not None and pause > context.max_pause:
        return False
    return context.remaining is None or pause < context.remaining


class RetryContext(Protocol):
    """What the policy needs to know about a call."""

    @property
    def counted_attempts(self) -> int:
        """Exchanges so far, without those that a limiter waits for."""
        ...

    @property
    def ambiguous_failures(self) -> int:
        """Exchanges so far that may have been billed."""
        ...

    @property
    def replayable(self) -> bool:
        """True if the body can be sent again."""
        ...

    @property
    def remaining(self) -> float | None:
        """Seconds until the call's deadline, None without one."""
        ...

    @property
    def max_pause(self) -> float | None:
        """Longest pause that the limiter waits out after a 429, None if it does not handle 429."""
        ...


class Quota(Protocol):
    """What pays for the retries of all calls on one key: see `imagesdk.limiters.quota.RetryQuota`."""

    def take(self, outcome: str) -> int:
        """Pay for a retry after an exchange with *outcome*: return its cost, or 0 if it is not paid."""
        ...

    def succeeded(self, taken: int = 0) -> None:
        """Give back what a call took in all, now that it succeeded."""
        ...


def retrying(
    policy: RetryPolicy,
    context: RetryContext,
    before_retry: Callable[[ImageSDKError, float], None],
    quota: Quota | None = None,
) -> Callable[..., Awaitable[Any]]:
    """Return what drives one call: a function that takes an attempt and its arguments.

    tenacity takes over with the first failure, and decides on that one and all that follow. A call
    that succeeds at once needs no driver: it would take 40 us, a fifth of a small call.

    Args:
        policy: Decides.
        context: The call.
        before_retry: Called with the error and the seconds to wait, before each wait.
        quota: Pays for what is sent again, but not for what the limiter waits for; it hears of
            success. An error that it ends the call with says so in a note. None for any number.
    """

    async def drive(attempt: Callable[..., Awaitable[Any]], *args: object) -> Any:  # noqa: ANN401
        try:
            result = await attempt(*args)
        except ImageSDKError as error:
            first = error
        else:
            if quota is not None:
                quota.succeeded()
            return result
        return await retry_after(
            first, partial(attempt, *args), policy, context, before_retry, quota=quota
        )

    return drive


async def retry_after(
    first: ImageSDKError,
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    context: RetryContext,
    before_retry: Callable[[ImageSDKError, float], None],
    *,
    quota: Quota | None,
) -> T:
    """Return what *attempt* gives, after an attempt that failed with *first*; see `retrying`."""
    failed = [first]
    del first

    async def next_attempt() -> T:
        if failed:
            raise failed.pop()
        return await attempt()

    return await _after_a_failure(policy, context, before_retry, quota)(next_attempt)


def _after_a_failure(
    policy: RetryPolicy,
    context: RetryContext,
    before_retry: Callable[[ImageSDKError, float], None],
    quota: Quota | None,
) -> AsyncRetrying:
    """Return the tenacity object for a call that failed once; see `retrying`."""
    taken = 0

    def error_of(state: RetryCallState) -> Any:  # noqa: ANN401 - ours, wherever `again` says True
        return state.outcome.exception() if state.outcome else None

    def again(state: RetryCallState) -> bool:
        error = error_of(state)
        if error is None and quota is not None:
            quota.succeeded(taken)
        return isinstance(error, ImageSDKError) and _allowed(policy, error, context)

    def wait(state: RetryCallState) -> float:
        return policy.delay(error_of(state), context, random.random())  # noqa: S311

    def stop(state: RetryCallState) -> bool:
        nonlocal taken
        if context.remaining is not None and state.upcoming_sleep >= context.remaining:
            return True
        error = error_of(state)
        failure = classify(error)
        if quota is None or _is_the_limiters(failure, context):
            return False
        cost = quota.take(failure)
        taken += cost
        if not cost:
            error.add_note(_NO_QUOTA)
        return not cost

    def before_sleep(state: RetryCallState) -> None:
        before_retry(error_of(state), state.upcoming_sleep)

    return AsyncRetrying(reraise=True, retry=again, wait=wait, stop=stop, before_sleep=before_sleep)
