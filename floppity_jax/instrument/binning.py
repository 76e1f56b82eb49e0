"""Means of a model spectrum over the channels of an instrument."""

from collections.abc import Callable
from typing import Any

import numpy as np

from floppity_jax.channels import channel_weights, edges_of
from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.neighbours import check_grid
from floppity_jax.typing import Float

_MISSING = 0.01  # of a channel, or of a cell: grids rarely end on a channel's edge to the last bit


def binning(
    wavelength: Float[np.ndarray, " grid"],
    left: Float[np.ndarray, " channels"],
    right: Float[np.ndarray, " channels"],
) -> Callable[[Any, Any], Any]:
    """Return what averages a spectrum over channels, by `binning_weights`.

    Parameters
    ----------
    wavelength, left, right
        As there.

    Returns
    -------
    callable
        ``step(xp, spectrum)``, with xp numpy or jax.numpy, from (n, grid) to (n, channels).
    """
    weights = binning_weights(wavelength, left, right)

    def step(xp: Any, spectrum: Any) -> Any:
        if xp is np:
            return spectrum @ weights.astype(spectrum.dtype)
        # in full precision: GPUs round float32 products by default
        return xp.matmul(spectrum, xp.asarray(weights, spectrum.dtype), precision="highest")

    return step


def binning_weights(
    wavelength: Float[np.ndarray, " grid"],
    left: Float[np.ndarray, " channels"],
    right: Float[np.ndarray, " channels"],
) -> Float[np.ndarray, "grid channels"]:
    """Weights of the points of a grid in the mean over each channel, even in wavelength.

    Each point of the grid stands for the cell that reaches half way to its neighbours, and each
    cell counts by the part of it in the channel: a flux that is constant on the cells is conserved
    exactly.

    Parameters
    ----------
    wavelength
        The model's grid (grid,) [um], increasing.
    left, right
        Edges of the channels (channels,) [um], in any order; they may overlap and leave gaps.

    Returns
    -------
    array (grid, channels); each column sums to 1

    Raises
    ------
    InvalidInput
        Where the grid is malformed, or a channel is malformed, leaves the grid by more than 1%
        of itself, or is narrower than a cell.
    """
    grid = check_grid("binning", wavelength, 0.0)
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    edges = edges_of(grid)
    _check_channels(left, right, edges)
    weights = channel_weights(left, right, edges)
    return (weights / weights.sum(axis=1, keepdims=True)).T


def _check_channels(left: np.ndarray, right: np.ndarray, edges: np.ndarray) -> None:
    if left.ndim != 1 or left.shape != right.shape or left.size == 0 or not (left < right).all():
        raise InvalidInput(
            "left, right", (left, right), "must be alike (channels,), and left below right",
            "Give the two edges of each channel [um].",
        )  # fmt: skip
    covered = (np.minimum(right, edges[-1]) - np.maximum(left, edges[0])) / (right - left)
    _refuse(
        covered < 1 - _MISSING, left, right,
        f"must lie on the model's grid, {edges[0]:g} to {edges[-1]:g} um",
        "Let the model reach further, or drop them.",
    )  # fmt: skip
    cell = np.clip(np.searchsorted(edges, (left + right) / 2) - 1, 0, edges.size - 2)
    _refuse(
        right - left < (1 - _MISSING) * np.diff(edges)[cell], left, right,
        "must not be narrower than the cells of the model's grid there",
        "Compute the model on a finer grid.",
    )  # fmt: skip


def _refuse(bad: np.ndarray, left: np.ndarray, right: np.ndarray, rule: str, remedy: str) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidInput(
            f"channel {first}", (left[first], right[first]),
            f"and {int(bad.sum()) - 1} others {rule}", remedy,
        )  # fmt: skip
