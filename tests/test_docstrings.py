"""The examples in docstrings are programs that run and give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import imagesdk

ROOT = Path(__file__).parents[1]
MODULES = sorted(m.name for m in pkgutil.walk_packages(imagesdk.__path__, prefix="imagesdk."))


def examples() -> list[doctest.DocTest]:
    """Return the docstrings with examples of the whole package."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for m in MODULES for test in finder.find(importlib.import_module(m), m)]
    return sorted(test for test in found if test.examples)


EXAMPLES = examples()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of an emulator in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/v1", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.name))
def test_an_example_gives_what_it_says(
    example: doctest.DocTest, url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example runs in the folder of the repository, with a key and the URL of a server."""
    monkeypatch.chdir(ROOT)
    report: list[str] = []
    example.globs = {"key": key, "url": url, "__name__": "example"}
    doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    assert "".join(report) == ""


@pytest.mark.parametrize(
    "name",
    [
        *(f"client.session.ImageSession.{m}" for m in ("generate", "edit", "create_variation")),
        "client.session.ImageSession.map",
        *(f"client._stream_methods.StreamMethods.stream_{m}" for m in ("generate", "edit")),
        *(f"observability.{name}" for name in ("_listeners.combine", "_logging.log_events")),
        "observability._otel.otel_events",
        "testing.scripted.ScriptedTransport",
        "testing.virtual.virtual_time",
    ],
)
def test_what_users_start_with_has_an_example(name: str) -> None:
    """Each call of the session, and each tool for tests, shows how it is used, with a result."""
    (example,) = (example for example in EXAMPLES if example.name == f"imagesdk.{name}")
    assert any(step.want for step in example.examples)
