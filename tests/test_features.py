"""Whitening and projection: exact algebra, and the statistics of noise."""

import numpy as np
import pytest

from floppity_jax import quantiles
from floppity_jax.features import (
    fit_features,
    misfit,
    observed_input,
    principal_components,
    project,
    whole_spectra,
)
from floppity_jax.observation import Observation

N, CHANNELS, COMPONENTS = 400, 60, 8


@pytest.fixture(scope="module")
def spectra():
    """Smooth spectra of five parameters, in tiny units (W/m2/um of a faint object)."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.1, 1, CHANNELS)
    shapes = np.stack([np.sin((k + 1) * 3 * x) for k in range(5)])
    return 1e-16 * (10 + 3 * rng.normal(size=(N, 5)) @ shapes)


@pytest.fixture(scope="module")
def observation(spectra):
    errors = np.linspace(0.1, 1.0, CHANNELS) * 1e-16
    noise = errors * np.random.default_rng(1).normal(size=CHANNELS)
    return Observation(spectra[0] + noise, errors)


def test_basis_is_orthonormal(spectra, observation):
    basis = fit_features(spectra, observation, COMPONENTS).basis
    assert basis.shape == (CHANNELS, COMPONENTS)
    np.testing.assert_allclose(basis.T @ basis, np.eye(COMPONENTS), atol=1e-12)


def test_components_are_the_leading_ones(spectra, observation):
    """No five directions carry more variance than those of the singular value decomposition."""
    features = fit_features(spectra, observation, COMPONENTS)
    components = project(features, spectra)
    whitened = (spectra - spectra.mean(axis=0)) / observation.errors
    expected = np.linalg.svd(whitened, compute_uv=False)[:5] ** 2 / N
    np.testing.assert_allclose(components.var(axis=0)[:5], expected, rtol=1e-4)  # float32


def test_every_component_loses_nothing(spectra, observation):
    features = fit_features(spectra, observation, CHANNELS)
    whitened = project(features, spectra) @ features.basis.T + features.mean
    restored = whitened * features.error + features.reference
    # float32 on whitened values of up to about 1000
    np.testing.assert_allclose(restored, spectra, atol=1000 * 1e-6 * observation.errors.max())


def test_never_more_components_than_channels(spectra, observation):
    assert fit_features(spectra, observation, 1000).scale.shape == (CHANNELS,)


def test_whitened_noise_has_unit_variance_on_every_component(spectra, observation):
    features = fit_features(spectra, observation, COMPONENTS)
    n = 4000
    noise = observation.errors * np.random.default_rng(2).normal(size=(n, CHANNELS))
    components = project(features, spectra[0] + noise) - project(features, spectra[:1])
    covariance = np.cov(components.T)
    # Elements of a sample covariance of unit normals scatter by at most sqrt(2 / n).
    np.testing.assert_allclose(covariance, np.eye(COMPONENTS), atol=5 * np.sqrt(2 / n))
    assert features.noise == 1


def test_network_inputs_have_unit_variance(spectra, observation):
    """Signal and noise together; components without signal are switched off."""
    features = fit_features(spectra, observation, COMPONENTS)
    inputs = project(features, spectra) * features.scale
    noise_share = (features.noise * features.scale) ** 2
    np.testing.assert_allclose(inputs.var(axis=0)[:5] + noise_share[:5], 1, rtol=1e-4)
    assert features.scale[5:].tolist() == [0, 0, 0]  # five parameters, linearly


def test_what_the_projection_leaves_out_is_told(spectra, observation):
    for keep in (1, 2, COMPONENTS, CHANNELS):
        features = fit_features(spectra, observation, keep)
        whitened = (spectra - observation.values) / observation.errors - features.mean
        used = features.basis * (features.scale > 0)
        left = whitened - (whitened @ used) @ used.T
        expected = np.sqrt((left**2).mean())
        # A difference of sums of squares: to the root of float64's rounding of the whole.
        rounding = np.sqrt(1e-15 * (whitened**2).mean())
        assert features.reconstruction_error == pytest.approx(expected, rel=1e-6, abs=rounding)


def test_observed_input_is_the_projected_observation(spectra, observation):
    features = fit_features(spectra, observation, COMPONENTS)
    expected = project(features, observation.values[None])[0] * features.scale
    np.testing.assert_allclose(observed_input(features, observation), expected, rtol=1e-6)


def test_misfit_is_exactly_one_where_the_model_is_right():
    rng = np.random.default_rng(0)
    variance = np.geomspace(1e6, 1e-6, 100)
    for _ in range(50):
        assert misfit(rng.normal(size=100) * np.sqrt(variance + 1), variance) == 1.0


@pytest.mark.parametrize("s", [3.0, 30.0, 1e3])
def test_misfit_finds_how_much_larger_the_residuals_are(s):
    rng = np.random.default_rng(0)
    variance = np.geomspace(1e4, 1e-8, 200)
    distance = rng.normal(size=200) * np.sqrt(variance + s**2)
    found = misfit(distance, variance)
    assert np.mean(distance**2 / (variance + found**2)) == pytest.approx(1, rel=1e-9)
    # mean(chi^2) of 200 has a deviation of sqrt(2 / 200), and s goes as at least its root:
    # 2 d ln s * mean(s^2 / (variance + s^2)) = d ln mean(chi^2).
    error = np.sqrt(2 / 200) / (2 * np.mean(s**2 / (variance + s**2)))
    assert np.log(found / s) == pytest.approx(0, abs=4 * error)


def test_misfit_without_any_signal():
    """Simulations that are all alike: the factor is the rms residual, to rounding."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        distance = 20 * rng.normal(size=50)
        found = misfit(distance, np.zeros(50))
        assert found == pytest.approx(np.sqrt(np.mean(distance**2)), rel=1e-5)


def test_an_observation_off_every_model_inflates_the_noise(spectra, observation):
    rng = np.random.default_rng(3)
    off = Observation(
        spectra[0] + 20 * observation.errors * rng.normal(size=CHANNELS), observation.errors
    )
    # 55 of 60 components have no signal and give s to 1 / sqrt(2 x 55), 10%.
    assert fit_features(spectra, off, COMPONENTS).noise == pytest.approx(20, rel=0.4)


def test_a_stochastic_simulator_gets_no_noise(spectra):
    constant = np.concatenate([spectra, np.full((N, 1), 3e-16)], axis=1)
    features = fit_features(constant, Observation(constant[0]), COMPONENTS)
    assert features.noise == 0
    assert features.error[-1] == 1  # a channel that does not vary is not divided by zero
    np.testing.assert_allclose(features.error[:-1], 1, rtol=0.01)  # each channel was made normal
    inputs = project(features, constant) * features.scale
    np.testing.assert_allclose(inputs.var(axis=0)[:5], 1, rtol=1e-4)
    assert np.isfinite(inputs).all()


def test_a_spectrum_with_errors_is_not_made_normal(spectra, observation):
    features = fit_features(spectra, observation, COMPONENTS)
    assert features.knots.size == features.quantiles.size == 0
    np.testing.assert_array_equal(features.reference, observation.values)


def test_channels_of_a_stochastic_simulator_are_made_normal():
    """Populations from 0 to 1e6, half of the second extinct: monotone, and of unit spread."""
    rng = np.random.default_rng(0)
    n = 2000
    heavy = rng.lognormal(0, 4, size=n)
    often_zero = np.where(rng.random(n) < 0.5, 0, np.round(rng.lognormal(3, 2, size=n)))
    spectra = np.stack([heavy, often_zero, np.full(n, 7.0)], axis=1)
    features = fit_features(spectra, Observation(spectra[0]), 3)
    made = quantiles.to_normal(features.knots, features.quantiles, spectra)
    # 101 knots between -3.5 and 3.5: linear interpolation between them keeps the moments.
    assert made[:, 0].std() == pytest.approx(1, abs=0.02)
    assert made[:, 0].mean() == pytest.approx(0, abs=0.02)
    assert np.abs(made).max() < 4
    inputs = project(features, spectra) * features.scale
    np.testing.assert_allclose(inputs.std(axis=0)[:2], 1, rtol=1e-4)
    assert np.isfinite(inputs).all()

    # Strictly monotone; beyond the simulations it goes on without a jump, and not for ever.
    line = np.sort(np.concatenate([heavy, -heavy, [0.0, 1e7, 1e8, 1e30]]))
    made = quantiles.to_normal(features.knots, features.quantiles, np.stack([line] * 3, axis=1))
    assert np.all(np.diff(made[:, :2], axis=0) >= 0)
    assert np.all(np.diff(made[np.isin(line, heavy), 0]) > 0)
    assert np.nanmax(features.quantiles) + quantiles.BEYOND == pytest.approx(made[-1, :2].max())
    assert np.all(made[:, 2] == 0)


def test_the_map_to_normal_is_the_identity_on_normal_channels():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(20000, 1))
    knots, normals = quantiles.fit_quantiles(normal)
    grid = np.linspace(-2, 2, 50)[:, None]
    # Of 20,000, the quantile at +-2 scatters by sqrt(0.023 / 20000) / 0.054 = 0.02.
    np.testing.assert_allclose(quantiles.to_normal(knots, normals, grid), grid, atol=0.08)


def test_either_gram_matrix_gives_the_same_projection(spectra, observation):
    """As many simulations as channels less one, or twice as many that are the same again."""
    few = spectra[: CHANNELS - 1]
    small = fit_features(few, observation, COMPONENTS)
    large = fit_features(np.concatenate([few, few]), observation, COMPONENTS)
    assert small.noise == pytest.approx(large.noise)
    np.testing.assert_allclose(small.scale, large.scale, rtol=1e-6)
    np.testing.assert_allclose(project(small, few)[:, :5], project(large, few)[:, :5], rtol=1e-4)


def test_the_misfit_is_the_same_with_either_gram_matrix(spectra, observation):
    off = Observation(
        spectra[0] + 20 * observation.errors * np.random.default_rng(3).normal(size=CHANNELS),
        observation.errors,
    )
    few = spectra[:40]
    small = fit_features(few, off, COMPONENTS).noise
    large = fit_features(np.concatenate([few, few]), off, COMPONENTS).noise
    assert small == pytest.approx(large, rel=1e-6)
    assert small > 10


def test_fewer_simulations_than_components(spectra, observation):
    features = fit_features(spectra[:4], observation, COMPONENTS)
    assert features.basis.shape == (CHANNELS, COMPONENTS)
    assert np.all(features.scale[:3] > 0)
    assert np.all(features.scale[3:] == 0)


def test_many_channels_take_a_part_of_the_simulations():
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(2, 1200))
    variance, basis = principal_components(rng.normal(size=(3000, 2)) * [10, 1] @ shapes)
    assert basis.shape == (1200, 2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(basis @ (basis.T @ shapes.T), shapes.T, atol=1e-6)


def test_whole_spectra_hold_the_projection(spectra, observation):
    """Channels and noise of unit variance, from which the kernel makes the components."""
    projected = fit_features(spectra, observation, COMPONENTS)
    whole, kernel = whole_spectra(projected, spectra)
    inputs = project(whole, spectra) * whole.scale
    np.testing.assert_allclose(inputs.var(axis=0) + whole.scale**2, 1, rtol=1e-4)
    expected = project(projected, spectra) * projected.scale
    np.testing.assert_allclose(inputs @ kernel, expected, atol=1e-4)
    # Independent noise, of unit variance before scaling, on the channels as on the components
    np.testing.assert_allclose(
        np.sum((kernel * whole.scale[:, None]) ** 2, axis=0), projected.scale**2, rtol=1e-9
    )


def test_whole_spectra_of_a_stochastic_simulator(spectra):
    constant = np.concatenate([spectra, np.full((N, 1), 3e-16)], axis=1)
    projected = fit_features(constant, Observation(constant[0]), COMPONENTS)
    whole, kernel = whole_spectra(projected, constant)
    assert whole.scale[-1] == 0
    assert np.all(kernel[-1] == 0)
    inputs = project(whole, constant) * whole.scale
    np.testing.assert_allclose(inputs.var(axis=0)[:-1], 1, rtol=1e-4)
