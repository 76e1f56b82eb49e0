"""Where the parameters of the next round come from.

Every proposal does a bounded amount of work and reports how well it went.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from floppity_jax.density import Density
from floppity_jax.typing import Bool, Float, Key

TRUNCATED_MASS = 1e-3  # of the posterior, left outside the region
WIDENED = 1.6  # widening of the base noise: measured on curved and flat posteriors
MOST_CANDIDATES = 2**18
CANDIDATES_AT_ONCE = 2**14


class Region(NamedTuple):
    """The 1 - eps highest-density region of a posterior.

    Attributes
    ----------
    density : Density
        The posterior.
    log_threshold : float
        Least log density inside.
    """

    density: Density
    log_threshold: float

    def contains(self, z: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Which of ``z`` lie inside."""
        return self.density.log_prob(z) >= self.log_threshold


class Draws(NamedTuple):
    """Proposed parameters, and how they came about.

    Attributes
    ----------
    z : array (n, d)
        Proposed, in prior coordinates.
    ess : float
        Effective number of independent draws behind them.
    acceptance : float
        Share of the candidates inside the region.
    """

    z: Float[np.ndarray, "n d"]
    ess: float
    acceptance: float


def draw_prior(key: Key, n: int, dim: int) -> Draws:
    """Draw from the prior itself: standard normal."""
    return Draws(np.asarray(jax.random.normal(key, (n, dim)), np.float64), float(n), 1.0)


def draw_posterior(key: Key, n: int, density: Density) -> Draws:
    """Draw from the current posterior, as SNPE-C does."""
    return Draws(density.sample(key, n)[0], float(n), 1.0)


def highest_density_region(key: Key, density: Density) -> Region:
    """Fit the region that holds all but ``TRUNCATED_MASS`` of the posterior.

    Where the errors were inflated for training, it is the region of that wider posterior: the
    flow was trained for no other.
    """
    density = density._replace(base_scale=1.0)
    _, log_q = density.sample(key, 2**14)
    return Region(density, float(np.quantile(log_q, TRUNCATED_MASS)))


def draw_truncated(key: Key, n: int, regions: list[Region]) -> Draws:
    """Draw from the prior restricted to where all regions overlap (Deistler et al. 2022).

    Candidates come from the newest flow with widened base noise, whose density is known; they
    are weighted by the restricted prior over that density, and resampled without replacement
    (Rubin 1988). Candidates are added until the effective size is four times what is asked for,
    and never beyond ``MOST_CANDIDATES``. Where the regions hardly meet, the newest alone counts.
    """
    newest = regions[-1]
    key_candidates, key_resample = jax.random.split(key)
    z = np.empty((0, newest.density.whitening.mean.size))
    log_weight = np.empty(0)
    inside = ess = 0.0
    for i in range(MOST_CANDIDATES // CANDIDATES_AT_ONCE):
        more, log_q = newest.density.sample(
            jax.random.fold_in(key_candidates, i), CANDIDATES_AT_ONCE, widened=WIDENED
        )
        kept = newest.contains(more)
        inside += kept.sum()
        z = np.concatenate([z, more[kept]])
        log_weight = np.concatenate([log_weight, (-0.5 * (more**2).sum(axis=1) - log_q)[kept]])
        ess = effective_sample_size(log_weight)
        if ess >= 4 * n:
            break
    # Gumbel's trick: in the order of log w + Gumbel noise, they are draws without replacement.
    gumbel = np.asarray(jax.random.gumbel(key_resample, (MOST_CANDIDATES,)), np.float64)
    z = z[np.argsort(log_weight + gumbel[: len(z)])[::-1]]
    chosen = np.empty((0, z.shape[1]))
    for start in range(0, len(z), 2 * n):  # older regions are wider: one pass mostly suffices
        block = z[start : start + 2 * n]
        for region in reversed(regions[:-1]):
            block = block[region.contains(block)]
        chosen = np.concatenate([chosen, block])[:n]
        if len(chosen) == n:
            break
    if len(chosen) < n:  # the regions hardly meet: the newest was learned nearest to the posterior
        chosen = z[:n]
    return Draws(chosen, ess, inside / ((i + 1) * CANDIDATES_AT_ONCE))


def effective_sample_size(log_weight: Float[np.ndarray, " n"]) -> float:
    """Kish's effective sample size of unnormalised log weights."""
    if not len(log_weight):
        return 0.0
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / (weight**2).sum())
