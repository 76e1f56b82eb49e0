"""Engines that users have: loky, Dask on a real cluster over TCP, MPI."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.simulate import simulate

pytestmark = pytest.mark.pool

OBSERVATION = Observation(np.ones(3))


def _rows(n):
    return {"i": np.arange(n, dtype=float)}


def simulator(p):
    """Row number, process, and whether that has loaded JAX, which it should not."""
    time.sleep(0.02)
    if p["i"] == 13:
        os.abort()
    return np.array([p["i"], os.getpid(), "jax" in sys.modules])


def _check(executor, n=60):
    """Return the processes that simulated, after looking at what they returned."""
    result = simulate(simulator, _rows(n), OBSERVATION, Pool(executor=executor, retries=0))
    assert list(result.failures) == [13]
    assert "SIGABRT" in result.failures[13]
    good = np.delete(result.spectra, 13, axis=0)
    np.testing.assert_array_equal(good[:, 0], np.delete(np.arange(n), 13))
    assert not good[:, 2].any()
    return set(good[:, 1])


def test_loky():
    loky = pytest.importorskip("loky")
    executor = loky.ProcessPoolExecutor(2)
    try:
        assert len(_check(executor)) >= 2
    finally:
        executor.shutdown(kill_workers=True)


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, protocol="tcp://", dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_dask(client):
    """A crash costs one simulation, and no worker of the cluster."""
    before = client.run(os.getpid)
    _check(client.get_executor())
    assert client.run(os.getpid) == before


def test_a_lost_dask_worker_costs_nothing(client):
    """Its simulations run elsewhere, and the process that they ran in ends with it."""
    pids = list(client.run(os.getpid).values())
    timer = threading.Timer(1.0, os.kill, (pids[0], 9))
    timer.start()

    def slow(p):
        time.sleep(0.1)
        return np.array([p["i"], os.getpid(), 0])

    result = simulate(slow, _rows(60), OBSERVATION, Pool(executor=client.get_executor()))
    timer.join()
    assert result.failures == {}
    np.testing.assert_array_equal(result.spectra[:, 0], np.arange(60))
    assert len(set(result.spectra[:, 1])) >= 2
    assert set(client.run(os.getpid).values()) != set(pids)


MPI = """
import test_engines
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        assert executor.num_workers == 2
        print(len(test_engines._check(executor)))
"""


def test_mpi(tmp_path):
    """Two workers and the driver, as started on a cluster."""
    pytest.importorskip("mpi4py")
    mpiexec = pathlib.Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip("no mpiexec beside this Python")
    script = tmp_path / "script.py"
    script.write_text(MPI)
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", script]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent)}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= 2


@pytest.mark.slow  # a measurement of time: it needs a machine to itself
def test_sixty_four_dask_workers_are_kept_busy():
    """A simulator of 5 s: one process that feeds them all is no bottleneck."""
    distributed = pytest.importorskip("distributed")

    def simulator(p):
        time.sleep(5)
        return [p["i"], 0.0, 0.0]

    n, workers = 8 * 64, 64
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,  # the workers are threads of this process, which is large
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        start = time.perf_counter()
        result = simulate(simulator, _rows(n), OBSERVATION, Pool(executor=client.get_executor()))
        seconds = time.perf_counter() - start
    assert result.failures == {}
    utilisation = n * 5 / (workers * seconds)
    print(f"utilisation of {workers} workers: {utilisation:.3f}")
    assert utilisation > 0.9
