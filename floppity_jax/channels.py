"""Spectral channels: checked against an opacity table, and averaged over its bins."""

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.errors import InvalidInput, SimulatorError

if TYPE_CHECKING:  # the table's module loads JAX, which the workers of a pool do without
    from floppity_jax.simulators.opacity import OpacityTable


def check_channels(wavelength: np.ndarray, bin_width: np.ndarray, table: "OpacityTable") -> None:
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


def edges_of(points: np.ndarray) -> np.ndarray:
    """Edges (n + 1,) half way between increasing points (n,), n of 2 or more."""
    middle = (points[1:] + points[:-1]) / 2
    first, last = 2 * points[0] - middle[0], 2 * points[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def check_covered(left: np.ndarray, right: np.ndarray, low: float, high: float, code: str) -> None:
    """Refuse channels of which a spectrum covers less than 99%.

    A share, for grids even in wavelength and in wavenumber put their last edge a little apart.

    Parameters
    ----------
    left, right
        Channel edges (channels,) [um].
    low, high
        Where the spectrum begins and ends [um].
    code
        What computed it, for the message.

    Raises
    ------
    SimulatorError
        With the first channel concerned.
    """
    covered = (np.minimum(right, high) - np.maximum(left, low)) / (right - left)
    if (covered < 0.99).any():
        first = int(np.argmax(covered < 0.99))
        raise SimulatorError(
            f"{code} computes {low:g} to {high:g} um; channel {first}, {left[first]:g} to "
            f"{right[first]:g} um, and {int((covered < 0.99).sum()) - 1} others leave it. Give "
            "the code opacities that reach further, or drop these channels."
        )


def average(
    wavelength: np.ndarray, values: np.ndarray, left: np.ndarray, right: np.ndarray, code: str
) -> np.ndarray:
    """Mean of a spectrum over each channel, even in wavelength.

    Each point stands for the interval that reaches half way to its neighbours. The sums are made
    channel by channel, not as differences of a running integral, in which a faint channel would
    drown in the bright ones before it.

    Parameters
    ----------
    wavelength
        Points of the spectrum (n,) [um], increasing or decreasing.
    values
        The spectrum (n,).
    left, right
        Channel edges (channels,) [um], in any order.
    code
        What computed the spectrum, for messages.

    Returns
    -------
    array (channels,)

    Raises
    ------
    SimulatorError
        Where the spectrum is malformed, or does not cover a channel.
    """
    wavelength, values = increasing(wavelength, values, code)
    edges = edges_of(wavelength)
    check_covered(left, right, edges[0], edges[-1], code)
    first = np.maximum(np.searchsorted(edges, left, side="right") - 1, 0)
    last = np.minimum(np.searchsorted(edges, right, side="left"), values.size)
    means = np.empty(left.size)
    for channel, (start, stop) in enumerate(zip(first, last, strict=True)):
        piece = edges[start : stop + 1]
        overlap = np.minimum(right[channel], piece[1:]) - np.maximum(left[channel], piece[:-1])
        means[channel] = (overlap * values[start:stop]).sum() / overlap.sum()
    return means


def average_lines(
    wavelength: np.ndarray, values: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Mean over each channel of a spectrum whose points are joined by straight lines.

    Parameters
    ----------
    wavelength, values
        Points of the spectrum (n,), wavelengths [um] increasing.
    left, right
        Channel edges (channels,) [um], in any order.

    Returns
    -------
    array (channels,)
    """
    first = np.searchsorted(wavelength, left, side="right")
    last = np.searchsorted(wavelength, right, side="left")
    ends = np.interp(np.stack([left, right]), wavelength, values)
    means = np.empty(left.size)
    for channel, (start, stop) in enumerate(zip(first, last, strict=True)):
        x = np.concatenate([[left[channel]], wavelength[start:stop], [right[channel]]])
        y = np.concatenate([ends[:1, channel], values[start:stop], ends[1:, channel]])
        means[channel] = ((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0])
    return means


def increasing(
    wavelength: np.ndarray, values: np.ndarray, code: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return a spectrum in order of wavelength.

    Raises
    ------
    SimulatorError
        Where it is not two arrays (n,) alike, n of 2 or more, or the wavelengths repeat.
    """
    wavelength, values = np.asarray(wavelength, float), np.asarray(values, float)
    if wavelength.ndim != 1 or wavelength.shape != values.shape or wavelength.size < 2:
        raise SimulatorError(
            f"{code} returned wavelengths of shape {wavelength.shape} and a spectrum of shape "
            f"{values.shape}; both must be (n,), n of 2 or more."
        )
    order = np.argsort(wavelength)
    wavelength, values = wavelength[order], values[order]
    if not (np.diff(wavelength) > 0).all():  # NaN too
        raise SimulatorError(f"{code} returned wavelengths that repeat or are not finite.")
    return wavelength, values
