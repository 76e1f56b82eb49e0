"""The corner plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import BLUE, GREY, ORANGE, TINTS, axis_label, tidy_ticks
from floppity_jax.summary import ONE_SIGMA, TWO_SIGMA, interval, is_log, parameters
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def corner(datatree: xarray.DataTree) -> Figure:
    """Corner plot of the group ``posterior``.

    Above each column stand the median and the central 68% interval, dashed and dotted in the
    histogram below; contours hold 68% and 95% of the draws. Parameters whose prior is
    logarithmic are shown in log10.

    Parameters
    ----------
    datatree
        With the group ``posterior``: one variable of dims ``(chain, draw)`` for each parameter,
        and on it the attributes ``unit``, ``label`` (LaTeX) and ``scale`` ("linear" or "log").

    Raises
    ------
    InvalidInput
        Where no parameter varies from draw to draw.
    """
    from matplotlib.figure import Figure

    columns: list[tuple[str, Float[np.ndarray, " n"]]] = []
    for name, variable in parameters(datatree).items():
        draws = variable.to_numpy().ravel().astype(np.float64)
        if np.ptp(draws) > 0:  # fixed parameters have no contours
            columns.append(
                (axis_label(name, variable), np.log10(draws) if is_log(variable) else draws)
            )
    if not columns:
        raise InvalidInput(
            "posterior", tuple(parameters(datatree)), "must hold a parameter that varies",
            "A corner plot needs two different draws or more.",
        )  # fmt: skip
    n = len(columns)
    figure = Figure(figsize=(2.0 * n + 1.0, 2.0 * n + 0.7), layout="constrained")
    axes = figure.subplots(n, n, sharex="col", squeeze=False)
    for row, (row_label, y) in enumerate(columns):
        for column, (column_label, x) in enumerate(columns):
            ax = axes[row, column]
            if column > row:
                ax.set_visible(False)
                continue
            if column == row:
                _histogram(ax, x, column_label)
            else:
                _contours(ax, x, y)
                ax.set_ylim(_range(y))
            ax.set_xlim(_range(x))
            tidy_ticks(ax, bottom=row == n - 1, left=column == 0)
            if column == row:
                ax.set_yticks([])
            if row == n - 1:
                ax.set_xlabel(column_label)
            if column == 0 and row > 0:
                ax.set_ylabel(row_label)
    figure.align_labels()
    return figure


def _histogram(ax: Axes, x: Float[np.ndarray, " n"], label: str) -> None:
    ax.hist(x, bins=30, range=_range(x), histtype="stepfilled", color=BLUE, alpha=0.35)
    ax.hist(x, bins=30, range=_range(x), histtype="step", color=BLUE, linewidth=1.2)
    middle = interval(x)
    low, high = middle.median - middle.minus, middle.median + middle.plus
    for value, style in ((low, ":"), (middle.median, "--"), (high, ":")):
        ax.axvline(value, color=ORANGE, linestyle=style, linewidth=1.2)
    median, plus, minus = middle.digits()
    ax.set_title(f"{label}\n${median}^{{{plus}}}_{{{minus}}}$", fontsize=10)


def _contours(ax: Axes, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> None:
    """Draw the 68% and 95% regions of highest density, and the draws outside them as dots.

    The density is a histogram in coordinates where the draws have unit covariance, smoothed
    there by a Gaussian of Scott's width, ``n**(-1/6)``, so that a narrow ridge stays narrow;
    contours are drawn on the grid mapped back.
    """
    from scipy.ndimage import gaussian_filter

    draws = np.stack((x, y))
    centre, spread = draws.mean(axis=1, keepdims=True), draws.std(axis=1, keepdims=True)
    scaled = (draws - centre) / spread
    root = np.linalg.cholesky(np.cov(scaled) + 1e-6 * np.eye(2))
    white = np.linalg.solve(root, scaled)
    width = x.size ** (-1 / 6)
    reach = np.abs(white).max() + 4 * width
    cells = int(np.clip(6 * reach / width, 60, 400))
    density, edges, _ = np.histogram2d(
        white[0], white[1], bins=cells, range=[(-reach, reach), (-reach, reach)]
    )
    density = gaussian_filter(density, width / (edges[1] - edges[0]), mode="constant")
    descending = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(descending) / descending.sum()
    levels = descending[np.searchsorted(mass, (TWO_SIGMA, ONE_SIGMA))]
    middles = (edges[1:] + edges[:-1]) / 2
    grid = np.einsum("ij,jkl->ikl", root, np.stack(np.meshgrid(middles, middles, indexing="ij")))
    grid_x, grid_y = grid * spread[:, :, None] + centre[:, :, None]
    ax.plot(x, y, ",", color=GREY, alpha=0.3, zorder=0)
    if levels[0] < levels[1] < descending[0]:  # not so for a handful of draws
        filled = (*levels, descending[0])
        ax.contourf(grid_x, grid_y, density, filled, colors=TINTS[1:])
        ax.contour(grid_x, grid_y, density, levels, colors=BLUE, linewidths=0.9)


def _range(x: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the span of all but the outermost draws (0.1% a side), with a margin of a tenth."""
    low, high = np.quantile(x, (0.001, 0.999))
    margin = 0.1 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
