"""Every example runs against the emulator as it stands, and writes what it says."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from imagesdk.batch.jobs import read_jobs

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVICES = {  # in test_examples_services.py: they go on until they are ended, or need a Redis
    "aiohttp_backend.py",
    "background_worker.py",
    "discord_bot.py",
    "shared_limit.py",
    "web_backend.py",
}
NOT_PROGRAMS = {"make_inputs.py", "test_my_app.py", "batch_on_ray.py", *SERVICES}
"""No programs, those above, and one that needs Ray: it runs in tests/batch/test_ray.py."""
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in NOT_PROGRAMS)
TESTING_PAGE = EXAMPLES.parent / "docs" / "testing-your-app.md"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
PICTURES = sorted(path.name for path in EXAMPLES.glob("*.png"))
WRITES_NOTHING = {"error_handling.py"}
BESIDE_IMAGES = {"manifest.jsonl", "run.db", "run.lock", "index.html"}
"""What a batch keeps in its folder."""

pytestmark = pytest.mark.timeout(240)  # all of them run before the first test, side by side


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example against an emulator of its own, as the README says."""
    serve = [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0", "--"]
    return subprocess.run(
        [*serve, sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Path, subprocess.CompletedProcess[str]]]:
    """Where each example ran, and how; they run side by side."""
    folders = [tmp_path_factory.mktemp("example") for _ in PROGRAMS]
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(run, PROGRAMS, folders)
        return dict(zip(PROGRAMS, zip(folders, done, strict=True), strict=True))


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_and_writes_what_it_prints(
    name: str, runs: dict[str, tuple[Path, subprocess.CompletedProcess[str]]]
) -> None:
    """``imagesdk serve -- python example.py`` ends with 0, and each path that it prints is an image."""
    folder, done = runs[name]
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    printed = set(re.findall(r"\bout[/\\][\w.-]+\w", done.stdout))
    files = (path for path in folder.rglob("*") if path.is_file())
    written = {str(p.relative_to(folder)) for p in files if p.name not in BESIDE_IMAGES}
    assert printed == written
    assert bool(written) is (name not in WRITES_NOTHING)
    for path in written:
        with Image.open(folder / path) as image:
            image.load()


def test_the_example_of_errors_meets_each_of_them(
    runs: dict[str, tuple[Path, subprocess.CompletedProcess[str]]],
) -> None:
    """It prints status and error object of the server, and None twice where nothing was sent."""
    lines = runs["error_handling.py"][1].stdout.splitlines()
    assert lines[0].startswith("refused by the safety system: ")
    assert lines[1].startswith("400 {")
    assert lines[2].startswith("401 {")
    assert lines[3] == "None None"
    assert "square" in lines[4]


def test_every_example_says_what_it_shows() -> None:
    """The first line of an example is a sentence about it."""
    for name in [*PROGRAMS, *NOT_PROGRAMS]:
        first = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()[0]
        assert re.match(r'"""[A-Z].*[.:,]', first), name


INSTALLED_AS = {"discord": "discord.py", "ray": "imagesdk[ray]"}
COME_WITH_ALL = {"imagesdk", "aiohttp", "PIL", "redis"}


def test_the_list_of_the_examples_names_each_and_what_it_needs() -> None:
    """examples/README.md has a row for every program, with what must be installed beside ``all``."""
    rows = re.findall(
        r"^\| \[(\w+\.py)\]\((\1)\) \| .+ \| (.*?)\|$",
        (EXAMPLES / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    needs = {name: need for name, _, need in rows}
    assert sorted(needs) == sorted([*PROGRAMS, *NOT_PROGRAMS])
    for name, need in needs.items():
        tree = ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))
        imported = {
            top.partition(".")[0]
            for node in ast.walk(tree)
            for top in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        for package in imported - COME_WITH_ALL - sys.stdlib_module_names:
            assert INSTALLED_AS.get(package, package).replace("_", "-") in need, (name, package)


def test_the_input_pictures_can_be_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """make_inputs.py draws the pictures that are committed, but for the rounding of another Pillow."""
    script = str(EXAMPLES / "make_inputs.py")
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path)])
    runpy.run_path(script, run_name="__main__")
    assert sorted(path.name for path in tmp_path.iterdir()) == PICTURES
    for name in PICTURES:
        with Image.open(EXAMPLES / name) as committed, Image.open(tmp_path / name) as drawn:
            assert committed.mode == drawn.mode
            assert committed.size == drawn.size
            difference = ImageStat.Stat(ImageChops.difference(committed, drawn))
            assert max(difference.mean) < 0.5, name


def test_the_batch_example_can_be_read_and_stays_within_a_minute() -> None:
    """examples/prompts.jsonl holds requests of every kind and shape, for at most 50 images."""
    path = EXAMPLES / "prompts.jsonl"
    with path.open("rb") as file:
        jobs = list(read_jobs(file, path.parent))
    assert {job.request.endpoint for job in jobs} == {"generations", "edits", "variations"}
    assert 20 <= sum(job.request.n or 1 for job in jobs) <= 50
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {"body" in line for line in lines} == {True, False}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_used(name: str) -> None:
    """A committed picture is the input of an example."""
    readers = [EXAMPLES / program for program in PROGRAMS] + [EXAMPLES / "prompts.jsonl"]
    assert any(name in path.read_text(encoding="utf-8") for path in readers)


def blocks_of_the_testing_page(*, shown: bool) -> list[str]:
    """Return the blocks that show parts of test_my_app.py, or those that stand for themselves."""
    marked = re.findall(
        r"^<!-- (examples/test_my_app.py|run by \S+) -->\n```python\n(.*?)^```$",
        TESTING_PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return [block for mark, block in marked if mark.startswith("examples/") is shown]


def test_the_testing_page_shows_the_example() -> None:
    """Its blocks are parts of examples/test_my_app.py, and hold all of its tests."""
    example = (EXAMPLES / "test_my_app.py").read_text(encoding="utf-8")
    blocks = blocks_of_the_testing_page(shown=True)
    assert all(block in example for block in blocks)
    tests = re.findall(r"^def (test_\w+)", example, re.MULTILINE)
    assert re.findall(r"^def (test_\w+)", "".join(blocks), re.MULTILINE) == tests


def test_an_application_is_tested_as_the_page_says(tmp_path: Path) -> None:
    """In a project of their own all tests pass, but for the one that a careless application fails."""
    example = (EXAMPLES / "test_my_app.py").read_text(encoding="utf-8")
    careless = example.replace('RetryPolicy(ambiguous="never")', "RetryPolicy()")
    files = [example, careless, *blocks_of_the_testing_page(shown=False)]
    for number, text in enumerate(files):
        (tmp_path / f"test_{number}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*PYTEST, "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function"],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        timeout=55,
        check=False,
    )
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    assert failed == ["test_1.py::test_nothing_is_paid_twice"], done.stdout
    assert re.search(r"^1 failed, 8 passed in", done.stdout, re.MULTILINE), done.stdout


def test_the_tests_of_the_example_find_their_fixtures_in_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``pytest examples/test_my_app.py`` needs nothing of this repository's own settings for pytest."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # they are for the tests around this one
    done = subprocess.run(
        [
            *PYTEST,
            "--setup-plan",
            "-p",
            "no:asyncio",
            "-p",
            "no:timeout",
            "examples/test_my_app.py",
        ],
        capture_output=True,
        encoding="utf-8",
        cwd=EXAMPLES.parent,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "imagesdk_server" in done.stdout
