"""Every block of code on every page is run, and what it prints is what stands there; or the page says why not.

A page is read from top to bottom, as its reader does, in a folder of its own with ``examples/`` and some pictures, and
with an emulator at ``OPENAI_BASE_URL``:

- A block with a file name as its title is that file, from the beginning.
- ``python`` is run statement by statement, as the prompt of ``python -m asyncio`` does. The names of `imagesdk` are there,
  and for each block anew ``images``, a session, and ``server``, the emulator; other names stay from block to block. Where
  comments ``# -> …`` stand at a statement, they are what it prints, or what it is worth.
- ``console``: each command is run, with exit code 0. If lines stand below it, they are what it prints on standard
  output, or on standard error if there is nothing.
- In both, ``…`` stands for anything, and sizes of files and seconds may differ.

An HTML comment right above a block says what a reader need not see:

- ``<!-- first: … -->`` Python that is run before it,
- ``<!-- examples/name.py -->`` a part of that file, which has a test of its own,
- ``<!-- run by tests/test_x.py::test_y -->`` or ``<!-- run by .ci/run -->``,
- ``<!-- not run: … -->`` why not. There are few, and a test counts them.

The last two may be about a whole page: ``<!-- page run by … -->``.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any

import attrs
import pytest
from blockbuster import BlockBuster

import imagesdk
from imagesdk import ImageSession
from imagesdk.cli.main import main
from imagesdk.emulator import EmulatorServer

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>(?:(?!-->).)*?)\s*-->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
PAGE_NOTE = re.compile(r"^<!-- page ((?:not )?run\b.*?) -->$", re.MULTILINE)
PICTURES = {
    "corgi.png": "corgi_and_cat_paw.png",
    "lounge.png": "sunlit_lounge.png",
    "mask.png": "mask.png",
    "photo.png": "otter.png",
}
NO_PROGRAMS = ("", "text")
NOT_RUN = 3
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@attrs.frozen(kw_only=True)
class Block:
    """A block of code on a page; *note* is the comment above it, or that of its page."""

    line: int
    note: str
    language: str
    title: str | None
    text: str

    @property
    def is_a_file(self) -> bool:
        """Whether it has the name of a file."""
        return self.title is not None and "." in self.title

    @property
    def elsewhere(self) -> bool:
        """Whether it is not run here."""
        return self.note.startswith(("examples/", "run by ", "not run: "))


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page."""
    text = (ROOT / page).read_text("utf-8")
    about_all = PAGE_NOTE.search(text)
    found = [
        Block(
            line=text.count("\n", 0, match.start("language")) + 1,
            note=match["note"] or (about_all[1] if about_all else ""),
            language=match["language"],
            title=match["title"],
            text=match["text"],
        )
        for match in BLOCK.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), page
    return found


BLOCKS = {page: blocks(page) for page in PAGES}
RUN = [page for page in PAGES if any(b.language and not b.elsewhere for b in BLOCKS[page])]


def test_what_is_not_run_here_says_why() -> None:
    """What others run is in a file that is there; what nobody runs is counted, and has a reason."""
    notes = [(page, block) for page in PAGES for block in BLOCKS[page] if block.elsewhere]
    for page, block in notes:
        if block.note.startswith("run by "):
            file, _, test = block.note.removeprefix("run by ").partition("::")
            assert f"def {test}" * bool(test) in (ROOT / file).read_text("utf-8"), (page, block)
    reasons = [(page, block.line) for page, block in notes if block.note.startswith("not run: ")]
    assert len(reasons) == NOT_RUN, reasons


class Reader:
    """Who does all that a page says."""

    def __init__(
        self,
        page: str,
        server: EmulatorServer,
        stack: ExitStack,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.page, self.server, self.stack, self.capture = page, server, stack, capture
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])  # instead of 8000, which may be taken
        self.runner = stack.enter_context(asyncio.Runner())
        self.names: dict[str, Any] = {name: getattr(imagesdk, name) for name in imagesdk.__all__}
        self.names["__name__"] = "snippet"
        stack.callback(self.close)

    def read(self, block: Block) -> None:
        """Do what a block says."""
        self.names |= {"images": ImageSession(), "server": self.server}
        if block.note.startswith("first:"):
            self.python(inspect.cleandoc(block.note.removeprefix("first:")), block.line)
        if block.is_a_file:
            pass
        elif block.language == "python":
            self.python(block.text, block.line)
        elif block.language == "console":
            self.console(block)
        else:
            assert block.language in NO_PROGRAMS, f"{self.page}:{block.line}: {block.language}?"
        self.close()

    def close(self) -> None:
        """End what a block left open: sessions, and with them the calls that go on."""
        sessions = [value for value in self.names.values() if isinstance(value, ImageSession)]

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for session in sessions:
                await session.aclose()
            await asyncio.gather(*tasks, return_exceptions=True)  # no error is left unseen

        self.runner.run(end())

    def python(self, text: str, line: int) -> None:
        """Run statements, and compare what they print."""
        lines = text.splitlines()
        tree = compile(text, self.page, "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)
        ends = [*(statement.lineno - 1 for statement in tree.body), len(lines)]
        for statement, (start, end) in zip(tree.body, pairwise(ends), strict=True):
            code = compile(ast.Interactive([statement]), self.page, "single", flags=TOP_LEVEL_AWAIT)
            if "asyncio.run(" in text:
                exec(code, self.names)  # noqa: S102 - our own page
            else:
                self.runner.run(self.do(code))
            said = re.findall(r"# -> (.*)", "\n".join(lines[start:end]))
            got = self.capture.readouterr().out
            if said:
                self.compare("\n".join(said), got, line + 1 + start)

    async def do(self, code: CodeType) -> None:
        """Run a statement in the loop."""
        running = eval(code, self.names)  # noqa: S307 - our own page
        if inspect.iscoroutine(running):
            await running

    def console(self, block: Block) -> None:
        """Run commands, and compare what they print."""
        text = re.sub(r"\b8000\b", self.port, block.text)
        for shown in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", shown)
            assert command is not None
            got = self.printed(command[0])
            if shown != command[0]:
                self.compare(shown.removeprefix(command[0]), got, block.line)

    def printed(self, command: str) -> str:
        """Run a command, in this process if that does, and return what it prints."""
        words = shlex.split(command, comments=True)
        if words[:2] == ["imagesdk", "serve"] and "--" not in words:
            return self.served(words)
        if words[0] == "imagesdk" and not re.search("[|&;<>]", command):
            assert main(words[1:]) == 0, (command, self.capture.readouterr().err)
        else:
            done = subprocess.run(["bash", "-c", command], check=False)  # noqa: S607 - whichever
            assert done.returncode == 0, (command, self.capture.readouterr().err)
        printed = self.capture.readouterr()
        return printed.out or printed.err

    def served(self, words: list[str]) -> str:
        """Start a server that runs to the end of the page, and return its first line."""
        server = self.stack.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8")
        )
        self.stack.callback(server.send_signal, signal.SIGINT)
        assert server.stdout is not None
        return server.stdout.readline()

    def compare(self, shown: str, got: str, line: int) -> None:
        """Compare, but for sizes and times, and for what stands under dots."""
        want, have = (
            re.sub(r"\b[\d.,]+(?= (?:KiB|s)\b)", "…", " ".join(text.split()))
            for text in (shown, got)
        )
        same = re.fullmatch(".*".join(map(re.escape, want.split("…"))), have)
        assert same, f"{self.page}:{line}: it says\n{shown}\nand there is\n{got}"


def show(value: object) -> None:
    """Write what an expression is worth, as the prompt does."""
    if value is not None:
        sys.stdout.write(f"{value!r}\n")


@pytest.fixture
def stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blockbuster: BlockBuster
) -> Iterator[ExitStack]:
    """What is open while a page is read, in a folder and an environment as its reader has them."""
    blockbuster.deactivate()  # programs may import while their loop runs
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name, example in PICTURES.items():
        (tmp_path / name).symlink_to(ROOT / "examples" / example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "displayhook", show)
    folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, value in {"PATH": folder, "COLUMNS": "120", "CI": "1", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("page", RUN)
def test_a_page_does_what_it_shows(
    page: str,
    stack: ExitStack,
    imagesdk_server: EmulatorServer,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """Who does all that it says, from top to bottom, gets what it shows."""
    for block in BLOCKS[page]:
        if "\n$ curl " in block.text:
            request.getfixturevalue("curl")
        if block.is_a_file:
            Path(str(block.title)).write_text(block.text, "utf-8")
    reader = Reader(page, imagesdk_server, stack, capfd)
    for block in BLOCKS[page]:
        if not block.elsewhere:
            reader.read(block)
