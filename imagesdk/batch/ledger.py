"""The ledger of a batch run: what was asked for, and what became of it, in ``run.db``.

SQLite with a write-ahead log and ``synchronous=FULL``, written by one thread. What comes while a
transaction is on its way to the disk is one transaction together: a commit takes milliseconds, however
many jobs wait for it. Invariants, at whatever moment the process ends:

- a job is ``started`` before its request is sent, with the Idempotency-Key that goes with it;
- a job is ``submitted`` before the server is asked to run the batch that it is in;
- a job is ``done`` only when its files are on the disk under their names;
- so what is ``started`` when a run begins may have been billed; what is ``submitted`` is left to
  `imagesdk.batch.provider`, which asks the server; and nothing else may have been billed.

It must be on a local disk: neither the log nor the lock works over a network.
https://sqlite.org/wal.html (read 2026-11-21)
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, get_args

import msgspec

from imagesdk.batch.entries import SCHEMA, VERSION, Entry, State, Total, select
from imagesdk.batch.files import force_names, missing_folders, stems, whole_file
from imagesdk.batch.jobs import Job, images_asked
from imagesdk.batch.records import MANIFEST, Record, read_manifest
from imagesdk.batch.rows import line_error
from imagesdk.errors import BatchError, LedgerError

__all__ = ("LEDGER", "LOCK", "Ledger", "find_ledger")

T = TypeVar("T")
LEDGER = "run.db"
LOCK = "run.lock"
_PAGE = 256
_Operation: TypeAlias = Callable[[sqlite3.Connection], Any]


class _TakenBack(Exception):  # noqa: N818 - it is how a transaction is undone, and no error
    """Carries what was seen in a transaction that is undone."""

    def __init__(self, result: Any) -> None:  # noqa: ANN401
        super().__init__(result)
        self.result = result


def find_ledger(out: Path) -> Path:
    """Return the path of the ledger of the run into a folder.

    Raises:
        BatchError: There was none.
    """
    path = out / LEDGER
    if not path.is_file():
        raise BatchError(
            f"there was no run into {out}: {path} does not exist; name the folder of a run, its --out or --ledger"
        )
    return path


class Ledger:
    """The ledger of the run in a folder: ``async with Ledger(out) as ledger``.

    All methods may be called side by side. Cancelling one leaves its change in the queue: it is still
    made.

    Args:
        out: Folder for ledger and manifest, made if need be.
        images: Folder that the files of the records are relative to, made if need be; None for the same.

    Raises:
        ConfigurationError: A file is in the way of a folder.
        LedgerError: Another runner has it, or it cannot be read or written.
    """

    def __init__(self, out: Path, images: Path | None = None) -> None:
        self._out = out
        self._images = images or out
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="imagesdk-ledger")
        self._waiting: list[tuple[_Operation, asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None
        # Of the thread alone:
        self._lock: sqlite3.Connection | None = None
        self._db: sqlite3.Connection | None = None
        self._run = 0
        self._ended = 0
        self._made: list[Path] = []
        self._is_new = False
        self._folders: set[Path] = set()
        self._lines: list[bytes] = []
        self._manifest: FileIO | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._writer is not None:
                await asyncio.wait([self._writer])
        finally:
            await self._close()

    async def load(self, jobs: Iterable[Job], *, allow_changed: bool = False) -> Total:
        """Take the jobs of an input in: new ones are pending, the others stay what they are.

        All or none: *jobs* is read to its end first, in the ledger's thread.

        Args:
            jobs: Each with an id of its own.
            allow_changed: Make a job pending again, under a new name, if it has images that were made from
                another request.

        Raises:
            BatchError: Two jobs have one id, or one has images that were made from another request.
        """
        return await self.do(lambda db: self._load(db, jobs, allow_changed))

    async def rehearse(
        self, jobs: Iterable[Job], look: Callable[[Iterator[Entry]], T], *, allow_changed: bool
    ) -> tuple[Total, int, T]:
        """Do as `load`, show *look* all jobs of the input, and take it back.

        Args:
            jobs: As for `load`.
            look: Called in the ledger's thread with the jobs as they would then stand.
            allow_changed: As for `load`.

        Returns:
            What the input has, how many of its jobs ask for the same as one before, and what *look* returned.

        Raises:
            BatchError: As `load` does.
        """
        before = self._run

        def tried(db: sqlite3.Connection) -> None:
            try:
                total = self._load(db, jobs, allow_changed)
                sql = "SELECT count(*) - count(DISTINCT key) FROM jobs WHERE run = ?"
                (duplicates,) = db.execute(sql, (self._run,)).fetchone()
                raise _TakenBack((total, duplicates, look(self._all(db))))
            finally:
                self._run = before

        try:
            await self.do(tried)
        except _TakenBack as taken:
            return taken.result  # type: ignore[no-any-return]
        raise AssertionError("it is taken back")

    async def total(self, states: Collection[State] | None = None) -> Total:
        """Return how many jobs the last input has in these states; None for all."""
        return await self.do(lambda db: self._total(db, states))

    async def page(
        self, states: Collection[State], *, after: int = 0, limit: int = _PAGE
    ) -> list[Entry]:
        """Return the next jobs of the input in these states, from behind line *after*."""
        return await self.do(lambda db: self._page(db, states, after, limit))

    async def spread(self, states: Collection[State], count: int) -> list[Entry]:
        """Return so many jobs of the input in these states, evenly spread over all of them."""
        marks = ",".join("?" * len(states))
        chosen = (  # the first one of each of *count* parts, or all if there are fewer
            "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY line) - 1 AS place, "  # noqa: S608 - marks are ?
            f"count(*) OVER () AS total FROM jobs WHERE run = ? AND state IN ({marks})) "
            "WHERE place = 0 OR place * ? / total > (place - 1) * ? / total"
        )
        values = (self._run, *states, count, count)
        return await self.do(lambda db: select(db, f"id IN ({chosen}) ORDER BY line", values))

    async def count(self) -> dict[State, int]:
        """Return how many jobs of the input are in each state."""
        sql = "SELECT state, count(*) FROM jobs WHERE run = ? GROUP BY state"
        return await self.do(lambda db: dict(db.execute(sql, (self._run,)).fetchall()))

    async def started(self) -> list[Entry]:
        """Return what was in flight when the last run ended, of whatever input."""
        return await self.do(lambda db: select(db, "state = 'started'"))

    async def start(self, entry: Entry, idempotency_key: str) -> None:
        """Note that a request is about to be sent."""
        sql = "UPDATE jobs SET state = 'started', idempotency_key = ? WHERE id = ?"
        await self.do(lambda db: db.execute(sql, (idempotency_key, entry.id)))

    async def put_back(self, entry: Entry) -> None:
        """Note that a request was not sent after all, or that nothing came of it."""
        sql = "UPDATE jobs SET state = ?, idempotency_key = ? WHERE id = ?"
        await self.do(lambda db: db.execute(sql, (entry.state, entry.idempotency_key, entry.id)))

    async def reset(self, entries: Iterable[Entry]) -> None:
        """Make jobs pending: what they brought is gone."""
        sql = (
            "UPDATE jobs SET state = 'pending', saved = 0, record = NULL, ended = NULL WHERE id = ?"
        )
        rows = [(entry.id,) for entry in entries]
        await self.do(lambda db: db.executemany(sql, rows))

    async def finish(self, entry: Entry, record: Record) -> None:
        """Note what became of a job, whose files are in their place; write its line of the manifest."""
        await self.do(lambda db: self._finish(db, entry.id, record))

    async def discard(self) -> None:
        """Close it, and leave nothing of it behind if it was made just now: all that was read was refused."""
        await self._in_thread(self._discard)

    async def do(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run *operation* in the next transaction, and return when that is on the disk.

        It runs in the ledger's thread; if it raises, all that the transaction holds fails.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                results = await self._in_thread(self._commit, [each for each, _ in waiting])
            except Exception as error:  # noqa: BLE001 - those who wait get it
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(waiting, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(self._wrapped, function, *arguments)
        )

    async def _close(self) -> None:
        try:
            # Shielded: what is cancelled before the thread begins with it would never be done.
            loop = asyncio.get_running_loop()
            closing = loop.run_in_executor(self._thread, self._wrapped, self._close_files)
            await asyncio.shield(closing)
        finally:
            self._thread.shutdown(wait=False)

    # In the thread -----------------------------------------------------------------------------

    def _wrapped(self, function: Callable[..., T], *arguments: object) -> T:
        try:
            return function(*arguments)
        except sqlite3.Error as error:
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            raise LedgerError(
                f"another runner works in {self._out}: wait for its end, or choose another folder"
                if busy
                else f"{self._out / LEDGER} cannot be used: {error}; images that were saved are "
                "safe: run it again once that is put right"
            ) from error
        except OSError as error:
            if error.filename is None:  # a write has none; the manifest's is the only one here
                error.filename = os.fspath(self._out / MANIFEST)
                error.add_note("the ledger has all that was done: make room, and run it again")
            raise

    def _open(self) -> None:
        self._made = missing_folders(self._out, self._images)
        for folder in (self._out, self._images):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._connect(LOCK)
        self._lock.execute("BEGIN EXCLUSIVE")  # let go when the process ends, however it does
        self._db = db = self._connect(LEDGER)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        is_new = version == 0 and not db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        if version != VERSION and not is_new:
            raise LedgerError(
                f"{self._out / LEDGER} is of version {version}; this is a program for version "
                f"{VERSION}: choose another folder"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if is_new:
            self._is_new = not (self._out / MANIFEST).exists()
            self._commit([self._create])
        (self._run, self._ended) = db.execute(
            "SELECT coalesce(max(run), 0), coalesce(max(ended), 0) FROM jobs"
        ).fetchone()
        self._write_manifest(db)
        self._manifest = FileIO(self._out / MANIFEST, "ab")

    def _connect(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(self._out / name, timeout=0, isolation_level=None)

    def _close_files(self) -> None:
        for opened in (self._manifest, self._db, self._lock):
            if opened is not None:
                opened.close()

    def _discard(self) -> None:
        if not self._is_new or self._manifest is None or self._db is None:
            return
        self._manifest.close()
        self._db.close()
        for name in (LEDGER, MANIFEST, LOCK):  # which is held until nothing is left
            with suppress(PermissionError):  # Windows removes none that is open
                (self._out / name).unlink()
        self._close_files()
        for folder in self._made:
            with suppress(OSError):  # somebody has put something there
                folder.rmdir()

    def _create(self, db: sqlite3.Connection) -> None:
        """Make an empty ledger; from the manifest, if somebody removed the one that belongs to it."""
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        manifest = self._out / MANIFEST
        if not manifest.exists():
            return
        last = {record.custom_id: record for record in read_manifest(manifest)}
        for record in sorted(last.values(), key=lambda record: record.line):
            job = Job(
                custom_id=record.custom_id,
                line=record.line,
                endpoint=record.endpoint,
                params=record.params,
                folder=self._out,  # the input says it again
                key=record.key,
            )
            self._add(db, job, self._count_images(db))
        ids = dict(db.execute("SELECT custom_id, id FROM jobs"))
        for record in last.values():
            self._finish(db, ids[record.custom_id], record)
        self._lines.clear()  # they stand there

    def _write_manifest(self, db: sqlite3.Connection) -> None:
        """Make the manifest what the ledger says: a crash may have come between the two."""
        sql = "SELECT record FROM jobs WHERE ended IS NOT NULL ORDER BY ended"
        with whole_file(self._out / MANIFEST) as file:
            file.writelines(record + b"\n" for (record,) in db.execute(sql))

    def _commit(self, operations: Sequence[_Operation]) -> list[Any]:
        db = self._db
        if db is None:
            raise AssertionError("the ledger is not open")
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [operation(db) for operation in operations]
            while self._folders:
                force_names(self._folders.pop())
            db.execute("COMMIT")
        except BaseException:
            self._lines.clear()
            if db.in_transaction:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise
        lines, self._lines = b"".join(self._lines), []
        while lines and self._manifest is not None:
            lines = lines[self._manifest.write(lines) :]
        return results

    def _load(
        self,
        db: sqlite3.Connection,
        jobs: Iterable[Job],
        allow_changed: bool,  # noqa: FBT001 - see load
    ) -> Total:
        run = self._run + 1
        first = self._count_images(db)
        for job in jobs:
            row = db.execute(
                "SELECT id, run, line, params, key, saved, state FROM jobs WHERE custom_id = ?",
                (job.custom_id,),
            ).fetchone()
            if row is None:
                self._add(db, job, first, run)
                first += images_asked(job.params)
                continue
            number, seen, line, params, key, saved, state = row
            if seen == run:
                raise line_error(
                    job.line,
                    f"custom_id {job.custom_id!r} stands in line {line}, too; each needs its own",
                )
            if key != job.key:
                if saved and not allow_changed:
                    raise line_error(
                        job.line,
                        f"{job.custom_id!r} was made {_from(job, params)} by an earlier run into "
                        f"{self._out}; {_advice(job)}, or make it again: --allow-changed",
                    )
                if state == "submitted":
                    raise line_error(
                        job.line,
                        f"{job.custom_id!r} is in a batch at the server, made {_from(job, params)}; "
                        "fetch that first, or give this one another id",
                    )
                db.execute(
                    "UPDATE jobs SET state = 'pending', endpoint = ?, params = ?, key = ?, "
                    "images = ?, first = ?, saved = 0, record = NULL, ended = NULL WHERE id = ?",
                    (*_request(job), images_asked(job.params), first, number),
                )
                if saved:  # the old files stay
                    stem = f"{next(stems(job.custom_id))}-{job.key}"
                    db.execute("UPDATE jobs SET stem = ? WHERE id = ?", (stem, number))
                first += images_asked(job.params)
            db.execute(
                "UPDATE jobs SET run = ?, line = ?, folder = ? WHERE id = ?",
                (run, job.line, os.path.abspath(job.folder), number),  # noqa: PTH100 - no link is to be followed
            )
        self._run = run
        return self._total(db)

    def _page(
        self, db: sqlite3.Connection, states: Collection[State], after: int, limit: int
    ) -> list[Entry]:
        marks = ",".join("?" * len(states))
        where = f"run = ? AND line > ? AND state IN ({marks}) ORDER BY line LIMIT ?"
        return select(db, where, (self._run, after, *states, limit))

    def _all(self, db: sqlite3.Connection) -> Iterator[Entry]:
        after = 0
        while page := self._page(db, get_args(State), after, _PAGE):
            yield from page
            after = page[-1].job.line

    def _total(self, db: sqlite3.Connection, states: Collection[State] | None = None) -> Total:
        marks = "" if states is None else f" AND state IN ({','.join('?' * len(states))})"
        sql = f"SELECT count(*), coalesce(sum(images), 0) FROM jobs WHERE run = ?{marks}"  # noqa: S608
        return Total(*db.execute(sql, (self._run, *(states or ()))).fetchone())

    def _add(self, db: sqlite3.Connection, job: Job, first: int, run: int = 0) -> None:
        fields = (
            job.custom_id,
            run,
            job.line,
            os.path.abspath(job.folder),  # noqa: PTH100
            *_request(job),
            images_asked(job.params),
            first,
        )
        for stem in stems(job.custom_id):  # the first one that is free
            added = db.execute(
                "INSERT OR IGNORE INTO jobs (custom_id, run, line, folder, endpoint, params, key, "
                "images, first, stem, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
                (*fields, stem),
            )
            if added.rowcount:
                return
        raise AssertionError("the last name holds a hash of the id")

    def _finish(self, db: sqlite3.Connection, number: int, record: Record) -> None:
        line = msgspec.json.encode(record)
        self._ended += 1
        db.execute(
            "UPDATE jobs SET state = ?, record = ?, ended = ?, saved = ? WHERE id = ?",
            (
                "failed" if record.status == "partial" else record.status,
                line,
                self._ended,
                len(record.images),
                number,
            ),
        )
        self._lines.append(line + b"\n")
        if record.images:
            self._folders |= {
                self._images,
                *((self._images / i["file"]).parent for i in record.images),
            }

    @staticmethod
    def _count_images(db: sqlite3.Connection) -> int:
        (count,) = db.execute("SELECT coalesce(max(first + images), 0) FROM jobs").fetchone()
        return int(count)


def _request(job: Job) -> tuple[str, bytes, str]:
    return job.endpoint, msgspec.json.encode(job.params), job.key


def _advice(job: Job) -> str:
    if job.custom_id == f"line-{job.line}":
        return "it has no id but its line: add new lines at the end, or write ids"
    return "give it another id"


def _from(job: Job, params: bytes) -> str:
    """Say in what a job differs from what it was."""
    if msgspec.json.decode(params) == job.params:
        return "from another picture (the file has changed since)"
    return "with other parameters"
