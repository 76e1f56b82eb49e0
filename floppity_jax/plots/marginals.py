"""How each marginal posterior changed from round to round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import (
    BLUE,
    ORANGE,
    TINTS,
    axis_label,
    count_rounds,
    make_axes,
    need_rounds,
)
from floppity_jax.summary import interval, is_log, parameters

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLUMNS = 3


def marginals(datatree: xarray.DataTree, axes: np.ndarray | None = None) -> np.ndarray:
    """Median, central 68% and central 95% of each parameter after each round.

    At the right, as a square, the median and 68% of the group ``posterior``: the last round
    corrected by the likelihood, where that was done. Parameters whose prior is logarithmic are
    shown in log10.

    Parameters
    ----------
    datatree
        With the groups ``posterior``, and ``rounds`` with a variable ``quantiles_NAME`` of dims
        ``(round, quantile)`` for each parameter.
    axes
        To draw in, one for each parameter, or more.

    Returns
    -------
    array (rows, columns) of matplotlib.axes.Axes
        In the order of the parameters; axes that are left over are not visible.

    Raises
    ------
    InvalidInput
        Where the DataTree holds no rounds, or no quantiles, or where axes are too few.
    """
    rounds = need_rounds(datatree)
    known = {
        name: variable
        for name, variable in parameters(datatree).items()
        if f"quantiles_{name}" in rounds.data_vars
    }
    if not known:
        raise InvalidInput(
            "datatree", tuple(rounds.data_vars), "must hold quantiles of each round",
            "Run the retrieval anew, or with resume=True.",
        )  # fmt: skip
    columns = min(COLUMNS, len(known))
    rows = -(-len(known) // columns)
    shape = (rows, columns) if axes is None else np.atleast_2d(np.array(axes, dtype=object)).shape
    axes = make_axes(axes, shape, (3.0 * columns + 0.5, 2.4 * rows + 0.4))
    if axes.size < len(known):
        raise InvalidInput(
            "axes", axes.shape, f"must be {len(known)} axes or more", "Or leave them out."
        )
    for ax, (name, variable) in zip(axes.flat, known.items(), strict=False):
        _panel(ax, name, variable, rounds[f"quantiles_{name}"].to_numpy())
    for ax in axes.flat[len(known) :]:
        ax.set_visible(False)
    axes.flat[0].legend(frameon=False, fontsize=7, loc="best")
    return axes


def _panel(ax: Axes, name: str, variable: xarray.DataArray, quantiles: np.ndarray) -> None:
    draws = variable.to_numpy().ravel()
    if is_log(variable):
        quantiles, draws = np.log10(quantiles), np.log10(draws)
    n = len(quantiles)
    x = np.arange(1, n + 1)
    ax.fill_between(x, quantiles[:, 0], quantiles[:, 4], color=TINTS[0], linewidth=0, label="95%")
    ax.fill_between(x, quantiles[:, 1], quantiles[:, 3], color=TINTS[1], linewidth=0, label="68%")
    ax.plot(x, quantiles[:, 2], "o-", color=BLUE, markersize=3, linewidth=1.2, label="median")
    median, plus, minus = interval(draws)
    ax.errorbar(
        n + 0.6, median, yerr=[[minus], [plus]], fmt="s", color=ORANGE, markersize=4, capsize=2,
        label="posterior",
    )  # fmt: skip
    count_rounds(ax, n)
    ax.set_xlim(0.5, n + 1.1)
    ax.set_ylabel(axis_label(name, variable), fontsize=9)
    ax.tick_params(labelsize=8)
