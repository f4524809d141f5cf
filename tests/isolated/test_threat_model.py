"""docs/threat-model.md names a test for every defence: do they exist?"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::([a-z0-9_]+)`")


def test_every_defence_has_its_test() -> None:
    """Each row of the tables names a test, and each of those is there."""
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and "| threat |" not in line
    ]
    assert len(rows) > 25
    assert [row for row in rows if not NAMED.search(row)] == []
    for file, name in NAMED.findall(text):
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, functions)}, (
            f"{file}::{name}"
        )
