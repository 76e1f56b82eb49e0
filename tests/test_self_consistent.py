"""The self-consistent brown dwarf: conservation of energy and atoms, and limits that are known."""

import os
import pathlib
import runpy
import shutil
import sys

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
ARCIS = HERE.parent / "experiments" / "self_consistent" / "arcis"
if not ARCIS.exists():
    pytest.skip("needs the experiments, which only the repository has", allow_module_level=True)

from experiments.self_consistent import chemistry, structure  # noqa: E402
from experiments.self_consistent.model import BrownDwarf  # noqa: E402
from experiments.self_consistent.radiation import (  # noqa: E402
    STEFAN_BOLTZMANN,
    Planck,
    flux_derivatives,
    fluxes,
    planck_share,
)

PRESSURE = np.logspace(-4, 3, 40)
TEMPERATURE = 150 * (PRESSURE / PRESSURE[0]) ** 0.17  # 150 to 2,300 K
ONE = np.ones(1)


@pytest.fixture(scope="module")
def model():
    return BrownDwarf()


# Corners of the prior, and its middle.
MODELS = [
    {"T_int": 700, "radius": 1, "log_g": 4.5, "log_Kzz": 9, "C_O": 0.55, "M_H": 0},
    {"T_int": 310, "radius": 1, "log_g": 5.4, "log_Kzz": 2.5, "C_O": 0.15, "M_H": 0.9},
    {"T_int": 990, "radius": 1, "log_g": 3.6, "log_Kzz": 11.5, "C_O": 0.95, "M_H": -0.9},
]


@pytest.mark.parametrize("p", MODELS)
def test_flux_is_the_same_at_all_radiative_levels_and_never_too_much(model, p):
    found = model.structure(p)
    assert np.abs(found.flux[:-1][~found.convective] - 1).max() < 0.01
    assert found.flux[:-1][found.convective].max() < 1.01  # what is missing, convection carries
    assert found.convective.any()
    gradient = np.diff(np.log(found.temperature)) / np.diff(np.log(model.pressure))
    inside = model.pressure[1:] > 10 * model.pressure[0]
    assert (gradient[inside] < structure.ADIABATIC_GRADIENT * (1 + 1e-4)).all()


@pytest.mark.parametrize("p", MODELS)
def test_emergent_spectrum_adds_up_to_sigma_t4(model, p):
    found = model.structure(p)
    depth = model.depths(model.broad, found.temperature, p)
    source, _ = model.broad_planck(structure.node_temperatures(found.temperature))
    emergent = fluxes(depth, source, model.broad.weights)[0]
    assert emergent.sum() == pytest.approx(STEFAN_BOLTZMANN * p["T_int"] ** 4, rel=0.01)
    # The finer table, of which the spectrum is made, lets the same flux out from 5 to 17.5 um.
    fine = model.emission(found, p)
    cumulated = [
        np.interp([5, 17.5], edges, np.append(0, np.cumsum(flux)))
        for edges, flux in ((model.broad.edges, emergent), (model.edges, fine))
    ]
    assert np.diff(cumulated[1])[0] == pytest.approx(np.diff(cumulated[0])[0], rel=0.02)


def test_spectrum_scales_with_the_radius_and_is_that_of_a_body_at_ten_parsec(model):
    p = MODELS[0]
    one, two = model(p), model(p | {"radius": 2})
    np.testing.assert_allclose(two, 4 * one, rtol=1e-12)
    assert one.shape == (len(model.edges) - 1,)
    # A black body of 700 K and one Jovian radius has 0.4 mJy at 10 um and 10 pc.
    i = np.searchsorted(model.edges, 10)
    nu, h, k = 2.998e13, 6.626e-34, 1.381e-23
    body = 2 * h * nu**3 / 2.998e8**2 / np.expm1(h * nu / (k * 700)) * 1e32
    body *= np.pi * (7.1492e7 / 3.0857e17) ** 2
    assert 0.3 * body < one[i] < body * 1.2


def test_grey_atmosphere_has_hopfs_temperatures(monkeypatch):
    """T^4 = 3/4 T_eff^4 (tau + q(tau)), q by Hopf; Mihalas 1978, Stellar Atmospheres, p. 72."""
    monkeypatch.setattr(structure, "ADIABATIC_GRADIENT", 9.0)  # nothing convects
    tau = np.append(0, np.logspace(-3.5, 2.5, 91))
    depth = np.diff(tau)[:, None, None]
    found = structure.solve(
        lambda temperature: depth, Planck(np.array([0.1, 100.0]), whole=True), ONE,
        np.logspace(-3, 3, 91), 500.0, np.full(91, 500.0),
    )  # fmt: skip
    middle = (tau[1:] + tau[:-1]) / 2
    q = np.interp(middle, [0, 0.1, 0.2, 0.5, 1, 2, 5],
                  [0.5774, 0.6279, 0.6495, 0.6803, 0.6985, 0.7079, 0.7103])  # fmt: skip
    exact = 500 * (0.75 * (middle + q)) ** 0.25
    np.testing.assert_allclose(found.temperature, exact, rtol=0.02)  # two rays: +1.4% at the top
    np.testing.assert_allclose(found.temperature[middle > 0.3], exact[middle > 0.3], rtol=0.004)


def test_isothermal_column_shines_as_a_black_body():
    planck = Planck(np.array([1.0, 5, 10, 50]), whole=True)
    source, _ = planck(np.full(41, 600.0))
    assert source[0].sum() == pytest.approx(STEFAN_BOLTZMANN * 600**4, rel=1e-12)
    depth = np.tile(np.array([1e-6, 1e-3, 1, 50.0])[np.arange(20) // 5, None, None], (1, 3, 1))
    net = fluxes(depth, source, ONE)
    np.testing.assert_allclose(net[0], source[0], rtol=1e-6)
    np.testing.assert_allclose(net[-1], 0, atol=1e-6 * source[0].max())


def test_deep_flux_is_that_of_diffusion():
    """F = 4/3 d(pi B)/d tau."""
    source = (1e3 + 7.0 * np.arange(41))[:, None]  # 3.5 units of optical depth from node to node
    net = fluxes(np.full((20, 1, 1), 7.0), source, ONE)
    np.testing.assert_allclose(net[5:], 4 / 3 * 2, rtol=1e-2)


def test_flux_derivatives_are_those_of_a_single_ray(monkeypatch):
    from experiments.self_consistent import radiation

    monkeypatch.setattr(radiation, "MU", np.array([radiation.MEAN_MU]))
    monkeypatch.setattr(radiation, "MU_WEIGHTS", np.array([0.5]))
    rng = np.random.default_rng(0)
    depth, weights = 10 ** rng.uniform(-3, 2, (6, 2, 3)), np.array([0.2, 0.5, 0.3])
    source, slope = rng.uniform(1, 2, (13, 2)), rng.uniform(1, 2, (13, 2))
    derivatives = flux_derivatives(depth, slope, weights)
    base = fluxes(depth, source, weights)
    for node in range(13):
        moved = source.copy()
        moved[node] += slope[node]
        change = (fluxes(depth, moved, weights) - base).sum(axis=1)
        np.testing.assert_allclose(derivatives[:, node], change, rtol=1e-9, atol=1e-9)


def test_planck_share_halves_at_the_median_wavelength():
    """Half of a black body's flux lies below 4107 um K."""
    assert planck_share(np.array(4107.3 / 500), np.array(500.0)) == pytest.approx(0.5, abs=1e-4)
    x = np.array([0.999999, 1.000001])  # both series meet
    below, above = planck_share(14387.76877 / x / 500, np.array(500.0))
    assert below == pytest.approx(above, rel=1e-5)


def _atoms(gases):
    carbon = gases["CO"] + gases["CO2"] + gases["CH4"]
    return carbon, gases["H2O"] + gases["CO"] + 2 * gases["CO2"]


@pytest.mark.parametrize("c_o", [0.1, 0.55, 1.0, 1.4])
@pytest.mark.parametrize("log_kzz", [-30, 5, 9, 60])
def test_atoms_are_conserved(c_o, log_kzz):
    gases = chemistry.abundances(TEMPERATURE, PRESSURE, 1e4, log_kzz, 0.3, c_o)
    for found, wanted in zip(_atoms(gases), chemistry.elements(0.3, c_o), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert min(x.min() for x in gases.values()) >= 0


def test_equilibrium_obeys_both_reactions():
    gases = chemistry.equilibrium(TEMPERATURE, PRESSURE, *chemistry.elements(0, 0.55))
    k1, k2 = chemistry.equilibrium_constants(TEMPERATURE)
    h2 = PRESSURE / (1 + 2 * chemistry.HELIUM_PER_HYDROGEN)
    np.testing.assert_allclose(gases["CO"] * h2**2 / (gases["CH4"] * gases["H2O"]), k1, rtol=1e-9)
    np.testing.assert_allclose(gases["CO"] * gases["H2O"] / gases["CO2"], k2, rtol=1e-9)
    # CO is CH4 where log10 p = 5.05 - 5807.5 / T (Visscher 2012, ApJ 757, 5).
    for pressure in (1.0, 10.0):
        warm = np.linspace(900, 1700, 801)
        gases = chemistry.equilibrium(warm, np.full(801, pressure), *chemistry.elements(0, 0.46))
        crossing = warm[np.argmin(np.abs(gases["CO"] - gases["CH4"]))]
        assert crossing == pytest.approx(5807.5 / (5.05 - np.log10(pressure)), rel=0.02)


def test_without_mixing_equilibrium_holds_and_with_much_of_it_the_deep_is_everywhere():
    args = TEMPERATURE, PRESSURE, 1e4
    free = chemistry.equilibrium(TEMPERATURE, PRESSURE, *chemistry.elements(0, 0.55))
    still = chemistry.abundances(*args, -30, 0, 0.55)
    mixed = chemistry.abundances(*args, 60, 0, 0.55)
    for gas in chemistry.GASES:
        np.testing.assert_allclose(still[gas], free[gas], rtol=1e-6, atol=1e-20)
        np.testing.assert_allclose(mixed[gas], free[gas][-1], rtol=1e-6)


def test_more_mixing_brings_up_more_carbon_monoxide():
    gases = [
        chemistry.abundances(TEMPERATURE, PRESSURE, 1e4, log_kzz, 0, 0.55)["CO"][0]
        for log_kzz in (2, 5, 8, 11)
    ]
    assert (np.diff(gases) > 0).all()


def test_mixing_two_gases_keeps_the_mean_and_each_alone(model):
    table, rng = model.broad, np.random.default_rng(1)
    one, other = np.sort(10 ** rng.uniform(-3, 3, (2, 4, 5, 8)), axis=-1)
    mixed = table.mixed(one, other)
    np.testing.assert_allclose(mixed @ table.weights, (one + other) @ table.weights, rtol=1e-9)
    assert (np.diff(mixed, axis=-1) >= 0).all()
    np.testing.assert_array_equal(table.mixed(one, 0 * other), one)
    # Transmissions of gases that know nothing of each other multiply.
    product = (np.exp(-one) @ table.weights) * (np.exp(-other) @ table.weights)
    np.testing.assert_allclose(np.exp(-mixed) @ table.weights, product, atol=0.07)


def test_opacities_are_continuous_in_temperature(model):
    """CIA coefficients of 1e-45 cm5 are no numbers in single precision."""
    temperature = np.linspace(300, 400, 201)
    per_h2 = {gas: np.full(201, 1e-4) for gas in chemistry.GASES}
    depth = model.narrow.optical_depths(temperature, np.full(201, 5.0), np.full(201, 1e25), per_h2)
    assert np.abs(np.diff(np.log(depth), axis=0)).max() < 0.02


@pytest.mark.parametrize(
    ("wavenumber", "strength"),
    # HITRAN 2012: R(0), P(1) and R(7) of 1-0, R(0) of 2-0.
    [(2147.0811, None), (2139.4261, None), (2172.7588, 4.46e-19), (4263.8372, None)],
)
def test_lines_of_carbon_monoxide_are_where_they_are_seen(wavenumber, strength, monkeypatch):
    monkeypatch.syspath_prepend(str(ARCIS.parents[1] / "opacities"))
    from co_lines import co_lines

    lines = co_lines(1800, 4500)
    main = lines.isotopologue == 1
    nearest = np.argmin(np.abs(lines.wavenumber[main] - wavenumber))
    assert lines.wavenumber[main][nearest] == pytest.approx(wavenumber, abs=0.005)
    if strength:
        assert lines.strength[main][nearest] == pytest.approx(strength, rel=0.02)


def test_a_column_without_equilibrium_is_an_error():
    with pytest.raises(structure.NotConverged, match="flux off by"):
        structure.solve(
            lambda temperature: np.ones((10, 1, 1)), Planck(np.array([0.1, 100.0]), whole=True),
            ONE, np.logspace(-3, 2, 10), 500.0, np.full(10, 500.0), steps=1,
        )  # fmt: skip


def test_the_set_up_for_arcis_is_complete(tmp_path, monkeypatch, capsys):
    """With a stand-in for ARCiS; nobody has run it with ARCiS itself."""
    from floppity_jax import cli
    from floppity_jax.simulators import ARCiS

    arcis = tmp_path / "bin" / "ARCiS"
    arcis.parent.mkdir()
    arcis.write_text(f"#!{sys.executable} -IS\n{(HERE / 'fake_arcis.py').read_text('utf-8')}")
    arcis.chmod(0o755)
    monkeypatch.setenv("PATH", str(arcis.parent), prepend=os.pathsep)
    folder = shutil.copytree(ARCIS, tmp_path / "brown dwarf")
    monkeypatch.setattr(sys, "argv", ["observe.py"])
    runpy.run_path(str(folder / "observe.py"), run_name="__main__")
    assert cli.main(["run", str(folder / "retrieval.toml"), "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "channels 1301 of" in said
    assert "rounds 10 by .truncated., of 5,000 simulations" in said.replace("'", ".")
    adapter = ARCiS(folder / "brown_dwarf.in")
    ours = {"T_int": "TeffP", "radius": "Rp", "log_g": "loggP", "C_O": "COratio",
            "M_H": "metallicity"}  # fmt: skip
    from experiments.self_consistent.problem import PARAMETERS

    for name, theirs in ours.items():
        assert adapter.priors()[theirs].support == PARAMETERS[name].support
    kzz = np.log10(adapter.priors()["Kzz"].support)
    np.testing.assert_allclose(kzz, PARAMETERS["log_Kzz"].support)
    channels = np.loadtxt(folder / "channels.dat")
    for i in range(1, 6):
        realisation = np.loadtxt(folder / f"realisation_{i}.dat")
        np.testing.assert_allclose(realisation[:, [0, 2, 3]], channels[:, [0, 2, 3]], rtol=1e-6)
