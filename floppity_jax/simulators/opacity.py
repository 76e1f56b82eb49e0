"""Cross sections: the table that ships with the package, its reader, and Rayleigh scattering.

The table holds correlated-k coefficients of H2O and CO2 and collision-induced absorption of H2-H2
and H2-He.
How the table is made, and from what, is told by ``experiments/opacities`` and by the JSON in
`OpacityTable.provenance`.
"""

import dataclasses
import hashlib
import importlib.resources
import json
import pathlib
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.typing import Float

MOLECULES = ("H2O", "CO2")
PAIRS = ("H2-H2", "H2-He")


@dataclasses.dataclass(frozen=True, eq=False)
class OpacityTable:
    """Opacities on a grid of temperature, pressure and wavelength bin."""

    wavelength_edges: Float[np.ndarray, " bins+1"]
    """Edges of the bins [um], increasing."""
    g_weights: Float[np.ndarray, " g"]
    """Weights of the points of each bin's cumulative distribution of k; they sum to 1."""
    temperature: Float[np.ndarray, " temperatures"]
    """[K], increasing."""
    pressure: Float[np.ndarray, " pressures"]
    """[bar], increasing."""
    log10_k: dict[str, Float[np.ndarray, "temperatures pressures bins g"]]
    """log10 of the absorption cross section [cm2 / molecule] of each molecule."""
    cia_temperature: Float[np.ndarray, " cia_temperatures"]
    """Temperatures of the collision-induced absorption [K], increasing."""
    log10_cia: dict[str, Float[np.ndarray, "cia_temperatures bins"]]
    """log10 of the collision-induced absorption [cm5 / molecule2] of each pair."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Where the numbers come from."""

    def within(self, low: float, high: float) -> "OpacityTable":
        """Keep the bins that overlap the wavelengths from low to high [um]."""
        edges = self.wavelength_edges
        kept = (edges[1:] > low) & (edges[:-1] < high)
        first, last = np.flatnonzero(kept)[[0, -1]]
        return dataclasses.replace(
            self,
            wavelength_edges=edges[first : last + 2],
            log10_k={gas: k[:, :, kept] for gas, k in self.log10_k.items()},
            log10_cia={pair: cia[:, kept] for pair, cia in self.log10_cia.items()},
        )

    def fingerprint(self) -> str:
        """Hash of the numbers, not of the file: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for array in (
            self.wavelength_edges, self.g_weights, self.temperature, self.pressure,
            *(self.log10_k[gas] for gas in MOLECULES),
            self.cia_temperature, *(self.log10_cia[pair] for pair in PAIRS),
        ):  # fmt: skip
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()[:16]


def read_opacities(path: str | pathlib.Path | None = None) -> OpacityTable:
    """Read an opacity table.

    Parameters
    ----------
    path
        An ``.npz`` file in the format of ``experiments/opacities``; unless given, the one inside
        the package.

    Raises
    ------
    InvalidInput
        Where there is no such file, or it lacks an array.
    """
    if path is None:
        packaged = importlib.resources.files("floppity_jax") / "data" / "opacities.npz"
        with importlib.resources.as_file(packaged) as file:
            return _read(file)
    return _read(pathlib.Path(path))


def rayleigh_cross_sections(wavelength: np.ndarray) -> dict[str, np.ndarray]:
    """Rayleigh scattering cross sections of H2 and He [cm2].

    Parameters
    ----------
    wavelength
        [um].

    Notes
    -----
    H2: Dalgarno & Williams 1962 (ApJ 136, 690, eq. 3). He: the fit of Kurucz 1970 (SAO Special
    Report 309) to the polarisabilities of Chan & Dalgarno 1965 (Proc. Phys. Soc. 85, 227).
    """
    x = 1 / (1e4 * np.asarray(wavelength, dtype=np.float64)) ** 2  # [1 / Angstrom^2]
    helium = 1 + 2.44e5 * x + 5.14e10 * x**2 / (1 - 2.90e5 * x)
    return {
        "H2": x**2 * (8.14e-13 + 1.28e-6 * x + 1.61 * x**2),
        "He": 5.484e-14 * x**2 * helium**2,
    }


def _read(path: pathlib.Path) -> OpacityTable:
    if not path.is_file():
        raise InvalidInput(
            "opacities", str(path), "must be a file", "Leave it out to use the packaged table."
        )
    with np.load(path, allow_pickle=False) as data:
        try:
            return OpacityTable(
                wavelength_edges=data["wavelength_edges"],
                g_weights=data["g_weights"],
                temperature=data["temperature"],
                pressure=data["pressure"],
                log10_k={gas: _decode(data, gas) for gas in MOLECULES},
                cia_temperature=data["cia_temperature"],
                log10_cia={pair: data[pair] for pair in PAIRS},
                provenance=json.loads(str(data["provenance"])),
            )
        except KeyError as missing:
            raise InvalidInput(
                "opacities", str(path), f"lacks an array ({missing.args[0]})",
                "Make the table with the scripts in experiments/opacities.",
            ) from None  # fmt: skip


def _decode(data: Any, gas: str) -> np.ndarray:
    """Undo the compact storage: integers, each the difference from its neighbour."""
    steps = data[gas].astype(np.int32)
    for axis in data["differenced_axes"]:
        steps = np.cumsum(steps, axis=axis)
    return np.float32(data["log10k_offset"]) + np.float32(data["log10k_step"]) * steps
