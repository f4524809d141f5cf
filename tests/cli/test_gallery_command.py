"""``imagesdk gallery`` and the page at the end of a batch."""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch import gallery
from imagesdk.cli import EXIT_CODES, gallery_command
from imagesdk.cli.main import main
from imagesdk.cli.render import Console

FOX = '{"id": "a", "prompt": "a fox", "size": "256x256"}'


@pytest.fixture
def run(prompts: Callable[..., Path], tmp_path: Path) -> Callable[..., int]:
    """Run a batch of one image into a folder ``out``."""

    def run(*options: str) -> int:
        out = str(tmp_path / "out")
        return main(["batch", "run", str(prompts(FOX)), "--out", out, "--emulator", *options])

    return run


def test_a_batch_ends_with_a_page(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named in the last line, and has a thumbnail of what was made."""
    assert run() == EXIT_CODES["done"]
    page = tmp_path / "out" / "index.html"
    assert capsys.readouterr().err.splitlines()[-1] == f"gallery: {page}"
    assert page.is_file()
    assert len([*(tmp_path / "out" / ".thumbnails").rglob("*.webp")]) == 1


def test_a_batch_without_a_page(run: Callable[..., int], tmp_path: Path) -> None:
    """``--no-gallery`` makes neither page nor thumbnails; the command does, later."""
    assert run("--no-gallery") == EXIT_CODES["done"]
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "a-1.png",
        "manifest.jsonl",
        "run.db",
        "run.lock",
    }
    assert main(["gallery", str(out), "--no-thumbnails"]) == EXIT_CODES["done"]
    assert (out / "index.html").is_file()
    assert not (out / ".thumbnails").exists()


def test_a_page_that_cannot_be_made_costs_nothing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images are there: a page that is not is told, and changes no exit code."""
    (tmp_path / "out" / "index.html" / "in the way").mkdir(parents=True)
    assert run() == EXIT_CODES["done"]
    assert "the gallery could not be made: " in capsys.readouterr().err


def test_the_command_prints_the_page_and_opens_it(
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its path goes to standard output, for scripts; a browser is started on request only."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    run()
    capsys.readouterr()
    page = tmp_path / "out" / "index.html"
    assert main(["gallery", str(page.parent)]) == EXIT_CODES["done"]
    assert capsys.readouterr().out == f"{page}\n"
    assert opened == []
    assert main(["gallery", str(page.parent), "--open"]) == EXIT_CODES["done"]
    assert opened == [page.as_uri()]


def test_a_folder_without_a_run_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what to name."""
    assert main(["gallery", str(tmp_path)]) == EXIT_CODES["usage"]
    assert "name the folder of a batch run" in capsys.readouterr().err


def page_after(*asked: tuple[int, int]) -> Callable[..., Any]:
    """Return a `build` that asks whether to go on."""

    def build(out: Path, *, thumbnails: bool, go_on: Callable[[int, int], bool]) -> gallery.Page:
        answers = [go_on(*each) for each in asked]
        made = len(answers) if thumbnails and all(answers) else 0
        return gallery.Page(path=out, requests=0, images=0, thumbnails=made, without=0)

    return build


def test_the_end_of_a_batch_does_not_wait_for_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many thumbnails are announced; when their time is up the rest is left, and how to make it is told."""
    monkeypatch.setattr(gallery_command, "_AT_THE_END", 0.0)
    monkeypatch.setattr(gallery_command, "build", page_after((0, 5000)))
    asyncio.run(gallery_command.make_at_the_end(tmp_path, Console()))
    assert capsys.readouterr().err.splitlines() == [
        "making 5,000 thumbnails",
        f"5,000 thumbnails were left out for now; imagesdk gallery {tmp_path} makes them",
        f"gallery: {tmp_path}",
    ]
