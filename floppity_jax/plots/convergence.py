"""How the rounds closed in on the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.plots.style import BLUE, GREY, ORANGE, count_rounds, make_axes, need_rounds
from floppity_jax.retrieval import CONVERGED_DISTANCE, CONVERGED_EFFICIENCY

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# Variable, axis label, and the rule that it is held against, in words and as a number.
PANELS = (
    ("change", "change since the round before", "stopping rule: below", CONVERGED_DISTANCE),
    ("efficiency", "expected efficiency of correction", "stopping rule: above",
     CONVERGED_EFFICIENCY),
    ("acceptance", "acceptance of the proposal", "", None),
    ("misfit", "factor on the errors", "a model fits:", 1.0),
)  # fmt: skip


def convergence(datatree: xarray.DataTree, axes: np.ndarray | None = None) -> np.ndarray:
    """Four figures of each round.

    The total variation distance of the posterior from that of the round before (from the prior, in
    round one), 0 to 1, and the efficiency that importance sampling would have, both with the rule
    by which ``stop="converged"`` ends a run; the share of the proposal's candidates inside the
    region; and the factor by which errors were taken larger in training, above 1 where no model
    comes near the observation.

    Parameters
    ----------
    datatree
        With the group ``rounds``.
    axes
        Four, to draw in.

    Returns
    -------
    array (2, 2) of matplotlib.axes.Axes

    Raises
    ------
    InvalidInput
        Where the DataTree holds no rounds.
    """
    rounds = need_rounds(datatree)
    axes = make_axes(axes, (2, 2), (8.0, 5.0), sharex=True)
    n = rounds.sizes["round"]
    for ax, (name, label, rule, limit) in zip(axes.flat, PANELS, strict=True):
        values = rounds[name].to_numpy()
        if name == "misfit":  # 0 where the observation has no errors
            values = np.where(values > 0, values, np.nan)
        _panel(ax, values, label)
        if limit is not None:
            ax.axhline(limit, color=ORANGE, linestyle="--", linewidth=1.0)
            ax.annotate(
                f"{rule} {limit:g}", (1, limit), xycoords=ax.get_yaxis_transform(),
                xytext=(-3, 3), textcoords="offset points",
                ha="right", va="bottom", fontsize=8, color=ORANGE,
            )  # fmt: skip
        count_rounds(ax, n)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes.flat[:3]:
        ax.set_ylim(0, 1.05)
    axes[1, 1].set_ylim(0, 1.25 * max(float(rounds["misfit"].max()), 1.0))
    return axes


def _panel(ax: Axes, values: np.ndarray, label: str) -> None:
    ax.plot(np.arange(1, len(values) + 1), values, "o-", color=BLUE, markersize=4, linewidth=1.2)
    if not np.isfinite(values).any():
        ax.text(0.5, 0.6, "not known", transform=ax.transAxes, ha="center", color=GREY)
    ax.set_ylabel(label, fontsize=9)
    ax.tick_params(labelsize=8)
