from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import main

KEY = "sk-proj-0123456789abcdefWXYZ"


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and its document, values and notes apart."""
    code = main(["doctor", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_each_setting_with_its_origin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting says whether it comes from an option, a variable or nowhere; the key is masked."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://not.used/v1")
    options = ("--base-url", "https://api.openai.com/v1", "--images-per-minute", "20")
    code, found = report(capsys, *options, "--model", "gpt-image-2.5-flare", "--max-wait", "3")
    assert code == EXIT_CODES["done"]
    told = {name: (row["value"], row["note"]) for name, row in found["settings"].items()}
    assert told == {
        "api_key": ("sk-…WXYZ (28 characters)", "OPENAI_API_KEY"),
        "base_url": ("https://api.openai.com/v1", "--base-url"),
        "organization": ("org-1", "OPENAI_ORG_ID"),
        "project": (None, "default"),
        "server": (None, "the host of base_url"),
        "model": ("gpt-image-2.5-flare", "--model"),
        "limiter": ("of each session its own", "default"),
        "images_per_minute": (20.0, "--images-per-minute"),
        "timeout": ("profile", "the server's profile"),
        "max_wait": (3.0, "--max-wait"),
    }


def test_server_and_limits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile that the host selects, and what the model takes."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, found = report(capsys, "--model", "gpt-image-2")
    assert found["server"]["profile"]["value"] == "openai"
    assert found["server"]["needs a model"]["value"] == "yes"
    assert found["server"]["images a minute"] == {"value": "50", "note": "default of openai"}
    limits = found["limits of GPT Image 2"]
    assert limits["prompt"]["value"] == "1 to 32,000 characters"
    assert limits["any other size"]["note"] == "655,360 to 8,294,400 pixels, up to 3:1"
    assert limits["input images"]["value"] == "up to 16"
    _, found = report(capsys, "--base-url", "http://127.0.0.1:1/v1", "--model", "flux")
    assert found["server"]["profile"]["value"] == "classic"
    unknown = found["limits of a model that this version does not know"]
    assert unknown["size"]["value"] == unknown["prompt"]["value"] == "the server decides"
    off = ("--base-url", "http://127.0.0.1:1/v1", "--images-per-minute", "off")
    _, found = report(capsys, *off)
    assert found["server"]["images a minute"]["value"] == "any number"


def test_a_shared_limit_is_named_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A limiter's URL is shown by its host alone, and a server's name by the option."""
    shared = ("--limiter", "redis://:word@127.0.0.1:1/0", "--server", "localai")
    code, found = report(capsys, "--base-url", "http://127.0.0.1:1/v1", *shared)
    assert code == EXIT_CODES["done"]
    assert found["settings"]["limiter"] == {
        "value": "shared, at 127.0.0.1",
        "note": "--limiter",
    }
    assert found["settings"]["server"] == {"value": "localai", "note": "--server"}
    assert found["server"]["profile"]["value"] == "localai"
    assert "word" not in str(found)


def test_packages_and_extras(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each package that is needed has its version, or the command that installs it."""
    real = metadata.version

    def without_rich(name: str) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without_rich)
    _, found = report(capsys, "--base-url", "http://127.0.0.1:1/v1")
    assert found["packages"]["aiohttp"]["value"] == real("aiohttp")
    assert "rich" not in found["packages"]
    assert found["extra cli"]["rich"] == {
        "value": None,
        "note": "python -m pip install 'imagesdk[cli]'",
    }
    assert {"extra emulator", "extra redis"} <= set(found)
    assert not {"extra all", "extra dev"} & set(found)


def test_the_test_makes_one_image(capsys: pytest.CaptureFixture[str]) -> None:
    """With --test one small image is made, and what the server says about its limit is shown."""
    code, found = report(capsys, "--emulator", "--test")
    assert code == EXIT_CODES["done"]
    assert found["settings"]["api_key"] == {"value": "the emulator's own", "note": "--emulator"}
    assert found["test"]["image"]["value"] == "256x256 image/png"
    assert found["test"]["x-ratelimit-limit-images"]["value"] == "50"
    _, found = report(capsys, "--emulator", "--test", "--model", "gpt-image-2")
    assert found["test"]["image"]["value"] == "1024x1024 image/png"


def test_as_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A person reads sections of lines: name, value, where it comes from. The key is nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["doctor", "--model", "gpt-image-2"]) == EXIT_CODES["done"]
    out = capsys.readouterr().out
    assert re.search(r"^  api_key +sk-…WXYZ \(28 characters\) +OPENAI_API_KEY$", out, re.MULTILINE)
    assert re.search(r"^  project +- +default$", out, re.MULTILINE)
    assert f"imagesdk               {metadata.version('imagesdk')}\n" in out
    assert sys.executable in out
    assert KEY[4:-4] not in out


@pytest.mark.parametrize(
    ("key", "arguments", "problem"),
    [
        ("", (), "no API key"),
        (KEY, (), "needs a model: pass --model"),
        (KEY, ("--base-url", "ftp://a"), "base_url is 'ftp://a'"),
    ],
)
def test_a_problem_is_shown_last(
    key: str,
    arguments: tuple[str, ...],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What keeps a session from being used is told after all that was found, with exit code 2."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    code, found = report(capsys, *arguments)
    assert code == EXIT_CODES["usage"]
    assert problem in found["problem"]["settings"]["value"]
    assert "packages" in found


def test_a_test_that_fails(
    served: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is 5, a server that is away 1; the report is printed all the same."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    assert main(["doctor", "--test", "--base-url", served]) == EXIT_CODES["refused"]
    out, err = capsys.readouterr()
    assert "profile" in out
    assert "0123456789" not in out + err
    code, found = report(capsys, "--test", "--base-url", "http://127.0.0.1:9/v1")
    assert code == EXIT_CODES["failed"]
    assert "server" in found


def test_it_sends_nothing_unless_asked(launch: Callable[..., Any]) -> None:
    """Without --test a server that is not there is no problem."""
    done = launch("doctor", "--base-url", "http://127.0.0.1:9/v1")
    assert (done.returncode, done.stderr) == (0, "")
