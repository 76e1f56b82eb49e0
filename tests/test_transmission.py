"""The embedded forward model, against closed forms."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from floppity_jax.channels import channel_weights
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.opacity import OpacityTable, rayleigh_cross_sections, read_opacities
from floppity_jax.simulators.transmission import IsothermalTransmission

R_JUP, R_SUN = 7.1492e9, 6.957e10  # [cm]
BOLTZMANN, GAS_CONSTANT = 1.380649e-16, 8.314462618e7  # cgs
STAR = 0.9  # [R_sun]
MEAN_MASS = 0.85 * 2.01588 + 0.15 * 4.002602  # of the H2/He background
NOTHING = -40.0  # log10 k of a transparent gas


def table(h2o=NOTHING, co2=NOTHING, g_weights=(1.0,), cia=-80.0, bins=4):
    """Opacities that depend on nothing but g, 1 to 2 um; h2o and co2 are log10 k (g,)."""
    shape = (2, 2, bins, len(g_weights))
    return OpacityTable(
        wavelength_edges=np.linspace(1, 2, bins + 1),
        g_weights=np.array(g_weights),
        temperature=np.array([100.0, 3000.0]),
        pressure=np.array([1e-6, 100.0]),
        log10_k={
            "H2O": np.broadcast_to(h2o, shape).astype(float),
            "CO2": np.broadcast_to(co2, shape).astype(float),
        },
        cia_temperature=np.array([100.0, 3000.0]),
        log10_cia={"H2-H2": np.full((2, bins), cia), "H2-He": np.full((2, bins), -80.0)},
    )


def model(opacities, *, wavelength=(1.5,), width=(0.5,), **options):
    options = {"star_radius": STAR, "rayleigh": False, "opacities": opacities} | options
    return IsothermalTransmission(np.array(wavelength), np.array(width), **options)


def planet(**changes):
    values = {"T": 1000.0, "X_H2O": 1e-3, "X_CO2": 1e-12, "radius": 1.2, "log_g": 3.0} | changes
    return {name: jnp.atleast_1d(jnp.asarray(value)) for name, value in values.items()}


def prior_draws(n, rng):
    """Draws from the whole prior, and all its corners."""
    low = np.array([10, -12, -12, 0.1, 2, -6.0])
    high = np.array([3000, -1, -1, 1.9, 4, 2.0])
    corners = np.stack(np.meshgrid(*np.stack([low, high], axis=1)), axis=-1).reshape(-1, 6)
    theta = np.concatenate([rng.uniform(low, high, (n, 6)), corners])
    theta[:, 1:3] = 10 ** theta[:, 1:3]
    names = ("T", "X_H2O", "X_CO2", "radius", "log_g", "log_P_cloud")
    return dict(zip(names, jnp.asarray(theta.T), strict=True))


@pytest.fixture(scope="module")
def prism():
    """The packaged opacities on channels like NIRSpec PRISM's near 4.3 um, with a cloud."""
    wavelength = np.geomspace(3.6, 4.8, 30)
    return IsothermalTransmission(wavelength, np.gradient(wavelength), star_radius=STAR, cloud=True)


@pytest.mark.parametrize("source", ["absorption", "collisions"])
@pytest.mark.parametrize("depth_at_reference", [0.05, 1.0, 20.0])
def test_transit_radius_of_a_thin_grey_atmosphere(source, depth_at_reference):
    # R_eff = R + s (gamma + ln tau_R), tau_R = alpha_R sqrt(2 pi R s), with s the scale height of
    # the absorption: H, or H/2 for collisions (Lecavelier des Etangs 2008; de Wit & Seager 2013).
    temperature, log_g, radius, pressure, mixing = 300.0, 4.0, 1.9, 0.1, 1e-2
    number = 0.99 if source == "absorption" else 1 - 2e-12
    mean_mass = number * MEAN_MASS + (mixing * 18.01528 if source == "absorption" else 0)
    scale = GAS_CONSTANT * temperature / (mean_mass * 10**log_g)
    density = pressure * 1e6 / (BOLTZMANN * temperature)
    if source == "absorption":
        column = mixing * density * np.sqrt(2 * np.pi * radius * R_JUP * scale)
        opacities = table(h2o=np.log10(depth_at_reference / column))
    else:
        scale /= 2
        column = (number * 0.85 * density) ** 2 * np.sqrt(2 * np.pi * radius * R_JUP * scale)
        opacities = table(cia=np.log10(depth_at_reference / column))
        mixing = 1e-12
    with jax.enable_x64(True):
        theta = planet(T=temperature, X_H2O=mixing, radius=radius, log_g=log_g)
        one = model(opacities, reference_pressure=pressure, levels=97)
        got = np.sqrt(float(one(theta)[0, 0])) * STAR * R_SUN
    above = np.euler_gamma + np.log(depth_at_reference)  # in scale heights
    # The quadrature's first omitted term is 0.08 step^3.5 F''' beside Gamma(1/2) F, with the step
    # in units of s; the closed form leaves out terms of order s/R (1e-4 here).
    step = one._step * (1 if source == "absorption" else 2)
    tolerance = 0.05 * step**3.5 + scale / (radius * R_JUP) * (2 + abs(above)) ** 2
    assert (got - radius * R_JUP) / scale == pytest.approx(above, abs=tolerance)


def hydrostatic_radius(pressure, *, temperature, mean_mass, log_g, radius):
    """Closed form of g ~ 1/r^2, from 10 bar [cm]."""
    over_r = GAS_CONSTANT * temperature / (mean_mass * 10**log_g * radius * R_JUP)
    return radius * R_JUP / (1 + over_r * np.log(pressure / 10))


@pytest.mark.parametrize(("log10_k", "pressure"), [(0.0, 1e-8), (NOTHING, 100.0)])
def test_opaque_and_transparent_atmospheres_end_at_top_and_bottom(log10_k, pressure):
    got = float(model(table(h2o=log10_k), levels=97)(planet())[0, 0])
    mean_mass = 0.999 * MEAN_MASS + 1e-3 * 18.01528
    edge = hydrostatic_radius(pressure, temperature=1e3, mean_mass=mean_mass, log_g=3, radius=1.2)
    assert got == pytest.approx((edge / (STAR * R_SUN)) ** 2, rel=2e-6)


def test_cloud_deck_without_gas_is_a_disk():
    # Decks on and between the levels, so that the quadrature's partial cell is tested too.
    log_p = np.linspace(-5.9, 1.9, 14)
    theta = {name: jnp.repeat(value, 14) for name, value in planet().items()}
    depth = model(table(), cloud=True)(theta | {"log_P_cloud": jnp.asarray(log_p)})[:, 0]
    mean_mass = 0.999 * MEAN_MASS + 1e-3 * 18.01528
    deck = hydrostatic_radius(10**log_p, temperature=1e3, mean_mass=mean_mass, log_g=3, radius=1.2)
    np.testing.assert_allclose(depth, (deck / (STAR * R_SUN)) ** 2, rtol=2e-6)


def test_cloud_deck_in_an_opaque_atmosphere_changes_nothing():
    log_p = np.linspace(-5.9, 2.0, 14)
    theta = {name: jnp.repeat(value, 14) for name, value in planet().items()}
    opaque = table(h2o=0.0)
    depth = model(opaque, cloud=True)(theta | {"log_P_cloud": jnp.asarray(log_p)})[:, 0]
    clear = float(model(opaque)(planet())[0, 0])
    # r^2 is summed over the levels by a rule of fourth order: (step H/R)^4 of R^2, and rounding.
    np.testing.assert_allclose(depth, clear, rtol=3e-6)


def test_thin_gas_blocks_its_number_of_molecules():
    # Where tau << 1 the blocked area is k times the molecules that rays past the bottom can meet:
    # of a shell at r, the share sqrt(1 - (r_b / r)^2) is not before or behind the opaque disk.
    # A hot planet of low gravity, so that curvature and falling gravity count (H/R = 0.03).
    log10_k, state = -33.0, {"temperature": 1500.0, "log_g": 2.5, "radius": 1.3}
    mean_mass = 0.999 * MEAN_MASS + 1e-3 * 18.01528
    bottom = hydrostatic_radius(100.0, mean_mass=mean_mass, **state)

    def shell(u):  # u = sqrt(ln(100 bar / P)) takes the root's edge at the bottom away
        pressure = 100 * np.exp(-(u**2))
        r = hydrostatic_radius(pressure, mean_mass=mean_mass, **state)
        surface = state["radius"] * R_JUP
        scale = GAS_CONSTANT * state["temperature"] / (mean_mass * 10 ** state["log_g"])
        density = 1e-3 * pressure * 1e6 / (BOLTZMANN * state["temperature"])
        seen = np.sqrt(max(1 - (bottom / r) ** 2, 0))
        return 4 * np.pi * r**2 * density * seen * scale * (r / surface) ** 2 * 2 * u

    blocked = 10**log10_k * quad(shell, 0, np.sqrt(np.log(1e10)), epsrel=1e-9)[0]
    expected = blocked / (np.pi * (STAR * R_SUN) ** 2)
    theta = {"T": 1500.0, "X_H2O": 1e-3, "radius": 1.3, "log_g": 2.5}
    with jax.enable_x64(True):
        got = (
            model(table(h2o=log10_k), levels=97)(planet(**theta))
            - model(table(h2o=-60.0), levels=97)(planet(**theta))
        )[0, 0]
    # tau at the bottom is 1e-3: its second-order term is a quarter of that
    assert float(got) == pytest.approx(expected, rel=1e-3)


def test_molecules_overlap_at_random():
    # Each gas is opaque in half of the bin, as two independent coins: 3/4 is blocked by both.
    half = table(h2o=(NOTHING, 0.0), co2=(NOTHING, 0.0), g_weights=(0.5, 0.5))
    state = {"X_H2O": 1e-3, "X_CO2": 1e-3}
    none = model(table())(planet(**state))
    both = model(half)(planet(**state)) - none
    full = model(table(h2o=0.0))(planet(**state)) - none
    np.testing.assert_allclose(both, 0.75 * full, rtol=1e-5)


def test_rayleigh_agrees_with_refractivity():
    # sigma = 32 pi^3 (n - 1)^2 / (3 N^2 lambda^4), with n - 1 at 589.3 nm, 0 C, 1 atm from
    # Kaye & Laby: 1.39e-4 and 3.5e-5. Depolarisation (3%) and dispersion are within 6%.
    got = rayleigh_cross_sections(np.array([0.5893]))
    for gas, refractivity in {"H2": 1.39e-4, "He": 3.5e-5}.items():
        expected = 32 * np.pi**3 * refractivity**2 / (3 * 2.6868e19**2 * 5.893e-5**4)
        assert got[gas][0] == pytest.approx(expected, rel=0.06)


def test_channel_weights_conserve_and_are_exact_on_whole_bins():
    edges = np.geomspace(0.5, 5.5, 241)
    centre = (edges[1:] + edges[:-1]) / 2
    rng = np.random.default_rng(1)
    spectrum = rng.normal(size=240)
    cuts = np.sort(rng.uniform(0.5, 5.5, 30))  # channels that cut bins anywhere, and share some
    weights = channel_weights(cuts[:-1], cuts[1:], edges)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    one = channel_weights(cuts[:1], cuts[-1:], edges)
    total = np.diff(cuts) @ (weights @ spectrum)
    np.testing.assert_allclose(total, (cuts[-1] - cuts[0]) * (one @ spectrum)[0], rtol=1e-12)
    left, right = edges[:-1:3], edges[3::3]
    linear = channel_weights(left, right, edges) @ (2 + 3 * centre)
    np.testing.assert_allclose(linear, 2 + 3 * (left + right) / 2, rtol=1e-12)


def test_channels_are_averages_not_samples():
    # One opaque bin in four: a channel over all of them blocks a quarter of the light.
    opacities = table()
    opacities.log10_k["H2O"][:, :, 1] = 0.0
    wavelength = [1.125, 1.375, 1.625, 1.875, 1.5]
    got = model(opacities, wavelength=wavelength, width=[0.25] * 4 + [1.0])(planet())[0]
    np.testing.assert_allclose(got[4], np.mean(got[:4]), rtol=1e-6)
    assert got[1] > 1.1 * got[0]


def test_levels_have_converged(prism):
    rng = np.random.default_rng(2)
    n = 8
    theta = {
        "T": rng.uniform(700, 1500, n), "X_H2O": 10 ** rng.uniform(-5, -1, n),
        "X_CO2": 10 ** rng.uniform(-6, -2, n), "radius": rng.uniform(1.1, 1.3, n),
        "log_g": rng.uniform(2.5, 3.2, n), "log_P_cloud": rng.uniform(-4, 2, n),
    }  # fmt: skip
    fine = IsothermalTransmission(
        prism.wavelength, prism.bin_width, star_radius=STAR, cloud=True, levels=241
    )
    np.testing.assert_allclose(prism(theta), fine(theta), rtol=0, atol=3e-6)


def test_finite_everywhere_in_the_prior_and_float32_suffices(prism):
    theta = prior_draws(60, np.random.default_rng(3))

    def one(scalars):
        return prism({name: value[None] for name, value in scalars.items()})[0]

    depth = np.asarray(jax.jit(prism)(theta))
    jacobian = jax.jit(lambda t: jax.lax.map(jax.jacfwd(one), t))(theta)
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()
    assert (depth > 0).all()
    for name, derivative in jacobian.items():
        assert np.isfinite(derivative).all(), name
    gradient = jax.jit(lambda t: jax.lax.map(jax.grad(lambda s: one(s).sum()), t))(theta)
    for name, derivative in gradient.items():
        assert np.isfinite(derivative).all(), name
    with jax.enable_x64(True):
        exact = np.asarray(
            jax.jit(prism)({k: jnp.asarray(np.asarray(v), jnp.float64) for k, v in theta.items()})
        )
    assert exact.dtype == np.float64
    np.testing.assert_allclose(depth, exact, rtol=0, atol=1e-6)


def test_derivatives_equal_finite_differences(prism):
    base = {"T": 1100.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.25, "log_g": 2.6}
    base |= {"log_P_cloud": -1.7}
    states = (
        {},
        {"T": 2800.0, "radius": 0.7, "log_g": 2.0},  # unbound above 0.6 mbar
        {"T": 50.0, "radius": 0.7, "log_g": 4.0},  # under the table's coldest
    )

    @jax.jit
    def one(scalars):
        return prism({name: value[None] for name, value in scalars.items()})[0]

    with jax.enable_x64(True):
        derivative = jax.jit(jax.jacfwd(one))
        for state in states:
            theta = {name: jnp.asarray(value) for name, value in (base | state).items()}
            jacobian = derivative(theta)
            for name, value in theta.items():
                step = 1e-5 * abs(float(value))
                up, down = one(theta | {name: value + step}), one(theta | {name: value - step})
                slope = np.asarray(up - down) / (2 * step)
                # central differences: truncation 1e-10, rounding 1e-16 depth / step
                rounding = 1e-15 * float(np.max(one(theta))) / step
                atol = 1e-6 * np.abs(slope).max() + rounding
                np.testing.assert_allclose(
                    jacobian[name], slope, rtol=1e-6, atol=atol, err_msg=f"{name} {state}"
                )


def test_unbound_atmosphere_stays_within_five_radii(prism):
    theta = planet(T=3000.0, X_H2O=0.1, X_CO2=0.1, radius=0.1, log_g=2.0, log_P_cloud=-6.0)
    depth = np.asarray(prism(theta))
    assert (depth < (5 * 0.1 * R_JUP / (STAR * R_SUN)) ** 2).all()


def test_batch_equals_single(prism):
    theta = prior_draws(5, np.random.default_rng(4))
    together = np.asarray(prism(theta))
    for i in (0, 3, 40):
        alone = prism({name: value[i : i + 1] for name, value in theta.items()})
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-6)


def test_for_observation_and_fingerprint():
    observation = types.SimpleNamespace(
        wavelength=np.array([1.2, 1.6]), bin_width=np.array([0.1, 0.2])
    )
    make = IsothermalTransmission.for_observation
    options = {"star_radius": STAR, "opacities": table(h2o=-20.0)}
    one = make(observation, **options)
    assert one(planet()).shape == (1, 2)
    assert one.parameters == ("T", "X_H2O", "X_CO2", "radius", "log_g")
    others = [
        make(observation, **options | change)
        for change in (
            {"star_radius": 1.0}, {"cloud": True}, {"levels": 50}, {"rayleigh": False},
            {"opacities": table(h2o=-21.0)}, {"reference_pressure": 1.0},
        )
    ]  # fmt: skip
    prints = [one.fingerprint()] + [other.fingerprint() for other in others]
    assert len(set(prints)) == len(prints)
    assert one.fingerprint() == make(observation, **options).fingerprint()
    with pytest.raises(InvalidInput, match="bin_width"):
        make(types.SimpleNamespace(wavelength=np.array([1.2]), bin_width=None), **options)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"wavelength": (0.9,)}, r"wavelength = array\(\[0.9\]\).*1 to 2 um"),
        ({"width": (0.0,)}, "width above 0"),
        ({"wavelength": (np.nan,)}, "must be finite"),
        ({"wavelength": (1.2, 1.5)}, r"\(channels,\)"),
        ({"star_radius": 0.0}, "star_radius = 0.0: star_radius must be above 0"),
        ({"levels": 3}, "levels"),
        ({"pressure_range": (100.0, 1e-6)}, "pressure_range"),
        ({"reference_pressure": 1000.0}, "reference_pressure"),
    ],
)
def test_bad_settings_are_refused(change, match):
    with pytest.raises(InvalidInput, match=match):
        model(table(), **change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"X_CH4": 1e-4}, r"Unknown: \['X_CH4'\]"),
        ({"log_P_cloud": 0.0}, "cloud=True"),
        ({"T": [1000.0, 1100.0]}, "all of one length"),
    ],
)
def test_bad_parameters_are_refused(change, match):
    with pytest.raises(InvalidInput, match=match):
        model(table())(planet(**change))
    with pytest.raises(InvalidInput, match=r"missing: \['T'\]"):
        model(table())({k: v for k, v in planet().items() if k != "T"})


def test_missing_or_foreign_opacity_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="must be a file"):
        read_opacities(tmp_path / "none.npz")
    np.savez(tmp_path / "foreign.npz", wavelength_edges=np.arange(3.0))
    with pytest.raises(InvalidInput, match="lacks an array"):
        read_opacities(tmp_path / "foreign.npz")
