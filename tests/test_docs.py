"""The pages under docs/ and the README: they build, their links lead on, their code compiles."""

import inspect
import pathlib
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax import cli, config, instrument, plots, report, simulators
from floppity_jax.config.reader import Reader
from floppity_jax.config.schema import PoolSection
from floppity_jax.features import fit_features, project

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


MODULES = [fp, instrument, simulators, plots, report]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module):
    reference = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    names = re.findall(r"auto(?:class|exception|function):: ([\w.]+)\.(\w+)", reference)
    documented = [pkgutil.resolve_name(f"{home}:{name}") for home, name in names]
    for value in (getattr(module, name) for name in module.__all__):
        assert value.__doc__
        assert isinstance(value, types.ModuleType) or value in documented, value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_compiles_and_names_of_the_package_exist(page):
    for block in _blocks(page, "python"):
        compile(block, page.name, "exec")
    for dotted in re.findall(r"\b(?:fp|floppity_jax)((?:\.[a-zA-Z]\w*)+)", page.read_text()):
        pkgutil.resolve_name(f"floppity_jax{dotted}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page):
    named = re.findall(r"\b(FlowConfig|TrainingConfig|Pool)\(([^()]+)\)", page.read_text())
    for name, arguments in named:
        known = inspect.signature(getattr(fp, name)).parameters
        assert set(re.findall(r"(\w+)=", arguments)) <= set(known)


def _rows():
    """FlopPITy's feature, ours, and the test of each row of the feature table."""
    rows = re.findall(r"^\|(.*)\|(.*)\|(.*)\|$", (DOCS / "features.md").read_text(), re.MULTILINE)
    rows = [[cell.strip() for cell in row] for row in rows]
    return [row for row in rows if row[0] != "FlopPITy 0.5" and set(row[0]) != {"-"}]


def test_each_row_of_the_feature_table_names_a_test_that_exists():
    assert len(_rows()) > 40
    for _, ours, test in _rows():
        if test or not ours.startswith(("no", "not yet")):
            name, file, function, link = re.fullmatch(
                r"\[((tests/\w+\.py)::(\w+))\]\((.*)\)", test
            ).groups()
            assert link == f"../{file}", name
            assert f"def {function}(" in (ROOT / file).read_text(), name


def test_spectra_of_any_size_and_sign():
    """An emission spectrum in W/m2/um, some of it negative, is what it is in other units."""
    rng = np.random.default_rng(0)
    spectra = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 30))
    observations = [
        fp.Observation(unit * spectra[0], np.full(30, 0.1 * unit)) for unit in (1, 1e-15)
    ]
    assert observations[1].values.min() < 0
    large, small = (
        project(fit_features(unit * spectra, observation, 8), unit * spectra)
        for unit, observation in zip((1, 1e-15), observations, strict=True)
    )
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-4)


def _run_blocks(page, names):
    """Run the code of a page but for retrievals, which take a minute."""
    for block in _blocks(page, "python"):
        if ".run(" not in block and "read_nested(" not in block:
            exec(compile(block, page.name, "exec"), names)
    return names


def test_the_first_steps_run(tmp_path, monkeypatch):
    """A model, its observation and its input file are put together as the page says."""
    page = DOCS / "own_model.md"
    (tmp_path / "slab.py").write_text(_blocks(page, "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    retrieval = _run_blocks(page, {"__name__": "docs"})["retrieval"]
    seen = retrieval.observation
    np.savetxt(tmp_path / "mine.txt", np.transpose([seen.wavelength, seen.values, seen.errors]))
    (toml,) = _blocks(page, "toml")
    (tmp_path / "slab.toml").write_text(toml)
    assert config.load(tmp_path / "slab.toml").retrieval.space.names == retrieval.space.names

    page = DOCS / "first_retrieval.md"
    names = _run_blocks(page, {"__name__": "docs"})
    shutil.copy(names["data"], tmp_path / "mine.csv")
    (toml,) = _blocks(page, "toml")
    (tmp_path / "mine.toml").write_text(toml)
    assert config.load(tmp_path / "mine.toml").retrieval.space.names == (
        "T", "X_H2O", "X_CO2", "radius",
    )  # fmt: skip


def test_the_page_on_instruments_is_one_retrieval(tmp_path, monkeypatch):
    """In Python and as an input file; on a grid of the model too."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "instruments.md"
    assert cli.main(["init", "--code", "instruments", "two.toml"]) == 0
    whole, grid = _blocks(page, "toml")
    setups = []
    for text in (whole, whole + grid):
        (tmp_path / "page.toml").write_text(text)
        setups.append(config.load("page.toml").retrieval)
    names = _run_blocks(page, {"__name__": "docs"})
    ours = names["retrieval"].describe([1], 0)
    assert {**setups[0].describe([1], 0), "flow": 0} == {**ours, "flow": 0}
    step = names["instrument"].steps["nirspec"][0]
    assert step in setups[1].measurement.instrument.steps["nirspec"]


def test_a_likelihood_for_multinest_becomes_a_retrieval():
    names = _run_blocks(DOCS / "from_multinest.md", {"__name__": "docs"})
    theta = [900.0, -6.0]
    spectrum = names["retrieval"].simulator(dict(zip(["T", "log_X"], theta, strict=True)))[None]
    observation = names["retrieval"].observation
    constant = np.log(2 * np.pi * observation.errors**2).sum() / 2
    measurement = names["retrieval"].measurement
    ours = measurement.log_likelihood(spectrum, np.array([theta])).sum() + constant
    np.testing.assert_allclose(names["log_likelihood"](theta, 2, 2), ours, rtol=1e-9)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_package_are_taken(page):
    for block in _blocks(page, "sh"):
        for line in re.findall(r"^floppity-jax (.+)$", block, re.MULTILINE):
            cli._parser().parse_args(shlex.split(line, comments=True))


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
