"""The two figures of a retrieval: the corner plot of the posterior, and the fit to the spectrum.

Both take an ArviZ DataTree and return a `matplotlib.figure.Figure` that belongs to no window:
save it with ``figure.savefig``. Colours are those of Okabe & Ito, safe for the colour-blind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.summary import (
    ONE_SIGMA,
    THREE_SIGMA,
    TWO_SIGMA,
    interval,
    is_log,
    parameters,
)
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
TINTS = ("#CCE3F0", "#99C7E0", "#4D9CC9")  # of the blue, from pale to full


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
            columns.append((_label(name, variable), np.log10(draws) if is_log(variable) else draws))
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
            _tidy_ticks(ax, bottom=row == n - 1, left=column == 0)
            if column == row:
                ax.set_yticks([])
            if row == n - 1:
                ax.set_xlabel(column_label)
            if column == 0 and row > 0:
                ax.set_ylabel(row_label)
    figure.align_labels()
    return figure


def spectrum(datatree: xarray.DataTree) -> Figure:
    """Observed spectrum, the models that fit it, and the residuals.

    Bands hold the central 68.3, 95.4 and 99.7% of the noise-free model spectra; the lower panel
    shows data less median model, in standard deviations of the data. Each dataset has its column.

    Parameters
    ----------
    datatree
        With the groups ``observed_data``, ``constant_data`` and ``posterior_predictive``.

    Raises
    ------
    InvalidInput
        Where the DataTree holds no model spectra.
    """
    from matplotlib.figure import Figure

    if "posterior_predictive" not in datatree.children:
        raise InvalidInput(
            "datatree", tuple(datatree.children), "must have the group posterior_predictive",
            "Model spectra come with posterior.importance_sample(n).to_datatree().",
        )  # fmt: skip
    datasets = [str(name) for name in datatree["observed_data"].data_vars]
    figure = Figure(figsize=(1.0 + 8.0 * len(datasets), 5.5), layout="constrained")
    axes = figure.subplots(
        2, len(datasets), sharex="col", squeeze=False, gridspec_kw={"height_ratios": (3, 1)}
    )
    for column, name in enumerate(datasets):
        _fit(axes[0, column], axes[1, column], datatree, name)
    figure.align_labels()
    return figure


def _fit(top: Axes, bottom: Axes, datatree: xarray.DataTree, name: str) -> None:
    constants = datatree["constant_data"].data_vars
    observed = datatree["observed_data"][name]
    data = observed.to_numpy()
    error = constants[f"error_{name}"].to_numpy()
    models = datatree["posterior_predictive"][name].to_numpy().reshape(-1, len(data))
    median = np.median(models, axis=0)
    if f"wavelength_{name}" in constants:
        x, x_label = constants[f"wavelength_{name}"].to_numpy(), "wavelength [µm]"
    else:
        x, x_label = np.arange(len(data)), "channel"
    width = constants[f"bin_width_{name}"].to_numpy() / 2 if f"bin_width_{name}" in constants else 0

    masses = ((THREE_SIGMA, "99.7%"), (TWO_SIGMA, "95.4%"), (ONE_SIGMA, "68.3% of models"))
    for (mass, label), color in zip(masses, TINTS, strict=True):
        low, high = np.quantile(models, ((1 - mass) / 2, (1 + mass) / 2), axis=0)
        style: dict[str, Any] = {"color": color, "linewidth": 0}
        top.fill_between(x, low, high, label=label, **style)
        bottom.fill_between(x, (low - median) / error, (high - median) / error, **style)
    top.plot(x, median, color=BLUE, linewidth=1.2, label="median model")
    points: dict[str, Any] = {
        "fmt": "o",
        "markersize": 2.5,
        "color": "black",
        "elinewidth": 0.7,
        "zorder": 3,
    }
    top.errorbar(x, data, yerr=error, xerr=width, label="data", **points)
    bottom.errorbar(x, (data - median) / error, yerr=np.ones_like(x), **points)
    bottom.axhline(0, color=BLUE, linewidth=1.2)

    unit = observed.attrs.get("unit", "")
    top.set_title(name, loc="left", fontsize=10)
    top.set_ylabel(f"observed [{unit}]" if unit else "observed")
    bottom.set_ylabel("residual [σ]")
    bottom.set_xlabel(x_label)
    handles, labels = top.get_legend_handles_labels()
    top.legend(
        handles[::-1], labels[::-1], frameon=False, fontsize=8, ncols=len(labels),
        loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0,
    )  # fmt: skip
    top.margins(x=0.01)


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


def _label(name: str, variable: xarray.DataArray) -> str:
    label = variable.attrs.get("label") or name
    unit = variable.attrs.get("unit", "")
    unit = f" [{unit}]" if unit else ""
    return (r"$\log_{10}$ " if is_log(variable) else "") + label + unit


def _tidy_ticks(ax: Axes, *, bottom: bool, left: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.tick_params(direction="in", labelsize=8, labelbottom=bottom, labelleft=left)
    ax.tick_params(axis="x", labelrotation=45)
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.yaxis.set_major_locator(MaxNLocator(4, prune="both"))
