"""The pages under docs/ and the README: they build, their links lead on, their code compiles."""

import pathlib
import re
import subprocess
import sys
import tomllib
import types

import pytest

import floppity_jax as fp
from floppity_jax import config, plots, report, simulators

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted({*DOCS.rglob("*.md")} - {*DOCS.glob("_build/**")})]


def _blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_pages():
    assert len(PAGES) > 5


def _anchors(page):
    """What the headings of a page are reached by."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    lost = []
    for link in map("".join, re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", page.read_text())):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        found = target.exists() and (not anchor or anchor in _anchors(target))
        if "://" not in link and not found:
            lost.append(link)
    assert lost == []


def test_the_pages_build(tmp_path):
    """Without a warning: every page is in the contents, every reference and docstring is read."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", DOCS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api" / "retrieval.html").read_text()
    assert "Run the rounds and return the posterior" in page


@pytest.mark.parametrize("module", [fp, simulators, plots, report], ids=lambda m: m.__name__)
def test_every_public_name_is_in_the_reference(module):
    reference = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"auto\w+:: ([\w.]+)", reference))
    public = {name: getattr(module, name) for name in module.__all__}
    for name, value in public.items():
        assert value.__doc__
        assert isinstance(value, types.ModuleType) or f"{module.__name__}.{name}" in documented


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
