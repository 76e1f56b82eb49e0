"""Run the adapter for petitRADTRANS on the package's opacities, beside petitRADTRANS itself.

Run by hand, in an environment of its own (see README.md):

    python petitradtrans_check.py [--output DIR]

It writes petitradtrans_check.json. The k-table is made here, in petitRADTRANS' format, of the
embedded one of H2O: each of its 8 points of g is cut into two of equal k, for petitRADTRANS
expects 16.
"""

import argparse
import functools
import importlib.metadata
import importlib.resources
import json
import pathlib
import pickle
import tempfile

import h5py
import numpy as np

import floppity_jax as fp
from floppity_jax.pool import Pool
from floppity_jax.simulate import simulate

HERE = pathlib.Path(__file__).resolve().parent
STAR_RADIUS = 0.932 * 6.957e10  # [cm]
R_JUP = 7.1492e9
STATE = {"T": 1166.0, "radius": 1.25, "log_X_H2O": -3.0}
LOG_G = 2.63
MASS = {"H2": 2.01588, "He": 4.002602, "H2O": 18.01528}


def write_table(folder, table):
    """Write the k-table of H2O."""
    folder = folder / "opacities/lines/correlated_k/H2O/1H2-16O"
    folder.mkdir(parents=True)
    edges = (1e4 / table.wavelength_edges)[::-1]
    centres = (2e4 / (table.wavelength_edges[1:] + table.wavelength_edges[:-1]))[::-1]
    k = 10.0 ** table.log10_k["H2O"].transpose(1, 0, 2, 3)[:, :, ::-1].repeat(2, axis=3)
    weights = table.g_weights.repeat(2) / 2
    path = folder / "1H2-16O__floppity.R1000_0.5-5.6mu.ktable.petitRADTRANS.h5"
    with h5py.File(path, "w") as file:
        file["DOI"] = np.array([b"none"])
        file["bin_centers"], file["bin_edges"] = centres, edges
        file["kcoeff"], file["method"] = k, np.array([b"grey"])
        file["mol_mass"], file["mol_name"] = np.array([MASS["H2O"]]), np.array([b"H2O"])
        file["ngauss"] = 16
        file["p"], file["t"] = table.pressure, table.temperature
        file["samples"], file["weights"] = np.cumsum(weights) - weights / 2, weights
        file["wlrange"], file["wnrange"] = table.wavelength_edges[[0, -1]], edges[[0, -1]]


def build(folder):
    """Read the opacities."""
    from petitRADTRANS.radtrans import Radtrans

    return Radtrans(
        pressures=np.geomspace(1e-8, 100, 101), wavelength_boundaries=[0.502, 5.6],
        line_species=["H2O"], rayleigh_species=["H2", "He"], path_input_data=folder,
    )  # fmt: skip


def spectrum(radtrans, parameters):
    """Transit depth of an isothermal atmosphere of H2, He and H2O."""
    ones = np.ones(101)
    water = 10 ** parameters["log_X_H2O"]
    volume = {"H2": 0.85 * (1 - water), "He": 0.15 * (1 - water), "H2O": water}
    mean = sum(volume[gas] * MASS[gas] for gas in volume)
    wavelength, radii, _ = radtrans.calculate_transit_radii(
        temperatures=parameters["T"] * ones,
        mass_fractions={gas: volume[gas] * MASS[gas] / mean * ones for gas in volume},
        mean_molar_masses=mean * ones, reference_gravity=10**LOG_G, reference_pressure=10.0,
        planet_radius=parameters["radius"] * R_JUP,
    )  # fmt: skip
    return wavelength, (radii / STAR_RADIUS) ** 2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output

    data = importlib.resources.files("floppity_jax") / "data" / "wasp39b_prism.csv"
    observation = fp.read_observation(data)
    states = [STATE, STATE | {"radius": 1.1}, STATE | {"T": 700.0, "log_X_H2O": -6.0}, STATE]
    record = {
        "petitRADTRANS": importlib.metadata.version("petitRADTRANS"), "numpy": np.__version__,
        "channels": observation.n_channels, "states": states,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_table(pathlib.Path(folder), fp.simulators.read_opacities())
        adapter = fp.simulators.PetitRADTRANS(
            functools.partial(build, folder), spectrum, observation, parameters=list(STATE)
        )
        adapter.set_up()
        record["bytes of a pickle, built"] = len(pickle.dumps(adapter))
        got = np.array([adapter(state) for state in states])

        from petitRADTRANS.physics import rebin_spectrum_bin

        # Without the adapter: once by the code's own binning, once by the trapezoids it stands for
        radtrans = build(folder)
        own, trapezoids = [], []
        for state in states:
            wavelength, depth = spectrum(radtrans, state)
            wavelength = 1e4 * wavelength
            own.append(
                rebin_spectrum_bin(wavelength, depth, observation.wavelength, observation.bin_width)
            )
            means = []
            for centre, width in zip(observation.wavelength, observation.bin_width, strict=True):
                x = np.linspace(centre - width / 2, centre + width / 2, 20001)
                means.append(np.trapezoid(np.interp(x, wavelength, depth), x) / width)
            trapezoids.append(means)
        record["max |adapter - petitRADTRANS| / petitRADTRANS"] = float(
            np.abs(got / np.array(own) - 1).max()
        )
        record["max |adapter - trapezoids| / petitRADTRANS"] = float(
            np.abs(got / np.array(trapezoids) - 1).max()
        )
        columns = {name: np.array([state[name] for state in states]) for name in STATE}
        pooled = simulate(adapter, columns, observation, Pool(2))
        record["failures in a pool of two"] = list(pooled.failures.values())
        record["max |pool - here|"] = float(np.nanmax(np.abs(pooled.spectra - got)))
    record["depths"] = [float(got[0].min()), float(got[0].max())]
    print(json.dumps(record, indent=1))
    (output / "petitradtrans_check.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
