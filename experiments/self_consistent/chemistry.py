"""Abundances of H2O, CO, CO2 and CH4 in chemical equilibrium, quenched where mixing is faster.

Two net reactions hold carbon and oxygen in balance (Heng, Lyons & Tsai 2016, ApJ 816, 96):

    CH4 + H2O = CO + 3 H2        K1 = p_CO p_H2^3 / (p_CH4 p_H2O)   [bar^2]
    CO2 + H2  = CO + H2O         K2 = p_CO p_H2O / (p_CO2 p_H2)

No nitrogen, no condensates: all of oxygen and carbon is in these four gases.
"""

from __future__ import annotations

import numpy as np

GAS_CONSTANT = 8.314462618  # [J / (mol K)]
OXYGEN_PER_HYDROGEN = 4.898e-4  # solar, Asplund et al. 2009 (ARA&A 47, 481)
HELIUM_PER_HYDROGEN = 0.0851  # the same
GASES = ("H2O", "CO", "CO2", "CH4")
MASS = {"H2": 2.01588, "He": 4.002602, "H2O": 18.01528, "CO": 28.0101, "CO2": 44.0095,
        "CH4": 16.0425}  # fmt: skip

# Gibbs energies of both reactions at 1 bar [J/mol], from the JANAF tables (Chase 1998).
_KELVIN = np.array([500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 2000.0])
_GIBBS = np.array([
    [96378, 72408, 47937, 23114, -1949, -27177, -52514, -77918, -103361, -128821, -154282, -281308],
    [20474, 16689, 13068, 9593, 6249, 3021, -107, -3146, -6106, -8998, -11828, -25229.0],
])  # fmt: skip


def _terms(temperature: np.ndarray) -> np.ndarray:
    """A Gibbs energy is a + b T + c T ln T + d T^2 where heat capacities are linear in T."""
    t = temperature
    return np.stack([np.ones_like(t), t, t * np.log(t), t**2], axis=-1)


_FIT = np.linalg.lstsq(_terms(_KELVIN), _GIBBS.T, rcond=None)[0]


def equilibrium_constants(temperature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K1 [bar^2] and K2 at temperatures [K]."""
    gibbs = _terms(temperature) @ _FIT
    k1, k2 = np.exp(-gibbs / (GAS_CONSTANT * temperature[..., None])).T
    return k1, k2


def elements(metallicity: float, c_o: float) -> tuple[float, float]:
    """Carbon and oxygen atoms per H2: [M/H] scales oxygen, and C/O then sets carbon."""
    oxygen = 2 * OXYGEN_PER_HYDROGEN * 10**metallicity
    return c_o * oxygen, oxygen


def equilibrium(
    temperature: np.ndarray, pressure: np.ndarray, carbon: float, oxygen: float
) -> dict[str, np.ndarray]:
    """Molecules per H2 in equilibrium.

    Carbon and both reactions give every gas as a function of water; that takes up more oxygen the
    more water there is, so bisection in ln(water) finds what there is.

    Parameters
    ----------
    temperature, pressure
        [K], [bar].
    carbon, oxygen
        Atoms per H2.
    """
    k1, k2 = equilibrium_constants(temperature)
    h2 = pressure / (1 + 2 * HELIUM_PER_HYDROGEN)  # metals leave the pressure to H2 and He
    a = k1 / h2**2  # CO per CH4 and H2O
    high = np.full_like(temperature, np.log(oxygen))
    low = high - 60
    for _ in range(50):
        middle = (low + high) / 2
        water = np.exp(middle)
        methane = carbon / (1 + a * water * (1 + water / k2))
        too_much = water + methane * a * water * (1 + 2 * water / k2) > oxygen
        low, high = np.where(too_much, low, middle), np.where(too_much, middle, high)
    water = np.exp((low + high) / 2)
    methane = carbon / (1 + a * water * (1 + water / k2))
    monoxide = a * methane * water
    return {"H2O": water, "CO": monoxide, "CO2": monoxide * water / k2, "CH4": methane}


def timescales(
    temperature: np.ndarray, pressure: np.ndarray, metallicity: float
) -> tuple[np.ndarray, np.ndarray]:
    """ln of the times [s] in which CO-CH4 and CO2 reach equilibrium.

    Zahnle & Marley 2014 (ApJ 797, 41), equations 12-14 (CO) and 44 (CO2).
    """
    metals = 10**metallicity
    quick = np.log(1.5e-6 / (pressure * metals**0.7)) + 42000 / temperature
    slow = np.log(40 / pressure**2) + 25000 / temperature
    monoxide = -np.logaddexp(-quick, -slow)
    return monoxide, np.log(1e-10 / np.sqrt(pressure)) + 38000 / temperature


def _quench(log_pressure: np.ndarray, excess: np.ndarray) -> float:
    """ln of the highest pressure where ln(t_chem / t_mix) is 0.

    The top where chemistry wins everywhere, the bottom where mixing does.
    """
    mixed = np.flatnonzero(excess > 0)
    if not mixed.size:
        return float(log_pressure[0])
    i = int(mixed[-1])
    if i == len(excess) - 1:
        return float(log_pressure[-1])
    share = excess[i] / (excess[i] - excess[i + 1])
    return float(log_pressure[i] + share * (log_pressure[i + 1] - log_pressure[i]))


def abundances(
    temperature: np.ndarray,
    pressure: np.ndarray,
    gravity: float,
    log_kzz: float,
    metallicity: float,
    c_o: float,
) -> dict[str, np.ndarray]:
    """Molecules per H2 with vertical mixing.

    Where mixing over a scale height, H^2 / K_zz, is faster than CO to CH4, their carbon stays
    shared as it is below. CO2 stays in balance with that CO, until it is quenched in turn.

    Parameters
    ----------
    temperature, pressure
        From the top down [K], [bar].
    gravity
        [cm / s2].
    log_kzz
        log10 of K_zz [cm2 / s].
    metallicity, c_o
        [M/H] and C/O.
    """
    carbon, oxygen = elements(metallicity, c_o)
    free = equilibrium(temperature, pressure, carbon, oxygen)
    mass = mean_mass(free)[0][0]
    # ln T is linear in ln p on an adiabat: levels between the layers are exact there.
    x, log_t = np.log(pressure), np.log(temperature)
    fine = np.linspace(x[0], x[-1], 10 * len(x))
    fine_t = np.exp(np.interp(fine, x, log_t))
    height = 1e7 * GAS_CONSTANT * fine_t / (mass * gravity)
    mixing = 2 * np.log(height) - np.log(10) * log_kzz
    slow_co, slow_co2 = timescales(fine_t, np.exp(fine), metallicity)

    def at(level: float) -> np.ndarray:
        return np.exp(np.interp([level], x, log_t))

    level = _quench(fine, slow_co - mixing)
    below = equilibrium(at(level), np.exp([level]), carbon, oxygen)
    quenched = below["CO"] + below["CO2"]
    oxidised = np.where(x < level, quenched, free["CO"] + free["CO2"])
    dioxide = _water_gas(temperature, oxidised, oxygen)
    level_2 = _quench(fine, slow_co2 - mixing)
    if level_2 >= level:  # deeper than CO's: from the equilibrium there
        frozen = equilibrium(at(level_2), np.exp([level_2]), carbon, oxygen)["CO2"]
    else:
        frozen = _water_gas(at(level_2), quenched, oxygen)
    dioxide = np.where(x < level_2, np.minimum(frozen, oxidised), dioxide)
    return {
        "H2O": oxygen - oxidised - dioxide,
        "CO": oxidised - dioxide,
        "CO2": dioxide,
        "CH4": carbon - oxidised,
    }


def _water_gas(temperature: np.ndarray, oxidised: np.ndarray, oxygen: float) -> np.ndarray:
    """CO2 where CO + CO2 = S and all oxygen are given: (S - x)(O - S - x) = K2 x."""
    k2 = equilibrium_constants(temperature)[1]
    b = oxygen + k2
    c = oxidised * (oxygen - oxidised)
    return 2 * c / (b + np.sqrt(b * b - 4 * c))


def mean_mass(per_h2: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean molecular mass [g/mol], and molecules of any kind per H2."""
    helium = 2 * HELIUM_PER_HYDROGEN
    total = 1 + helium + sum(per_h2[gas] for gas in GASES)
    mass = MASS["H2"] + helium * MASS["He"] + sum(per_h2[gas] * MASS[gas] for gas in GASES)
    return mass / total, total
