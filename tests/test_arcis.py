"""The adapter for ARCiS, on a stand-in that follows ARCiS's rules and misbehaves on request."""

import os
import pathlib
import pickle
import re
import sys
import time

import numpy as np
import pytest

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.simulators import ARCiS, simulator_kind

HERE = pathlib.Path(__file__).parent
INPUT = """\
* comment: fitpar:keyword="no"
# fitpar:keyword="neither"
 fitpar:keyword="nor this: the line begins with a blank"
Rp =  1.0   ! a value, not a parameter
makeai=.false.
obs2:file='data/miri.dat'
OBS1:Type="trans"
obs1:file ="data/prism.dat"
obs2:type='emisR'
fitpar:keyword="Rp"
fitpar:max=2d0   ! a comment
fitpar:min=0.5D0
fitpar:keyword='H2O'
fitpar:log=.TRUE.
fitpar:max=1d-1
fitpar:min=1d-12
fitpar:init=1d-4
retpar:parameter="cloud1:P"
retpar:xmin=-.5
retpar:logscale=f"""
THETA = {"cloud1:P": 0.25, "Rp": 1.5, "H2O": 1e-3}
BAD = {**THETA, "Rp": 1.95}
GOOD = {**THETA, "Rp": 1.25}
PRISM = "wavelength depth error R\n3.0 0.1 1d-3 100\n2.0 0.2 2d-3 50\n1.0 0.3 3d-3 20\n\n"
MIRI = "# um\n5.0 0.1 1d-3\n6.0 0.2 2d-3\n"


@pytest.fixture
def executable(tmp_path):
    path = tmp_path / "bin" / "ARCiS"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable} -IS\n{(HERE / 'fake_arcis.py').read_text('utf-8')}")
    path.chmod(0o755)
    return path


@pytest.fixture
def make(tmp_path, executable):
    """Make a simulator from the text of an input file."""
    folder = tmp_path / "planet b"  # only the scratch folder must have a plain name
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "prism.dat").write_text(PRISM)
    (folder / "data" / "miri.dat").write_text(MIRI)
    (tmp_path / "scratch").mkdir()

    def make(text=INPUT, fault="", **options):
        (folder / "planet.in").write_text(text)
        return ARCiS(
            folder / "planet.in",
            executable=executable,
            scratch=tmp_path / "scratch",
            environment={"FAKE_ARCIS": fault},
            **options,
        )

    return make


def model(theta, wavelength):
    return theta["Rp"] + theta["H2O"] * wavelength + theta["cloud1:P"] * wavelength**2


def close(spectrum, theta, wavelength=(1.0, 2.0, 3.0)):
    expected = model(theta, np.array(wavelength))
    np.testing.assert_allclose(spectrum, expected, rtol=1e-13, strict=True)


def grid(*thetas):
    return {name: np.array([theta[name] for theta in thetas]) for name in THETA}


def left(tmp_path):
    return sorted((tmp_path / "scratch").iterdir())


def test_reads_the_input_file_as_arcis_does(make):
    simulator = make()
    assert simulator.parameters == ("Rp", "H2O", "cloud1:P")
    priors = simulator.priors()
    assert list(priors) == ["Rp", "H2O", "cloud1:P"]
    assert [prior.scale for prior in priors.values()] == ["linear", "log", "linear"]
    bounds = [prior.support for prior in priors.values()]
    np.testing.assert_allclose(bounds, [(0.5, 2.0), (1e-12, 0.1), (-0.5, 1.0)])
    prism, miri = simulator.observations().values()
    np.testing.assert_array_equal(prism.wavelength, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(prism.values, [0.3, 0.2, 0.1])
    np.testing.assert_array_equal(prism.errors, [3e-3, 2e-3, 1e-3])
    np.testing.assert_array_equal(prism.bin_width, [1 / 20, 2 / 50, 3 / 100])
    assert (prism.name, prism.unit) == ("obs1", "(R_planet/R_star)^2")
    assert miri.bin_width is None
    assert (miri.name, miri.unit) == ("obs2", "F_planet/F_star")


def test_simulates_each_observation_and_cleans_up(make, tmp_path, monkeypatch):
    simulator = pickle.loads(pickle.dumps(make()))
    assert simulator_kind(simulator) == "scalar"
    monkeypatch.chdir(tmp_path)  # the input file's folder counts, not ours
    spectra = simulator(THETA)
    assert list(spectra) == ["obs1", "obs2"]
    close(spectra["obs1"], THETA)
    close(spectra["obs2"], THETA, (5.0, 6.0))
    assert left(tmp_path) == []
    assert sorted(os.listdir(tmp_path / "planet b")) == ["data", "planet.in"]


def test_one_observation_gives_an_array(make):
    text = INPUT.replace("obs2:", "*")
    close(make(text)(THETA), THETA)


def test_batches_are_split_into_runs(make):
    simulator = make(batch=2)
    assert simulator_kind(simulator) == "batched"
    thetas = [{**THETA, "Rp": 0.6 + i / 10} for i in range(5)]
    spectra = simulator(grid(*thetas))
    assert spectra["obs2"].shape == (5, 2)
    for row, theta in zip(spectra["obs1"], thetas, strict=True):
        close(row, theta)


FAULTS = {
    "crash": "killed by signal 11 (Segmentation fault). Last lines of stderr.txt:\nforrtl: severe",
    "exit": "ended with exit code 3",
    "silent": "ended with exit code 0",
    "unknown keyword": "Keyword not recognised: foo",
    "no folder": "began no model",
    "no obs002": "obs002",
    "nan": "obs001 holds numbers that are not finite",
    "columns": "line 1 of obs001",
    "short": "obs001 holds 2 channels where the observation has 3",
    "shifted": "obs001 has other wavelengths",
    "failed model": "there is no mixingratios.dat",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_says_why_and_where(make, tmp_path, fault):
    with pytest.raises(SimulatorError, match=re.escape(FAULTS[fault])) as caught:
        make(fault=fault)(BAD)
    (kept,) = left(tmp_path)
    assert f"kept: {kept}" in str(caught.value)


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"silent", "unknown keyword"}))
def test_a_bad_row_costs_the_others_nothing(make, tmp_path, fault):
    thetas = [THETA, BAD, GOOD, THETA, GOOD]
    spectra = make(fault=fault, batch=5)(grid(*thetas))["obs1"]
    for row, theta in zip(spectra, thetas, strict=True):
        if theta is BAD:
            assert np.isnan(row).all()
        else:
            close(row, theta)
    (kept,) = left(tmp_path)
    assert FAULTS[fault] in (kept / "failures.txt").read_text("utf-8")


def test_a_hanging_row_costs_its_time_and_no_more(make, tmp_path):
    start = time.perf_counter()
    spectra = make(fault="hang", batch=3, timeout=0.5)(grid(THETA, BAD, GOOD))["obs1"]
    assert time.perf_counter() - start < 20
    close(spectra[0], THETA)
    assert np.isnan(spectra[1]).all()
    close(spectra[2], GOOD)
    (kept,) = left(tmp_path)
    assert "killed at its time limit of 1.5 s" in (kept / "failures.txt").read_text("utf-8")


def test_a_run_that_does_not_start_is_not_repeated(make, tmp_path):
    with pytest.raises(SimulatorError, match="not recognised"):
        make(fault="unknown keyword", batch=4)(grid(THETA, BAD, GOOD, THETA))
    assert len(left(tmp_path)) == 1


def test_the_spectrum_of_the_model_before_is_refused_unless_all_are_trusted(make):
    """What ARCiS writes for a model that did not converge is the spectrum of another."""
    trusting = make(fault="failed model", batch=2, proof=None)(grid(THETA, BAD))["obs1"]
    close(trusting[1], THETA)
    spectra = make(fault="failed model", batch=2)(grid(THETA, BAD))["obs1"]
    assert np.isnan(spectra[1]).all()


def test_folders_of_earlier_runs_are_never_read(make, tmp_path):
    with pytest.raises(SimulatorError):
        make(fault="nan")(BAD)
    make()(THETA)
    (kept,) = left(tmp_path)
    assert (kept / "output" / "model000001" / "obs001").exists()
    for place in ("planet b/outputARCiS", "planet b/output", "scratch/output"):
        stale = tmp_path / place / "model000001"
        stale.mkdir(parents=True)
        for name in ("parameters", "mixingratios.dat"):
            (stale / name).touch()
        (stale / "obs001").write_text("1.0 9.0\n2.0 9.0\n3.0 9.0\n")
        (stale / "obs002").write_text("5.0 9.0\n6.0 9.0\n")
    close(make()(GOOD)["obs1"], GOOD)
    with pytest.raises(SimulatorError, match="began no model"):
        make(fault="silent")(GOOD)


def test_threads_and_exact_grid(make, tmp_path):
    with pytest.raises(SimulatorError):
        make(fault="nan", threads=3)({**BAD, "cloud1:P": 1 / 3})
    (kept,) = left(tmp_path)
    assert "threads 3" in (kept / "stdout.txt").read_text("utf-8")
    np.testing.assert_array_equal(np.loadtxt(kept / "grid.dat"), [1.95, -3.0, 1 / 3])
    text = (kept / "input.dat").read_text("utf-8")
    assert text == INPUT + "\nmakeai=.true.\n"


def test_fingerprint_follows_what_the_spectra_depend_on(make, tmp_path):
    first = make().fingerprint()
    assert make(batch=3, threads=2, timeout=5.0).fingerprint() == first
    assert make(INPUT + "\nnr=30").fingerprint() != first
    assert make(proof=None).fingerprint() != first
    assert make(fault="x").fingerprint() != first
    (tmp_path / "planet b" / "data" / "miri.dat").write_text(MIRI + "7.0 0.1 0.1\n")
    assert make().fingerprint() != first


def edited(old, new):
    assert old in INPUT
    return INPUT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (edited('"Rp"', "tprofile"), "tprofile stands for all points"),
        (edited("'H2O'", '"Rp"'), r"line 13 of planet.in.*name each parameter once"),
        (edited('"cloud1:P"', '"model_err_abs"'), "compares it with the data"),
        (edited('"cloud1:P"', '"obs1:adderr"'), "compares it with the data"),
        (edited('"Rp"', '"Rp" ! radius'), "closing quote"),
        (edited("fitpar:max=2d0", "fitpar:max=two"), r"fitpar:max \(line 11.*must be a number"),
        (edited("2d0   ! a comment", "2d0! a comment"), "must be a number"),
        (edited(".TRUE.", "yes"), "must be .true. or .false."),
        (edited("1d-12", "0"), "min above 0 to be logarithmic"),
        (edited("xmin=-.5", "xmin=1"), "min < max, but they are 1 and 1"),
        (edited("fitpar:init=1d-4", "fitpar:square=.true."), "neither uniform nor log-uniform"),
        (edited('fitpar:keyword="Rp"', ""), "must follow a fitpar:keyword line"),
        ("obs1:file=data/prism.dat\nRp=1", "must hold a retrieval parameter"),
        (edited("obs2:file", "obs3:file").replace("obs2:type", "*"), r"without gaps.*\[1, 3\]"),
        (edited("obs2:file", "*"), "must have a file"),
        (edited("obs2:file=", "obs2:file= "), "must follow the = at once"),
        (edited("data/miri.dat", "data/lacking.dat"), "must have a file that exists"),
        (edited("'emisR'", "prior"), "writes no model spectrum"),
        ("fitpar:keyword=Rp", "number its observations from 1"),
        (INPUT + "\npew=.true.", "computes no grid of models"),
    ],
)
def test_refuses_input_files(make, text, told):
    with pytest.raises(InvalidInput, match=told):
        make(text)


@pytest.mark.parametrize(
    ("spectrum", "told"),
    [
        ("1.0 0.1 0.1\n2.0 0.2\n", "line 2 .*wavelength, value and error"),
        ("1.0 0.1 0.1\n\n2.0 0.2 0.1\n", "line 3 .*no blank line above"),
        ("title only\n", "holds no numbers"),
        ("1.0 0.1 0.1\n1.0 0.2 0.1\n", "must increase"),
        ("1.0 0.1 -0.1\n", "above 0"),
    ],
)
def test_refuses_observations(make, tmp_path, spectrum, told):
    (tmp_path / "planet b" / "data" / "miri.dat").write_text(spectrum)
    with pytest.raises(InvalidInput, match=told):
        make()


def test_refuses_arguments(make, tmp_path, executable):
    for options, told in [({"batch": 0}, "batch"), ({"threads": 1.5}, "threads"),
                          ({"timeout": -1.0}, "timeout")]:  # fmt: skip
        with pytest.raises(InvalidInput, match=told):
            make(**options)
    make()
    file = tmp_path / "planet b" / "planet.in"
    with pytest.raises(InvalidInput, match="hands its output folder to a shell"):
        ARCiS(file, executable=executable, scratch=tmp_path / "planet b")
    with pytest.raises(InvalidInput, match="on PATH"):
        ARCiS(file, executable=tmp_path / "lacking")
    with pytest.raises(InvalidInput, match="must be readable"):
        ARCiS(tmp_path / "lacking.in", executable=executable)


def test_refuses_calls(make, tmp_path):
    with pytest.raises(InvalidInput, match="must be"):
        make()({"Rp": 1.0})
    with pytest.raises(InvalidInput, match="above 0, for it is logarithmic"):
        make()({**THETA, "H2O": 0.0})
    assert left(tmp_path) == []


def test_the_example_of_the_docs(tmp_path, monkeypatch, executable):
    """The input file and the Python block of the page, as they stand."""
    text = (HERE.parent / "docs" / "arcis.md").read_text("utf-8")
    ((_, ini), (_, code)) = re.findall(r"```(ini|python)\n(.*?)```", text, re.DOTALL)
    (tmp_path / "wasp39b.in").write_text(ini)
    (tmp_path / "wasp39b.dat").write_text("1.0 0.02 1d-4 100\n2.0 0.02 1d-4 100\n")
    monkeypatch.setenv("PATH", str(executable.parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(code, namespace)
    np.testing.assert_allclose(namespace["spectrum"], [1.27 + 1e-4, 1.27 + 2e-4], rtol=1e-12)
    assert namespace["retrieval"].space.names == ("Rp", "H2O")
