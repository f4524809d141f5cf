"""What a command runs on: a limit that several programs share, and the engine of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesdk.cli.main import main

Prompts = Callable[..., Path]


@pytest.fixture
def account(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right key and the address of a server, in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-cli")


def fox(name: str) -> str:
    """Return a line of a batch file."""
    return json.dumps({"id": name, "prompt": f"a fox named {name}", "size": "256x256"})


@pytest.mark.usefixtures("account")
def test_a_limit_is_shared_through_a_redis(
    redis_socket: Path, prompts: Prompts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one program used of the minute is gone for the next one that names the same Redis."""
    shared = ["--limiter", f"unix://{redis_socket}?db=7", "--images-per-minute", "2"]
    impatient = ["--max-wait", "0.1"]
    for folder, code in (("first", 0), ("second", 3)):
        path = prompts(fox("a"), fox("b"))
        out = ["--out", str(tmp_path / folder)]
        assert main(["batch", "run", str(path), *out, *shared, *impatient]) == code
    assert "the wait for the limit of 2 images a minute would be" in capsys.readouterr().out


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "dask"], "--engine is 'dask'; it must be local, ray or ray://HOST:PORT"),
        (["--workers", "2"], "--workers needs --engine ray"),
        (["--limiter", "http://x"], "it must be redis://"),
        (
            ["--limiter", "redis://x", "--images-per-minute", "off"],
            "there is no limit for a Redis to hold",
        ),
        (["--engine", "ray", "--workers", "0"], "workers is 0"),
    ],
)
def test_what_cannot_be_used_is_named(
    arguments: list[str],
    said: str,
    prompts: Prompts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A wrong option is an error of usage, and nothing is begun."""
    out = tmp_path / "out"
    assert main(["batch", "run", str(prompts(fox("a"))), "--out", str(out), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
