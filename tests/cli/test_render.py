"""What a person sees: a bar in a terminal, plain lines and a table elsewhere, and text as it is."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.records import Record
from imagesdk.cli.main import main
from imagesdk.cli.render import Console
from imagesdk.limiters.base import LimiterSnapshot

Launch = Callable[..., subprocess.CompletedProcess[str]]
LINES = (
    '{"id": "first", "prompt": "a fox", "n": 2, "size": "256x256"}',
    '{"id": "second", "prompt": "a [blocked] thing", "size": "256x256"}',
)
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def snapshot(**more: Any) -> LimiterSnapshot:
    """Return the state of a limiter that is idle."""
    idle: dict[str, Any] = {
        "images_per_minute": 50.0,
        "limit": 50.0,
        "adopted": None,
        "used": 0,
        "queued": 0,
        "queued_images": 0,
        "paused": 0.0,
        "paused_until": None,
        "next_waits": 0.0,
        "next_waits_for": None,
    }
    return LimiterSnapshot(**idle | more)


def record(custom_id: str = "fox", images: int = 1, **more: Any) -> Record:
    """Return the record of a job."""
    fields: dict[str, Any] = {
        "custom_id": custom_id,
        "status": "done",
        "endpoint": "generations",
        "params": {"prompt": "a fox"},
        "key": "0",
        "images": [
            {"file": f"{custom_id}-{number}.png", "width": 256, "height": 512, "bytes": 2048}
            for number in range(1, images + 1)
        ],
        "usage": None,
        "request_id": None,
        "attempts": 1,
        "error": None,
        "finished_at": "2026-11-20T00:00:00.000+00:00",
    }
    return Record(**fields | more)


def failed(message: str, images: int = 0) -> Record:
    """Return the record of a job that failed."""
    error = {"type": "ModerationError", "message": message}
    return record("bad", images, status="partial" if images else "failed", error=error)


def lines_of(text: str) -> list[str]:
    """Return the lines without what fills them up."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.fixture(params=["rich", "plain"])
def look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With rich and without it."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "rich", None)
    return str(request.param)


# The table ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("look")
def test_the_table_tells_what_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    """Each image and each error is a row; id, endpoint and prompt stand in the first row of a job."""
    Console().table([record("fox", 2), failed("no", images=1)], Path("out"))
    text = capsys.readouterr().out
    rows = lines_of(text)
    assert f"out{os.sep}" in text
    assert "fox generations a fox 256x512 2 KiB fox-1.png" in rows
    assert "256x512 2 KiB fox-2.png" in rows
    assert "bad generations a fox 256x512 2 KiB bad-1.png" in rows
    assert "partial ModerationError: no" in rows


@pytest.mark.usefixtures("look")
def test_the_table_of_a_variation_shows_its_image(capsys: pytest.CaptureFixture[str]) -> None:
    """A job without a prompt shows what it was made from."""
    Console().table([record(endpoint="variations", params={"image": "in.png"})], Path("out"))
    assert "fox variations in.png 256x512 2 KiB fox-1.png" in lines_of(capsys.readouterr().out)


@pytest.mark.usefixtures("look")
def test_a_long_prompt_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt that does not fit is cut with an ellipsis."""
    Console().table([record(params={"prompt": "x" * 45})], Path("out"))
    text = capsys.readouterr().out
    assert f"{'x' * 43}…" in text
    assert "x" * 44 not in text


@pytest.mark.usefixtures("look")
@pytest.mark.parametrize("text", ["a [blocked] thing", "[bold]b", "c [/b] d", ":fox: e", "[red"])
def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Brackets and colons in prompts, ids and messages are no markup, and stop nothing."""
    made = record(text, params={"prompt": text})
    Console().table([made, failed(text)], Path(f"[b]{os.sep}out"))
    out = capsys.readouterr().out
    assert out.count(text) == 4  # id, prompt, file, message
    assert f"[b]{os.sep}out" in out


def test_a_narrow_terminal_leaves_the_prompt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a narrow terminal the table leaves room for the files; nothing of them is lost."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    Console().table([record("x" * 70)], Path("out"))
    text = terminal.getvalue()
    assert all(len(re.sub(r"\x1b\[[\d;]*m", "", line)) <= 60 for line in text.splitlines())
    assert "a fox" not in text
    assert text.count("x") == 15 + 70  # the id is cut, the name of the file is not


def test_without_rich_a_batch_prints_a_plain_table(
    prompts: Callable[..., Path], launch: Launch, tmp_path: Path
) -> None:
    """The program works without rich: the table has plain columns."""
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "rich.py").write_text("raise ImportError('no rich here')\n", encoding="utf-8")
    arguments = ["batch", "run", prompts(LINES[0]), "--out", tmp_path / "out", "--emulator"]
    done = launch(*arguments, PYTHONPATH=str(shims))
    assert done.returncode == 0, done.stderr
    assert "id  what  prompt  image  file or error" in done.stdout.splitlines()
    assert re.search(
        r"^first  generations  a fox  256x256 \d+ KiB  first-1\.png$", done.stdout, re.MULTILINE
    )


def test_a_batch_in_a_pipe_has_no_colours(
    prompts: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the table nor the lines have escape sequences outside a terminal."""
    arguments = ["batch", "run", str(prompts(*LINES)), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--emulator"]) == 3
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "a [blocked] thing" in captured.out
