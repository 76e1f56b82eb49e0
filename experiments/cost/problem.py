"""The retrieval that every method solves: one planet, seen through more or fewer channels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import floppity_jax as fp
from floppity_jax.simulators import IsothermalTransmission

PLANET = {"T": 1100.0, "X_H2O": 1e-3, "X_CO2": 1e-4, "radius": 1.2, "log_g": 2.63}
BOUNDS = {
    "T": (300.0, 3000.0), "X_H2O": (1e-12, 0.1), "X_CO2": (1e-12, 0.1),
    "radius": (0.8, 1.6), "log_g": (2.0, 4.0),
}  # fmt: skip
LOG = ("T", "X_H2O", "X_CO2")  # even in their logarithm: all as in floppity_jax/data/wasp39b.toml
PRIORS = {k: (fp.LogUniform if k in LOG else fp.Uniform)(*v) for k, v in BOUNDS.items()}
STAR_RADIUS = 0.932  # R_sun
WFC3, PRISM = (1.1, 1.7), (0.6, 5.3)  # [um]
FEW = 20  # channels, up to which an instrument is like WFC3


def model(channels: int) -> IsothermalTransmission:
    """Return the forward model on a grid of even resolving power."""
    edges = np.geomspace(*(WFC3 if channels <= FEW else PRISM), channels + 1)
    return IsothermalTransmission(
        (edges[1:] + edges[:-1]) / 2, np.diff(edges), star_radius=STAR_RADIUS
    )


def observation(channels: int, error: float) -> fp.Observation:
    """Return what is seen with an ``error`` [ppm] in each channel: the same noise, scaled."""
    forward = model(channels)
    depth = forward({name: np.array([value]) for name, value in PLANET.items()})[0]
    noise = np.random.default_rng([2024, channels]).normal(size=channels)
    errors = np.full(channels, 1e-6 * error)
    return fp.Observation(
        np.asarray(depth, float) + errors * noise, errors, forward.wavelength, forward.bin_width
    )


class Slow:
    """The model as a code that takes ``cost`` seconds a spectrum: it computes, then sleeps."""

    def __init__(self, channels: int, cost: float) -> None:
        self.channels, self.cost = channels, cost

    def set_up(self) -> None:
        """Compile; once in each worker."""
        import jax

        self._model = jax.jit(model(self.channels).__call__)
        self._compute(PLANET)

    def _compute(self, parameters: Mapping[str, float]) -> np.ndarray:
        one = {name: np.array([value], np.float32) for name, value in parameters.items()}
        return np.asarray(self._model(one))[0]

    def __call__(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Return a spectrum, not before its time."""
        end = time.monotonic() + self.cost
        spectrum = self._compute(parameters)
        time.sleep(max(0.0, end - time.monotonic()))
        return spectrum


def retrieval(
    channels: int, error: float, cost: float, workers: int, **options: Any
) -> fp.Retrieval:
    """Return the retrieval: of the compiled model in batches (cost 0), or of `Slow` in a pool."""
    simulator = Slow(channels, cost) if cost else model(channels)
    return fp.Retrieval(
        simulator, PRIORS, observation(channels, error), pool=fp.Pool(workers), **options
    )
