"""Synthetic planets drawn from the priors of Table 1 of the paper, seen by NIRSpec PRISM."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

import floppity_jax as fp
from floppity_jax import config
from floppity_jax.simulate import simulate

DEMO = pathlib.Path(fp.__file__).parent / "data" / "wasp39b.toml"
FIREFLY = pathlib.Path(__file__).parents[3] / "shared" / "data" / "wasp39b_prism_firefly.txt"
STAR_RADIUS = 0.932  # R_sun
BOUND = 20.7  # R / H: ln of the reference pressure, 10 bar, over that of the highest level, 1e-8
Priors = dict[str, Any]
# Table 1. The exponents of its mixing ratios could not be read: 1e-12 to 1e-1 is our choice.
PRIORS: Priors = {
    "T": fp.LogUniform(10, 3000, unit="K"),
    "X_H2O": fp.LogUniform(1e-12, 1e-1),
    "X_CO2": fp.LogUniform(1e-12, 1e-1),
    "radius": fp.Uniform(0.1, 1.9, unit="R_jup"),
    "log_g": fp.Uniform(2, 4),
}


def channels() -> fp.Observation:
    """WASP-39 b's channels and errors: FIREFLy's 207 where they are present, or the 147 shipped."""
    if not FIREFLY.exists():
        return config.load(DEMO).retrieval.observation
    wavelength, depth, errors = np.loadtxt(FIREFLY).T
    edges = (wavelength[1:] + wavelength[:-1]) / 2
    edges = np.concatenate(
        [[2 * wavelength[0] - edges[0]], edges, [2 * wavelength[-1] - edges[-1]]]
    )
    return fp.Observation(depth, errors, wavelength, np.diff(edges), "FIREFLy", "$(R_p/R_s)^2$")


def planet(
    number: int, method: str = "truncated", priors: Priors | None = None
) -> tuple[fp.Retrieval, np.ndarray, np.ndarray]:
    """Return the retrieval of a planet drawn from the priors, its truth in z, and its spectrum."""
    seen = channels()
    model = fp.simulators.IsothermalTransmission.for_observation(seen, star_radius=STAR_RADIUS)
    wide = fp.Retrieval(model, PRIORS, seen)
    rng = np.random.default_rng([2024, number])
    theta = wide.space.to_theta(rng.normal(size=(1, len(PRIORS))))
    spectrum = simulate(model, wide.space.as_mapping(theta), seen, wide.pool).spectra[0]
    observation = seen.with_values(spectrum + seen.errors * rng.normal(size=seen.n_channels))
    problem = fp.Retrieval(model, priors or PRIORS, observation, method=method)
    return problem, problem.space.to_z(theta)[0], spectrum


def scale_heights(theta: np.ndarray) -> np.ndarray:
    """Reference radius over scale height, R / H; a clear isothermal gas of H2 and He.

    The pressure of an isothermal atmosphere whose gravity falls as 1 / r^2 goes to a constant
    P_0 exp(-R / H) at infinity: the embedded model follows it to exp(-20.7) of its reference
    pressure, so that below R / H = 20.7 it is not bound.
    """
    temperature, radius, log_g = theta[:, 0], theta[:, 3], theta[:, 4]
    mean_mass = 2.30 * 1.66054e-24  # g
    return radius * 7.1492e9 * mean_mass * 10**log_g / (1.380649e-16 * temperature)
