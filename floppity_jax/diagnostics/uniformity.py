"""Whether numbers are uniform: an exact test, and the bands that go with it.

Of ``n`` uniform numbers, the count below ``t`` is binomial, for each ``t``: the pointwise band.
For all ``t`` at once there is the band of equal local levels, in which each ``t`` has the same
chance to be the one at which the band is left (Aldor-Noiman et al. 2013; Saeilynoja et al. 2022).
It sees the ends, a truth outside of all that the posterior holds, as well as the middle, where the
band of Kolmogorov and Smirnov sees little but the middle.
"""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy import special, stats

from floppity_jax.typing import Float


class Side(enum.Enum):
    """To which side numbers are off."""

    LOW = "too many small numbers"
    HIGH = "too many large numbers"


class Uniformity(NamedTuple):
    """What a test of uniformity came to.

    Attributes
    ----------
    p_value : float
        Chance that uniform numbers leave a band as wide as these do.
    side : Side
        On which side they do.
    level : float
        Local level of the narrowest band that holds all of the numbers: smaller is worse.
    """

    p_value: float
    side: Side
    level: float


def uniformity(numbers: Float[np.ndarray, " n"]) -> Uniformity:
    """Test numbers for uniformity in 0 .. 1, by their order statistics.

    The ``i``-th smallest of ``n`` uniform numbers follows Beta(i, n + 1 - i). The statistic is the
    smallest of their two-sided tail probabilities, and its null distribution is exact
    (Aldor-Noiman et al. 2013).

    Parameters
    ----------
    numbers
        In 0 .. 1.
    """
    n = len(numbers)
    i = np.arange(1, n + 1)
    below = special.betainc(i, n + 1 - i, np.sort(numbers))
    above = special.betaincc(i, n + 1 - i, np.sort(numbers))
    level = float(min(2 * min(below.min(), above.min()), 1.0))
    side = Side.LOW if below.min() < above.min() else Side.HIGH
    return Uniformity(float(np.clip(1 - _share_inside(n, level), 0, 1)), side, level)


def pointwise_band(
    n: int, at: Float[np.ndarray, " k"], probability: float = 0.95
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Band that holds the share of ``n`` uniform numbers below each of ``at``, one at a time.

    Central binomial quantiles: it holds at least ``probability``.
    """
    tail = (1 - probability) / 2
    return stats.binom.ppf(tail, n, at) / n, stats.binom.isf(tail, n, at) / n


def simultaneous_band(
    n: int, at: Float[np.ndarray, " k"], probability: float = 0.95
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Band that holds the share below ``t`` for all ``t`` at once, with equal local levels.

    A curve leaves it where, and only where, `uniformity` gives a p value below ``1 -
    probability``.
    """
    return pointwise_band(n, at, 1 - local_level(n, 1 - probability))


@functools.lru_cache(maxsize=64)
def local_level(n: int, p_value: float) -> float:
    """Local level of the band that ``n`` uniform numbers leave with the chance ``p_value``."""

    def excess(log_level: float) -> float:
        return 1 - _share_inside(n, float(np.exp(log_level))) - p_value

    # Between what all n together could add up to, and what one alone has.
    low, high = np.log(p_value / (2 * n)), np.log(p_value)
    return float(np.exp(scipy.optimize.brentq(excess, low, high, xtol=1e-6)))


def clopper_pearson(count: int, n: int, probability: float = 0.95) -> tuple[float, float]:
    """Interval of a share of which ``count`` out of ``n`` were seen (Clopper & Pearson 1934)."""
    tail = (1 - probability) / 2
    low = special.betaincinv(count, n - count + 1, tail) if count else 0.0
    high = special.betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
    return float(low), float(high)


def _share_inside(n: int, level: float) -> float:
    """Probability that every order statistic of ``n`` uniform numbers lies in its interval.

    Uniform numbers are the times of a Poisson process, given that there are ``n``: its count is
    followed from one end of an interval to the next, and what has left the band is dropped
    (Moscovich & Nadler 2017).
    """
    i = np.arange(1, n + 1)
    low = special.betaincinv(i, n + 1 - i, level / 2)
    high = special.betainccinv(i, n + 1 - i, level / 2)
    times = np.concatenate([low, high])
    counts = np.ones(1)  # probabilities of the counts least .. most
    least = most = 0
    before = 0.0
    for event in np.argsort(times, kind="stable"):
        counts = _later(counts, n * (times[event] - before), most - least)
        before = times[event]
        if event < n:  # the count had to stay below the number of this one
            most += 1
        else:  # and has to have reached it
            least += 1
            counts = counts[1:]
        if not len(counts):
            return 0.0
    return float(_later(counts, n * (1 - before), n - least)[-1] / stats.poisson.pmf(n, n))


def _later(counts: Float[np.ndarray, " k"], mean: float, most: int) -> Float[np.ndarray, " m"]:
    """Add a Poisson number to counts, of which the first ``most + 1`` are wanted."""
    more = np.arange(most + 1)
    chance = np.exp(special.xlogy(more, mean) - mean - special.gammaln(more + 1))
    return np.convolve(counts, chance)[: most + 1]
