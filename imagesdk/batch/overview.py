"""Look at a run from outside, also while somebody works there: how far it is, and what it brought.

Everything here blocks, reads and changes nothing.
"""

from __future__ import annotations

import base64
import csv
import io
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import attrs
import msgspec

from imagesdk.batch.entries import State
from imagesdk.batch.ledger import LOCK, find_ledger
from imagesdk.batch.records import Record
from imagesdk.errors import BatchError, LedgerError

__all__ = ("EXPORTS", "ExportFormat", "Failure", "Overview", "export", "look", "read_records")

ExportFormat: TypeAlias = Literal["jsonl", "csv", "openai"]
EXPORTS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_FAILURES = 5
_OF_LAST_RUN = "run = (SELECT max(run) FROM jobs)"
_PARAMS = ("model", "prompt", "size", "quality")
_COLUMNS = (
    *("custom_id", "status", "endpoint", *_PARAMS),
    *("file", "mime_type", "width", "height", "bytes", "sha256", "revised_prompt"),
    *("cost", "attempts", "elapsed", "request_id", "finished_at", "error"),
)


@attrs.frozen(kw_only=True)
class Failure:
    """A kind of failure: what the requests had that did not bring all that they asked for.

    Attributes:
        requests: How many had it.
        error: Type and message of one of them.
        custom_id: Of that one.
    """

    requests: int
    error: str
    custom_id: str


@attrs.frozen(kw_only=True)
class Overview:
    """How far the last run into a folder is.

    Attributes:
        requests: That its input has, by state.
        images_asked: Images that they ask for.
        images: Images that are there.
        image_bytes: Bytes of those.
        cost: What all requests cost, at most, as far as a price table told; None if none did.
        is_running: True if somebody works there.
        failures: The most frequent ones.
    """

    requests: Mapping[State, int]
    images_asked: int
    images: int
    image_bytes: int
    cost: float | None
    is_running: bool
    failures: tuple[Failure, ...]


def look(out: Path) -> Overview:
    """Return how far the last run into a folder is.

    Raises:
        BatchError: There was none.
        LedgerError: Its ledger cannot be read.
    """
    with _reading(out) as db:
        counts = dict.fromkeys(get_args(State), 0)
        sql = f"SELECT state, count(*) FROM jobs WHERE {_OF_LAST_RUN} GROUP BY state"  # noqa: S608 - our own words
        counts.update(db.execute(sql))
        sums = (
            "SELECT coalesce(sum(images), 0), coalesce(sum(saved), 0), "  # noqa: S608
            "sum(json_extract(CAST(record AS TEXT), '$.cost')), "
            "(SELECT coalesce(sum(json_extract(value, '$.bytes')), 0) FROM jobs AS j, "
            f"json_each(CAST(j.record AS TEXT), '$.images') WHERE j.{_OF_LAST_RUN}) "
            f"FROM jobs WHERE {_OF_LAST_RUN}"
        )
        asked, saved, cost, size = db.execute(sums).fetchone()
        kinds = (
            "SELECT count(*) AS many, json_extract(CAST(record AS TEXT), '$.error.type') AS kind, "  # noqa: S608
            "json_extract(CAST(record AS TEXT), '$.error.message'), custom_id FROM jobs "
            f"WHERE {_OF_LAST_RUN} AND kind IS NOT NULL GROUP BY kind ORDER BY many DESC, kind LIMIT ?"
        )
        failures = [
            Failure(requests=many, error=f"{kind}: {message}", custom_id=custom_id)
            for many, kind, message, custom_id in db.execute(kinds, (_FAILURES,))
        ]
    return Overview(
        requests=counts,
        images_asked=asked,
        images=saved,
        image_bytes=size,
        cost=None if cost is None else round(cost, 6),
        is_running=_is_running(out),
        failures=tuple(failures),
    )


def read_records(out: Path) -> Generator[Record, None, None]:
    """Yield what became of the requests of the last run into a folder, in the order of its input.

    Raises:
        BatchError: There was none.
        LedgerError: Its ledger cannot be read.
    """
    with _reading(out) as db:
        sql = f"SELECT record FROM jobs WHERE {_OF_LAST_RUN} AND record IS NOT NULL ORDER BY line"  # noqa: S608
        for (record,) in db.execute(sql):
            yield msgspec.json.decode(record, type=Record)


def export(out: Path, kind: ExportFormat) -> Generator[bytes, None, None]:
    """Yield the lines of a file that other programs read, in the order of the input.

    Args:
        out: The folder of the run.
        kind: ``"jsonl"``, a record a line, as in the manifest; ``"csv"``, an image a row, and a row for a request
            without any; ``"openai"``, the lines of the output file of the server's own Batch API, with the
            images in base64.

    Raises:
        BatchError: There was no run, or an image is no longer there (``"openai"``).
        LedgerError: Its ledger cannot be read.
    """
    with closing(read_records(out)) as records:  # in the thread that opened the ledger
        match kind:
            case "jsonl":
                yield from (msgspec.json.encode(record) + b"\n" for record in records)
            case "csv":
                yield from _csv(records)
            case _:
                for record in records:
                    yield msgspec.json.encode(_batch_line(out, record)) + b"\n"


def _csv(records: Iterator[Record]) -> Generator[bytes, None, None]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for record in records:
        fields = attrs.asdict(record, recurse=False)
        fields |= {name: record.params.get(name) for name in _PARAMS}
        fields["error"] = record.error and f"{record.error['type']}: {record.error['message']}"
        for image in record.images or [{}]:
            writer.writerow({**fields, **image})
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _batch_line(out: Path, record: Record) -> Mapping[str, Any]:
    """Return a line as https://platform.openai.com/docs/guides/batch has it (read 2026-11-20)."""
    response: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    if record.status == "done":
        created = int(datetime.fromisoformat(record.finished_at).timestamp())
        data = [_datum(out, record, image) for image in record.images]
        body = {"created": created, "data": data, "usage": record.usage}
        response = {"status_code": 200, "request_id": record.request_id, "body": body}
    elif record.error is not None:
        told = {"code": record.error["code"], "message": record.error["message"]}
        if (status := record.error["status"]) is None:
            error = told
        else:
            body = {"error": told}
            response = {"status_code": status, "request_id": record.request_id, "body": body}
    return {
        "id": f"batch_req_{record.key}",
        "custom_id": record.custom_id,
        "response": response,
        "error": error,
    }


def _datum(out: Path, record: Record, image: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        content = (out / image["file"]).read_bytes()
    except OSError as error:
        raise BatchError(
            f"{record.custom_id}: {out / image['file']} cannot be read: {error.strerror}; run the batch again to "
            "have it made again",
            line=record.line,
        ) from None
    datum = {"b64_json": base64.b64encode(content).decode()}
    return datum | {k: image[k] for k in ("revised_prompt",) if image.get(k) is not None}


@contextmanager
def _reading(out: Path) -> Iterator[sqlite3.Connection]:
    path = find_ledger(out)
    uri = path.resolve().as_uri()
    try:
        with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True)) as db:
            try:
                db.execute("SELECT 1 FROM jobs LIMIT 1").fetchone()
            except sqlite3.OperationalError:
                # A folder that nothing can be written to: nobody works there.
                with closing(sqlite3.connect(f"{uri}?immutable=1", uri=True)) as unchanging:
                    yield unchanging
            else:
                yield db
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error


def _is_running(out: Path) -> bool:
    """Return whether a runner holds the lock."""
    with suppress(sqlite3.OperationalError):
        uri = (out / LOCK).resolve().as_uri()
        with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=0)) as lock:
            lock.execute("SELECT 1 FROM sqlite_schema").fetchone()
        return False
    return (out / LOCK).exists()
