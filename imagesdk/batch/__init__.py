"""Many requests from a file: read them, run them, keep what they bring."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagesdk.batch.provider import (
        BatchState,
        Fetched,
        Submitted,
        cancel,
        fetch,
        status,
        submit,
    )
    from imagesdk.client.batches import ServerBatch

__all__ = (
    "BatchState",
    "Fetched",
    "ServerBatch",
    "Submitted",
    "cancel",
    "fetch",
    "status",
    "submit",
)

_HOMES = {"imagesdk.client.batches": ("ServerBatch",)}
_HOME = "imagesdk.batch.provider"


def __getattr__(name: str) -> object:
    """Load a name on first use: importing the package must import nothing heavy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), _HOME)
    return getattr(import_module(home), name)
