"""Lay the results of ``python -m benchmarks`` out: tables for people, and a page for the documentation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import attrs

from benchmarks._peers_results import Results, Verdict
from benchmarks._peers_workloads import BASELINE, OURS, WORKLOADS, Workload
from benchmarks._sim_report import Group, table

__all__ = ("about", "judgement", "page", "start_table", "workload_table")

_PLAIN = "aiohttp script"
_HAND = "hand-written loop"
_PAGE = """\
# Benchmarks beside the peers

`python -m benchmarks` runs imagesdk beside other clients, each in a process of its own, against a server in another process that sends prepared bytes as fast as
they are taken. It needs Linux and the `dev` extra. Every figure on this page was written by `python -m benchmarks --render JSON --markdown FILE`; none
was typed.

![Speed, memory, event loop and time to the first partial image, beside the peers](benchmarks.svg)

{about}

## What is compared

| client | what it is |
|---|---|
| imagesdk | `ImageSession`, with its checks, limiter (a limit that is never reached) and retry policy on. Saves with `save_to=` |
| AsyncOpenAI | the official client, its default transport, as documented: `base64.b64decode`, `write_bytes` |
| LiteLLM | `aimage_generation` and `aimage_edit`, saved in the same way. Its version of openai is older than the newest, so it has an interpreter of its own (`--litellm`) |
| aiohttp script | `await reply.json()`, `base64.b64decode`, `write_bytes`; uploads with `FormData` |
| hand-written loop | what an expert would write for this one server: aiohttp, pybase64 on each piece that arrives, unbuffered writes. No checks, no errors, no retry |
| raw socket | receives the bytes and drops them: the limit of the machine. It does not give way to the event loop, hence its lag |

- A measurement is one client and one workload in a fresh process, after a warm-up on small answers and a sync of the disk. The clients take turns; figures are medians of the rounds, with the
  least and the most in brackets where there is room.
- Wall: from the first request to the last answer. CPU: user and system time of all threads of the client. Memory: the most resident memory that the kernel saw, less what was there
  just before, in millions of bytes. Loop lag: the longest that a ticker of 5 ms was late.
- "x NAME": how many times as fast as NAME, by wall time; above 1 is faster.
- Equal work: what is saved is compared with what was sent, uploads must arrive whole, every image of a stream is decoded to bytes. Not equal: imagesdk calls `fsync` for
  each file and renames it when it is complete; none of the others does.
- The server is plain HTTP on the same machine, and sends at once: what is measured is the client, not the network and not the model.
- Seconds depend on the machine; trust the ratios, and memory. A ratio still moves by a tenth from run to run: one that is near its bound is
  not settled by one run.

## How to run it

<!-- not run: it takes up to an hour; tests/test_benchmarks_peers.py has short ones -->
```console
$ python -m benchmarks                                   # everything; 40 minutes to an hour, most of it the peers
$ python -m benchmarks --quick                           # a smoke test, about a minute
$ python -m benchmarks --only small-32,stream-32 --rounds 5
$ python -m benchmarks --json results.json --svg docs/benchmarks.svg --markdown docs/benchmarks.md
$ python -m venv .litellm && .litellm/bin/pip install litellm
$ python -m benchmarks --litellm .litellm/bin/python
```

The exit code is 1 if a figure of the next table is missed.

## What must be reached

{judgement}

## Start and installation

{start}

{workloads}
"""


@attrs.frozen
class _Column:
    """A column of a table: its head, and the cell of a client."""

    head: str
    cell: Callable[[Results, str, str], str]


def _seconds(results: Results, workload: str, client: str) -> str:
    requests = _requests(results, workload, client)
    return _spread([each * requests for each in results.rounds(workload, client, "wall")], 2)


def _spread(values: Sequence[float], digits: int) -> str:
    """Write a median, and the least and the most of several values."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"


def _requests(results: Results, workload: str, client: str) -> float:
    return results.workloads[workload][client][0]["requests"]


def _cpu(results: Results, workload: str, client: str) -> str:
    cpu = results.figure(workload, client, "cpu") * _requests(results, workload, client)
    return f"{cpu:.2f}"


def _rate(results: Results, workload: str, client: str) -> str:
    return _spread([1 / each for each in results.rounds(workload, client, "wall")], 0)


def _cpu_1000(results: Results, workload: str, client: str) -> str:
    return f"{results.figure(workload, client, 'cpu') * 1000:.3f}"


def _plain(field: str, digits: int) -> Callable[[Results, str, str], str]:
    return lambda results, workload, client: (
        f"{results.figure(workload, client, field):,.{digits}f}"
    )


def _times(other: str, field: str = "wall") -> Callable[[Results, str, str], str]:
    def cell(results: Results, workload: str, client: str) -> str:
        if other not in results.workloads[workload]:
            return "-"
        return f"{results.ratio(workload, field, other, client):.2f}"

    return cell


_MEMORY = _Column("memory MB", _plain("rss_mb", 1))
_LAG = _Column("max lag ms", _plain("lag_ms", 1))
_SPEED = _Column(f"x {BASELINE}", _times(BASELINE))
_SPEED_PLAIN = _Column(f"x {_PLAIN}", _times(_PLAIN))
_TOTALS = (_Column("wall s", _seconds), _Column("CPU s", _cpu), _MEMORY, _LAG)
_RATES = (_Column("requests/s", _rate), _Column("CPU s/1,000", _cpu_1000), _MEMORY, _LAG)
_COLUMNS = {
    "small": (*_RATES, _SPEED, _SPEED_PLAIN),
    "map": _RATES,
    "save": (*_TOTALS, _SPEED, _SPEED_PLAIN, _Column("x hand-written", _times(_HAND))),
    "upload": (*_TOTALS, _SPEED, _SPEED_PLAIN),
    "stream": (
        _Column("first image ms", _plain("first_ms", 0)),
        *_TOTALS,
        _Column(f"first: x {BASELINE}", _times(BASELINE, "first_ms")),
        _SPEED,
        _SPEED_PLAIN,
    ),
}


def workload_table(results: Results, workload: Workload, *, markdown: bool = False) -> str:
    """Return the table of a workload; "x" is how many times as fast as the other client."""
    columns = _COLUMNS[workload.kind]
    rows = [
        [
            f"**{client}**" if markdown and client == OURS else client,
            *(column.cell(results, workload.name, client) for column in columns),
        ]
        for client in results.workloads[workload.name]
    ]
    return _table("client", [column.head for column in columns], rows, markdown=markdown)


def start_table(results: Results, *, markdown: bool = False) -> str:
    """Return what a start and an installation take."""
    rows = [
        [program, _spread(times, 0), f"{results.start(program):.0f}"]
        for program, times in results.starts.items()
    ]
    text = _table("program", ["ms", "over empty"], rows, markdown=markdown)
    sizes = [
        [client, f"{each['mb']:.1f}", f"{each['distributions']:.0f}"]
        for client, each in results.footprints.items()
    ]
    sizes_text = _table("client", ["MB installed", "distributions"], sizes, markdown=markdown)
    return f"{text}\n\n{sizes_text}"


def judgement(verdicts: Sequence[Verdict], *, markdown: bool = False) -> str:
    """Return the figures that must be reached, and those that were."""
    rows = [
        [
            each.target.text,
            each.bound,
            f"{each.value:.3g} {each.target.unit}",
            "ok" if each.reached else "MISSED",
        ]
        for each in verdicts
    ]
    return _table("figure", ["to be reached", "measured", ""], rows, markdown=markdown)


def _table(
    corner: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool
) -> str:
    return table(corner, [Group("", tuple(heads))], rows, markdown=markdown).lstrip("\n")


def page(results: Results) -> str:
    """Return the page of the documentation."""
    sections = [
        f"## {workload.title}\n\n`--only {name}`\n\n{workload_table(results, workload, markdown=True)}"
        for name, workload in WORKLOADS.items()
        if name in results.workloads
    ]
    return _PAGE.format(
        about=about(results),
        judgement=judgement(Verdict.all_of(results), markdown=True),
        start=start_table(results, markdown=True),
        workloads="\n\n".join(sections),
    )


def about(results: Results) -> str:
    """Say where and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results.about["versions"].items())
    return f"{results.about['day']}, {results.about['machine']}: {versions}."
