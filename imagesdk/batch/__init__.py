"""Many requests from a file: read them, run them, keep what they bring.

Start with `run`; `submit` and `fetch` do the same through the server's own batches. Names are loaded
when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs 10 ms; type checkers know the name
if TYPE_CHECKING:
    from imagesdk.batch._estimate import Estimate, estimate
    from imagesdk.batch._ray import RayEngine
    from imagesdk.batch.engine import Engine
    from imagesdk.batch.launch import run, stop_on_signals
    from imagesdk.batch.limits import Stop
    from imagesdk.batch.prices import PriceTable, read_prices
    from imagesdk.batch.provider import (
        BatchState,
        Fetched,
        Submitted,
        cancel,
        fetch,
        status,
        submit,
    )
    from imagesdk.batch.records import Record
    from imagesdk.batch.runner import Summary
    from imagesdk.batch.worker import WorkerSpec
    from imagesdk.client.batches import ServerBatch

__all__ = (
    "BatchState",
    "Engine",
    "Estimate",
    "Fetched",
    "PriceTable",
    "RayEngine",
    "Record",
    "ServerBatch",
    "Stop",
    "Submitted",
    "Summary",
    "WorkerSpec",
    "cancel",
    "estimate",
    "fetch",
    "read_prices",
    "run",
    "status",
    "stop_on_signals",
    "submit",
)

_HOMES = {
    "Engine": "batch.engine",
    "Estimate": "batch._estimate",
    "PriceTable": "batch.prices",
    "RayEngine": "batch._ray",
    "Record": "batch.records",
    "ServerBatch": "client.batches",
    "Stop": "batch.limits",
    "Summary": "batch.runner",
    "WorkerSpec": "batch.worker",
    "estimate": "batch._estimate",
    "read_prices": "batch.prices",
    "run": "batch.launch",
    "stop_on_signals": "batch.launch",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'imagesdk.batch' has no attribute {name!r}")
    home = _HOMES.get(name, "batch.provider")
    value: object = getattr(import_module(f"imagesdk.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
