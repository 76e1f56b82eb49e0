"""A monotonic map that makes each channel normal, where there is no noise to whiten by."""

from __future__ import annotations

import numpy as np
import scipy.special

from floppity_jax.typing import Float

N_KNOTS = 101  # of the map that makes a channel normal
BEYOND = 3.0  # normal deviations that it goes on for beyond the last simulation


def fit_quantiles(
    spectra: Float[np.ndarray, "n channels"],
) -> tuple[Float[np.ndarray, "channels n_knots"], Float[np.ndarray, "channels n_knots"]]:
    """Fit a monotonic map that makes each channel normal.

    The empirical distribution function (half of equal values counted as below) is turned into
    normal quantiles, at as many of the values as there are knots, evenly spaced in the quantile.

    Returns
    -------
    knots, quantiles
        Strictly increasing along a row; rows with fewer distinct values end in NaN.
    """
    n, channels = spectra.shape
    knots, quantiles = np.full((2, channels, N_KNOTS), np.nan)
    for channel in range(channels):
        values, counts = np.unique(spectra[:, channel], return_counts=True)
        normal = scipy.special.ndtri((np.cumsum(counts) - counts / 2) / n)
        if len(values) > N_KNOTS:
            picked = np.searchsorted(normal, np.linspace(normal[0], normal[-1], N_KNOTS))
            picked = np.unique(picked)
            values, normal = values[picked], normal[picked]
        knots[channel, : len(values)] = values
        quantiles[channel, : len(values)] = normal
    return knots, quantiles


def to_normal(
    knots: Float[np.ndarray, "channels n_knots"],
    quantiles: Float[np.ndarray, "channels n_knots"],
    spectra: Float[np.ndarray, "*n channels"],
) -> Float[np.ndarray, "*n channels"]:
    """Apply the map of `fit_quantiles`; beyond the ends it goes on with a constant slope.

    That slope is the mean one from the middle knot to the end: the last interval alone, between
    the two most extreme values, would have a slope of chance. It goes on for ``BEYOND`` only: in a
    channel where all simulations are nearly equal, another value would be at any distance.
    """
    out = np.zeros(spectra.shape)
    for channel in range(len(knots)):
        used = np.isfinite(knots[channel])
        x, y = knots[channel, used], quantiles[channel, used]
        if len(x) < 2:
            continue  # nothing to learn from a channel that does not vary
        value = spectra[..., channel]
        low, high = len(x) // 2, (len(x) - 1) // 2
        below = (y[low] - y[0]) / (x[low] - x[0])
        above = (y[-1] - y[high]) / (x[-1] - x[high])
        out[..., channel] = (
            np.interp(value, x, y)
            + np.clip(below * (value - x[0]), -BEYOND, 0)
            + np.clip(above * (value - x[-1]), 0, BEYOND)
        )
    return out
