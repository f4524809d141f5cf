"""Turn the results of many runs into figures, tables and verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import attrs

from benchmarks._sim_loads import BURST_EVERY, Load, Measured, Wait
from benchmarks._sim_scenarios import Run

__all__ = (
    "Group",
    "Results",
    "Summary",
    "Verdicts",
    "added_below_the_limit",
    "count",
    "fairness",
    "percent",
    "quantiles",
    "summarise",
    "table",
)

_RAMP = 2.0
_NEIGHBOURS = 30.0
"""Seconds either side of a call for ten images in which calls for one are compared with it."""


@attrs.frozen(kw_only=True)
class Summary:
    """One scenario, load and contender over its seeds.

    Attributes:
        percent: Mean of what was admitted, of what the server permits.
        worst_percent: Of the worst seed.
        refusals: Mean number of 429.
        worst_refusals: Of the worst seed.
        lost: Mean of the images lost for good because of a limit.
        failed: Mean of the images lost for good because of a fault.
        passed: Longest time in seconds that a call still waited after a later one was sent.
        projected: True if the runs were shorter than those of others, and their counts were multiplied.
    """

    percent: float
    worst_percent: float
    refusals: float
    worst_refusals: float
    lost: float
    failed: float
    passed: float
    projected: bool

    @property
    def cells(self) -> tuple[str, str, str]:
        """Percent, 429 and images lost, for a table."""
        mark = "~" if self.projected else ""
        return (
            percent(self.percent),
            mark + count(self.refusals),
            mark + count(self.lost),
        )


def summarise(results: Sequence[Measured], factor: float = 1.0) -> Summary:
    """Average the seeds.

    Args:
        results: One for each seed.
        factor: By which counts are multiplied, if the runs were cut short.
    """
    percents = [100.0 * result.admitted / result.permitted for result in results]
    refusals = [factor * result.refusals for result in results]
    return Summary(
        percent=statistics.fmean(percents),
        worst_percent=min(percents),
        refusals=statistics.fmean(refusals),
        worst_refusals=max(refusals),
        lost=factor * statistics.fmean(result.lost for result in results),
        failed=factor * statistics.fmean(result.failed for result in results),
        passed=max(result.passed for result in results),
        projected=factor != 1.0,
    )


def percent(number: float) -> str:
    """Write a percentage; it is rounded down, so that nothing looks as if it reached its target."""
    return f"{math.floor(number * 10) / 10:.1f}"


def count(number: float) -> str:
    """Write a mean of counts: whole, or with one decimal where that says more."""
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"


def quantiles(waits: Iterable[Wait]) -> tuple[float, float, float]:
    """Return median, 95th percentile and maximum of the waits in seconds."""
    ordered = sorted(wait.wait for wait in waits)
    if not ordered:
        return math.nan, math.nan, math.nan
    last = len(ordered) - 1
    return ordered[round(last * 0.5)], ordered[round(last * 0.95)], ordered[last]


def fairness(runs: Iterable[Measured]) -> float:
    """Return how much longer calls for ten waited than calls for one made within 30 s of them.

    A call that was never sent counts with the time that it had waited by the end.
    """
    tens = ones = 0.0
    for run in runs:
        for ten in run.waits:
            near = [
                one.wait
                for one in run.waits
                if one.cost == 1 and abs(one.called - ten.called) <= _NEIGHBOURS
            ]
            if ten.cost == 10 and near:
                tens += ten.wait
                ones += statistics.fmean(near)
    return tens / ones if ones else math.inf if tens else 1.0


def added_below_the_limit(load: Load, runs: Iterable[Measured], limit: int) -> tuple[float, float]:
    """Return the longest wait of a call at whose sending fewer images than *limit* were recent.

    Returns:
        The longest of all, and the longest of those sent more than 2 s after the begin of the run or of a burst.
    """
    longest = outside = 0.0
    for run in runs:
        for wait in run.waits:
            if wait.sent and wait.recent < limit:
                longest = max(longest, wait.wait)
                sent_at = wait.called + wait.wait
                since = sent_at % BURST_EVERY if load == "bots" else sent_at
                if since > _RAMP:
                    outside = max(outside, wait.wait)
    return longest, outside


@attrs.frozen
class Results:
    """All runs."""

    runs: Mapping[Run, Measured]

    def of(self, scenario: str, load: Load, contender: str) -> list[Measured]:
        """Return one result for each seed."""
        wanted = scenario, load, contender
        return [m for r, m in self.runs.items() if (r.scenario, r.load, r.contender) == wanted]

    def summary(self, scenario: str, load: Load, contender: str) -> Summary:
        """Return the figures for an hour, or for whatever the longest run lasted."""
        longest = max(run.seconds for run in self.runs)
        own = max(
            run.seconds
            for run in self.runs
            if (run.scenario, run.load, run.contender) == (scenario, load, contender)
        )
        return summarise(self.of(scenario, load, contender), longest / own)


@attrs.define
class Verdicts:
    """What was to be reached, and whether it was."""

    lines: list[str] = attrs.field(factory=list)
    missed: int = 0

    def judge(self, what: str, found: str, wanted: str, *, reached: bool) -> None:
        """Note one target."""
        self.missed += not reached
        self.lines.append(f"{'ok' if reached else 'MISSED':6}  {what:25} {found:32} {wanted}")


@attrs.frozen
class Group:
    """Columns of a table that belong together.

    Attributes:
        title: Of all of them.
        columns: Of each.
    """

    title: str
    columns: tuple[str, ...]


def table(
    corner: str, groups: Sequence[Group], rows: Sequence[Sequence[str]], *, markdown: bool
) -> str:
    """Lay a table out: labels flush left, numbers flush right.

    Args:
        corner: Heads the labels.
        groups: All columns but the first.
        rows: A label, then a cell for each column.
        markdown: Return it as Markdown, which has no groups: titles go before each group's first column.
    """
    names = [name for group in groups for name in group.columns]
    if markdown:
        names = [
            f"{group.title} {name}".strip() if i == 0 else name
            for group in groups
            for i, name in enumerate(group.columns)
        ]
    cells = [[corner, *names], *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names) + 1)]
    if markdown:
        lines = ["| " + " | ".join(_padded(row, widths)) + " |" for row in cells]
        rule = [("-" * (width - 1)) + ("-" if i == 0 else ":") for i, width in enumerate(widths)]
        return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])
    heads, parts = [""], [slice(0, 1)]
    for group in groups:
        start = parts[-1].stop
        own = slice(start, start + len(group.columns))
        lacking = len(group.title) - len(" ".join("x" * width for width in widths[own]))
        widths[start] += max(0, lacking)
        heads.append(group.title)
        parts.append(own)
    text = []
    for row in cells:
        padded = _padded(row, widths)
        text.append("  ".join(" ".join(padded[part]) for part in parts).rstrip())
    whole = [sum(widths[part]) + part.stop - part.start - 1 for part in parts]
    first = "  ".join(head.rjust(width) for head, width in zip(heads, whole, strict=True))
    return "\n".join([first.rstrip(), text[0], "-" * max(map(len, text)), *text[1:]])


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
