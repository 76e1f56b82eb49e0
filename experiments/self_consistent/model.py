"""A cool brown dwarf in radiative-convective equilibrium, and its spectrum as MIRI sees it."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.self_consistent.chemistry import abundances, mean_mass
from experiments.self_consistent.opacities import ATOMIC_MASS, Opacities
from experiments.self_consistent.radiation import Planck, fluxes
from experiments.self_consistent.structure import (
    ADIABATIC_GRADIENT,
    Structure,
    node_temperatures,
    solve,
)

HERE = pathlib.Path(__file__).parent
R_JUP, PARSEC = 7.1492e9, 3.0856776e18  # [cm]
LIGHT = 2.99792458e14  # [um / s]
DISTANCE = 10.0  # [pc]: about that of WISE J1828+2650
TOP, BOTTOM = -4, 3  # log10 of pressures [bar]


class BrownDwarf:
    """Flux density of a cool brown dwarf at `DISTANCE`, in uJy.

    Parameters
    ----------
    layers
        From 1e-4 to 1,000 bar. 50 are within 0.2% (mean) and 0.9% (most) of 100.
    broad, narrow
        Tables of opacities: for the temperatures, and for the spectrum.

    Attributes
    ----------
    parameters
        T_int [K], which for an isolated body is T_eff, radius [R_jup], log_g [log10 cm/s2],
        log_Kzz [log10 cm2/s], C/O and [M/H].
    """

    parameters = ("T_int", "radius", "log_g", "log_Kzz", "C_O", "M_H")

    def __init__(
        self,
        layers: int = 50,
        broad: str | pathlib.Path = HERE / "opacities_broad.npz",
        narrow: str | pathlib.Path = HERE / "opacities_miri.npz",
    ) -> None:
        self.broad, self.narrow = Opacities(broad), Opacities(narrow)
        self.broad_planck = Planck(self.broad.edges, whole=True)
        self.narrow_planck = Planck(self.narrow.edges, whole=False)
        self.faces = np.logspace(TOP, BOTTOM, layers + 1)
        self.pressure = np.sqrt(self.faces[1:] * self.faces[:-1])

    def fingerprint(self) -> str:
        """Hash of the version, the layers and the tables."""
        digest = hashlib.sha256(f"BrownDwarf 1, {len(self.pressure)} layers".encode())
        for table in (self.broad, self.narrow):
            for array in (table.edges, table.log_cia, *table.log_k.values()):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def edges(self) -> np.ndarray:
        """Of the channels [um]."""
        return self.narrow.edges

    def composition(
        self, temperature: np.ndarray, p: Mapping[str, float]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Molecules per H2 in each layer, and H2 molecules in it [1 / cm2]."""
        gravity = 10 ** p["log_g"]
        per_h2 = abundances(temperature, self.pressure, gravity, p["log_Kzz"], p["M_H"], p["C_O"])
        mass, total = mean_mass(per_h2)
        return per_h2, 1e6 * np.diff(self.faces) / (gravity * mass * ATOMIC_MASS * total)

    def depths(
        self, table: Opacities, temperature: np.ndarray, p: Mapping[str, float]
    ) -> np.ndarray:
        per_h2, column = self.composition(temperature, p)
        return table.optical_depths(temperature, self.pressure, column, per_h2)

    def structure(self, p: Mapping[str, float]) -> Structure:
        """Column in radiative-convective equilibrium."""
        return solve(
            lambda temperature: self.depths(self.broad, temperature, p),
            self.broad_planck, self.broad.weights, self.pressure, p["T_int"], self._start(p),
        )  # fmt: skip

    def _start(self, p: Mapping[str, float]) -> np.ndarray:
        """A grey column, and the adiabat below an optical depth of about 2."""
        tau = 300 * self.pressure / 10 ** (p["log_g"] - 4.5) * 10 ** (0.5 * p["M_H"]) / 100
        grey = p["T_int"] * (0.75 * (tau + 2 / 3)) ** 0.25
        face = np.interp(1.0, tau, self.pressure)
        adiabat = p["T_int"] * 1.1 * (self.pressure / face) ** ADIABATIC_GRADIENT
        return np.where(self.pressure > face, adiabat, grey)

    def emission(self, structure: Structure, p: Mapping[str, float]) -> np.ndarray:
        """Flux of each channel at the top [erg / (s cm2)]."""
        depth = self.depths(self.narrow, structure.temperature, p)
        source, _ = self.narrow_planck(node_temperatures(structure.temperature))
        return fluxes(depth, source, self.narrow.weights)[0]

    def __call__(self, p: Mapping[str, float]) -> np.ndarray:
        """Flux densities [uJy]."""
        flux = self.emission(self.structure(p), p)
        hertz = LIGHT * (1 / self.edges[:-1] - 1 / self.edges[1:])
        return flux / hertz * (p["radius"] * R_JUP / (DISTANCE * PARSEC)) ** 2 * 1e29
