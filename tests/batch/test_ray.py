"""The engine for a Ray cluster: how it begins, and what it says where it cannot.

What it does with jobs is in tests/conformance/test_engines.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagesdk.batch._ray import RayEngine
from imagesdk.batch.worker import WorkerSpec
from imagesdk.errors import ConfigurationError
from tests.conftest import missing

NOBODY = WorkerSpec(out=Path("out"), base_url="http://127.0.0.1:9/v1")


async def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to get it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what is set for Ray ends with the test
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[ray\]'"):
        async with RayEngine(NOBODY):
            pass


@pytest.fixture
def ray_is_here() -> None:
    """Ray is installed; where servers must be there, its lack is a failure."""
    if find_spec("ray") is None:
        missing("Ray", "imagesdk[ray]")


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_below_one_is_refused(workers: int) -> None:
    """There is somebody who works."""
    with pytest.raises(ConfigurationError, match="workers is"):
        RayEngine(NOBODY, workers=workers)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_is_here")
async def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is an error of the configuration."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(ConfigurationError, match="Ray cannot be reached"):
        async with RayEngine(NOBODY, address="nowhere://127.0.0.1:9"):
            pass


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_is_here")
def test_the_example_makes_its_images(tmp_path: Path) -> None:
    """examples/batch_on_ray.py starts a Ray, makes twelve images with two workers, and leaves no process."""
    example = Path(__file__).parents[2] / "examples" / "batch_on_ray.py"
    serve = [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0", "--"]
    done = subprocess.run(
        [*serve, sys.executable, str(example)],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"^out/(\S+\.png) now$", done.stdout, re.MULTILINE)
    assert sorted(printed) == sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(printed) == 12
    assert done.stdout.endswith("12 images now, 0 requests were done before\n")
    lines = done.stderr.splitlines()  # the server's own; Ray says nothing
    assert all(re.match(r"(GET|POST) /v1/images/", line) for line in lines), done.stderr
