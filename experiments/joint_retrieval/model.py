"""A transmission spectrum on a fine grid, two instruments that see it, and what they get wrong.

The planet's radius at a wavelength is that of Lecavelier des Etangs et al. (2008, A&A 481, L83),
``z = H ln(strength sigma / sigma_0)``, with the cross sections of two invented gases, each a forest
of Lorentzian lines in bands, and a Rayleigh slope. A planet of the size and temperature of
WASP-39 b. The radius where sigma = sigma_0 is held: in this formula it does exactly what a common
factor on all cross sections does.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import floppity_jax as fp
from floppity_jax import instrument

STAR = 0.932 * 695_700.0 / 71_492.0  # [R_jup]
HEIGHT_KM = 1.380649e-23 * 1000 / (2.3 * 1.66054e-27 * 4.3) / 1e3  # scale height at 1,000 K [km]
GRID = np.exp(np.arange(np.log(0.6), np.log(5.6), 1 / 2000))  # R = 2,000 [um]
RADIUS = 1.20  # [R_jup]
TRUTH = {"T": 1100.0, "log_A": 3.0, "log_B": 2.0, "log_haze": 1.0,
         "offset": 200e-6, "f": 1.5}  # fmt: skip


def _forest(seed: int, bands: list[float]) -> np.ndarray:
    """Relative cross section of 400 lines in each band, 1 at its median over the grid."""
    rng = np.random.default_rng(seed)
    centres = np.concatenate([band * np.exp(rng.normal(0, 0.05, 400)) for band in bands])
    strengths = np.exp(rng.normal(0, 2, centres.size))
    width = 1 / 3000
    x = np.log(GRID)[:, None] - np.log(centres)
    sigma = (strengths / (1 + (x / width) ** 2)).sum(axis=1)
    return sigma / np.median(sigma)


CROSS_SECTIONS = {"A": _forest(1, [1.15, 1.4, 1.9, 2.7]), "B": _forest(2, [1.65, 2.3, 3.4, 4.4])}


@fp.jax_batched
def model(parameters):
    """Transit depth on ``GRID``."""
    p = {name: value[:, None] for name, value in parameters.items()}
    sigma = 10 ** p["log_haze"] * jnp.asarray(GRID) ** -4
    for gas in "AB":
        sigma = sigma + 10 ** p[f"log_{gas}"] * jnp.asarray(CROSS_SECTIONS[gas])
    height = HEIGHT_KM * p["T"] / 1000 / 71_492.0  # [R_jup]
    return ((RADIUS + height * jnp.log1p(sigma)) / STAR) ** 2


def _channels(low: float, high: float, R: float) -> tuple[np.ndarray, np.ndarray]:
    edges = np.exp(np.arange(np.log(low), np.log(high), 1 / R))
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


INSTRUMENT = fp.Instrument(
    {
        "niriss": [instrument.Resolution(300.0)],
        "nirspec": [instrument.Resolution(100.0), instrument.Offset("offset")],
        "*": [instrument.ErrorFactor("f")],
    },
    grid=GRID,
)
PARAMETERS = {
    "T": fp.Uniform(300, 2000, unit="K"),
    "log_A": fp.Uniform(-2, 6),
    "log_B": fp.Uniform(-2, 6),
    "log_haze": fp.Uniform(-2, 4),
    "offset": fp.Normal(0, 500e-6, label=r"$\Delta_\mathrm{NIRSpec}$"),
    "f": fp.LogUniform(0.5, 5.0),
}


def _empty(name: str, low: float, high: float, R: float, error: float) -> fp.Observation:
    wavelength, width = _channels(low, high, R)
    errors = np.full(wavelength.size, error)
    return fp.Observation(0 * errors, errors, wavelength, width, name=name)


def retrieval(seed: int = 0) -> fp.Retrieval:
    """What two instruments see of ``TRUTH``, to be retrieved."""
    empty = fp.Retrieval(
        model, PARAMETERS,
        [_empty("niriss", 0.85, 2.8, 300, 120e-6), _empty("nirspec", 0.7, 5.2, 100, 60e-6)],
        instrument=INSTRUMENT,
    )  # fmt: skip
    theta = np.array([[TRUTH[name] for name in empty.space.names]])
    spectrum = np.asarray(model(empty.measurement.simulator_parameters(theta)), np.float64)
    data = empty.measurement.noisy(np.random.default_rng(seed), spectrum, theta)[0]
    return empty.with_observation(empty.observation.with_values(data))
