"""Run a batch on a disk of its own that others fill up while images are in flight; print what became of it.

Run in a mount namespace, where it mounts the disk: ``unshare -rm python full_disk.py DISK REFUGE HOW``.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagesdk import ImageSession, batch
from imagesdk.errors import LedgerError
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest

DISK, REFUGE, HOW = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
SIZE_BYTES = 8 << 20
CONCURRENCY = 4
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(2_000 if HOW == "ledger" else 300_000)
LEFT_BYTES = 32_000 if HOW == "ledger" else 350_000
"""Where the images are small the ledger is the first that finds no room."""
ROWS = [{"id": f"image-{number}", "prompt": str(number)} for number in range(8)]
BALLAST = DISK / "of others"


def fill(leave_bytes: int) -> None:
    """Leave so much room, as another program would."""
    with suppress(OSError), BALLAST.open("ab") as file:  # images arrive meanwhile
        missing = shutil.disk_usage(DISK).free - leave_bytes
        file.write(bytes(max(0, missing)))


async def attempt(answer: Callable[[SentRequest], ScriptedAnswer]) -> dict[str, Any]:
    """Run the batch; return what it said and what was sent."""
    transport = ScriptedTransport(answer)
    told: dict[str, Any] = {}
    async with ImageSession(
        base_url="http://server/v1",
        api_key="sk-test",
        images_per_minute=None,
        transport=transport,
        validate="off",
    ) as session:
        try:
            summary = await batch.run(ROWS, DISK / "out", session=session, concurrency=CONCURRENCY)
        except (OSError, LedgerError) as error:
            told["error"] = f"{type(error).__name__}: {error}"
            told["notes"] = getattr(error, "__notes__", [])
        else:
            told |= {"done": summary.done, "recovered": summary.recovered, "resent": summary.resent}
            told["skipped"] = summary.skipped
    return told | {"sent": len(transport.requests)}


def answering(*, fills: bool = False) -> Callable[[SentRequest], ScriptedAnswer]:
    """Answer with images; perhaps fill the disk up when the last of the first ones is in flight."""
    count = itertools.count(1)

    def answer(_: SentRequest) -> ScriptedAnswer:
        if fills and next(count) == CONCURRENCY:
            fill(leave_bytes=LEFT_BYTES)
        data = [{"b64_json": base64.b64encode(IMAGE).decode()}]
        return ScriptedAnswer({"created": 1, "data": data}, delay=0.05)

    return answer


def main() -> None:
    """Fill the disk, run, make room, run again."""
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(DISK))
    subprocess.run(mount, check=True)
    tempfile.tempdir = str(REFUGE)
    if HOW == "before":
        fill(leave_bytes=1 << 20)
        first = asyncio.run(attempt(answering()))
    else:
        first = asyncio.run(attempt(answering(fills=True)))
    fill(leave_bytes=0)
    still = asyncio.run(attempt(answering()))
    kept = sorted(REFUGE.glob("*/*"))
    BALLAST.unlink()
    for path in kept:
        (DISK / "out" / ".arriving").mkdir(exist_ok=True)
        shutil.move(path, DISK / "out" / ".arriving" / path.name)
    second = asyncio.run(attempt(answering()))
    images = [path.read_bytes() == IMAGE for path in (DISK / "out").glob("*.png")]
    rest = sorted(path.name for path in (DISK / "out").iterdir())
    told = {"first": first, "still": still, "kept": len(kept), "second": second}
    told |= {"images": images, "rest": rest}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
