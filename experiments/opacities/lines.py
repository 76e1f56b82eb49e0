"""Spectral lines: their record, the HITRAN reader, partition functions and strengths."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MOLECULES = {"H2O": 1, "CO2": 2}
"""HITRAN's molecule numbers."""
REFERENCE_TEMPERATURE = 296.0
"""Temperature of HITRAN strengths and widths [K]."""
SECOND_RADIATION_CONSTANT = 1.438776877
"""hc/k [cm K]."""


class Lines(NamedTuple):
    """Lines of one molecule; each field has shape (n_lines,)."""

    wavenumber: FloatArray
    """Line centre in vacuum [cm-1]."""
    strength: FloatArray
    """Strength at 296 K with natural isotopologue abundances [cm-1/(molecule cm-2)]."""
    lower_energy: FloatArray
    """Energy of the lower state [cm-1]."""
    gamma: FloatArray
    """Lorentz half width at half maximum in H2/He at 296 K [cm-1/atm]."""
    n_temperature: FloatArray
    """Exponent n of gamma(T) = gamma (296 K / T)^n."""
    isotopologue: NDArray[np.int64]
    """HITRAN's isotopologue number within the molecule; 1 is the most abundant."""


def partition_ratio(molecule: str, isotopologue: int, temperature: float) -> float:
    """Ratio Q(T)/Q(296 K) of total internal partition sums.

    From the TIPS-2021 tables (Gamache et al. 2021, JQSRT 271, 107713) in the package
    ``hitran-api``.

    Parameters
    ----------
    molecule
        "H2O" or "CO2".
    isotopologue
        HITRAN's isotopologue number within the molecule.
    temperature
        Temperature [K].
    """
    import hapi

    number = MOLECULES[molecule]
    return float(
        hapi.partitionSum(number, isotopologue, temperature)
        / hapi.partitionSum(number, isotopologue, REFERENCE_TEMPERATURE)
    )


def molar_mass(molecule: str, isotopologue: int) -> float:
    """Molar mass of an isotopologue [g/mol]."""
    import hapi

    return float(hapi.molecularMass(MOLECULES[molecule], isotopologue))
