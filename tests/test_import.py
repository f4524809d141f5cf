"""What is loaded by an import: nothing that is not needed yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import imagesdk

HEAVY = {"aiohttp", "aiolimiter", "tenacity", "PIL", "rich", "pybase64", "msgspec"}
PROTOCOL = sorted(path.stem for path in Path(imagesdk.__file__).parent.glob("protocol/[a-z]*.py"))
THIRD_PARTY = HEAVY | {"attr", "attrs"}


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level names of what it loaded."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_watch_sees_what_is_loaded() -> None:
    """A session does need aiohttp and the others: the tests below would see them."""
    loaded = loaded_by("import imagesdk; imagesdk.ImageSession(base_url='http://localhost/v1')")
    assert {"aiohttp", "aiolimiter", "tenacity", "msgspec", "attrs"} <= loaded
    assert not {"PIL", "rich"} & loaded


def test_the_package_alone_loads_nothing() -> None:
    """``import imagesdk`` loads no other package, and not even asyncio."""
    loaded = loaded_by("import imagesdk; dir(imagesdk); imagesdk.__all__")
    assert not loaded & (THIRD_PARTY | {"asyncio"})


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "events",
        *(f"models.{name}" for name in ("checks", "profiles", "requests")),
        "limiters._schedule",
    ],
)
def test_records_and_rules_load_only_attrs(module: str) -> None:
    """Errors, events, models and the arithmetic of limits need attrs alone: no server, no loop."""
    assert not loaded_by(f"import imagesdk.{module}") & (HEAVY | {"asyncio"})


@pytest.mark.parametrize("name", PROTOCOL)
def test_the_protocol_needs_no_client(name: str) -> None:
    """The protocol turns bytes into values and back: no HTTP package, no event loop."""
    loaded = loaded_by(f"import imagesdk.protocol.{name}")
    assert not loaded & (HEAVY - {"msgspec", "pybase64"} | {"asyncio"})


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["batch", "run", "--help"]])
def test_help_of_the_command_line_loads_nothing(arguments: list[str]) -> None:
    """``imagesdk --help`` answers at once: it loads nothing heavy."""
    code = (
        f"from imagesdk.cli.main import main\ntry:\n main({arguments!r})\nexcept SystemExit: pass"
    )
    assert not loaded_by(code) & (THIRD_PARTY | {"asyncio"})


def test_an_error_can_be_named_without_a_client() -> None:
    """A program that only catches our errors loads no HTTP package."""
    assert "aiohttp" not in loaded_by("from imagesdk import ImageSDKError, GenerateRequest")


def test_a_star_import_brings_the_public_list() -> None:
    """``from imagesdk import *`` brings every public name."""
    code = "from imagesdk import *\nimport imagesdk\n"
    code += "assert all(globals()[n] is getattr(imagesdk, n) for n in imagesdk.__all__)"
    assert "aiohttp" not in loaded_by(code)


def test_the_version_is_that_of_the_installed_package() -> None:
    """``imagesdk.__version__`` is looked up when it is asked for."""
    code = "import imagesdk, importlib.metadata as m\n"
    code += "assert imagesdk.__version__ == m.version('imagesdk')"
    assert "imagesdk" in loaded_by(code)
