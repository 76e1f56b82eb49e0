"""An approximate line list of CO, from Dunham constants and two band strengths.

Line positions: Dunham coefficients of 12C16O (Mantz et al. 1975, J. Mol. Spectrosc. 57, 155),
scaled by reduced mass for the other isotopologues. Strengths: those of the 1-0 and 2-0 bands at
296 K in HITRAN 2012 (Rothman et al. 2013, JQSRT 130, 4), with hot bands as of a harmonic
oscillator.

Left out: the change of the dipole with rotation (Herman-Wallis), a percent in the fundamental at
J = 50 and a quarter in the overtone; bands of three and more quanta; the dependence of widths on J.
"""

import numpy as np
from lines import REFERENCE_TEMPERATURE, SECOND_RADIATION_CONSTANT, FloatArray, Lines

DUNHAM = {
    (1, 0): 2169.813580, (2, 0): -13.2883076, (3, 0): 0.0105113, (4, 0): 5.74e-5,
    (0, 1): 1.931280870, (1, 1): -0.01750441, (2, 1): 5.4870e-7,
    (0, 2): -6.121471e-6, (1, 2): 1.1527e-9, (0, 3): 5.8272e-12,
}  # fmt: skip
"""Y_kl of 12C16O [cm-1]."""
ISOTOPOLOGUES = ((1, 12.0, 15.9949146, 0.986544), (2, 13.0033548, 15.9949146, 0.011084),
                 (3, 12.0, 17.9991596, 0.0019782))  # fmt: skip
"""HITRAN's number, masses of C and O [u], and abundance."""
BAND_STRENGTH = {1: 9.98e-18, 2: 7.5e-20}
"""Strength of v = 0 to 1 and 0 to 2 of natural 12C16O at 296 K [cm-1/(molecule cm-2)]."""
GAMMA, N_TEMPERATURE = 0.066, 0.6
"""Half width at 296 K in 85% H2 + 15% He [cm-1/atm] and its exponent, the same for every line."""
V_MAX, J_MAX = 6, 110


def _energy(v: FloatArray, j: FloatArray, rho: float) -> FloatArray:
    """Level above the bottom of the well [cm-1]; rho is the root of mu(12C16O) / mu."""
    return sum(
        y * rho ** (k + 2 * power) * (v + 0.5) ** k * (j * (j + 1)) ** power
        for (k, power), y in DUNHAM.items()
    )


def co_lines(wavenumber_min: float, wavenumber_max: float) -> Lines:
    """Lines of CO between two wavenumbers [cm-1]."""
    parts = []
    for number, carbon, oxygen, abundance in ISOTOPOLOGUES:
        rho = np.sqrt((12.0 * 15.9949146 / 27.9949146) * (carbon + oxygen) / (carbon * oxygen))
        for quanta, band in BAND_STRENGTH.items():
            part = _band(number, rho, quanta)
            ground = part["v"] == 0
            share = abundance / ISOTOPOLOGUES[0][3]
            part["strength"] *= band * share / part["strength"][ground].sum()
            parts.append(part)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    inside = (columns["wavenumber"] > wavenumber_min) & (columns["wavenumber"] < wavenumber_max)
    columns = {name: column[inside] for name, column in columns.items()}
    same = np.ones(inside.sum())
    return Lines(
        columns["wavenumber"], columns["strength"], columns["energy"],
        GAMMA * same, N_TEMPERATURE * same, columns["isotopologue"],
    )  # fmt: skip


def _band(number: int, rho: float, quanta: int) -> dict[str, np.ndarray]:
    """Lines that gain ``quanta`` vibrational quanta; strengths relative to one another."""
    v, j, step = np.meshgrid(np.arange(V_MAX), np.arange(J_MAX), [-1, 1], indexing="ij")
    exists = j + step >= 0
    v, j, step = v[exists], j[exists], step[exists]
    bottom = _energy(np.array(0.0), np.array(0.0), rho)
    lower = _energy(v, j, rho) - bottom
    wavenumber = _energy(v + quanta, j + step, rho) - bottom - lower
    c2 = SECOND_RADIATION_CONSTANT / REFERENCE_TEMPERATURE
    vibration = v + 1 if quanta == 1 else (v + 1) * (v + 2) / 2  # harmonic
    honl_london = np.where(step == 1, j + 1, j)
    strength = wavenumber * vibration * honl_london * np.exp(-c2 * lower)
    return {
        "v": v, "wavenumber": wavenumber, "energy": lower,
        "strength": strength * -np.expm1(-c2 * wavenumber),
        "isotopologue": np.full(v.shape, number),
    }  # fmt: skip
