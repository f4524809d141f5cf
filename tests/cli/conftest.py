"""Fixtures of the command line's tests: the program as a process, and a server that runs beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rich.progress
import rich.table

# The program imports it when it is first needed, in a loop that has nothing else to do then; the
# watch over the loop would report that.
_ = rich.progress, rich.table

PROGRAM = (sys.executable, "-m", "imagesdk.cli.main")
Finished = subprocess.CompletedProcess[str]


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without keys and proxies, and without what tells who looks."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("OPENAI_") or name.lower().endswith("_proxy"))
    }
    for name in ("CI", "NO_COLOR"):
        kept.pop(name, None)
    return kept | {"PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"} | more


@pytest.fixture(scope="session")
def program() -> tuple[str, ...]:
    """The beginning of the command line of a process."""
    return PROGRAM


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Make the environment of a process."""
    return clean_environment


@pytest.fixture(scope="session")
def launch() -> Callable[..., Finished]:
    """Run the program to its end in a process of its own."""

    def run(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Finished:
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            env=clean_environment(**environment),
            cwd=cwd,
            timeout=30,
            check=False,
        )

    return run


@contextmanager
def serve(*options: str) -> Iterator[str]:
    """Run ``imagesdk serve`` without a limit, in a process of its own; give its base URL."""
    with subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--images-per-minute", "off", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=clean_environment(),
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/v1", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    """The base URL of a server."""
    with serve() as url:
        yield url


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Path]:
    """Write a batch file of generations of the smallest size."""

    def write(*lines: str, name: str = "prompts.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write
