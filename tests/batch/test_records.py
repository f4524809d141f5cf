"""The record of a job: its status, and reading it back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from imagesdk.batch.records import Record, Status, error_fields, read_manifest, status_of
from imagesdk.errors import (
    AmbiguousError,
    BadRequestError,
    ImageSDKError,
    LedgerError,
    ModerationError,
    ServerError,
)

RECORD = Record(
    custom_id="a",
    line=3,
    status="done",
    endpoint="generations",
    params={"prompt": "a"},
    key="0",
    images=[],
    usage=None,
    request_id=None,
    attempts=1,
    error=None,
    finished_at="2026-11-21T00:00:00.000+00:00",
)
LINE = msgspec.json.encode(RECORD) + b"\n"


@pytest.mark.parametrize(
    ("error", "saved", "status"),
    [
        (None, 1, "done"),
        (ServerError("no"), 1, "partial"),
        (ServerError("no"), 0, "failed"),
        (BadRequestError("no"), 0, "rejected"),
        (ModerationError("no"), 0, "rejected"),
        (AmbiguousError("no", may_be_billed=True), 0, "in_doubt"),
        (AmbiguousError("no", may_be_billed=True), 1, "partial"),
    ],
)
def test_the_status_is_that_of_error_and_images(
    error: ImageSDKError | None, saved: int, status: Status
) -> None:
    """What failed is told from what was refused, and from what may have been billed."""
    assert status_of(error, saved) == status


def test_the_fields_of_an_error() -> None:
    """A record keeps the type, the message, the server's status and code."""
    assert error_fields(ServerError("no", status=500, code="x", may_be_billed=False)) == {
        "type": "ServerError",
        "message": "no",
        "status": 500,
        "code": "x",
        "may_be_billed": False,
    }


def test_a_manifest_is_read_back(tmp_path: Path) -> None:
    """Records are read as they were written; a last line that was cut off is passed over."""
    manifest = tmp_path / "manifest.jsonl"
    for end in (b"", LINE[:1], LINE[:-1]):
        manifest.write_bytes(LINE + LINE + end)
        assert list(read_manifest(manifest)) == [RECORD, RECORD]


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"{}\n", b"\n", b'{"custom_id": 5}\n', b"\xff\n", b"[1, 2]\n"]
)
def test_a_line_that_is_no_record_is_an_error(tmp_path: Path, garbage: bytes) -> None:
    """A manifest that somebody else wrote into is an error that names file and line."""
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(LINE + garbage + LINE)
    with pytest.raises(LedgerError, match=r"manifest\.jsonl: line 2 is no record of a run"):
        list(read_manifest(manifest))
