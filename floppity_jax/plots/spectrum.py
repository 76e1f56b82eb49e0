"""The fit to the spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.plots.style import BLUE, TINTS, make_axes, need_group
from floppity_jax.summary import ONE_SIGMA, THREE_SIGMA, TWO_SIGMA

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def spectrum(datatree: xarray.DataTree, axes: np.ndarray | None = None) -> np.ndarray:
    """Observed spectrum, the models that fit it, and the residuals.

    Bands hold the central 68.3, 95.4 and 99.7% of the noise-free model spectra; the lower panel
    shows data less median model, in standard deviations of the data. Each dataset has its column.

    Parameters
    ----------
    datatree
        With the groups ``observed_data``, ``constant_data`` and ``model_spectra``.

    axes
        To draw in, two rows and a column for each dataset.

    Returns
    -------
    array (2, datasets) of matplotlib.axes.Axes

    Raises
    ------
    InvalidInput
        Where the DataTree holds no model spectra or not one observation, or axes are of another
        shape.
    """
    need_group(
        datatree, "model_spectra",
        "Model spectra come with posterior.importance_sample(n).to_datatree().",
    )  # fmt: skip
    need_group(
        datatree, "observed_data", "Of several observations, plot each posterior's own tree."
    )
    datasets = [str(name) for name in datatree["observed_data"].data_vars]
    axes = make_axes(
        axes, (2, len(datasets)), (1.0 + 8.0 * len(datasets), 5.5),
        sharex="col", gridspec_kw={"height_ratios": (3, 1)},
    )  # fmt: skip
    for column, name in enumerate(datasets):
        _fit(axes[0, column], axes[1, column], datatree, name)
    axes[0, 0].figure.align_labels()
    return axes


def _fit(top: Axes, bottom: Axes, datatree: xarray.DataTree, name: str) -> None:
    constants = datatree["constant_data"].data_vars
    observed = datatree["observed_data"][name]
    data = observed.to_numpy()
    error = constants[f"error_{name}"].to_numpy()
    models = datatree["model_spectra"][name].to_numpy().reshape(-1, len(data))
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
