"""How far a batch is, for people, on standard error: a bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from imagesdk.batch.entries import Total
from imagesdk.batch.jobs import Job
from imagesdk.batch.progress import BatchProgress, ProgressSnapshot
from imagesdk.batch.records import Record
from imagesdk.cli.render import Console, counted, has_rich, shortened
from imagesdk.limiters.base import LimiterSnapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ("BatchView", "Forecaster", "duration")

_LINE_EVERY = 30.0
_DRAW_EVERY = 0.5
_FAILURES = 5
"""Failures that are shown as they come; the manifest has all."""
_WORTH_TELLING = 60.0
"""Seconds that the limit alone takes, while nobody knows how long a request takes."""
_ID_CHARS = 40
_ERROR_CHARS = 200
_BAR_FROM = 48
"""Columns of a terminal that has room for a bar beside the numbers."""


class Forecaster(Protocol):
    """What tells how the limit stands: a session, or an engine."""

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limit."""
        ...

    def forecast(self, images: int, requests: int) -> float:
        """Return the seconds until the last of so many can be sent."""
        ...


class BatchView:
    """Shows a batch while it runs: ``with BatchView(console, session, concurrency=16) as view``.

    To be used inside the event loop, which draws it now and then. There is a bar where standard error is a terminal,
    rich is installed and nothing says that nobody looks (``CI`` and ``TERM=dumb`` do); else a line at the
    begin, one every 30 seconds and one at the end.

    Args:
        console: Where lines go.
        limits: Tells why requests wait, and for how long.
        concurrency: Most requests in flight.
        price: What the images of a record cost, None if that is not known.
    """

    def __init__(
        self,
        console: Console,
        limits: Forecaster,
        *,
        concurrency: int,
        price: Callable[[Record], float | None] = lambda _record: None,
    ) -> None:
        self._console = console
        self._limits = limits
        self._concurrency = concurrency
        self._price = price
        self._failures = 0
        self._has_begun = self._is_announced = False
        self._live: Live | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._progress = BatchProgress(self._concurrency, price=self._price, now=self._loop.time())
        if _is_watched() and has_rich():
            self._live = _make_live()
            self._live.start()
        self._every = _LINE_EVERY if self._live is None else _DRAW_EVERY
        self._tick()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._draw()
            self._live.stop()
        elif self._has_begun:
            state = self._look()
            self._console.say(
                f"{_count(state)}{_failed(state, ', ')}, in {duration(state.elapsed)}"
            )

    def begin(self, total: Total) -> None:
        """Show how much is asked for."""
        self._progress.begin(total)
        self._has_begun = True

    def due(self, total: Total) -> None:
        """Note how much of it is to be done now."""
        self._progress.due(total)

    def start(self, job: Job) -> None:
        """Note that a request is sent."""
        self._announce()
        self._progress.start(job, self._loop.time())

    def add(self, record: Record, *, is_new: bool = True) -> None:
        """Note that a request has ended; show how, if it failed now."""
        self._progress.end(record, self._loop.time(), is_new=is_new)
        if is_new and record.error is not None:
            self._announce()
            self._failures += 1
            if self._failures <= _FAILURES:
                name = shortened(record.custom_id, _ID_CHARS)
                said = shortened(f"{record.error['type']}: {record.error['message']}", _ERROR_CHARS)
                self._say(f"{record.status}: {name}: {said}")
            elif self._failures == _FAILURES + 1:
                self._say("further failures are counted, and told in manifest.jsonl")

    def drain(self) -> None:
        """Note that nothing more is sent."""
        self._progress.drain()

    def _look(self) -> ProgressSnapshot:
        return self._progress.snapshot(
            self._loop.time(), self._limits.snapshot(), self._limits.forecast
        )

    def _announce(self) -> None:
        """Say once what is about to be done, when it is known what was done before."""
        if self._live is None and not self._is_announced:
            state = self._look()
            limit = f", limit {state.limit:g} a minute" if state.limit is not None else ""
            self._console.say(
                f"{_count(state)}{limit}, at most {counted(self._concurrency, 'request')} in flight{_left(state, ', ')}"
            )
        self._is_announced = True

    def _tick(self) -> None:
        if self._live is not None:
            self._draw()
        elif self._is_announced:
            state = self._look()
            self._console.say(f"{_count(state)}, {', '.join(_facts(state))}{_left(state, ', ')}")
        self._timer = self._loop.call_later(self._every, self._tick)

    def _say(self, line: str) -> None:
        if self._live is None:
            self._console.say(line)
        else:
            from rich.text import Text

            self._live.console.print(Text(line, "red"))

    def _draw(self) -> None:
        if self._live is not None:
            state = self._look() if self._has_begun else None
            self._live.update(_picture(state, self._live.console.width), refresh=True)


# In words -----------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a time as people say it: the longer it is, the less exactly."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def _count(state: ProgressSnapshot) -> str:
    return f"{state.images:,}/{counted(state.total, 'image')}"


def _failed(state: ProgressSnapshot, before: str = "") -> str:
    return f"{before}{state.failed:,} failed" if state.failed else ""


def _left(state: ProgressSnapshot, before: str = "") -> str:
    if state.left is not None:
        return f"{before}about {duration(state.left)} left"
    if state.at_least >= _WORTH_TELLING:
        return f"{before}at least {duration(state.at_least)} left"
    return ""


def _facts(state: ProgressSnapshot) -> list[str]:
    """Return what is worth telling, the most urgent first."""
    facts = [
        _failed(state),
        _why(state),
        f"{state.in_flight:,} in flight"
        + (", as many as --concurrency allows" if state.why == "concurrency" else ""),
        f"{state.last_minute:,} in the last minute" if state.images or state.elapsed > 60 else "",
        f"{state.spent:,.2f} spent" if state.spent is not None else "",
    ]
    return [fact for fact in facts if fact]


def _why(state: ProgressSnapshot) -> str:
    """Say what holds the batch back."""
    limit = f"{state.limit:g} a minute" if state.limit is not None else ""
    named = " (the server's word)" if state.limit_is_named else ""
    match state.why:
        case "pause":
            return f"the server asked to pause, {duration(state.paused)} left"
        case "limit":
            return f"waits for the limit of {limit}{named}"
        case "end":
            return "ends with what is in flight"
        case _:
            return f"limit {limit}{named}" if limit else ""


# In a terminal ------------------------------------------------------------------------------------


def _is_watched() -> bool:
    """Return whether somebody looks at a terminal that can be drawn on."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def _make_live() -> Live:
    from rich.console import Console as RichConsole
    from rich.live import Live

    console = RichConsole(
        stderr=True, no_color="NO_COLOR" in os.environ, markup=False, emoji=False, highlight=False
    )
    # What is printed to a terminal goes above the bar; what goes into a file or a pipe goes there.
    return Live(console=console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())


def _picture(state: ProgressSnapshot | None, width: int) -> RenderableType:
    """Return the bar and the facts below it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if state is None:
        return Text("reading the requests …", "dim")
    grid = Table.grid(padding=(0, 1), expand=True)
    cells: list[RenderableType] = [Text(_count(state), "bold")]
    grid.add_column(no_wrap=True)
    if width >= _BAR_FROM:
        grid.add_column(ratio=1)
        cells.append(
            ProgressBar(
                total=max(1, state.total),
                completed=state.images,
                complete_style="green" if not state.failed else "yellow",
                finished_style="green",
            )
        )
    percent = 100 * state.images // max(1, state.total)
    grid.add_column(no_wrap=True, justify="right")
    has_ended = not state.waiting and not state.in_flight
    when = f"in {duration(state.elapsed)}" if has_ended else _left(state)
    cells.append(Text(f"{percent} %  {when}".rstrip()))
    grid.add_row(*cells)
    return Group(grid, *(Text(line, "dim") for line in _lines(_facts(state), width)))


def _lines(facts: Sequence[str], width: int) -> list[str]:
    """Put facts into lines; none is broken if it fits into one."""
    lines = [""]
    for fact in facts:
        longer = f"{lines[-1]} · {fact}" if lines[-1] else fact
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(fact)
    return [line for line in lines if line]
