"""The rational-quadratic spline against distrax, against autodiff, and against itself."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from floppity_jax.flows import spline

BOUND = 5.0


def _inputs(bins, n=400):
    key_x, key_p = jax.random.split(jax.random.key(bins))
    x = 3.0 * jax.random.normal(key_x, (n,))  # one in ten beyond the bound
    return x, jax.random.normal(key_p, (spline.n_parameters(bins), n))


@pytest.mark.parametrize("bins", [2, 4, 10])
def test_equals_distrax(bins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # distrax warns through tfp-nightly
        import distrax
    x, parameters = _inputs(bins)
    ends = jnp.zeros((1, x.size))
    full = jnp.concatenate([parameters[: 2 * bins], ends, parameters[2 * bins :], ends]).T
    oracle = distrax.RationalQuadraticSpline(
        full,
        -BOUND,
        BOUND,
        boundary_slopes="identity",
        min_bin_size=2 * BOUND * spline.MIN_BIN,  # absolute there, relative here
        min_knot_slope=spline.MIN_SLOPE,
    )
    expected, expected_log_slope = oracle.forward_and_log_det(x)
    y, log_slope = spline.forward(x, parameters, BOUND)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(log_slope, expected_log_slope, atol=1e-4)


@pytest.mark.parametrize("bins", [2, 10])
def test_log_slope_is_the_autodiff_jacobian(bins):
    with jax.enable_x64(True):
        x, parameters = (jnp.asarray(a, jnp.float64) for a in _inputs(bins))
        _, log_slope = spline.forward(x, parameters, BOUND)
        one = jax.vmap(
            jax.grad(lambda x, p: spline.forward(x[None], p[:, None], BOUND)[0][0]), (0, 1)
        )
        np.testing.assert_allclose(log_slope, jnp.log(one(x, parameters)), atol=1e-11)


@pytest.mark.parametrize("bins", [2, 10])
def test_round_trip(bins):
    """Draws go through the inverse, densities through forward: this order is the one used."""
    with jax.enable_x64(True):
        y, parameters = (jnp.asarray(a, jnp.float64) for a in _inputs(bins))
        x, log_slope_inverse = spline.inverse(y, parameters, BOUND)
        back, log_slope = spline.forward(x, parameters, BOUND)
        np.testing.assert_allclose(back, y, atol=1e-11)
        np.testing.assert_allclose(log_slope_inverse, -log_slope, atol=1e-9)


def test_zeros_are_the_identity():
    x = jnp.linspace(-7, 7, 101)
    y, log_slope = spline.forward(x, jnp.zeros((spline.n_parameters(8), 101)), BOUND)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_slope, 0, atol=1e-5)


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        x, parameters = (jnp.asarray(a, jnp.float64) for a in _inputs(6, 20))
        direction = jax.random.normal(jax.random.key(3), parameters.shape, jnp.float64)

        def total(p):
            y, log_slope = spline.forward(x, p, BOUND)
            return jnp.sum(y**2 + log_slope)

        step = 1e-6
        numerical = (
            total(parameters + step * direction) - total(parameters - step * direction)
        ) / (2 * step)
        exact = jnp.vdot(jax.grad(total)(parameters), direction)
        np.testing.assert_allclose(exact, numerical, rtol=1e-6)
