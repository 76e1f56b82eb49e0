"""Runs a simulator on a batch of parameters: on the device, or over any executor."""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from floppity_jax.engine import Calls, Ended, run_in_engine
from floppity_jax.errors import SimulatorError
from floppity_jax.observation import Observation, Output
from floppity_jax.pool import Pool
from floppity_jax.simulators.base import batch_size, simulator_kind
from floppity_jax.worker import Outcome

DEVICE_CHUNK = 256  # spectra a compiled call: one compilation serves any number
FIRST = 5  # spectra that must all have the wrong shape for the simulator to be at fault
LONGEST_TEXT = 1000  # characters kept of an error
NUMBER = re.compile(r"[-+]?\d[\d.]*([eE][-+]?\d+)?")


class TooManyFailures(SimulatorError):
    """More simulations fail than may."""


class Finished(NamedTuple):
    """Simulations that ended, and how.

    Attributes
    ----------
    rows : array (n,)
        Which of the parameter sets.
    spectra : array (n, channels)
        Noise-free spectra; NaN where the simulator failed.
    failures : dict of int to str
        What went wrong, by row.
    """

    rows: Int[np.ndarray, " n"]
    spectra: Float[np.ndarray, "n channels"]
    failures: dict[int, str]


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

    def take(self, finished: Finished) -> None:
        """Put what is finished in its place."""
        self.spectra[finished.rows] = finished.spectra
        self.failures.update(finished.failures)


def simulate(
    simulator: Callable[..., Any],
    parameters: Mapping[str, Float[np.ndarray, " n"]],
    wanted: Observation | Output,
    pool: Pool,
    *,
    device_chunk: int = DEVICE_CHUNK,
) -> Simulations:
    """Run a simulator on every row of ``parameters``: `stream`, to its end."""
    n = len(next(iter(parameters.values())))
    simulations = Simulations(_nothing(n, _output(wanted)), {})
    for finished in stream(simulator, parameters, wanted, pool, device_chunk=device_chunk):
        simulations.take(finished)
    return simulations


def stream(
    simulator: Callable[..., Any],
    parameters: Mapping[str, Float[np.ndarray, " n"]],
    wanted: Observation | Output,
    pool: Pool,
    rows: Int[np.ndarray, " m"] | None = None,
    *,
    most_failures: float = 1.0,
    device_chunk: int = DEVICE_CHUNK,
) -> Generator[Finished, None, None]:
    """Run a simulator, and yield what is finished several times a second: at times nothing.

    Parameters
    ----------
    simulator
        Of any of the kinds in `floppity_jax.simulators`.
    parameters
        Every parameter by name, each an array (n,).
    wanted
        Lengths of the datasets, all that the simulator may return as one array; or where it returns
        a mapping, their names pick from it.
    pool
        Not used by simulators that run on the device.
    rows
        Which of the parameter sets to run; all unless given. Simulators that take batches run
        those of every batch in which a row is asked for, so that a batch is always the same.
    most_failures
        Share of the simulations that may fail.
    device_chunk
        Spectra a call of a simulator that runs on the device, the last one padded to that many:
        each size is compiled once.

    Raises
    ------
    SimulatorError
        Where the simulator cannot be set up, or the first spectra all have the wrong shape.
    TooManyFailures
        Where more fail than may. Other failures cost only the row concerned.
    InvalidInput
        Where the simulator cannot be sent to a worker.
    """
    n, output = len(next(iter(parameters.values()))), _output(wanted)
    kind = simulator_kind(simulator)
    most = device_chunk if kind == "jax_batched" else min(batch_size(simulator), max(1, n // 4))
    size = 1 if kind == "scalar" else _batch_size(most, output.size)
    asked = np.arange(n) if rows is None else rows
    calls = [np.arange(i * size, min((i + 1) * size, n)) for i in np.unique(asked // size)]
    if kind == "jax_batched":
        run = _on_device(simulator, parameters, calls, size)
    else:
        run = run_in_engine(pool, simulator, kind, parameters, calls)
    failed: list[str] = []
    shapeless = 0
    sound = len(asked) < n  # spectra of the right shape have been seen, perhaps by an earlier run
    with contextlib.closing(run):
        for started, ended in run:
            for call, outcome in ended:
                try:
                    spectra, text = _checked(outcome, output, kind), outcome.error
                    sound |= not text
                except SimulatorError as error:
                    spectra, text = _nothing(len(call), output), str(error)
                    shapeless += len(call)
                    if not sound and shapeless >= min(FIRST, n):
                        raise
                finished = _finished(call, spectra, text)
                failed += finished.failures.values()
                yield finished
            if hopeless(len(failed), started, most_failures):
                raise too_many_failures(failed, started)
            if not ended:
                yield Finished(np.arange(0), _nothing(0, output), {})


def too_many_failures(texts: Iterable[str], n: int) -> TooManyFailures:
    """Return an error that says what most failures said, numbers aside."""
    texts = list(texts)
    kinds = collections.Counter(NUMBER.sub("#", text) for text in texts).most_common(3)
    examples = {NUMBER.sub("#", text): text for text in texts}
    return TooManyFailures(
        f"{len(texts)} of {n} simulations failed. Most frequent: "
        + "; ".join(f"{count} times {examples[kind]!r}" for kind, count in kinds)
        + ". Mend the simulator, or narrow the priors to where it works, or allow a larger share "
        "to fail by Pool(most_failures=...)."
    )


def hopeless(failed: int, started: int, share: float) -> bool:
    """Whether more fail than may, by four deviations: those that fail at once come first.

    So what has been started and not yet ended counts as good.
    """
    return failed > share * started + 4 * math.sqrt(max(share * (1 - share), 0.04) * started)


def _batch_size(most: int, n_channels: int) -> int:
    """Rows of a call, at most ``most``: a square result could be transposed unseen."""
    return most - 1 if most == n_channels > 1 else most


def _on_device(
    simulator: Callable[..., Any],
    parameters: Mapping[str, np.ndarray],
    calls: Calls,
    size: int,
) -> Ended:
    """Run calls one after the other, compiled by JAX for one size."""
    import jax.numpy as jnp

    compiled = _jit(simulator)
    started = 0
    for rows in calls:
        started += len(rows)
        padded = {
            name: jnp.asarray(np.pad(column[rows], (0, size - len(rows)), mode="edge"), jnp.float32)
            for name, column in parameters.items()
        }
        result = compiled(padded)
        if isinstance(result, Mapping):
            result = {name: value[: len(rows)] for name, value in result.items()}
        elif np.shape(result)[:1] == (size,):
            result = result[: len(rows)]
        yield started, [(rows, Outcome(len(rows), result, "", 0.0))]


@functools.lru_cache(maxsize=8)
def _jit(simulator: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled simulator: the same object is compiled once, whoever asks."""
    import jax

    from floppity_jax.compilation import full_precision

    return jax.jit(full_precision(lambda parameters: simulator(parameters)))


def _finished(
    rows: Int[np.ndarray, " n"], spectra: Float[np.ndarray, "n channels"], text: str
) -> Finished:
    """Sort spectra into good ones and failures."""
    bad = ~np.isfinite(spectra).all(axis=1)
    text = text or "the spectrum holds numbers that are not finite"
    if len(text) > LONGEST_TEXT:
        text = f"{text[: LONGEST_TEXT // 2]} ... {text[-LONGEST_TEXT // 2 :]}"
    spectra = np.where(bad[:, None], np.nan, spectra)
    return Finished(rows, spectra, dict.fromkeys(rows[bad].tolist(), text))


def _output(wanted: Observation | Output) -> Output:
    return wanted if isinstance(wanted, Output) else wanted.output


def _nothing(n: int, output: Output) -> Float[np.ndarray, "n channels"]:
    return np.full((n, output.size), np.nan)


def _checked(outcome: Outcome, output: Output, kind: str) -> Float[np.ndarray, "n channels"]:
    """Return the spectra of a call, or raise with what is wrong with them."""
    n, result = outcome.n, outcome.result
    if outcome.error:
        return _nothing(n, output)
    if not isinstance(result, Mapping):
        return _of_shape(result, "+".join(output.names), output.size, n, kind)
    if missing := [name for name in output.names if name not in result]:
        raise SimulatorError(
            f"the simulator returned the datasets {sorted(map(str, result))}, and among them not "
            f"{missing[0]!r}, which is asked for. Return it by this name, or rename the dataset."
        )
    pairs = zip(output.names, output.sizes, strict=True)
    return np.concatenate([_of_shape(result[name], name, k, n, kind) for name, k in pairs], axis=1)


def _of_shape(
    result: Any, name: str, channels: int, n: int, kind: str
) -> Float[np.ndarray, "n channels"]:
    """Return the spectra of a dataset, or raise with what is wrong with them."""
    try:
        spectra = np.ma.filled(np.ma.asarray(result, dtype=np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise SimulatorError(
            f"the simulator returned {type(result).__name__}, of which no array of numbers can be "
            f"made ({error})."
        ) from None
    expected = (channels,) if kind == "scalar" else (n, channels)
    if spectra.shape != expected:
        hint = "Does it compute the channels that were observed, or the instrument's grid?"
        if len(expected) == 2 == spectra.ndim and len(spectra) == channels:
            hint = "It is transposed: return one row for each parameter set."
        elif kind == "scalar" and spectra.size == channels:
            hint = "Return a one-dimensional array."
        raise SimulatorError(
            f"the simulator returned shape {spectra.shape}; expected {expected}, "
            f"{'' if kind == 'scalar' else 'parameter sets by '}channels of {name!r}. {hint}"
        )
    return spectra.reshape(n, channels)
