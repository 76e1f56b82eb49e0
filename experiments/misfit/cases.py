"""Spectra made with physics that the model lacks."""

from __future__ import annotations

import pathlib

import numpy as np

import floppity_jax as fp
from experiments.misfit.gradient import TemperatureGradient
from floppity_jax import config
from floppity_jax.simulate import simulate

DEMO = pathlib.Path(fp.__file__).parent / "data" / "wasp39b.toml"
TRUTH = {"T": 900.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.27, "log_g": 2.63}
CASES = {
    "control": "nothing is lacking",
    "cloud": "an opaque deck at 1 mbar",
    "absorber": "bands of two gases more, 400 ppm at 3.35 um and 300 ppm at 4.05 um",
    "limbs": "half of the limb at 600 K, half at 1,200 K",
    "errors": "noise 1.7 times the errors",
    "gradient": "temperature falls by 100 K a decade of pressure, through 900 K at 10 mbar",
}
NOISE = 1.7
NUISANCE = {"error_factor": fp.LogUniform(0.5, 10.0)}


def spectrum(case: str, observation: fp.Observation, pool: fp.Pool) -> np.ndarray:
    """Noise-free spectrum of a case."""
    model = TemperatureGradient if case == "gradient" else fp.simulators.IsothermalTransmission
    simulator = model.for_observation(observation, star_radius=0.932, cloud=case == "cloud")

    def of(**changes: float) -> np.ndarray:
        parameters = {name: np.array([value]) for name, value in {**TRUTH, **changes}.items()}
        return simulate(simulator, parameters, observation, pool).spectra[0]

    if case == "cloud":
        return of(log_P_cloud=-3.0)
    if case == "limbs":
        return (of(T=600.0) + of(T=1200.0)) / 2
    clear = of()
    if case == "absorber":
        assert observation.wavelength is not None
        for centre, width, depth in ((3.35, 0.10, 400e-6), (4.05, 0.06, 300e-6)):
            clear = clear + depth * np.exp(-0.5 * ((observation.wavelength - centre) / width) ** 2)
    return clear


def retrieval(case: str, seed: int = 0, *, inflate: bool = False) -> fp.Retrieval:
    """What is to be retrieved; with a factor on the errors, or without."""
    demo = config.load(DEMO).retrieval
    seen = demo.observation
    noise = np.random.default_rng([seed, list(CASES).index(case)]).normal(size=seen.n_channels)
    factor = NOISE if case == "errors" else 1.0
    observation = seen.with_values(spectrum(case, seen, demo.pool) + factor * seen.errors * noise)
    parameters = {**demo.space.entries, **(NUISANCE if inflate else {})}
    steps = [fp.instrument.ErrorFactor("error_factor")] if inflate else []
    return fp.Retrieval(demo.simulator, parameters, observation, instrument=steps)
