"""Run the adapter for TauREx on the package's opacities, beside TauREx itself.

Run by hand, in an environment of its own (see README.md):

    python taurex_check.py [--output DIR]

It writes taurex_check.json. Does the adapter add anything to what TauREx computes? The same model
is built and run without it, on TauREx's whole grid, and binned. The embedded model is a second,
independent opinion.
"""

import argparse
import functools
import importlib.resources
import json
import pathlib
import pickle
import sys
import tempfile
import time

import jax
import numpy as np
import taurex
from taurex.binning import FluxBinner
from taurex.cache import CIACache, GlobalCache, OpacityCache
from taurex.chemistry import ConstantGas, TaurexChemistry
from taurex.constants import MJUP, RJUP, G
from taurex.contributions import AbsorptionContribution, CIAContribution, RayleighContribution
from taurex.model import TransmissionModel
from taurex.planet import Planet
from taurex.stellar import BlackbodyStar
from taurex.temperature import Isothermal

import floppity_jax as fp
from floppity_jax.channels import channel_weights
from floppity_jax.pool import Pool
from floppity_jax.simulate import simulate
from floppity_jax.simulators.transmission import BACKGROUND, GAS_CONSTANT, MASS, R_JUP

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "transmission_check"))
from compare_with_taurex import STAR_RADIUS, WASP39B, TableCIA, grey, write_tables  # noqa: E402

jax.config.update("jax_enable_x64", True)
LAYERS = 800
HELIUM = BACKGROUND["He"] / BACKGROUND["H2"]
PAR = """
[Global]
xsec_path = {folder}
[Chemistry]
chemistry_type = taurex
fill_gases = H2, He
ratio = {ratio!r}
    [[H2O]]
    gas_type = constant
    mix_ratio = 1e-5
    [[CO2]]
    gas_type = constant
    mix_ratio = 1e-5
[Temperature]
profile_type = isothermal
T = 1000
[Pressure]
profile_type = simple
atm_min_pressure = 1e-3
atm_max_pressure = 1e7
nlayers = {layers}
[Planet]
planet_type = simple
planet_mass = {mass!r}
planet_radius = 1
[Star]
star_type = blackbody
radius = {star!r}
[Model]
model_type = transmission
    [[Absorption]]
    [[Rayleigh]]
"""


def lowest_level(state):
    """Radius of 100 bar [R_jup] and mass [kg]; the embedded model's radius is that of 10 bar."""
    background = 1 - state["X_H2O"] - state["X_CO2"]
    mean_mass = background * sum(BACKGROUND[gas] * MASS[gas] for gas in BACKGROUND)
    mean_mass += state["X_H2O"] * MASS["H2O"] + state["X_CO2"] * MASS["CO2"]
    radius, gravity = state["radius"] * R_JUP, 10 ** state["log_g"]
    over_r = GAS_CONSTANT * state["T"] / (mean_mass * gravity * radius)
    bottom = radius / (1 + over_r * np.log(100 / 10))
    return bottom / 100 / RJUP, gravity / 100 * (radius / 100) ** 2 / G


def build(folder, *, mass=None, cia=True, state=None):
    """Make a model; without a state, its parameters are nothing that is ever asked for."""
    state = state or {"T": 1000.0, "planet_radius": 1.0, "H2O": 1e-5, "CO2": 1e-5}
    OpacityCache().clear_cache()
    GlobalCache()["opacity_method"] = "xsec"
    OpacityCache().set_opacity_path(str(folder))
    planet = Planet(planet_radius=state["planet_radius"])
    planet._mass = mass
    chemistry = TaurexChemistry(fill_gases=["H2", "He"], ratio=HELIUM)
    for gas in ("H2O", "CO2"):
        chemistry.addGas(ConstantGas(gas, mix_ratio=state[gas]))
    model = TransmissionModel(
        planet=planet, star=BlackbodyStar(radius=STAR_RADIUS), chemistry=chemistry,
        temperature_profile=Isothermal(T=state["T"]), nlayers=LAYERS,
        atm_min_pressure=1e-3, atm_max_pressure=1e7,
    )  # fmt: skip
    model.add_contribution(AbsorptionContribution())
    model.add_contribution(RayleighContribution())
    if cia:
        table = grey(fp.simulators.read_opacities())
        for pair in table.log10_cia:
            CIACache().cia_dict[pair] = TableCIA(pair, table, WASP39B["T"])
        model.add_contribution(CIAContribution(cia_pairs=list(table.log10_cia)))
    return model


def direct(folder, observation, state, mass, cia=True):
    """TauREx without the adapter, binned by its own binner and by plain sums."""
    model = build(folder, mass=mass, cia=cia, state=state)
    model.build()
    wavenumber, depth = model.model()[:2]
    high = 1e4 / (observation.wavelength - observation.bin_width / 2)
    low = 1e4 / (observation.wavelength + observation.bin_width / 2)
    binned = FluxBinner((low + high) / 2, high - low).bindown(wavenumber, depth)[1][::-1]
    middle = (wavenumber[1:] + wavenumber[:-1]) / 2
    edges = np.concatenate([
        [2 * wavenumber[0] - middle[0]], middle, [2 * wavenumber[-1] - middle[-1]]
    ])  # fmt: skip
    overlap = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    overlap = np.clip(overlap, 0, None)
    return binned, overlap @ depth / overlap.sum(axis=1)


def summary(difference):
    """Of differences in depth [ppm]."""
    return {
        "max": 1e6 * float(np.abs(difference).max()),
        "mean": 1e6 * float(difference.mean()),
        "rms": 1e6 * float(np.sqrt((difference**2).mean())),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output

    data = importlib.resources.files("floppity_jax") / "data" / "wasp39b_prism.csv"
    observation = fp.read_observation(data)
    table = grey(fp.simulators.read_opacities())
    bottom, mass = lowest_level(WASP39B)
    reference = {
        "T": WASP39B["T"], "planet_radius": bottom, "H2O": WASP39B["X_H2O"],
        "CO2": WASP39B["X_CO2"],
    }  # fmt: skip
    states = [
        reference,
        reference | {"planet_radius": 0.9 * bottom, "H2O": 1e-6},
        reference | {"T": 700.0, "CO2": 1e-3},
        reference,  # once more: nothing may be left over from the others
    ]
    record = {"taurex": taurex.__version__, "numpy": np.__version__, "layers": LAYERS,
              "channels": observation.n_channels, "states": states}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_tables(pathlib.Path(folder), table, WASP39B["T"], False)
        adapter = fp.simulators.TauREx(
            functools.partial(build, folder, mass=mass), observation, parameters=list(reference)
        )
        adapter.set_up()
        record["bytes of a pickle, built"] = len(pickle.dumps(adapter))
        got = np.array([adapter(state) for state in states])
        expected = [direct(folder, observation, state, mass) for state in states]
        by_binner, by_sums = (np.array(each) for each in zip(*expected, strict=True))
        record["max |adapter - TauREx| / TauREx"] = float(np.abs(got / by_binner - 1).max())
        record["max |adapter - plain sums| / TauREx"] = float(np.abs(got / by_sums - 1).max())

        start = time.perf_counter()
        adapter(reference)
        record["seconds a spectrum, adapter"] = time.perf_counter() - start
        model = build(folder, mass=mass, state=reference)
        model.model()
        start = time.perf_counter()
        model.model()
        record["seconds a spectrum, TauREx on its whole grid"] = time.perf_counter() - start

        columns = {name: np.array([state[name] for state in states]) for name in reference}
        pooled = simulate(adapter, columns, observation, Pool(2))
        record["failures in a pool of two"] = list(pooled.failures.values())
        record["max |pool - here|"] = float(np.abs(pooled.spectra - got).max())

        path = pathlib.Path(folder) / "wasp39b.par"
        text = PAR.format(
            folder=folder, ratio=HELIUM, layers=LAYERS, mass=float(mass / MJUP), star=STAR_RADIUS
        )
        path.write_text(text)
        from_file = fp.simulators.TauREx(path, observation, parameters=list(reference))
        expected = direct(folder, observation, states[1], mass, cia=False)[0]
        record["max |parameter file - TauREx| / TauREx"] = float(
            np.abs(from_file(states[1]) / expected - 1).max()
        )
        try:
            fp.simulators.TauREx(path, observation, parameters=["T", "radius"]).set_up()
        except fp.errors.InvalidInput as error:
            record["an unknown parameter"] = str(error)

    embedded = fp.simulators.IsothermalTransmission.for_observation(
        observation, star_radius=STAR_RADIUS, opacities=table
    )
    ours = np.asarray(embedded({name: np.array([value]) for name, value in WASP39B.items()}))[0]
    record["embedded model - adapter [ppm]"] = summary(ours - got[0])
    # The rest of it is the averaging: TauREx's own bins, averaged as the embedded model does.
    weights = channel_weights(
        observation.wavelength - observation.bin_width / 2,
        observation.wavelength + observation.bin_width / 2,
        table.wavelength_edges,
    )
    theirs = weights @ model.model()[1][::-1]
    record["embedded model - TauREx, averaged alike [ppm]"] = summary(ours - theirs)
    record["depths"] = [float(got[0].min()), float(got[0].max())]
    print(json.dumps(record, indent=1))
    (output / "taurex_check.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
