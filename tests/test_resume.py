"""Runs that are killed, interrupted, extended and reused: nothing simulated is lost."""

import collections
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import gone

import floppity_jax as fp
from floppity_jax import simulations
from floppity_jax.errors import RunDirectoryError, SimulatorError
from floppity_jax.instrument import Offset
from floppity_jax.rounds import Model

pytestmark = pytest.mark.store

SCRIPT = pathlib.Path(__file__).with_name("killed.py")
GRID = np.linspace(-1, 1, 6)
PRIORS = {"a": fp.Uniform(-2, 2), "b": (-1.0, 1.0)}
SMALL = {
    "flow": fp.FlowConfig(members=1, transforms=2),
    "training": fp.TrainingConfig(patience=3, max_epochs=20),
}


def _run(directory, where=""):
    """Run the script; return its exit status and what it printed."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, directory, where], stdout=subprocess.PIPE, text=True, check=False
    )
    return ended.returncode, ended.stdout


def _calls(directory):
    lines = pathlib.Path(directory).with_suffix(".calls").read_text().splitlines()
    return [line.split()[0] for line in lines], [line.split()[1] for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "run"
    code, printed = _run(directory)
    assert code == 0
    assert len(set(_calls(directory)[1])) == len(_calls(directory)[1])
    return printed


@pytest.mark.parametrize("where", ["simulation", "training", "checkpoint"])
def test_a_killed_run_ends_the_same_to_the_last_bit(tmp_path, undisturbed, where):
    directory = tmp_path / "run"
    assert _run(directory, where)[0] == -signal.SIGKILL
    assert not list(directory.glob("rounds/round_02.npz"))
    assert _run(directory) == (0, undisturbed)
    pids, parameters = _calls(directory)
    # It killed itself as soon as a second piece was written: twice comes only what was in flight.
    again = sum(count - 1 for count in collections.Counter(parameters).values())
    assert again <= (30 if where == "simulation" else 0)
    assert all(gone(pid) for pid in set(pids))
    assert not list(directory.rglob("*.parts"))
    assert not list(directory.rglob(".*"))


def test_an_interrupt_leaves_a_run_to_resume_and_no_process(tmp_path, undisturbed):
    """Ctrl-C in the middle of simulations that hang."""
    directory = tmp_path / "run"
    running = subprocess.Popen(
        [sys.executable, SCRIPT, directory, "wait"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while (
        not list(directory.rglob("00_proposal.npz")) or not directory.with_suffix(".calls").exists()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in running.communicate(timeout=20)[1]
    pids, parameters = _calls(directory)
    assert all(gone(pid) for pid in set(pids))
    assert _run(directory) == (0, undisturbed)
    # Those that hung, one in each of the two processes, and no other, are run again.
    again = collections.Counter(_calls(directory)[1][len(parameters) :])
    assert sum(again[p] for p in set(parameters)) <= 3


def line(p):
    if p["a"] > 1.8:
        raise ValueError("too steep")
    return p["a"] * GRID + p["b"]


def _retrieval(simulator=line, value=0.7, **changes):
    observation = fp.Observation(value * GRID + 0.2, 0.05 * np.ones(6))
    return fp.Retrieval(simulator, PRIORS, observation, **{**SMALL, "pool": 1, **changes})


def test_a_round_is_filled_up_with_fresh_draws(tmp_path):
    record = _retrieval().run(2, 200, directory=tmp_path / "run", progress=False).record
    for info in record.rounds:
        assert info.simulations - info.failures == 200
    assert 0 < record.rounds[0].failures < 40  # one in 20 of the prior
    with np.load(tmp_path / "run" / "simulations" / "round_01.npz") as stored:
        texts = stored["failure_texts"]
        assert len(texts) == len(stored["failed_rows"]) == record.rounds[0].failures
        assert all(text.startswith("ValueError: too steep") for text in texts)
        assert (stored["theta"][stored["failed_rows"], 0] > 1.8).all()
        assert np.isnan(stored["spectra"][stored["failed_rows"]]).all()
    expected = record.rounds[0].failures / record.rounds[0].simulations
    assert record.excluded_share == expected


class Mendable:
    """A simulator whose failures can be mended without its being another."""

    def __init__(self, folder, fails):
        self.folder = folder
        self.fails = fails
        self.broken = folder / "broken"
        self.broken.touch()

    def fingerprint(self):
        return "the same"

    def __call__(self, p):
        with open(self.folder / "calls", "a") as file:
            file.write("x")
        if self.broken.exists() and self.fails(p):
            raise OSError("no opacities")
        return p["a"] * GRID + p["b"]


def test_a_run_stopped_by_failures_goes_on_once_they_are_mended(tmp_path):
    model = Mendable(tmp_path, lambda p: p["b"] > -0.5)
    with pytest.raises(SimulatorError, match="no opacities"):
        _retrieval(model).run(1, 200, directory=tmp_path / "run", progress=False)
    tried = len((tmp_path / "calls").read_text())
    (piece,) = (tmp_path / "run" / "simulations").rglob("00.parts/*.npz")
    with np.load(piece) as kept:
        good = len(kept["rows"])
        assert 0 < good < tried
        assert np.isfinite(kept["spectra"]).all()
    model.broken.unlink()
    run = _retrieval(model).run(1, 200, directory=tmp_path / "run", resume=True, progress=False)
    assert run.record.rounds[0].failures == 0
    assert len((tmp_path / "calls").read_text()) == tried + 200 - good


def test_failures_of_every_part_are_run_again_once_they_are_mended(tmp_path):
    """Also those of parts of a round that had ended before it stopped."""
    model = Mendable(
        tmp_path, lambda p: p["a"] > 0.4 or len(list(tmp_path.rglob("01_proposal.npz")))
    )
    with pytest.raises(SimulatorError, match="no opacities"):
        _retrieval(model).run(1, 200, directory=tmp_path / "run", progress=False)
    assert list(tmp_path.rglob("01_proposal.npz"))
    model.broken.unlink()
    run = _retrieval(model).run(1, 200, directory=tmp_path / "run", resume=True, progress=False)
    assert run.record.rounds[0].failures == 0
    assert run.record.rounds[0].simulations == 200


def test_pieces_of_other_parameters_are_not_taken_up(tmp_path):
    store = simulations.RunDirectory(tmp_path, {"simulations": [4]}, resume=False)

    def run(theta, rows):
        yield simulations.Finished(rows[:2], theta[rows[:2]], {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulations.collect(store, "x", np.arange(8.0).reshape(4, 2), 2, run)
    other = np.arange(8.0).reshape(4, 2) + 1
    with pytest.warns(UserWarning, match="computed from something else"):
        result = simulations.collect(
            store, "x", other, 2,
            lambda theta, rows: (f for f in [simulations.Finished(rows, theta[rows], {})]),
        )  # fmt: skip
    np.testing.assert_array_equal(result.spectra, other)


def test_a_row_that_is_kept_is_not_replaced(tmp_path):
    """A batch that is run again for one row may fail where it did not before."""
    store = simulations.RunDirectory(tmp_path, {"simulations": [4]}, resume=False)
    theta = np.ones((2, 2))
    store.add_piece(
        "x",
        simulations._arrays([simulations.Finished(np.array([0]), theta[:1], {})]),
        after=simulations.digest(theta),
    )
    both = simulations.Finished(np.arange(2), np.full((2, 2), np.nan), {0: "lost", 1: "lost"})
    result = simulations.collect(store, "x", theta, 2, lambda theta, rows: (f for f in [both]))
    assert result.failures == {1: "lost"}
    np.testing.assert_array_equal(result.spectra[0], [1, 1])


def test_many_pieces_are_put_together(tmp_path, monkeypatch):
    monkeypatch.setattr(simulations, "MOST_PIECES", 4)
    monkeypatch.setattr(simulations, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(simulations, "SPARING", 0.0)
    store = simulations.RunDirectory(tmp_path, {"simulations": [20]}, resume=False)
    theta = np.arange(40.0).reshape(20, 2)
    seen = []

    def run(theta, rows):
        for row in rows:
            seen.append(len(list(tmp_path.rglob("0*.npz"))))
            yield simulations.Finished(rows[row : row + 1], theta[rows[row : row + 1]], {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulations.collect(store, "x", theta, 2, run)
    assert max(seen) == 4
    result = simulations.collect(store, "x", theta, 2, lambda theta, rows: (f for f in ()))
    np.testing.assert_array_equal(result.spectra, theta)


def test_a_smaller_share_of_failures_can_be_asked_for():
    pool = fp.Pool(1, most_failures=0.01)
    with pytest.raises(SimulatorError, match=r"\d+ of 200 simulations failed.*too steep"):
        _retrieval(pool=pool).run(1, 200, progress=False)


def test_rounds_are_added_to_a_finished_run(tmp_path):
    first = _retrieval().run(1, 200, directory=tmp_path, progress=False)
    longer = _retrieval().run(2, 200, directory=tmp_path, resume=True, progress=False)
    assert longer.record.rounds[0].training == first.record.rounds[0].training
    assert longer.record.rounds[0].quantiles == first.record.rounds[0].quantiles
    again = _retrieval().run(2, 200, directory=tmp_path, resume=True, progress=False)
    np.testing.assert_array_equal(longer.sample(5), again.sample(5))


def test_prior_simulations_of_another_run_are_taken_over(tmp_path):
    other = _retrieval().run(1, 150, directory=tmp_path / "other", progress=False)
    assert other.record.rounds[0].simulations >= 150
    calls = tmp_path / "calls"

    def count(self, theta, rows, **options):
        calls.write_text(f"{len(rows)}")
        return stream(self, theta, rows, **options)

    stream = Model.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "stream", count)
        run = _retrieval(value=0.5).run(
            1, 200, directory=tmp_path / "run", reuse=tmp_path / "other", progress=False
        )
    info = run.record.rounds[0]
    assert info.simulations - info.failures == 200
    assert int(calls.read_text()) < 60
    assert run.record.simulator_calls == info.simulations - info.taken_over < 70
    # Of its own observation, whose posterior has means 0.5 and 0.2 and deviations 0.03 and 0.02.
    corrected = run.importance_sample(1000)
    assert corrected.ess > 50
    assert np.abs(corrected.sample(5000).mean(axis=0) - [0.5, 0.2]).max() < 5 * 0.03 / 50**0.5


def test_simulations_taken_over_twice_are_not_drawn_twice(tmp_path):
    """Each fills up what it took over, by the same seed: the fresh draws must be others."""
    for name, n, reuse in (("a", 100, None), ("b", 150, "a"), ("c", 200, "b")):
        _retrieval().run(
            1, n, directory=tmp_path / name, reuse=reuse and tmp_path / reuse, progress=False
        )
    with np.load(tmp_path / "c" / "simulations" / "round_01.npz") as stored:
        assert len(np.unique(stored["theta"], axis=0)) == len(stored["theta"]) >= 200
    smaller = _retrieval().run(1, 120, reuse=tmp_path / "c", progress=False).record
    assert smaller.simulator_calls == 0
    assert smaller.rounds[0].simulations - smaller.rounds[0].failures == 120


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": fp.Observation(GRID, np.ones(6), name="other")}, "its spectra are not"),
        ({"parameters": {"a": (-1.0, 2.0), "b": (-1.0, 1.0)}}, "its parameters are not those"),
        ({"simulator": lambda p: 2 * line(p)}, "its simulator are not those"),
        ({"observation": fp.Observation(np.ones(5), np.ones(5))}, "its spectra are not those"),
        ({"instrument": [Offset("b")]}, "its simulator parameters are not those"),
    ],
)
def test_prior_simulations_of_another_problem_are_refused(tmp_path, change, message):
    _retrieval().run(1, 100, directory=tmp_path, progress=False)
    settings = {
        "simulator": line, "parameters": PRIORS,
        "observation": fp.Observation(GRID, 0.05 * np.ones(6)), **SMALL, **change,
    }  # fmt: skip
    with pytest.raises(RunDirectoryError, match=message):
        fp.Retrieval(**settings).run(1, 100, reuse=tmp_path, progress=False)


def test_simulations_that_others_follow_from_are_not_replaced_unseen(tmp_path):
    """A damaged first round, of a simulator that draws at random, comes out otherwise."""

    def noisy(p):
        return p["a"] + np.random.default_rng().normal(size=6)

    def run(resume):
        observation = fp.Observation(np.full(6, 0.5))
        retrieval = fp.Retrieval(noisy, {"a": fp.Normal(0, 1)}, observation, **SMALL, pool=1)
        return retrieval.run(2, 200, directory=tmp_path, resume=resume, progress=False)

    run(False)
    (tmp_path / "simulations" / "round_01.npz").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="set aside") as caught:
        run(True)
    aside = {str(p.relative_to(tmp_path)) for end in ("damaged", "stale") for p in
             tmp_path.rglob(f"*.{end}")}  # fmt: skip
    assert aside == {
        "simulations/round_01.npz.damaged", "rounds/round_01.npz.stale",
        "simulations/round_02.npz.stale", "rounds/round_02.npz.stale",
    }  # fmt: skip
    # One of them damaged; of those that followed from it, Python tells once a folder.
    assert len({str(w.message) for w in caught}) == 3


def test_a_collected_piece_is_not_simulated_again(tmp_path):
    store = simulations.RunDirectory(tmp_path, {"simulations": [4]}, resume=False)
    theta = np.arange(8.0).reshape(4, 2)
    asked = []

    def run(theta, rows):
        asked.append(rows.tolist())
        for row in rows[:2]:
            yield simulations.Finished(np.array([row]), theta[[row]], {})
        if len(asked) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulations.collect(store, "x", theta, 2, run)
    result = simulations.collect(store, "x", theta, 2, run)
    assert asked == [[0, 1, 2, 3], [2, 3]]
    np.testing.assert_array_equal(result.spectra, theta)


def test_failures_are_forgotten_without_losing_spectra_where_there_is_no_room(
    tmp_path, monkeypatch
):
    """The good spectra are written anew before the pieces that held them are removed."""
    directory = simulations.RunDirectory(tmp_path, {"simulations": [4]}, resume=False)
    theta = np.arange(8.0).reshape(4, 2)

    def run(theta, rows):
        yield simulations.Finished(np.arange(3), theta[:3], {})
        yield simulations.Finished(np.array([3]), np.full((1, 2), np.nan), {3: "no opacities"})

    result = simulations.collect(directory, "x", theta, 2, run)

    def no_room(path, arrays):
        raise RunDirectoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("floppity_jax.store.write_arrays", no_room)
        with pytest.raises(RunDirectoryError, match="no room"):
            simulations.forget_failures(directory, "x", theta, result)
    after = simulations.digest(theta)

    def rows():
        return [piece["rows"].tolist() for piece in directory.pieces("x", after=after)]

    assert sorted(sum(rows(), [])) == [0, 1, 2, 3]
    simulations.forget_failures(directory, "x", theta, result)
    assert rows() == [[0, 1, 2]]
    directory.add_piece("x", {"rows": np.array([3])}, after=after)
    assert rows() == [[0, 1, 2], [3]]
