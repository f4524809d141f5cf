"""A worker in another process, and one limit for several of them: everything but the cluster itself.

The driver talks with a worker in calls that each have one answer, because that is what every cluster
can do. For a job there are two of them: `WorkerHost.begin` answers when its wait for the limit is over;
the driver notes that and calls `WorkerHost.proceed`, which lets the request go and answers with the
report. So a worker whose driver is gone sends nothing any more.

The permits come from a `LimiterHost`, of which there is one for all workers; each of them has a
`RemoteLimiter` for its session.
"""

from __future__ import annotations

import asyncio
import math
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import attrs

from imagesdk.batch.destination import destination_of, is_url
from imagesdk.batch.engine import Report, WorkerLost
from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.worker import Worker, WorkerSpec
from imagesdk.errors import ConfigurationError, ImageSDKError, LedgerError
from imagesdk.limiters.base import (
    CallTooLarge,
    Limiter,
    LimiterSnapshot,
    OnQueued,
    Priority,
    Slots,
)
from imagesdk.limiters.quota import RetryQuota

__all__ = ("CallHost", "LimiterHost", "RemoteLimiter", "Step", "WorkerHost", "foresee")

Step: TypeAlias = Report | Exception | None
"""What a worker says of a job: it is about to be sent (None), it has ended, or why it cannot be done.
Errors are values here: raised ones come through a cluster in a wrapper of its own."""

CallHost: TypeAlias = Callable[[str, object], Awaitable[Any]]
"""Calls a method of a `LimiterHost`, by its name and with its argument."""

_PATIENCE = 60.0
"""Seconds in which a driver notes that a request is about to be sent; after that it is taken for dead."""
_WINDOW = 60.0
"""Seconds after which a limiter that has lost what it had counted may begin."""


class _Talk:
    """One job, between the worker and the driver."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Step] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self._go = asyncio.Event()
        self._refusal: ImageSDKError | None = None
        self._turn = asyncio.Lock()

    def proceed(self, refusal: ImageSDKError | None) -> None:
        """Let the request go, or end it."""
        self._refusal = refusal
        self._go.set()

    async def before_send(self) -> None:
        """Tell the driver, and wait until it says go; one after the other, for a request that is split."""
        async with self._turn:
            self._go.clear()
            self.said.put_nowait(None)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._go.wait()
            except TimeoutError:
                raise LedgerError(
                    f"the driver did not note the request within {_PATIENCE:g} s; it was not sent"
                ) from None
            if self._refusal is not None:
                raise self._refusal


class WorkerHost:
    """A worker that is called from another process.

    Args:
        spec: How to set it up.
        limiter: That all workers share; None for the spec's own.
    """

    def __init__(self, spec: WorkerSpec, limiter: RemoteLimiter | None = None) -> None:
        self._spec = spec
        self._limiter = limiter
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._worker: Worker | None = None
        self._talks: dict[str, _Talk] = {}

    async def ready(self, token: str | None = None) -> Exception | None:
        """Open the session; return why it cannot be.

        Args:
            token: Name of a file that the driver has put into the folder for the images, None for none.
        """
        async with self._opening:
            if self._worker is None:
                try:
                    self._worker = await self._open(token)
                except (ImageSDKError, OSError) as error:
                    return error
        return None

    async def begin(self, entry: Entry) -> Step:
        """Begin a job; answer when it is about to be sent, or has ended without that."""
        if (error := await self.ready()) is not None:
            return error
        talk = self._talks[str(entry.idempotency_key)] = _Talk()
        talk.task = asyncio.create_task(self._work(entry, talk))
        return await talk.said.get()

    async def proceed(self, key: str, refusal: ImageSDKError | None = None) -> Step:
        """Let a request go, now that this is noted; answer as `begin` does.

        Args:
            key: Its Idempotency-Key.
            refusal: Why it could not be noted, and so must not go; None if it was.
        """
        talk = self._talks.get(key)
        if talk is None:
            return WorkerLost("a new worker stands in the place of the one that began the job")
        talk.proceed(refusal)
        return await talk.said.get()

    async def drop(self, key: str) -> None:
        """End a job: it could not be noted, or nobody waits for it any more."""
        talk = self._talks.get(key)
        if talk is not None and talk.task is not None:
            talk.task.cancel()
            await asyncio.wait([talk.task])

    async def snapshot(self) -> LimiterSnapshot | None:
        """Return the state of the limit as this worker knows it, None before its first job."""
        return None if self._worker is None else self._worker.snapshot()

    async def aclose(self) -> None:
        """End all jobs and close the session."""
        for key in list(self._talks):
            await self.drop(key)
        await self._stack.aclose()

    async def _open(self, token: str | None) -> Worker:
        out = self._spec.out
        folder = None
        if is_url(out):
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="imagesdk-"))
            self._stack.push_async_callback(asyncio.to_thread, _remove_if_empty, folder)
        elif not await asyncio.to_thread(Path(out, token or "").exists):
            raise ConfigurationError(
                f"{socket.gethostname()} does not see the driver's folder {out}: it must be one that all "
                "machines share, or a store (--out s3://…)"
            )
        session = await self._stack.enter_async_context(self._spec.session(self._limiter))
        return Worker(session, destination_of(out, folder))

    async def _work(self, entry: Entry, talk: _Talk) -> None:
        if self._worker is None:
            raise AssertionError("a worker that is ready has a session")
        step: Step = None
        try:
            step = await self._worker.do(entry, talk.before_send)
        except (ImageSDKError, OSError) as error:
            step = error
        finally:
            del self._talks[str(entry.idempotency_key)]
            if step is not None:
                talk.said.put_nowait(step)


def _remove_if_empty(folder: Path) -> None:
    """Remove a worker's folder, unless it holds what the store did not take."""
    with suppress(OSError):
        (folder / ARRIVING).rmdir()
    with suppress(OSError):
        folder.rmdir()


# The limit ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Ask:
    """What a worker asks the limiter for; see `imagesdk.limiters.base.Limiter.ticket`.

    Attributes:
        worker: Number of the worker.
        again: True for a further attempt of a call.
    """

    worker: int
    images: int
    input_images: int
    scope: str
    priority: Priority
    max_wait: float | None
    place: int | None
    again: bool = False


@attrs.frozen(kw_only=True)
class Admission:
    """A permit.

    Attributes:
        number: Of the permit.
        place: Of the call in the queue, for its further attempts and for its parts.
        most: Images that one call may ask for now.
        snapshot: The state of the limit.
        error: Why there is no permit.
    """

    number: int = 0
    place: int | None = None
    most: int | None = None
    snapshot: LimiterSnapshot
    error: Exception | None = None


@attrs.frozen(kw_only=True)
class Settlement:
    """How an attempt ended; see `imagesdk.limiters.base.Ticket`.

    Attributes:
        number: Of the permit.
        error: What it ended with; None if it went well, or nobody knows.
        known: False if nobody knows.
        sent: False if it never reached the server.
        sent_ago: Seconds since it was sent, None if that is not known.
        headers: Of a successful answer.
    """

    number: int
    error: ImageSDKError | None
    known: bool
    sent: bool
    sent_ago: float | None
    headers: Mapping[str, str] | None


class LimiterHost:
    """The limiter of all workers, in a process of its own.

    Args:
        limiter: Of this process alone.
        after_loss: True if it stands in for one that was lost with all that it had counted: then
            nothing is admitted for a minute.
    """

    def __init__(self, limiter: Limiter, *, after_loss: bool = False) -> None:
        self._limiter = limiter
        self._open_at: float | None = None if after_loss else -math.inf
        self._last = 0
        self._tickets: dict[int, Any] = {}
        self._asking: dict[int, set[asyncio.Task[Any]]] = {}

    async def join(self, worker: int) -> None:
        """Forget what a worker of this number waited for: it is a new one."""
        for task in self._asking.get(worker, ()):
            task.cancel()

    async def admit(self, ask: Ask) -> Admission:
        """Wait for a permit."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a coroutine runs in a task")
        asking = self._asking.setdefault(ask.worker, set())
        asking.add(task)
        try:
            return await self._admit(ask)
        finally:
            asking.discard(task)

    async def _admit(self, ask: Ask) -> Admission:
        now = asyncio.get_running_loop().time()
        if self._open_at is None:
            self._open_at = now + _WINDOW
        if self._open_at > now:
            await asyncio.sleep(self._open_at - now)
        snapshot = self._limiter.snapshot(ask.scope)
        ticket: Any = None  # its place in the queue is the limiter's own
        try:
            ticket = self._limiter.ticket(
                ask.images,
                input_images=ask.input_images,
                scope=ask.scope,
                priority=ask.priority,
                max_wait=ask.max_wait,
                place=ask.place,
            )
            ticket.was_admitted = ask.again
            await ticket.__aenter__()
        except (ImageSDKError, CallTooLarge) as error:
            place = ask.place if ticket is None else ticket.place
            return Admission(place=place, snapshot=snapshot, error=error)
        self._last += 1
        self._tickets[self._last] = ticket
        return Admission(
            number=self._last,
            place=ticket.place,
            most=self._limiter.max_cost(ask.scope),
            snapshot=self._limiter.snapshot(ask.scope),
        )

    async def settle(self, end: Settlement) -> None:
        """Account for the end of an attempt."""
        ticket = self._tickets.pop(end.number, None)
        if ticket is None:  # of a limiter before this one
            return
        ticket.sent, ticket.headers = end.sent, end.headers
        if end.sent_ago is not None:
            ticket.sent_at = asyncio.get_running_loop().time() - end.sent_ago
        error = end.error if end.known else asyncio.CancelledError()
        await ticket.__aexit__(None if error is None else type(error), error, None)

    async def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limit."""
        return self._limiter.snapshot()


class RemoteLimiter:
    """The limiter of a worker, whose permits come from a `LimiterHost`.

    Args:
        worker: Number of the worker.
        like: A limiter with the settings of the host's.
        call: Calls a method of the host.
    """

    def __init__(self, worker: int, like: Limiter, call: CallHost) -> None:
        self.retry_quota: RetryQuota = RetryQuota()
        self.worker = worker
        self.call = call
        self._like = like
        self._most: dict[str, int | None] = {}
        self._snapshots: dict[str, LimiterSnapshot] = {}

    @property
    def max_pause(self) -> float | None:
        """Longest pause in seconds that is waited out after a 429."""
        return self._like.max_pause

    def max_cost(self, scope: str = "") -> int | None:
        """Return the images that one call may ask for, as far as this worker has heard."""
        return self._most.get(scope, self._like.max_cost(scope))

    def ticket(
        self,
        images: int,
        *,
        input_images: int = 0,
        scope: str = "",
        priority: Priority = "interactive",
        max_wait: float | None = None,
        slots: Slots | None = None,
        place: int | None = None,
        on_queued: OnQueued | None = None,
    ) -> RemoteTicket:
        """Return a place in the host's queue, which a call gets when it first asks for a permit."""
        del slots, on_queued  # of sessions that a worker does not make
        ask = Ask(
            worker=self.worker,
            images=images,
            input_images=input_images,
            scope=scope,
            priority=priority,
            max_wait=max_wait,
            place=place,
        )
        return RemoteTicket(self, ask)

    def snapshot(self, scope: str = "") -> LimiterSnapshot:
        """Return the state of the host's limiter when it last answered."""
        return self._snapshots.get(scope) or self._like.snapshot(scope)

    def forecast(self, images: int, requests: int, scope: str = "") -> float:
        """Return the seconds until the last of so many could be sent, by `snapshot`."""
        del requests
        return foresee(self.snapshot(scope), images)

    def heard(self, scope: str, admission: Admission) -> None:
        """Note what the host says of the limit."""
        self._snapshots[scope] = admission.snapshot
        if admission.error is None:
            self._most[scope] = admission.most
        elif isinstance(admission.error, CallTooLarge):
            self._most[scope] = admission.error.limit


class RemoteTicket:
    """A call's place: the same for each of its attempts. See `imagesdk.limiters.base.Ticket`."""

    def __init__(self, limiter: RemoteLimiter, ask: Ask) -> None:
        self.place = ask.place
        self.sent: bool = True
        self.sent_at: float | None = None
        self.headers: Mapping[str, str] | None = None
        self._limiter = limiter
        self._ask = ask
        self._number = 0

    async def __aenter__(self) -> Self:
        self.sent, self.sent_at, self.headers = True, None, None
        admission: Admission = await self._limiter.call("admit", self._ask)
        self.place = admission.place
        self._limiter.heard(self._ask.scope, admission)
        if admission.error is not None:
            raise admission.error
        self._number = admission.number
        self._ask = attrs.evolve(self._ask, place=admission.place, again=True)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ago = None
        if self.sent_at is not None:
            ago = max(0.0, asyncio.get_running_loop().time() - self.sent_at)
        end = Settlement(
            number=self._number,
            error=exc if isinstance(exc, ImageSDKError) else None,
            known=exc is None or isinstance(exc, ImageSDKError),
            sent=self.sent,
            sent_ago=ago,
            headers=None if self.headers is None else dict(self.headers),
        )
        await self._limiter.call("settle", end)


def foresee(state: LimiterSnapshot, images: int) -> float:
    """Return the seconds until the last of so many images could be sent, from a limiter's state alone."""
    if state.limit is None or images < 1:
        return 0.0
    free = max(0.0, state.limit - state.used)
    return state.paused + max(0.0, images - free) * 60.0 / state.limit
