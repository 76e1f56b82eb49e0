"""Spectral channels: checked against an opacity table, and averaged over its bins."""

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.opacity import OpacityTable


def check_channels(wavelength: np.ndarray, bin_width: np.ndarray, table: OpacityTable) -> None:
    """Refuse channels that are malformed or leave the table.

    Parameters
    ----------
    wavelength, bin_width
        Centres and full widths (channels,) [um].
    table
        The opacities.

    Raises
    ------
    InvalidInput
        Where shapes differ, a number is not finite, a width is not above 0, or a channel reaches
        beyond the table.
    """
    if wavelength.ndim != 1 or wavelength.shape != bin_width.shape or wavelength.size == 0:
        raise InvalidInput(
            "shapes of wavelength and bin_width", (wavelength.shape, bin_width.shape),
            "must both be (channels,)", "Give each channel a centre and a full width [um].",
        )  # fmt: skip
    if not (np.isfinite(wavelength).all() and (bin_width > 0).all()):
        bad = int(np.argmin(np.isfinite(wavelength) & (bin_width > 0)))
        raise InvalidInput(
            f"(wavelength, bin_width)[{bad}]", (wavelength[bad], bin_width[bad]),
            "must be finite, and the width above 0", "Mend the channel or drop it.",
        )  # fmt: skip
    low, high = table.wavelength_edges[[0, -1]]
    inside = (wavelength - bin_width / 2 >= low) & (wavelength + bin_width / 2 <= high)
    if not inside.all():
        raise InvalidInput(
            "wavelength", wavelength[~inside],
            f"must keep its channels inside the opacity table, {low:g} to {high:g} um",
            f"Drop these {(~inside).sum()} channels, or make a wider table with the scripts in "
            "experiments/opacities and pass it as opacities=.",
        )  # fmt: skip


def channel_weights(left: np.ndarray, right: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of each bin in the mean of each channel, even in wavelength.

    Parameters
    ----------
    left, right
        Channel edges (channels,).
    edges
        Bin edges (bins + 1,), which enclose the channels.

    Returns
    -------
    array (channels, bins); each row sums to 1
    """
    overlap = np.minimum(right[:, None], edges[1:]) - np.maximum(left[:, None], edges[:-1])
    return np.clip(overlap, 0, None) / (right - left)[:, None]
