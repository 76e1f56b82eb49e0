"""The Gaussian likelihood of a noise-free spectrum, and noise for a stored one."""

from __future__ import annotations

import numpy as np

from floppity_jax.errors import NoLikelihoodError
from floppity_jax.observation import Observation
from floppity_jax.typing import Float


def log_likelihood(
    spectra: Float[np.ndarray, "n channels"], observation: Observation
) -> Float[np.ndarray, "n channels"]:
    """Gaussian log-likelihood of each channel, in float64.

    Parameters
    ----------
    spectra
        Noise-free model spectra, in the unit of the observation.
    observation
        With errors.

    Returns
    -------
    array (n, channels)
        Sum over the last axis for the likelihood of a spectrum.

    Raises
    ------
    NoLikelihoodError
        Where the observation has no errors.
    """
    residual = residuals(spectra, observation)
    return -0.5 * residual**2 - np.log(require_errors(observation)) - 0.5 * np.log(2 * np.pi)


def residuals(
    spectra: Float[np.ndarray, "n channels"], observation: Observation
) -> Float[np.ndarray, "n channels"]:
    """Model minus observation in units of the errors.

    Raises
    ------
    NoLikelihoodError
        Where the observation has no errors.
    """
    errors = require_errors(observation)
    return (np.asarray(spectra, np.float64) - observation.values) / errors


def require_errors(observation: Observation) -> Float[np.ndarray, " channels"]:
    """Return the errors of an observation.

    Raises
    ------
    NoLikelihoodError
        Where it has none.
    """
    if observation.errors is None:
        raise NoLikelihoodError(
            f"observation {observation.name!r} has errors=None (the simulator is stochastic), "
            "so there is no likelihood to correct or score by. Give its errors, or use the "
            "posterior as it is."
        )
    return observation.errors
