"""Collision-induced absorption: Borysow's tables averaged over bins."""

import numpy as np
from lines import FloatArray

LOSCHMIDT = 2.686780111e19
"""Molecules per cm3 in one amagat."""
FLOOR = -60.0
"""log10 of the coefficient [cm5] where a table has no value."""


def read_cia(text: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Read a table in pyratbay's text format.

    Returns
    -------
    temperature, wavenumber, coefficient
        Shapes (nT,) [K], (n,) [cm-1] and (nT, n) [cm-1 amagat-2].
    """
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    names = [row[0] for row in rows]
    temperature = np.array(rows[names.index("@TEMPERATURES") + 1], float)
    data = np.array(rows[names.index("@DATA") + 1 :], float)
    return temperature, data[:, 0], data[:, 1:].T


def bin_cia(
    wavenumber: FloatArray, coefficient: FloatArray, log_edges: FloatArray, samples: int = 20
) -> FloatArray:
    """Average over bins, shape (nT, n_bins), log10 [cm5/molecule2].

    Parameters
    ----------
    wavenumber, coefficient
        The table, shapes (n,) [cm-1] and (nT, n) [cm-1 amagat-2].
    log_edges
        Edges of the bins in ln(wavenumber / cm-1), ascending, shape (n_bins + 1,).
    samples
        Points in each bin; the tables are smooth, and interpolated in log10.
    """
    position = (np.arange(samples) + 0.5) / samples
    points = np.exp(log_edges[:-1, None] + np.diff(log_edges)[:, None] * position)
    tiny = 10.0**FLOOR
    log_cm5 = np.log10(np.maximum(coefficient / LOSCHMIDT**2, tiny))
    curves = [np.interp(points, wavenumber, row, left=FLOOR, right=FLOOR) for row in log_cm5]
    return np.log10((10.0 ** np.array(curves)).mean(axis=2))
