"""Where the parameters of the next round come from.

Every proposal does a bounded amount of work and reports how well it went.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from floppity_jax.density import CHUNK, Density, log_standard_normal
from floppity_jax.typing import Bool, Float, Int, Key

TRUNCATED_MASS = 1e-3  # of the posterior, left outside the region
WIDENED_USE = 2.0  # widening of the region whose simulations are learned from
WIDENED = 1.6  # widening of the base noise: measured on curved and flat posteriors
# Where these leave fewer effective draws than wanted, the chain is the cheaper way.
MOST_CANDIDATES = 2**17
MOST_CANDIDATES_A_DRAW = 64  # where more than 2048 draws are wanted
WALKS = (8, 8, 16, 32)  # steps of the chain between looks at how well it mixes
SHORTEST_STEP = 0.1  # of the chain, in distances between two draws of the flow
JUMPS = 0.2  # share of steps that go the whole of such a distance, as from mode to mode


class Sampler(enum.Enum):
    """How parameters were drawn."""

    PRIOR = "draws from the prior"
    POSTERIOR = "draws from the posterior"
    RESAMPLING = "importance resampling from the widened posterior"
    CHAIN = "a Markov chain inside the region"


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
        Share of the candidates inside every region; of a chain, share of the steps taken.
    sampler : Sampler
        How they were drawn.
    log_mass, log_mass_error : float
        Log of the prior mass of what was drawn from, and its standard error.
    log_cap : float
        Log of the weight, prior over the density of candidates, from which on a candidate was
        chosen once and no more: beyond it, draws are rarer than the prior has them.
    """

    z: Float[np.ndarray, "n d"]
    ess: float
    acceptance: float
    sampler: Sampler = Sampler.PRIOR
    log_mass: float = 0.0
    log_mass_error: float = 0.0
    log_cap: float = np.inf


def draw_prior(key: Key, n: int, dim: int) -> Draws:
    """Draw from the prior itself: standard normal."""
    return Draws(np.asarray(jax.random.normal(key, (n, dim)), np.float64), float(n), 1.0)


def draw_posterior(key: Key, n: int, density: Density, prior_share: float = 0.0) -> Draws:
    """Draw from the current posterior, as SNPE-C does.

    The last ``prior_share`` of the draws come from the prior: a defence against a posterior that
    has lost a part of the truth, which it would never propose again (Hesterberg 1995).
    """
    key_posterior, key_prior = jax.random.split(key)
    z = density.draw(key_posterior, n)
    n_prior = round(prior_share * n)
    z[n - n_prior :] = draw_prior(key_prior, n_prior, z.shape[1]).z
    return Draws(z, float(n), 1.0, Sampler.POSTERIOR)


def highest_density_region(key: Key, density: Density) -> Region:
    """Fit the region that holds all but ``TRUNCATED_MASS`` of the posterior.

    Where the errors were inflated for training, it is the region of that wider posterior: the
    flow was trained for no other.
    """
    density = density._replace(base_scale=1.0)
    _, log_q = density.sample(key, 2**14)
    return Region(density, float(np.quantile(log_q, TRUNCATED_MASS)))


def log_threshold_wide(key: Key, density: Density) -> float:
    """Least log density in the region that the widened posterior would have."""
    z = density._replace(base_scale=WIDENED_USE).draw(key, 2**13)
    return float(np.quantile(density.log_prob(z), TRUNCATED_MASS))


def overlap(key: Key, density: Density, regions: list[Region]) -> float:
    """Share of a posterior that lies in all of the regions; 1 where there are none."""
    if not regions:
        return 1.0
    return float(_in_all(regions, density.draw(key, 2**12)).mean())


def draw_truncated(key: Key, n: int, regions: list[Region]) -> Draws:
    """Draw from the prior restricted to where all regions overlap (Deistler et al. 2022).

    Candidates come from the newest flow with widened base noise, whose density is known, and are
    weighted by the restricted prior over that density. They are added until their effective size
    is twice what is asked for, and never beyond a fixed number; then ``n`` different ones are
    chosen with probabilities proportional to the weights: where no weight is above ``1 / n``, and
    few are, that is rejection sampling, and exact. If the effective size stays below ``n``,
    Markov chains start from the candidates instead, and fewer draws come back where not enough
    of them moved. If none lies in all regions, no draws are returned.
    """
    key_candidates, key_choice = jax.random.split(key)
    pieces, log_weights = [], []
    inside, tried, ess = 0, 0, 0.0
    most = max(MOST_CANDIDATES, MOST_CANDIDATES_A_DRAW * n)
    while tried < most and ess < 2 * n:
        candidates, log_q = regions[-1].density.sample(
            jax.random.fold_in(key_candidates, tried), CHUNK, widened=WIDENED
        )
        log_weight = log_standard_normal(candidates) - log_q
        kept = _in_all(regions, candidates) & np.isfinite(log_weight)
        pieces.append(candidates[kept])
        log_weights.append(log_weight[kept])
        inside, tried = inside + int(kept.sum()), tried + CHUNK
        ess = effective_sample_size(np.concatenate(log_weights))
    z, log_weight = np.concatenate(pieces), np.concatenate(log_weights)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key_choice)))
    if not inside:
        return Draws(z, 0.0, 0.0, Sampler.RESAMPLING)
    if ess >= n:
        share, factor = _capped(normalised(log_weight), n)
        draws = Draws(z[systematic(rng, share, n)], ess, inside / tried, Sampler.RESAMPLING)
        log_cap = float(logsumexp(log_weight) - np.log(factor))
        log_weight = np.minimum(log_weight, log_cap)
    else:
        starts = systematic(rng, normalised(log_weight), max(CHUNK, 4 * n))
        draws, log_cap = _walk(rng, n, regions, candidates, z[starts], ess), np.inf
    return draws._replace(
        log_mass=float(logsumexp(log_weight)) - np.log(tried),
        log_mass_error=float(np.sqrt(1 / effective_sample_size(log_weight) - 1 / tried)),
        log_cap=log_cap,
    )


def effective_sample_size(log_weight: Float[np.ndarray, " n"]) -> float:
    """Kish's effective sample size of unnormalised log weights."""
    if not len(log_weight):
        return 0.0
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / (weight**2).sum())


def _walk(
    rng: np.random.Generator,
    n: int,
    regions: list[Region],
    candidates: Float[np.ndarray, "m d"],
    start: Float[np.ndarray, "chains d"],
    ess_start: float,
) -> Draws:
    """Take the last states of many chains inside the regions.

    Steps are differences of two draws of the widened flow, which have the shape of the region
    and reach from mode to mode (ter Braak & Vrugt 2008, with an archive that stays the same, so
    that the chain is exact), shortened at random to fit whatever the older regions leave of it.

    Chains that start from few different candidates have errors in common. The part of their
    variance that is left at the end is the squared correlation of first and last states. That
    of the last two looks, which is larger, stands in for it; the worst parameter counts.
    """
    z, taken, steps, ess = start, 0, 0, 0.0
    for length in WALKS:
        before = z
        for _ in range(length):
            first, second = rng.integers(len(candidates), size=(2, len(z)))
            scale = SHORTEST_STEP ** rng.uniform(size=(len(z), 1))
            scale[rng.uniform(size=len(z)) < JUMPS] = 1.0
            new = z + scale * (candidates[first] - candidates[second])
            moved = rng.exponential(size=len(z)) > log_standard_normal(z) - log_standard_normal(new)
            moved[moved] = _in_all(regions, new[moved])
            z = np.where(moved[:, None], new, z)
            taken += moved.sum()
        steps += length
        correlation = _largest_correlation(before, z)
        ess = 1 / (1 / len(z) + correlation**2 / ess_start)
        if ess >= 2 * n:
            break
    different = np.unique(z, axis=0)  # a chain that never moved is of no more use than its twin
    chosen = rng.permutation(different)[:n]
    return Draws(chosen, ess, taken / (steps * len(z)), Sampler.CHAIN)


def _largest_correlation(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> float:
    """Correlation of ``a`` and ``b`` in the worst of their columns; 1 where one does not vary."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(
        np.divide(abs((a * b).sum(axis=0)), scale, out=np.ones(len(scale)), where=scale > 0).max()
    )


def _in_all(regions: list[Region], z: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Which of ``z`` lie in all regions."""
    inside = np.ones(len(z), bool)
    for region in reversed(regions):  # the newest is the narrowest
        inside[inside] = region.contains(z[inside])
    return inside


def normalised(log_weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights that add up to 1, from unnormalised log weights."""
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


def _capped(weight: Float[np.ndarray, " m"], n: int) -> tuple[Float[np.ndarray, " m"], float]:
    """Scale to a sum of ``n`` with none above 1; at least ``n`` weights must not be zero.

    Returns them and the factor by which those below 1 were multiplied.
    """
    largest = np.sort(weight)[::-1]
    rest = np.cumsum(largest[::-1])[::-1][:n]
    factor = (n - np.arange(n)) / rest  # where so many are capped, the others share what is left
    scale = float(factor[np.argmax(factor * largest[:n] <= 1)])
    return np.minimum(scale * weight, 1), scale


def systematic(
    rng: np.random.Generator, weight: Float[np.ndarray, " m"], n: int
) -> Int[np.ndarray, " n"]:
    """Choose ``n`` rows, each as often as its weight has it, to within one (Madow 1949)."""
    ends = np.cumsum(weight)
    return np.searchsorted(ends / ends[-1], (np.arange(n) + rng.uniform()) / n)
