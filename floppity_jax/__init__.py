"""Neural posterior estimation for exoplanet and brown-dwarf spectra, in JAX.

Names are imported when they are first used: ``import floppity_jax`` itself loads nothing heavy,
and the worker processes of a pool never load JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from floppity_jax import instrument, simulators
    from floppity_jax.datasets import join
    from floppity_jax.diagnostics.amortised import calibrate_amortised
    from floppity_jax.diagnostics.calibrate import calibrate
    from floppity_jax.diagnostics.comparison import compare_posteriors
    from floppity_jax.diagnostics.evidence import compare
    from floppity_jax.ensembles.ensemble import Ensemble
    from floppity_jax.ensembles.run import noise_realisations, run_ensemble
    from floppity_jax.flows.config import FlowConfig
    from floppity_jax.instrument.model import Instrument
    from floppity_jax.nested.readers import read_nested
    from floppity_jax.observation import Observation
    from floppity_jax.pool import Pool
    from floppity_jax.posterior import Posterior
    from floppity_jax.posterior_file import load_posterior
    from floppity_jax.priors import (
        Fixed,
        LogNormal,
        LogUniform,
        Normal,
        Tied,
        TruncatedNormal,
        Uniform,
    )
    from floppity_jax.retrieval import Retrieval
    from floppity_jax.simulators import batched, jax_batched
    from floppity_jax.spectra.read import read_observation
    from floppity_jax.training_config import TrainingConfig

__version__ = "0.1.0"

_HOME = {
    "Ensemble": "ensembles.ensemble",
    "Fixed": "priors",
    "FlowConfig": "flows.config",
    "Instrument": "instrument.model",
    "LogNormal": "priors",
    "LogUniform": "priors",
    "Normal": "priors",
    "Observation": "observation",
    "Pool": "pool",
    "Posterior": "posterior",
    "Retrieval": "retrieval",
    "Tied": "priors",
    "TrainingConfig": "training_config",
    "TruncatedNormal": "priors",
    "Uniform": "priors",
    "batched": "simulators.base",
    "calibrate": "diagnostics.calibrate",
    "calibrate_amortised": "diagnostics.amortised",
    "compare": "diagnostics.evidence",
    "compare_posteriors": "diagnostics.comparison",
    "jax_batched": "simulators.base",
    "join": "datasets",
    "load_posterior": "posterior_file",
    "noise_realisations": "ensembles.run",
    "read_nested": "nested.readers",
    "read_observation": "spectra.read",
    "run_ensemble": "ensembles.run",
}

__all__ = [
    "Ensemble",
    "Fixed",
    "FlowConfig",
    "Instrument",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Observation",
    "Pool",
    "Posterior",
    "Retrieval",
    "Tied",
    "TrainingConfig",
    "TruncatedNormal",
    "Uniform",
    "batched",
    "calibrate",
    "calibrate_amortised",
    "compare",
    "compare_posteriors",
    "instrument",
    "jax_batched",
    "join",
    "load_posterior",
    "noise_realisations",
    "read_nested",
    "read_observation",
    "run_ensemble",
    "simulators",
]


def __getattr__(name: str) -> Any:
    if name in ("instrument", "simulators"):
        return importlib.import_module(f"floppity_jax.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"floppity_jax.{_HOME[name]}"), name)
    raise AttributeError(f"module 'floppity_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
