"""Simulators that hang, crash and vanish, in real processes."""

import collections
import concurrent.futures
import ctypes
import functools
import gc
import importlib
import linecache
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from processes import gone

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.simulate import TooManyFailures, simulate, stream
from floppity_jax.simulators import batched, per_worker

pytestmark = pytest.mark.pool

OBSERVATION = Observation(np.ones(3))


def _rows(n):
    return {"i": np.arange(n, dtype=float)}


def _count(folder, name):
    """Leave a trace of a call, from whatever process."""
    with open(pathlib.Path(folder) / name, "a") as file:
        file.write(f"{os.getpid()}\n")


def _counted(folder, name):
    path = pathlib.Path(folder) / name
    return path.read_text().split() if path.exists() else []


def _good(result, bad):
    """All rows are as they should be, but the bad ones."""
    n = len(result.spectra)
    good = np.setdiff1d(np.arange(n), bad)
    np.testing.assert_array_equal(result.spectra[good], np.outer(good, np.ones(3)))
    assert sorted(result.failures) == sorted(bad)


def faulty(fault, folder, bad, p):
    _count(folder, f"call_{p['i']:.0f}")
    if p["i"] in bad:
        fault(folder)
    return np.full(3, p["i"])


def sleep(folder):
    time.sleep(100)


def sleep_in_a_command(folder):
    command = subprocess.Popen(["sleep", "100"])
    pathlib.Path(folder, "command").write_text(str(command.pid))
    command.wait()


def sleep_in_compiled_code(folder):
    ctypes.PyDLL(None).sleep(100)  # keeps the interpreter's lock, as f2py does


def crash(folder):
    print("opacity table not found", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def vanish(folder):
    os._exit(3)


def run_out_of_memory(folder):
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does


def leave(folder):
    raise SystemExit("licence expired")


@pytest.mark.parametrize("fault", [sleep, sleep_in_a_command, sleep_in_compiled_code])
def test_a_simulation_that_hangs_is_ended(tmp_path, fault):
    simulator = functools.partial(faulty, fault, tmp_path, [2, 5])
    start = time.monotonic()
    result = simulate(simulator, _rows(8), OBSERVATION, Pool(2, timeout=0.5))
    assert time.monotonic() - start < 20
    _good(result, [2, 5])
    assert set(result.failures.values()) == {"took longer than the time limit of 0.5 s"}
    assert len(_counted(tmp_path, "call_2")) == 1  # never tried again
    if fault is sleep_in_a_command:
        assert gone(int((tmp_path / "command").read_text()))


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (crash, "SIGSEGV; last words: 'opacity table not found'"),
        (vanish, "exit code 3"),
        (run_out_of_memory, "SIGKILL"),
    ],
)
@pytest.mark.parametrize("retries", [0, 2])
def test_a_lost_process_is_tried_again_and_costs_its_simulation_only(
    tmp_path, fault, text, retries
):
    simulator = functools.partial(faulty, fault, tmp_path, [1, 2])
    result = simulate(simulator, _rows(6), OBSERVATION, Pool(2, retries=retries))
    _good(result, [1, 2])
    times = f", {retries + 1} times" if retries else ""
    assert result.failures[1] == f"the worker process was lost ({text}){times}"
    calls = [len(_counted(tmp_path, f"call_{i}")) for i in range(6)]
    assert calls == [1, retries + 1, retries + 1, 1, 1, 1]


def test_a_process_lost_once_is_no_failure(tmp_path):
    def crashes_once(p):
        _count(tmp_path, f"call_{p['i']:.0f}")
        if p["i"] == 3 and len(_counted(tmp_path, "call_3")) == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return np.full(3, p["i"])

    _good(simulate(crashes_once, _rows(6), OBSERVATION, Pool(2)), [])


def test_a_simulator_that_exits_is_a_failure(tmp_path):
    simulator = functools.partial(faulty, leave, tmp_path, [0])
    result = simulate(simulator, _rows(3), OBSERVATION, Pool(1))
    _good(result, [0])
    assert result.failures[0].startswith("SystemExit: licence expired (test_faults.py, line")


def test_a_batch_that_crashes_costs_the_row_that_does(tmp_path):
    @batched(size=4)
    def simulator(p):
        if (p["i"] == 5).any():
            os.kill(os.getpid(), signal.SIGSEGV)
        if (p["i"] == 9).any():
            time.sleep(100)
        return np.outer(p["i"], np.ones(3))

    result = simulate(simulator, _rows(16), OBSERVATION, Pool(2, timeout=0.5))
    _good(result, [5, 9])
    assert "SIGSEGV" in result.failures[5]
    assert "time limit" in result.failures[9]


def test_a_batch_that_was_lost_once_is_the_same(tmp_path):
    """It is tried again whole, for its rows alone might have other digits."""

    @batched(size=4)
    def simulator(p):
        if not (tmp_path / "crashed").exists():
            (tmp_path / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.outer(p["i"], np.ones(3)) + len(p["i"])

    result = simulate(simulator, _rows(16), OBSERVATION, Pool(1))
    np.testing.assert_array_equal(result.spectra, np.outer(np.arange(16), np.ones(3)) + 4)


def test_a_time_limit_of_a_month_is_a_time_limit():
    _good(simulate(lambda p: np.full(3, p["i"]), _rows(3), OBSERVATION, Pool(1, timeout=3e6)), [])


def helper_holds_the_pipes(folder):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def close_everything(folder):
    os.closerange(0, 256)
    time.sleep(30)


@pytest.mark.parametrize("fault", [helper_holds_the_pipes, close_everything])
def test_a_lost_process_is_noticed_whatever_holds_its_pipes(tmp_path, fault):
    simulator = functools.partial(faulty, fault, tmp_path, [1])
    start = time.monotonic()
    _good(simulate(simulator, _rows(3), OBSERVATION, Pool(1, retries=0)), [1])
    assert time.monotonic() - start < 20


def test_output_may_be_sent_elsewhere(tmp_path):
    """As programs in Fortran are silenced; and what is in the other file stays."""
    log = tmp_path / "log"
    log.write_text("mine\n")

    def simulator(p):
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.close(file)
        print("line", flush=True)
        return np.full(3, p["i"])

    _good(simulate(simulator, _rows(5), OBSERVATION, Pool(1)), [])
    assert log.read_text() == "mine\n" + 5 * "line\n"


def test_a_fork_of_the_parent_leaves_its_processes_alone():
    pool = Pool(1)

    def simulator(p):
        return np.full(3, float(os.getpid()))

    before = simulate(simulator, _rows(1), OBSERVATION, pool).spectra[0, 0]
    script = multiprocessing.get_context("fork").Process(target=gc.collect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that JAX has threads, of which this knows
        script.start()
        script.join()
    assert simulate(simulator, _rows(1), OBSERVATION, pool).spectra[0, 0] == before


def test_an_interrupt_while_the_simulator_is_set_up_ends_it(tmp_path):
    def build():
        _count(tmp_path, "pids")
        time.sleep(100)

    running = stream(per_worker(build), _rows(4), OBSERVATION, Pool(2))
    deadline = time.monotonic() + 30
    while len(_counted(tmp_path, "pids")) < 2:
        assert time.monotonic() < deadline
        next(running)
    running.close()
    assert all(gone(int(pid)) for pid in _counted(tmp_path, "pids"))


def test_a_process_lost_in_set_up_is_tried_again(tmp_path):
    def build():
        _count(tmp_path, "set_up")
        if len(_counted(tmp_path, "set_up")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return lambda p: np.full(3, p["i"])

    _good(simulate(per_worker(build), _rows(3), OBSERVATION, Pool(1)), [])


def test_the_parents_module_is_the_workers(tmp_path, monkeypatch):
    """Not another of the same name in the folder that the run is started from."""
    for folder, factor in (("mine", 1), ("here", 2)):
        (tmp_path / folder).mkdir()
        source = f"def spectrum(p): return [{factor} * p['i']] * 3\n"
        (tmp_path / folder / "twice_there.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "here")
    spectrum = importlib.import_module("twice_there").spectrum
    _good(simulate(spectrum, _rows(3), OBSERVATION, Pool(1)), [])
    monkeypatch.delitem(sys.modules, "twice_there")


def test_long_texts_are_cut_in_the_middle():
    def simulator(p):
        raise ValueError("x" * 100_000 + " kept in /scratch/run7")

    text = simulate(simulator, _rows(1), OBSERVATION, Pool(1)).failures[0]
    assert len(text) < 1100
    assert text.startswith("ValueError: xxx")
    assert "/scratch/run7" in text


@pytest.mark.parametrize("result", ["no spectrum", [[1.0], [2.0, 3.0]], None, {"x": 1, 2: 3}])
def test_what_is_no_spectrum_ends_the_run_only_where_all_are_such(result):
    def simulator(p):
        return result if p["i"] < bad else np.full(3, p["i"])

    bad = 1
    _good(simulate(simulator, _rows(8), OBSERVATION, Pool(1)), [0])
    bad = 8
    with pytest.raises(SimulatorError, match="the simulator returned"):
        simulate(simulator, _rows(8), OBSERVATION, Pool(1))


def test_masked_channels_are_no_numbers():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    result = simulate(lambda p: masked, _rows(1), OBSERVATION, Pool(1))
    assert "not finite" in result.failures[0]


def test_a_wrong_shape_after_good_ones_costs_its_row(tmp_path):
    def simulator(p):
        return np.full(3 if p["i"] < 4 else 2, p["i"])

    result = simulate(simulator, _rows(5), OBSERVATION, Pool(1))
    _good(result, [4])
    assert "shape (2,); expected (3,)" in result.failures[4]


def test_what_does_not_travel_is_a_failure():
    result = simulate(lambda p: open(os.devnull), _rows(1), OBSERVATION, Pool(1))  # noqa: SIM115
    assert "TypeError" in result.failures[0]


class Heavy:
    """Counts how often it is set up."""

    def __init__(self, folder):
        self.folder = folder

    def set_up(self):
        _count(self.folder, "set_up")
        time.sleep(0.7)

    def __call__(self, p):
        return np.full(3, p["i"])


def build(folder):
    _count(folder, "set_up")
    return lambda p: np.full(3, p["i"])


@pytest.mark.parametrize("make", [Heavy, functools.partial(per_worker, build)])
def test_a_simulator_is_set_up_once_in_each_process(tmp_path, make):
    """And outside the time limit; it stays from one round to the next."""
    pool = Pool(2, timeout=0.5)
    for _ in range(2):
        _good(simulate(make(tmp_path), _rows(30), OBSERVATION, pool), [])
    assert len(set(_counted(tmp_path, "set_up"))) == len(_counted(tmp_path, "set_up")) <= 2


def test_a_simulator_whose_source_has_changed_is_set_up_anew(tmp_path, monkeypatch):
    """Processes that stay must not go on with the old one; modules travel by their name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    pool = Pool(1)
    for factor in (1, 2):
        (tmp_path / "edited_model.py").write_text(
            f"def spectrum(p): return [{factor} * p['i']] * 3\n"
        )
        monkeypatch.delitem(sys.modules, "edited_model", raising=False)
        importlib.invalidate_caches()
        linecache.checkcache()
        spectrum = importlib.import_module("edited_model").spectrum
        result = simulate(spectrum, _rows(3), OBSERVATION, pool)
        assert result.spectra[:, 0].tolist() == [0, factor, 2 * factor]
    monkeypatch.delitem(sys.modules, "edited_model")


def test_a_simulator_that_cannot_be_set_up_says_why():
    def fails():
        raise OSError("no opacities in /data")

    with pytest.raises(SimulatorError, match="could not be set up.*no opacities in /data"):
        simulate(per_worker(fails), _rows(3), OBSERVATION, Pool(2))


def test_a_simulator_that_cannot_travel_is_refused():
    file = sys.stdout.buffer
    with pytest.raises(InvalidInput, match="simulator = .*per_worker"):
        simulate(lambda p: file, _rows(3), OBSERVATION, Pool(1))


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (3, 3), (None, 7)])
def test_threads_of_a_process_are_held(monkeypatch, threads, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    result = simulate(
        lambda p: np.full(3, float(os.environ["OMP_NUM_THREADS"])),
        _rows(1), OBSERVATION, Pool(1, threads=threads),
    )  # fmt: skip
    assert result.spectra[0, 0] == expected


def test_a_hopeless_simulator_is_found_out_early(tmp_path):
    def fails(p):
        _count(tmp_path, "calls")
        time.sleep(0.25)
        raise ValueError(f"T = {p['i']} is too hot")

    with pytest.raises(TooManyFailures, match=r"\d+ times 'ValueError: T = \d+.0 is too hot"):
        list(stream(fails, _rows(1000), OBSERVATION, Pool(4), most_failures=0.5))
    assert len(_counted(tmp_path, "calls")) < 60


def test_failures_that_come_first_do_not_stop_a_run():
    """One in four fails at once, and the others take long: all that end at first are failures."""

    def simulator(p):
        if p["i"] % 4 == 0:
            raise ValueError("no convergence")
        time.sleep(1.0)
        return np.full(3, p["i"])

    with concurrent.futures.ThreadPoolExecutor(16) as executor:
        pool = Pool(executor=executor)
        parts = list(stream(simulator, _rows(32), OBSERVATION, pool, most_failures=0.5))
    failed = sorted(row for part in parts for row in part.failures)
    assert failed == list(range(0, 32, 4))
    assert sum(len(part.rows) for part in parts) == 32


class Counting(concurrent.futures.ThreadPoolExecutor):
    """Counts what it is given, and the calls in each."""

    def __init__(self, workers):
        super().__init__(workers)
        self.chunks = []

    def submit(self, function, /, job, calls):
        self.chunks.append(len(calls))
        return super().submit(function, job, calls)


def test_fast_simulations_travel_in_chunks_and_slow_ones_alone():
    with Counting(2) as executor:
        simulate(lambda p: np.full(3, p["i"]), _rows(2000), OBSERVATION, Pool(executor=executor))
        assert len(executor.chunks) < 60
        executor.chunks.clear()

        def slow(p):
            time.sleep(0.25)
            return np.full(3, p["i"])

        simulate(slow, _rows(12), OBSERVATION, Pool(executor=executor))
        assert set(executor.chunks) == {1}


def test_fast_failures_do_not_make_chunks_of_slow_simulations():
    """Two in five fail at once; the others take long, and must not wait behind one another."""

    def simulator(p):
        if p["i"] % 5 < 2:
            raise ValueError("no convergence")
        time.sleep(0.6)
        return np.full(3, p["i"])

    n = 160
    with concurrent.futures.ThreadPoolExecutor(16) as executor:
        pool = Pool(executor=executor)
        simulate(simulator, _rows(16), OBSERVATION, pool)  # start the processes
        start = time.perf_counter()
        result = simulate(simulator, _rows(n), OBSERVATION, pool)
        seconds = time.perf_counter() - start
    assert len(result.failures) == 2 * n / 5
    assert seconds < 2 * 0.6 * (3 * n / 5) / 16 + 1


def test_half_a_second_and_two_workers_reach_95_percent_of_the_ideal_rate():
    """The better of two tries, since other programs may hold up either."""

    def simulator(p):
        time.sleep(0.5)
        return np.full(3, p["i"])

    pool = Pool(2)
    simulate(simulator, _rows(2), OBSERVATION, pool)  # start the processes
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        simulate(simulator, _rows(20), OBSERVATION, pool)
        seconds.append(time.perf_counter() - start)
    assert 20 * 0.5 / 2 / min(seconds) > 0.95


def test_leaving_the_stream_ends_its_processes(tmp_path):
    def simulator(p):
        _count(tmp_path, "pids")
        time.sleep(0 if p["i"] < 1 else 100)
        return np.full(3, p["i"])

    running = stream(simulator, _rows(4), OBSERVATION, Pool(2))
    while not len(next(running).rows):
        pass
    deadline = time.monotonic() + 30
    while len(_counted(tmp_path, "pids")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.close()
    assert all(gone(int(pid)) for pid in _counted(tmp_path, "pids"))


def test_a_broken_engine_says_so(tmp_path):
    loky = pytest.importorskip("loky")
    executor = loky.ProcessPoolExecutor(1)
    try:
        executor.submit(os._exit, 1).exception()
        with pytest.raises(SimulatorError, match="executor is broken.*resume"):
            simulate(lambda p: np.ones(3), _rows(3), OBSERVATION, Pool(executor=executor))
    finally:
        executor.shutdown(kill_workers=True)


def test_worker_processes_end_when_idle_ones_are_no_longer_wanted(tmp_path):
    """With the interpreter that started them, even where that is killed."""
    script = f"""
import os, signal, numpy as np
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.simulate import simulate
result = simulate(
    lambda p: np.full(3, os.getpid()), {{"i": np.arange(8.0)}}, Observation(np.ones(3)), Pool(2)
)
pids = set(result.spectra[:, 0].astype(int))
open({str(tmp_path / "pids")!r}, "w").write(" ".join(map(str, pids)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL
    pids = collections.Counter((tmp_path / "pids").read_text().split())
    assert pids
    assert all(gone(int(pid)) for pid in pids)
