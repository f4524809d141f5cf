"""The pages of docs/ show what there is: examples, help texts, every public name, and the way from the official client."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat

import imagesdk
from imagesdk import ImageSession, RetryPolicy
from imagesdk.emulator import EmulatorServer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^<!-- (examples/\w+\.py) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tool(name: str) -> ModuleType:
    """Import a file of docs/_tools, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_texts_are_what_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/cli.md is what ``python docs/_tools/cli.py`` would write now, and fits into 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    written = (DOCS / "cli.md").read_text("utf-8")
    said = tool("cli").page()
    helps = re.findall(r"^```text\n(.*?)^```$", said, re.MULTILINE | re.DOTALL)
    assert max(len(line) for text in helps for line in text.splitlines()) <= 80
    if sys.version_info >= (3, 13):  # its argparse says the same words in another layout
        written, said = (sorted(set(re.findall(r"[\w-]+", text))) for text in (written, said))
    assert written == said


def test_the_reference_has_every_public_name_once() -> None:
    """Each name that a public module exports is in the reference, in one place."""
    lines = [
        line.removeprefix("::: ")
        for path in sorted((DOCS / "reference").glob("*.md"))
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("::: ")
    ]
    named = [line for line in lines if re.search(r"\.\w*[A-Z]\w*$|\.[a-z_]+$", line)]
    assert len(named) == len(set(named))
    modules = tool("docstrings").MODULES
    for module in modules:
        exported = importlib.import_module(module).__all__
        assert {f"{module}.{name}" for name in exported} <= set(lines) or module in lines, module


@pytest.mark.usefixtures("browser")  # only that there is one: the script starts its own
def test_the_pictures_of_the_backend_can_be_made_again(tmp_path: Path) -> None:
    """screenshots.py makes the committed pictures: one on its way, one that is done, but for fonts and Chromium."""
    tool("screenshots").main(tmp_path, bytes_per_second=1_000_000)
    sharp = []
    for made in (tmp_path / "backend-partial.webp", tmp_path / "backend-done.webp"):
        with Image.open(made) as now, Image.open(DOCS / "screenshots" / made.name) as committed:
            assert now.size == committed.size == (560, 760)
            difference = ImageChops.difference(now.convert("RGB"), committed.convert("RGB"))
            assert max(ImageStat.Stat(difference).mean) < 8
            edges = now.convert("L").filter(ImageFilter.FIND_EDGES)
            sharp.append(ImageStat.Stat(edges).mean[0])
    assert sharp[0] < sharp[1]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_example_that_it_names(page: str) -> None:
    """A block below ``<!-- examples/… -->`` is a part of that file, which has a test of its own."""
    for name, block in SHOWN.findall((DOCS / page).read_text("utf-8")):
        assert block in (ROOT / name).read_text("utf-8"), name


async def test_both_sides_of_the_migration_send_the_same(
    imagesdk_server: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pair of programs runs, and the server gets the same parameters and files from both."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    spaces: dict[str, dict[str, Any]] = {"AsyncOpenAI": {}, "ImageSession": {}}
    received: dict[str, list[Any]] = {side: [] for side in spaces}
    for _, side, block in BLOCK.findall((DOCS / "migration.md").read_text("utf-8")):
        code = compile(block, side, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        before = len(imagesdk_server.requests)
        running = eval(code, spaces[side])  # noqa: S307 - our own page
        if running is not None:
            await running
        sent = imagesdk_server.requests[before:]
        received[side].append(
            sorted(
                (str(sorted(request.params.items())), [(f.field, f.data) for f in request.files])
                for request in sent
            )
        )
    await spaces["AsyncOpenAI"]["client"].close()
    await spaces["ImageSession"]["images"].aclose()
    assert [len(sent) for sent in received["ImageSession"]] == [0, 1, 1, 1, 3]
    assert received["AsyncOpenAI"] == received["ImageSession"]


async def test_the_table_of_errors_holds(imagesdk_server: EmulatorServer) -> None:
    """A status raises the errors of its row on the two sides."""
    table = (DOCS / "migration.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| `(\w+)` \|", table, re.MULTILINE)
    assert len(rows) == 8
    policy = RetryPolicy(1)
    async with (
        openai.AsyncOpenAI(max_retries=0) as client,
        ImageSession(images_per_minute=None, retry=policy) as images,
    ):
        for status, theirs, ours in rows:
            imagesdk_server.fail_next(int(status), times=2)
            with pytest.raises(getattr(openai, theirs)):
                await client.images.generate(prompt="a fox")
            with pytest.raises(getattr(imagesdk, ours)) as caught:
                await images.generate("a fox")
            assert type(caught.value).__name__ == ours
            assert caught.value.status == int(status)
