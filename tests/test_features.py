"""Whitening and projection: exact algebra, and the statistics of noise."""

import numpy as np
import pytest

from floppity_jax.features import fit_features, misfit, observed_input, project
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
    np.testing.assert_allclose(features.error[:-1], spectra.std(axis=0), rtol=1e-12)
    inputs = project(features, constant) * features.scale
    np.testing.assert_allclose(inputs.var(axis=0)[:5], 1, rtol=1e-4)
    assert np.isfinite(inputs).all()
