"""A toy: put your own forward model in the place of `spectrum`.

A clear isothermal atmosphere is opaque up to n scale heights, n the logarithm of its cross-section
(Lecavelier des Etangs et al. 2008, eq. 1). Bands are Gaussians, and no laboratory knows them.
"""

import pathlib

import numpy as np

WAVELENGTH = np.loadtxt(pathlib.Path(__file__).with_name("wasp39b_prism.csv"), delimiter=",")[:, 0]
R_JUP, R_STAR = 7.1492e7, 0.932 * 6.957e8  # [m]
MEAN_MASS = 2.33 * 1.66054e-27  # [kg]
BANDS = {"H2O": [(1.4, 0.08, 8), (1.9, 0.1, 9), (2.7, 0.2, 11)], "CO2": [(4.3, 0.12, 14)]}


def spectrum(parameters):
    """Transit depth of each channel."""
    cross_section = WAVELENGTH**-4.0  # Rayleigh scattering, which gives the unit
    for gas, bands in BANDS.items():
        for centre, width, strength in bands:
            profile = np.exp(-0.5 * ((WAVELENGTH - centre) / width) ** 2 + strength)
            cross_section = cross_section + 10 ** parameters[f"log_X_{gas}"] * profile
    scale_height = 1.380649e-23 * parameters["T"] / (MEAN_MASS * parameters["gravity"])
    radius = parameters["radius"] * R_JUP + scale_height * np.log(cross_section)
    return (radius / R_STAR) ** 2
