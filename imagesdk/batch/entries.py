"""The tables of a ledger, and what their rows say: the jobs of a run, and where each stands."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from imagesdk.batch.jobs import Job
from imagesdk.batch.records import Record

__all__ = ("SCHEMA", "VERSION", "Entry", "State", "Total", "select")

State: TypeAlias = Literal[
    "pending", "started", "submitted", "done", "failed", "rejected", "in_doubt"
]

VERSION = 2
SCHEMA = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  custom_id TEXT NOT NULL UNIQUE,
  run INTEGER NOT NULL,   -- the last one whose input named it
  line INTEGER NOT NULL,  -- there
  endpoint TEXT NOT NULL,
  params BLOB NOT NULL,   -- JSON
  folder TEXT NOT NULL,
  key TEXT NOT NULL,
  images INTEGER NOT NULL,  -- asked for
  first INTEGER NOT NULL,   -- images of the jobs before, which tells the folder
  stem TEXT NOT NULL UNIQUE COLLATE NOCASE,
  state TEXT NOT NULL CHECK (
    state IN ('pending', 'started', 'submitted', 'done', 'failed', 'rejected', 'in_doubt')),
  batch INTEGER,     -- the last one of the server's that it was in
  position INTEGER,  -- there, from 1
  idempotency_key TEXT,
  ended INTEGER,  -- in which order
  saved INTEGER NOT NULL DEFAULT 0,  -- images that the record names
  record BLOB     -- JSON
) STRICT;
CREATE INDEX jobs_by_line ON jobs (run, line);
CREATE INDEX jobs_by_end ON jobs (ended);
CREATE INDEX jobs_started ON jobs (id) WHERE state = 'started';
CREATE INDEX jobs_by_batch ON jobs (batch, position) WHERE state = 'submitted';
CREATE TABLE batches (
  id INTEGER PRIMARY KEY,
  mark TEXT NOT NULL UNIQUE,  -- in the metadata of the server's batch
  endpoint TEXT NOT NULL,
  requests INTEGER NOT NULL,
  file_id TEXT NOT NULL,  -- the server's
  begun_at REAL NOT NULL,  -- seconds since 1970, when the server was about to be asked for it
  batch_id TEXT UNIQUE,  -- the server's, as soon as it is known that there is one
  status TEXT,           -- the server's last word
  closed INTEGER NOT NULL DEFAULT 0  -- all that it brings is here
) STRICT;
"""
_ENTRY = (
    "SELECT id, custom_id, line, endpoint, params, folder, key, images, first, stem, state, "
    "idempotency_key, record FROM jobs"
)


@attrs.frozen(kw_only=True)
class Entry:
    """A job and its state.

    Attributes:
        id: Of the row.
        job: What the input says.
        images: Number that is asked for.
        first: Images of the jobs before it.
        stem: First part of its file names.
        state: Where it stands.
        idempotency_key: Of the last request that was sent.
        record: What became of it, None if it never ended.
    """

    id: int
    job: Job
    images: int
    first: int
    stem: str
    state: State
    idempotency_key: str | None
    record: Record | None


@attrs.frozen
class Total:
    """How many jobs the input has, and how many images it asks for."""

    jobs: int
    images: int


def select(db: sqlite3.Connection, where: str, values: Sequence[object] = ()) -> list[Entry]:
    """Return the jobs for which *where* holds, a condition in SQL; for an operation of `Ledger.do`."""
    return [_entry(row) for row in db.execute(f"{_ENTRY} WHERE {where}", values)]


def _entry(row: tuple[Any, ...]) -> Entry:
    number, custom_id, line, endpoint, params, folder, key, images, first, stem, *rest = row
    state, idempotency_key, record = rest
    return Entry(
        id=number,
        job=Job(
            custom_id=custom_id,
            line=line,
            endpoint=endpoint,
            params=msgspec.json.decode(params),
            folder=Path(folder),
            key=key,
        ),
        images=images,
        first=first,
        stem=stem,
        state=state,
        idempotency_key=idempotency_key,
        record=None if record is None else msgspec.json.decode(record, type=Record),
    )
