"""Bring what the server's batches have made, and record what they have not; see `imagesdk.batch.provider`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import attrs

from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING, arrived
from imagesdk.batch.prices import PriceTable
from imagesdk.batch.records import Record
from imagesdk.batch.submissions import AtServer, Submission
from imagesdk.batch.worker import Worker
from imagesdk.client.batches import ArrivedLine, ServerBatch
from imagesdk.client.fanout import Outcome
from imagesdk.errors import (
    BadRequestError,
    BatchError,
    ImageSDKError,
    NotFoundError,
)
from imagesdk.models.requests import ImageRequest
from imagesdk.sinks import Folder

__all__ = ("Fetch", "Fetched")

_SHARE = 0.5
"""What a request costs in a batch, as a share of its price."""


@attrs.define(kw_only=True)
class Fetched:
    """What `fetch` did.

    Attributes:
        done: Requests whose images are here now.
        failed: Requests that brought none, or fewer than asked for.
        images: Images that were saved now.
        ended: Batches that have ended, and of which everything is here now.
        waiting: Batches that have not ended.
        lost: Requests that were asked for in a batch that the server does not list: they are not done.
        cost: What the images cost that came now, at most; None without a price table.
    """

    done: int = 0
    failed: int = 0
    images: int = 0
    ended: list[ServerBatch] = attrs.field(factory=list)
    waiting: list[ServerBatch] = attrs.field(factory=list)
    lost: int = 0
    cost: float | None = None


@attrs.define(kw_only=True, eq=False)
class Fetch(AtServer):
    """One call of `fetch`."""

    worker: Worker
    prices: PriceTable | None
    model: str | None
    on_record: Callable[[Record], None]
    summary: Fetched = attrs.field(factory=Fetched, init=False)

    def has_none(self, submission: Submission) -> None:
        """Count what is to be done again."""
        self.summary.lost += submission.requests

    async def tidy(self) -> None:
        """Remove what arrived of our batches and was not put in its place: it comes again."""
        marks = {submission.mark for submission in await self.submissions.open()}

        def remove() -> None:
            for mark, images in arrived(self.out).items():
                for path in images.values() if mark in marks else ():
                    path.unlink()

        await asyncio.to_thread(remove)

    async def look(self) -> None:
        """Look at each batch, and bring what those have made that have ended."""
        self.summary.waiting = []
        for submission in await self.submissions.open():
            if submission.batch_id is None:
                continue
            batch = await self.calls.get(submission.batch_id)
            self.on_batch(batch)
            await self.submissions.found(submission, batch.id, batch.status)
            if batch.has_ended:
                await self._bring(submission, batch)
                self.summary.ended.append(batch)
            else:
                self.summary.waiting.append(batch)

    async def _bring(self, submission: Submission, batch: ServerBatch) -> None:
        """Bring the images of a batch; what it has not done has failed."""

        async def keep(line: ArrivedLine) -> None:
            entry = await self.submissions.entry(submission, line.custom_id)
            if entry is not None:  # or it is here already
                outcome = await line.outcome(entry.job.request, entry.images)
                await self._finish(entry, batch, outcome, line.request_id)

        folder = Folder(self.out / ARRIVING, name=submission.mark)
        lost: list[str] = []
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                try:
                    await self.calls.read_file(file_id, folder, keep)
                except NotFoundError:
                    lost.append(file_id)
        named = _errors_by_line(batch)
        while left := await self.submissions.left(submission):
            for place, entry in left:
                error = named.get(place) or _why_not(batch, lost)
                outcome = Outcome(index=0, request=entry.job.request, error=error)
                await self._finish(entry, batch, outcome, None)
        await self.submissions.close(submission)

    async def _finish(
        self,
        entry: Entry,
        batch: ServerBatch,
        outcome: Outcome[ImageRequest],
        request_id: str | None,
    ) -> None:
        elapsed = float(max(0, (batch.ended_at or batch.created_at) - batch.created_at))
        record = await self.worker.save(entry, outcome, elapsed)
        record = attrs.evolve(record, batch_id=batch.id, request_id=record.request_id or request_id)
        if self.prices is not None:
            record = self._priced(record, self.prices)
        await self.ledger.finish(entry, record)
        self.summary.images += len(record.images)
        if record.status == "done":
            self.summary.done += 1
        else:
            self.summary.failed += 1
        self.on_record(record)

    def _priced(self, record: Record, prices: PriceTable) -> Record:
        """Return a record with what its images cost."""
        images = len(record.images)
        full = prices.cost(
            record.endpoint, record.params, self.model, images=images, usage=record.usage
        )
        self.summary.cost = (self.summary.cost or 0.0) + full * _SHARE
        return attrs.evolve(record, cost=round(full * _SHARE, 6), prices=prices.version)


def _errors_by_line(batch: ServerBatch) -> Mapping[int, ImageSDKError]:
    """Return what a batch that failed says of single lines: those are wrong, the others are not."""
    found = {}
    for error in batch.errors:
        line, code = error.get("line"), error.get("code")
        if isinstance(line, int):
            found[line] = BadRequestError(
                f"{batch.id} failed at this request: {error.get('message')}",
                error=error,
                code=None if code is None else str(code),
            )
    return found


def _why_not(batch: ServerBatch, lost: list[str]) -> ImageSDKError:
    """Return the error for a request of which the files of its batch say nothing."""
    again = "`imagesdk batch run` with the same folder does it, at the full price"
    if lost:
        return BatchError(
            f"the server no longer has {' and '.join(lost)}, in which its answer was: it was billed "
            f"if it was done before {batch.id} ended as {batch.status}",
            may_be_billed=True,
        )
    if batch.status == "completed":
        return BatchError(
            f"{batch.id} has ended, and its files say nothing of this request: it may have been billed",
            may_be_billed=True,
        )
    said = "; ".join(str(error.get("message")) for error in batch.errors[:3])
    return BatchError(
        f"{batch.id} ended as {batch.status}{f' ({said})' if said else ''} before this request was run; {again}"
    )
