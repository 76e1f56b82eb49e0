"""The pages under docs/ and the README: their links lead somewhere, their code compiles."""

import pathlib
import re
import tomllib

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax import config

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_pages():
    assert len(PAGES) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text())
    local = ["".join(link) for link in links if "://" not in "".join(link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_compiles_and_names_of_the_package_exist(page):
    for block in _blocks(page, "python"):
        compile(block, page.name, "exec")
        for dotted in re.findall(r"\bfp((?:\.\w+)+)", block):
            found = fp
            for name in dotted.split(".")[1:]:
                found = getattr(found, name)


def test_the_first_simulator_of_the_docs_is_taken():
    block = _blocks(ROOT / "docs" / "simulators.md", "python")[0]
    names = {}
    exec(block, names)
    theta = {"level": 1.0, "depth": 0.3, "centre": 1.5}
    assert names["spectrum"](theta).shape == (names["retrieval"].observation.n_channels,)


def test_the_pool_table_of_the_docs_is_read():
    (block,) = _blocks(ROOT / "docs" / "simulators.md", "toml")
    section = config._read(config.PoolSection, tomllib.loads(block)["pool"], "pool")
    assert section == config.PoolSection(workers=4, timeout=60.0)


def test_the_nested_run_of_the_docs_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = _blocks(ROOT / "docs" / "nested.md", "python")[0]
    names = {}
    exec(block.replace("live_points=400", "live_points=50, progress=False"), names)
    assert (tmp_path / "run" / "nested.nc").exists()
    exact = np.log(0.25)  # the prior's density, for the likelihood integrates to 1
    tree = names["tree"]
    error = tree.attrs["log_evidence_error"]
    assert tree.attrs["log_evidence"] == pytest.approx(exact, abs=4.5 * error)
