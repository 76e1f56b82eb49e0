"""Input files, and the command line from end to end."""

import dataclasses
import importlib.resources
import re
import sys

import numpy as np
import pytest
import xarray

import floppity_jax as fp
from floppity_jax import cli, config
from floppity_jax.config.reader import Reader
from floppity_jax.errors import InvalidFile

MODEL = """
import numpy as np

def spectrum(p):
    x = np.linspace(0, 1, 20)
    return p["offset"] + p["slope"] * x + p["bend"] * x**2
"""
SETUP = """
[observation]
file = "data/spectrum.txt"
name = "toy"
unit = "mJy"

[simulator]
name = "my_model:spectrum"

[parameters]
offset = { law = "Normal", mean = 0.0, sd = 1.0 }
slope = [-2.0, 2.0]
bend = { law = "Uniform", low = -2, high = 2, unit = "mJy" }

[run]
rounds = 1
simulations = 200
importance_samples = 200
seed = 5

[flow]
transforms = 1
width = 8
blocks = 1
bins = 4
components = 4

[training]
max_epochs = 5

[pool]
workers = 1
timeout = 30
"""
# As the run directory has it.
KEPT = SETUP.replace("data/spectrum.txt", "spectrum.txt")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Input file, spectrum and model, as a user has them; what is imported is forgotten after."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    x = np.linspace(0, 1, 20)
    noise = 0.3 * np.random.default_rng(0).normal(size=20)
    table = np.stack([1 + x, 0.5 + x - 0.5 * x**2 + noise, np.full(20, 0.3)], axis=1)
    (tmp_path / "data").mkdir()
    np.savetxt(tmp_path / "data" / "spectrum.txt", table)
    (tmp_path / "my_model.py").write_text(MODEL)
    (tmp_path / "setup.toml").write_text(SETUP)
    yield tmp_path
    for name in ("my_model", "my_tools"):
        sys.modules.pop(name, None)


def _edited(folder, old, new):
    assert old in SETUP
    path = folder / "setup.toml"
    path.write_text(SETUP.replace(old, new))
    return path


def test_packaged_file_loads():
    with importlib.resources.as_file(importlib.resources.files("floppity_jax") / "data") as data:
        setup = config.load(data / "wasp39b.toml")
    assert setup.retrieval.space.names == ("T", "X_H2O", "X_CO2", "radius", "log_g")
    assert setup.retrieval.observation.n_channels == 147
    assert setup.retrieval.flow == fp.FlowConfig.default()
    assert setup.retrieval.space.priors["T"].support == pytest.approx((300, 3000))
    assert (setup.run.rounds, setup.run.simulations) == (6, 1000)


def test_every_table_reaches_the_retrieval(folder):
    setup = config.load(folder / "setup.toml")
    retrieval = setup.retrieval
    assert retrieval.simulator.__name__ == "spectrum"
    assert (retrieval.observation.name, retrieval.observation.unit) == ("toy", "mJy")
    assert retrieval.space.names == ("offset", "slope", "bend")
    assert retrieval.space.priors["bend"].unit == "mJy"
    assert retrieval.flow == fp.FlowConfig(transforms=1, width=8, blocks=1, bins=4, components=4)
    assert retrieval.training == fp.TrainingConfig(max_epochs=5)
    assert setup.run == config.RunSection(rounds=1, simulations=200, importance_samples=200, seed=5)
    assert setup.text == KEPT
    assert set(setup.copies.values()) == {"spectrum.txt", "my_model.py"}
    assert retrieval.pool.timeout == 30
    assert (retrieval.pool.slots(), retrieval.pool.retries) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 1", "round = 1", r"run: key = 'round'.*Did you mean 'rounds'\?"),
        ("[training]", "[trainning]", r"key = 'trainning'.*Did you mean 'training'\?"),
        ("bins = 4", "bin = 4", r"flow: key = 'bin'.*Did you mean 'bins'\?"),
        ("max_epochs", "epochs", r"training: key = 'epochs'.*Did you mean 'max_epochs'\?"),
        ("rounds = 1", 'rounds = "1"', r"run\.rounds = '1'.*a whole number"),
        ("rounds = 1", "rounds = true", r"run\.rounds = True.*a whole number"),
        ("seed = 5", "seed = 5.0", r"run\.seed = 5\.0.*a whole number"),
        (
            "simulations = 200",
            "simulations = [200, 1.5]",
            r"run\.simulations.*a list of whole numbers",
        ),
        ("max_epochs = 5", "max_epochs = 0", r"training\.max_epochs = 0.*above 0"),
        (
            "importance_samples = 200",
            "importance_samples = -1",
            r"run\.importance_samples = -1.*at least 0",
        ),
        ("seed = 5", 'seed = 5\nstop = "sometimes"', r"run\.stop = 'sometimes'.*converged"),
        (
            "seed = 5",
            'seed = 5\nmethod = "snpe"',
            r"run\.method = 'snpe'.*\"truncated\" or \"apt\"",
        ),
        ('file = "data/spectrum.txt"', "", r"observation.*must have the key 'file'"),
        (
            'file = "data/spectrum.txt"',
            'file = "nowhere.txt"',
            r"observation\.file = 'nowhere.txt'.*must be a file that exists",
        ),
        ('[observation]\nfile = "data/spectrum.txt"', "[run2]\nfile = 1", "key = 'run2'"),
        (
            '"my_model:spectrum"',
            '"my_model:spectra"',
            r"simulator\.name = 'my_model:spectra'.*Did you mean 'spectrum'",
        ),
        ('"my_model:spectrum"', '"my_modell:spectrum"', r"Put my_modell\.py beside the input file"),
        ('"my_model:spectrum"', '"my_model"', r'write "my_model:spectrum"'),
        ('"my_model:spectrum"', '"IsothermalTransmission"', "must have the key 'star_radius'"),
        ('law = "Normal"', 'law = "normal"', r"offset\.law = 'normal'.*Did you mean 'Normal'"),
        ('law = "Normal", ', "", r"parameters\.offset\.law = None"),
        ("sd = 1.0", "sigma = 1.0", r"parameters\.offset: key = 'sigma'.*must have the key 'sd'"),
        ("sd = 1.0", 'sd = "wide"', r"parameters\.offset\.sd = 'wide'.*must be a number"),
        (
            "low = -2, high = 2",
            "low = 2, high = -2",
            r"parameters\.bend: Uniform = \(2, -2\).*reversed",
        ),
        ("[-2.0, 2.0]", "[-2.0]", r"parameters\['slope'\]"),
        ("[-2.0, 2.0]", '"nothing"', r"parameters\['slope'\] = 'nothing'.*tied"),
        ("workers = 1", "workers = 0", "pool.workers = 0: pool.workers must be a whole number"),
        ("timeout = 30", "time_limit = 30", r"pool: key = 'time_limit'.*Did you mean 'timeout'\?"),
        ("[run]", "[run", "must be TOML"),
        ("rounds = 1", "rounds = 2\nsimulations = [300]", r"must be TOML \(Cannot overwrite"),
        ("simulations = 200", "simulations = [200, 300]", "run.simulations.*each of 1 rounds"),
        ("simulations = 200", "simulations = 20", "run.simulations = 20.*must be at least"),
        ("seed = 5", "seed = -5", r"run\.seed = -5.*at least 0"),
        ("seed = 5", 'reuse = "runs/before"', r"run\.reuse = .*before'.*holds no run"),
        ("transforms = 1", 'preset = "papers"', r"flow\.preset = 'papers'.*Did you mean 'paper'"),
        ("max_epochs = 5", 'preset = "fast"', r"training\.preset = 'fast'.*Choose from default"),
        ('law = "Normal"', 'law = ["Normal"]', r"parameters\.offset\.law = \['Normal'\]"),
        ('unit = "mJy"\n', 'wavelength_unit = "yd"\n', r"wavelength_unit = 'yd'.*must be"),
        ('unit = "mJy"\n', 'columns = ["x"]\n', r"observation\.columns = .*each of the 3 columns"),
        ("spectrum.txt", "spectrun.txt", r"Did you mean 'spectrum\.txt'\?"),
        ('name = "toy"', 'columns = ["wavelength", "values", ""]', r"no errors.*no likelihood"),
    ],
)
def test_mistakes_are_named(folder, old, new, message):
    with pytest.raises(InvalidFile, match=f"(?s){message}"):
        config.load(_edited(folder, old, new))


@pytest.mark.parametrize("table", ["observation", "simulator", "parameters"])
def test_missing_tables_are_named(folder, table):
    path = folder / "setup.toml"
    path.write_text(re.sub(rf"\[{table}\]\n(?:.+\n)+", "", SETUP))
    with pytest.raises(InvalidFile, match=rf"must have a \[{table}\] table"):
        config.load(path)


@pytest.mark.parametrize("table", ["observation", "parameters", "run"])
def test_a_value_in_place_of_a_table_is_named(folder, table):
    path = folder / "setup.toml"
    path.write_text(f"{table} = 3\n" + re.sub(rf"\[{table}\]\n(?:.+\n)+", "", SETUP))
    with pytest.raises(InvalidFile, match=rf"{table} = 3.*must be a table.*\[{table}\]"):
        config.load(path)


def test_all_problems_are_told_at_once(folder):
    path = folder / "setup.toml"
    text = SETUP
    for old, new in (
        ("spectrum.txt", "nowhere.txt"),
        ('"my_model:spectrum"', '"my_model:spectra"'),
        ("sd = 1.0", "sd = -1.0"),
        ("high = 2, unit", "hihg = 2, unit"),
        ("rounds = 1\n", 'rounds = "one"\n'),
        ("seed = 5", "seed = -5"),
        ("width = 8", "widht = 8"),
        ("bins = 4", "bins = 0"),
        ("components = 4", "components = 0"),
        ("workers = 1", "workers = 0"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(InvalidFile) as raised:
        config.load(path)
    assert [problem.argument for problem in raised.value.problems] == [
        "observation.file", "parameters.offset: Normal sd", "parameters.bend: key",
        "parameters.bend", "simulator.name", "pool.workers", "flow: key", "flow.bins",
        "flow.components", "run.rounds", "run.seed",
    ]  # fmt: skip
    assert "has 11 problems; nothing has been simulated.\n  1. observation.file" in str(
        raised.value
    )
    assert not (folder / "runs").exists()


def test_names_and_units_are_held_against_the_simulator():
    with importlib.resources.as_file(importlib.resources.files("floppity_jax") / "data") as data:
        file = data / "wasp39b.toml"
        overrides = {"parameters.X_H20": [0, 1], "parameters.radius.unit": "R_earth"}
        with pytest.raises(InvalidFile, match=r"X_H20.*Did you mean 'X_H2O'") as raised:
            config.load(file, overrides)
    assert len(raised.value.problems) == 1  # units are looked at once the names are right
    with importlib.resources.as_file(importlib.resources.files("floppity_jax") / "data") as data:
        with pytest.raises(InvalidFile, match=r"radius\.unit = 'R_earth'.*must be 'R_jup'"):
            config.load(data / "wasp39b.toml", {"parameters.radius.unit": "R_earth"})
        config.load(data / "wasp39b.toml", {"parameters.radius.unit": "RJup"})


def test_wavelengths_are_converted_to_um(folder):
    wavelength = config.load(folder / "setup.toml").retrieval.observation.wavelength
    path = _edited(folder, 'unit = "mJy"\n', 'wavelength_unit = "nm"\n')
    observation = config.load(path).retrieval.observation
    np.testing.assert_allclose(observation.wavelength, wavelength / 1000)
    np.testing.assert_allclose(observation.bin_width, np.full(20, 1 / 19 / 1000))


def test_presets_and_the_keys_beside_them(folder):
    setup = config.load(_edited(folder, "transforms = 1", 'preset = "paper"\nmembers = 3'))
    assert setup.retrieval.flow == fp.FlowConfig(
        transforms=15, width=8, blocks=1, bins=4, components=4, members=3
    )
    setup = config.load(folder / "setup.toml", {"training.preset": "paper"})
    assert setup.retrieval.training == dataclasses.replace(fp.TrainingConfig.paper(), max_epochs=5)


def test_overrides_are_in_the_file_that_is_kept(folder):
    overrides = {"run.rounds": 3, "training.batch_size": 50, "parameters.bend.high": 3.0}
    setup = config.load(folder / "setup.toml", overrides)
    assert (setup.run.rounds, setup.retrieval.training.batch_size) == (3, 50)
    assert setup.retrieval.space.priors["bend"].support == (-2, 3)
    setup.keep(folder / "run")
    again = config.load(folder / "run" / "config.toml")
    assert again.text == setup.text
    assert again.run == setup.run
    assert again.retrieval.describe([200], 0) == setup.retrieval.describe([200], 0)


def test_modules_that_the_model_imports_are_kept(folder, monkeypatch):
    (folder / "my_tools.py").write_text(MODEL)
    (folder / "my_model.py").write_text("from my_tools import spectrum")
    setup = config.load(folder / "setup.toml")
    setup.keep(folder / "run")
    for name in ("my_tools", "my_model"):
        monkeypatch.delitem(sys.modules, name)
    for name in ("my_tools.py", "my_model.py", "data/spectrum.txt"):
        (folder / name).unlink()
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(folder)])
    assert config.load(folder / "run" / "config.toml").retrieval.simulator.__module__ == "my_tools"


def test_files_of_one_name_are_kept_apart(tmp_path):
    reader = Reader(tmp_path)
    names = [reader._copied(tmp_path / part / "spectrum.txt") for part in "abab"]
    assert names[:2] == names[2:]
    assert len({*names, "config.toml"}) == 3


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidFile, match="nowhere.toml.*must be a file"):
        config.load(tmp_path / "nowhere.toml")


def test_whole_numbers_pass_as_real_ones(folder):
    path = _edited(folder, "max_epochs = 5", "learning_rate = 1")
    assert config.load(path).retrieval.training.learning_rate == 1


@pytest.mark.parametrize(
    "command", [[], ["init"], ["run"], ["demo"], ["resume"], ["report"], ["compare"]]
)
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert " ".join(["usage: floppity-jax", *command]) in capsys.readouterr().out


def test_errors_have_no_traceback_and_exit_2(folder, capsys):
    path = _edited(folder, "rounds = 1", "round = 1")
    assert cli.main(["run", str(path), "--output", str(folder / "run")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"floppity-jax: {path} has a problem; nothing has been simulated.")
    assert "run: key = 'round'" in shown
    assert not (folder / "run").exists()
    for command in ("resume", "report"):
        assert cli.main([command, str(folder / "nowhere")]) == 2
        assert "holds no run" in capsys.readouterr().err


def test_a_run_from_end_to_end(folder, capsys, monkeypatch):
    output = folder / "out" / "run"
    assert cli.main(["run", str(folder / "setup.toml"), "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "log evidence" in shown
    assert re.search(r"simulator calls +400", shown)
    assert (output / "config.toml").read_text() == KEPT
    for part in ("manifest.json", "simulations/round_01.npz", "rounds/round_01.npz"):
        assert (output / part).is_file()
    for figure in ("corner.png", "spectrum.png"):
        assert (output / figure).read_bytes().startswith(b"\x89PNG")
    with xarray.open_datatree(output / "posterior.nc") as tree:
        tree.load()
    assert set(tree.children) == {
        "posterior", "prior", "posterior_predictive", "observed_data", "constant_data",
        "log_likelihood", "sample_stats", "rounds", "model_spectra", "importance",
    }  # fmt: skip
    assert list(tree["posterior"].data_vars) == ["offset", "slope", "bend"]
    assert tree["posterior"]["bend"].dims == ("chain", "draw")
    assert set(tree["sample_stats"].data_vars) == {"log_prob", "log_weight"}
    assert tree["rounds"]["simulations"].values.tolist() == [200]
    assert tree.attrs["seed"] == 5
    assert tree.attrs["simulator_calls"] == 400
    assert tree.attrs["configuration"] == KEPT
    assert np.isfinite(tree.attrs["log_evidence"])
    posterior = fp.load_posterior(output / "posterior.npz")
    assert posterior.names == ("offset", "slope", "bend")
    assert posterior.log_evidence == pytest.approx(tree.attrs["log_evidence"], rel=1e-12)

    # Again into the same folder: refused, with the ways out.
    assert cli.main(["run", str(folder / "setup.toml"), "--output", str(output)]) == 2
    message = capsys.readouterr().err
    assert "already holds a run" in message
    assert "floppity-jax resume" in message
    assert "--output" in message

    (output / "corner.png").unlink()
    assert cli.main(["report", str(output)]) == 0
    assert capsys.readouterr().out == shown
    assert (output / "corner.png").is_file()

    assert cli.main(["compare", str(output), str(output / "posterior.nc")]) == 0
    assert "too few draws to tell" in capsys.readouterr().out  # 200
    assert (output / "comparison.png").is_file()

    # As from a new shell, after the files that it started from are gone.
    monkeypatch.delitem(sys.modules, "my_model")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(folder)])
    for name in ("my_model.py", "data/spectrum.txt", "setup.toml"):
        (folder / name).unlink()
    assert cli.main(["resume", str(output)]) == 0
    again = fp.load_posterior(output / "posterior.npz")
    np.testing.assert_array_equal(again.draws, posterior.draws)
    np.testing.assert_array_equal(again.log_weights, posterior.log_weights)

    # More rounds than the file says, and they stay.
    for arguments in (["--rounds", "2"], []):
        assert cli.main(["resume", str(output), *arguments]) == 0
        with xarray.open_datatree(output / "posterior.nc") as tree:
            assert tree["rounds"]["simulations"].values.tolist() == [200, 200]


def test_an_interrupt_says_how_to_go_on(folder, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fp.Retrieval, "run", interrupt)
    assert cli.main(["run", str(folder / "setup.toml"), "--output", str(folder / "run")]) == 130
    assert f"go on by floppity-jax resume {folder / 'run'}" in capsys.readouterr().err


def test_report_of_a_run_that_has_not_ended(tmp_path, capsys):
    from floppity_jax.store import RunDirectory

    RunDirectory(tmp_path, {}, resume=False)
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "has not ended" in capsys.readouterr().err
