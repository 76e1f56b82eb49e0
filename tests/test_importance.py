"""Adaptive importance sampling of Gaussians whose evidence and moments are known."""

import jax
import numpy as np
import pytest
from scipy import stats

from floppity_jax.density import Density, Whitening, new_flows
from floppity_jax.flows.config import FlowConfig
from floppity_jax.importance import STAGES, adaptive_draws, pareto_smoothed
from floppity_jax.proposals import effective_sample_size

SMALL = FlowConfig(transforms=1, bins=4, width=8, blocks=1, components=2)
LOG_EVIDENCE = -1234.5
N = 4000

# Mean and standard deviations of the target, as the start sees them, and their correlation
TARGETS = {
    "the start itself": ((0.0, 0.0), (1.0, 1.0), 0.0),
    "2 sd off": ((2.0, -2.0), (1.0, 1.0), 0.0),
    "2 sd off, correlated, of other widths": ((2.0, 0.0), (0.5, 1.5), 0.8),
    "2 of its own sd off, narrow": ((0.6, -0.6), (0.3, 0.3), -0.5),
}


def _start(dim=2):
    graph, parameters = new_flows(jax.random.key(0), dim, 2, SMALL)
    whitening = Whitening(np.zeros(dim), np.eye(dim))
    return Density(graph, parameters, np.zeros(2, np.float32), whitening)


def _evidence(log_weights):
    """Log evidence and its standard error."""
    n = len(log_weights)
    top = log_weights.max()
    error = np.sqrt(max(1 / effective_sample_size(log_weights) - 1 / n, 0))
    return top + np.log(np.mean(np.exp(log_weights - top))), error


@pytest.mark.parametrize("name", TARGETS)
def test_evidence_and_moments_are_the_exact_ones(name):
    mean, sd, correlation = TARGETS[name]
    covariance = np.outer(sd, sd) * np.array([[1, correlation], [correlation, 1]])
    target = stats.multivariate_normal(mean, covariance)
    draws = adaptive_draws(
        jax.random.key(0), _start(), lambda stage, z: target.logpdf(z) + LOG_EVIDENCE, N
    )
    assert draws.z.shape == (N, 2)
    log_evidence, error = _evidence(draws.log_weights)
    # float32 densities are good to 1e-5 or so.
    assert log_evidence == pytest.approx(LOG_EVIDENCE, abs=4 * error + 1e-4)
    weights = np.exp(draws.log_weights - draws.log_weights.max())
    weights /= weights.sum()
    ess = effective_sample_size(draws.log_weights)
    found = weights @ draws.z
    assert np.all(np.abs(found - mean) < 4 * np.array(sd) / np.sqrt(ess))
    residual = draws.z - found
    # A sample covariance scatters by at most sqrt(2 / n) of the product of the deviations.
    off = (weights[:, None] * residual).T @ residual - covariance
    assert np.all(np.abs(off) < 4 * np.outer(sd, sd) * np.sqrt(2 / ess))


def test_stages_adapt():
    """From 2 sd off in both, plain weights would leave exp(-8) of the draws; these, most."""
    target = stats.multivariate_normal([2.0, -2.0], np.eye(2))
    draws = adaptive_draws(jax.random.key(0), _start(), lambda stage, z: target.logpdf(z), N)
    # The first of ten stages is lost, and at worst the second.
    assert effective_sample_size(draws.log_weights) > 0.8 * N


def test_stages_that_follow_draws_do_not_weigh_those():
    """Evidence and widths of a target with tails, over 25 seeds: no bias.

    One sequence of stages, each following all draws before it, is 2% low in the evidence here.
    """
    dim, tail = 5, 1.5

    def log_target(stage, z):
        narrow, wide = (stats.norm(0, s).logpdf(z).sum(axis=1) for s in (1, tail))
        return np.logaddexp(np.log(0.9) + narrow, np.log(0.1) + wide)

    evidence, variance = [], []
    for seed in range(25):
        draws = adaptive_draws(jax.random.key(seed), _start(dim), log_target, 600)
        weights = np.exp(draws.log_weights)
        evidence.append(weights.mean())
        variance.append((weights @ draws.z**2).sum() / weights.sum() / dim)
    for found, truth in ((evidence, 1.0), (variance, 0.9 + 0.1 * tail**2)):
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(truth, abs=4 * error)
        assert error < 0.01  # or it could not tell


def test_each_stage_is_evaluated_once_and_in_order():
    seen = []

    def log_target(stage, z):
        seen.append((stage, len(z)))
        return -0.5 * (z**2).sum(axis=1)

    adaptive_draws(jax.random.key(0), _start(), log_target, 1003)
    assert [stage for stage, _ in seen] == list(range(STAGES))
    assert sum(size for _, size in seen) == 1003
    for few in (1, 3):
        assert adaptive_draws(jax.random.key(0), _start(), log_target, few).z.shape == (few, 2)


def test_failed_models_carry_no_weight():
    """Where a third of the plane fails, evidence and mean are those of the rest."""
    cut = 0.4307  # Phi(0.4307) = 2/3

    def log_target(stage, z):
        return np.where(z[:, 0] < cut, stats.norm.logpdf(z).sum(axis=1) + LOG_EVIDENCE, -np.inf)

    draws = adaptive_draws(jax.random.key(1), _start(), log_target, N)
    failed = draws.z[:, 0] >= cut
    assert failed.any()
    assert np.all(draws.log_weights[failed] == -np.inf)
    assert np.isfinite(draws.log_weights[~failed]).all()
    log_evidence, error = _evidence(draws.log_weights)
    share = stats.norm.cdf(cut)
    assert log_evidence == pytest.approx(LOG_EVIDENCE + np.log(share), abs=4 * error)
    weights = np.exp(draws.log_weights - draws.log_weights.max())
    mean = weights @ draws.z[:, 0] / weights.sum()
    ess = effective_sample_size(draws.log_weights)
    assert mean == pytest.approx(-stats.norm.pdf(cut) / share, abs=4 / np.sqrt(ess))


def test_a_target_that_always_fails_gives_no_weight_and_no_error():
    draws = adaptive_draws(
        jax.random.key(0), _start(), lambda stage, z: np.full(len(z), -np.inf), 100
    )
    assert np.all(draws.log_weights == -np.inf)


def _moved(start, mean):
    return start._replace(whitening=Whitening(np.array(mean), np.eye(2)))


def test_what_one_flow_has_missed_another_finds():
    """Of two modes 16 sd apart, with 0.3 and 0.7 of the mass, each start knows one.

    One alone has the evidence of its mode. Evidence and share within four standard errors; the
    share is that of as many draws as count.
    """
    modes = [stats.multivariate_normal([x, 0.0], np.eye(2)) for x in (-8.0, 8.0)]
    starts = [_moved(_start(), [x, 0.0]) for x in (-8.0, 8.0)]

    def log_target(stage, z):
        return np.log(0.3 * modes[0].pdf(z) + 0.7 * modes[1].pdf(z)) + LOG_EVIDENCE

    alone = adaptive_draws(jax.random.key(0), starts[0], log_target, N)
    assert _evidence(alone.log_weights)[0] == pytest.approx(LOG_EVIDENCE + np.log(0.3), abs=0.05)
    for order in (starts, starts[::-1]):
        draws = adaptive_draws(jax.random.key(0), order[0], log_target, N, others=order[1:])
        log_evidence, error = _evidence(draws.log_weights)
        assert log_evidence == pytest.approx(LOG_EVIDENCE, abs=4 * error)
        weights = np.exp(draws.log_weights - draws.log_weights.max())
        weights /= weights.sum()
        ess = effective_sample_size(draws.log_weights)
        share = weights[draws.z[:, 0] > 0].sum()
        assert abs(share - 0.7) < 4 * np.sqrt(0.3 * 0.7 / ess)
        assert ess > 0.1 * N


def test_a_flow_that_has_failed_costs_no_more_than_its_first_stage():
    """30 sd off: of eleven stages that one is lost, and what the first has too wide."""
    target = stats.multivariate_normal(np.zeros(2), np.eye(2))
    for starts in ([[0.0, 0.0], [30.0, 0.0]], [[30.0, 0.0], [0.0, 0.0]]):
        first, other = (_moved(_start(), mean) for mean in starts)
        draws = adaptive_draws(
            jax.random.key(0), first, lambda stage, z: target.logpdf(z), N, others=[other]
        )
        assert effective_sample_size(draws.log_weights) > 0.8 * N
        assert _evidence(draws.log_weights)[0] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("log_weights", "k"),
    [
        (-10.0 * np.arange(2000.0) ** 2, np.inf),  # one draw has all the weight
        (np.where(np.arange(2000) < 2, 0.0, -800.0), np.inf),
        (np.random.default_rng(0).normal(0, 1e4, 2000), np.inf),
        (np.zeros(2000), -np.inf),
        (np.where(np.arange(2000) < 500, 0.0, -900.0), -np.inf),
        (np.random.default_rng(0).normal(size=3), np.inf),
        (np.array([0.0]), np.inf),
        (np.empty(0), np.inf),
    ],
)
def test_tails_that_have_no_pareto_fit_stay_as_they_are(log_weights, k):
    smoothed, found = pareto_smoothed(log_weights)
    assert found == k
    np.testing.assert_array_equal(smoothed, log_weights)


@pytest.mark.parametrize("k", [0.2, 0.9])
def test_a_pareto_tail_is_found(k):
    """The mean of 20 fits of a tail of known shape, within 4 standard errors and the fit's bias."""
    fits = []
    for seed in range(20):
        weights = stats.genpareto(k).rvs(4000, random_state=seed)
        smoothed, found = pareto_smoothed(np.log(weights))
        assert np.isfinite(smoothed).all()
        fits.append(found)
    # The prior of Vehtari et al. (2024) pulls k towards a half by the weight of 10 draws.
    bias = abs(0.5 - k) * 10 / (10 + 3 * np.sqrt(4000))
    assert abs(np.mean(fits) - k) < 4 * np.std(fits) / np.sqrt(20) + bias
