"""Listeners for ``ImageSession(on_event=…)``: a log, OpenTelemetry, or several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagesdk.observability._listeners import combine
from imagesdk.observability._logging import log_events

if TYPE_CHECKING:
    from imagesdk.observability._otel import otel_events

__all__ = ("combine", "log_events", "otel_events")


def __getattr__(name: str) -> object:
    """Load the spans on first use: every session loads this package for its log."""
    if name == "otel_events":
        from imagesdk.observability._otel import otel_events

        return otel_events
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
