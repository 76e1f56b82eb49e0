"""The run directory: whole files only, and no mixing of runs."""

import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import resource
import signal
import sys

import numpy as np
import pytest

from floppity_jax import store
from floppity_jax.errors import RunDirectoryError
from floppity_jax.fingerprint import digest, fingerprint
from floppity_jax.simulators import per_worker
from floppity_jax.store import (
    RunDirectory,
    RunDirectoryWarning,
    read_arrays,
    write_arrays,
)

pytestmark = pytest.mark.store

SETUP = {"seed": 0, "parameters": {"T": {"args": (300.0, 3000.0)}}, "simulations": [100, 100]}


def test_arrays_travel(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3), "texts": np.array(["a", "bc"])}
    write_arrays(tmp_path / "a.npz", arrays)
    again = read_arrays(tmp_path / "a.npz")
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(file):
        file.write(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_array_is_ever_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunDirectoryError, match="a.npz is damaged"):
        read_arrays(tmp_path / "a.npz")


def test_work_is_done_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3.0)}

    for resume in (False, True):
        run = RunDirectory(tmp_path / "run", SETUP, resume=resume)
        np.testing.assert_array_equal(run.remember("rounds/round_01", compute)["x"], [0, 1, 2])
    assert calls == [1]
    assert (tmp_path / "run" / "rounds" / "round_01.npz").is_file()


def test_failed_work_is_not_remembered(tmp_path):
    run = RunDirectory(tmp_path, SETUP, resume=False)

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run.remember("rounds/x", fail)
    assert run.remember("rounds/x", lambda: {"x": np.ones(1)})["x"] == 1


def test_a_run_in_the_way_is_refused(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    with pytest.raises(RunDirectoryError, match="already holds a run.*resume=True"):
        RunDirectory(tmp_path, SETUP, resume=False)


def test_another_setup_is_refused_and_the_difference_spelled_out(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    other = {key: value for key, value in SETUP.items() if key != "simulations"}
    other |= {"seed": 3, "method": "apt"}
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory(tmp_path, other, resume=True)
    text = str(caught.value)
    assert "seed: 0 in the folder, 3 now" in text
    assert 'method: null in the folder, "apt" now' in text
    assert "simulations: [100, 100] in the folder, null now" in text
    assert "parameters" not in text


def test_parts_without_a_manifest_are_refused(tmp_path):
    (tmp_path / "simulations").mkdir()
    with pytest.raises(RunDirectoryError, match="manifest.json is missing"):
        RunDirectory(tmp_path, SETUP, resume=True)


def test_manifest_holds_setup_and_versions(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    manifest = store.read_manifest(tmp_path)
    assert manifest["configuration"] == json.loads(json.dumps(SETUP))
    assert manifest["versions"]["numpy"] == np.__version__


def _truncate(path):
    path.write_bytes(path.read_bytes()[:500])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[4000] ^= 0xFF
    path.write_bytes(content)


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty])
def test_a_damaged_file_is_named_and_set_aside(tmp_path, damage):
    run = RunDirectory(tmp_path, SETUP, resume=False)
    run.remember("rounds/round_01", lambda: {"x": np.arange(1000.0)})
    path = tmp_path / "rounds" / "round_01.npz"
    damage(path)
    damaged = path.read_bytes()
    with pytest.warns(RunDirectoryWarning, match="round_01.npz is set aside.*is damaged"):
        again = run.remember("rounds/round_01", lambda: {"x": np.ones(2)})
    assert again["x"].tolist() == [1, 1]
    assert run.remember("rounds/round_01", dict)["x"].tolist() == [1, 1]
    assert path.with_name("round_01.npz.damaged").read_bytes() == damaged


def test_a_damaged_manifest_is_named(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    (tmp_path / store.MANIFEST).write_text("{")
    with pytest.raises(RunDirectoryError, match="manifest.json is damaged"):
        RunDirectory(tmp_path, SETUP, resume=True)


def test_what_follows_from_something_else_is_set_aside(tmp_path):
    run = RunDirectory(tmp_path, SETUP, resume=False)
    run.remember("rounds/x", lambda: {"x": np.zeros(1)}, after="one")
    assert run.remember("rounds/x", dict, after="one")["x"] == 0
    with pytest.warns(RunDirectoryWarning, match="stale.*computed from something else"):
        assert run.remember("rounds/x", lambda: {"x": np.ones(1)}, after="two")["x"] == 1


def test_pieces_come_back_in_order_and_go_with_the_whole(tmp_path):
    run = RunDirectory(tmp_path, SETUP, resume=False)
    for i in range(12):
        run.add_piece("rounds/x", {"x": np.array([i])})
    assert [int(piece["x"][0]) for piece in run.pieces("rounds/x")] == list(range(12))
    _truncate(tmp_path / "rounds" / "x.parts" / "000003.npz")
    (tmp_path / "rounds" / "x.parts" / "000003.npz").write_bytes(b"PK")
    with pytest.warns(RunDirectoryWarning, match="000003.npz is set aside"):
        assert len(run.pieces("rounds/x")) == 11
    run.add_piece("rounds/x", {"x": np.array([12])})
    assert [int(piece["x"][0]) for piece in run.pieces("rounds/x")][-1] == 12
    run.remember("rounds/x", lambda: {"x": np.ones(1)})
    assert run.pieces("rounds/x") == []


def test_a_directory_in_use_is_refused(tmp_path):
    """By another process: a lock belongs to an open file, and the second opens its own."""
    with RunDirectory(tmp_path, SETUP, resume=False):
        with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()} on"):
            RunDirectory(tmp_path, SETUP, resume=True)
    RunDirectory(tmp_path, SETUP, resume=True)


def test_rounds_may_be_added_and_left_out_but_not_changed(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    for counts in ([100, 100, 50], [100]):
        RunDirectory(tmp_path, SETUP | {"simulations": counts}, resume=True)
        assert store.read_manifest(tmp_path)["configuration"]["simulations"] == counts
    with pytest.raises(RunDirectoryError, match=r"simulations: \[100\] in the folder, \[99\] now"):
        RunDirectory(tmp_path, SETUP | {"simulations": [99]}, resume=True)


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    RunDirectory(tmp_path, SETUP, resume=False)
    rest = tmp_path / f".round_01.npz.0{store.UNFINISHED}"
    rest.write_bytes(b"PK")
    RunDirectory(tmp_path, SETUP, resume=True)
    assert not rest.exists()


def test_a_full_disk_leaves_what_was_written(tmp_path):
    """The kernel refuses a file above a limit as it does on a full disk, but for the number."""
    run = RunDirectory(tmp_path, SETUP, resume=False)
    run.add_piece("rounds/x", {"x": np.ones(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(RunDirectoryError, match="could not be written.*make room, and resume"):
            run.add_piece("rounds/x", {"x": np.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    (piece,) = run.pieces("rounds/x")
    assert piece["x"].tolist() == [1] * 10
    assert [path.name for path in (tmp_path / "rounds" / "x.parts").iterdir()] == ["000000.npz"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="holds no run"):
        store.read_manifest(tmp_path)


def _load(path, source):
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("my_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_model"] = module  # where the source of a class is looked for
    spec.loader.exec_module(module)
    return module


FUNCTION = "def spectrum(p):\n    return p['a'] * {}\n"
OBJECT = "class Model:\n    def __call__(self, p):\n        return p * {}\nspectrum = Model()\n"


@pytest.mark.parametrize("source", [FUNCTION, OBJECT])
def test_fingerprint_changes_with_the_source(tmp_path, monkeypatch, source):
    monkeypatch.setitem(sys.modules, "my_model", None)
    one, same, other = (
        fingerprint(_load(tmp_path / f"{name}.py", source.format(factor)).spectrum)
        for name, factor in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one == same
    assert one != other
    assert one.startswith("my_model.")


def test_a_simulator_may_tell_its_own_fingerprint():
    class Model:
        def fingerprint(self):
            return "table 7"

    assert fingerprint(Model()) == "table 7"


def test_digest_sees_each_array():
    a, b = np.arange(3.0), np.arange(3.0)[::-1]
    assert digest(a, b) == digest(a.copy(), b.copy())
    assert len({digest(*given) for given in ((a, b), (b, a), (a, None), (None, a))}) == 4


def test_fingerprint_tells_partial_arguments_apart():
    one, same, other = (functools.partial(max, key=k) for k in (1, 1, 2))
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(other)


@dataclasses.dataclass(slots=True)
class Slotted:
    path: pathlib.Path
    names: frozenset = frozenset("ab")

    def __call__(self, p, *, power=2):
        return p


def test_fingerprint_sees_paths_sets_and_slots():
    one, same, path, names = (
        fingerprint(Slotted(pathlib.Path(path), frozenset(names)))
        for path, names in (("/a", "abc"), ("/a", "cab"), ("/b", "abc"), ("/a", "abd"))
    )
    assert one == same
    assert len({one, path, names}) == 3


def test_fingerprint_does_not_change_by_use():
    simulator = per_worker(functools.partial, max)
    before = fingerprint(simulator)
    simulator([1, 2])
    assert fingerprint(simulator) == before
    assert fingerprint(per_worker(functools.partial, min)) != before


def test_other_versions_are_warned_of(tmp_path, monkeypatch):
    RunDirectory(tmp_path, SETUP, resume=False)
    monkeypatch.setattr(store.platform, "python_version", lambda: "4.0")
    with pytest.warns(RunDirectoryWarning, match=r"other versions \(python \S+ to 4.0\)"):
        RunDirectory(tmp_path, SETUP, resume=True)


class Tabled:
    """A simulator with a state."""

    def __init__(self, table, name="a"):
        self.table = table
        self.name = name

    def __call__(self, p):
        return self.table * p["a"]


def test_fingerprint_tells_the_state_of_objects_apart():
    one, same, other = (Tabled(np.arange(3.0) + shift) for shift in (0, 0, 1))
    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(s) for s in (one, other, Tabled(np.arange(3.0), "b"))}) == 3
    assert fingerprint(one.__call__) != fingerprint(other.__call__)


def test_fingerprint_tells_closures_apart():
    def make(factor):
        return lambda p, power=2: factor * p["a"] ** power

    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))
