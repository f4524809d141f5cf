"""Do one job of a batch: wait for the limit, send the request, put its images in their place."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import attrs

from imagesdk.batch.destination import Destination, destination_of
from imagesdk.batch.engine import AfterAttempt, BeforeSend, Report
from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.records import Record, error_fields, status_of
from imagesdk.client._assembly import Validate
from imagesdk.client.config import choose_limiter, read_endpoint, shared_limiter
from imagesdk.client.fanout import Outcome
from imagesdk.client.results import Image, ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AuthenticationError,
    BatchError,
    ImageSDKError,
    InvalidRequestError,
    PartialResultError,
    PermissionDeniedError,
    QuotaExceededError,
)
from imagesdk.limiters._redis import RedisLimiter
from imagesdk.limiters.base import Limiter, LimiterSnapshot
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import ImageRequest
from imagesdk.protocol.refusals import shown_url
from imagesdk.sinks import Folder

__all__ = ("Worker", "WorkerSpec", "record_of", "recover")

_STOPS = (AuthenticationError, PermissionDeniedError, QuotaExceededError)
"""What the next job would meet, too."""


@attrs.frozen(kw_only=True)
class WorkerSpec:
    """How to set a worker up, in another process or on another machine.

    It holds no key: a worker reads ``OPENAI_API_KEY`` and its like where it runs, as any session does.

    Attributes:
        out: Folder for the images, which the workers and the driver see under this name; or the URL of a
            store, as `imagesdk.batch.store.ObjectStore` takes it.
        base_url: As `ImageSession` takes it.
        server: As `ImageSession` takes it.
        model: As `ImageSession` takes it.
        images_per_minute: As `ImageSession` takes it; of all workers together.
        limiter: URL of the Redis that holds the limit, None if none does.
        timeout: As `ImageSession` takes it.
        max_wait: As `ImageSession` takes it.
        validate: As `ImageSession` takes it.
    """

    out: str | os.PathLike[str]
    base_url: str | None = attrs.field(default=None, repr=lambda url: repr(url and shown_url(url)))
    server: ServerProfile | str | None = None
    model: str | None = None
    images_per_minute: float | Literal["profile", "auto"] | None = "profile"
    limiter: str | None = attrs.field(default=None, repr=False)  # it may hold a password
    timeout: float | Literal["profile"] | None = "profile"
    max_wait: float | None = None
    validate: Validate = "error"

    def make_limiter(self) -> Limiter:
        """Return what holds the limit; a `RedisLimiter` is for the caller to close.

        Raises:
            ConfigurationError: The values cannot be used.
        """
        profile = read_endpoint(
            api_key=None,
            base_url=self.base_url,
            organization=None,
            project=None,
            server=self.server,
        ).profile
        if self.limiter is None:
            return choose_limiter(None, self.images_per_minute, profile)
        return shared_limiter(self.limiter, self.images_per_minute, profile)

    @asynccontextmanager
    async def session(self, limiter: Limiter | None = None) -> AsyncIterator[ImageSession]:
        """Open the session of a worker.

        Args:
            limiter: What holds the limit; None for one of its own.

        Raises:
            ConfigurationError: A value cannot be used, or there is no key where there must be one.
        """
        async with AsyncExitStack() as stack:
            if limiter is None:
                limiter = self.make_limiter()
                if isinstance(limiter, RedisLimiter):
                    await stack.enter_async_context(limiter)
            session = ImageSession(
                base_url=self.base_url,
                server=self.server,
                model=self.model,
                limiter=limiter,
                timeout=self.timeout,
                max_wait=self.max_wait,
                validate=self.validate,
            )
            yield await stack.enter_async_context(session)


class Worker:
    """Does jobs in this event loop: an `imagesdk.batch.engine.Engine`.

    Args:
        session: Sends the requests, and holds the limit; it is not closed.
        out: Where the images go.
    """

    def __init__(self, session: ImageSession, out: str | os.PathLike[str] | Destination) -> None:
        self._session = session
        self._out = destination_of(out)
        self._refuge: Path | None = None

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limit that the jobs wait for."""
        return self._session.snapshot()

    def forecast(self, images: int, requests: int) -> float:
        """Return the seconds until the last of so many could be sent; see `ImageSession.forecast`."""
        return self._session.forecast(images, requests)

    async def do(
        self,
        entry: Entry,
        before_send: BeforeSend,
        after_attempt: AfterAttempt = lambda _attempt: None,
    ) -> Report:
        """Do one job; see `imagesdk.batch.engine.Engine`."""
        key = entry.idempotency_key
        if key is None:
            raise AssertionError("a job that is sent has an Idempotency-Key")
        request = attrs.evolve(entry.job.request, extra_headers={"Idempotency-Key": key})

        async def before(_request: ImageRequest) -> None:
            await before_send()

        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        async with self._session.map(
            (request,),
            concurrency=1,
            save_to=Folder(self._out.here / ARRIVING, name=key),
            before_send=before,
            after_attempt=lambda _request, attempt: after_attempt(attempt),
        ) as outcomes:
            outcome = await anext(outcomes)
        elapsed = loop.time() - begun_at
        if isinstance(outcome.error, BatchError):  # of before_send
            raise outcome.error
        if isinstance(outcome.error, InvalidRequestError) and outcome.error.field == "save_to":
            raise OSError(str(outcome.error)) from outcome.error
        return Report(
            record=await self.save(entry, outcome, elapsed),
            stop=outcome.error if isinstance(outcome.error, _STOPS) else None,
        )

    async def save(self, entry: Entry, outcome: Outcome[ImageRequest], elapsed: float) -> Record:
        """Put the images of an outcome in their place, and return its record.

        Args:
            entry: Of the job.
            outcome: What became of it; its images are in the folder `ARRIVING`, in memory or at URLs.
            elapsed: Seconds that it took.

        Raises:
            OSError: An image cannot be put in its place. What the disk did not take is in the system's folder for
                temporary files then, and a note of the error says so.
        """
        error = outcome.error
        result: ImagesResponse | None = outcome.response
        if isinstance(error, PartialResultError):
            result = error.result
            if len(error.result.data) >= error.requested:  # all arrived: saving is tried once more
                error = None
        images: list[Mapping[str, Any]] = []
        arrived = result.data if result is not None else ()
        for number, image in enumerate(arrived, start=1):
            try:
                path = image.path
                if path is None:  # in memory, or at a URL
                    name = f"{entry.idempotency_key}-{number}"
                    path = await image.save(self._out.here / ARRIVING / name)
                kept = await self._out.keep(path, entry, number)
                images.append({**kept, "revised_prompt": image.revised_prompt})
            except ImageSDKError as failure:  # a download that failed
                error = error or failure
            except OSError as failure:
                await self._rescue(entry, arrived, failure)
                raise
        answered = result if result is not None else error
        attempts = answered.attempts if answered is not None else ()
        return record_of(
            entry,
            images,
            error,
            usage=result.usage if result is not None else None,
            request_id=answered.request_id if answered is not None else None,
            attempts=len(attempts),
            elapsed=round(elapsed, 3),
            waited=round(max(0.0, elapsed - sum(attempt.elapsed for attempt in attempts)), 3),
        )

    async def _rescue(self, entry: Entry, images: Sequence[Image], failure: OSError) -> None:
        """Keep images that are in memory elsewhere, under names by which the next run knows them."""
        homeless = [(n, image) for n, image in enumerate(images, start=1) if image.path is None]
        if not homeless:  # they are in the folder `ARRIVING`
            return
        try:
            if self._refuge is None:
                self._refuge = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="imagesdk-"))
            for number, image in homeless:
                await image.save(self._refuge / f"{entry.idempotency_key}-{number}")
        except (OSError, ImageSDKError) as error:
            failure.add_note(
                f"images of {entry.job.custom_id} are lost, and may be billed: {error}"
            )
        else:
            failure.add_note(
                f"images that it did not take are in {self._refuge}: move them into {self._out.here / ARRIVING} "
                "(make it if need be), and the next run takes them from there instead of paying again"
            )


def record_of(
    entry: Entry,
    images: Sequence[Mapping[str, Any]],
    error: ImageSDKError | None,
    *,
    usage: Mapping[str, Any] | None = None,
    request_id: str | None = None,
    attempts: int = 0,
    elapsed: float = 0.0,
    waited: float = 0.0,
) -> Record:
    """Return the record of a job that brought these images, and ended with this error if any."""
    job = entry.job
    return Record(
        custom_id=job.custom_id,
        line=job.line,
        status=status_of(error, len(images)),
        endpoint=job.endpoint,
        params=job.params,
        key=job.key,
        images=images,
        usage=usage,
        request_id=request_id,
        attempts=attempts,
        elapsed=elapsed,
        waited=waited,
        error=error_fields(error) if error is not None else None,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


async def recover(
    out: Destination,
    entry: Entry,
    found: Mapping[str, Mapping[int, Path]],
    *,
    why: str = "the run ended while the request was in flight",
) -> Record:
    """Put what arrived of a request that nobody reported in its place; return the record of its job.

    Raises:
        OSError: It cannot be put there.
    """
    here = found.get(entry.idempotency_key or "", {})
    images: list[Mapping[str, Any]] = []
    for number in range(1, entry.images + 1):
        if number in here:
            image: Mapping[str, Any] | None = await out.keep(here[number], entry, number)
        else:
            image = await out.find(entry, number)
        if image is not None:
            images.append({**image, "revised_prompt": None})
    error = None
    if len(images) < entry.images:
        error = ImageSDKError(
            f"{why}; {len(images)} of {entry.images} images are here, and all may have been billed",
            may_be_billed=True,
        )
    return attrs.evolve(
        record_of(entry, images, error), status="done" if error is None else "in_doubt"
    )
