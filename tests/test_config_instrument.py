"""Input files with several datasets, an instrument and the grid of a model."""

import re
import stat
import sys
import types

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax import cli, config, instrument
from floppity_jax.channels import edges_of
from floppity_jax.config import steps
from floppity_jax.errors import InvalidFile
from floppity_jax.instrument.binning import binning
from floppity_jax.simulate import simulate

MODEL = """
import numpy as np

def spectrum(p):
    assert set(p) == {"level", "slope"}
    wavelength = np.concatenate([np.linspace(1, 2, 20), np.linspace(1.9, 3, 12)])
    return p["level"] + p["slope"] * wavelength

def on_grid(p):
    assert set(p) == {"level", "slope"}
    return p["level"] + p["slope"] * np.geomspace(0.8, 3.5, 1477)
"""
SETUP = """
[observations.blue]
file = "blue/spectrum.txt"
unit = "mJy"

[observations."red 1.2"]
file = "red/spectrum.txt"
unit = "mJy"

[simulator]
name = "two_models:spectrum"

[parameters]
level = [0.0, 1.0]
slope = [-2.0, 2.0]
shift = { law = "Normal", mean = 0, sd = 0.3 }
f = { law = "LogUniform", low = 0.5, high = 4 }

[[instrument."red 1.2"]]
step = "Offset"
value = "shift"

[[instrument."red 1.2"]]
step = "CorrelatedNoise"
amplitude = 0.01
length = 0.5

[[instrument."*"]]
step = "ErrorFactor"
factor = "f"

[run]
rounds = 1
simulations = 200
"""
GRID = """
[model_grid]
low = 0.8
high = 3.5
R = 1000
"""
RESOLUTION = """
[[instrument.blue]]
step = "Resolution"
table = [[1.0, 2.0], [100, 150.0]]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name, low, high, n in (("blue", 1, 2, 20), ("red", 1.9, 3, 12)):
        (tmp_path / name).mkdir()
        x = np.linspace(low, high, n)
        np.savetxt(tmp_path / name / "spectrum.txt", np.stack([x, 0.5 + 0 * x, 0.1 + 0 * x], 1))
    (tmp_path / "two_models.py").write_text(MODEL)
    (tmp_path / "setup.toml").write_text(SETUP)
    yield tmp_path
    sys.modules.pop("two_models", None)


def _edited(folder, *changes):
    text = SETUP
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "setup.toml").write_text(text)
    return folder / "setup.toml"


# -- what is read ------------------------------------------------------------------------------


def test_datasets_and_steps_reach_the_retrieval(folder):
    setup = config.load(folder / "setup.toml")
    retrieval = setup.retrieval
    assert [(part.name, part.n_channels) for part in retrieval.observation.parts] == [
        ("blue", 20), ("red 1.2", 12),
    ]  # fmt: skip
    assert retrieval.measurement.instrument.steps == {
        "red 1.2": (instrument.Offset("shift"), instrument.CorrelatedNoise(0.01, 0.5)),
        "*": (instrument.ErrorFactor("f"),),
    }
    assert retrieval.measurement.simulator_names == ("level", "slope")
    spectra = retrieval.simulator({"level": 0.5, "slope": 0.0})
    assert spectra.shape == (32,)


def test_the_run_directory_keeps_all_spectra(folder):
    setup = config.load(folder / "setup.toml", {"run.seed": 4})
    setup.keep(folder / "run")
    for name in ("blue", "red"):
        (folder / name / "spectrum.txt").unlink()
    again = config.load(folder / "run" / "config.toml")
    assert again.text == setup.text
    assert again.retrieval.describe([200], 4) == setup.retrieval.describe([200], 4)
    assert again.retrieval.observation.n_channels == 32


def test_a_list_of_steps_is_for_all_datasets(folder):
    text = re.sub(r'\[\[instrument\."red 1.2"\]\]\n(.+\n)+\n', "", SETUP)
    text = text.replace('[[instrument."*"]]', "[[instrument]]")
    (folder / "setup.toml").write_text(re.sub("shift = .*\n", "", text))
    measurement = config.load(folder / "setup.toml").retrieval.measurement
    assert measurement.instrument.steps == {"*": (instrument.ErrorFactor("f"),)}
    assert measurement.simulator_names == ("level", "slope")


def test_one_dataset_has_an_instrument_too(folder):
    text = SETUP.replace('[observations."red 1.2"]\nfile = "red/spectrum.txt"\nunit = "mJy"\n', "")
    text = text.replace("observations.blue", "observation").replace('."red 1.2"', ".spectrum")
    (folder / "setup.toml").write_text(text)
    retrieval = config.load(folder / "setup.toml").retrieval
    assert retrieval.observation.name == "spectrum"
    assert list(retrieval.measurement.instrument.steps) == ["spectrum", "*"]


# -- the grid of the model ---------------------------------------------------------------------


def _with_grid(folder, grid=GRID, more=RESOLUTION):
    path = _edited(folder, ("two_models:spectrum", "two_models:on_grid"))
    path.write_text(path.read_text() + grid + more)
    return path


def test_a_simulator_may_have_a_grid_of_its_own(folder):
    retrieval = config.load(_with_grid(folder)).retrieval
    grid = retrieval.measurement.instrument.grid
    np.testing.assert_allclose(grid[[0, -1]], [0.8, 3.5])
    spacing = np.diff(np.log(grid))
    np.testing.assert_allclose(spacing, spacing[0])
    assert 1 / 1001 < spacing[0] <= 1 / 1000
    assert retrieval.measurement.output.sizes == (len(grid),)
    raw = retrieval.simulator({"level": 0.5, "slope": 1.0})[None]
    theta = np.array([[0.5, 1.0, 0.2, 1.0]])
    expected = [0.5 + part.wavelength for part in retrieval.observation.parts]
    found = retrieval.measurement.predict(raw, theta)[0]
    # A straight line stays one, but for kernels and cells that grow with wavelength.
    np.testing.assert_allclose(found, np.concatenate([expected[0], expected[1] + 0.2]), rtol=1e-4)


def test_a_grid_from_a_file_is_kept(folder):
    wavelength = np.geomspace(0.8, 3.5, 500)
    np.savetxt(folder / "grid.txt", np.stack([wavelength, 0 * wavelength], 1), header="um, none")
    setup = config.load(_with_grid(folder, '[model_grid]\nfile = "grid.txt"\n', ""))
    np.testing.assert_array_equal(setup.retrieval.measurement.instrument.grid, wavelength)
    setup.keep(folder / "run")
    (folder / "grid.txt").unlink()
    again = config.load(folder / "run" / "config.toml").retrieval
    np.testing.assert_array_equal(again.measurement.instrument.grid, wavelength)


def test_what_averages_over_channels_averages_over_the_cells_of_the_grid():
    """Then over the channels: the mean over the channels, as far as the grid tells."""
    grid = np.geomspace(0.9, 3, 4000)
    cells = steps.cells_of(grid)
    edges = edges_of(grid)
    np.testing.assert_allclose(cells.wavelength - cells.bin_width / 2, edges[:-1])
    np.testing.assert_allclose(cells.wavelength + cells.bin_width / 2, edges[1:])
    left, right = np.array([1.0, 1.5, 2.0]), np.array([1.3, 1.9, 2.9])
    cubes = (edges[1:] ** 4 - edges[:-1] ** 4) / 4 / np.diff(edges)  # means of x^3
    found = binning(grid, left, right)(np, cubes[None])[0]
    np.testing.assert_allclose(found, (right**4 - left**4) / 4 / (right - left), rtol=1e-6)


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('step = "Offset"', 'step = "Ofset"',
         r"1\.2\"\[1\]\.step = 'Ofset'.*Did you mean 'Offset'"),
        ('step = "Offset"', "", r"1\.2\"\[1\]\.step = None.*Choose from CorrelatedNoise, ErrorFac"),
        ('value = "shift"', 'valeu = "shift"',
         r"\[1\]: key = 'valeu'.*Did you mean 'value'.*must have"),
        ('value = "shift"', 'value = "shfit"', r"\[1\]: Offset = 'shfit'.*Did you mean 'shift'"),
        ('value = "shift"', "value = true", r"a number or the name of a parameter"),
        ("length = 0.5", "length = -0.5", r"\[2\]: CorrelatedNoise length = -0.5.*at least 1e-09"),
        ("length = 0.5", 'length = 0.5\nkernel = "cubic"', r"kernel = 'cubic'.*matern32"),
        ('[[instrument."*"]]', "[[instrument.blu]]",
         r"instrument: key = 'blu'.*Did you mean 'blue'"),
        ('[[instrument."*"]]', '[instrument."*"]',
         r"instrument = .*must be a list.*\[\[instrument\]\]"),
        ('factor = "f"', 'factor = "slope"', r"instrument\[1\]: parameters\['slope'\].*below 0"),
        ('step = "ErrorFactor"\nfactor = "f"', 'step = "Resolution"\nR = 100',
         r"instrument\[1\]\.step = 'Resolution'.*Add a \[model_grid\]"),
        ('step = "ErrorFactor"\nfactor = "f"', 'step = "Resolution"\nR = 100\ntable = [[1], [2]]',
         r"instrument\[1\].*Resolution.R = 100.*not both"),
        ("[observations.blue]", "[observation]",
         r"must have \[observation\] or \[observations.NAME\]"),
        ("[observations.blue]", "[observations.blue]\nname = 'b'",
         r"blue\.name = 'b'.*must not be"),
        ('"blue/spectrum.txt"', '"blu.txt"', r"observations\.blue\.file = 'blu.txt'.*exists"),
        ('"red/spectrum.txt"', '"red/spectrum.txt"\ncolumns = ["wavelength", "values", ""]',
         r"observations: datasets with errors.*must be all of"),
        ("[run]", "[model_grid]\nlow = 1\n[run]", r"model_grid = .*must have a file, or else low"),
        ("[run]", "[model_grid]\nlow = 2\nhigh=1\nR=9\n[run]", r"model_grid = .*0 < low < high"),
        ("[run]", "[model_grid]\nlow = 1.2\nhigh=3.5\nR=90\n[run]",
         r"model_grid: channel 0 = .*must lie on the model's grid"),
    ],
)  # fmt: skip
def test_mistakes_are_named(folder, old, new, message):
    with pytest.raises(InvalidFile, match=f"(?s){message}"):
        config.load(_edited(folder, (old, new)))


def test_single_brackets_are_told_of_once(folder):
    text = SETUP[: SETUP.index("[[instrument")] + '[instrument]\nstep = "Offset"\nvalue = "shift"\n'
    (folder / "setup.toml").write_text(text)
    with pytest.raises(InvalidFile, match=r"write \[\[instrument\]\], then step") as raised:
        config.load(folder / "setup.toml")
    assert len(raised.value.problems) == 1


def test_all_problems_are_told_at_once(folder):
    path = _edited(
        folder, ("amplitude = 0.01", "amplitude = -0.01"), ('factor = "f"', 'factor = "slope"'),
        ('value = "shift"', 'value = "shfit"'), ("rounds = 1", "rounds = 0"),
    )  # fmt: skip
    with pytest.raises(InvalidFile) as raised:
        config.load(path)
    assert [problem.argument for problem in raised.value.problems] == [
        'instrument."red 1.2"[1]: Offset', "run.rounds",
        'instrument."red 1.2"[2]: CorrelatedNoise amplitude',
        "instrument[1]: parameters['slope']",
    ]  # fmt: skip


def test_a_step_that_is_wrong_does_not_blame_its_parameter(tmp_path, monkeypatch):
    """The simulator knows its own parameters; that of a misspelt step is not one of them."""
    assert cli.main(["init", "--code", "instruments", str(tmp_path / "two.toml")]) == 0
    path = tmp_path / "two.toml"
    path.write_text(path.read_text().replace('"Offset"', '"Ofset"'))
    with pytest.raises(InvalidFile, match="Ofset") as raised:
        config.load(path)
    assert len(raised.value.problems) == 1


# -- simulators --------------------------------------------------------------------------------


def _arcis(folder, monkeypatch):
    """An ARCiS input file on both spectra; of its executable nothing but the name is needed."""
    program = folder / "bin" / "ARCiS"
    program.parent.mkdir()
    program.touch(mode=stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(program.parent))
    (folder / "planet.in").write_text(
        "obs1:type='trans'\nobs1:file='blue/spectrum.txt'\n"
        "obs2:type='trans'\nobs2:file='red/spectrum.txt'\n"
        + "".join(f'fitpar:keyword="{name}"\nfitpar:max=2\n' for name in ("level", "slope"))
    )
    return 'name = "ARCiS"\ninput_file = "planet.in"'


def test_arcis_computes_several_datasets(folder, monkeypatch):
    arcis = _arcis(folder, monkeypatch)
    names = [('name = "two_models:spectrum"', arcis), ("observations.blue", "observations.obs1")]
    path = _edited(folder, *names, ('observations."red 1.2"', "observations.obs2"),
                   ('[[instrument."red 1.2"]]', "[[instrument.obs2]]"))  # fmt: skip
    retrieval = config.load(path).retrieval
    assert retrieval.measurement.output.names == ("obs1", "obs2")
    assert retrieval.measurement.simulator_names == ("level", "slope")
    with pytest.raises(InvalidFile, match="file of dataset 'obs2' = 20.*channels of obs2"):
        config.load(path, {"observations.obs2.file": "blue/spectrum.txt"})
    with pytest.raises(InvalidFile, match=r"'blue'.*must be one of \['obs1', 'obs2'\]"):
        config.load(_edited(folder, names[0]))
    path.write_text(path.read_text() + GRID)
    with pytest.raises(InvalidFile, match="model_grid.*must not be given with ARCiS"):
        config.load(path)


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ('"all.txt"', "for f, n in (('all.txt', 32),):"),
        ('{ blue = "b.txt", "red 1.2" = "r.txt" }',
         "for f, n in (('b.txt', 20), ('r.txt', 12)):"),
    ],
)  # fmt: skip
def test_a_program_writes_several_datasets(folder, output, written):
    program = folder / "program"
    program.write_text(
        f"#!{sys.executable} -IS\nimport sys\n{written}\n"
        "    open(f, 'w').write('\\n'.join(f'{i} {sys.argv[1]}' for i in range(n)))\n"
    )
    program.chmod(0o755)
    command = (
        'name = "CommandSimulator"\nprogram = "./program"\narguments = ["$level", "$slope"]\n'
        f"output = {output}"
    )
    path = _edited(folder, ('name = "two_models:spectrum"', command))
    retrieval = config.load(path).retrieval
    assert retrieval.measurement.simulator_names == ("level", "slope")
    parameters = {"level": np.array([0.25, 0.5]), "slope": np.zeros(2)}
    found = simulate(retrieval.simulator, parameters, retrieval.measurement.output, fp.Pool(1))
    np.testing.assert_array_equal(found.spectra, np.repeat([[0.25], [0.5]], 32, axis=1))
    with pytest.raises(InvalidFile, match=r"must name a file for each of \['blue', 'red 1.2'\]"):
        config.load(path, {"simulator.output": {"blue": "b.txt"}})


def test_parameters_of_the_instrument_are_kept_from_adapters(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "taurex", types.ModuleType("taurex"))
    taurex = 'name = "TauREx"\nmodel = "two_models:spectrum"'
    retrieval = config.load(_edited(folder, ('name = "two_models:spectrum"', taurex))).retrieval
    assert retrieval.simulator.parameters == ("level", "slope")
    assert len(retrieval.simulator.left) == 32


# -- the example -------------------------------------------------------------------------------

TRUTH = {"T": 900.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.27, "log_g": 2.63}


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    file = tmp_path_factory.mktemp("example") / "two.toml"
    assert cli.main(["init", "--code", "instruments", str(file)]) == 0
    return file


def test_the_example_has_the_spectra_that_it_says(example):
    """Made anew, to the last digit that is written; see niriss.csv for the truth."""
    rng = np.random.default_rng(39)
    for part in config.load(example).retrieval.observation.parts:
        model = fp.simulators.IsothermalTransmission.for_observation(part, star_radius=0.932)
        depth = model({name: np.array([value]) for name, value in TRUTH.items()})[0]
        noise = 1.5 * part.errors * rng.normal(size=part.n_channels)
        offset = 2e-4 if part.name == "nirspec" else 0.0
        np.testing.assert_allclose(part.values, depth + offset + noise, atol=3e-7)


def test_a_dry_run_says_what_the_instrument_does(example, capsys):
    assert cli.main(["run", str(example), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for line in (
        r"channels +70 of 'niriss', 0\.857\d to 2\.72\d um, median error 4e-05",
        r"channels +34 of 'nirspec', 2\.925 to 5\.10\d um, median error 6e-05",
        r"instrument +'nirspec': Offset, value offset_nirspec",
        r"instrument +all together: ErrorFactor, factor error_factor",
    ):
        assert re.search(line, shown)


def test_a_dry_run_says_on_which_grid(folder, capsys):
    assert cli.main(["run", str(_with_grid(folder)), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"model grid +1,477 points, 0\.8 to 3\.5 um", shown)
    assert re.search(r"instrument +'blue': Resolution, table a table of 2", shown)


def test_the_example_runs(example, capsys):
    small = (
        "--rounds 1 --simulations 200 --set flow.preset=fast --set flow.transforms=1 "
        "--set training.max_epochs=3 --set run.importance_samples=200"
    ).split()
    output = example.with_name("run")
    assert cli.main(["run", str(example), "--output", str(output), *small]) == 0
    assert re.search(r"offset_nirspec +\S+ +\+\S+ -", capsys.readouterr().out)
    posterior = fp.load_posterior(output / "posterior.npz")
    assert posterior.names[-2:] == ("offset_nirspec", "error_factor")
    page = (output / "report.html").read_text()
    assert "nirspec: Offset, value offset_nirspec" in page
    kept = config.load(output / "config.toml").retrieval
    assert kept.observation.n_channels == posterior.observation.n_channels == 104
