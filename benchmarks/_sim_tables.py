"""Print the tables of the simulation, and judge our client by its targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks._sim_loads import Load
from benchmarks._sim_micro import time_acquires
from benchmarks._sim_report import (
    Group,
    Results,
    Summary,
    Verdicts,
    added_below_the_limit,
    count,
    fairness,
    percent,
    quantiles,
    table,
)
from benchmarks._sim_scenarios import CONFIGURED, OURS, SCENARIOS

__all__ = ("Printer",)

_LONGEST_ADDED = 0.001
_MOST_UNFAIR = 1.2
_MOST_US = 20.0
_COSTS: dict[Load, tuple[int, ...]] = {"light": (1, 2), "bots": (1,), "fair": (1, 10)}


class Printer:
    """Prints one section after the other.

    Args:
        results: To print.
        contenders: In the order of the columns.
        markdown: Lay tables out for the documentation.

    Attributes:
        verdicts: On our client, as far as it was printed.
    """

    def __init__(self, results: Results, contenders: Sequence[str], *, markdown: bool) -> None:
        self.verdicts = Verdicts()
        self._results = results
        self._contenders = contenders
        self._markdown = markdown

    def batches(self, names: Sequence[str]) -> None:
        """Print the saturating batches of these scenarios."""
        rows = []
        for name in names:
            row = [SCENARIOS[name].label]
            for contender in self._contenders:
                row += self._results.summary(name, "mixed", contender).cells
            rows.append(row)
        title = "Batch of 1 to 10 images a call: % of what the server permits, 429, images lost"
        self._table(title, "server", self._groups("%", "429", "lost"), rows)
        if OURS in self._contenders:
            self._own_batches(names)

    def _own_batches(self, names: Sequence[str]) -> None:
        columns = ("%", "worst", "429", "worst", "lost", "faults")
        groups = [Group("imagesdk, mixed n", (*columns, "passed")), Group("n=1", columns[:-1])]
        rows = []
        for name in names:
            mixed = self._results.summary(name, "mixed", OURS)
            single = self._results.summary(name, "single", OURS)
            passed = f"{mixed.passed:.0f}"
            rows.append(
                [SCENARIOS[name].label, *_own_cells(mixed), passed, *_own_cells(single)[:-1]]
            )
            self._judge_batch(name, mixed)
        title = (
            "Ours, with the worst seed; images lost because of limits and of faults; longest wait "
            "in seconds\nof a call after a later one was sent"
        )
        self._table(title, "server", groups, rows)

    def _judge_batch(self, name: str, found: Summary) -> None:
        scenario = SCENARIOS[name]
        most = scenario.most_refusals
        mean, refusals, _ = found.cells
        wanted = f"at least {scenario.least_percent:g} %"
        self.verdicts.judge(
            scenario.label,
            f"{mean} %, {refusals} x 429",
            wanted if most is None else f"{wanted}, at most {most} x 429",
            reached=found.percent >= scenario.least_percent
            and (most is None or found.refusals <= most),
        )

    def waits(self, loads: Sequence[Load], servers: Sequence[str]) -> None:
        """Print the interactive loads."""
        for server in servers:
            rows = []
            for load in loads:
                for cost in _COSTS[load]:
                    row = [f"{load}, n={cost}"]
                    for contender in self._contenders:
                        runs = self._results.of(server, load, contender)
                        waits = [w for run in runs for w in run.waits if w.cost == cost]
                        row += [f"{seconds:.1f}" for seconds in quantiles(waits)]
                    rows.append(row)
            title = "Seconds from a call to its first sending: median, 95th percentile, longest"
            groups = self._groups("p50", "p95", "max")
            self._table(title, SCENARIOS[server].label, groups, rows)
            self._losses(loads, server)
            if OURS in self._contenders:
                self._judge_waits(loads, server)

    def _losses(self, loads: Sequence[Load], server: str) -> None:
        rows = []
        for load in loads:
            row: list[str] = [load]
            for contender in self._contenders:
                found = self._results.summary(server, load, contender)
                runs = self._results.of(server, load, contender)
                unsent = statistics.fmean(sum(not w.sent for w in run.waits) for run in runs)
                row += [count(found.refusals), count(found.lost), count(unsent)]
            rows.append(row)
        title = "429; images lost because of a limit; calls that still waited at the end"
        groups = self._groups("429", "lost", "unsent")
        self._table(title, SCENARIOS[server].label, groups, rows)

    def _judge_waits(self, loads: Sequence[Load], server: str) -> None:
        label = SCENARIOS[server].label
        for load in loads:
            runs = self._results.of(server, load, OURS)
            if load == "fair":
                ratio = fairness(runs)
                self.verdicts.judge(
                    f"fair, {label}",
                    f"n=10 waits {ratio:.2f} x as long as n=1",
                    f"at most {_MOST_UNFAIR:g} x",
                    reached=ratio <= _MOST_UNFAIR,
                )
            else:
                longest, outside = added_below_the_limit(load, runs, CONFIGURED)
                self.verdicts.judge(
                    f"{load}, {label}",
                    f"{outside:.3f} s added, {longest:.3f} s in ramps",
                    "0 s added below the limit",
                    reached=outside <= _LONGEST_ADDED,
                )

    def micro(self) -> None:
        """Time uncontended acquires, and print them."""
        times = time_acquires()
        rows = [[name, *(f"{us:.2f}" for us in found)] for name, found in times.items()]
        groups = [Group("microseconds", ("median", "min", "max"))]
        self._table("Uncontended acquire, in real time", "", groups, rows)
        median = times[OURS][0]
        self.verdicts.judge(
            "uncontended acquire",
            f"{median:.1f} us",
            f"under {_MOST_US:g} us",
            reached=median < _MOST_US,
        )

    def refusals(self) -> None:
        """List every 429 that our client got."""
        print("\n429 of imagesdk: seconds, images asked for and in use, seconds to wait")
        for run, measured in self._results.runs.items():
            if run.contender == OURS and measured.refused_at:
                print(f"{run.scenario} {run.load}, seed {run.seed}")
                for at, cost, used, wait in measured.refused_at:
                    hint = "for ever" if wait is None else f"{wait:.2f}"
                    print(f"  {at:9.2f}  n={cost:<3} used={used:<4} wait={hint}")

    def judgement(self) -> None:
        """Print the verdicts."""
        if self.verdicts.lines:
            print("\nimagesdk against its targets (batch of mixed n)")
            print("\n".join(self.verdicts.lines))

    def _groups(self, *columns: str) -> list[Group]:
        return [Group(contender, columns) for contender in self._contenders]

    def _table(
        self, title: str, corner: str, groups: Sequence[Group], rows: Sequence[Sequence[str]]
    ) -> None:
        print(f"\n{title}\n" if not self._markdown else f"\n{title}:\n")
        print(table(corner, groups, rows, markdown=self._markdown))


def _own_cells(found: Summary) -> tuple[str, ...]:
    mean, refusals, lost = found.cells
    worst = percent(found.worst_percent)
    return mean, worst, refusals, count(found.worst_refusals), lost, count(found.failed)
