"""Truncated draws against rejection sampling, from a posterior that is a known Gaussian."""

import jax
import numpy as np
import pytest

from floppity_jax import proposals
from floppity_jax.density import Density, Whitening, new_flow
from floppity_jax.flows.spline_flow import FlowConfig
from floppity_jax.proposals import Region

SMALL = FlowConfig(transforms=1, bins=4, width=8, blocks=1, components=2)
MEAN = np.array([0.5, -0.3])
CHOLESKY = np.array([[0.6, 0.0], [0.3, 0.5]])
RADIUS = 2.0


def _gaussian(mean=MEAN, cholesky=CHOLESKY):
    """Return a normal density: fresh flows are the identity."""
    graph, parameters = new_flow(jax.random.key(0), 2, 2, SMALL)
    return Density(graph, parameters, np.zeros(2, np.float32), Whitening(mean, cholesky))


def _log_prob_at_radius(density, radius):
    return -0.5 * radius**2 - np.log(2 * np.pi) - density.whitening.log_determinant


def _ellipse(radius=RADIUS, **where):
    density = _gaussian(**where)
    return Region(density, _log_prob_at_radius(density, radius))


def _distance(z, region):
    return np.linalg.norm(region.density.whitening.whiten(z), axis=1)


def test_fresh_flows_are_the_normal_law():
    """The other tests of this file stand on this."""
    from scipy import stats

    z = np.random.default_rng(0).normal(size=(50, 2))
    expected = stats.multivariate_normal(MEAN, CHOLESKY @ CHOLESKY.T).logpdf(z)
    np.testing.assert_allclose(_gaussian().log_prob(z), expected, atol=1e-4)  # float32


def _assert_follows_the_prior_in(ellipses, draws):
    """Compare mean and covariance with rejection sampling, within 5 Monte Carlo errors."""
    for region, radius in ellipses:  # float32 densities at the edge
        assert _distance(draws.z, region).max() <= radius + 1e-4
    prior = np.random.default_rng(0).normal(size=(400_000, 2))
    inside = [_distance(prior, region) <= radius for region, radius in ellipses]
    exact = prior[np.all(inside, axis=0)]
    for moment in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:]):
        a, b = moment(draws.z), moment(exact)
        error = b.std(axis=0) * np.sqrt(1 / len(a) + 1 / draws.ess + 1 / len(b))
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error)


def test_truncated_draws_follow_the_prior_in_the_region():
    region = _ellipse()
    n = 4000
    draws = proposals.draw_truncated(jax.random.key(1), n, [region])
    assert draws.z.shape == (n, 2)
    assert len(np.unique(draws.z, axis=0)) == n  # without replacement
    assert draws.ess >= 4 * n
    _assert_follows_the_prior_in([(region, RADIUS)], draws)
    # Noise of scale 1.6 lies within the radius with probability 1 - exp(-r^2 / 2 / 1.6^2).
    share = 1 - np.exp(-0.5 * (RADIUS / proposals.WIDENED) ** 2)
    assert draws.acceptance == pytest.approx(share, abs=5 * 0.5 / np.sqrt(2**14))


def test_truncated_draws_lie_in_the_regions_of_all_rounds():
    older, newer = _ellipse(1.5, mean=MEAN + 1.0), _ellipse(2.0)
    draws = proposals.draw_truncated(jax.random.key(1), 1000, [older, newer])
    assert len(draws.z) == 1000
    _assert_follows_the_prior_in([(older, 1.5), (newer, 2.0)], draws)


def test_work_is_bounded_where_regions_do_not_meet(monkeypatch):
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", 2**16)
    apart = [_ellipse(1.0, mean=MEAN + 30.0), _ellipse(1.0)]
    draws = proposals.draw_truncated(jax.random.key(0), 100, apart)
    assert draws.z.shape == (100, 2)
    assert apart[-1].contains(draws.z).all()  # the newest has the last word
    nowhere = Region(_gaussian(), np.inf)
    draws = proposals.draw_truncated(jax.random.key(0), 100, [nowhere])
    assert draws.z.shape == (0, 2)
    assert draws.acceptance == draws.ess == 0


def test_highest_density_region_holds_all_but_its_share():
    density = _gaussian()
    region = proposals.highest_density_region(jax.random.key(0), density)
    n = 2**16
    outside = 1 - region.contains(density.sample(jax.random.key(1), n)[0]).mean()
    share = proposals.TRUNCATED_MASS
    # Its threshold is a quantile of 2^14 draws.
    assert outside == pytest.approx(share, abs=5 * np.sqrt(share * (1 / 2**14 + 1 / n)))


def test_highest_density_region_is_that_of_the_inflated_posterior():
    density = _gaussian()
    narrow = density._replace(base_scale=0.1)
    region = proposals.highest_density_region(jax.random.key(0), narrow)
    assert region.density.base_scale == 1
    wide = proposals.highest_density_region(jax.random.key(0), density)
    assert region.log_threshold == wide.log_threshold


def test_prior_and_posterior_draws():
    n = 20_000
    prior = proposals.draw_prior(jax.random.key(0), n, 2)
    posterior = proposals.draw_posterior(jax.random.key(0), n, _gaussian())
    expected = ((prior, np.zeros(2), np.eye(2)), (posterior, MEAN, CHOLESKY @ CHOLESKY.T))
    for draws, mean, covariance in expected:
        assert draws.acceptance == 1
        assert draws.ess == n
        np.testing.assert_allclose(draws.z.mean(axis=0), mean, atol=5 / np.sqrt(n))
        np.testing.assert_allclose(np.cov(draws.z.T), covariance, atol=5 * np.sqrt(2 / n))


def test_effective_sample_size():
    size = proposals.effective_sample_size
    assert size(np.full(10, -1e4)) == pytest.approx(10)
    assert size(np.log([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    assert size(np.array([0.0, -np.inf, 0.0])) == pytest.approx(2)
    assert size(np.empty(0)) == 0
