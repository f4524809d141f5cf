"""A local server of the Images API, written from the API documents and from nothing else here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagesdk.emulator.batches import BatchPlan
    from imagesdk.emulator.server import EmulatorServer

__all__ = ("BatchPlan", "EmulatorServer")


def __getattr__(name: str) -> object:
    """Load the server on first use: importing the package must not import aiohttp."""
    if name == "EmulatorServer":
        try:
            from imagesdk.emulator.server import EmulatorServer
        except ModuleNotFoundError as error:
            if error.name != "PIL":
                raise
            advice = "the emulator needs Pillow: python -m pip install 'imagesdk[emulator]'"
            raise ModuleNotFoundError(advice, name="PIL") from error

        return EmulatorServer
    if name == "BatchPlan":
        from imagesdk.emulator.batches import BatchPlan

        return BatchPlan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
