"""Time ``import imagesdk`` as a whole process, in turn with an empty interpreter and with aiohttp.

Prints medians over the rounds and the difference to the empty interpreter, in milliseconds.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from time import perf_counter

__all__ = ("PROGRAMS", "main", "measure")

_ROUNDS = 15
PROGRAMS = {
    "empty interpreter": "pass",
    "import imagesdk": "import imagesdk",
    "from imagesdk import ImageSession": "from imagesdk import ImageSession",
    "a session, aiohttp included": "from imagesdk import ImageSession; ImageSession(api_key='x')",
    "import aiohttp": "import aiohttp",
}


def measure(programs: Mapping[str, tuple[str, str]], rounds: int) -> dict[str, list[float]]:
    """Run programs in turn; return the milliseconds of each round.

    Args:
        programs: For each name an interpreter and what it runs.
        rounds: How many, beside a first one that fills the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds + 1):
        for name, (interpreter, program) in programs.items():
            times[name].append(_run_ms(interpreter, program))
    return {name: each[1:] for name, each in times.items()}


def _run_ms(interpreter: str, program: str) -> float:
    # Else what has changed since it was last compiled is compiled anew in every round.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = perf_counter()
    subprocess.run([interpreter, "-c", program], check=True, env=environment)  # noqa: S603 - our own programs
    return (perf_counter() - started) * 1000


def main() -> None:
    """Run all programs in turn and print a table."""
    times = measure({name: (sys.executable, each) for name, each in PROGRAMS.items()}, _ROUNDS)
    empty = statistics.median(times["empty interpreter"])
    print(f"Python {platform.python_version()}, {_ROUNDS} rounds in turn, milliseconds")
    print(f"{'program':36} {'median':>7} {'min':>7} {'max':>7} {'over empty':>11}")
    for name, rounds in times.items():
        median = statistics.median(rounds)
        print(
            f"{name:36} {median:7.1f} {min(rounds):7.1f} {max(rounds):7.1f} {median - empty:11.1f}"
        )


if __name__ == "__main__":
    main()
