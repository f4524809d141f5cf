"""docs/threat-model.md names a test for every defence: do they exist?"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::([a-z0-9_]+)`")


@cache
def _parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"))


def test_every_defence_has_its_test() -> None:
    """Each row of the tables names a test, and each of those is there."""
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and "| threat |" not in line
    ]
    assert len(rows) > 25
    assert [row for row in rows if not NAMED.search(row)] == []
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    for file, name in NAMED.findall(text):
        tree = _parsed(file)
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, functions)}, (
            f"{file}::{name}"
        )
