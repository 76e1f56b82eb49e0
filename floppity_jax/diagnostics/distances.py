"""How far two samples are from each other, and how far apart chance alone would put them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from floppity_jax.typing import Float

BINS = 30  # of equal mass: fine enough for the shape of a marginal, coarse enough for few draws
REPEATS = 200  # of a simulation of chance
PROJECTIONS = 100
QUANTILES = (np.arange(200) + 0.5) / 200
FOLDS = 5
MOST_ROWS = 2000  # of each sample that a classifier sees


class Distance(NamedTuple):
    """A distance, and what it would be between two samples of the same law and size.

    Attributes
    ----------
    value : float
        As measured.
    floor, floor_95 : float
        Mean and 95% point of chance.
    """

    value: float
    floor: float
    floor_95: float


def independent(
    ess: Sequence[float], samples: Sequence[np.ndarray], *, least: int = 2
) -> list[int]:
    """Independent draws that each sample is worth: no more than it has rows."""
    return [
        max(round(min(size, len(sample))), least)
        for size, sample in zip(ess, samples, strict=True)
    ]  # fmt: skip


def jensen_shannon(
    rng: np.random.Generator,
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    ess: tuple[float, float],
) -> Distance:
    """Jensen-Shannon divergence of two samples of one parameter [millinats] (Lin 1991, eq. 4.1).

    From counts in bins that each hold an equal share of both samples together, so that neither
    narrow marginals nor those cut off at a bound need a smoothing width. The floor is that of
    multinomial counts of as many independent draws as each sample is worth.

    Parameters
    ----------
    rng
        For the floor.
    a, b
        Samples.
    ess
        Effective number of independent draws in each.
    """
    pooled = np.quantile(np.concatenate([a, b]), np.arange(1, BINS) / BINS)
    counts = [np.bincount(np.searchsorted(pooled, x), minlength=BINS) for x in (a, b)]
    p, q = (count / count.sum() for count in counts)
    sizes = independent(ess, (a, b), least=1)
    chance = [rng.multinomial(size, (p + q) / 2, REPEATS) / size for size in sizes]
    floor = _divergence(*chance)
    return Distance(
        float(_divergence(p, q)), float(floor.mean()), float(np.quantile(floor, 0.95))
    )  # fmt: skip


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    from scipy.special import rel_entr

    middle = (p + q) / 2
    return 500 * (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1)


def sliced_wasserstein(
    rng: np.random.Generator,
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    ess: tuple[float, float],
) -> Distance:
    """Sliced 2-Wasserstein distance (Bonneel et al. 2015), in standard deviations of ``a``.

    Both samples are whitened by mean and covariance of ``a``; the floor is that of draws from both
    together.
    """
    centre = a.mean(axis=0)
    whiten = np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(a.T)))).T
    directions = rng.normal(size=(a.shape[1], PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    x, y = ((s - centre) @ whiten @ directions for s in (a, b))
    sizes = independent(ess, (a, b))
    # Half from each, in expectation, however many rows each has.
    share = np.repeat([0.5 / len(x), 0.5 / len(y)], [len(x), len(y)])
    both = np.concatenate([x, y])
    chance = [
        _wasserstein(*(both[rng.choice(len(both), size, p=share)] for size in sizes))
        for _ in range(REPEATS // 10)
    ]
    return Distance(_wasserstein(x, y), float(np.mean(chance)), float(np.quantile(chance, 0.95)))


def _wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """Root of the mean square over projections, each from the quantiles of both samples."""
    difference = np.quantile(x, QUANTILES, axis=0) - np.quantile(y, QUANTILES, axis=0)
    return float(np.sqrt((difference**2).mean()))


def classifier_accuracy(
    seed: int,
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    ess: tuple[float, float],
) -> tuple[float, float]:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017): accuracy, and its standard error.

    0.5 where no classifier can tell the samples apart, 1 where it always can. A multilayer
    perceptron, 5-fold cross-validated, on equally many rows of each; of rows that were resampled
    more than once, one is kept, for a repeated row could be recognised. NaN where fewer than 20
    rows are left.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import cross_val_predict
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    n = max(min(MOST_ROWS, round(min(ess) / 2), len(a), len(b)), 2 * FOLDS)
    rows = [np.unique(rng.permutation(x)[:n], axis=0) for x in (a, b)]
    n = min(map(len, rows))
    if n < 4 * FOLDS:
        return np.nan, np.nan
    x = np.concatenate([rng.permutation(r)[:n] for r in rows])
    x = (x - a.mean(axis=0)) / a.std(axis=0)
    label = np.repeat([0, 1], n)
    width = 10 * a.shape[1]
    network = MLPClassifier((width, width), max_iter=300, early_stopping=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = cross_val_predict(network, x, label, cv=FOLDS)
    accuracy = float((predicted == label).mean())
    return accuracy, float(0.5 / np.sqrt(2 * n))
