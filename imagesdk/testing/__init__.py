"""Tools for testing programs that use this package: a scripted transport and virtual time.

The fixtures for pytest are in `imagesdk.testing.plugin`, which pytest finds by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagesdk.testing.scripted import ScriptedAnswer, ScriptedTransport, SentRequest
    from imagesdk.testing.virtual import virtual_time

__all__ = ("ScriptedAnswer", "ScriptedTransport", "SentRequest", "virtual_time")


def __getattr__(name: str) -> object:
    """Load a tool on first use: the plugin of pytest is in this package, and must load nothing."""
    if name == "virtual_time":
        from imagesdk.testing.virtual import virtual_time

        return virtual_time
    if name in __all__:
        from imagesdk.testing import scripted

        tool: object = getattr(scripted, name)
        return tool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
