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

from imagesdk.batch.ledger import Total
from imagesdk.batch.records import Record
from imagesdk.cli.main import main
from imagesdk.cli.render import BatchView, Console
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
    assert text.count("x") >= 140


# Progress -----------------------------------------------------------------------------------------


def test_without_a_terminal_each_job_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines tell how far it is, what has failed, and why requests wait."""
    state = snapshot()
    with BatchView(Console(), lambda: state) as view:
        view.begin(Total(0, 5))
        view.add(record("a", 2))
        state = snapshot(queued=3)
        view.add(failed("no"))
        state = snapshot(queued=3, paused=12.4)
        view.add(record("b"))
        state = snapshot(images_per_minute=None, limit=None, queued=1)
        view.add(record("c"))
        state = snapshot(limit=5.0, adopted=5.0, queued=2)
        view.add(record("d"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "2/5 images: a done",
        "2/5 images, 1 failed: bad failed (3 wait for the limit of 50 a minute)",
        "3/5 images, 1 failed: b done (the server asked to pause, 12 s left)",
        "4/5 images, 1 failed: c done",
        "5/5 images, 1 failed: d done (2 wait for the limit of 5 a minute that the server named)",
    ]


def test_in_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar counts images, failures and what requests wait for."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with BatchView(Console(), lambda: snapshot(queued=2)) as view:
        view.begin(Total(0, 3))
        view.add(record("a", 2))
        view.add(failed("no"))
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "━" in text
    assert "2/3" in text
    assert "2 wait for the limit of 50 a minute, 1 failed" in text


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich even a terminal gets plain lines."""
    terminal = Terminal()
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys, "stderr", terminal)
    with BatchView(Console(), snapshot) as view:
        view.begin(Total(0, 1))
        view.add(record("a"))
    assert terminal.getvalue() == "1/1 images: a done\n"


def test_an_error_ends_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor is shown again when a batch ends with an error."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")

    def stop() -> None:
        with BatchView(Console(), snapshot):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


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


def in_terminal(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a program in a pseudo-terminal; return its exit code and all that it wrote."""
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # Linux: nobody has the other side open any more
            pass
        finally:
            os.close(ours)
    return process.returncode, written.decode()


@pytest.mark.parametrize("plain", [False, True], ids=["colours", "NO_COLOR"])
def test_a_batch_in_a_terminal(
    prompts: Callable[..., Path],
    program: tuple[str, ...],
    environment: Callable[..., dict[str, str]],
    tmp_path: Path,
    plain: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A terminal sees a bar with a count, in colours unless NO_COLOR is set, and then the table."""
    arguments = ["batch", "run", str(prompts(*LINES)), "--out", str(tmp_path / "out")]
    variables = {"TERM": "xterm-256color", "COLUMNS": "150"} | ({"NO_COLOR": "1"} if plain else {})
    code, text = in_terminal([*program, *arguments, "--emulator"], environment(**variables))
    assert code == 3, text
    assert "━" in text
    assert "2/3" in text
    assert "1 failed" in text
    assert "first-2.png" in text
    assert bool(COLOR.search(text)) is not plain
