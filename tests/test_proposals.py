"""Truncated draws against rejection sampling from the prior, with posteriors in closed form."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from scipy import stats

from floppity_jax import proposals
from floppity_jax.proposals import Region, Sampler, draw_truncated

MEAN = np.array([0.5, -0.3])
CHOLESKY = np.array([[0.6, 0.0], [0.3, 0.5]])


class Gaussian(NamedTuple):
    """The density of ``mean + cholesky @ u``, u normal."""

    mean: np.ndarray = MEAN
    cholesky: np.ndarray = CHOLESKY
    base_scale: float = 1.0

    def sample(self, key, n, *, widened=1.0):
        wide = self._replace(base_scale=widened * self.base_scale)
        u = np.asarray(jax.random.normal(key, (n, len(self.mean))), np.float64)
        z = self.mean + wide.base_scale * u @ self.cholesky.T
        return z, wide.log_prob(z)

    def draw(self, key, n):
        return self.sample(key, n)[0]

    def log_prob(self, z):
        factor = self.base_scale * self.cholesky
        return stats.multivariate_normal(self.mean, factor @ factor.T).logpdf(z).reshape(len(z))


class Banana(NamedTuple):
    """A normal law whose second axis is bent along the first, at constant volume."""

    straight: Gaussian = Gaussian(np.array([0.0, -0.5]), np.diag([0.8, 0.1]))

    def sample(self, key, n, *, widened=1.0):
        z, log_q = self.straight.sample(key, n, widened=widened)
        return z + _bend(z), log_q

    def log_prob(self, z):
        return self.straight.log_prob(z - _bend(z))


def _bend(z):
    return np.stack([np.zeros(len(z)), z[:, 0] ** 2], axis=1)


class Modes(NamedTuple):
    """Two normal laws of equal shares, far apart."""

    parts: tuple[Gaussian, Gaussian] = (
        Gaussian(np.array([-1.2, 0.0]), 0.15 * np.eye(2)),
        Gaussian(np.array([0.4, 0.8]), 0.15 * np.eye(2)),
    )

    def sample(self, key, n, *, widened=1.0):
        keys = jax.random.split(key, 3)
        draws = [p.sample(k, n, widened=widened)[0] for p, k in zip(self.parts, keys, strict=False)]
        z = np.where(np.asarray(jax.random.bernoulli(keys[2], shape=(n, 1))), *draws)
        wide = Modes(tuple(p._replace(base_scale=widened) for p in self.parts))
        return z, wide.log_prob(z)

    def log_prob(self, z):
        return np.logaddexp(*(p.log_prob(z) for p in self.parts)) - np.log(2)


class Box(NamedTuple):
    """Flat sides and sharp corners, sampled as well as a normal law can."""

    normal: Gaussian = Gaussian(np.array([0.8, -0.2]), np.diag([0.7, 0.05]))

    def sample(self, key, n, *, widened=1.0):
        return self.normal.sample(key, n, widened=widened)

    def log_prob(self, z):
        return -np.abs((z - self.normal.mean) / np.diag(self.normal.cholesky)).max(axis=1)


def _ellipse(radius=2.0, **where):
    density = Gaussian(**where)
    return Region(density, density.log_prob(density.mean[None])[0] - 0.5 * radius**2)


REGIONS = {
    "ellipse": [_ellipse()],
    "banana": [Region(Banana(), -4.0)],
    "modes": [Region(Modes(), -1.0)],
    "box": [Region(Box(), -1.7)],
    "nested": [_ellipse(1.5, mean=MEAN + 1.0), Region(Banana(), -5.0), _ellipse()],
}


class Calls:
    """Counts the rows and calls of another density."""

    def __init__(self, density):
        self.density, self.sampled, self.log_probs = density, 0, 0

    def sample(self, key, n, *, widened):
        self.sampled += n
        return self.density.sample(key, n, widened=widened)

    def log_prob(self, z):
        self.log_probs += 1
        return self.density.log_prob(z)


@pytest.fixture
def few_candidates(monkeypatch):
    monkeypatch.setattr(proposals, "CHUNK", 512)
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", 512)
    monkeypatch.setattr(proposals, "MOST_CANDIDATES_A_DRAW", 0)


def _inside(regions, z):
    return np.all([region.contains(z) for region in regions], axis=0)


def _exact(regions):
    prior = np.random.default_rng(0).normal(size=(500_000, 2))
    return prior[_inside(regions, prior)]


def _assert_follows_the_prior_in(regions, draws):
    """Compare means, squares and products with rejection sampling, within 5 Monte Carlo errors."""
    assert _inside(regions, draws.z).all()
    exact = _exact(regions)
    for moment in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:]):
        a, b = moment(draws.z), moment(exact)
        error = b.std(axis=0) * np.sqrt(1 / len(a) + 1 / draws.ess + 1 / len(b))
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error)


@pytest.mark.parametrize("name", REGIONS)
def test_resampled_draws_follow_the_prior_in_all_regions(name):
    n = 4000
    draws = draw_truncated(jax.random.key(1), n, REGIONS[name])
    assert draws.sampler is Sampler.RESAMPLING
    assert len(np.unique(draws.z, axis=0)) == len(draws.z) == n
    assert draws.ess >= 2 * n
    _assert_follows_the_prior_in(REGIONS[name], draws)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("name", REGIONS)
def test_chain_draws_follow_the_prior_in_all_regions(name):
    n = 1000
    draws = draw_truncated(jax.random.key(1), n, REGIONS[name])
    assert draws.sampler is Sampler.CHAIN
    assert len(np.unique(draws.z, axis=0)) == len(draws.z) == n
    assert 0 < draws.acceptance < 1
    _assert_follows_the_prior_in(REGIONS[name], draws)


@pytest.mark.parametrize("sampler", [Sampler.RESAMPLING, Sampler.CHAIN])
def test_modes_keep_their_share_of_the_prior(sampler, request):
    if sampler is Sampler.CHAIN:
        request.getfixturevalue("few_candidates")
    draws = draw_truncated(jax.random.key(2), 1000, REGIONS["modes"])
    assert draws.sampler is sampler
    exact = _exact(REGIONS["modes"])
    share = (exact[:, 0] < 0).mean()
    error = np.sqrt(share * (1 - share) * (1 / 1000 + 1 / draws.ess + 1 / len(exact)))
    assert (draws.z[:, 0] < 0).mean() == pytest.approx(share, abs=5 * error)


def test_acceptance_is_the_share_of_candidates_inside():
    draws = draw_truncated(jax.random.key(1), 4000, [_ellipse()])
    # Noise of scale 1.6 lies within a radius of 2 with probability 1 - exp(-2^2 / 2 / 1.6^2).
    share = 1 - np.exp(-0.5 * (2.0 / proposals.WIDENED) ** 2)
    assert draws.acceptance == pytest.approx(share, abs=5 * 0.5 / np.sqrt(proposals.CHUNK))


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("name", ["banana", "modes"])
def test_effective_size_of_the_chain_is_not_too_large(name):
    """Means of many chains scatter no more than it says."""
    n, repeats = 300, 25
    exact = _exact(REGIONS[name])
    chi2 = []
    for i in range(repeats):
        rng = np.random.default_rng(i)
        starts = exact[rng.integers(len(exact), size=10)]
        draws = proposals._walk(
            rng, n, REGIONS[name], REGIONS[name][0].density.sample(jax.random.key(i), 512)[0],
            np.repeat(starts, 120, axis=0), 10.0,
        )  # fmt: skip
        error = exact.std(axis=0) * np.sqrt(1 / n + 1 / draws.ess)
        chi2.append(((draws.z.mean(axis=0) - exact.mean(axis=0)) / error) ** 2)
    assert np.all(np.mean(chi2, axis=0) < 1 + 5 * np.sqrt(2 / repeats))


def test_work_is_bounded_where_regions_do_not_meet(monkeypatch):
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", 2**15)
    older, newest = _ellipse(1.0, mean=MEAN + 30.0), _ellipse(1.0)
    counted = Calls(newest.density)
    draws = draw_truncated(jax.random.key(0), 100, [older, newest._replace(density=counted)])
    assert draws.z.shape == (0, 2)
    assert counted.sampled == 2**15


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, 8.0])
def test_overlap_is_the_posterior_mass_in_the_regions(shift):
    """Of a normal law shifted by so many deviations, in a circle: a non-central chi square."""
    radius = 2.0
    moved = Gaussian(MEAN + shift * CHOLESKY @ [0.6, 0.8])
    found = proposals.overlap(jax.random.key(0), moved, [_ellipse(radius), _ellipse(3.0)])
    exact = stats.ncx2(2, shift**2).cdf(radius**2) if shift else stats.chi2(2).cdf(radius**2)
    assert found == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 2**12) + 1e-6)


def test_the_first_posterior_has_no_regions_to_lie_in():
    assert proposals.overlap(jax.random.key(0), Gaussian(), []) == 1


@pytest.mark.parametrize("margin", [np.inf, np.nan, 0.0, -1e-12])
def test_a_region_of_no_volume_ends_the_search(monkeypatch, margin):
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", 2**15)
    density = Gaussian()
    counted = Calls(density)
    region = Region(counted, density.log_prob(density.mean[None])[0] + margin)
    draws = draw_truncated(jax.random.key(0), 100, [region])
    assert draws.z.shape == (0, 2)
    assert draws.acceptance == draws.ess == 0
    assert counted.sampled == 2**15
    assert counted.log_probs == 2**15 // proposals.CHUNK


def test_a_chain_ends_however_badly_it_mixes(monkeypatch):
    """A single candidate inside, in a region a millionth as wide as the steps."""
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", proposals.CHUNK)
    candidates, _ = Gaussian().sample(
        jax.random.fold_in(jax.random.split(jax.random.key(0), 3)[0], 0), proposals.CHUNK,
        widened=proposals.WIDENED,
    )  # fmt: skip

    class Speck(Calls):
        def log_prob(self, z):
            self.log_probs += 1
            return -np.abs(z - candidates[0]).max(axis=1)

    speck = Speck(Gaussian())
    draws = draw_truncated(jax.random.key(0), 100, [Region(speck, -1e-6)])
    assert draws.sampler is Sampler.CHAIN
    assert 1 <= len(draws.z) <= 100
    assert len(np.unique(draws.z, axis=0)) == len(draws.z)
    assert draws.ess == pytest.approx(1, rel=0.01)
    batches = -(-proposals.MOST_CANDIDATES_A_DRAW * 100 // proposals.CHUNK)  # of candidates
    assert speck.log_probs == batches + sum(proposals.WALKS)


def test_choice_by_weight_is_exact_and_without_repeats():
    weight = np.random.default_rng(0).exponential(size=200) ** 2
    weight /= weight.sum()
    capped, factor = proposals._capped(weight, 50)
    assert capped[capped < 1] == pytest.approx(factor * weight[capped < 1])
    assert capped.sum() == pytest.approx(50)
    assert capped.max() == 1
    free = capped < 1
    np.testing.assert_allclose(capped[free] / weight[free], capped[free][0] / weight[free][0])
    rng, repeats = np.random.default_rng(1), 2000
    rows = np.array([proposals.systematic(rng, capped, 50) for _ in range(repeats)])
    assert all(len(np.unique(row)) == 50 for row in rows)
    counts = np.bincount(rows.ravel(), minlength=200)
    error = np.sqrt(repeats * capped * (1 - capped))
    assert np.all(np.abs(counts - repeats * capped) <= 5 * error + 1)


def test_highest_density_region_holds_all_but_its_share():
    density = Gaussian()
    region = proposals.highest_density_region(jax.random.key(0), density)
    n = 2**16
    outside = 1 - region.contains(density.sample(jax.random.key(1), n)[0]).mean()
    share = proposals.TRUNCATED_MASS
    # Its threshold is a quantile of 2^14 draws.
    assert outside == pytest.approx(share, abs=5 * np.sqrt(share * (1 / 2**14 + 1 / n)))


def test_highest_density_region_is_that_of_the_inflated_posterior():
    density = Gaussian()
    narrow = density._replace(base_scale=0.1)
    region = proposals.highest_density_region(jax.random.key(0), narrow)
    assert region.density.base_scale == 1
    wide = proposals.highest_density_region(jax.random.key(0), density)
    assert region.log_threshold == wide.log_threshold


def test_prior_and_posterior_draws():
    n = 20_000
    prior = proposals.draw_prior(jax.random.key(0), n, 2)
    posterior = proposals.draw_posterior(jax.random.key(0), n, Gaussian())
    expected = (
        (prior, Sampler.PRIOR, np.zeros(2), np.eye(2)),
        (posterior, Sampler.POSTERIOR, MEAN, CHOLESKY @ CHOLESKY.T),
    )
    for draws, sampler, mean, covariance in expected:
        assert draws.sampler is sampler
        assert draws.acceptance == 1
        assert draws.ess == n
        np.testing.assert_allclose(draws.z.mean(axis=0), mean, atol=5 / np.sqrt(n))
        np.testing.assert_allclose(np.cov(draws.z.T), covariance, atol=5 * np.sqrt(2 / n))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_posterior_draws_comes_from_the_prior(share):
    n = 10_000
    far = Gaussian(np.full(2, 50.0), 0.1 * np.eye(2))
    z = proposals.draw_posterior(jax.random.key(0), n, far, share).z
    assert len(z) == n
    from_prior = z[np.abs(z).max(axis=1) < 25]
    assert len(from_prior) == share * n
    if share:
        atol = 5 / np.sqrt(share * n)
        np.testing.assert_allclose(from_prior.mean(axis=0), 0, atol=atol)
        np.testing.assert_allclose(from_prior.std(axis=0), 1, atol=atol)


def test_effective_sample_size():
    size = proposals.effective_sample_size
    assert size(np.full(10, -1e4)) == pytest.approx(10)
    assert size(np.log([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    assert size(np.array([0.0, -np.inf, 0.0])) == pytest.approx(2)
    assert size(np.empty(0)) == 0
