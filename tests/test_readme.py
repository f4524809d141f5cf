"""The README's promises that a test can check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
