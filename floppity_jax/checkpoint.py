"""What a round learned, as plain arrays and back: all that resuming needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from floppity_jax.density import density_arrays, density_from_arrays
from floppity_jax.errors import RunDirectoryError
from floppity_jax.features import Features
from floppity_jax.flows.config import FlowConfig
from floppity_jax.sequential import Fit
from floppity_jax.training import StopReason, TrainingRecord


def fit_arrays(fit: Fit) -> dict[str, np.ndarray]:
    """Return the arrays that rebuild a fit."""
    return {
        **density_arrays(fit.density),
        **{f"features_{name}": np.asarray(v) for name, v in fit.features._asdict().items()},
        "log_threshold": np.array(fit.log_threshold),
        "log_threshold_used": np.array(fit.log_threshold_used),
        "overlap": np.array(fit.overlap),
        "train_loss": np.array(fit.record.train_loss),
        "validation_loss": np.array(fit.record.validation_loss),
        "stop_reason": np.array(fit.record.reason.name),
        "rollbacks": np.array(fit.record.rollbacks),
        "best_loss": np.array(fit.record.best_loss),
    }


def fit_from_arrays(arrays: Mapping[str, np.ndarray], dim: int, flow: FlowConfig) -> Fit:
    """Rebuild a fit from what `fit_arrays` returned.

    Raises
    ------
    RunDirectoryError
        Where they were written before rounds kept what this version goes by.
    """
    if "overlap" not in arrays:
        raise RunDirectoryError(
            "the rounds of this run directory are of an older version, which did not keep the "
            "overlap of each with those before. Take up its first round by reuse= in a new "
            "directory, or finish it with the version that began it."
        )
    features = Features(*(arrays[f"features_{name}"] for name in Features._fields))  # type: ignore[arg-type]
    return Fit(
        density_from_arrays(arrays, dim, flow),
        features._replace(
            noise=float(features.noise), reconstruction_error=float(features.reconstruction_error)
        ),
        float(arrays["log_threshold"]),
        float(arrays["log_threshold_used"]),
        float(arrays["overlap"]),
        TrainingRecord(
            arrays["train_loss"].tolist(),
            arrays["validation_loss"].tolist(),
            StopReason[str(arrays["stop_reason"])],
            int(arrays["rollbacks"]),
            float(arrays["best_loss"]),
        ),
    )
