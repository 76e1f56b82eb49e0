"""Runs a simulator on a batch of parameters: on the device, or over any executor.

This module does not import JAX, for the workers of a pool import it.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.observation import Observation
from floppity_jax.simulators.base import simulator_kind

DEVICE_CHUNK = 256  # spectra a compiled call: one compilation serves any number


_Parameters = Mapping[str, np.ndarray]
_Results = Iterator[tuple[slice, Any]]


class Simulations(NamedTuple):
    """What came back for a batch of parameters.

    Attributes
    ----------
    spectra : array (n, channels)
        Noise-free spectra; NaN where the simulator failed.
    failures : dict of int to str
        What went wrong, by row.
    """

    spectra: Float[np.ndarray, "n channels"]
    failures: dict[int, str]


class Pool:
    """Host processes that run a simulator.

    Parameters
    ----------
    workers : int, optional
        Number of local processes; all cores unless given.
    executor : concurrent.futures.Executor, optional
        An engine that already runs (Dask's ``client.get_executor()``, ``mpi4py.futures``, ...),
        instead of local processes. It is used, never shut down.

    Raises
    ------
    InvalidInput
        Where both or neither make sense.
    """

    def __init__(
        self, workers: int | None = None, *, executor: concurrent.futures.Executor | None = None
    ) -> None:
        if workers is not None and executor is not None:
            raise InvalidInput(
                "workers", workers, "must be left out where an executor is given",
                "The executor knows its own workers.",
            )  # fmt: skip
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise InvalidInput(
                "workers", workers, "must be a whole number above 0", "Leave it out for all cores."
            )
        if executor is not None and not hasattr(executor, "submit"):
            raise InvalidInput(
                "executor", executor, "must be a concurrent.futures.Executor",
                "For Dask, give client.get_executor().",
            )  # fmt: skip
        self._workers = workers
        self._executor = executor

    @classmethod
    def of(cls, pool: Pool | int | concurrent.futures.Executor | None) -> Pool:
        """Read a ``pool=`` argument: None, a number of workers, an executor, or a pool."""
        if isinstance(pool, Pool):
            return pool
        if pool is None or isinstance(pool, int):
            return cls(pool)
        return cls(executor=pool)

    def executor(self) -> concurrent.futures.Executor:
        """Return the engine: the one that was given, or local processes, kept for the next call."""
        if self._executor is not None:
            return self._executor
        import loky

        return loky.get_reusable_executor(max_workers=self._workers)


def simulate(
    simulator: Callable[..., Any],
    parameters: Mapping[str, Float[np.ndarray, " n"]],
    observation: Observation,
    pool: Pool,
    *,
    report: Callable[[int], None] = lambda done: None,
) -> Simulations:
    """Run a simulator on every row of ``parameters``.

    Parameters
    ----------
    simulator
        Of any of the kinds in `floppity_jax.simulators`.
    parameters
        Every parameter by name, each an array (n,).
    observation
        Its number of channels is what a spectrum must have; where the simulator returns a mapping
        of datasets, its name picks one.
    pool
        Not used by simulators that run on the device.
    report
        Called now and then with the number of finished spectra.

    Raises
    ------
    SimulatorError
        Where a spectrum has the wrong shape. A simulator that raises, or returns numbers that are
        not finite, costs only the row concerned.
    """
    n = len(next(iter(parameters.values())))
    spectra = np.full((n, observation.n_channels), np.nan)
    failures: dict[int, str] = {}
    kind = simulator_kind(simulator)
    runs: Callable[..., _Results] = (
        _on_device if kind == "jax_batched" else functools.partial(_in_pool, pool, kind)
    )
    done = 0
    for rows, result in runs(simulator, parameters, n, observation.n_channels):
        done += rows.stop - rows.start
        if isinstance(result, str):
            failures.update(dict.fromkeys(range(rows.start, rows.stop), result))
        else:
            spectra[rows] = _checked(result, rows.stop - rows.start, observation, kind)
        report(done)
    for row in np.flatnonzero(~np.isfinite(spectra).all(axis=1)):
        failures.setdefault(int(row), "the spectrum holds numbers that are not finite")
        spectra[row] = np.nan
    return Simulations(spectra, failures)


def _on_device(
    simulator: Callable[..., Any], parameters: _Parameters, n: int, n_channels: int
) -> _Results:
    """Yield rows and their spectra, computed by JAX in chunks of one size."""
    import jax.numpy as jnp

    compiled = _jit(simulator)
    # A square result could be transposed unseen: keep the chunk apart from the channels.
    size = DEVICE_CHUNK if n_channels != DEVICE_CHUNK else DEVICE_CHUNK - 1
    for start in range(0, n, size):
        stop = min(start + size, n)
        padded = {
            name: jnp.asarray(np.pad(column[start:stop], (0, start + size - stop), mode="edge"),
                              jnp.float32)
            for name, column in parameters.items()
        }  # fmt: skip
        result = compiled(padded)
        if not isinstance(result, Mapping) and np.shape(result)[:1] == (size,):
            result = result[: stop - start]
        elif isinstance(result, Mapping):
            result = {name: value[: stop - start] for name, value in result.items()}
        yield slice(start, stop), result


@functools.lru_cache(maxsize=8)
def _jit(simulator: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled simulator: the same object is compiled once, whoever asks."""
    import jax

    return jax.jit(lambda parameters: simulator(parameters))


def _in_pool(
    pool: Pool,
    kind: str,
    simulator: Callable[..., Any],
    parameters: _Parameters,
    n: int,
    n_channels: int,
) -> _Results:
    """Yield rows and their spectra, or the text of an error, as the workers finish."""
    executor = pool.executor()
    size = 1 if kind == "scalar" else min(64, max(1, n // 4))
    if kind == "batched" and size == n_channels > 1:
        size -= 1
    pending = {}
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        piece = {name: column[rows] for name, column in parameters.items()}
        pending[executor.submit(_call, simulator, kind, piece)] = rows
    try:
        for future in concurrent.futures.as_completed(pending):
            try:
                yield pending[future], future.result()
            except Exception as error:  # noqa: BLE001 the worker died, or its result does not travel
                yield pending[future], f"{type(error).__name__}: {error}"
    finally:
        for future in pending:
            future.cancel()


def _call(simulator: Callable[..., Any], kind: str, parameters: _Parameters) -> Any:
    """Run in a worker: the result, or the text of what the simulator raised."""
    try:
        if kind == "scalar":
            return simulator({name: float(column[0]) for name, column in parameters.items()})
        return simulator(parameters)
    except Exception as error:  # noqa: BLE001 one failed model must not end the round
        return f"{type(error).__name__}: {error}"


def _checked(result: Any, n: int, observation: Observation, kind: str) -> np.ndarray:
    """Return the spectra as (n, channels), or raise with what is wrong with their shape."""
    if isinstance(result, Mapping):
        if observation.name not in result:
            raise SimulatorError(
                f"the simulator returned the datasets {sorted(result)}, none of which is the "
                f"observation's, {observation.name!r}. Give the observation one of these names."
            )
        result = result[observation.name]
    spectra = np.asarray(result, dtype=np.float64)
    expected = (observation.n_channels,) if kind == "scalar" else (n, observation.n_channels)
    if spectra.shape != expected:
        hint = "Does it compute the channels that were observed?"
        if len(expected) == 2 == spectra.ndim and len(spectra) == observation.n_channels:
            hint = "It is transposed: return one row for each parameter set."
        elif kind == "scalar" and spectra.size == observation.n_channels:
            hint = "Return a one-dimensional array."
        raise SimulatorError(
            f"the simulator returned shape {spectra.shape}; expected {expected}, "
            f"{'' if kind == 'scalar' else 'parameter sets by '}channels of "
            f"{observation.name!r}. {hint}"
        )
    return spectra.reshape(n, observation.n_channels)
