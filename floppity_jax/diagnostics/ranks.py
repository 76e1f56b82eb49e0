"""Where a true value ranks among the draws of its posterior: uniform where the posterior is right.

The truth and one more draw of the exact posterior follow the same law, so the rank of the truth
among ``n`` draws, by any function of parameters and data, takes each of its ``n + 1`` values with
the same probability (Cook et al. 2006; Talts et al. 2018, their Theorem 1). Each function sees
another fault:

- a parameter itself: the PIT (probability integral transform), one marginal;
- the posterior density: the mass of the highest-density region with the truth on its edge;
- the distance from a random point (Lemos et al. 2023): the posterior as a whole, at no density.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from floppity_jax.proposals import effective_sample_size, normalised
from floppity_jax.typing import Float

# Deviation of each coordinate of the random point. Of 200 bivariate truths correlated by 0.9, in
# posteriors that miss it, the test at 1% then finds 0.8; 0.2 with points all around the mean.
POINT_DISTANCE = 2.0


class Ranks(NamedTuple):
    """Ranks of one true parameter set in the posterior of its data, each in 0 .. 1.

    Attributes
    ----------
    credibility : float
        Mass of the highest-density region that has the truth on its edge.
    pit : array (d,)
        Mass below the truth, of each parameter.
    tarp : float
        Mass nearer to a random point than the truth is.
    """

    credibility: float
    pit: Float[np.ndarray, " d"]
    tarp: float


def rank_all(
    rng: np.random.Generator,
    draws: Float[np.ndarray, "n d"],
    truth: Float[np.ndarray, " d"],
    log_density: Float[np.ndarray, " n"],
    log_density_truth: float,
    log_weights: Float[np.ndarray, " n"] | None = None,
) -> Ranks:
    """Rank a truth among draws: by density, by each parameter and by distance.

    Parameters
    ----------
    rng
        For ties and the random point.
    draws, truth
        In the same coordinates, whichever they are.
    log_density, log_density_truth
        Of the posterior at both, up to a common constant.
    log_weights
        Of the draws, up to a constant; equal unless given.
    """
    credibility = rank(
        rng, -log_density[:, None], np.array([-log_density_truth]), log_weights=log_weights
    )
    pit = rank(rng, draws, truth, log_weights=log_weights)
    return Ranks(float(credibility[0]), pit, tarp_rank(rng, draws, truth, log_weights))


def rank(
    rng: np.random.Generator,
    values: Float[np.ndarray, "n k"],
    truth: Float[np.ndarray, " k"],
    *,
    log_weights: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " k"]:
    """Share of the draws' weight below the truth, made continuous.

    With ``S`` and ``T`` the weight below the truth and equal to it, out of 1, it is ``(S + U (T +
    w)) / (1 + w)``, with ``U`` uniform in 0 .. 1 and ``w = 1 / ess``, the weight that the truth
    would have as one of the draws. For ``n`` equal weights that is ``(rank + U) / (n + 1)``,
    exactly uniform where the posterior is right, whatever ``n``. For unequal ones it is so to
    within terms of order ``w``.

    Parameters
    ----------
    rng
        For ``U``.
    values
        Of ``k`` functions at the draws.
    truth
        Of the same at the truth.
    log_weights
        Up to a constant; equal unless given.
    """
    if log_weights is None:
        log_weights = np.zeros(len(values))
    weights = normalised(log_weights)
    own = 1 / effective_sample_size(log_weights)
    below, equal = weights @ (values < truth), weights @ (values == truth)
    return (below + rng.uniform(size=len(truth)) * (equal + own)) / (1 + own)


def tarp_rank(
    rng: np.random.Generator,
    draws: Float[np.ndarray, "n d"],
    truth: Float[np.ndarray, " d"],
    log_weights: Float[np.ndarray, " n"] | None = None,
) -> float:
    """Rank of the truth by its distance from a random point (TARP: Lemos et al. 2023).

    The point must not depend on the truth, but may depend on the data. Here it is drawn, and
    distances are measured, in coordinates in which the draws have zero mean and unit covariance, so
    that every direction counts alike however narrow the posterior. It is drawn on one side of all
    means: were it anywhere around them, errors in one direction would cancel, over many data,
    against those in the opposite one.

    Parameters
    ----------
    rng
        For the random point, and ties.
    draws, truth
        In the same coordinates.
    log_weights
        Up to a constant; equal unless given.
    """
    weights = normalised(np.zeros(len(draws)) if log_weights is None else log_weights)
    d = draws.shape[1]
    mean = weights @ draws
    covariance = (weights[:, None] * (draws - mean)).T @ (draws - mean)
    # Fewer effective draws than parameters leave it singular.
    covariance += (1e-12 * np.trace(covariance) / d + 1e-300) * np.eye(d)
    root = np.linalg.cholesky(covariance)
    point = POINT_DISTANCE * np.abs(rng.normal(size=d))

    def distance(theta: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
        return np.linalg.norm(np.linalg.solve(root, (theta - mean).T).T - point, axis=1)

    ranks = rank(rng, distance(draws)[:, None], distance(truth[None]), log_weights=log_weights)
    return float(ranks[0])
