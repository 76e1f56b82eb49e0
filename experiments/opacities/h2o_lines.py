"""Lines of water from a HITRAN file, with widths in hydrogen and helium.

HITRAN 2012 gives widths in air only. Those here depend on the lower level's J alone and are the
"a0" diet of ExoMol for H2-16O (Barton et al. 2017, JQSRT 187, 453; files 1H2-16O__H2.broad and
1H2-16O__He.broad), mixed for an atmosphere of 85% H2 and 15% He.
"""

import numpy as np
from lines import MOLECULES, FloatArray, Lines

HYDROGEN_FRACTION = 0.85
"""H2 / (H2 + He) by number, solar."""
J_LOWER = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 25, 30]
GAMMA_H2 = [
    *[0.0916, 0.0880, 0.0824, 0.0759, 0.0691, 0.0635, 0.0590, 0.0558],
    *[0.0526, 0.0463, 0.0405, 0.0362, 0.0330, 0.0289, 0.0260, 0.0243],
]
N_H2 = [
    *[0.790, 0.684, 0.602, 0.542, 0.495, 0.458, 0.426, 0.400],
    *[0.373, 0.327, 0.291, 0.263, 0.239, 0.200, 0.160, 0.128],
]
GAMMA_HE = [
    *[0.0219, 0.0219, 0.0222, 0.0219, 0.0212, 0.0197, 0.0184, 0.0169],
    *[0.0155, 0.0129, 0.0110, 0.0096, 0.0086, 0.0071, 0.0059, 0.0052],
]
N_HE = [
    *[0.462, 0.387, 0.346, 0.302, 0.275, 0.252, 0.250, 0.246],
    *[0.237, 0.201, 0.163, 0.162, 0.154, 0.123, 0.090, 0.070],
]
"""Half widths at 296 K [cm-1/atm] and their temperature exponents at each J of ``J_LOWER``."""


def widths(j_lower: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Half width at 296 K [cm-1/atm] and temperature exponent in 85% H2 + 15% He.

    The exponent of the mixture is the logarithmic slope at 296 K: the mean weighted by width.
    """
    hydrogen = HYDROGEN_FRACTION * np.interp(j_lower, J_LOWER, GAMMA_H2)
    helium = (1 - HYDROGEN_FRACTION) * np.interp(j_lower, J_LOWER, GAMMA_HE)
    n_h2, n_he = np.interp(j_lower, J_LOWER, N_H2), np.interp(j_lower, J_LOWER, N_HE)
    gamma = hydrogen + helium
    return gamma, (hydrogen * n_h2 + helium * n_he) / gamma


def h2o_lines(records: bytes, wavenumber_min: float, wavenumber_max: float) -> Lines:
    """Read lines in HITRAN's 160-character format (Rothman et al. 2005, JQSRT 96, 139).

    Parameters
    ----------
    records
        Content of a ``.par`` file of water.
    wavenumber_min, wavenumber_max
        Lines outside this range are left out [cm-1].

    Raises
    ------
    ValueError
        If the file holds another molecule.
    """
    dtype = np.dtype(
        {
            "names": ["molecule", "isotopologue", "wavenumber", "strength", "energy", "j_lower"],
            "formats": ["S2", "S1", "S12", "S10", "S10", "S3"],
            "offsets": [0, 2, 3, 15, 45, 112],
            "itemsize": records.index(b"\n") + 1,
        }
    )
    table = np.frombuffer(records, dtype)
    if (table["molecule"].astype(int) != MOLECULES["H2O"]).any():
        raise ValueError(
            f"records holds molecules {np.unique(table['molecule'])}, but water has HITRAN "
            f"number {MOLECULES['H2O']}; give water's file"
        )
    wavenumber = table["wavenumber"].astype(float)
    table = table[(wavenumber > wavenumber_min) & (wavenumber < wavenumber_max)]
    gamma, n_temperature = widths(table["j_lower"].astype(float))
    return Lines(
        wavenumber=table["wavenumber"].astype(float),
        strength=table["strength"].astype(float),
        lower_energy=table["energy"].astype(float),
        gamma=gamma,
        n_temperature=n_temperature,
        isotopologue=np.array([b" 1234567890AB".index(code) for code in table["isotopologue"]]),
    )
