"""Read our docstrings as the pages of the reference need them.

They are written for `help` and for doctest: a literal block begins with two colons, a section with one
program is called Example, a name stands in single backticks, and a page is called by its file,
docs/batch.md. Here the first two become Markdown, and the others links to what is meant.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import griffe

__all__ = ("DocstringsAsMarkdown", "public_names")

MODULES = (
    "imagesdk",
    "imagesdk.batch",
    "imagesdk.emulator",
    "imagesdk.events",
    "imagesdk.observability",
    "imagesdk.prepare",
    "imagesdk.testing",
)
_DOCS = Path(__file__).parents[1]
_PAGE = re.compile(r"(`*)docs/(?P<name>[\w/-]+)\.md\1")
_NAME = re.compile(
    r"(?<!`)`(?P<path>(?:imagesdk\.(?:[a-z_]+\.)*)?(?P<name>[A-Za-z_]+)(?:\.\w+)?)`(?!`)"
)


def public_names() -> dict[str, str]:
    """Return what the public modules export, and for each name where the reference explains it."""
    return {
        name: f"{module}.{name}"
        for module in reversed(MODULES)  # imagesdk itself comes last, and wins
        for name in importlib.import_module(module).__all__
    }


class DocstringsAsMarkdown(griffe.Extension):
    """Change each docstring when the object that it describes has been read."""

    def __init__(self) -> None:
        super().__init__()
        self._public = public_names()

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Make Markdown of a docstring."""
        if obj.docstring is not None:
            text = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
            text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
            text = _NAME.sub(self._link, text)
            obj.docstring.value = _PAGE.sub(_page, text)

    def _link(self, found: re.Match[str]) -> str:
        home = self._public.get(found["name"])
        if home is None or (found["name"].islower() and found["path"] != home):
            return found[0]
        rest = found["path"].partition(found["name"])[2]
        return f"[{found[0]}][{home}{rest}]"


def _page(found: re.Match[str]) -> str:
    """Return a link to a page of the site; all docstrings are on pages of its reference."""
    if not (_DOCS / f"{found['name']}.md").is_file():
        raise ValueError(f"a docstring names {found[0]}, and there is no such page")
    return f"[{found['name']}](../{found['name']}.html)"
