"""The run directory: whole files only, and no mixing of runs."""

import functools
import importlib.util
import json
import sys

import numpy as np
import pytest

from floppity_jax import store
from floppity_jax.errors import RunDirectoryError
from floppity_jax.store import RunDirectory, fingerprint, read_arrays, write_arrays

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


def test_damage_is_named(tmp_path):
    run = RunDirectory(tmp_path, SETUP, resume=False)
    run.remember("rounds/round_01", lambda: {"x": np.arange(1000.0)})
    path = tmp_path / "rounds" / "round_01.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunDirectoryError, match="round_01.npz is damaged.*computed again"):
        run.remember("rounds/round_01", dict)
    flipped = tmp_path / "flipped.npz"
    write_arrays(flipped, {"x": np.arange(1000.0)})
    content = bytearray(flipped.read_bytes())
    content[4000] ^= 0xFF
    flipped.write_bytes(content)
    with pytest.raises(RunDirectoryError, match="flipped.npz is damaged"):
        read_arrays(flipped)
    (tmp_path / store.MANIFEST).write_text("{")
    with pytest.raises(RunDirectoryError, match="manifest.json is damaged"):
        RunDirectory(tmp_path, SETUP, resume=True)


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
    assert store.digest(a, b) == store.digest(a.copy(), b.copy())
    assert len({store.digest(*given) for given in ((a, b), (b, a), (a, None), (None, a))}) == 4


def test_fingerprint_tells_partial_arguments_apart():
    one, same, other = (functools.partial(max, key=k) for k in (1, 1, 2))
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(other)
