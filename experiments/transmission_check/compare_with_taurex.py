"""Lay the embedded transmission model beside TauREx 3 on the same opacities.

Run by hand, in an environment of its own (see README.md):

    python compare_with_taurex.py [--output DIR]

It writes transmission_check.json and transmission_check.png.
"""

import argparse
import dataclasses
import json
import pathlib
import pickle
import tempfile

import h5py
import jax
import numpy as np
import taurex
from taurex.cache import CIACache, GlobalCache, OpacityCache
from taurex.cache.ktablecache import KTableCache
from taurex.chemistry import ConstantGas, TaurexChemistry
from taurex.cia import CIA
from taurex.constants import RJUP, RSOL, G
from taurex.contributions import AbsorptionContribution, CIAContribution, RayleighContribution
from taurex.model import TransmissionModel
from taurex.planet import Planet
from taurex.stellar import BlackbodyStar
from taurex.temperature import Isothermal

from floppity_jax.simulators import IsothermalTransmission, read_opacities
from floppity_jax.simulators.transmission import BACKGROUND, GAS_CONSTANT, MASS, R_JUP

jax.config.update("jax_enable_x64", True)
STAR_RADIUS = 0.932  # [R_sun]
TAUREX_LAYERS = 800
WASP39B = {"T": 1166.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.25, "log_g": 2.63}
COOL = {"T": 500.0, "X_H2O": 1e-2, "X_CO2": 1e-3, "radius": 1.0, "log_g": 3.3}
CASES = {
    # name: parameters, Rayleigh, correlated k, top of the atmosphere [bar]
    "WASP-39 b": (WASP39B, True, False, 1e-8),
    "WASP-39 b, no Rayleigh": (WASP39B, False, False, 1e-8),
    "WASP-39 b, H2O alone, correlated k": (WASP39B | {"X_CO2": 1e-12}, True, True, 1e-8),
    "cool giant": (COOL, True, False, 1e-8),
    "WASP-39 b, top at 1e-6 bar": (WASP39B, True, False, 1e-6),
}


def grey(table):
    """Give each bin its mean cross section, so that neither code needs correlated k."""
    log10_k = {
        gas: np.log10((10.0**k) @ table.g_weights)[..., None] for gas, k in table.log10_k.items()
    }
    return dataclasses.replace(table, g_weights=np.ones(1), log10_k=log10_k)


def write_tables(folder, table, temperature, correlated):
    """Write cross sections (or k-tables) of both gases at one temperature on a fine pressure grid.

    TauREx interpolates the cross section linearly in log P and T, we its logarithm in log P and
    log T: on a grid this fine, interpolated here in our way, the two are the same.
    """
    pressure = np.geomspace(1e-8, 100, 1201)
    wavenumber = 2e4 / (table.wavelength_edges[1:] + table.wavelength_edges[:-1])
    x = np.log(np.clip(temperature, *table.temperature[[0, -1]]) / table.temperature)
    low = np.clip(np.searchsorted(-x, 0, side="right") - 1, 0, x.size - 2)
    fraction = x[low] / (x[low] - x[low + 1])
    for gas, k in table.log10_k.items():
        level = k[low] + fraction * (k[low + 1] - k[low])
        flat = level.reshape(level.shape[0], -1)
        fine = np.stack(
            [np.interp(np.log(pressure), np.log(table.pressure), column) for column in flat.T],
            axis=1,
        ).reshape(-1, *level.shape[1:])
        fine = 10.0 ** fine[:, None, ::-1].repeat(2, axis=1)  # (P, T, wavenumber, g)
        if correlated:  # TauREx 3.3.0's HDF5 reader of k-tables fails beside h5py 3
            content = {
                "name": gas, "t": temperature + np.array([-50.0, 50.0]), "p": pressure,
                "bin_centers": wavenumber[::-1], "ngauss": table.g_weights.size,
                "weights": table.g_weights, "kcoeff": fine,
            }  # fmt: skip
            (folder / f"{gas}.pickle").write_bytes(pickle.dumps(content))
            continue
        with h5py.File(folder / f"{gas}_check.h5", "w") as file:
            file["t"] = temperature + np.array([-50.0, 50.0])
            file["p"] = pressure
            file["p"].attrs["units"] = "bar"
            file["bin_edges"] = wavenumber[::-1]  # TauREx's name for the points themselves
            file["xsecarr"] = fine[..., 0]
            file["mol_name"] = np.array([gas.encode()])


class TableCIA(CIA):
    """Collision-induced absorption at one temperature, on the bins of the table."""

    def __init__(self, pair, table, temperature):
        super().__init__("TableCIA", pair)
        x, log10 = np.log(table.cia_temperature), table.log10_cia[pair]
        at = [np.interp(np.log(temperature), x, column) for column in log10.T]
        self._values = 10.0 ** np.array(at)[::-1] * 1e-10  # [m5]
        self._wavenumber = (2e4 / (table.wavelength_edges[1:] + table.wavelength_edges[:-1]))[::-1]
        self._temperature = temperature

    @property
    def wavenumberGrid(self):  # noqa: N802 (TauREx's name)
        return self._wavenumber

    @property
    def temperatureGrid(self):  # noqa: N802 (TauREx's name)
        return np.array([self._temperature])

    def compute_cia(self, temperature):
        return self._values


def run_taurex(folder, table, state, rayleigh, correlated, top):
    """Transit depth of each bin, in order of wavelength."""
    write_tables(folder, table, state["T"], correlated)
    OpacityCache().clear_cache()
    KTableCache().clear_cache()
    GlobalCache()["opacity_method"] = "ktables" if correlated else "xsec"
    GlobalCache()["ktable_path" if correlated else "xsec_path"] = str(folder)
    for pair in table.log10_cia:
        CIACache().cia_dict[pair] = TableCIA(pair, table, state["T"])

    # TauREx's planet radius is that of its lowest level; ours is that of 10 bar.
    background = 1 - state["X_H2O"] - state["X_CO2"]
    mean_mass = background * sum(BACKGROUND[gas] * MASS[gas] for gas in BACKGROUND)
    mean_mass += state["X_H2O"] * MASS["H2O"] + state["X_CO2"] * MASS["CO2"]
    radius, gravity = state["radius"] * R_JUP, 10 ** state["log_g"]  # cgs
    over_r = GAS_CONSTANT * state["T"] / (mean_mass * gravity * radius)
    bottom = radius / (1 + over_r * np.log(100 / 10))

    planet = Planet(planet_radius=bottom / 100 / RJUP)
    planet._mass = gravity / 100 * (radius / 100) ** 2 / G  # in kg, whatever TauREx's M_jup is
    chemistry = TaurexChemistry(fill_gases=["H2", "He"], ratio=BACKGROUND["He"] / BACKGROUND["H2"])
    for gas in ("H2O", "CO2"):
        if state[f"X_{gas}"] > 1e-11:
            chemistry.addGas(ConstantGas(gas, mix_ratio=state[f"X_{gas}"]))
    model = TransmissionModel(
        planet=planet,
        star=BlackbodyStar(radius=STAR_RADIUS),
        chemistry=chemistry,
        temperature_profile=Isothermal(T=state["T"]),
        nlayers=TAUREX_LAYERS,
        atm_min_pressure=top * 1e5,
        atm_max_pressure=100 * 1e5,
    )
    model.add_contribution(AbsorptionContribution())
    model.add_contribution(CIAContribution(cia_pairs=list(table.log10_cia)))
    if rayleigh:
        model.add_contribution(RayleighContribution())
    model.build()
    depth = model.model()[1][::-1]
    about = {
        "mean mass, ours / TauREx": mean_mass * 1.66053907e-27 / float(model.chemistry.muProfile[0])
    }
    return depth, about


def run_ours(table, state, rayleigh, top):
    """Transit depth of each bin, and the difference that twice as many levels make [ppm]."""
    edges = table.wavelength_edges
    levels = round(6 * np.log10(100 / top)) + 1  # as dense as the default's

    def run(levels):
        model = IsothermalTransmission(
            (edges[1:] + edges[:-1]) / 2, np.diff(edges) * (1 - 1e-12), star_radius=STAR_RADIUS,
            opacities=table, rayleigh=rayleigh, pressure_range=(top, 100.0), levels=levels,
        )  # fmt: skip
        return np.asarray(model({name: np.array([value]) for name, value in state.items()}))[0]

    depth = run(levels)
    return depth, 1e6 * np.abs(depth - run(4 * levels)).max()


def compare(name, table):
    """Run both codes on one case."""
    state, rayleigh, correlated, top = CASES[name]
    table = table if correlated else grey(table)
    with tempfile.TemporaryDirectory() as folder:
        theirs, about = run_taurex(pathlib.Path(folder), table, state, rayleigh, correlated, top)
    ours, unconverged = run_ours(table, state, rayleigh, top)
    difference = 1e6 * (ours - theirs)
    record = {
        "parameters": state, "rayleigh": rayleigh, "correlated k": correlated, "top [bar]": top,
        "max |ours - TauREx| [ppm]": np.abs(difference).max(),
        "mean [ppm]": difference.mean(), "rms [ppm]": np.sqrt((difference**2).mean()),
        "ours against four times as many levels [ppm]": unconverged,
        "depth range": [theirs.min(), theirs.max()],
    }  # fmt: skip
    return record | about, ours, theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    here = pathlib.Path(__file__).parent
    parser.add_argument("--output", type=pathlib.Path, default=here)
    output = parser.parse_args().output

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    table = read_opacities()
    wavelength = (table.wavelength_edges[1:] + table.wavelength_edges[:-1]) / 2
    record = {
        "taurex": taurex.__version__, "taurex layers": TAUREX_LAYERS,
        "R_jup, ours / TauREx": R_JUP / (100 * RJUP), "R_sun, TauREx [m]": RSOL,
        "opacities": table.fingerprint(), "cases": {},
    }  # fmt: skip
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(8, 6), height_ratios=(2, 1), layout="constrained"
    )
    for name in CASES:
        record["cases"][name], ours, theirs = compare(name, table)
        worst = record["cases"][name]["max |ours - TauREx| [ppm]"]
        print(f"{name}: at most {worst:.2f} ppm apart", flush=True)
        (line,) = above.plot(wavelength, 100 * ours, lw=0.8)
        above.plot(wavelength, 100 * theirs, ":", color="k", lw=0.8)
        below.plot(wavelength, 1e6 * (ours - theirs), lw=0.8, color=line.get_color(), label=name)
    above.set(ylabel="transit depth [%]", title="embedded model (colours), TauREx 3 (dots)")
    below.set(xlabel="wavelength [um]", ylabel="difference [ppm]", xscale="log")
    ticks = (0.5, 0.7, 1, 1.5, 2, 3, 4, 5)
    below.set_xticks(ticks, [str(tick) for tick in ticks])
    below.minorticks_off()
    below.legend(fontsize=7, ncols=2)
    figure.savefig(output / "transmission_check.png", dpi=150)
    text = json.dumps(record, indent=1, default=float)
    (output / "transmission_check.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
