"""Absorption in each layer: correlated-k of H2O, CO2 and CO, and collisions of H2, H2 and He."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from experiments.self_consistent.chemistry import HELIUM_PER_HYDROGEN

LINES = ("H2O", "CO2", "CO")  # CH4 only takes up carbon: there is no line list of it here
BOLTZMANN = 1.380649e-16  # [erg / K]
ATOMIC_MASS = 1.66053907e-24  # [g]
NEGLIGIBLE = 1e-3
"""A gas of less than this share of another's weakest absorption is left out of a bin."""


class Opacities:
    """A table as ``experiments/opacities/make_opacities.py`` makes them, with CO.

    Parameters
    ----------
    path
        The ``.npz`` file.
    """

    def __init__(self, path: str | pathlib.Path) -> None:
        with np.load(path, allow_pickle=False) as data:
            self.edges = data["wavelength_edges"]  # [um]
            self.weights = data["g_weights"]
            self.log_t, self.log_p = np.log(data["temperature"]), np.log(data["pressure"])
            self.log_k = {gas: _decoded(data, gas) for gas in LINES}
            self.cia_log_t = np.log(data["cia_temperature"])
            # In double precision: 1e-45 cm5 is no number in single.
            self.log_cia = np.stack([data["H2-H2"], data["H2-He"]]).astype(np.float64)
            self.provenance = json.loads(str(data["provenance"]))

    def optical_depths(
        self,
        temperature: np.ndarray,
        pressure: np.ndarray,
        column: np.ndarray,
        per_h2: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Vertical optical depth of each layer, (layers, bins, g).

        Parameters
        ----------
        temperature, pressure
            Of each layer [K], [bar].
        column
            H2 molecules in it [1 / cm2].
        per_h2
            Molecules of each gas per H2.
        """
        weights = _bilinear(self.log_t, self.log_p, np.log(temperature), np.log(pressure))
        gases = [per_h2[gas][:, None, None] * self._cross_section(gas, weights) for gas in LINES]
        k = gases[0]
        for other in gases[1:]:
            k = self.mixed(k, other)
        h2 = 1e6 * pressure / (BOLTZMANN * temperature) / (1 + 2 * HELIUM_PER_HYDROGEN)
        k += (h2[:, None] * self._collisions(temperature))[..., None]
        return k * column[:, None, None]

    def _cross_section(self, gas: str, weights: list[tuple[Any, ...]]) -> np.ndarray:
        table = self.log_k[gas]
        log_k = sum(w[:, None, None] * table[i, j] for i, j, w in weights)
        return np.exp(np.float64(np.log(10)) * log_k)

    def _collisions(self, temperature: np.ndarray) -> np.ndarray:
        """cm5 per H2 and H2 in the same cm3."""
        i, f = _place(self.cia_log_t, np.log(temperature))
        log = (1 - f)[:, None] * self.log_cia[:, i] + f[:, None] * self.log_cia[:, i + 1]
        return 10 ** log[0] + 2 * HELIUM_PER_HYDROGEN * 10 ** log[1]

    def mixed(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Both gases, uncorrelated within a bin: all sums of two points, sorted and rebinned.

        Lacis & Oinas 1991 (JGR 96, 9027); Amundsen et al. 2017 (A&A 598, A97).
        """
        n = len(self.weights)
        matters = (other[..., -1] > NEGLIGIBLE * one[..., 0]) & (
            one[..., -1] > NEGLIGIBLE * other[..., 0]
        )
        mixed = one + other
        sums = (one[matters][:, :, None] + other[matters][:, None, :]).reshape(-1, n * n)
        order = np.argsort(sums, axis=1)
        sums = np.take_along_axis(sums, order, axis=1)
        share = (self.weights[:, None] * self.weights).ravel()[order]
        g = np.cumsum(share, axis=1)
        integral = np.cumsum(share * sums, axis=1)
        bounds = np.cumsum(self.weights)[:-1]
        parts = [np.zeros(len(sums))]
        for bound in bounds:
            i = (g < bound - 1e-12).sum(axis=1)[:, None]  # the sum in which the bound lies
            past = np.take_along_axis(g, i, axis=1) - bound
            up_to = np.take_along_axis(integral, i, 1) - past * np.take_along_axis(sums, i, 1)
            parts.append(up_to[:, 0])
        parts.append(integral[:, -1])
        mixed[matters] = np.diff(np.stack(parts, axis=1), axis=1) / self.weights
        return mixed


def _decoded(data: Any, gas: str) -> np.ndarray:
    steps = data[gas].astype(np.int32)
    for axis in data["differenced_axes"]:
        steps = np.cumsum(steps, axis=axis)
    return np.float32(data["log10k_offset"]) + np.float32(data["log10k_step"]) * steps


def _place(grid: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of each x, and how far into it; at its ends beyond the grid."""
    i = np.clip(np.searchsorted(grid, x) - 1, 0, len(grid) - 2)
    return i, np.clip((x - grid[i]) / (grid[i + 1] - grid[i]), 0, 1).astype(np.float32)


def _bilinear(
    grid_1: np.ndarray, grid_2: np.ndarray, x1: np.ndarray, x2: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Four corners of each point: indices and weight."""
    (i, f), (j, h) = _place(grid_1, x1), _place(grid_2, x2)
    return [
        (i + a, j + b, (f if a else 1 - f) * (h if b else 1 - h)) for a in (0, 1) for b in (0, 1)
    ]
