"""Spectral lines: their record, partition functions and strengths."""

import contextlib
import io
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MOLECULES = {"H2O": 1, "CO2": 2, "CO": 5}
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


def hitran_interface() -> ModuleType:
    """Import ``hapi``, of the package ``hitran-api``, without the greeting that it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        import hapi
    return hapi


def partition_ratio(molecule: str, isotopologue: int, temperature: float) -> float:
    """Ratio Q(T)/Q(296 K) of total internal partition sums.

    From the TIPS-2021 tables (Gamache et al. 2021, JQSRT 271, 107713) in the package
    ``hitran-api`` (Kochanov et al. 2016, JQSRT 177, 15).

    Parameters
    ----------
    molecule
        "H2O", "CO2" or "CO".
    isotopologue
        HITRAN's isotopologue number within the molecule.
    temperature
        Temperature [K].
    """
    hapi, number = hitran_interface(), MOLECULES[molecule]
    return float(
        hapi.partitionSum(number, isotopologue, temperature)
        / hapi.partitionSum(number, isotopologue, REFERENCE_TEMPERATURE)
    )


def molar_mass(molecule: str, isotopologue: int) -> float:
    """Molar mass of an isotopologue [g/mol]."""
    return float(hitran_interface().molecularMass(MOLECULES[molecule], isotopologue))


def strengths(lines: Lines, molecule: str, temperature: float) -> FloatArray:
    """Line strengths at a temperature, shape (n_lines,) [cm-1/(molecule cm-2)].

    Simeckova et al. 2006 (JQSRT 98, 130), equation 9, as in HITRAN's definitions.
    """
    ratio = np.ones(lines.isotopologue.max(initial=0) + 1)
    for isotopologue in np.flatnonzero(np.bincount(lines.isotopologue)):
        ratio[isotopologue] = partition_ratio(molecule, int(isotopologue), temperature)
    c2 = SECOND_RADIATION_CONSTANT
    inverse = 1 / temperature - 1 / REFERENCE_TEMPERATURE
    boltzmann = np.exp(-c2 * lines.lower_energy * inverse)
    emission = np.expm1(-c2 * lines.wavenumber / temperature)
    emission_296 = np.expm1(-c2 * lines.wavenumber / REFERENCE_TEMPERATURE)
    return lines.strength * boltzmann / ratio[lines.isotopologue] * emission / emission_296
