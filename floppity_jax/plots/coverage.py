"""Expected coverage: how often regions of a level hold the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

# Blue, vermilion, green and pink of Okabe & Ito; line styles tell apart what is printed in grey.
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7")
STYLES = ("-", "--", "-.", ":")


def coverage(
    calibration: Calibration | xarray.DataTree,
    *more: Calibration | xarray.DataTree,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    distance: bool = False,
) -> Axes:
    """Share of the truths in regions of each level, with what chance alone would do.

    Below the diagonal a posterior is overconfident, above it underconfident. The darker band holds
    the curve of a calibrated posterior at any one level with a probability of 95%; the paler one
    holds all of it, and is left only where the verdict of `Calibration` finds a fault. Bands are
    drawn once for each number of observations.

    Parameters
    ----------
    calibration, more
        Calibrations, or their DataTrees: a curve each.
    ax
        Where to draw; a figure of its own unless given.
    labels
        Of the curves; what was tested unless given.
    distance
        Show the coverage of TARP regions rather than of those of highest density.

    Raises
    ------
    InvalidInput
        Where there is not one label for each curve.
    """
    from matplotlib.figure import Figure

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
    if ax is None:
        ax = Figure(figsize=(4.8, 4.6), layout="constrained").subplots()
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    banded: set[int] = set()
    for number, (tree, label) in enumerate(zip(trees, labels, strict=True)):
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
            STYLES[number % len(STYLES)],
            color=COLOURS[number % len(COLOURS)],
            linewidth=1.6,
            label=label,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("credible level")
    ax.set_ylabel("share of truths inside" + (" (TARP)" if distance else ""))
    ax.tick_params(direction="in", labelsize=8)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return ax
