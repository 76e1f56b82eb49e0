"""Correlated-k: a spectral bin's cross-sections as a function of their rank g in [0, 1]."""

import numpy as np
from cross_section import (
    POINTS_PER_WIDTH,
    cross_section,
    doppler_width,
    grid_step,
    lorentz_widths,
)
from lines import FloatArray, Lines, strengths
from numpy.typing import NDArray

SEGMENT = 0.1
"""Length in ln(wavenumber) that one Fourier transform covers."""


def g_quadrature(n_g: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights over g in [0, 1], each of shape (n_g,).

    Gauss-Legendre quadrature in x, with g = 1 - (1 - x)^2: points crowd towards line cores enough
    to keep the bin's mean cross-section, and not so much as to starve its mean ln k, which is what
    sets a transit height.
    """
    x, w = np.polynomial.legendre.leggauss(n_g)
    x, w = (x + 1) / 2, w / 2
    return 1 - (1 - x) ** 2, 2 * w * (1 - x)


def k_distribution(
    lines: Lines,
    molecule: str,
    log_edges: FloatArray,
    g: FloatArray,
    temperature: float,
    pressures: FloatArray,
    cutoff: float,
    points_per_width: float = POINTS_PER_WIDTH,
) -> FloatArray:
    """Cross-sections at ranks g, shape (n_pressures, n_bins, n_g) [cm2/molecule].

    Parameters
    ----------
    lines, molecule
        The lines and the molecule's name.
    log_edges
        Edges of the bins in ln(wavenumber / cm-1), ascending and even, shape (n_bins + 1,).
    g
        Ranks, shape (n_g,).
    temperature, pressures
        Temperature [K] and pressures [bar].
    cutoff
        Line wings end this far from the centre [cm-1].
    points_per_width
        Grid points in the half width of the narrowest line.
    """
    n_bins = len(log_edges) - 1
    bin_width = (log_edges[-1] - log_edges[0]) / n_bins
    doppler = doppler_width(molecule, temperature)
    at_temperature = strengths(lines, molecule, temperature)
    result = np.zeros((len(pressures), n_bins, len(g)))
    bins_per_segment = max(1, int(SEGMENT / bin_width))
    for first in range(0, n_bins, bins_per_segment):
        last = min(first + bins_per_segment, n_bins)
        near = (lines.wavenumber > np.exp(log_edges[first]) - 1.2 * cutoff) & (
            lines.wavenumber < np.exp(log_edges[last]) + 1.2 * cutoff
        )
        local = Lines(*(field[near] for field in lines))
        for i, pressure in enumerate(pressures):
            lorentz = lorentz_widths(local, temperature, pressure)
            step = grid_step(doppler, lorentz, bin_width, points_per_width=points_per_width)
            per_bin = round(bin_width / step)
            grid = log_edges[first] + step * (np.arange((last - first) * per_bin) + 0.5)
            k = cross_section(grid, local, at_temperature[near], lorentz, doppler, cutoff)
            k = np.sort(k.reshape(last - first, per_bin), axis=1)
            rank = (np.arange(per_bin) + 0.5) / per_bin
            for j, row in enumerate(k):
                result[i, first + j] = np.interp(g, rank, row)
    return result


def encode(k: FloatArray, offset: float, step: float, axes: tuple[int, ...]) -> NDArray[np.int16]:
    """Round log10 k to whole steps above ``offset``, then difference along ``axes``.

    A cumulative sum along the same axes undoes the differences exactly. Whatever lies below
    10^offset becomes 0, "no opacity".

    Raises
    ------
    OverflowError
        If a difference does not fit 16 bits.
    """
    log_k = np.log10(np.maximum(k, 10.0**offset))
    code = np.rint((log_k - offset) / step).astype(np.int32)
    for axis in axes:
        code = np.diff(code, axis=axis, prepend=0)
    if np.abs(code).max() > np.iinfo(np.int16).max:
        raise OverflowError(f"differences reach {np.abs(code).max()}: raise step ({step})")
    return code.astype(np.int16)
