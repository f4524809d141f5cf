"""Measure imagesdk beside AsyncOpenAI, LiteLLM, plain aiohttp, a hand-written loop and a raw socket.

Every measurement is a fresh process of one client, against a server in another process that is not
the bottleneck; the clients take turns, and figures are medians of the rounds. Prints a table for
each workload, and ends with status 1 if a figure that must be reached was missed::

    python -m benchmarks                                     # everything; 40 minutes to an hour, most of it the peers
    python -m benchmarks --quick                             # a smoke test, about a minute
    python -m benchmarks --only small-32,save-1x20mb-32 --rounds 5
    python -m benchmarks --render results.json --markdown docs/benchmarks.md --svg docs/benchmarks.svg

It needs Linux, the ``dev`` extra, and a few GB of memory; a workload that may take more than is free is
left out. LiteLLM needs an older openai, so it is run by an interpreter of its own: ``python -m venv
.litellm && .litellm/bin/pip install litellm``, then ``--litellm .litellm/bin/python``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import _peers_report as report, import_time
from benchmarks._peers_picture import draw
from benchmarks._peers_results import Results, Verdict
from benchmarks._peers_runs import Runner, available_bytes, run_python
from benchmarks._peers_workloads import WORKLOADS

__all__ = ("main",)

_START = "start"
_ROUNDS = 3
_DECIDING_ROUNDS = 5
_START_ROUNDS = 11
_PACKAGES = ("imagesdk", "openai", "aiohttp", "pybase64", "msgspec")
_QUICK = ("small-8", "save-1x1mb-8", "upload-1x4mb-8-path", "stream-8", _START)
_DISTRIBUTIONS = {"imagesdk": "imagesdk", "AsyncOpenAI": "openai", "aiohttp script": "aiohttp"}
_IMPORT_LITELLM = (  # without the download that it begins with otherwise
    "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm"
)
_NO_LITELLM = (
    "LiteLLM is left out: python -m venv .litellm && .litellm/bin/pip install litellm, "
    "then --litellm .litellm/bin/python"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options select, print it, and return the exit status."""
    options = _options(arguments)
    if options.list:
        for name, workload in WORKLOADS.items():
            print(f"{name:28} {workload.title}")
        print(f"{_START:28} Import times and what an installation takes")
        return 0
    if options.render:
        results = Results.read(options.render)
    else:
        results = _measure(options)
        if verdicts := Verdict.all_of(results):
            print("", report.judgement(verdicts), sep="\n")
        print(*results.failures, sep="\n")
    if options.svg:
        options.svg.write_text(draw(results))
    if options.markdown:
        options.markdown.write_text(report.page(results))
    reached = all(verdict.reached for verdict in Verdict.all_of(results))
    return 0 if reached and not results.failures else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", type=_names, metavar="NAME[,NAME]", help="these workloads; see --list")
    add(
        "--rounds",
        type=_positive,
        help=f"instead of {_ROUNDS}, and {_DECIDING_ROUNDS} where it counts",
    )
    add("--quick", action="store_true", help="one round of a few workloads")
    add("--list", action="store_true", help="name the workloads, and measure nothing")
    add("--litellm", metavar="PYTHON", help="an interpreter that has LiteLLM")
    add("--json", type=Path, metavar="FILE", help="write what was measured")
    add("--svg", type=Path, metavar="FILE", help="write a picture of it")
    add("--markdown", type=Path, metavar="FILE", help="write a page of it")
    add(
        "--render", type=Path, metavar="FILE", help="measure nothing, read such a JSON file instead"
    )
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := {*names} - {*WORKLOADS, _START}:
        raise argparse.ArgumentTypeError(f"no workload {', '.join(sorted(unknown))}: see --list")
    return names


def _positive(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"{rounds} rounds; it must be 1 or more")
    return rounds


def _measure(options: argparse.Namespace) -> Results:
    """Run the workloads, and print the table of each when it is there."""
    names = options.only or (_QUICK if options.quick else [*WORKLOADS, _START])
    results = Results(about=_about(options.litellm))
    print(report.about(results))
    if not options.litellm:
        print(_NO_LITELLM)
    started = perf_counter()

    def tell(line: str) -> None:
        print(f"[{perf_counter() - started:5.0f} s] {line}", file=sys.stderr, flush=True)

    with Runner.start(options.litellm) as runner:
        for name, workload in WORKLOADS.items():
            if name not in names:
                continue
            if (free := available_bytes()) < workload.memory_bytes:
                most = f"it may take {workload.memory_bytes / 1e9:.1f} GB of memory"
                print(f"\n{name} is left out: {most}, and {free / 1e9:.1f} GB are free", flush=True)
                continue
            usual = _DECIDING_ROUNDS if workload.decides else _ROUNDS
            rounds = options.rounds or (1 if options.quick else usual)
            results.workloads[name] = runner.run(workload, rounds, tell)
            results.failures += runner.failures
            print(f"\n{workload.title}\n{report.workload_table(results, workload)}", flush=True)
            if options.json:  # what is there, if it is interrupted
                results.write(options.json)
    if _START in names:
        tell("import times and installations")
        _measure_start(results, options.litellm, 1 if options.quick else _START_ROUNDS)
        print(f"\n{report.start_table(results)}")
    if options.json:
        results.write(options.json)
    print(f"\nIt took {perf_counter() - started:.0f} s.")
    return results


def _measure_start(results: Results, litellm: str | None, rounds: int) -> None:
    programs = {name: (sys.executable, each) for name, each in import_time.PROGRAMS.items()}
    programs["AsyncOpenAI"] = (
        sys.executable,
        "from openai import AsyncOpenAI; AsyncOpenAI(api_key='x')",
    )
    distributions = {name: (sys.executable, each) for name, each in _DISTRIBUTIONS.items()}
    if litellm:
        programs["import litellm"] = (litellm, _IMPORT_LITELLM)
        distributions["LiteLLM"] = (litellm, "litellm")
    results.starts = import_time.measure(programs, rounds)
    for name, (interpreter, distribution) in distributions.items():
        printed = run_python(interpreter, "-m", "benchmarks._peers_footprint", distribution)
        results.footprints[name] = json.loads(printed)


def _about(litellm: str | None) -> dict[str, Any]:
    versions = {"Python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    if litellm:
        program = "from importlib.metadata import version; print(version('litellm'))"
        versions["LiteLLM"] = run_python(litellm, "-c", program)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return {"day": today, "machine": machine, "versions": versions}


if __name__ == "__main__":
    sys.exit(main())
