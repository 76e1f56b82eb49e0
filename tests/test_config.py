"""Input files, and the command line from end to end."""

import importlib.resources
import re
import sys

import numpy as np
import pytest
import xarray

import floppity_jax as fp
from floppity_jax import cli, config
from floppity_jax.errors import InvalidInput

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
    sys.modules.pop("my_model", None)


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
    assert setup.text == SETUP
    assert retrieval.pool.timeout == 30
    assert (retrieval.pool.slots(), retrieval.pool.retries) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rounds = 1", "round = 1", r"run: key = 'round'.*Did you mean 'rounds'\?"),
        ("[training]", "[trainning]", r"key = 'trainning'.*Did you mean 'training'\?"),
        ("bins = 4", "bin = 4", r"flow: key = 'bin'.*Did you mean 'bins'\?"),
        ("max_epochs", "epochs", r"training: key = 'epochs'.*Did you mean 'max_epochs'\?"),
        ("rounds = 1", 'rounds = "1"', r"run\.rounds = '1'.*type int"),
        ("rounds = 1", "rounds = true", r"run\.rounds = True.*type int"),
        ("seed = 5", "seed = 5.0", r"run\.seed = 5\.0.*type int"),
        ("simulations = 200", "simulations = [200, 1.5]", r"run\.simulations.*type int \| list"),
        ("max_epochs = 5", "max_epochs = 0", r"training\.max_epochs = 0.*above 0"),
        ("importance_samples = 200", "importance_samples = -1", "must not be negative"),
        ("seed = 5", 'seed = 5\nstop = "sometimes"', r"run\.stop = 'sometimes'.*converged"),
        ("seed = 5", 'seed = 5\nmethod = "snpe"', "method = 'snpe'.*truncated"),
        ('file = "data/spectrum.txt"', "", r"observation.*must have the key 'file'"),
        ('file = "data/spectrum.txt"', 'file = "nowhere.txt"', "nowhere.txt.*must be a file"),
        ('[observation]\nfile = "data/spectrum.txt"', "[run2]\nfile = 1", "key = 'run2'"),
        ('"my_model:spectrum"', '"my_model:spectra"', "simulator.name = 'my_model:spectra'"),
        ('"my_model:spectrum"', '"my_modell:spectrum"', r"Put my_modell\.py beside setup\.toml"),
        ('"my_model:spectrum"', '"my_model"', r'write "my_model:spectrum"'),
        ('"my_model:spectrum"', '"IsothermalTransmission"', "simulator.star_radius = None"),
        ('law = "Normal"', 'law = "normal"', r"parameters\.offset\.law = 'normal'.*'Uniform'"),
        ('law = "Normal", ', "", r"parameters\.offset\.law = None"),
        ("sd = 1.0", "sigma = 1.0", r"parameters\.offset.*must fit the law \(.*sigma"),
        ("sd = 1.0", 'sd = "wide"', r"parameters\.offset.*must fit the law"),
        ("low = -2, high = 2", "low = 2, high = -2", r"Uniform = \(2, -2\).*reversed"),
        ("[-2.0, 2.0]", "[-2.0]", r"parameters\['slope'\]"),
        ("[-2.0, 2.0]", '"nothing"', r"parameters\['slope'\] = 'nothing'.*tied"),
        ("workers = 1", "workers = 0", "workers = 0: workers must be a whole number"),
        ("timeout = 30", "time_limit = 30", r"pool: key = 'time_limit'.*Did you mean 'timeout'\?"),
        ("[run]", "[run", "must be TOML"),
    ],
)
def test_mistakes_are_named(folder, old, new, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        config.load(_edited(folder, old, new))


@pytest.mark.parametrize("table", ["observation", "simulator", "parameters"])
def test_missing_tables_are_named(folder, table):
    path = folder / "setup.toml"
    path.write_text(re.sub(rf"\[{table}\]\n(?:.+\n)+", "", SETUP))
    with pytest.raises(InvalidInput, match=rf"must have a \[{table}\] table"):
        config.load(path)


@pytest.mark.parametrize("table", ["observation", "parameters", "run"])
def test_a_value_in_place_of_a_table_is_named(folder, table):
    path = folder / "setup.toml"
    path.write_text(f"{table} = 3\n" + re.sub(rf"\[{table}\]\n(?:.+\n)+", "", SETUP))
    with pytest.raises(InvalidInput, match=rf"{table} = 3.*must be a table.*\[{table}\]"):
        config.load(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere.toml.*must be a file"):
        config.load(tmp_path / "nowhere.toml")


def test_whole_numbers_pass_as_real_ones(folder):
    path = _edited(folder, "max_epochs = 5", "learning_rate = 1")
    assert config.load(path).retrieval.training.learning_rate == 1


@pytest.mark.parametrize("command", [[], ["run"], ["demo"], ["resume"], ["report"], ["compare"]])
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert " ".join(["usage: floppity-jax", *command]) in capsys.readouterr().out


def test_errors_are_one_line_and_exit_2(folder, capsys):
    path = _edited(folder, "rounds = 1", "round = 1")
    assert cli.main(["run", str(path), "--output", str(folder / "run")]) == 2
    assert capsys.readouterr().err.startswith("floppity-jax: run: key = 'round'")
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
    assert (output / "config.toml").read_text() == SETUP
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
    assert tree.attrs["configuration"] == SETUP
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
