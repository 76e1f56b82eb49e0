"""Where in the spectrum the residuals sit: a scan of neighbouring channels, calibrated by replicas.

Chi square adds up all channels, and a broad feature that the model lacks may hide in it: 1 sigma
over 25 of 150 channels adds 25 to 150 +- 17. The sum of those residuals stands 5 sigma out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray

REPLICAS = 1000  # at most
TAIL = 0.01  # of replicas: a window that fewer of them reach stands out
LEAST_VARIANCE = 0.1  # of models, over that of the noise, in directions that were fitted
ROUNDING = 1e-9  # variance of what the fit leaves nothing of
WAY_OUT = "Model spectra come with posterior.importance_sample(n).to_datatree()."


class ResidualWindow(NamedTuple):
    """The window of neighbouring channels in which data and models differ most.

    Attributes
    ----------
    dataset : str
        Which one it is of.
    first, last : int
        Its channels, counted from 0, both included.
    low, high : float
        Its outer edges, in wavelength [um] where that is known, else in channels.
    unit : str
        Of these: ``"um"`` or ``"channel"``.
    mean : float
        Of the residuals there, data less model, in standard deviations of a channel's noise.
    p_value : float
        Share of replicas in which some window stands out as far; at least 1 over their number.
    """

    dataset: str
    first: int
    last: int
    low: float
    high: float
    unit: str
    mean: float
    p_value: float

    @property
    def stands_out(self) -> bool:
        """Whether chance would seldom do it: p below 0.01."""
        return self.p_value < TAIL

    @property
    def place(self) -> str:
        """Where it lies."""
        if self.unit == "um":
            return f"{self.low:.4g} to {self.high:.4g} um"
        return f"channels {self.first} to {self.last}"

    @property
    def words(self) -> str:
        """What was found."""
        if not self.stands_out:
            return f"no window of channels stands out (most: {self.place}, p = {self.p_value:.2g})"
        side = "above" if self.mean > 0 else "below"
        count = self.last - self.first + 1
        channels = "1 channel" if count == 1 else f"{count} channels"
        return (
            f"data lie {side} the models at {self.place}, by {abs(self.mean):.2g} sigma in the "
            f"mean of {channels} (p = {self.p_value:.1g})"
        )


def residual_scan(datatree: xarray.DataTree) -> ResidualWindow:
    """Find the window of channels in which the residuals of the fit are least like noise.

    Residuals are summed over every window of neighbouring channels of a dataset. Each sum is
    divided by its root mean square over replicas, data of the posterior predictive distribution,
    and the window where that is largest for the data is returned. Sizes of windows grow by a factor
    of sqrt(2) from 1 to half the channels, so that ends are known to about a fifth of the width.
    The p-value is the share of replicas whose own largest is as large. What the models lack may lie
    next to the window: a fit that is drawn to a feature leaves the other sign beside it.

    A replica has to be fitted as the data were, or it lies too far from the models, and p-values
    near 1 (Robins, van der Vaart & Ventura 2000). No simulation is needed for that where the model
    is linear over the posterior: residuals, of data and replicas alike, are what is left of their
    distance from the mean model beside the directions in which the models of the posterior vary.
    They depend on the noise alone then, whatever its law, so that p is uniform if the model is
    right.

    Parameters
    ----------
    datatree
        With the groups ``observed_data``, ``model_spectra`` and ``posterior_predictive``;
        wavelengths are taken from ``constant_data``.

    Raises
    ------
    InvalidInput
        Where a group is missing.
    """
    names, sizes, data, models = _in_deviations(datatree)
    directions = _directions(models)
    residuals = data - data @ directions.T @ directions

    z, dataset, first, m = _strongest(residuals, sizes)
    p_value = float((z >= z[0]).mean())  # the data are one of them, as good as any if all is right
    name, last = names[dataset], first + m - 1
    mean = residuals[0, sum(sizes[:dataset]) + first :][:m].mean()
    low, high, unit = _edges(datatree, name, first, last)
    return ResidualWindow(name, first, last, low, high, unit, float(mean), p_value)


def _strongest(
    residuals: Float[np.ndarray, "n channels"], sizes: list[int]
) -> tuple[Float[np.ndarray, " n"], int, int, int]:
    """Return how far each row stands out; and where the first does: dataset, channel, channels.

    ``sizes`` counts the channels of each dataset: no window reaches over two of them.
    """
    n = len(residuals)
    best, where = np.zeros(n), (0, 0, 1)
    for dataset, part in enumerate(np.split(residuals, np.cumsum(sizes)[:-1], axis=1)):
        ends = np.pad(np.cumsum(part, axis=1), ((0, 0), (1, 0)))
        for m in window_sizes(part.shape[1]):
            square = (ends[:, m:] - ends[:, :-m]) ** 2
            others = (square.sum(axis=0) - square) / (n - 1)  # a row is not measured by itself
            z = np.sqrt(square / np.maximum(others, m * ROUNDING))
            if z[0].max() > best[0]:
                where = (dataset, int(z[0].argmax()), m)
            best = np.maximum(best, z.max(axis=1))
    return best, *where


def window_sizes(channels: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 11, 16... up to half the channels."""
    most = max(channels // 2, 1)
    sizes = np.round(2.0 ** np.arange(0, np.log2(most) + 0.25, 0.5)).astype(int)
    return sorted({int(m) for m in sizes if m <= most})


def _in_deviations(
    datatree: xarray.DataTree,
) -> tuple[
    list[str], list[int], Float[np.ndarray, "n+1 channels"], Float[np.ndarray, "m channels"]
]:
    """Return names and sizes of datasets, data, and models, from the mean model.

    The first row of data is what was observed, the others are replicas. All are in standard
    deviations of the noise, as it is in the replicas: it may be larger than the errors.
    """
    for group in ("observed_data", "model_spectra", "posterior_predictive"):
        if group not in datatree.children:
            raise InvalidInput(
                "datatree", tuple(datatree.children), f"must have the group {group}", WAY_OUT
            )
    names = [str(name) for name in datatree["observed_data"].data_vars]
    data, models = [], []
    for name in names:
        observed = datatree["observed_data"][name].to_numpy()
        model, replica = (
            _thinned(datatree[group][name].to_numpy().reshape(-1, observed.size))
            for group in ("model_spectra", "posterior_predictive")
        )
        centre = model.mean(axis=0)
        noise = np.sqrt(((replica - model) ** 2).mean(axis=0))
        data.append((np.concatenate([observed[None], replica]) - centre) / noise)
        models.append((model - centre) / noise)
    sizes = [part.shape[1] for part in data]
    return names, sizes, np.concatenate(data, axis=1), np.concatenate(models, axis=1)


def _thinned(spectra: Float[np.ndarray, "n channels"]) -> Float[np.ndarray, "m channels"]:
    return spectra[np.linspace(0, len(spectra) - 1, min(REPLICAS, len(spectra))).astype(int)]


def _directions(models: Float[np.ndarray, "n channels"]) -> Float[np.ndarray, "k channels"]:
    """Return unit vectors of those directions in which models vary."""
    spread = models[::2]  # enough to know them by
    _, scale, directions = np.linalg.svd(spread, full_matrices=False)
    return directions[scale**2 > LEAST_VARIANCE * len(spread)]


def _edges(datatree: xarray.DataTree, name: str, first: int, last: int) -> tuple[float, float, str]:
    """Return the outer edges of a window and their unit: see `ResidualWindow`."""
    constants = datatree["constant_data"].data_vars if "constant_data" in datatree.children else {}
    if f"wavelength_{name}" not in constants:
        return first - 0.5, last + 0.5, "channel"
    wavelength = constants[f"wavelength_{name}"].to_numpy()
    if f"bin_width_{name}" in constants:
        half = constants[f"bin_width_{name}"].to_numpy() / 2
        low, high = wavelength[first] - half[first], wavelength[last] + half[last]
    else:  # half way to the neighbours
        channels = np.arange(len(wavelength))
        low, high = np.interp((first - 0.5, last + 0.5), channels, wavelength)
    return float(low), float(high), "um"
