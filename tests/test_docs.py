"""The pages under docs/ and the README: their links lead somewhere, their code compiles."""

import pathlib
import re
import sys
import tomllib

import pytest

import floppity_jax as fp
from floppity_jax import config
from floppity_jax.config.reader import Reader
from floppity_jax.config.schema import PoolSection

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
    reader = Reader(ROOT)
    section = reader.section(PoolSection, tomllib.loads(block)["pool"], "pool")
    assert section == PoolSection(workers=4, timeout=60.0)


def test_the_input_file_of_the_docs_is_read(tmp_path, monkeypatch):
    (block,) = _blocks(ROOT / "docs" / "input_files.md", "toml")
    (tmp_path / "planet.toml").write_text(block)
    (tmp_path / "planet.txt").write_text("1.0 0.02 0.001\n1.1 0.03 0.001\n")
    (tmp_path / "my_model.py").write_text("def spectrum(p):\n    return [p['T'], p['T_night']]\n")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    space = config.load(tmp_path / "planet.toml").retrieval.space
    sys.modules.pop("my_model")
    assert (space.names, space.all_names) == (("T", "radius"), ("T", "radius", "log_g", "T_night"))
