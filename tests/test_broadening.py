"""Broadening, shifts and binning of model spectra, against integrals done another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from floppity_jax.channels import edges_of
from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.binning import binning
from floppity_jax.instrument.broadening import Resolution, Rotation
from floppity_jax.instrument.shift import RadialVelocity, WavelengthShift

C = 299792.458  # [km/s]
FWHM = 2.3548200450309493
SIGMA = 0.004  # of the Gaussian kernel, in units of the wavelength
R = 1 / (FWHM * SIGMA)


def log_grid(step, half=0.15):
    """A grid even in the logarithm of the wavelength, about 1 um."""
    return np.exp(np.arange(-half, half, step))


GRIDS = {  # with spacings up to ``step`` at 1 um
    "logarithm": log_grid,
    "wavelength": lambda step: np.arange(0.86, 1.16, step),
    "wavenumber": lambda step: 1 / np.arange(1.16, 0.86, -step),
    "scattered": lambda step: np.exp(
        np.cumsum(np.random.default_rng(0).uniform(0.9, 1.1, int(0.3 / step)) * step) - 0.15
    ),
    "doubling": lambda step: np.exp(np.r_[np.arange(-0.15, 0, step), np.arange(0, 0.15, step / 2)]),
}


def line(wavelength, centre, sigma):
    """A Gaussian absorption line; sigma in um."""
    return 1 - np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)


def apply(broadener, wavelength, spectrum, bounds=None, **values):
    step = broadener.prepare(wavelength, bounds or {})
    return step(np, np.atleast_2d(spectrum), {k: np.atleast_1d(v) for k, v in values.items()})


# Instrument


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("width", [0.7, 1.0, 3.0])  # of the line, in those of the kernel
def test_a_gaussian_line_widens_in_quadrature(name, width):
    fine = {"doubling": 6, "scattered": 4}.get(name, 2)  # points for each standard deviation
    wavelength, sigma = GRIDS[name](SIGMA / fine), width * SIGMA
    centres = 1 + SIGMA * np.linspace(-2.3, 2.1, 9)[:, None]
    seen = apply(Resolution(R), wavelength, line(wavelength, centres, sigma))
    # the kernel of a point is as wide as its own wavelength demands
    total = np.hypot(sigma, SIGMA * wavelength)
    exact = 1 - sigma / total * np.exp(-0.5 * ((wavelength - centres) / total) ** 2)
    inside = np.abs(wavelength - 1) < 0.1
    assert np.abs(seen - exact)[:, inside].max() < 1e-3


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_is_accepted_where_the_error_is_below_a_thousandth(name):
    """The check before use foresees the error of a line as narrow as the kernel."""
    for points in (0.7, 0.95, 1.5, 2.5, 4, 6):
        wavelength = GRIDS[name](SIGMA / points)
        try:
            step = Resolution(R).prepare(wavelength, {})
        except InvalidInput:
            continue
        assert points > 0.9
        centres = 1 + SIGMA * np.linspace(-2, 2, 17)[:, None]
        seen = step(np, line(wavelength, centres, SIGMA), {})
        total = np.hypot(SIGMA, SIGMA * wavelength)
        exact = 1 - SIGMA / total * np.exp(-0.5 * ((wavelength - centres) / total) ** 2)
        inside = np.abs(wavelength - 1) < 0.1
        assert np.abs(seen - exact)[:, inside].max() < 1.1e-3
        return
    raise AssertionError("no grid was accepted")


def test_a_table_gives_each_point_its_own_kernel():
    wavelength = log_grid(SIGMA / 4)
    table = ([0.9, 1.0, 1.1], [0.6 * R, R, 0.5 * R])

    def spectrum(x):
        return 1 + 0.3 * np.sin(x / 0.009) / (1 + ((x - 1) / 0.03) ** 2)

    seen = apply(Resolution(table=table), wavelength, spectrum(wavelength))[0]
    for point in np.searchsorted(wavelength, [0.88, 0.93, 0.99, 1.0, 1.04, 1.12]):
        at = wavelength[point]
        sigma = at / (FWHM * np.interp(at, *table))
        exact, _ = quad(
            lambda t: spectrum(at + sigma * t) * np.exp(-t * t / 2) / np.sqrt(2 * np.pi),  # noqa: B023
            -8, 8, limit=200,
        )  # fmt: skip
        assert seen[point] == pytest.approx(exact, abs=3e-4)
    flat = apply(Resolution(table=([0.5, 2.0], [R, R])), wavelength, spectrum(wavelength))
    np.testing.assert_allclose(
        flat, apply(Resolution(R), wavelength, spectrum(wavelength)), rtol=1e-12
    )


# Rotation


def disc(spectrum, wavelength, vsini, epsilon):
    """Sum over the visible disc, in rings of mu and azimuths, each shifted by its own speed."""
    mu, ring = np.polynomial.legendre.leggauss(60)
    mu, ring = (mu + 1) / 2, ring / 2
    azimuth = (np.arange(200) + 0.5) * 2 * np.pi / 200
    weight = np.repeat(mu * ring * (1 - epsilon + epsilon * mu), azimuth.size)
    across = np.outer(np.sqrt(1 - mu**2), np.cos(azimuth)).ravel()
    shifted = spectrum(wavelength * (1 - across[:, None] * vsini / C))
    return weight @ shifted / weight.sum()


@pytest.mark.parametrize("epsilon", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("cells", [0.0, 0.4, 1.0, 2.3, 7.0, 20.0])  # half width of the profile
def test_rotation_is_the_mean_over_the_disc(epsilon, cells):
    step = 1e-3
    wavelength = log_grid(step)
    inside = np.abs(wavelength - 1) < 0.05
    rotation = Rotation("v", epsilon)
    for centre in (1.0, 1.0004):
        spectrum = lambda x: line(x, centre, 2 * step)  # noqa: B023, E731
        seen = apply(
            rotation, wavelength, spectrum(wavelength), {"v": (0.0, 20 * step * C)},
            v=cells * step * C,
        )[0]  # fmt: skip
        exact = disc(spectrum, wavelength[inside], cells * step * C, epsilon)
        assert np.abs(seen[inside] - exact).max() < (1e-12 if cells == 0 else 1.5e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_a_narrow_line_takes_the_profile_of_gray(name):
    """On uneven grids too; the profile is integrated anew with the line."""
    width, epsilon, sigma = 0.01, 0.6, 0.0015
    wavelength = GRIDS[name](sigma / 3)
    seen = apply(Rotation(width * C, epsilon), wavelength, line(wavelength, 1.001, sigma))[0]

    def profile(x):
        darkened = 2 * (1 - epsilon) / np.pi * np.sqrt(1 - x * x) + epsilon / 2 * (1 - x * x)
        return darkened / (1 - epsilon / 3)

    assert quad(profile, -1, 1)[0] == pytest.approx(1)
    for point in np.searchsorted(wavelength, [0.988, 0.993, 0.998, 1.001, 1.006, 1.0115]):
        at = wavelength[point]
        exact, _ = quad(
            lambda x: profile(x) * line(at + at * width * x, 1.001, sigma),  # noqa: B023
            -1, 1, limit=200, epsabs=1e-7,
        )  # fmt: skip
        assert seen[point] == pytest.approx(exact, abs=1.5e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_rotation_leaves_a_slope_and_widens_a_parabola(name):
    """The mean and the variance of the profile are kept, wherever its edges fall among cells."""
    step, width = 1e-3, np.array([0.3, 0.8, 1.7, 3.1])[:, None] * 1e-3
    wavelength = GRIDS[name](step)
    inside = np.abs(wavelength - 1) < 5 * step
    bounds, speeds = {"v": (0, 4 * step * C)}, C * width[:, 0]
    for power, widened in ((1, 0.0), (2, (width * wavelength) ** 2 / 4)):
        spectrum = np.repeat((wavelength[None] - 1) ** power / step**power, 4, axis=0)
        seen = apply(Rotation("v", 0.0), wavelength, spectrum, bounds, v=speeds)
        error = np.abs(seen - spectrum - widened / step**power)[:, inside].max()
        assert error < (2e-3 if power == 1 else 1e-2)  # 0.03 and 0.1 without the differences


def test_slow_rotation_fades_as_its_square():
    step, speeds = 1e-3, np.array([0.0, 1e-6, 0.05, 0.2, 0.49, 0.51, 0.8, 1.3, 3.0]) * 1e-3 * C
    wavelength = np.arange(0.9, 1.1, step)
    spectrum = np.repeat(1 - line(wavelength, 1.0, 3 * step)[None], speeds.size, axis=0)
    seen = apply(Rotation("v", 0.0), wavelength, spectrum, {"v": (0, 3 * step * C)}, v=speeds)
    np.testing.assert_array_equal(seen[0], spectrum[0])
    variance = (seen * (wavelength - 1) ** 2).sum(1) / seen.sum(1)
    added = variance - variance[0]
    # a uniform disc: a quarter of the square; the kernel grows with the wavelength, to 1e-4
    np.testing.assert_allclose(added[2:], (speeds[2:] / C) ** 2 / 4, rtol=2e-3)
    assert np.abs(seen[1] - seen[0]).max() < 1e-12


# Flux, ends


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("broadener", [Resolution(R), Rotation(0.01 * C)])
def test_flux_is_conserved_and_flat_stays_flat(name, broadener):
    wavelength = GRIDS[name](SIGMA / 6)
    spectra = np.stack([np.ones_like(wavelength), 1 - line(wavelength, 1.0, SIGMA)])
    seen = apply(broadener, wavelength, spectra)
    np.testing.assert_allclose(seen[0], 1, rtol=1e-12)
    cells = np.diff(edges_of(wavelength))
    assert seen[1] @ cells == pytest.approx(spectra[1] @ cells, rel=3e-4)


@pytest.mark.parametrize(
    "broadener",
    [Resolution(R), Rotation(0.01 * C), RadialVelocity(300.0), WavelengthShift(-0.01)],
    ids=lambda b: type(b).__name__,
)
def test_the_ends_are_felt_no_further_than_the_reach(broadener):
    wavelength = log_grid(1e-3)
    short = wavelength[60:-60]
    spectrum = 1 + 0.3 * np.sin(wavelength / 0.02)
    whole = apply(broadener, wavelength, spectrum)[0, 60:-60]
    cut = apply(broadener, short, spectrum[60:-60])[0]
    reach = broadener.reach(short, {}) + 3e-3  # the polynomial through six points is one-sided
    inside = (short > short[0] * (1 + reach)) & (short < short[-1] * (1 - reach))
    assert inside.sum() > 50
    np.testing.assert_allclose(cut[inside], whole[inside], atol=5e-5)
    assert np.abs(cut - whole).max() > 1e-3


# Shifts


@pytest.mark.parametrize("name", GRIDS)
def test_shifts_carry_a_line_along(name):
    sigma = 0.002
    wavelength = GRIDS[name](sigma / 2)
    spectrum = line(wavelength, 1.0, sigma)
    inside = np.abs(wavelength - 1) < 0.1
    for velocity in (-3000.0, -12.3, 0.0, 150.0, 3000.0):
        seen = apply(RadialVelocity(velocity), wavelength, spectrum)[0]
        factor = np.sqrt((1 + velocity / C) / (1 - velocity / C))  # recession reddens
        exact = line(wavelength, factor, factor * sigma)
        assert np.abs(seen - exact)[inside].max() < (1e-12 if velocity == 0 else 1.5e-3)
    for shift in (-0.0123, 0.0, 3e-4, 0.0077):
        seen = apply(WavelengthShift(shift), wavelength, spectrum)[0]
        exact = line(wavelength, 1 + shift, sigma)
        assert np.abs(seen - exact)[inside].max() < (1e-12 if shift == 0 else 1.5e-3)


def test_a_source_that_recedes_is_redder():
    wavelength = log_grid(1e-3)
    spectrum = line(wavelength, 1.0, 0.003)
    assert wavelength[np.argmin(apply(RadialVelocity(3000.0), wavelength, spectrum))] > 1.008
    assert wavelength[np.argmin(apply(WavelengthShift(0.01), wavelength, spectrum))] > 1.008


# NumPy and JAX, constants and parameters

RETRIEVED = {
    "R": (Resolution("R"), {"R": (0.3 * R, R)}, lambda v: Resolution(v["R"])),
    "v": (Rotation("v"), {"v": (0.0, 3000.0)}, lambda v: Rotation(v["v"])),
    "v, e": (
        Rotation("v", "e"),
        {"v": (0.0, 3000.0), "e": (0.0, 1.0)},
        lambda v: Rotation(v["v"], v["e"]),
    ),
    "e": (Rotation(900.0, "e"), {"e": (0.0, 1.0)}, lambda v: Rotation(900.0, v["e"])),
    "rv": (RadialVelocity("rv"), {"rv": (-400, 400)}, lambda v: RadialVelocity(v["rv"])),
    "shift": (WavelengthShift("d"), {"d": (-0.01, 0.01)}, lambda v: WavelengthShift(v["d"])),
}  # fmt: skip


@pytest.mark.parametrize("case", RETRIEVED)
def test_each_row_takes_its_own_values(case):
    broadener, bounds, constant = RETRIEVED[case]
    assert broadener.names == tuple(bounds)
    rng = np.random.default_rng(1)
    wavelength = GRIDS["scattered"](SIGMA / 4)
    spectra = 1 + 0.1 * rng.standard_normal((4, wavelength.size))
    # the ends of the ranges among them; a speed of 0 is tested elsewhere, and as a constant of
    # one that the grid does not resolve is refused
    draws = {
        k: np.array([b, 0.4 * a + 0.6 * b, 0.2 * a + 0.8 * b, b]) for k, (a, b) in bounds.items()
    }
    together = apply(broadener, wavelength, spectra, bounds, **draws)
    for row in range(4):
        values = {k: float(v[row]) for k, v in draws.items()}
        alone = apply(constant(values), wavelength, spectra[row])
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4 if case == "R" else 1e-12)


@pytest.mark.parametrize("case", [*RETRIEVED, "constant", "table"])
def test_numpy_and_compiled_float32_agree(case):
    others = {"constant": Resolution(R), "table": Resolution(table=([0.9, 1.1], [R, 0.5 * R]))}
    broadener, bounds, _ = RETRIEVED[case] if case in RETRIEVED else (others[case], {}, None)
    rng = np.random.default_rng(2)
    wavelength = 4 * GRIDS["scattered"](SIGMA / 4)
    wavelength = wavelength if case != "table" else wavelength / 4
    spectra = 1 + 0.1 * rng.standard_normal((5, wavelength.size))
    draws = {k: np.r_[rng.uniform(*b, 3), b] for k, b in bounds.items()}
    step = broadener.prepare(wavelength, bounds)
    host = step(np, spectra, draws)
    single = {k: jnp.asarray(v, jnp.float32) for k, v in draws.items()}
    device = jax.jit(lambda s, v: step(jnp, s, v))(jnp.asarray(spectra, jnp.float32), single)
    assert host.dtype == np.float64
    assert device.dtype == jnp.float32
    assert host.shape == device.shape == spectra.shape
    # white noise of 0.1 changes by about as much over a cell of 1e-3: rounding of the wavelength
    # and of the values, 1e-7 of either, is 1e-5 in the spectrum
    np.testing.assert_allclose(device, host, atol=2e-5)


@pytest.mark.parametrize("broadener", [Resolution(2e4), Rotation(30.0), RadialVelocity(11.0)])
def test_float32_holds_cells_of_a_hundred_thousandth(broadener):
    """A cell is then 80 roundings of its wavelength, and distances need more digits."""
    wavelength = 2.2 * log_grid(1e-5, half=0.003)
    spectrum = line(wavelength, 2.2, 1e-4)[None]
    step = broadener.prepare(wavelength, {})
    single = step(jnp, jnp.asarray(spectrum, jnp.float32), {})
    np.testing.assert_allclose(single, step(np, spectrum, {}), atol=1e-5)


# Channels


def test_channel_means_are_integrals_over_cells():
    rng = np.random.default_rng(3)
    wavelength = GRIDS["scattered"](1e-3)
    edges = edges_of(wavelength)
    spectra = rng.uniform(size=(3, wavelength.size))
    left = np.array([0.9, 0.95, 0.952, 1.1, edges[40]])
    right = np.array([0.95, 0.955, 1.02, 1.13, edges[43]])
    step = binning(wavelength, left, right)
    running = np.concatenate(
        [np.zeros((3, 1)), np.cumsum(spectra * np.diff(edges), axis=1)], axis=1
    )
    up_to = lambda at: np.stack([np.interp(at, edges, row) for row in running])  # noqa: E731
    np.testing.assert_allclose(
        step(np, spectra), (up_to(right) - up_to(left)) / (right - left), rtol=1e-10
    )
    device = jax.jit(lambda s: step(jnp, s))(jnp.asarray(spectra, jnp.float32))
    np.testing.assert_allclose(device, step(np, spectra), atol=1e-6)


def test_channels_that_tile_the_grid_conserve_its_flux():
    wavelength = GRIDS["doubling"](1e-3)
    edges = edges_of(wavelength)
    spectrum = np.random.default_rng(4).uniform(size=(1, wavelength.size))
    channels = np.linspace(edges[0], edges[-1], 30)
    means = binning(wavelength, channels[:-1], channels[1:])(np, spectrum)
    assert (means @ np.diff(channels))[0] == pytest.approx((spectrum @ np.diff(edges))[0])
    same = binning(wavelength, edges[:-1], edges[1:])(np, spectrum)
    np.testing.assert_allclose(same, spectrum, rtol=1e-9)


# What is refused

FINE = log_grid(1e-3)
REFUSED = {
    "no R": (lambda: Resolution(), "Resolution.R"),
    "R and table": (lambda: Resolution(R, table=([1.0], [R])), "Resolution.R"),
    "R of 0": (lambda: Resolution(0.0).prepare(FINE, {}), "Resolution.R"),
    "R is None-like": (lambda: Resolution([R]).prepare(FINE, {}), "Resolution.R"),
    "R may be negative": (lambda: Resolution("R").prepare(FINE, {"R": (-1, R)}), "Resolution.R"),
    "R unknown": (lambda: Resolution("R").prepare(FINE, {"S": (1, 2)}), "Resolution.R"),
    "R without end": (lambda: Resolution("R").prepare(FINE, {"R": (10, np.inf)}), "Resolution.R"),
    "R too high": (lambda: Resolution(500.0).prepare(FINE, {}), "Resolution.R"),
    "R may be too high": (lambda: Resolution("R").prepare(FINE, {"R": (50, 500)}), "Resolution.R"),
    "R too low": (lambda: Resolution(2.0).prepare(FINE, {}), "Resolution: wavelength"),
    "table too high": (
        lambda: Resolution(table=([0.9, 1.1], [50, 2000])).prepare(FINE, {}), "Resolution.table"
    ),
    "table disordered": (lambda: Resolution(table=([1.1, 0.9], [R, R])), "Resolution.table"),
    "table of 0": (lambda: Resolution(table=([0.9, 1.1], [R, 0])), "Resolution.table"),
    "table of text": (lambda: Resolution(table=("a", "b")), "Resolution.table"),
    "speed below 0": (lambda: Rotation(-1.0).prepare(FINE, {}), "Rotation.vsini"),
    "all speeds too slow": (lambda: Rotation("v").prepare(FINE, {"v": (0, 500)}), "Rotation.vsini"),
    "darkening": (lambda: Rotation(900.0, 1.1).prepare(FINE, {}), "Rotation.limb_darkening"),
    "faster than the grid is long": (
        lambda: Rotation(0.4 * C).prepare(FINE, {}), "Rotation: wavelength"
    ),
    "light": (lambda: RadialVelocity(C).prepare(FINE, {}), "RadialVelocity.velocity"),
    "velocity off the grid": (
        lambda: RadialVelocity("v").prepare(FINE, {"v": (-0.3 * C, 0)}),
        "RadialVelocity: wavelength",
    ),
    "shift off the grid": (
        lambda: WavelengthShift(0.4).prepare(FINE, {}), "WavelengthShift: wavelength"
    ),
    "shift of NaN": (lambda: WavelengthShift(np.nan).prepare(FINE, {}), "WavelengthShift.shift"),
    "grid that falls": (lambda: Rotation(900.0).prepare(FINE[::-1], {}), "Rotation: wavelength"),
    "grid of 5": (lambda: WavelengthShift(0.0).prepare(FINE[:5], {}), "WavelengthShift: wavelen"),
    "grid of NaN": (lambda: Rotation(900.0).prepare(FINE * np.nan, {}), "Rotation: wavelength"),
    "channel off the grid": (lambda: binning(FINE, [0.9, 1.1], [1.0, 1.2]), "channel 1"),
    "channel in a cell": (lambda: binning(FINE, [0.9, 1.0], [1.0, 1.0005]), "channel 1"),
    "channel backwards": (lambda: binning(FINE, [1.0], [0.9]), "left, right"),
    "channels without edges": (lambda: binning(FINE, [], []), "left, right"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused(case):
    attempt, named = REFUSED[case]
    with pytest.raises(InvalidInput) as error:
        attempt()
    assert error.value.argument.startswith(named)


def test_nothing_is_asked_of_a_grid_where_nothing_turns():
    spectrum = np.random.default_rng(5).uniform(size=(2, FINE.size))
    np.testing.assert_array_equal(apply(Rotation(0.0), FINE, spectrum), spectrum)
