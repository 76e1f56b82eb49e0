"""Every simulation of every round as one weighted sample, at no further simulator call.

What a round's parameters were drawn from is known, so all of them together are draws of the
mixture of these laws: the deterministic mixture of Owen & Zhou (2000), with the weights
``likelihood * prior / sum_r (n_r / n) q_r``. It gives posterior and evidence without the last word
of the flow, from other draws than those of importance sampling: where the two disagree, one is
wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from floppity_jax.density import Density, log_standard_normal
from floppity_jax.proposals import WIDENED
from floppity_jax.typing import Float


class Law(NamedTuple):
    """What the parameters of a round were drawn from.

    Attributes
    ----------
    n : int
        Simulations of the round, failed ones included.
    density : Density or None
        The posterior of the round before; None for draws from the prior.
    log_threshold : float or None
        Least log density of the region to which the prior was cut, within all regions before it;
        None where the draws were those of the posterior itself.
    prior_share : float
        Share of the draws that came from the prior (``apt``).
    alone : bool
        The region does not lie in those before it; later ones lie in this.
    log_mass, log_mass_error, log_cap : float
        As in `proposals.Draws`.
    """

    n: int
    density: Density | None = None
    log_threshold: float | None = None
    prior_share: float = 0.0
    alone: bool = False
    log_mass: float = 0.0
    log_mass_error: float = 0.0
    log_cap: float = np.inf


class WeightedSimulations(NamedTuple):
    """The simulations of a run, and what they weigh.

    Attributes
    ----------
    theta : array (n, d)
        Parameters of the simulations that did not fail, in physical units.
    spectra : array (n, k)
        What the simulator returned for each, noise-free.
    log_weights : array (n,)
        Their mean is the evidence.
    log_mass_error : float
        Share in the standard error of the log evidence that comes from the normalisation of the
        truncated priors.
    """

    theta: Float[np.ndarray, "n d"]
    spectra: Float[np.ndarray, "n channels"]
    log_weights: Float[np.ndarray, " n"]
    log_mass_error: float


def mixture_weights(
    laws: list[Law], z: Float[np.ndarray, "n d"], log_likelihood: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], float]:
    """Weigh the simulations of all rounds by likelihood and prior over their common law.

    Parameters
    ----------
    laws
        One a round.
    z
        Parameters of the simulations that did not fail, in prior coordinates.
    log_likelihood
        Of each.

    Returns
    -------
    log_weights : array (n,)
        Their mean is the evidence: a simulation that failed has no likelihood, and counts.
    log_mass_error : float
        Standard error of the log evidence from that of the laws' normalisation.
    """
    total = sum(law.n for law in laws)
    log_ratios = log_density_ratios(laws, z) + np.log([law.n / total for law in laws])[:, None]
    log_mixture = logsumexp(log_ratios, axis=0)
    log_weights = log_likelihood - log_mixture + np.log(len(z) / total)
    # d ln Z / d ln mass of a law: its part in the mixture, averaged over the posterior.
    weights = np.exp(log_weights - logsumexp(log_weights))
    parts = np.exp(log_ratios - log_mixture) @ weights
    errors = parts * np.array([law.log_mass_error for law in laws])
    return log_weights, float(np.sqrt((errors**2).sum()))


def log_density_ratios(
    laws: list[Law], z: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "rounds n"]:
    """Log density of each law over that of the prior."""
    log_prior = log_standard_normal(z)
    in_all = np.ones(len(z), bool)
    rows = []
    for law in laws:
        if law.density is None:
            rows.append(np.zeros(len(z)))
        elif law.log_threshold is None:
            log_ratio = law.density.log_prob(z) - log_prior
            rows.append(
                np.logaddexp(np.log1p(-law.prior_share) + log_ratio, np.log(law.prior_share))
                if law.prior_share
                else log_ratio
            )
        else:
            in_region = law.density.log_prob(z) >= law.log_threshold
            in_all = in_region if law.alone else in_all & in_region
            rows.append(np.full(len(z), -np.inf))
            rows[-1][in_all] = _capped(law, z[in_all], log_prior[in_all]) - law.log_mass
    return np.stack(rows)


def _capped(
    law: Law, z: Float[np.ndarray, "n d"], log_prior: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Log of how much rarer than the prior has them the draws of a truncated prior are.

    No candidate was chosen twice, so where the density of candidates falls below the prior by more
    than the cap, it is that density which the draws follow.
    """
    assert law.density is not None
    if law.log_cap == np.inf:
        return np.zeros(len(z))
    wide = law.density._replace(base_scale=WIDENED * law.density.base_scale)
    return np.minimum(0.0, law.log_cap + wide.log_prob(z) - log_prior)
