"""`imagesdk batch submit`, `fetch` and `cancel`: what they print, and the exit code of each end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesdk.cli.main import main


@pytest.fixture(autouse=True)
def _account(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right key and the address of a server, in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-cli")


def line(name: str, **more: object) -> str:
    """Return a line of a batch file."""
    return json.dumps({"id": name, "prompt": name, "size": "256x256", **more})


def test_a_file_is_submitted_and_fetched(
    prompts: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submit says how to go on; fetch waits, prints a table and leaves what a run leaves."""
    path, out = prompts(line("a", n=2), line("b")), tmp_path / "out"
    assert main(["batch", "submit", str(path), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"2 requests in 1 batch; next: imagesdk batch fetch {out}" in printed.err
    assert main(["batch", "status", str(out)]) == 0
    assert "batch_" in capsys.readouterr().err
    assert main(["batch", "fetch", str(out), "--wait", "--every", "0.05"]) == 0
    printed = capsys.readouterr()
    assert (out / "index.html").is_file()
    for name in ("a-1.png", "a-2.png", "b-1.png"):
        assert (out / name).is_file()
        assert name in printed.out
    assert "completed, 2 of 2 requests done" in printed.err
    assert f"3 images from 2 requests in {out}; manifest: {out / 'manifest.jsonl'}" in printed.err
    assert main(["batch", "fetch", str(out)]) == 0
    assert f"nothing is left to fetch: all that was submitted has ended, and is in {out}" in (
        capsys.readouterr().err
    )
    assert main(["batch", "submit", str(path), "--out", str(out)]) == 0
    assert "0 requests in 0 batches; 2 were done before" in capsys.readouterr().err


def test_what_failed_is_told(
    prompts: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused line is exit code 3, with its reason; the documents go to standard output."""
    path, out = prompts(line("a", prompt="[blocked]")), tmp_path / "out"
    assert main(["batch", "submit", str(path), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "validating"
    assert (
        main(["batch", "fetch", str(out), "--wait", "--every", "0.05", "--json", "--no-gallery"])
        == 3
    )
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == "rejected"
    assert not (out / "index.html").exists()
    assert "1 failed; manifest" in printed.err
    assert "next, at the full price (batch submit does it at half):\n" in printed.err
    assert f"  imagesdk batch retry {out} --include rejected  sends again" in printed.err
    assert main(["batch", "submit", str(path), "--out", str(out)]) == 0
    assert "1 was rejected before" in capsys.readouterr().err
    assert main(["batch", "cancel", str(out)]) == 0
    assert capsys.readouterr().err == "no batch is running\n"


def test_what_cannot_be_submitted_is_a_usage_error(
    prompts: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that no batch can run is exit code 2, and a folder without batches is one, too."""
    path = prompts(line("a", n=11))
    assert main(["batch", "submit", str(path), "--out", str(tmp_path)]) == 2
    assert f"{path}: line 1: n is 11" in capsys.readouterr().err
    out = tmp_path / "out"
    assert main(["batch", "run", str(prompts(line("a"))), "--out", str(out)]) == 0
    for action in ("fetch", "cancel"):
        assert main(["batch", action, str(out)]) == 2
        assert f"nothing was submitted from {out}: imagesdk" in capsys.readouterr().err
