from __future__ import annotations

import os
import re

import pytest

from benchmarks import emulator


def test_a_quick_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row has its figure, and the process may use all its cores again."""
    cores = os.sched_getaffinity(0)
    assert emulator.main(["--quick"]) == 0
    assert os.sched_getaffinity(0) == cores
    figures = re.findall(
        r" ([\d.]+) \([\d.]+ to [\d.]+\) (s|pictures/s)$", capsys.readouterr().out, re.MULTILINE
    )
    assert [unit for _, unit in figures] == ["s"] * 2 + ["pictures/s"] * 4
    assert all(float(figure) > 0 for figure, _ in figures)
