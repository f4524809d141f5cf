"""Simulate rate limits: our client and three others, against servers that count in many ways.

The real limiter, retry policy and pipeline run in virtual time, behind a network with delays and
faults: ``_sim_servers`` says how the servers count, ``_sim_network`` what they answer, ``_sim_peers`` how the
others are set up, ``_sim_loads`` what is asked of them, ``_sim_scenarios`` what is to be reached.

Prints what was admitted in an hour in per cent of what the server permits to a perfect client, the
number of 429, and the images that were lost for good; the waits of interactive loads; the time of an
acquire that waits for nothing. Ends with status 1 if our client missed a target.

- Figures are means of three seeds. AsyncOpenAI's batches have one, and so has n=1 at a limit of 500.
  "~" marks counts that are six times those of 10 minutes: there it sends 120,000 requests an hour.
- The list of a batch never ends: a client that gives calls up takes the next ones, and goes on losing.
- Only imagesdk is told "auto" where the limit is 500; the others are told 50, and AsyncOpenAI nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from time import perf_counter

from benchmarks._sim_loads import LOADS, Load, Measured
from benchmarks._sim_report import Results
from benchmarks._sim_scenarios import CONTENDERS, OURS, SCENARIOS, Run, simulate
from benchmarks._sim_tables import Printer

__all__ = ("main",)

_HOUR = 3600.0
_QUICK = 600.0
_SEEDS = 3
_INTERACTIVE_SERVERS = ("sliding", "bucket")
_PACKAGES = ("imagesdk", "openai", "aiolimiter", "pyrate-limiter", "tenacity")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options select, print it, and return the exit status."""
    options = _options(arguments)
    chosen: list[str] = options.scenario or [*SCENARIOS, *LOADS, "micro"]
    contenders: list[str] = options.only or [*CONTENDERS]
    seeds: int = options.seeds or (1 if options.quick else _SEEDS)
    seconds = _QUICK if options.quick else _HOUR
    started = perf_counter()
    runs = _plan(chosen, contenders, range(options.first_seed, options.first_seed + seeds), seconds)
    printer = Printer(
        Results(_carry_out(runs, options.workers)), contenders, markdown=options.markdown
    )
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores\n"
        + ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
        + f"\n{len(runs)} runs of {seconds / 60:g} virtual minutes took {perf_counter() - started:.0f} s"
    )
    if batches := [name for name in chosen if name in SCENARIOS]:
        printer.batches(batches)
    if loads := [load for load in LOADS if load in chosen]:
        printer.waits(loads, _INTERACTIVE_SERVERS)
    if "micro" in chosen:
        printer.micro()
    if options.refusals:
        printer.refusals()
    printer.judgement()
    return 1 if printer.verdicts.missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limiter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="10 virtual minutes, 1 seed; a token bucket's targets cannot be reached in them",
    )
    add("--seeds", type=int, help=f"instead of {_SEEDS}")
    add(
        "--first-seed",
        type=int,
        default=1,
        help="others than those that the limiter was tuned with",
    )
    names = [*SCENARIOS, *LOADS, "micro"]
    add("--scenario", action="append", choices=names, help="only this one; may be repeated")
    add("--only", action="append", choices=CONTENDERS, help="this client; may be repeated")
    add("--workers", type=int, default=os.cpu_count(), help="processes; 1 for this one")
    add("--refusals", action="store_true", help="list the 429 that imagesdk got")
    add("--markdown", action="store_true", help="tables for the documentation")
    return parser.parse_args(arguments)


def _plan(
    chosen: Iterable[str], contenders: Sequence[str], seeds: Sequence[int], seconds: float
) -> list[Run]:
    """Return the runs, those that take longest first."""
    pairs: list[tuple[str, Load]] = []
    for name in chosen:
        if name in SCENARIOS:
            pairs += [(name, "mixed"), (name, "single")]
        pairs += [
            (server, load) for load in LOADS if load == name for server in _INTERACTIVE_SERVERS
        ]
    runs = [
        Run(
            scenario=scenario,
            load=load,
            contender=contender,
            seed=seed,
            seconds=_shortened(scenario, contender, seconds),
        )
        for scenario, load in pairs
        for contender in contenders
        if load != "single" or contender == OURS
        for seed in seeds[: 1 if _is_long(scenario, load, contender) else None]
    ]
    return sorted(runs, key=_effort, reverse=True)


def _is_long(scenario: str, load: Load, contender: str) -> bool:
    """Say which runs are made with one seed: tens of thousands of requests each."""
    return (contender == "AsyncOpenAI" and load == "mixed") or (
        scenario == "real500" and load == "single"
    )


def _shortened(scenario: str, contender: str, seconds: float) -> float:
    """Cut runs short in which AsyncOpenAI, told nothing, sends dozens of requests a second."""
    busy = contender == "AsyncOpenAI" and not SCENARIOS[scenario].hints
    return min(seconds, _QUICK) if busy else seconds


def _effort(run: Run) -> float:
    """Guess how long a run takes, in some unit."""
    effort = {"AsyncOpenAI": 8.0, OURS: 1.0}.get(run.contender, 0.3)
    if run.load == "single":
        effort *= 4.0
    return effort * (6.0 if run.scenario == "real500" else 1.0)


def _carry_out(runs: Sequence[Run], workers: int | None) -> dict[Run, Measured]:
    """Run all in parallel; progress goes to stderr."""
    if workers == 1:
        return {run: simulate(run) for run in runs}
    results: dict[Run, Measured] = {}
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(simulate, run): run for run in runs}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                print(f"\r{len(results)}/{len(runs)} runs", end="", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            print(file=sys.stderr)
    return {run: results[run] for run in runs}


if __name__ == "__main__":
    sys.exit(main())
