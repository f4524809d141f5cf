"""What the tests of batches share: answers, jobs, and a run of theirs against a script or an emulator."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.ledger import LEDGER
from imagesdk.batch.records import MANIFEST, Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.client._assembly import Validate
from imagesdk.client.session import ImageSession
from imagesdk.emulator.server import EmulatorServer
from imagesdk.errors import ImageSDKError
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest

OWN = {MANIFEST, LEDGER, "run.lock"}
IDLE = LimiterSnapshot(
    images_per_minute=50.0,
    limit=50.0,
    adopted=None,
    used=0,
    queued=0,
    queued_images=0,
    paused=0.0,
    paused_until=None,
    next_waits=0.0,
    next_waits_for=None,
)
Answers = Callable[[SentRequest], ScriptedAnswer | ImageSDKError]


def png(width: int = 3, height: int = 2, color: int = 0) -> bytes:
    """Return a small PNG file."""
    buffer = BytesIO()
    Image.new("L", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def image_answer(*images: bytes, **more: object) -> ScriptedAnswer:
    """Return an answer with images in it."""
    data = [{"b64_json": base64.b64encode(image).decode()} for image in images or (png(),)]
    return ScriptedAnswer({"created": 1, "data": data, **more}, headers={"x-request-id": "req-1"})


def refusal(status: int, code: str, kind: str = "invalid_request_error") -> ScriptedAnswer:
    """Return the server's refusal."""
    return ScriptedAnswer(
        {"error": {"message": f"no: {code}", "type": kind, "code": code, "param": None}},
        status=status,
    )


def scripted(transport: ScriptedTransport, *, validate: Validate = "error") -> ImageSession:
    """Return a session without limits that tries everything once."""
    return ImageSession(
        base_url="http://server/v1",
        api_key="sk-test",
        transport=transport,
        images_per_minute=None,
        retry=RetryPolicy(1),
        validate=validate,
    )


def jobs_of(*lines: dict[str, Any], folder: Path = Path()) -> list[Job]:
    """Read jobs from lines."""
    return list(read_jobs(map(json.dumps, lines), folder))


def prompts(*ids: str) -> list[Job]:
    """Return a job for each id, whose prompt is its id."""
    return jobs_of(*({"id": name, "prompt": name} for name in ids))


def manifest_of(out: Path) -> list[dict[str, Any]]:
    """Return the manifest's lines."""
    return [json.loads(line) for line in (out / MANIFEST).read_bytes().splitlines()]


def pictures_in(out: Path) -> list[str]:
    """Return the names of all files but those of the ledger and the manifest."""
    return sorted(path.name for path in out.iterdir() if path.name not in OWN)


def record(custom_id: str = "a", images: int = 1, **more: Any) -> Record:
    """Return the record of a job that took 10 s and has all that it asked for, unless *more* says more."""
    fields: dict[str, Any] = {
        "custom_id": custom_id,
        "status": "done",
        "endpoint": "generations",
        "params": {"prompt": "a fox", "n": images},
        "key": "0",
        "images": [{"file": f"{custom_id}-{number}.png"} for number in range(images)],
        "usage": None,
        "request_id": None,
        "attempts": 1,
        "elapsed": 12.0,
        "waited": 2.0,
        "error": None,
        "finished_at": "",
    }
    return Record(**fields | more)


async def play(
    script: Iterable[ScriptedAnswer | ImageSDKError] | Answers,
    jobs: Iterable[Job],
    out: Path,
    *,
    concurrency: int = 1,
) -> tuple[Summary, list[Record], ScriptedTransport]:
    """Run jobs against a script; return the summary, the new records and the transport."""
    transport = ScriptedTransport(script)
    records: list[Record] = []
    async with scripted(transport) as session:
        summary = await run_jobs(
            Worker(session, out),
            jobs,
            out,
            concurrency=concurrency,
            on_record=lambda record, is_new: records.append(record) if is_new else None,
        )
    return summary, records, transport


@pytest.fixture
async def server() -> AsyncIterator[EmulatorServer]:
    """An emulator without a limit."""
    async with EmulatorServer(images_per_minute=None) as running:
        yield running


@pytest.fixture
async def session(server: EmulatorServer) -> AsyncIterator[ImageSession]:
    """A session of the emulator."""
    async with ImageSession(
        base_url=server.base_url, api_key="sk-test-batch", images_per_minute=None
    ) as opened:
        yield opened
