"""Time ``import imagesdk`` as a whole process, in turn with an empty interpreter and with aiohttp.

Prints medians over the rounds and the difference to the empty interpreter, in milliseconds.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from time import perf_counter

_ROUNDS = 15
_PROGRAMS = {
    "empty interpreter": "pass",
    "import imagesdk": "import imagesdk",
    "from imagesdk import ImageSession": "from imagesdk import ImageSession",
    "a session, aiohttp included": "from imagesdk import ImageSession; ImageSession(api_key='x')",
    "import aiohttp": "import aiohttp",
}


def _run_ms(program: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own programs
    return (perf_counter() - started) * 1000


def main() -> None:
    """Run all programs in turn and print a table."""
    times: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for _ in range(_ROUNDS + 1):  # the first round fills the caches
        for name, program in _PROGRAMS.items():
            times[name].append(_run_ms(program))
    empty = statistics.median(times["empty interpreter"][1:])
    print(f"Python {platform.python_version()}, {_ROUNDS} rounds in turn, milliseconds")
    print(f"{'program':36} {'median':>7} {'min':>7} {'max':>7} {'over empty':>11}")
    for name, all_rounds in times.items():
        rounds = all_rounds[1:]
        median = statistics.median(rounds)
        print(
            f"{name:36} {median:7.1f} {min(rounds):7.1f} {max(rounds):7.1f} {median - empty:11.1f}"
        )


if __name__ == "__main__":
    main()
