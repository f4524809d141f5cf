"""What a person sees: with rich where it is installed and there is a terminal, else plain lines.

Everything here goes to standard error but the table of a finished batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from imagesdk.batch.ledger import Total
from imagesdk.batch.records import Record
from imagesdk.limiters.base import LimiterSnapshot

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ("BatchView", "Console")

_PROMPT_CHARS = 44
_WIDE_CHARS = 140
_COLUMNS = ("id", "what", "prompt", "image", "file or error")


class Console:
    """Print for people."""

    def say(self, text: str) -> None:
        """Print a line on standard error."""
        print(text, file=sys.stderr, flush=True)

    def table(self, records: Sequence[Record], out: Path) -> None:
        """Print what was made, and where, on standard output."""
        rows = [row for record in records for row in _rows(record)]
        title = f"made in {out}{os.sep}"
        if not _has_rich():
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
        shown = [name for name in _COLUMNS if name != "prompt" or console.width >= _WIDE_CHARS]
        for name in shown:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(
                *(cell for name, cell in zip(_COLUMNS, row, strict=True) if name in shown)
            )
        console.print(table)


def _rows(record: Record) -> list[tuple[str, str, str, str, str]]:
    prompt = str(record.params.get("prompt", record.params.get("image", "")))
    if len(prompt) > _PROMPT_CHARS:
        prompt = f"{prompt[: _PROMPT_CHARS - 1]}…"
    first = (record.custom_id, record.endpoint, prompt)
    cells = [
        (f"{i['width']}x{i['height']} {i['bytes'] / 1024:,.0f} KiB", str(i["file"]))
        for i in record.images
    ]
    if record.error is not None:
        cells.append((record.status, f"{record.error['type']}: {record.error['message']}"))
    return [(*(first if index == 0 else ("", "", "")), *cell) for index, cell in enumerate(cells)]


class BatchView:
    """A progress bar over the images of a batch; plain lines without a terminal.

    Args:
        console: Where plain lines go.
        snapshot: Tells why the next request waits.
    """

    def __init__(self, console: Console, snapshot: Callable[[], LimiterSnapshot]) -> None:
        self._console = console
        self._total = 0
        self._snapshot = snapshot
        self._images = 0
        self._failed = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if _has_rich() and sys.stderr.isatty():
            self._progress = _make_progress()
            self._progress.start()
            self._task = self._progress.add_task("images", total=None, why="")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, total: Total) -> None:
        """Show how many images are asked for."""
        self._total = total.images
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total.images)

    def add(self, record: Record, *, is_new: bool = True) -> None:
        """Show that a request has ended; without a terminal, only if that is new."""
        self._images += len(record.images)
        self._failed += record.status != "done"
        why = _why(self._snapshot())
        failed = f", {self._failed} failed" if self._failed else ""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._images, why=f"{why}{failed}")
        elif is_new:
            self._console.say(
                f"{self._images}/{self._total} images{failed}: {record.custom_id} "
                f"{record.status}{f' ({why})' if why else ''}"
            )


def _why(state: LimiterSnapshot) -> str:
    """Say why requests wait."""
    if state.paused:
        return f"the server asked to pause, {state.paused:.0f} s left"
    if state.queued and state.limit is not None:
        named = " that the server named" if state.adopted == state.limit else ""
        return f"{state.queued} wait for the limit of {state.limit:g} a minute{named}"
    return ""


def _make_progress() -> Progress:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: Any = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[why]}"),
    )
    return Progress(*columns, console=RichConsole(stderr=True, no_color="NO_COLOR" in os.environ))


def _has_rich() -> bool:
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True
