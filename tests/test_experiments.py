"""Each experiment of the paper ends in its small setting, and finds what it should."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "experiments").exists():
    pytest.skip("needs the experiments, which only the repository has", allow_module_level=True)


def run(name: str, output: pathlib.Path, *arguments: str) -> dict:
    """Run the small setting of an experiment, and read its results."""
    command = [sys.executable, "-m", f"experiments.{name}.run", "--small", "--workers", "1"]
    command += ["--output", str(output), "--runs", str(output / "runs"), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return json.loads((output / "results.json").read_text())
