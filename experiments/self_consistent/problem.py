"""What is retrieved, from what: a spectrum like that of WISE J1828+2650, but of known origin."""

from __future__ import annotations

import numpy as np

import floppity_jax as fp
from experiments.self_consistent.model import BrownDwarf

PARAMETERS = {
    "T_int": fp.Uniform(300, 1000, unit="K"),
    "radius": fp.Uniform(0.5, 2.0, unit="R_jup"),
    "log_g": fp.Uniform(3.5, 5.5),
    "log_Kzz": fp.Uniform(2, 12),
    "C_O": fp.Uniform(0.1, 1.0, label="C/O"),
    "M_H": fp.Uniform(-1.0, 1.0, label="[M/H]"),
}
TRUTH = {"T_int": 700.0, "radius": 1.0, "log_g": 4.5, "log_Kzz": 9.0, "C_O": 0.55, "M_H": 0.0}

# Errors of the MIRI/MRS spectrum of WISE J1828+2650 at R = 1,000 [um], [uJy], read off the file
# WISE1828_Kuhnle_R1000.dat in FlopPITy's first repository.
ERROR = np.array([
    [4.9, 2.1], [5.3, 1.7], [5.7, 1.55], [7.2, 1.15], [8.0, 1.5], [11.5, 1.8], [12.5, 2.05],
    [13.0, 2.15], [15.5, 2.4], [17.0, 2.95], [18.0, 3.9],
]).T  # fmt: skip


def clean_observation(model: BrownDwarf) -> fp.Observation:
    """The truth without noise, and the errors that its noise is to have."""
    edges = model.edges
    wavelength = (edges[1:] + edges[:-1]) / 2
    return fp.Observation(
        model(TRUTH), np.interp(wavelength, *ERROR), wavelength, np.diff(edges),
        name="miri", unit="uJy",
    )  # fmt: skip
