"""Write docs/cli.md: what ``--help`` says of each command, on a terminal of 80 columns.

Run it again when an option has changed: ``python docs/_tools/cli.py``. tests/test_docs.py compares.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from imagesdk.cli.main import build_parser

__all__ = ("PAGE", "page")

PAGE = Path(__file__).parents[1] / "cli.md"
_INTRO = """\
# The command line

What `--help` says of each command. All that speak to a server take `--emulator`, which starts one for the command. [Batches](batch.md) and
[the emulator](emulator.md) have pages of their own.
"""


def page() -> str:
    """Return the whole page, as Markdown."""
    os.environ["COLUMNS"] = "80"
    sections = (
        f"\n## {parser.prog}\n\n```text\n{parser.format_help()}```\n"
        for parser in _parsers(build_parser())
    )
    return _INTRO + "".join(sections)


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser, and those of its commands, in the order in which help lists them."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to its commands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield from _parsers(command)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
