"""Merging of the many weak lines of a hot line list."""

import numpy as np
from lines import FloatArray, Lines, strengths
from numpy.typing import NDArray

SHARE_MERGED = 0.3
"""Share of the strength in each INTERVAL that may lie in merged lines."""
NEGLIGIBLE = 1e-25
"""Mean cross-section that merged lines may have wherever they lie [cm2]."""
INTERVAL, CELL_WAVENUMBER, CELL_ENERGY = 10.0, 0.1, 2500.0
"""Widths of intervals and of the cells in which lines merge [cm-1]."""


def _is_strong(lines: Lines, molecule: str, temperatures: FloatArray) -> NDArray[np.bool_]:
    """Lines other than the weakest of their interval at each temperature, shape (n_lines,).

    The weakest, which make up SHARE_MERGED or NEGLIGIBLE, are found from histograms over the
    decades below the strongest line, which spares a sort.
    """
    interval = (lines.wavenumber // INTERVAL).astype(int)
    shape = (interval.max(initial=0) + 1, 201)
    strong = np.zeros(len(interval), bool)
    for temperature in temperatures:
        strength = strengths(lines, molecule, temperature)
        strongest = np.zeros(shape[0])
        np.maximum.at(strongest, interval, strength)
        fainter = np.log10(strongest[interval] / strength) / 0.05
        cell = np.ravel_multi_index((interval, np.minimum(fainter, 200).astype(int)), shape)
        histogram = np.bincount(cell, strength, shape[0] * shape[1]).reshape(shape)
        # Strength in a cell and all the fainter ones: a cell merges where that is little.
        below = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
        merged = np.maximum(SHARE_MERGED * below[:, :1], NEGLIGIBLE * INTERVAL)
        strong |= (below > merged).ravel()[cell]
    return strong


def merge_weak(lines: Lines, molecule: str, temperatures: FloatArray) -> Lines:
    """Merge weak lines of one isotopologue that are close in wavenumber and lower energy.

    Such "super-lines" (Rey et al. 2016, J. Mol. Spectrosc. 327, 138) keep the strength at the
    highest temperature, where the weak lines are a quasi-continuum, and nearly so below.

    Parameters
    ----------
    lines
        Lines of one isotopologue.
    molecule
        "H2O" or "CO2".
    temperatures
        Temperatures at which the lines kept as they are are chosen [K]; the highest is last.
    """
    strong = _is_strong(lines, molecule, temperatures)
    weak = Lines(*(field[~strong] for field in lines))
    weight = strengths(weak, molecule, temperatures[-1])
    key = (weak.wavenumber // CELL_WAVENUMBER) * 1000 + weak.lower_energy // CELL_ENERGY
    cells, cell = np.unique(key, return_inverse=True)
    total = np.bincount(cell, weight, len(cells))
    means = [np.bincount(cell, weight * field, len(cells)) / total for field in weak[:5]]
    isotopologue = np.full(len(cells), lines.isotopologue.max(initial=1))
    merged = Lines(*means, isotopologue)._replace(strength=np.ones(len(cells)))
    merged = merged._replace(strength=total / strengths(merged, molecule, temperatures[-1]))
    return Lines(*(np.append(a[strong], b) for a, b in zip(lines, merged, strict=True)))
