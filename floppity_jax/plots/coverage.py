"""Expected coverage: how often regions of a level hold the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import GREY, SERIES, make_axes

if TYPE_CHECKING:
    import xarray


def coverage(
    calibration: Calibration | xarray.DataTree,
    *more: Calibration | xarray.DataTree,
    axes: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    distance: bool = False,
) -> np.ndarray:
    """Share of the truths in regions of each level, with what chance alone would do.

    Below the diagonal a posterior is overconfident, above it underconfident; with TARP regions a
    bias may do either. The darker band holds the curve of a calibrated posterior at any one level
    with a probability of 95%; the paler one holds all of it, and is left only where the verdict of
    `Calibration` finds a fault. Bands are drawn once for each number of observations.

    Parameters
    ----------
    calibration, more
        Calibrations, or their DataTrees: a curve each.
    axes
        One, to draw in.
    labels
        Of the curves; what was tested unless given.
    distance
        Show the coverage of TARP regions rather than of those of highest density.

    Returns
    -------
    array (1, 1) of matplotlib.axes.Axes

    Raises
    ------
    InvalidInput
        Where there is not one label for each curve, or there is more than one axis.
    """
    trees = [
        item.to_datatree() if isinstance(item, Calibration) else item
        for item in (calibration, *more)
    ]
    if labels is None:
        labels = [str(tree.attrs["subject"]) for tree in trees]
    if len(labels) != len(trees):
        raise InvalidInput(
            "labels", list(labels), f"must hold one for each of {len(trees)} curves",
            "Leave them out to show what was tested.",
        )  # fmt: skip
    axes = make_axes(axes, (1, 1), (4.8, 4.6))
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    banded: set[int] = set()
    for tree, label, (colour, style) in zip(trees, labels, itertools.cycle(SERIES), strict=False):
        curves = tree["expected_coverage"]
        level = curves["level"].to_numpy()
        n = int(tree.attrs["n_observations"])
        if n not in banded:
            banded.add(n)
            for band, alpha in (("simultaneous", 0.12), ("pointwise", 0.18)):
                low, high = (curves[f"{band}_{end}"].to_numpy() for end in ("low", "high"))
                name = f"chance, {n:,} observations" if band == "pointwise" else None
                ax.fill_between(level, low, high, color=GREY, alpha=alpha, linewidth=0, label=name)
        ax.plot(
            level,
            curves["distance" if distance else "density"].to_numpy(),
            color=colour,
            linestyle=style,
            linewidth=1.6,
            label=label,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("credible level")
    ax.set_ylabel("share of truths inside" + (" (TARP)" if distance else ""))
    ax.tick_params(direction="in", labelsize=8)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return axes
