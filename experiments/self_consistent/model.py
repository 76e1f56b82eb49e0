"""A cool brown dwarf in radiative-convective equilibrium, and its spectrum as MIRI sees it."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np

import floppity_jax as fp

from .chemistry import abundances, mean_mass
from .opacities import ATOMIC_MASS, Opacities
from .radiation import Planck, fluxes
from .structure import ADIABATIC_GRADIENT, Structure, node_temperatures, solve

HERE = pathlib.Path(__file__).parent
R_JUP, PARSEC = 7.1492e9, 3.0856776e18  # [cm]
LIGHT = 2.99792458e14  # [um / s]
DISTANCE = 10.0  # [pc]: about that of WISE J1828+2650
FACES = np.logspace(-4, 3, 51)  # of the layers [bar]

PARAMETERS = {
    "T_int": fp.Uniform(300, 1000, unit="K"),
    "radius": fp.Uniform(0.5, 2.0, unit="R_jup"),
    "log_g": fp.Uniform(3.5, 5.5),
    "log_Kzz": fp.Uniform(2, 12),
    "C_O": fp.Uniform(0.1, 1.0, label="C/O"),
    "M_H": fp.Uniform(-1.0, 1.0, label="[M/H]"),
}
TRUTH = {"T_int": 500.0, "radius": 1.0, "log_g": 4.5, "log_Kzz": 7.0, "C_O": 0.55, "M_H": 0.0}

# Errors of the MIRI/MRS spectrum of WISE J1828+2650 at R = 1,000 [um], [uJy].
ERROR = np.array([
    [4.9, 2.1], [5.3, 1.7], [5.7, 1.55], [7.2, 1.15], [8.0, 1.5], [11.5, 1.8], [12.5, 2.05],
    [13.0, 2.15], [15.5, 2.4], [17.0, 2.95], [18.0, 3.9],
]).T  # fmt: skip


class BrownDwarf:
    """Flux density of a cool brown dwarf at `DISTANCE`, in uJy.

    Parameters
    ----------
    broad, narrow
        Tables of opacities: for the temperatures, and for the spectrum.
    """

    parameters = tuple(PARAMETERS)

    def __init__(
        self,
        broad: str | pathlib.Path = HERE / "opacities_broad.npz",
        narrow: str | pathlib.Path = HERE / "opacities_miri.npz",
    ) -> None:
        self.broad, self.narrow = Opacities(broad), Opacities(narrow)
        self.broad_planck = Planck(self.broad.edges, whole=True)
        self.narrow_planck = Planck(self.narrow.edges, whole=False)
        self.pressure = np.sqrt(FACES[1:] * FACES[:-1])

    def fingerprint(self) -> str:
        """Hash of the code and of the tables."""
        digest = hashlib.sha256()
        for path in sorted(HERE.glob("*.py")):
            if path.name not in ("run.py", "check.py"):
                digest.update(path.read_bytes())
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
        per_h2 = abundances(
            temperature, self.pressure, gravity, p["log_Kzz"], p["M_H"], p["C_O"]
        )
        mass, total = mean_mass(per_h2)
        return per_h2, 1e6 * np.diff(FACES) / (gravity * mass * ATOMIC_MASS * total)

    def _depths(
        self, table: Opacities, temperature: np.ndarray, p: Mapping[str, float]
    ) -> np.ndarray:
        per_h2, column = self.composition(temperature, p)
        return table.optical_depths(temperature, self.pressure, column, per_h2)

    def structure(self, p: Mapping[str, float]) -> Structure:
        """Column in radiative-convective equilibrium."""
        return solve(
            lambda temperature: self._depths(self.broad, temperature, p),
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
        depth = self._depths(self.narrow, structure.temperature, p)
        source, _ = self.narrow_planck(node_temperatures(structure.temperature))
        return fluxes(depth, source, self.narrow.weights)[0]

    def __call__(self, p: Mapping[str, float]) -> np.ndarray:
        """Flux densities [uJy]."""
        flux = self.emission(self.structure(p), p)
        hertz = LIGHT * (1 / self.edges[:-1] - 1 / self.edges[1:])
        return flux / hertz * (p["radius"] * R_JUP / (DISTANCE * PARSEC)) ** 2 * 1e29


def observation(model: BrownDwarf) -> fp.Observation:
    """The truth without noise, with the errors of the observation."""
    edges = model.edges
    wavelength = (edges[1:] + edges[:-1]) / 2
    return fp.Observation(
        model(TRUTH), np.interp(wavelength, *ERROR), wavelength, np.diff(edges),
        name="miri", unit="uJy",
    )  # fmt: skip
