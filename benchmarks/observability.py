"""Time what listeners cost a call: nobody, one that does nothing, the log, OpenTelemetry.

Calls go through a scripted transport, so that a call costs nothing but the package's own work.
Prints microseconds of processor time a call, medians over rounds in turn::

    python -m benchmarks.observability
"""

from __future__ import annotations

import asyncio
import base64
import logging
import platform
import statistics
from collections.abc import Callable, Mapping
from time import process_time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from imagesdk import ImageSession
from imagesdk.events import Event
from imagesdk.observability import combine, log_events, otel_events
from imagesdk.testing import ScriptedAnswer, ScriptedTransport

__all__ = ("LISTENERS", "main", "measure")

_ROUNDS = 15
_CALLS = 400
_GOOD = ScriptedAnswer({"data": [{"b64_json": base64.b64encode(b"image").decode()}]})
Listener = Callable[[Event], None]


def _silent_log() -> Listener:
    logger = logging.getLogger("benchmark.silent")
    logger.setLevel(logging.WARNING)
    return log_events(logger)


def _written_log() -> Listener:
    logger = logging.getLogger("benchmark.written")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return log_events(logger)


def _with_sdk() -> Listener:
    return otel_events(tracer_provider=TracerProvider(), meter_provider=MeterProvider())


LISTENERS: Mapping[str, Callable[[], Listener | None]] = {
    "nobody": lambda: None,
    "a function that does nothing": lambda: lambda _: None,
    "two of them, combined": lambda: combine(lambda _: None, lambda _: None),
    "log_events, level WARNING": _silent_log,
    "log_events, level DEBUG, no handler": _written_log,
    "otel_events, OpenTelemetry without SDK": otel_events,
    "otel_events, SDK that exports nothing": _with_sdk,
}


async def _round(listener: Listener | None, calls: int) -> float:
    """Return microseconds of processor time a call."""
    async with ImageSession(
        base_url="http://server/v1",
        images_per_minute=None,
        transport=ScriptedTransport(lambda _: _GOOD),
        on_event=listener,
    ) as images:
        await images.generate("a fox")
        started = process_time()
        for _ in range(calls):
            await images.generate("a fox")
        return (process_time() - started) / calls * 1e6


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return microseconds a call of each round, for each listener; a first round warms up.

    Args:
        rounds: How many, 1 or more.
        calls: Calls in each, one after another, 1 or more.
    """
    listeners = {name: make() for name, make in LISTENERS.items()}
    times: dict[str, list[float]] = {name: [] for name in listeners}
    for _ in range(rounds + 1):
        for name, listener in listeners.items():
            times[name].append(asyncio.run(_round(listener, calls)))
    return {name: each[1:] for name, each in times.items()}


def main() -> None:
    """Measure all listeners and print a table."""
    times = measure(_ROUNDS, _CALLS)
    nobody = statistics.median(times["nobody"])
    print(
        f"Python {platform.python_version()}, {_ROUNDS} rounds of {_CALLS} calls in turn, "
        "microseconds of processor time a call"
    )
    print(f"{'who listens':40} {'median':>7} {'min':>7} {'max':>7} {'over nobody':>12}")
    for name, rounds in times.items():
        median = statistics.median(rounds)
        print(
            f"{name:40} {median:7.1f} {min(rounds):7.1f} {max(rounds):7.1f} {median - nobody:12.1f}"
        )


if __name__ == "__main__":
    main()
