"""What a person sees of a batch: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import attrs
import pytest

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.records import Record
from imagesdk.cli.batch_view import BatchView, duration
from imagesdk.cli.render import Console
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.testing import virtual_time
from tests.batch.conftest import IDLE, record

COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m")
CONTROL = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")
LINES = (
    '{"id": "first", "prompt": "a fox", "n": 2, "size": "256x256"}',
    '{"id": "second", "prompt": "a [blocked] thing", "size": "256x256"}',
)


class Limits:
    """A limit that stands as the test says."""

    def __init__(self) -> None:
        self.state = IDLE
        self.seconds_an_image = 1.2

    def snapshot(self) -> LimiterSnapshot:
        """Return its state."""
        return self.state

    def forecast(self, images: int, requests: int) -> float:
        """Count the images."""
        del requests
        return images * self.seconds_an_image


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True

    @property
    def plain(self) -> str:
        """What was written, without what moves the cursor and colours."""
        return CONTROL.sub("", self.getvalue())

    @property
    def last(self) -> list[str]:
        """The lines that are left on the screen at the end."""
        return [line.rstrip() for line in self.plain.rpartition("\r")[2].splitlines()]


def job(custom_id: str, n: int = 1) -> Job:
    """Return a job."""
    (read,) = read_jobs([f'{{"id": "{custom_id}", "prompt": "a fox", "n": {n}}}'], Path())
    return read


def failed(custom_id: str, message: str = "no") -> Record:
    """Return the record of a job that failed."""
    error = {"type": "ModerationError", "message": message}
    more = {"params": {"prompt": "x"}, "status": "rejected", "error": error}
    return record(custom_id, 0, **more)


Play = Callable[[BatchView, Limits], Coroutine[Any, Any, None]]


def show(play: Play, stream: Terminal | None = None, **options: Any) -> None:
    """Show what *play* does, in virtual time; on a stream instead of standard error."""
    options.setdefault("concurrency", 2)

    async def run() -> None:
        limits = Limits()
        with BatchView(Console(), limits, **options) as view:
            await play(view, limits)

    with virtual_time() as runner, redirect_stderr(stream or sys.stderr):
        runner.run(run())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 100 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("CI", raising=False)
    return Terminal()


# Lines --------------------------------------------------------------------------------------------


async def an_hour(view: BatchView, limits: Limits) -> None:
    """Begin, and let things happen in the course of two minutes."""
    view.begin(Total(150, 150))
    view.add(record("old", 50), is_new=False)
    view.start(job("a"))
    view.start(job("b"))
    limits.state = attrs.evolve(IDLE, queued=3, next_waits_for="window")
    await asyncio.sleep(10)
    view.add(record("a"))
    view.add(failed("b", "not\nallowed"))
    await asyncio.sleep(21)  # 31
    limits.state = attrs.evolve(IDLE, paused=95.4, limit=5.0, adopted=5.0, queued=1)
    await asyncio.sleep(30)  # 61
    limits.state = attrs.evolve(limits.state, paused=0.0, next_waits_for="window")
    await asyncio.sleep(30)  # 91
    limits.state = attrs.evolve(IDLE, limit=None, images_per_minute=None)
    view.drain()
    view.start(job("c"))
    await asyncio.sleep(30)
    view.add(record("c"))


def test_without_a_terminal_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One at the begin, one every 30 seconds and one at the end, and one for what fails."""
    show(an_hour, price=lambda record: 0.04 * len(record.images))
    captured = capsys.readouterr()
    assert captured.out == ""
    some = "0.04 spent, about 12 min 20 s left"
    assert captured.err.splitlines() == [
        "50/150 images, limit 50 a minute, at most 2 requests in flight, at least 2 min 00 s left",
        "rejected: b: ModerationError: not allowed",
        f"51/150 images, 1 failed, waits for the limit of 50 a minute, 0 in flight, 1 in the last minute, {some}",
        f"51/150 images, 1 failed, the server asked to pause, 1 min 35 s left, 0 in flight, 1 in the last minute, {some}",
        f"51/150 images, 1 failed, waits for the limit of 5 a minute (the server's word), 0 in flight, 0 in the last minute, {some}",
        "51/150 images, 1 failed, ends with what is in flight, 1 in flight, 0 in the last minute, 0.04 spent, about 0 s left",
        "52/150 images, 1 failed, in 2 min 01 s",
    ]


def test_a_run_that_ends_before_it_began_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be used is told by its error alone."""

    async def play(view: BatchView, limits: Limits) -> None:
        del view, limits
        await asyncio.sleep(0)

    show(play)
    assert capsys.readouterr().err == ""


def test_many_failures_are_not_as_many_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Five are told, each in a line of bounded length."""

    async def play(view: BatchView, limits: Limits) -> None:
        del limits
        view.begin(Total(100, 100))
        for number in range(100):
            view.add(failed(f"{number}-{'i' * 500}", "why " * 500))

    show(play)
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("rejected: ") for line in lines) == 5
    assert "further failures are counted, and told in manifest.jsonl" in lines
    assert max(map(len, lines)) < 300
    assert lines[-1] == "0/100 images, 100 failed, in 0 s"


@pytest.mark.parametrize("name", ["CI", "TERM"])
def test_where_nobody_looks_a_terminal_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Continuous integration often offers a terminal that nobody can see; a dumb one cannot draw."""
    monkeypatch.setenv(name, {"CI": "true", "TERM": "dumb"}[name])
    show(an_hour, terminal)
    assert "\x1b" not in terminal.getvalue()
    assert len(terminal.getvalue().splitlines()) == 7


def test_without_rich_a_terminal_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without rich even a terminal gets plain lines."""
    monkeypatch.setitem(sys.modules, "rich", None)
    show(an_hour, terminal)
    assert len(terminal.getvalue().splitlines()) == 7


# The bar ------------------------------------------------------------------------------------------


async def some(view: BatchView, limits: Limits) -> None:
    """Begin, and make two of three images."""
    await asyncio.sleep(1)
    view.begin(Total(3, 4))
    limits.state = attrs.evolve(IDLE, queued=1, next_waits_for="window")
    for name in "ab":
        view.start(job(name))
    await asyncio.sleep(10)
    view.add(record("a", 2))
    view.add(failed("b"))
    view.start(job("c"))
    await asyncio.sleep(3)


def test_in_a_terminal_there_is_a_bar(terminal: Terminal) -> None:
    """It counts images and failures, says what is waited for and how long it takes."""
    show(some, terminal)
    assert "reading the requests" in terminal.plain
    assert "rejected: b: ModerationError: no" in terminal.plain
    bar, facts = terminal.last
    assert re.fullmatch(r"2/4 images [━╸╺]+ +50 %  about 7 s left", bar)
    assert len(bar) == 100
    assert facts == "1 failed · limit 50 a minute · 1 in flight · 2 in the last minute"


@pytest.mark.parametrize("columns", [20, 30, 47, 48, 60])
def test_a_narrow_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """No line is broken by the terminal, no fact in two, and the bar goes where there is no room."""
    monkeypatch.setenv("COLUMNS", str(columns))
    show(some, terminal)
    bar, *facts = terminal.last
    assert ("━" in bar) == (columns >= 48)
    assert all(len(line) <= columns for line in terminal.last)
    assert "1 in flight" in " · ".join(facts).split(" · ")


def test_a_finished_bar_says_how_long_it_took(terminal: Terminal) -> None:
    """The last picture stays on the screen."""

    async def play(view: BatchView, limits: Limits) -> None:
        del limits
        view.begin(Total(1, 1))
        view.start(job("a"))
        await asyncio.sleep(75)
        view.add(record("a"))

    show(play, terminal, concurrency=1)
    assert terminal.last[0].endswith("100 %  in 1 min 15 s")


def test_text_is_shown_as_it_is(terminal: Terminal) -> None:
    """Brackets and colons in ids and messages are no markup, and stop nothing."""

    async def play(view: BatchView, limits: Limits) -> None:
        del limits
        view.begin(Total(1, 1))
        view.add(failed("[/b] :fox:", "[bold]no[/red]"))
        await asyncio.sleep(0)

    show(play, terminal)
    assert "rejected: [/b] :fox:: ModerationError: [bold]no[/red]" in terminal.plain


def test_an_error_ends_the_bar(terminal: Terminal) -> None:
    """The cursor is shown again when a batch ends with an error."""

    async def play(view: BatchView, limits: Limits) -> None:
        await some(view, limits)
        raise LookupError

    with pytest.raises(LookupError):
        show(play, terminal)
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


def test_what_goes_into_a_file_goes_there(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output that is no terminal is left alone while there is a bar."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    async def play(view: BatchView, limits: Limits) -> None:
        await some(view, limits)
        sys.stdout.write("a record\n")

    show(play, terminal)
    assert out.getvalue() == "a record\n"
    assert "a record" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86_400, "24 h 00 min"),
        (200_000, "2 d 8 h"),
    ],
)
def test_a_time_in_words(seconds: float, said: str) -> None:
    """The longer a time is, the less exactly it is told."""
    assert duration(seconds) == said


# As a program -------------------------------------------------------------------------------------


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
