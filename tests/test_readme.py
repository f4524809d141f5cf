"""The README's promises that a test can check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_there_are_exactly_two_set_up_commands_on_top() -> None:
    """The first two blocks of the README are the two commands that the gate runs, and there are no more."""
    commands = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert commands == [
        "python -m pip install '.[all]' && imagesdk batch run examples/prompts.jsonl --out gallery --emulator\n",
        "python -m pip install -e '.[dev]' && python -m pytest\n",
    ]
    assert README.index("```sh") < README.index("## First program")


def test_the_first_program_runs(tmp_path: Path) -> None:
    """The README's first program runs on the emulator as it stands and saves what it says."""
    block = re.search(
        r"^## First program\n+<!-- .* -->\n```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
    assert block is not None
    program = tmp_path / "first.py"
    program.write_text(block[1], "utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    serve = [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0", "--"]
    done = subprocess.run(
        [*serve, sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "image-1.png",
        "image-2.png",
        "flamingo.png",
        "PartialImage.png",
        "CompletedImage.png",
    }
    assert done.stdout.count("image/png") == 3


def test_every_link_leads_somewhere() -> None:
    """Each relative link in the README and in docs/ names a file that exists."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


NUMBERS = {
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
    "seven": 7.0,
    "a sixth": 1 / 6,
    "a seventh": 1 / 7,
}
CLAIMS = [  # what the README says, the figure in its table of docs/benchmarks.md, and what divides it
    (r"at once take (\d+) MB of\s+memory", "save-1x20mb-32", "imagesdk", "memory MB", 1),
    (r"event loop for (\d+) ms at most", "save-1x20mb-32", "imagesdk", "max lag ms", 1),
    (r"takes ([\d.]+) GB and", "save-1x20mb-32", "AsyncOpenAI", "memory MB", 1000),
    (r"GB and ([\d.]+) s and", "save-1x20mb-32", "AsyncOpenAI", "max lag ms", 1000),
    (r"and (\w+) times as long", "save-1x20mb-32", "imagesdk", "x AsyncOpenAI", 1),
    (r"16 files of 20 MB take ([\d.]+) MB", "upload-16x20mb-1-path", "imagesdk", "memory MB", 1),
    (r"are there (\w+) times sooner", "stream-32", "imagesdk", "first: x AsyncOpenAI", 1),
    (r"small call costs (a \w+) ", "small-32", "AsyncOpenAI", "CPU s/1,000 of ours", 1),
]


@pytest.mark.parametrize(("words", "workload", "client", "column", "unit"), CLAIMS)
def test_a_figure_is_that_of_the_benchmark_that_it_names(
    words: str, workload: str, client: str, column: str, unit: float
) -> None:
    """Whoever measures anew sees which sentence of the README is no longer true (by more than a quarter)."""
    assert f"`{workload}`" in README
    said = re.search(words, README)
    assert said is not None, words
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8").replace("**", "")
    table = page.split(f"`--only {workload}`\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    names = rows[0]
    found = {row[0]: dict(zip(names, row, strict=True)) for row in rows[2:]}
    name = column.removesuffix(" of ours")
    measured = float(found[client][name].split()[0].replace(",", "")) / unit
    if name != column:
        measured = float(found["imagesdk"][name].split()[0]) / measured
    figure = NUMBERS[said[1]] if said[1] in NUMBERS else float(said[1])
    assert figure == pytest.approx(measured, rel=0.25)
