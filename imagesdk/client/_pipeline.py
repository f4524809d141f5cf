"""Carry one call through limiter, retry and transport: the only place where the three meet.

Nothing here sleeps with a connection open: an attempt's connection, permit and slot are given back
before any backoff and before any wait for the limiter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import attrs

from imagesdk.client._deadlines import Deadlines
from imagesdk.client.config import origin_of
from imagesdk.client.receiving import IN_THREAD_BYTES, NewSink, Unhurried, receive_answer
from imagesdk.errors import (
    AmbiguousError,
    Attempt,
    ConfigurationError,
    ImageSDKError,
    RateLimitTooLongError,
    RequestTimeoutError,
)
from imagesdk.events import (
    Admitted,
    Attempted,
    Done,
    Event,
    Failed,
    Queued,
    Retrying,
    Split,
    Started,
    Throttled,
)
from imagesdk.limiters.base import CallTooLarge, Limiter, Priority, Reason, Slots, Ticket
from imagesdk.models.requests import ImageRequest
from imagesdk.observability._logging import LOGGER
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.encode import WireRequest
from imagesdk.protocol.parts import MemorySink
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, refusal
from imagesdk.retry import Outcome, RetryPolicy, classify, may_be_billed, retry_after
from imagesdk.transport.base import Credentials, Progress, Reply, Transport, read_all

__all__ = ("Call", "Pipeline", "Receive")

_CANCELLED = "cancelled"
_LARGE_UPLOAD_BYTES = 4 * 1024 * 1024
"""Bodies from this size on throw all else out of the processor's caches: what follows them takes 20 times as
long as usual, some ms, and so is done a part at a time."""
_PACE = 2.5
"""Seconds by which the limiter's pace may delay a call beyond its forecast."""


@attrs.define(kw_only=True, eq=False)
class Call:
    """One HTTP call with all its attempts; what the retry policy asks about it.

    Attributes:
        number: Number of the call within its session.
        request: What it asks for, for events.
        cost: Images that it asks for.
        input_images: Reference images that it carries.
        scope: See `imagesdk.limiters.base.Limiter.ticket`.
        place: Place in the limiter's queue of the call that it is a part of, None for the end.
        wire: What is sent, the same for every attempt.
        timeout: Seconds from the first admission to the end, None for any time.
        max_wait: Seconds that the first admission may take, None for any time.
        priority: In the limiter's queue.
        max_body_bytes: Longest answer that is accepted.
        max_pause: See `imagesdk.limiters.base.Limiter.max_pause`.
        receive: Reads a successful answer, None for `Pipeline.collect`.
        begun: Set by *receive* once the caller has got a part of the answer: from then on the call is
            not sent again.
        new_sink: Makes what takes one image while it arrives.
        before_send: Awaited before each attempt, once it is admitted; what it raises ends the call.
        after_attempt: Told of each attempt that has ended.
    """

    number: int
    request: ImageRequest
    cost: int
    input_images: int = 0
    scope: str = ""
    place: Any = None
    wire: WireRequest
    timeout: float | None
    max_wait: float | None
    priority: Priority
    max_body_bytes: int
    max_pause: float | None
    new_sink: NewSink = MemorySink
    receive: Receive | None = None
    before_send: Callable[[], Awaitable[object]] | None = None
    after_attempt: Callable[[Attempt], object] | None = None
    begun: bool = attrs.field(default=False, init=False)
    attempts: list[Attempt] = attrs.field(factory=list, init=False)
    waited: float = attrs.field(default=0.0, init=False)
    admitted_at: float | None = attrs.field(default=None, init=False)
    timeouts: list[asyncio.Timeout] = attrs.field(factory=list, init=False)

    @property
    def out_of_time(self) -> bool:
        """True if timeouts of its own have cancelled it, and nobody else has: it may go on a little."""
        task = asyncio.current_task()
        expired = sum(timeout.expired() for timeout in self.timeouts)
        return task is not None and 0 < expired == task.cancelling()

    @property
    def counted_attempts(self) -> int:
        """Exchanges so far, without those that the limiter waits for."""
        free = "throttled" if self.max_pause is not None else None
        return sum(attempt.outcome != free for attempt in self.attempts)

    @property
    def ambiguous_failures(self) -> int:
        """Exchanges so far that may have been billed."""
        return sum(attempt.outcome == "ambiguous" for attempt in self.attempts)

    @property
    def replayable(self) -> bool:
        """True if the call can be sent again."""
        return self.wire.replayable and not self.begun

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, None without one."""
        if self.timeout is None or self.admitted_at is None:
            return None
        return self.admitted_at + self.timeout - asyncio.get_running_loop().time()

    @property
    def elapsed(self) -> float:
        """Seconds since the first admission, 0 before it."""
        if self.admitted_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self.admitted_at


Receive: TypeAlias = Callable[[Call, Reply], Awaitable[Answer]]
"""Reads a successful answer while its connection is open."""


@attrs.define
class _Exchange(Progress):
    """What is known of one attempt while it runs."""

    started: float = 0.0
    status: int | None = None
    request_id: str | None = None


@attrs.define(kw_only=True, eq=False)
class Pipeline:
    """Send calls to one server.

    Attributes:
        transport: Carries the requests.
        limiter: Admits them.
        policy: Decides what happens when one fails.
        credentials: Headers with secrets.
        secret: The API key, blotted out of what the server sends.
        slots: Bounds the exchanges in flight, None for any number.
        on_event: Told of every step; None costs nothing.
        list_key: Where the list of images is in an answer.
    """

    transport: Transport
    limiter: Limiter
    policy: RetryPolicy
    credentials: Credentials
    secret: str = attrs.field(repr=False)
    slots: Slots | None
    on_event: Callable[[Event], None] | None
    list_key: str = "data"
    closed: bool = attrs.field(default=False, init=False)
    _deadlines: Deadlines = attrs.field(factory=Deadlines, init=False)

    def close(self) -> None:
        """Send nothing any more, and end the calls that wait or run."""
        self.closed = True
        self._deadlines.expire_all()

    async def run(self, call: Call) -> Answer:
        """Return the answer to *call*.

        Raises:
            ImageSDKError: It failed for good, with ``attempts`` filled in.
            CallTooLarge: The limit has become lower than what it asks for: it must be split.
        """
        on_queued = None
        if self.on_event is not None:
            self._emit_started(call)
            on_queued = partial(self._emit_queued, call)
        ticket = self.limiter.ticket(
            call.cost,
            input_images=call.input_images,
            scope=call.scope,
            priority=call.priority,
            max_wait=call.max_wait,
            slots=self.slots,
            place=call.place,
            on_queued=on_queued,
        )
        # Until its first admission a call is bounded by max_wait, from then on by timeout.
        deadline = asyncio.timeout(None)
        call.timeouts.append(deadline)
        try:
            async with deadline:
                wait = None if call.max_wait is None else call.max_wait + _PACE
                self._deadlines.set(deadline, wait)
                outcome: Answer | ImageSDKError
                try:
                    outcome = await self._attempt(call, ticket, deadline)
                except ImageSDKError as error:
                    outcome = error
                if isinstance(outcome, ImageSDKError):
                    answer = await retry_after(
                        outcome,
                        partial(self._attempt, call, ticket, deadline),
                        self.policy,
                        call,
                        partial(self._before_retry, call),
                        quota=self.limiter.retry_quota,
                    )
                else:
                    answer = outcome
                    self.limiter.retry_quota.succeeded()
        except ImageSDKError as error:
            raised = self._final(call, error, call.attempts[:-1])
        except CallTooLarge as now:
            call.place = ticket.place
            self._emit(call, Split, limit=now.limit)
            raise
        except TimeoutError:
            raised = self._final(call, self._out_of_time(call), call.attempts)
        except BaseException as error:  # cancelled, or what before_send raised
            self._emit_failed(call, error)
            raise
        else:
            if self.on_event is not None:
                self._emit_done(call, answer)
            return answer
        finally:
            self._deadlines.drop(deadline)
        self._emit_failed(call, raised)
        raise raised

    async def _attempt(self, call: Call, ticket: Ticket, deadline: asyncio.Timeout) -> Answer:
        """Make one HTTP exchange."""
        loop = asyncio.get_running_loop()
        queued_at = loop.time()
        async with ticket:
            if self.closed:
                ticket.sent = False
                raise ConfigurationError("the session is closed; a closed session sends nothing")
            now = loop.time()
            if call.admitted_at is None:
                call.admitted_at = now
                self._deadlines.set(deadline, call.timeout)
            call.waited += now - queued_at
            if self.on_event is not None:
                self._emit(call, Admitted, waited=now - queued_at, attempt=len(call.attempts) + 1)
            if call.before_send is not None:
                ticket.sent = False  # should it raise
                await call.before_send()
            return await self._exchange(call, ticket, _Exchange(started=now))

    async def _exchange(self, call: Call, ticket: Ticket, exchange: _Exchange) -> Answer:
        """Send the request, read the answer, and record how it went."""
        failure: ImageSDKError
        longest = self.policy.attempt_timeout
        try:
            if longest is None:
                answer = await self._send(call, exchange)
            else:
                async with asyncio.timeout(longest) as timeout:
                    call.timeouts[1:] = (timeout,)
                    answer = await self._send(call, exchange)
        except ImageSDKError as error:
            failure = error
        except TimeoutError:  # the attempt's own
            failure = RequestTimeoutError(
                f"no answer within attempt_timeout, {longest:g} s", phase=exchange.phase
            )
        except asyncio.CancelledError:  # the call's deadline, or the caller's wish
            sent = exchange.phase == "receive"
            self._record(call, exchange, "still_running" if sent else "not_sent", _CANCELLED)
            raise
        else:
            self._record(call, exchange, "ok", None)
            ticket.headers = answer.headers
            return answer
        finally:
            ticket.sent = exchange.phase == "receive"
            ticket.sent_at = exchange.sent_at
        self._record(call, exchange, classify(failure), str(failure))
        # The frames below hold the raw answer, in which a server may echo the key.
        failure.__context__ = None
        raise failure.with_traceback(None)

    async def _send(self, call: Call, exchange: _Exchange) -> Answer:
        sending = self.transport.send(call.wire, credentials=self.credentials, progress=exchange)
        async with sending as reply:
            status, headers = reply.status, reply.headers
            exchange.status, exchange.request_id = status, headers.get("x-request-id")
            if status >= 300:
                body = await read_all(reply, MAX_ERROR_BYTES, cut=True)
                raise refusal(status, headers, bytes(body), secret=self.secret)
            return await (call.receive or self.collect)(call, reply)

    def collect(self, call: Call, reply: Reply) -> Awaitable[Answer]:
        """Read an answer that is one document."""
        body = call.wire.body
        large = body is not None and body.size_bytes >= _LARGE_UPLOAD_BYTES
        return receive_answer(
            Unhurried(reply) if large else reply,
            limit_bytes=call.max_body_bytes,
            new_sink=call.new_sink,
            secret=self.secret,
            list_key=self.list_key,
            cut_off=lambda: self._cut_off(call),
            in_thread_bytes=0 if large else IN_THREAD_BYTES,
        )

    def _cut_off(self, call: Call) -> ImageSDKError | None:
        """Return why an answer is read no further, None if it was the caller who cancelled it."""
        if not call.out_of_time:
            return None
        if self.closed:
            return ConfigurationError("the session was closed before the rest arrived")
        return RequestTimeoutError(
            "the rest did not arrive in time: raise timeout, or attempt_timeout", phase="receive"
        )

    def _record(self, call: Call, exchange: _Exchange, outcome: Outcome, error: str | None) -> None:
        attempt = Attempt(
            number=len(call.attempts) + 1,
            outcome=outcome,
            elapsed=asyncio.get_running_loop().time() - exchange.started,
            status=exchange.status,
            request_id=exchange.request_id,
            error=error,
            may_be_billed=may_be_billed(outcome),
        )
        call.attempts.append(attempt)
        if call.after_attempt is not None:
            call.after_attempt(attempt)
        if attempt.may_be_billed:
            LOGGER.warning(
                "images.%s call %d, attempt %d may have been billed although it failed: %s",
                call.request.endpoint,
                call.number,
                attempt.number,
                attempt.error,
            )
        if self.on_event is not None:
            self._emit(call, Attempted, **attrs.asdict(attempt))

    def _before_retry(self, call: Call, error: ImageSDKError, delay: float) -> None:
        last = call.attempts[-1]
        said = {"attempt": last.number, "status": last.status, "request_id": last.request_id}
        if classify(error) == "throttled" and call.max_pause is not None:
            now = self.limiter.snapshot(call.scope)
            self._emit(
                call,
                Throttled,
                pause=now.paused,
                message=str(error),
                retry_after=error.retry_after,
                limit=now.limit,
                **said,
            )
        else:
            self._emit(
                call,
                Retrying,
                delay=delay,
                reason=classify(error),
                message=str(error),
                may_be_billed=last.may_be_billed,
                **said,
            )

    def _out_of_time(self, call: Call) -> ImageSDKError:
        """Return the error for a call whose deadline passed, or was moved to now by `close`."""
        if self.closed:
            return ConfigurationError("the session was closed before the call was done")
        if call.admitted_at is None:
            return RateLimitTooLongError(
                f"the call was still waiting to be sent after max_wait, {call.max_wait:g} s; the "
                "wait became longer than it looked. Try again later, or raise max_wait",
                wait=call.max_wait or 0.0,
                max_wait=call.max_wait or 0.0,
            )
        last = call.attempts[-1] if call.attempts else None
        running = last is not None and last.outcome == "still_running"
        if running:
            advice = "the server is probably still working and will bill: raise timeout"
        elif last is not None and last.error == _CANCELLED:
            advice = "the request was still on its way: check base_url, or raise timeout"
        else:
            advice = "it was waiting to be sent again: raise timeout"
        return RequestTimeoutError(
            f"the call was not done within its timeout, {call.timeout:g} s "
            f"(attempts: {len(call.attempts)}); {advice}",
            phase="receive" if running else "connect",
        )

    def _final(self, call: Call, error: ImageSDKError, earlier: Sequence[Attempt]) -> ImageSDKError:
        """Complete the error that the caller gets; *earlier* attempts become notes."""
        billed = error.may_be_billed or any(attempt.may_be_billed for attempt in call.attempts)
        final = error
        kind = classify(error)
        # "Nothing was sent" is no comfort after an attempt that may have been billed.
        if kind == "ambiguous" or (kind == "not_sent" and call.ambiguous_failures):
            made = "the image was" if call.cost == 1 else f"the {call.cost} images were"
            final = AmbiguousError(
                f"it is not known whether {made} made, and billed: {error}. Look at the "
                "account's usage before you send it again",
                status=error.status,
                error=error.error,
                request_id=error.request_id,
                retry_after=error.retry_after,
            )
            final.__cause__ = error
            for note in getattr(error, "__notes__", ()):
                final.add_note(note)
        final.attempts = tuple(call.attempts)
        final.may_be_billed = billed
        for attempt in earlier:
            bill = (
                f"; up to {call.cost} of its images may be billed" if attempt.may_be_billed else ""
            )
            said = "" if attempt.error == str(final) else f": {attempt.error}"
            final.add_note(
                f"attempt {attempt.number}: {attempt.outcome} after {attempt.elapsed:.2f} s{said}{bill}"
            )
        return final

    def _emit_started(self, call: Call) -> None:
        request = call.request
        _, host, port = origin_of(call.wire.path)
        self._emit(
            call,
            Started,
            images=call.cost,
            input_images=call.input_images,
            size=request.size,
            quality=getattr(request, "quality", None),  # a variation has none
            server_address=host,
            server_port=port,
        )

    def _emit_queued(self, call: Call, position: int, wait: float, reason: Reason) -> None:
        self._emit(call, Queued, cost=call.cost, position=position, wait=wait, reason=reason)

    def _emit_failed(self, call: Call, error: BaseException) -> None:
        self._emit(
            call,
            Failed,
            error=type(error).__name__,
            message=str(error),
            may_be_billed=any(attempt.may_be_billed for attempt in call.attempts),
            elapsed=call.elapsed,
            waited=call.waited,
            attempts=len(call.attempts),
        )

    def _emit_done(self, call: Call, answer: Answer) -> None:
        usage = answer.fields.get("usage")
        tokens = usage if isinstance(usage, Mapping) else {}
        details = tokens.get("input_tokens_details")
        of_images = details.get("image_tokens") if isinstance(details, Mapping) else None
        self._emit(
            call,
            Done,
            images=len(answer.items),
            elapsed=call.elapsed,
            waited=call.waited,
            attempts=len(call.attempts),
            input_tokens=_count(tokens.get("input_tokens")),
            input_image_tokens=_count(of_images),
            output_tokens=_count(tokens.get("output_tokens")),
        )

    def _emit(self, call: Call, kind: type[Event], **fields: Any) -> None:  # noqa: ANN401
        if self.on_event is not None:
            request = call.request
            self.emit(
                kind(call=call.number, endpoint=request.endpoint, model=request.model, **fields)
            )

    def emit(self, event: Event) -> None:
        """Tell the listener; what it raises is logged, and the call goes on."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001 - a listener must not cost a paid image
            LOGGER.exception("on_event failed on %s; the call goes on", type(event).__name__)


def _count(value: object) -> int | None:
    """Return a number of tokens if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
