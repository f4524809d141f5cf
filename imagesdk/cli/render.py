"""What a person sees: with rich where it is installed and there is a terminal, else plain lines.

Everything here goes to standard error but the table of a finished batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from imagesdk.batch.records import Record

__all__ = ("TABLE_ROWS", "Console", "counted", "has_rich", "shortened")

TABLE_ROWS = 200
"""Requests of which a table is printed."""
_PROMPT_CHARS = 44
_ERROR_CHARS = 140
"""The manifest has all of it."""
_WIDE_CHARS = 140
_COLUMNS = ("id", "what", "prompt", "image", "file or error")
_NARROW = ("id", "image", "file or error")


class Console:
    """Print for people."""

    def say(self, text: str) -> None:
        """Print a line on standard error."""
        print(text, file=sys.stderr, flush=True)

    def table(self, records: Sequence[Record], out: object) -> None:
        """Print what was made, and where, on standard output."""
        rows = [row for record in records for row in _rows(record)]
        title = f"made in {out}/"
        if not has_rich():
            print(title)
            for row in (_COLUMNS, *rows):
                print("  ".join(row))
            return
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Table

        # Without a terminal nobody folds the lines: let them be as long as they are.
        # Prompts and file names are text, not markup: "[/b]" would end the program.
        console = RichConsole(
            width=None if sys.stdout.isatty() else _WIDE_CHARS, markup=False, emoji=False
        )
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        names = _COLUMNS if console.width >= _WIDE_CHARS else _NARROW
        for (
            name
        ) in names:  # the names of files are to be copied: they get what is left, and are whole
            table.add_column(name, no_wrap=name == "image", overflow="fold")
        for row in rows:
            cells = dict(zip(_COLUMNS, row, strict=True))
            cells["id"] = shortened(cells["id"], console.width // 4)
            table.add_row(*(cells[name] for name in names))
        console.print(table)


def _rows(record: Record) -> list[tuple[str, str, str, str, str]]:
    prompt = str(record.params.get("prompt", record.params.get("image", "")))
    first = (record.custom_id, record.endpoint, shortened(prompt, _PROMPT_CHARS))
    cells = [
        (f"{i['width']}x{i['height']} {i['bytes'] / 1024:,.0f} KiB", str(i["file"]))
        for i in record.images
    ]
    if record.error is not None:
        said = f"{record.error['type']}: {record.error['message']}"
        cells.append((record.status, shortened(said, _ERROR_CHARS)))
    return [("", "", "", *cell) if index else (*first, *cell) for index, cell in enumerate(cells)]


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number of things, in the singular for one; *many* is the plural where it is no mere s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def shortened(text: str, most: int) -> str:
    """Return *text* in one line of *most* characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def has_rich() -> bool:
    """Return whether rich is installed."""
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True
