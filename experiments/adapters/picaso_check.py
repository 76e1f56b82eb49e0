"""Run the adapter for PICASO on the package's opacities, beside PICASO itself.

Run by hand, in an environment of its own (see README.md):

    picaso_refdata=FOLDER python picaso_check.py [--output DIR]

It writes picaso_check.json. The database of opacities is made here, in PICASO's format, of the
embedded cross sections; of PICASO's reference data only config.json is needed.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.resources
import json
import pathlib
import pickle
import tempfile
import warnings

import numpy as np

import floppity_jax as fp
from floppity_jax.pool import Pool
from floppity_jax.simulate import simulate
from floppity_jax.simulators.transmission import hat_weights

HERE = pathlib.Path(__file__).resolve().parent
LOSCHMIDT = 2.686780111e19  # [1 / cm3]
STAR_RADIUS = 0.932  # [R_sun]
LEVELS = 541
STATE = {"T": 1166.0, "radius": 1.25, "H2O": 1e-3, "CO2": 1e-5}
LOG_G = 2.63
MASS_KG = 10**LOG_G / 100 * (1.25 * 71492e3) ** 2 / 6.6743e-11


def write_database(folder, table):
    """Write mean cross sections at the levels' pressures, and collision-induced absorption."""
    from picaso import opacity_factory

    path = folder / "opacities.db"
    opacity_factory.build_skeleton(str(path))
    wavenumber = (2e4 / (table.wavelength_edges[1:] + table.wavelength_edges[:-1]))[::-1]
    pressures, temperatures = np.geomspace(1e-8, 100, 301), np.array([700.0, 1166.0])
    in_p = hat_weights(np.log(pressures), np.log(table.pressure))
    in_t = hat_weights(np.log(temperatures), np.log(table.temperature))
    in_cia = hat_weights(np.log(temperatures), np.log(table.cia_temperature))
    rows, continuum = [], []
    for gas, k in table.log10_k.items():
        opacity = 10.0 ** np.einsum("at,bp,tpw->abw", in_t, in_p, k[..., 0])[..., ::-1]
        rows += [
            (i * pressures.size + j + 1, gas, float(pressure), float(temperature), opacity[i, j])
            for i, temperature in enumerate(temperatures)
            for j, pressure in enumerate(pressures)
        ]
    for pair, log10 in table.log10_cia.items():
        opacity = 10.0 ** (in_cia @ log10)[:, ::-1] * LOSCHMIDT**2
        name = pair.replace("-", "")
        continuum += [(name, float(t), row) for t, row in zip(temperatures, opacity, strict=True)]
    cur, con = opacity_factory.open_local(str(path))
    cur.executemany(
        "INSERT INTO molecular (ptid, molecule, pressure, temperature, opacity) VALUES (?,?,?,?,?)",
        rows,
    )
    cur.executemany(
        "INSERT INTO continuum (molecule, temperature, opacity) VALUES (?,?,?)", continuum
    )
    con.commit()
    opacity_factory.insert_wno_grid(wavenumber, cur, con)  # closes the file
    (folder / "raman.txt").write_text("\n" * 16 + "0 0 1 1.0 4161.0\n")
    np.savetxt(folder / "star.txt", np.stack([np.linspace(0.2, 12, 2000), np.full(2000, 1.0)], 1))


def build(folder):
    """Make the case and the opacities."""
    warnings.simplefilter("ignore")
    import astropy.units as u
    from picaso import justdoit

    opacities = justdoit.opannection(
        filename_db=f"{folder}/opacities.db", raman_db=f"{folder}/raman.txt"
    )
    case = justdoit.inputs()
    case.phase_angle(0)
    case.approx(p_reference=10.0, raman="none")
    case.star(
        opacities, filename=f"{folder}/star.txt", w_unit="um", f_unit="erg*cm^(-3)*s^(-1)",
        radius=STAR_RADIUS, radius_unit=u.R_sun,
    )  # fmt: skip
    return case, opacities


def update(case, parameters):
    """Set one isothermal atmosphere."""
    import astropy.units as u
    import pandas as pd

    case.gravity(
        radius=parameters["radius"] * 71492e3, radius_unit=u.m, mass=MASS_KG, mass_unit=u.kg
    )
    pressure = np.geomspace(1e-8, 100, LEVELS)
    background = 1 - parameters["H2O"] - parameters["CO2"]
    columns = {
        "pressure": pressure, "temperature": parameters["T"], "H2": 0.85 * background,
        "He": 0.15 * background, "H2O": parameters["H2O"], "CO2": parameters["CO2"],
    }  # fmt: skip
    case.atmosphere(df=pd.DataFrame(columns))


def direct(folder, observation, state):
    """PICASO without the adapter, averaged by a matrix of overlaps."""
    case, opacities = build(folder)
    update(case, state)
    result = case.spectrum(opacities, calculation="transmission")
    wavelength = 1e4 / result["wavenumber"][::-1]
    depth = result["transit_depth"][::-1]
    middle = (wavelength[1:] + wavelength[:-1]) / 2
    edges = np.concatenate([
        [2 * wavelength[0] - middle[0]], middle, [2 * wavelength[-1] - middle[-1]]
    ])  # fmt: skip
    left = (observation.wavelength - observation.bin_width / 2)[:, None]
    right = (observation.wavelength + observation.bin_width / 2)[:, None]
    overlap = np.clip(np.minimum(right, edges[1:]) - np.maximum(left, edges[:-1]), 0, None)
    return overlap @ depth / overlap.sum(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output

    data = importlib.resources.files("floppity_jax") / "data" / "wasp39b_prism.csv"
    observation = fp.read_observation(data)
    table = fp.simulators.read_opacities()
    mean = {gas: np.log10(10.0**k @ table.g_weights) for gas, k in table.log10_k.items()}
    mean = {gas: log10[..., None] for gas, log10 in mean.items()}
    table = dataclasses.replace(table, g_weights=np.ones(1), log10_k=mean)
    states = [STATE, STATE | {"radius": 1.1, "H2O": 1e-6}, STATE | {"T": 700.0, "CO2": 1e-3}, STATE]
    record = {"picaso": importlib.metadata.version("picaso"), "numpy": np.__version__,
              "levels": LEVELS, "channels": observation.n_channels, "states": states}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_database(pathlib.Path(folder), table)
        adapter = fp.simulators.PICASO(
            functools.partial(build, folder), update, observation, parameters=list(STATE)
        )
        adapter.set_up()
        record["bytes of a pickle, built"] = len(pickle.dumps(adapter))
        got = np.array([adapter(state) for state in states])
        expected = np.array([direct(folder, observation, state) for state in states])
        record["max |adapter - PICASO| / PICASO"] = float(np.abs(got / expected - 1).max())
        columns = {name: np.array([state[name] for state in states]) for name in STATE}
        pooled = simulate(adapter, columns, observation, Pool(2))
        record["failures in a pool of two"] = list(pooled.failures.values())
        record["max |pool - here|"] = float(np.nanmax(np.abs(pooled.spectra - got)))

    embedded = fp.simulators.IsothermalTransmission.for_observation(
        observation, star_radius=STAR_RADIUS, opacities=table
    )
    ours = {"T": 1166.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.25, "log_g": LOG_G}
    depth = np.asarray(embedded({name: np.array([value]) for name, value in ours.items()}))[0]
    difference = 1e6 * (depth - got[0])
    record["embedded model - adapter [ppm]"] = {
        "max": float(np.abs(difference).max()),
        "mean": float(difference.mean()),
        "rms": float(np.sqrt((difference**2).mean())),
    }
    record["depths"] = [float(got[0].min()), float(got[0].max())]
    print(json.dumps(record, indent=1))
    (output / "picaso_check.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
