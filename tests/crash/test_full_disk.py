"""A disk that is full, for real: nothing that arrived is lost, and nothing is asked for that has no room."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("full_disk.py")
NAMESPACE = ("unshare", "--map-root-user", "--mount")


def may_mount() -> bool:
    """Return whether this process may mount a disk that nobody else sees."""
    command = (*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def fill_disk(tmp_path: Path) -> Any:
    """Run the program on a disk of 8 MiB of its own."""
    if not may_mount():
        pytest.skip("this system lets nobody mount a disk of their own")

    def run(how: str) -> dict[str, Any]:
        disk, refuge = tmp_path / "disk", tmp_path / "refuge"
        disk.mkdir()
        refuge.mkdir()
        done = subprocess.run(
            [*NAMESPACE, sys.executable, str(PROGRAM), str(disk), str(refuge), how],
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


NEXT = "run it again once that is put right"


def test_what_arrives_on_a_full_disk_is_kept_elsewhere(fill_disk: Any) -> None:
    """Images in flight when others fill the disk are saved or kept elsewhere; the next run takes them from there."""
    found = fill_disk("in flight")
    first, second = found["first"], found["second"]
    assert re.search(
        "No space left on device|disk is full", first["error"]
    )  # a file, or the ledger
    assert found["kept"] >= 1
    assert any("images that it did not take are in" in note for note in first["notes"])
    assert first["sent"] + second["sent"] == 8
    assert second["resent"] == 0
    assert found["images"] == [True] * 8
    assert set(found["rest"]) - {f"image-{n}-1.png" for n in range(8)} <= {
        "manifest.jsonl",
        "run.db",
        "run.lock",
    }


def test_a_ledger_without_room_loses_nothing(fill_disk: Any) -> None:
    """Images whose end cannot be noted are there, or kept elsewhere, and are not asked for again."""
    found = fill_disk("ledger")
    first, still, second = found["first"], found["still"], found["second"]
    assert re.search(
        "No space left on device|disk is full", first["error"]
    )  # nearly always the latter
    assert any(note.endswith(NEXT) for note in first["notes"])
    assert still["sent"] == 0
    assert re.search("No space left on device|disk is full", still["error"])
    assert "run it again" in still["error"] + "".join(still["notes"])
    assert first["sent"] + second["sent"] == 8
    assert second["resent"] == 0
    assert found["images"] == [True] * 8


def test_a_disk_without_room_is_told_before_anything_is_sent(fill_disk: Any) -> None:
    """Where the next image has no room nothing is asked for; the run goes on once there is."""
    found = fill_disk("before")
    assert found["first"]["sent"] == 0
    assert "No space left on device" in found["first"]["error"]
    assert "bytes are free; the next images may need" in found["first"]["error"]
    assert found["second"]["done"] == 8
    assert found["images"] == [True] * 8
