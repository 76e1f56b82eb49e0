"""The weighted simulations of all rounds against evidence and posterior in closed form."""

import jax
import numpy as np
import pytest
from processes import Here
from scipy import stats
from test_proposals import CHOLESKY, MEAN, Gaussian

import floppity_jax as fp
from floppity_jax import proposals
from floppity_jax.errors import InvalidInput, NoLikelihoodError
from floppity_jax.flows.config import FlowConfig
from floppity_jax.mixture import Law, mixture_weights
from floppity_jax.proposals import Region, Sampler, draw_prior, draw_truncated

# Posterior N(MEAN, S) of a prior N(0, I) and the likelihood exp(LOG_EVIDENCE) posterior / prior.
LOG_EVIDENCE = 3.0
POSTERIOR = stats.multivariate_normal(MEAN, CHOLESKY @ CHOLESKY.T)
PRIOR = stats.multivariate_normal(np.zeros(2), np.eye(2))
N = 500
SEEDS = range(20)


def _log_likelihood(z):
    return LOG_EVIDENCE + POSTERIOR.logpdf(z) - PRIOR.logpdf(z)


def _scores(rounds):
    """(ln Z - exact) / error over seeds of a function that returns laws and draws."""
    scores = []
    for seed in SEEDS:
        laws, z = rounds(jax.random.key(seed))
        log_weights, log_mass_error = mixture_weights(laws, z, _log_likelihood(z))
        weights = np.exp(log_weights - log_weights.max())
        log_evidence = np.log(weights.mean()) + log_weights.max()
        # Laws that are drawn from in fixed shares can only do better than draws of their mixture.
        variance = weights.var() / weights.mean() ** 2 / len(weights) + log_mass_error**2
        scores.append((log_evidence - LOG_EVIDENCE) / np.sqrt(variance))
    return np.array(scores)


def _assert_standard(scores):
    """No bias, and errors that are not too small: at odds of about 1 in 1,000 each."""
    assert abs(scores.mean()) < 3.3 / np.sqrt(len(scores))
    assert (scores**2).sum() < stats.chi2(len(scores)).isf(1e-3)


def _law(density, log_threshold, draws, *, alone=False):
    return Law(
        len(draws.z), density, log_threshold, alone=alone, log_mass=draws.log_mass,
        log_mass_error=draws.log_mass_error, log_cap=draws.log_cap,
    )  # fmt: skip


CASES = [(Sampler.RESAMPLING, 1.0), (Sampler.RESAMPLING, 0.7), (Sampler.CHAIN, 1.0)]


@pytest.mark.parametrize(("sampler", "width"), CASES)
def test_truncated_rounds(monkeypatch, sampler, width):
    """Three regions of radius 3.5 to 3 in sd of the flow, which is narrower than the posterior.

    What a region leaves out of the posterior, the draws from the prior still hold.
    """
    monkeypatch.setattr(proposals, "CHUNK", 512)
    most = 2**14 if sampler is Sampler.RESAMPLING else 512
    monkeypatch.setattr(proposals, "MOST_CANDIDATES", most)
    monkeypatch.setattr(proposals, "MOST_CANDIDATES_A_DRAW", 0)
    density = Gaussian(cholesky=width * CHOLESKY)
    thresholds = [density.log_prob(MEAN[None])[0] - 0.5 * radius**2 for radius in (3.5, 3.2, 3)]
    caps = []

    def rounds(key):
        laws, z = [Law(N)], [draw_prior(jax.random.fold_in(key, 0), N, 2).z]
        for i in range(3):
            regions = [Region(density, t) for t in thresholds[: i + 1]]
            draws = draw_truncated(jax.random.fold_in(key, i + 1), N, regions)
            assert draws.sampler is sampler
            laws.append(_law(density, thresholds[i], draws))
            z.append(draws.z)
            caps.append(draws.log_cap)
        return laws, np.concatenate(z)

    _assert_standard(_scores(rounds))
    assert np.isinf(caps).all() == (sampler is Sampler.CHAIN)


def test_rounds_after_a_region_was_given_up():
    """The first lies beside the posterior; the second lies in no other, and the third in it."""
    places = [(4.5, 2.5), (0.0, 3.5), (0.0, 3.0)]  # how far off, and radius, in deviations
    regions = []
    for shift, radius in places:
        density = Gaussian(MEAN + shift * CHOLESKY @ [0.6, 0.8])
        regions.append(Region(density, density.log_prob(density.mean[None])[0] - 0.5 * radius**2))

    def rounds(key):
        laws, z = [Law(N)], [draw_prior(jax.random.fold_in(key, 0), N, 2).z]
        for i, nested in enumerate((regions[:1], regions[1:2], regions[1:])):
            draws = draw_truncated(jax.random.fold_in(key, i + 1), N, nested)
            laws.append(_law(*nested[-1], draws, alone=len(nested) == 1))
            z.append(draws.z)
        return laws, np.concatenate(z)

    _assert_standard(_scores(rounds))


def test_the_mass_of_a_region():
    """Within its error of the mass of the prior that a chi-square law has in a circle."""
    radius = 1.5
    density = Gaussian(np.zeros(2), np.eye(2))
    threshold = density.log_prob(np.zeros((1, 2)))[0] - 0.5 * radius**2
    exact = np.log(stats.chi2(2).cdf(radius**2))
    scores = []
    for seed in SEEDS:
        draws = draw_truncated(jax.random.key(seed), N, [Region(density, threshold)])
        # The mass of what was drawn from is that of the region less what the cap took away.
        law = _law(density, threshold, draws)
        log_weights, _ = mixture_weights([law], draws.z, np.zeros(N))
        scores.append((np.log(np.exp(log_weights).mean()) - exact) / draws.log_mass_error)
    assert (np.array(scores) ** 2).sum() < stats.chi2(len(scores)).isf(1e-3)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_rounds_of_apt(share):
    wide = Gaussian(MEAN + 0.2, 1.3 * CHOLESKY)

    def rounds(key):
        draws = proposals.draw_posterior(key, N, wide, share)
        z = [draw_prior(jax.random.fold_in(key, 1), N, 2).z, draws.z]
        return [Law(N), Law(N, wide, prior_share=share)], np.concatenate(z)

    _assert_standard(_scores(rounds))


def test_a_failed_simulation_counts_as_one_without_likelihood():
    z = draw_prior(jax.random.key(0), N, 2).z
    whole, _ = mixture_weights([Law(N)], z, _log_likelihood(z))
    half, _ = mixture_weights([Law(2 * N)], z, _log_likelihood(z))
    assert half == pytest.approx(whole - np.log(2))


DESIGN = np.random.default_rng(0).normal(size=(2, 8)) / 2
ERROR = 0.3


@fp.batched
def linear(parameters):
    return np.stack([parameters["a"], parameters["b"]], axis=1) @ DESIGN


def _retrieval(method="truncated", errors=ERROR):
    values = np.array([0.4, -0.9]) @ DESIGN + ERROR * np.random.default_rng(1).normal(size=8)
    observation = fp.Observation(values, errors and np.full(8, errors))
    priors = {name: fp.Normal(0.0, 1.0) for name in "ab"}
    return fp.Retrieval(
        linear, priors, observation, flow=FlowConfig.fast(), pool=Here(), method=method
    )


@pytest.mark.parametrize("method", ["truncated", "apt"])
def test_a_run_knows_its_evidence_before_and_after_correction(method):
    retrieval = _retrieval(method)
    posterior = retrieval.run(3, 400, progress=False)
    covariance = DESIGN.T @ DESIGN + ERROR**2 * np.eye(8)
    exact = stats.multivariate_normal(np.zeros(8), covariance).logpdf(retrieval.observation.values)
    mixture = posterior.reuse_simulations()
    assert mixture.ess > 50
    assert mixture.log_evidence == pytest.approx(exact, abs=4 * mixture.log_evidence_error)
    assert mixture.record.simulator_calls == 1200
    corrected = posterior.importance_sample(1000)
    assert corrected.log_evidence == pytest.approx(exact, abs=4 * corrected.log_evidence_error)
    s = np.linalg.inv(np.eye(2) + DESIGN @ DESIGN.T / ERROR**2)
    mean = s @ DESIGN @ retrieval.observation.values / ERROR**2
    for found in (mixture, corrected):
        standard_error = np.sqrt(np.diag(s) / found.ess)
        assert (np.abs(found.sample(4000).mean(axis=0) - mean) < 4.5 * standard_error).all()
        assert found.weights.sum() == pytest.approx(1)
    # Chi square about the truth has as many degrees of freedom as there are channels.
    assert 0.01 < corrected.chi2_p_value() < 0.99
    attributes = corrected.to_datatree(100).attrs
    assert attributes["mixture_log_evidence"] == mixture.log_evidence
    assert attributes["chi2_p_value"] == corrected.chi2_p_value()


def test_without_likelihood_or_simulations_it_says_so(tmp_path):
    posterior = _retrieval().run(1, 200, progress=False)
    posterior.save(tmp_path / "posterior.npz")
    loaded = fp.load_posterior(tmp_path / "posterior.npz")
    with pytest.raises(InvalidInput, match="must hold the simulations of its rounds"):
        loaded.reuse_simulations()
    again = posterior.reuse_simulations()
    again.save(tmp_path / "again.npz")
    loaded = fp.load_posterior(tmp_path / "again.npz")
    assert loaded.log_evidence_error == again.log_evidence_error
    with pytest.raises(NoLikelihoodError):
        _retrieval(errors=None).run(1, 200, progress=False).reuse_simulations()
