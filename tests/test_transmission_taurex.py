"""The embedded forward model beside TauREx 3, where that is installed."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "experiments/transmission_check"


@pytest.mark.slow
def test_agrees_with_taurex(tmp_path):
    pytest.importorskip("taurex", reason="TauREx 3 is not installed: see " + SCRIPT.name)
    command = [sys.executable, str(SCRIPT / "compare_with_taurex.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True)
    cases = json.loads((tmp_path / "transmission_check.json").read_text())["cases"]
    # The case cut off at 1e-6 bar differs by design (see the README there).
    worst = {
        name: case["max |ours - TauREx| [ppm]"]
        for name, case in cases.items()
        if case["top [bar]"] < 1e-6
    }
    assert len(worst) == 4
    assert max(worst.values()) < 30, worst
