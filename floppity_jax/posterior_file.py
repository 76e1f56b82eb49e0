"""A posterior as one file: numbers in arrays, the rest in JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from floppity_jax.datasets import join
from floppity_jax.density import density_arrays, density_from_arrays
from floppity_jax.errors import InvalidInput
from floppity_jax.flows.config import FlowConfig
from floppity_jax.instrument.model import Instrument
from floppity_jax.measurement import Measurement
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.posterior import Evaluate, ImportancePosterior, Posterior
from floppity_jax.priors import ParameterSpace
from floppity_jax.record import RunRecord
from floppity_jax.simulate import Simulations, simulate
from floppity_jax.store import Arrays, read_arrays, write_arrays
from floppity_jax.typing import Float

OBSERVED = ("values", "errors", "wavelength", "bin_width", "covariance")  # arrays of an observation
WEIGHTED = ("draws", "spectra", "log_weights")  # arrays of a corrected posterior


def save_posterior(posterior: Posterior, path: pathlib.Path) -> None:
    """Write the posterior to one ``.npz`` file."""
    arrays = _arrays(posterior)
    arrays["description"] = np.array(json.dumps(_description(posterior)))
    write_arrays(path, arrays)


def _arrays(posterior: Posterior) -> Arrays:
    arrays = density_arrays(posterior.density)
    for i, part in enumerate(posterior.observation.parts):
        for field in OBSERVED:
            if getattr(part, field) is not None:
                arrays[f"observation_{i}_{field}"] = getattr(part, field)
    grid = posterior.measurement.instrument.grid
    if grid is not None:
        arrays["grid"] = grid
    if isinstance(posterior, ImportancePosterior):
        arrays |= {name: getattr(posterior, name) for name in WEIGHTED}
    return arrays


def _description(posterior: Posterior) -> dict[str, Any]:
    record, measurement = posterior.record, posterior.measurement
    description = {
        "parameters": posterior.space.describe(),
        "dim": len(posterior.density.whitening.mean),
        "flow": dataclasses.asdict(posterior.flow),
        "observations": [
            {"name": part.name, "unit": part.unit} for part in posterior.observation.parts
        ],
        "instrument": measurement.instrument.describe(),
        "simulator_names": measurement.simulator_names,
        "record": {
            "seed": record.seed,
            "method": record.method,
            "importance_calls": record.importance_calls,
            "seconds": record.seconds,
            "configuration": record.configuration,
        },
    }
    if isinstance(posterior, ImportancePosterior):
        description["log_mass_error"] = posterior.log_mass_error
    return description


def load_posterior(
    path: str | pathlib.Path, *, simulator: Callable[..., Any] | None = None, pool: Any = None
) -> Posterior:
    """Read a posterior that `Posterior.save` wrote.

    Parameters
    ----------
    path
        The file.
    simulator, pool
        As for `Retrieval`; needed only to correct the posterior again. The history of the rounds
        stays in the run directory: ``record.rounds`` of a loaded posterior is empty.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InvalidInput("path", str(path), "must be a file", "Check the spelling and folder.")
    arrays = read_arrays(path)
    description = json.loads(str(arrays.pop("description")))
    space = ParameterSpace.from_description(description["parameters"])
    parts = []
    for i, named in enumerate(description["observations"]):
        keys = {field: f"observation_{i}_{field}" for field in OBSERVED}
        fields: dict[str, Any] = {f: arrays[key] for f, key in keys.items() if key in arrays}
        parts.append(Observation(**named, **fields))
    instrument = Instrument.from_description(description["instrument"], arrays.get("grid"))
    measurement = Measurement(join(parts), space, instrument, description["simulator_names"])
    flow = FlowConfig(**description["flow"])
    evaluate: Evaluate | None = None
    if simulator is not None:
        host = Pool.of(pool)

        def evaluate(_name: str, theta: Float[np.ndarray, "n d"]) -> Simulations:
            parameters = measurement.simulator_parameters(theta)
            return simulate(simulator, parameters, measurement.output, host)

    common: dict[str, Any] = {
        "measurement": measurement,
        "density": density_from_arrays(arrays, description["dim"], flow),
        "flow": flow,
        "record": RunRecord(**description["record"]),
        "evaluate": evaluate,
    }
    if "log_weights" in arrays:
        common |= {name: arrays[name] for name in WEIGHTED}
        common["log_mass_error"] = description["log_mass_error"]
        return ImportancePosterior(**common)
    return Posterior(**common)
