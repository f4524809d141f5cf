"""The engine for a Ray cluster: how it begins, and what it says where it cannot.

What it does with jobs is in tests/conformance/test_engines.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from imagesdk.batch._ray import RayEngine
from imagesdk.batch.worker import WorkerSpec
from imagesdk.errors import ConfigurationError

NOBODY = WorkerSpec(out=Path("out"), base_url="http://127.0.0.1:9/v1")


async def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to get it."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "0")  # they are put back after the test
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[ray\]'"):
        async with RayEngine(NOBODY):
            pass


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_below_one_is_refused(workers: int) -> None:
    """There is somebody who works."""
    with pytest.raises(ConfigurationError, match="workers is"):
        RayEngine(NOBODY, workers=workers)


@pytest.mark.cluster
async def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is an error of the configuration."""
    pytest.importorskip("ray")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(ConfigurationError, match="Ray cannot be reached"):
        async with RayEngine(NOBODY, address="nowhere://127.0.0.1:9"):
            pass
