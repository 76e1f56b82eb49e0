"""Every kind of simulator, and every way one can go wrong."""

import concurrent.futures
import multiprocessing
import re
import sys

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.simulate import DEVICE_CHUNK, simulate, stream
from floppity_jax.simulators import batched, jax_batched
from floppity_jax.simulators.base import BATCH

pytestmark = pytest.mark.pool

CHANNELS = 5
GRID = np.arange(1.0, CHANNELS + 1)
OBSERVATION = Observation(GRID, 0.1 * GRID)


def scalar(p):
    return p["a"] * GRID + p["b"]


@batched
def in_chunks(p):
    return p["a"][:, None] * GRID + p["b"][:, None]


@jax_batched
def on_device(p):
    return p["a"][:, None] * jnp.asarray(GRID, jnp.float32) + p["b"][:, None]


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield Pool(executor=executor)


def _parameters(n):
    rng = np.random.default_rng(0)
    return {"a": rng.normal(size=n), "b": rng.normal(size=n)}


@pytest.mark.parametrize("n", [1, 3, 21, DEVICE_CHUNK + 3])
def test_all_kinds_give_the_same(pool, n):
    parameters = _parameters(n)
    expected = parameters["a"][:, None] * GRID + parameters["b"][:, None]
    for simulator, tolerance in ((scalar, 1e-15), (in_chunks, 1e-15), (on_device, 1e-5)):
        result = simulate(simulator, parameters, OBSERVATION, pool)
        np.testing.assert_allclose(result.spectra, expected, rtol=tolerance, atol=tolerance)
        assert result.failures == {}


@pytest.mark.parametrize("simulator", [scalar, in_chunks, on_device])
def test_every_row_is_finished_once(pool, simulator):
    rows = [r for part in stream(simulator, _parameters(21), OBSERVATION, pool) for r in part.rows]
    assert sorted(rows) == list(range(21))


@pytest.mark.parametrize("simulator", [in_chunks, on_device])
def test_a_batch_is_the_same_whichever_of_its_rows_are_asked_for(pool, simulator):
    """So that an interrupted run, resumed, ends in the same digits."""
    n = 2 * DEVICE_CHUNK
    parts = list(stream(simulator, _parameters(n), OBSERVATION, pool, np.array([3, n - 1])))
    rows = np.concatenate([part.rows for part in parts])
    size = DEVICE_CHUNK if simulator is on_device else BATCH
    assert sorted(rows) == [*range(size), *range(n - size, n)]


def test_a_failed_model_costs_its_row_only(pool):
    parameters = {"a": np.array([1.0, -1.0, 2.0, 0.0, 3.0]), "b": np.zeros(5)}

    def simulator(p):
        if p["a"] < 0:
            raise ValueError("negative temperature")
        return scalar(p) if p["a"] else np.where(GRID == 2, np.nan, GRID)

    result = simulate(simulator, parameters, OBSERVATION, pool)
    assert sorted(result.failures) == [1, 3]
    # cloudpickle before 3.1.3 keeps the name of the file of a function that travels as code.
    named = cloudpickle.loads(cloudpickle.dumps(simulator)).__code__.co_filename == __file__
    where = r"test_pool\.py, line \d+" if named else r"line \d+"
    assert re.fullmatch(rf"ValueError: negative temperature \({where}\)", result.failures[1])
    assert result.failures[3] == "the spectrum holds numbers that are not finite"
    assert np.isnan(result.spectra[[1, 3]]).all()
    np.testing.assert_array_equal(result.spectra[[0, 2, 4]], np.outer([1, 2, 3], GRID))


def test_a_failed_batch_costs_the_row_that_fails(pool):
    @batched
    def simulator(p):
        if (p["a"] < 0).any():
            raise ValueError("negative temperature")
        return in_chunks(p)

    parameters = {"a": np.array([1.0] * 6 + [-1.0, 1.0]), "b": np.zeros(8)}
    result = simulate(simulator, parameters, OBSERVATION, pool)
    assert list(result.failures) == [6]
    np.testing.assert_array_equal(np.delete(result.spectra, 6, axis=0), np.tile(GRID, (7, 1)))


def test_products_on_the_device_are_in_full_precision(pool):
    """Else a GPU rounds those of a user's simulator to three digits, unseen on any CPU."""
    seen = []

    @jax_batched
    def simulator(p):
        seen.append(jax.config.jax_default_matmul_precision)
        return on_device(p)

    simulate(simulator, _parameters(3), OBSERVATION, pool)
    assert seen
    assert set(seen) == {"highest"}
    assert jax.config.jax_default_matmul_precision is None


def test_not_finite_on_the_device_costs_its_row_only(pool):
    @jax_batched
    def simulator(p):
        return jnp.log(p["a"])[:, None] * jnp.ones(CHANNELS)

    parameters = {"a": np.array([1.0, -1.0, 0.0, 2.0]), "b": np.zeros(4)}
    result = simulate(simulator, parameters, OBSERVATION, pool)
    assert sorted(result.failures) == [1, 2]
    assert np.isnan(result.spectra[1:3]).all()
    assert np.isfinite(result.spectra[[0, 3]]).all()


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        (lambda p: np.ones(4), r"shape \(4,\); expected \(5,\).*channels that were observed"),
        (lambda p: np.ones((1, 5)), r"shape \(1, 5\); expected \(5,\).*one-dimensional"),
        (lambda p: 1.0, r"shape \(\); expected \(5,\)"),
        (batched(lambda p: np.ones((len(p["a"]), 4))), r"expected \(\d+, 5\)"),
        (batched(lambda p: np.ones(5)), r"shape \(5,\); expected \(\d+, 5\)"),
        (jax_batched(lambda p: jnp.ones((len(p["a"]), 4))), r"expected \(\d+, 5\)"),
        (jax_batched(lambda p: jnp.ones(5)), r"shape \(5,\); expected \(\d+, 5\)"),
    ],
)
def test_wrong_shapes_end_the_run(pool, simulator, message):
    with pytest.raises(SimulatorError, match=f"(?s){message}"):
        simulate(simulator, _parameters(20), OBSERVATION, pool)


@pytest.mark.parametrize("n", [2, CHANNELS, 4 * CHANNELS, 23, 300])
@pytest.mark.parametrize("simulator", [in_chunks, on_device])
def test_transposed_spectra_are_found_out(pool, simulator, n):
    """With as many parameter sets as channels too, where the shape alone does not tell."""
    mark = jax_batched if simulator is on_device else batched
    transposed = mark(lambda p: simulator(p).T)
    with pytest.raises(SimulatorError, match="transposed"):
        simulate(transposed, _parameters(n), OBSERVATION, pool)


def test_transposed_spectra_as_wide_as_the_device_chunk(pool):
    transposed = jax_batched(lambda p: jnp.ones((DEVICE_CHUNK, len(p["a"]))))
    with pytest.raises(SimulatorError, match="transposed"):
        simulate(transposed, _parameters(300), Observation(np.ones(DEVICE_CHUNK)), pool)


@pytest.mark.parametrize(
    ("mark", "simulator"),
    [(lambda f: f, scalar), (batched, in_chunks), (jax_batched, on_device)],
    ids=["scalar", "batched", "jax_batched"],
)
def test_datasets_are_picked_by_name(pool, mark, simulator):
    several = mark(lambda p: {"nirspec": 2 * simulator(p), "miri": simulator(p)})
    parameters = _parameters(6)
    wanted = Observation(GRID, name="nirspec")
    expected = 2 * (parameters["a"][:, None] * GRID + parameters["b"][:, None])
    result = simulate(several, parameters, wanted, pool)
    np.testing.assert_allclose(result.spectra, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(SimulatorError, match=r"\['miri', 'nirspec'\].*'spectrum'"):
        simulate(several, parameters, OBSERVATION, pool)


def test_local_processes_do_not_load_jax():
    def simulator(p):
        return np.array([p["a"], float("jax" in sys.modules)])

    result = simulate(simulator, _parameters(4), Observation([0.0, 0.0]), Pool(2))
    assert result.failures == {}
    np.testing.assert_array_equal(result.spectra[:, 0], _parameters(4)["a"])
    assert result.spectra[:, 1].tolist() == [0, 0, 0, 0]


def test_a_given_executor_is_used_and_left_running(pool):
    executor = pool.engine()
    assert Pool.of(executor).engine() is executor
    assert Pool.of(pool) is pool
    simulate(scalar, _parameters(2), OBSERVATION, pool)
    assert executor.submit(int, "3").result() == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pool(0), "workers = 0"),
        (lambda: Pool(1.5), r"workers = 1\.5"),
        (lambda: Pool.of("many"), "executor = 'many'.*concurrent.futures.Executor"),
        (lambda: Pool(timeout=0), "timeout = 0"),
        (lambda: Pool(retries=-1), "retries = -1"),
        (lambda: Pool(threads=0), "threads = 0.*None"),
        (lambda: Pool(most_failures=1.5), "most_failures = 1.5.*share"),
        (
            lambda: Pool(
                executor=concurrent.futures.ProcessPoolExecutor(
                    1, multiprocessing.get_context("fork")
                )
            ),
            "must not fork this process.*spawn",
        ),
        (lambda: Pool(2, executor=concurrent.futures.ThreadPoolExecutor(1)), "must be left out"),
    ],
)
def test_pools_that_make_no_sense(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
