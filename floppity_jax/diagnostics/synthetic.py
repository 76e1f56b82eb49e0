"""Synthetic observations whose true parameters are known, and the ranks of these."""

from __future__ import annotations

import pathlib

import numpy as np

from floppity_jax.density import Density, log_standard_normal
from floppity_jax.diagnostics.ranks import Ranks, rank_all
from floppity_jax.errors import SimulatorError
from floppity_jax.measurement import Measurement
from floppity_jax.observation import Observation
from floppity_jax.posterior import ImportancePosterior
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulate import simulate
from floppity_jax.store import Arrays, read_arrays, write_arrays
from floppity_jax.typing import Float, Key

MOST_TRIES = 100  # draws of a truth, where the simulator fails


def rank_flow(
    key: Key, rng: np.random.Generator, density: Density, z: Float[np.ndarray, " d"], draws: int
) -> Ranks:
    """Rank a truth ``z`` in the posterior that a flow has."""
    sample = density.draw(key, draws)
    both = np.concatenate([sample, z[None]])
    # Over the prior's density; where the flow cannot tell its own, it is as good as none.
    log_ratio = np.nan_to_num(density.log_prob(both) - log_standard_normal(both), nan=-np.inf)
    return rank_all(rng, sample, z, log_ratio[:-1], float(log_ratio[-1]))


def rank_corrected(
    rng: np.random.Generator,
    posterior: ImportancePosterior,
    z: Float[np.ndarray, " d"],
    spectrum: Float[np.ndarray, " k"],
) -> Ranks:
    """Rank a truth in weighted draws: the posterior over the prior is the likelihood."""
    sample = posterior.space.to_z(posterior.draws)
    used = np.isfinite(posterior.log_weights) & np.isfinite(sample).all(axis=1)
    both = np.concatenate([posterior.spectra[used], spectrum[None]])
    theta = np.concatenate([posterior.draws[used], posterior.space.to_theta(z[None])])
    log_likelihood = posterior.measurement.log_likelihood(both, theta).sum(axis=1)
    return rank_all(
        rng, sample[used], z, log_likelihood[:-1], float(log_likelihood[-1]),
        posterior.log_weights[used],
    )  # fmt: skip


def observe(
    rng: np.random.Generator,
    measurement: Measurement,
    z: Float[np.ndarray, " d"],
    spectrum: Float[np.ndarray, " k"],
) -> Observation:
    """Return what would be observed of a noise-free spectrum."""
    theta = measurement.space.to_theta(z[None])
    return measurement.observation.with_values(measurement.noisy(rng, spectrum[None], theta)[0])


def draw_truth(retrieval: Retrieval, rng: np.random.Generator, place: pathlib.Path) -> Arrays:
    """Draw a truth from the prior and simulate it, once; where that fails, draw another."""
    path = place / "truth.npz"
    if path.exists():
        return read_arrays(path)
    for tries in range(1, MOST_TRIES + 1):
        z = rng.normal(size=(1, len(retrieval.space.names)))
        measurement = retrieval.measurement
        parameters = measurement.simulator_parameters(retrieval.space.to_theta(z))
        result = simulate(retrieval.simulator, parameters, measurement.output, retrieval.pool)
        if not result.failures:
            arrays = {"z": z[0], "spectrum": result.spectra[0], "tries": np.array(tries)}
            place.mkdir(exist_ok=True)
            write_arrays(path, arrays)
            return arrays
    raise SimulatorError(
        f"the simulator failed for {MOST_TRIES} draws of the prior, one after the other, lastly: "
        f"{result.failures[0]}"
    )
