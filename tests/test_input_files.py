"""What `floppity-jax init` writes, how flags change it, and what a dry run says."""

import importlib.resources
import os
import pathlib
import re
import shutil
import sys
import tomllib
import types

import numpy as np
import pytest
import xarray

import floppity_jax as fp
from floppity_jax import cli, config
from floppity_jax.config import reference, text
from floppity_jax.config.forward import section_of
from floppity_jax.config.from_arcis import from_arcis
from floppity_jax.config.keys import keys_of
from floppity_jax.config.templates import FILES
from floppity_jax.dry_run import in_words
from floppity_jax.errors import InvalidFile, InvalidInput
from floppity_jax.simulators.arcis_input import read_spectrum

HERE = pathlib.Path(__file__).parent
MODEL = """
import pathlib
import numpy as np

LOG = pathlib.Path(__file__).with_name("calls.txt")

def spectrum(p):
    with LOG.open("a") as log:
        log.write(f"{p['level']}\\n")
    return np.full(20, p["level"])

def failing(p):
    raise ValueError("no convergence")

def wrong(p):
    return np.zeros(3)
"""
SETUP = """
[observation]
file = "spectrum.txt"

[simulator]
name = "counted:spectrum"

[parameters]
level = { law = "Uniform", low = 0, high = 1, unit = "mJy" }
offset = 3.0
slope = "level"

[run]
rounds = 3
simulations = [300, 200, 100]
importance_samples = 400

[pool]
workers = 4
"""


@pytest.fixture(autouse=True)
def _imports_are_forgotten(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in ("counted", "my_model", "taurex_model", "petitradtrans_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def setup_file(tmp_path):
    x = np.linspace(1, 2, 20)
    np.savetxt(tmp_path / "spectrum.txt", np.stack([x, 0 * x + 0.5, 0 * x + 0.1], axis=1))
    (tmp_path / "counted.py").write_text(MODEL)
    (tmp_path / "setup.toml").write_text(SETUP)
    return tmp_path / "setup.toml"


@pytest.fixture
def _codes(tmp_path, monkeypatch):
    """Stand-ins for the codes that the templates need."""
    for name in ("taurex", "petitRADTRANS"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    arcis = tmp_path / "bin" / "ARCiS"
    arcis.parent.mkdir()
    arcis.write_text(f"#!{sys.executable} -IS\n{(HERE / 'fake_arcis.py').read_text('utf-8')}")
    arcis.chmod(0o755)
    monkeypatch.setenv("PATH", str(arcis.parent), prepend=os.pathsep)


# -- init --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_codes")
@pytest.mark.parametrize("code", cli.CODES)
def test_each_template_loads_as_it_is_written(code, tmp_path, capsys):
    file = tmp_path / "new" / "planet.toml"
    assert cli.main(["init", "--code", code, str(file)]) == 0
    assert f"floppity-jax run {file} --dry-run" in capsys.readouterr().out
    setup = config.load(file)
    assert setup.run.rounds == 6
    assert setup.retrieval.observation.n_channels == (104 if code == "instruments" else 147)
    assert setup.retrieval.flow == fp.FlowConfig.default()
    assert setup.retrieval.training == fp.TrainingConfig()
    setup.keep(tmp_path / "run")
    again = config.load(tmp_path / "run" / "config.toml")
    assert again.text == setup.text
    assert again.retrieval.describe([1], 0) == setup.retrieval.describe([1], 0)


def test_a_code_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "picaso", raising=False)
    (tmp_path / "picaso").mkdir()  # its reference data, which are no package
    (tmp_path / "my_model.py").write_text("def build(): ...\ndef update(case, parameters): ...\n")
    np.savetxt(tmp_path / "spectrum.txt", [[1.0, 0.02, 0.001], [1.1, 0.02, 0.001]])
    names = 'name = "PICASO"\nbuild = "my_model:build"\nupdate = "my_model:update"'
    (tmp_path / "setup.toml").write_text(SETUP.replace('name = "counted:spectrum"', names))
    with pytest.raises(InvalidFile, match="(?s)needs picaso, which is not installed.*pip install"):
        config.load(tmp_path / "setup.toml")


def test_every_code_has_a_template():
    assert set(cli.CODES) == set(FILES)


@pytest.mark.parametrize("code", cli.CODES)
def test_a_new_file_has_every_key_and_its_default(code, tmp_path):
    file = tmp_path / "planet.toml"
    assert cli.main(["init", "--code", code, str(file)]) == 0
    written = file.read_text()
    bare = tomllib.loads(written)
    # The # taken off; keys without a default say what they want.
    full = re.sub(r"^#(\w+) = <.*>$", r'\1 = "wanted"', written, flags=re.MULTILINE)
    full = tomllib.loads(re.sub(r"^#(\w+ = )", r"\1", full, flags=re.MULTILINE))
    assert set(full["simulator"]) == set(keys_of(section_of(bare["simulator"])))
    always = ["run", "pool", "flow", "training"]
    for table in reference.all_tables():
        if table.name in always or (table.name == "observation" and "observation" in bare):
            assert set(full[table.name]) == set(table.keys)
            for name, key in table.keys.items():
                if name not in bare[table.name]:
                    expected = "wanted" if key.default is None else key.default
                    assert full[table.name][name] == expected


def test_init_overwrites_nothing(tmp_path, capsys):
    file = tmp_path / "planet.toml"
    (tmp_path / "my_model.py").write_text("mine")
    assert cli.main(["init", "--code", "python", str(file)]) == 2
    assert re.search(r"my_model\.py.*must not be there yet.*--force", capsys.readouterr().err)
    assert not file.exists()
    assert (tmp_path / "my_model.py").read_text() == "mine"
    assert cli.main(["init", "--code", "python", "--force", str(file)]) == 0
    assert "def spectrum" in (tmp_path / "my_model.py").read_text()


def test_the_spectrum_for_arcis_is_that_of_the_others():
    with importlib.resources.as_file(importlib.resources.files("floppity_jax") / "data") as data:
        arcis, _ = read_spectrum(data / "templates" / "wasp39b_prism.dat", "prism", "")
        ours = fp.read_observation(data / "wasp39b_prism.csv")
    for field in ("values", "errors", "wavelength", "bin_width"):
        np.testing.assert_allclose(getattr(arcis, field), getattr(ours, field), rtol=1e-14)


def test_a_template_made_small_runs_from_end_to_end(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "_show", lambda output: calls.append(_simulator_calls(output)))
    file = tmp_path / "planet.toml"
    assert cli.main(["init", "--code", "python", str(file)]) == 0
    small = (
        "--rounds 1 --simulations 100 --seed 3 --workers 1 --method apt --set flow.preset=fast "
        "--set flow.transforms=1 --set training.max_epochs=2 --set run.importance_samples=0"
    ).split()
    output = tmp_path / "run"
    assert cli.main(["run", str(file), "--output", str(output), *small]) == 0
    kept = config.load(output / "config.toml")
    assert kept.run == config.RunSection(
        method="apt", rounds=1, simulations=100, importance_samples=0, seed=3
    )
    assert kept.retrieval.flow == fp.FlowConfig(transforms=1, width=32, blocks=1, members=1)

    # The first round serves another run of the same problem, and need not stay for its sake.
    again = [*small, "--set", f"run.reuse={output}", "--seed", "4"]
    second = tmp_path / "second"
    assert cli.main(["run", str(file), "--output", str(second), *again]) == 0
    shutil.rmtree(output)
    assert cli.main(["resume", str(second)]) == 0
    assert calls == [100, 0, 0]


def _simulator_calls(output):
    with xarray.open_datatree(output / "posterior.nc") as tree:
        return tree.attrs["simulator_calls"]


# -- flags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "keys", "value", "after"),
    [
        ("[run]\nrounds = 3\n", "run.rounds", 5, "[run]\nrounds = 5\n"),
        ("[run]\nrounds=3 # few\n", "run.rounds", 5, "[run]\nrounds= 5 # few\n"),
        ("[a]\nb = '#1' # '2'\n", "a.b", "x", "[a]\nb = \"x\" # '2'\n"),
        ("[run]  # how\n[pool]\n", "run.seed", 1, "[run]  # how\nseed = 1\n[pool]\n"),
        ("[run]\n", "pool.workers", 2, "[run]\n\n[pool]\nworkers = 2\n"),
        ("[pool]\nn = 1\n[run]\nn = 1\n", "run.n", 2, "[pool]\nn = 1\n[run]\nn = 2\n"),
        ("[a]\nb = [\n 1,\n 2,\n]\nc = 1\n", "a.b", [3], "[a]\nb = [3]\nc = 1\n"),
        ("run = { rounds = 3 }\n", "run.rounds", 5, "run = { rounds = 5 }\n"),
        ("run.rounds = 3\n", "run.rounds", 5, "run.rounds = 5\n"),
        ("[p]\nT = { low = 1 }\n", "p.T.low", 1.5, "[p]\nT = { low = 1.5 }\n"),
        ("[p]\n'c:P' = [1, 2]\n", 'p."c:P"', [0, 2], "[p]\n'c:P' = [0, 2]\n"),
        ("[p.T]\nlow = 1\n", "p.T.low", 2, "[p.T]\nlow = 2\n"),
        ("[a]\nb = '''\nc = 1\n'''\nc = 2\n", "a.c", 3, "[a]\nb = '''\nc = 1\n'''\nc = 3\n"),
    ],
)
def test_a_key_is_set_and_all_else_left(before, keys, value, after):
    assert text.set_key(before, text.read_key(keys), value) == after


def test_a_key_that_cannot_be_set_is_refused():
    # The file sets the table's key by an escape, which no line of it shows.
    with pytest.raises(InvalidInput, match=r"run\.rounds = 5.*under \[run\]"):
        text.set_key('"r\\u0075n" = { rounds = 3 }\n', ["run", "rounds"], 5)


@pytest.mark.parametrize(
    "value",
    [1, -2.5, 1e-12, 1e300, True, 'a "b" \\ c\nd\x7f', "μ", [], [1, 2.5], ["a", ["b"]], {},
     {"a b": 1, "c": {"d": [True]}}],
)  # fmt: skip
def test_values_are_written_as_they_are_read(value):
    assert tomllib.loads(f"value = {text.dump(value)}")["value"] == value


def test_values_of_flags():
    assert [text.read_value(v) for v in ("3", "[1, 2]", '"3"', "apt", "runs/a b", "")] == [
        3, [1, 2], "3", "apt", "runs/a b", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "five"], r"run\.rounds = 'five'.*a whole number"),
        (["--set", "training.batch_size"], r"--set = 'training.batch_size'.*KEY=VALUE"),
        (["--set", "training.batchsize=50"], r"key = 'batchsize'.*Did you mean 'batch_size'"),
        (["--set", "seed=50"], r"key = 'seed'.*must be TABLE\.KEY"),
        (["--set", "a b=50"], r"key = 'a b'.*must be TABLE\.KEY"),
        (["--set", "parameters.offset.low=1"], "must not lie in offset, which is no table"),
        (["--method", "ap"], r"run\.method = 'ap'.*Did you mean 'apt'"),
    ],
)
def test_mistakes_in_flags_are_named(flags, message, setup_file, capsys):
    assert cli.main(["run", str(setup_file), "--output", str(setup_file.parent), *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (setup_file.parent / "calls.txt").exists()
    assert not (setup_file.parent / "config.toml").exists()


# -- dry runs ----------------------------------------------------------------------------------


def test_a_dry_run_takes_three_calls_and_leaves_nothing(setup_file, capsys, monkeypatch):
    monkeypatch.chdir(setup_file.parent)
    before = set(setup_file.parent.iterdir())
    assert cli.main(["run", str(setup_file), "--dry-run", "--seed", "7"]) == 0
    shown = capsys.readouterr().out
    calls = (setup_file.parent / "calls.txt").read_text().split()
    assert len(calls) == len(set(calls)) == 3
    assert all(0 <= float(level) <= 1 for level in calls)
    new = {path.name for path in set(setup_file.parent.iterdir()) - before}
    assert new <= {"calls.txt", "__pycache__"}
    for line in (
        r"level +mJy +uniform from 0 to 1",
        r"offset +fixed at 3",
        r"slope +equal to level",
        r"channels +20 of 'spectrum', 1 to 2 um, median error 0\.1",
        r"rounds +3 by 'truncated', of 300, 200, 100 simulations",
        r"simulator calls +1,000, 400 of them to correct",
        r"runs +in 4 processes",
        r"time simulating +about [\d.e-]+ s",
    ):
        assert re.search(line, shown)


def test_a_dry_run_predicts_the_time_of_slow_models(setup_file, capsys):
    slow = MODEL.replace("    return np.full", "    import time; time.sleep(0.4); return np.full")
    setup_file.with_name("counted.py").write_text(slow)
    assert cli.main(["run", str(setup_file), "--dry-run", "--set", "run.stop=converged"]) == 0
    # 1,000 calls of 0.4 s in four processes take 100 s; a busy machine is slower, none is faster.
    found = re.search(r"simulating +at most about (\S+) (min|s)\n", capsys.readouterr().out)
    assert 99 <= float(found[1]) * {"min": 60, "s": 1}[found[2]] < 200


@pytest.mark.parametrize(
    ("function", "message"),
    [("failing", "all 3 timed calls failed.*no convergence"), ("wrong", r"shape \(3,\); expected")],
)
def test_a_dry_run_says_what_is_wrong_with_the_simulator(function, message, setup_file, capsys):
    name = f"simulator.name=counted:{function}"
    assert cli.main(["run", str(setup_file), "--dry-run", "--set", name]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0314, "about 0.031 s"), (99, "about 99 s"), (150, "about 2 min"), (4000, "about 1 h 7 min"),
     (7199, "about 2 h 0 min"), (200000, "about 2 d 8 h")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


# -- from ARCiS --------------------------------------------------------------------------------

ARCIS = """\
* a hot Jupiter
planetname='b'
Mp=0.28d0
Rp=1.2
Rp=1.27
obs1:type='trans'
obs1:file='data/prism.dat'
obs1:beta=2.0
obs2:type='emisR'
obs2:file='data/miri.dat'
npop=500
fitpar:keyword="Rp"
fitpar:min=0.8d0
fitpar:max=1.6d0
fitpar:init=1.2
fitpar:keyword="cloud1:P"
fitpar:min=1d-6
fitpar:max=1d1
fitpar:log=.true.
"""


@pytest.mark.usefixtures("_codes")
def test_an_arcis_file_is_converted(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prism.dat").write_text("3.0 0.1 1d-3 100\n2.0 0.2 2d-3 50\n")
    (tmp_path / "data" / "miri.dat").write_text("5.0 0.1 1d-3\n")
    (tmp_path / "planet.in").write_text(ARCIS)
    file = tmp_path / "ours" / "planet.toml"
    assert cli.main(["init", "--from-arcis", str(tmp_path / "planet.in"), str(file)]) == 0
    setup = config.load(file)
    space, (first, second) = setup.retrieval.space, setup.retrieval.observation.parts
    assert space.priors["Rp"].describe() == fp.Uniform(0.8, 1.6).describe()
    assert space.priors["cloud1:P"].describe() == fp.LogUniform(1e-6, 10).describe()
    np.testing.assert_array_equal(first.wavelength, [2, 3])
    np.testing.assert_allclose(first.bin_width, [2 / 50, 3 / 100])
    assert (first.name, first.unit) == ("obs1", "(R_planet/R_star)^2")
    assert (second.name, second.unit, second.n_channels) == ("obs2", "F_planet/F_star", 1)
    written = file.read_text()
    fixed, left = written[written.index("# Fixed") :].split("# Not converted, for")
    assert re.findall(r"^#   (.*)", fixed, re.MULTILINE) == ["mp=0.28d0", "rp=1.27", "npop=500"]
    assert re.findall(r"^#   (.*)", left, re.MULTILINE) == [
        "obs1:beta=2.0",
        "fitpar:init=1.2 of Rp",
    ]

    # Another spectrum than the one that ARCiS computes is told by its channels.
    with pytest.raises(
        InvalidFile, match=r"file of dataset 'obs1'.*must have the channels of obs1"
    ):
        config.load(file, {"observations.obs1.file": "../data/miri.dat"})


@pytest.mark.usefixtures("_codes")
def test_an_arcis_file_of_one_observation_is_converted(tmp_path):
    (tmp_path / "prism.dat").write_text("3.0 0.1 1d-3 100\n2.0 0.2 2d-3 50\n")
    text = ARCIS.replace("data/", "").replace("obs2:type='emisR'\nobs2:file='miri.dat'\n", "")
    (tmp_path / "planet.in").write_text(text)
    (tmp_path / "planet.toml").write_text(from_arcis(tmp_path / "planet.in", tmp_path))
    observation = config.load(tmp_path / "planet.toml").retrieval.observation
    assert (observation.name, observation.n_channels) == ("obs1", 2)


def test_what_arcis_cannot_be_asked_for_is_refused(tmp_path, capsys):
    file = str(tmp_path / "planet.toml")
    assert cli.main(["init", "--from-arcis", str(tmp_path / "none.in"), file]) == 2
    assert "must be readable" in capsys.readouterr().err
    (tmp_path / "planet.in").write_text('fitpar:keyword="tprofile"\n')
    with pytest.raises(InvalidInput, match="tprofile stands for all points"):
        from_arcis(tmp_path / "planet.in", tmp_path)


# -- documentation -----------------------------------------------------------------------------


def test_the_page_on_input_files_has_every_key():
    page = (HERE.parent / "docs" / "input_files.md").read_text()
    assert page.endswith(f"\n{reference.markdown()}"), "put reference.markdown() at its end"


def test_every_key_is_described():
    for table in reference.all_tables():
        if table.name != "parameters":
            assert [name for name, key in table.keys.items() if not key.text] == []
