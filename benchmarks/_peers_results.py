"""The results of ``python -m benchmarks``: what was measured, its medians, and the figures to be reached."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from benchmarks._peers_runs import Rounds
from benchmarks._peers_workloads import BASELINE, OURS

__all__ = ("TARGETS", "Results", "Target", "Verdict")


@attrs.define(kw_only=True)
class Results:
    """Everything that was measured, as it is written to the JSON file.

    Attributes:
        about: The machine, the versions, the day.
        workloads: What each round measured, by workload and client.
        starts: Milliseconds of each round, by program.
        footprints: ``mb`` and ``distributions``, by client.
        failures: What clients ended with that could not do their work.
    """

    about: dict[str, Any]
    workloads: dict[str, Rounds] = attrs.field(factory=dict)
    starts: dict[str, list[float]] = attrs.field(factory=dict)
    footprints: dict[str, dict[str, float]] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read them from a file."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Write them to a file."""
        path.write_text(json.dumps(attrs.asdict(self), indent=1) + "\n")

    def rounds(self, workload: str, client: str, field: str) -> list[float]:
        """Return what the rounds measured; times are those of one request.

        Raises:
            KeyError: It was not measured.
        """
        measured = self.workloads[workload][client]
        if field in ("wall", "cpu"):
            return [each[field] / each["requests"] for each in measured]
        return [each[field] for each in measured]

    def figure(self, workload: str, client: str, field: str) -> float:
        """Return the median of `rounds`."""
        return statistics.median(self.rounds(workload, client, field))

    def ratio(self, workload: str, field: str, client: str, to: str) -> float:
        """Return the figure of one client in parts of another's."""
        return self.figure(workload, client, field) / self.figure(workload, to, field)

    def start(self, program: str) -> float:
        """Return the median milliseconds of a program above those of an empty interpreter."""
        empty = statistics.median(self.starts["empty interpreter"])
        return statistics.median(self.starts[program]) - empty


@attrs.frozen
class Target:
    """A figure that must be reached.

    Attributes:
        text: What is judged.
        read: Takes it from the results.
        least: It must be at least this.
        most: It must be at most this.
        aim: What prototypes reached in a good run; None for the bound itself.
        unit: Of all of these.
    """

    text: str
    read: Callable[[Results], float]
    least: float = -math.inf
    most: float = math.inf
    aim: float | None = None
    unit: str = "x"


@attrs.frozen
class Verdict:
    """A target and what was reached."""

    target: Target
    value: float

    @property
    def reached(self) -> bool:
        """Say whether the target was reached."""
        return self.target.least <= self.value <= self.target.most

    @property
    def bound(self) -> str:
        """Say what was to be reached."""
        target = self.target
        words, value = (
            ("at least", target.least) if target.most == math.inf else ("at most", target.most)
        )
        aim = "" if target.aim is None else f" (aim {target.aim:.3g})"
        return f"{words} {value:.3g} {target.unit}{aim}"

    @classmethod
    def all_of(cls, results: Results) -> list[Verdict]:
        """Judge what was measured; what was not is left out."""
        verdicts = []
        for target in TARGETS:
            try:
                verdicts.append(cls(target, target.read(results)))
            except KeyError:
                continue
        return verdicts


def _speed(workload: str, to: str) -> Callable[[Results], float]:
    return lambda results: results.ratio(workload, "wall", to, OURS)


def _part(workload: str, field: str, to: str) -> Callable[[Results], float]:
    return lambda results: results.ratio(workload, field, OURS, to)


def _figure(workload: str, field: str) -> Callable[[Results], float]:
    return lambda results: results.figure(workload, OURS, field)


def _start(program: str) -> Callable[[Results], float]:
    return lambda results: results.start(program)


_SMALL = "small JSON, 32 in flight:"
_BIG = "32 answers of one 20 MB image to disk:"
_FOUR = "8 answers of 4 x 20 MB to disk:"
_UPLOADS = "32 uploads of 4 MB from path:"
_UPLOAD = "one upload of 16 x 20 MB from path:"
_STREAMS = "32 streams of 2 MB partial images:"
_HAND, _PLAIN = "hand-written loop", "aiohttp script"
TARGETS: Sequence[Target] = (
    Target(f"{_SMALL} speed over {BASELINE}'s", _speed("small-32", BASELINE), least=4, aim=5),
    Target(
        f"{_SMALL} speed over the plain script's", _speed("small-32", _PLAIN), least=0.6, aim=0.75
    ),
    Target(f"{_BIG} speed over {BASELINE}'s", _speed("save-1x20mb-32", BASELINE), least=3, aim=6),
    Target(
        f"{_BIG} CPU over {BASELINE}'s",
        _part("save-1x20mb-32", "cpu", BASELINE),
        most=1 / 3.5,
        aim=1 / 6,
    ),
    Target(
        f"{_BIG} time over the hand-written loop's",
        _part("save-1x20mb-32", "wall", _HAND),
        most=1.3,
    ),
    Target(f"{_BIG} memory growth", _figure("save-1x20mb-32", "rss_mb"), most=40, unit="MB"),
    Target(f"{_BIG} maximum loop lag", _figure("save-1x20mb-32", "lag_ms"), most=50, unit="ms"),
    Target(f"{_FOUR} memory growth", _figure("save-4x20mb-8", "rss_mb"), most=20, unit="MB"),
    Target(
        f"{_UPLOADS} memory growth", _figure("upload-1x4mb-32-path", "rss_mb"), most=20, unit="MB"
    ),
    Target(
        f"{_UPLOAD} memory growth", _figure("upload-16x20mb-1-path", "rss_mb"), most=4, unit="MB"
    ),
    Target(
        f"{_UPLOAD} maximum loop lag", _figure("upload-16x20mb-1-path", "lag_ms"), most=5, unit="ms"
    ),
    Target(
        f"{_STREAMS} time to the first over {BASELINE}'s",
        _part("stream-32", "first_ms", BASELINE),
        most=1 / 3,
        aim=1 / 5,
    ),
    Target(f"{_STREAMS} CPU over {BASELINE}'s", _part("stream-32", "cpu", BASELINE), most=1 / 3),
    Target("import imagesdk", _start("import imagesdk"), most=30, unit="ms"),
    Target(
        "first session, aiohttp included",
        _start("a session, aiohttp included"),
        most=350,
        unit="ms",
    ),
    Target(
        "100,000 requests through map: memory growth", _figure("map", "rss_mb"), most=20, unit="MB"
    ),
)
