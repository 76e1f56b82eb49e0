"""The Gaussian noise of a `Prediction`: draws of it, and residuals made white."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from floppity_jax.errors import NoLikelihoodError
from floppity_jax.instrument.step import Prediction
from floppity_jax.observation import Observation
from floppity_jax.typing import Float

# Of the variance of correlated noise, for each channel: so much is added to it, for in float32 the
# factor of a smooth kernel is wrong by up to 6e-8 of it for each.
JITTER = 2e-7


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


def correlated(prediction: Prediction, observation: Observation) -> bool:
    """Whether the noise of different channels is correlated."""
    return (
        observation.covariance is not None
        or prediction.kernel is not None
        or prediction.templates.shape[2] > 0
    )


def base_noise(observation: Observation, unit: float) -> np.ndarray:
    """Deviations (channels,) of the noise as given, or its Cholesky factor (channels, channels)."""
    cholesky = observation.cholesky
    return (require_errors(observation) if cholesky is None else cholesky) / unit


def given_noise(base: Any, normal: Any) -> Any:
    """Turn standard normal numbers (n, channels) into noise as given; ``base`` is `base_noise`."""
    return base * normal if base.ndim == 1 else normal @ base.T


def draw_noise(
    xp: ModuleType, prediction: Prediction, base: Any, normal: Callable[..., Any]
) -> Any:
    """Draw noise.

    Parameters
    ----------
    xp
        ``numpy`` or ``jax.numpy``.
    prediction
        Says what noise.
    base
        From `base_noise`.
    normal
        Draws standard normal numbers, given ``size=``.
    """
    mean, factor, extra, templates, kernel = prediction
    if base.ndim == 1:
        noise = xp.sqrt((factor * base) ** 2 + extra) * normal(size=mean.shape)
    else:
        noise = factor * given_noise(base, normal(size=mean.shape))
        noise = noise + xp.sqrt(extra) * normal(size=mean.shape)
    if templates.shape[2]:
        shares = normal(size=(len(mean), templates.shape[2]))
        noise = noise + xp.einsum("nck,nk->nc", templates, shares)
    if kernel is not None:
        channels = mean.shape[1]
        added = JITTER * channels * xp.einsum("ncc->nc", kernel) + 1e-30
        root = xp.linalg.cholesky(kernel + added[:, :, None] * xp.eye(channels))
        noise = noise + xp.einsum("ncd,nd->nc", root, normal(size=mean.shape))
    return noise


def whiten_channels(
    prediction: Prediction, residual: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whiten where each channel has noise of its own."""
    sd = np.sqrt((prediction.factor * errors) ** 2 + prediction.extra)
    return residual / sd, np.log(sd)


def whiten_rows(
    prediction: Prediction, residual: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whiten by the Cholesky factor of the covariance of each row."""
    _, factor, extra, templates, kernel = prediction
    white, log_sd = np.full_like(residual, np.nan), np.full_like(residual, np.nan)
    root = None
    same = kernel is None and not templates.shape[2] and (factor == 1).all() and not extra.any()
    for row in np.flatnonzero(np.isfinite(residual).all(axis=1)).tolist():
        if root is None or not same:
            whole = same and base.ndim == 2
            root = base if whole else np.linalg.cholesky(covariance_of(prediction, row, base))
        white[row] = scipy.linalg.solve_triangular(root, residual[row], lower=True)
        log_sd[row] = np.log(np.diag(root))
    return white, log_sd


def covariance_of(prediction: Prediction, row: int, base: np.ndarray) -> np.ndarray:
    """Return the covariance of the noise of one row."""
    _, factor, extra, templates, kernel = prediction
    given = np.diag(base**2) if base.ndim == 1 else base @ base.T
    covariance = factor[row][:, None] * given * factor[row] + np.diag(extra[row])
    covariance += templates[row] @ templates[row].T
    return covariance if kernel is None else covariance + kernel[row]
