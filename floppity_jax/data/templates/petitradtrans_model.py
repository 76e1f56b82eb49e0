"""A transmission spectrum of WASP-39 b: set the path, and change what you like."""

import numpy as np

R_JUP, R_STAR = 7.1492e9, 0.932 * 6.957e10  # [cm]
MASS = {"H2": 2.016, "He": 4.003, "H2O": 18.015}


def build():
    """Make the Radtrans, once in each worker."""
    from petitRADTRANS.radtrans import Radtrans

    return Radtrans(
        pressures=np.geomspace(1e-8, 100, 100),
        wavelength_boundaries=[0.45, 5.7],  # a little further than the channels
        line_species=["H2O"],
        rayleigh_species=["H2", "He"],
        gas_continuum_contributors=["H2--H2", "H2--He"],
        path_input_data="/data/input_data",
    )


def spectrum(radtrans, parameters):
    """Wavelengths [cm] and transit depths."""
    layers = np.ones(100)
    water = parameters["X_H2O"]
    volume = {"H2": 0.85 * (1 - water), "He": 0.15 * (1 - water), "H2O": water}
    mean = sum(volume[gas] * MASS[gas] for gas in volume)
    wavelength, radii, _ = radtrans.calculate_transit_radii(
        temperatures=parameters["T"] * layers,
        mass_fractions={gas: volume[gas] * MASS[gas] / mean * layers for gas in volume},
        mean_molar_masses=mean * layers,
        reference_gravity=10 ** parameters["log_g"],
        reference_pressure=10.0,
        planet_radius=parameters["radius"] * R_JUP,
    )
    return wavelength, (radii / R_STAR) ** 2
