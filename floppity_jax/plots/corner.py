"""The corner plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import (
    BLUE,
    GREY,
    SERIES,
    TINTS,
    axis_label,
    make_axes,
    need_group,
    tidy_ticks,
)
from floppity_jax.summary import ONE_SIGMA, TWO_SIGMA, interval, is_log, parameters
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

BINS = 30
TRUTH: dict[str, Any] = {"color": "black", "linewidth": 1.0}


class _Column(NamedTuple):
    """One parameter, as it is shown: in log10 where its prior is logarithmic.

    Attributes
    ----------
    label : str
        With the unit.
    draws : list of array or None
        Of each posterior; None for one that lacks the parameter.
    prior : array or None
        Draws from the prior, where they are to be outlined.
    truth : float or None
        Where it is known.
    span : tuple of float
        Ends of the axis.
    """

    label: str
    draws: list[Float[np.ndarray, " n"] | None]
    prior: Float[np.ndarray, " n"] | None
    truth: float | None
    span: tuple[float, float]


def corner(
    *datatrees: xarray.DataTree,
    labels: Sequence[str] | None = None,
    truths: Mapping[str, float] | None = None,
    prior: bool = False,
    names: Sequence[str] | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Corner plot of one posterior, or of several over one another.

    Contours hold 68% and 95% of the draws. The first posterior is filled; above each column stand
    its median and central 68% interval, dashed and dotted in the histogram below. Parameters whose
    prior is logarithmic are shown in log10.

    Parameters
    ----------
    datatrees
        Each with the group ``posterior``: one variable of dims ``(chain, draw)`` for each
        parameter, and on it the attributes ``unit``, ``label`` (LaTeX) and ``scale`` ("linear" or
        "log"). Those of the first say what is shown, and how; a posterior that lacks one of its
        parameters, or holds it fixed, is left out of the panels concerned.
    labels
        What the posteriors are called in the legend; the libraries they come from unless given.
    truths
        True value of each parameter where it is known, in physical units.
    prior
        Outline the prior, of which the first DataTree then needs the group.
    names
        The parameters to show, in this order; all that vary unless given.
    axes
        To draw in, one row and one column for each parameter shown.

    Returns
    -------
    array of matplotlib.axes.Axes
        One row and one column for each parameter; those above the diagonal are not visible.

    Raises
    ------
    InvalidInput
        Where there is no posterior, no parameter that varies from draw to draw, a name that the
        first posterior does not know, no group ``prior`` that was asked for, another number of
        labels than of posteriors, or axes of another shape.
    """
    labels = _check(datatrees, labels, truths or {}, names)
    if prior:
        need_group(datatrees[0], "prior", "Leave prior out.")
    columns = [
        _column(name, datatrees, (truths or {}).get(name), prior)
        for name in _varying(datatrees[0], names)
    ]
    n = len(columns)
    axes = make_axes(axes, (n, n), (2.0 * n + 1.0, 2.0 * n + 0.7), sharex="col")
    for row, y in enumerate(columns):
        for column, x in enumerate(columns):
            ax = axes[row, column]
            if column > row:
                ax.set_visible(False)
                continue
            if column == row:
                _histograms(ax, x)
            else:
                _contours(ax, x, y)
            ax.set_xlim(x.span)
            tidy_ticks(ax, bottom=row == n - 1, left=column == 0)
            if column == row:
                ax.set_yticks([])
            if row == n - 1:
                ax.set_xlabel(x.label)
            if column == 0 and row > 0:
                ax.set_ylabel(y.label)
    axes[0, 0].figure.align_labels()
    _legend(axes, labels, prior, truth=any(column.truth is not None for column in columns))
    return axes


def _check(
    datatrees: tuple[xarray.DataTree, ...],
    labels: Sequence[str] | None,
    truths: Mapping[str, float],
    names: Sequence[str] | None,
) -> list[str]:
    """Refuse what cannot be drawn; return the labels."""
    if not 0 < len(datatrees) <= len(SERIES):
        raise InvalidInput(
            "datatrees", len(datatrees), f"must be 1 to {len(SERIES)} posteriors",
            "More could not be told apart.",
        )  # fmt: skip
    if labels is None:
        labels = [str(tree.attrs.get("inference_library", "posterior")) for tree in datatrees]
        if len(set(labels)) < len(labels):
            labels = [f"{label} {i + 1}" for i, label in enumerate(labels)]
    elif isinstance(labels, str) or len(labels) != len(datatrees):
        raise InvalidInput(
            "labels", labels, f"must be {len(datatrees)} texts", "Give one for each posterior."
        )
    known = parameters(datatrees[0])
    for argument, given in (("names", names or ()), ("truths", truths)):
        if unknown := [name for name in given if name not in known]:
            raise InvalidInput(
                argument, unknown, "must be parameters of the first posterior",
                f"Choose from {list(known)}.",
            )  # fmt: skip
    return list(labels)


def _varying(datatree: xarray.DataTree, names: Sequence[str] | None) -> list[str]:
    """Return the parameters to show: a fixed one has no contours."""
    known = parameters(datatree)
    varying = [name for name in names or known if np.ptp(known[name].to_numpy()) > 0]
    if not varying:
        raise InvalidInput(
            "posterior", tuple(known), "must hold a parameter that varies",
            "A corner plot needs two different draws or more.",
        )  # fmt: skip
    return varying


def _column(
    name: str, datatrees: tuple[xarray.DataTree, ...], truth: float | None, prior: bool
) -> _Column:
    first = parameters(datatrees[0])[name]

    def shown(tree: xarray.DataTree, group: str) -> Float[np.ndarray, " n"] | None:
        if name not in tree[group].data_vars:
            return None
        values = tree[group][name].to_numpy().ravel().astype(np.float64)
        if is_log(first):
            values = np.log10(values[values > 0])
        return values if len(values) > 1 and np.ptp(values) > 0 else None

    draws = [shown(tree, "posterior") for tree in datatrees]
    if truth is not None and is_log(first):
        truth = float(np.log10(truth)) if truth > 0 else None
    return _Column(
        axis_label(name, first),
        draws,
        shown(datatrees[0], "prior") if prior else None,
        truth,
        _span([d for d in draws if d is not None], truth),
    )


def _histograms(ax: Axes, x: _Column) -> None:
    if x.prior is not None:
        # Bins of the whole prior, of which a narrow axis shows a few: they hold enough draws.
        density, edges = np.histogram(x.prior, BINS, density=True)
        ax.stairs(density, edges, color=GREY, linewidth=1.0)
    for i, (draws, (color, line)) in enumerate(zip(x.draws, SERIES, strict=False)):
        if draws is None:
            continue
        counts, edges = np.histogram(draws, BINS, range=x.span)
        density = counts / (len(draws) * np.diff(edges))
        if i == 0:
            ax.stairs(density, edges, fill=True, color=color, alpha=0.3)
        ax.stairs(density, edges, color=color, linestyle=line, linewidth=1.2)
    first = x.draws[0]
    assert first is not None  # `_varying` saw to it
    middle = interval(first)
    low, high = middle.median - middle.minus, middle.median + middle.plus
    for value, style in ((low, ":"), (middle.median, "--"), (high, ":")):
        ax.axvline(value, color=BLUE, linestyle=style, linewidth=1.0)
    if x.truth is not None:
        ax.axvline(x.truth, **TRUTH)
    ax.set_ylim(0, None)
    median, plus, minus = middle.digits()
    ax.set_title(f"{x.label}\n${median}^{{{plus}}}_{{{minus}}}$", fontsize=10)


def _contours(ax: Axes, x: _Column, y: _Column) -> None:
    """Draw the regions of highest density, and the draws of the first posterior as dots."""
    series = zip(x.draws, y.draws, SERIES, strict=False)
    for i, (first, second, (color, line)) in enumerate(series):
        if first is None or second is None or len(first) != len(second):
            continue
        if i == 0:
            ax.plot(first, second, ",", color=GREY, alpha=0.3, zorder=0)
        regions = _density(first, second)
        if regions is None:
            continue
        *grid, levels = regions
        if i == 0:
            ax.contourf(*grid, (*levels, grid[-1].max()), colors=TINTS[1:])
        ax.contour(*grid, levels, colors=color, linestyles=[line], linewidths=0.9)
    if x.truth is not None:
        ax.axvline(x.truth, **TRUTH)
    if y.truth is not None:
        ax.axhline(y.truth, **TRUTH)
    if x.truth is not None and y.truth is not None:
        ax.plot(x.truth, y.truth, "s", color="black", markersize=4)
    ax.set_ylim(y.span)


def _density(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Density on a grid, and its levels round 95% and 68% of the draws.

    The density is a histogram in coordinates where the draws have unit covariance, smoothed
    there by a Gaussian of Scott's width, ``n**(-1/6)``, so that a narrow ridge stays narrow;
    the grid is then mapped back. None where there are only a handful of draws.
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
    if not levels[0] < levels[1] < descending[0]:
        return None
    middles = (edges[1:] + edges[:-1]) / 2
    grid = np.einsum("ij,jkl->ikl", root, np.stack(np.meshgrid(middles, middles, indexing="ij")))
    grid_x, grid_y = grid * spread[:, :, None] + centre[:, :, None]
    return grid_x, grid_y, density, levels


def _span(draws: list[Float[np.ndarray, " n"]], truth: float | None) -> tuple[float, float]:
    """Return the span of all but the outermost draws (0.1% a side), with a margin of a tenth."""
    ends = np.array([np.quantile(d, (0.001, 0.999)) for d in draws])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    margin = 0.1 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _legend(axes: np.ndarray, labels: list[str], prior: bool, truth: bool) -> None:
    """Say what is what, in the empty corner, where there is more than one thing."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, linestyle=line, label=label)
        for label, (color, line) in zip(labels, SERIES, strict=False)
    ]
    if prior:
        handles.append(Line2D([], [], color=GREY, linewidth=1.0, label="prior"))
    if truth:
        handles.append(Line2D([], [], **TRUTH, marker="s", markersize=4, label="truth"))
    if len(handles) == 1:
        return
    if len(axes) == 1:
        beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        axes[0, 0].legend(handles=handles, fontsize=8, frameon=False, **beside)
    else:
        axes[0, 0].figure.legend(handles=handles, loc="upper right", fontsize=10, frameon=False)
