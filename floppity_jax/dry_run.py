"""What a run would do: its priors, channels and simulator calls, and the time these take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from floppity_jax.errors import SimulatorError
from floppity_jax.instrument.model import Instrument
from floppity_jax.instrument.prepared import ALL
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.report.setup import entry_in_words, step_in_words
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulate import DEVICE_CHUNK, simulate
from floppity_jax.simulators.base import simulator_kind
from floppity_jax.summary import aligned

if TYPE_CHECKING:
    from floppity_jax.config import Setup

CALLS = 3


class Timing(NamedTuple):
    """What the timed calls took.

    Attributes
    ----------
    seconds : list of float
        Of each call; the first includes what is done once in each worker.
    spectra : int
        Of a call.
    failures : list of str
        What went wrong, where something did.
    """

    seconds: list[float]
    spectra: int
    failures: list[str]

    @property
    def once(self) -> float:
        """Seconds to set up a worker, or to compile."""
        return max(0.0, self.seconds[0] - float(np.mean(self.seconds[1:])))

    @property
    def each(self) -> float:
        """Seconds of a simulation."""
        return float(np.mean(self.seconds[1:])) / self.spectra


def dry_run(setup: Setup) -> str:
    """Time three simulator calls at draws of the prior, and say what the run would take.

    Parameters
    ----------
    setup
        An input file, read and checked.

    Raises
    ------
    SimulatorError
        Where all three fail, or return the wrong shape.
    """
    retrieval, run = setup.retrieval, setup.run
    counts = retrieval.counts(run.rounds, run.simulations)
    calls = sum(counts) + run.importance_samples
    timing = time_calls(retrieval, run.seed)
    on_device = simulator_kind(retrieval.simulator) == "jax_batched"
    workers = 1 if on_device else retrieval.pool.slots()
    most = "at most " if run.stop or run.reuse else ""
    facts = [
        *(("channels", _channels(part)) for part in retrieval.observation.parts),
        *instrument_in_words(retrieval.measurement.instrument),
        ("timed calls", _timed(timing)),
        ("rounds", f"{most}{len(counts)} by {retrieval.method!r}, of {_simulations(counts)}"),
        ("simulator calls", f"{most}{calls:,}, {run.importance_samples:,} of them to correct"),
        ("runs", "on the device" if on_device else f"in {workers} processes"),
        ("time simulating", most + in_words(timing.once + calls * timing.each / workers)),
    ]
    if timing.failures:
        share = f"{len(timing.failures)} of {CALLS}; each costs a further call: "
        facts.append(("failed calls", share + timing.failures[0]))
    entries = retrieval.space.entries.items()
    priors = [(name, getattr(e, "unit", ""), entry_in_words(e)) for name, e in entries]
    table = aligned([("parameter", "unit", "prior"), *priors])
    width = max(len(title) for title, _ in facts)
    return "\n".join([*table, "", *(f"{title:<{width}}  {fact}" for title, fact in facts)])


def time_calls(retrieval: Retrieval, seed: int = 0) -> Timing:
    """Call the simulator three times, in one process, where a run would call it in several."""
    on_device = simulator_kind(retrieval.simulator) == "jax_batched"
    n = DEVICE_CHUNK if on_device else 1
    pool, measurement = retrieval.pool, retrieval.measurement
    pool = Pool(1, timeout=pool.timeout, retries=0, threads=pool.threads)
    z = np.random.default_rng(seed).normal(size=(CALLS, n, len(retrieval.space.names)))
    seconds, failures = [], []
    for call in z:
        parameters = measurement.simulator_parameters(retrieval.space.to_theta(call))
        start = time.perf_counter()
        simulations = simulate(retrieval.simulator, parameters, measurement.output, pool)
        seconds.append(time.perf_counter() - start)
        failures += list(simulations.failures.values())[:1]
    if len(failures) == CALLS:
        raise SimulatorError(f"all {CALLS} timed calls failed. The last said: {failures[-1]}")
    return Timing(seconds, n, failures)


def instrument_in_words(instrument: Instrument) -> list[tuple[str, str]]:
    """Return what happens after the simulator, title and text of each step."""
    facts = []
    if (grid := instrument.grid) is not None:
        facts.append(("model grid", f"{len(grid):,} points, {grid[0]:.4g} to {grid[-1]:.4g} um"))
    for name, steps in instrument.describe()["steps"].items():
        where = "all together" if name == ALL else repr(name)
        facts += [("instrument", f"{where}: {step_in_words(*step)}") for step in steps]
    return facts


def in_words(seconds: float) -> str:
    """Say how long it takes, to two figures or so."""
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            whole, rest = divmod(round(seconds / smaller), size // smaller)
            return f"about {whole} {unit} {rest} {small}"
    return f"about {seconds / 60:.0f} min" if seconds >= 120 else f"about {seconds:.2g} s"


def _channels(observation: Observation) -> str:
    text = f"{observation.n_channels} of {observation.name!r}"
    if observation.wavelength is not None:
        low, high = observation.wavelength[[0, -1]]
        text += f", {low:.4g} to {high:.4g} um"
    if observation.errors is None:
        return f"{text}, no errors"
    return f"{text}, median error {np.median(observation.errors):.2g} {observation.unit}".rstrip()


def _timed(timing: Timing) -> str:
    each = ", ".join(f"{seconds:.2g}" for seconds in timing.seconds)
    many = f" for {timing.spectra} spectra each" if timing.spectra > 1 else ""
    return f"{each} s{many}; the first with all that is done once"


def _simulations(counts: list[int]) -> str:
    if len(set(counts)) == 1:
        return f"{counts[0]:,} simulations"
    return f"{', '.join(f'{count:,}' for count in counts)} simulations"
