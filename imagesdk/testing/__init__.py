"""Tools for testing programs that use this package: a scripted transport and virtual time."""

from __future__ import annotations

from imagesdk.testing.scripted import ScriptedAnswer, ScriptedTransport, SentRequest
from imagesdk.testing.virtual import virtual_time

__all__ = ("ScriptedAnswer", "ScriptedTransport", "SentRequest", "virtual_time")
