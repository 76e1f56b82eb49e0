"""The notebooks under docs/: they run from top to bottom, and are kept without output."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


def _code(notebook):
    """Source of the code cells; they hold no magic commands, so that Python alone reads them."""
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_three():
    names = [notebook.stem for notebook in NOTEBOOKS]
    assert names == ["nested_sampling", "own_model", "wasp39b"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_is_kept_as_it_was_before_it_ran(notebook):
    content = json.loads(notebook.read_text())
    assert content["nbformat"] == 4
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(notebook, tmp_path):
    """On small settings, as one program that has no file, as in a notebook."""
    environment = {**os.environ, "FLOPPITY_JAX_SMALL": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", "\n\n".join(_code(notebook))]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "log evidence" in done.stdout or "ln Z" in done.stdout
