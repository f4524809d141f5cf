"""The batches that a run has at the server, as its ledger knows them.

Invariants, at whatever moment the process ends:

- a batch is in the ledger, with a mark of its own, before the server is asked to run it; its jobs are
  ``submitted`` from then on, and nobody else sends them;
- one without the server's id may or may not be there: the server's list, searched for the mark, tells;
- one is closed only when each of its jobs has a record.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import attrs

from imagesdk.batch.entries import Entry, select
from imagesdk.batch.ledger import Ledger, find_ledger
from imagesdk.client.batches import BatchCalls, ServerBatch
from imagesdk.errors import BatchError, LedgerError

__all__ = ("AtServer", "Submission", "Submissions", "now", "read_submissions")

_LOOKS = 20
_CLOCK_SKEW = 3600.0
_SUBMISSION = (
    "SELECT id, mark, endpoint, requests, file_id, begun_at, batch_id, status, closed FROM batches"
)


@attrs.frozen
class Submission:
    """A batch that the server was asked for.

    Attributes:
        id: Of the row.
        mark: In the metadata of the server's batch.
        endpoint: ``"generations"`` or ``"edits"``.
        requests: How many are in it.
        file_id: The server's, of the lines.
        begun_at: Seconds since 1970, when the server was about to be asked.
        batch_id: The server's; None if it is not known whether there is one.
        status: What the server said last, None if it was not heard.
        closed: 1 if all that it brings is here.
    """

    id: int
    mark: str
    endpoint: str
    requests: int
    file_id: str
    begun_at: float
    batch_id: str | None
    status: str | None
    closed: int


class Submissions:
    """The table of batches in a ledger.

    Args:
        ledger: That is open.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def open(self) -> list[Submission]:
        """Return the batches that are not closed, in the order in which they were made."""
        return await self._ledger.do(lambda db: _read(db, "WHERE NOT closed ORDER BY id"))

    async def begin(
        self, mark: str, endpoint: str, file_id: str, begun_at: float, jobs: Sequence[int]
    ) -> Submission:
        """Note that the server is about to be asked for a batch.

        Args:
            mark: See `Submission`.
            endpoint: See `Submission`.
            file_id: See `Submission`.
            begun_at: See `Submission`.
            jobs: Ids of the entries in it, in the order of the lines.
        """

        def operation(db: sqlite3.Connection) -> Submission:
            values = (mark, endpoint, len(jobs), file_id, begun_at)
            db.execute(
                "INSERT INTO batches (mark, endpoint, requests, file_id, begun_at) "
                "VALUES (?, ?, ?, ?, ?)",
                values,
            )
            (submission,) = _read(db, "WHERE mark = ?", mark)
            db.executemany(
                "UPDATE jobs SET state = 'submitted', batch = ?, position = ? WHERE id = ?",
                ((submission.id, place, job) for place, job in enumerate(jobs, start=1)),
            )
            return submission

        return await self._ledger.do(operation)

    async def found(self, submission: Submission, batch_id: str, status: str) -> None:
        """Note the id of the server's batch, and what the server says of it."""
        sql = "UPDATE batches SET batch_id = ?, status = ? WHERE id = ?"
        await self._ledger.do(lambda db: db.execute(sql, (batch_id, status, submission.id)))

    async def abandon(self, submission: Submission) -> None:
        """Note that the server has no such batch: its jobs are what they were before."""

        def operation(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE jobs SET state = iif(record IS NULL, 'pending', 'failed') "
                "WHERE batch = ? AND state = 'submitted'",
                (submission.id,),
            )
            db.execute("DELETE FROM batches WHERE id = ?", (submission.id,))

        await self._ledger.do(operation)

    async def entry(self, submission: Submission, custom_id: str) -> Entry | None:
        """Return a job of a batch of which nothing has come yet, None if there is none of that id."""
        where = "custom_id = ? AND batch = ? AND state = 'submitted'"
        values = (custom_id, submission.id)
        found = await self._ledger.do(lambda db: select(db, where, values))
        return found[0] if found else None

    async def left(self, submission: Submission, limit: int = 256) -> list[tuple[int, Entry]]:
        """Return jobs of which nothing has come, the first ones, each with its line in the batch's file."""

        def operation(db: sqlite3.Connection) -> list[tuple[int, Entry]]:
            where = "batch = ? AND state = 'submitted' ORDER BY position LIMIT ?"
            values = (submission.id, limit)
            entries = select(db, where, values)
            places = db.execute(f"SELECT position FROM jobs WHERE {where}", values)  # noqa: S608
            return [(place, entry) for (place,), entry in zip(places, entries, strict=True)]

        return await self._ledger.do(operation)

    async def close(self, submission: Submission) -> None:
        """Note that all that a batch brings is here."""
        sql = "UPDATE batches SET closed = 1 WHERE id = ?"
        await self._ledger.do(lambda db: db.execute(sql, (submission.id,)))


def read_submissions(out: Path) -> list[Submission]:
    """Return the batches of the run in a folder, also while somebody works there; blocks.

    Raises:
        BatchError: There was no run, or nothing was submitted from there.
        LedgerError: The ledger cannot be read.
    """
    path = find_ledger(out)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            found = _read(db, "ORDER BY id")
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    if not found:
        raise BatchError(
            f"nothing was submitted from {out}: imagesdk batch submit FILE --out {out} does that"
        )
    return found


def _read(db: sqlite3.Connection, where: str, *values: object) -> list[Submission]:
    return [Submission(*row) for row in db.execute(f"{_SUBMISSION} {where}", values)]


@attrs.define(kw_only=True, eq=False)
class AtServer:
    """What submitting and fetching have in common."""

    calls: BatchCalls
    ledger: Ledger
    submissions: Submissions
    out: Path
    settle: float
    on_batch: Callable[[ServerBatch], None]
    on_search: Callable[[float], None]

    async def reconcile(self) -> None:
        """Find out what became of batches that were asked for without an answer."""
        for submission in await self.submissions.open():
            if submission.batch_id is None:
                batch = await self.look_for(submission)
                if batch is None:
                    await self.submissions.abandon(submission)
                    self.has_none(submission)
                else:
                    await self.submissions.found(submission, batch.id, batch.status)
                    self.has_found(submission, batch)

    def has_none(self, submission: Submission) -> None:
        """Take note that the server has no such batch."""

    def has_found(self, submission: Submission, batch: ServerBatch) -> None:
        """Take note that the server has taken a batch."""

    async def look_for(self, submission: Submission) -> ServerBatch | None:
        """Return the server's batch, None if it lists none even *settle* seconds after it was asked for."""
        since = submission.begun_at - _CLOCK_SKEW
        self.on_search(max(0.0, submission.begun_at + self.settle - now()))
        while (batch := await self.calls.find(submission.mark, since)) is None:
            if now() - submission.begun_at > self.settle:
                return None
            await asyncio.sleep(self.settle / _LOOKS)
        return batch


def now() -> float:
    """Return the time in seconds since 1970."""
    return datetime.now(UTC).timestamp()
