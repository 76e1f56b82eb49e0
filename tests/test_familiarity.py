"""An observation among simulations, and one that is like none of them."""

import numpy as np
from processes import Here

import floppity_jax as fp
from floppity_jax.familiarity import MOST_TESTS, UNFAMILIAR, familiarity
from floppity_jax.features import fit_features
from floppity_jax.flows.config import FlowConfig

CHANNELS, ERROR, N = 20, 0.1, 800
X = np.linspace(-1, 1, CHANNELS)


def curved(a):
    """A curve in the space of spectra, whose inside is empty."""
    return np.cos(3 * np.asarray(a)[..., None] + 2 * X)


def _share(truth, seed):
    rng = np.random.default_rng(seed)
    spectra = curved(rng.uniform(-1, 1, N))
    observation = fp.Observation(
        truth + ERROR * rng.normal(size=CHANNELS), np.full(CHANNELS, ERROR)
    )
    features = fit_features(spectra, observation, 8)
    rows = rng.permutation(N)[:MOST_TESTS]
    noisy = spectra[rows] + ERROR * rng.normal(size=(MOST_TESTS, CHANNELS))
    return familiarity(features, spectra, rows, noisy, observation).share


def test_an_observation_of_a_true_model_is_like_any_simulation():
    """Its share is uniform: the mean of 30 within 3.3 standard errors of a half."""
    truths = np.random.default_rng(1).uniform(-1, 1, 30)
    shares = np.array([_share(curved(a), seed) for seed, a in enumerate(truths)])
    assert abs(shares.mean() - 0.5) < 3.3 / np.sqrt(12 * len(shares))


def test_an_observation_in_the_middle_of_a_curved_cloud_is_unfamiliar():
    """No distance from the mean would find it."""
    middle = curved(np.linspace(-1, 1, 100)).mean(axis=0)
    assert _share(middle, 0) < UNFAMILIAR


def _retrieve(truth):
    """A spike in one channel, in 1e-5 of the prior: no round of 300 draws is likely to meet it."""

    @fp.batched
    def simulator(parameters):
        a = np.asarray(parameters["a"])
        spike = np.abs(a - 0.3) < 1e-5
        return curved(a) + 3.0 * spike[:, None] * (np.arange(CHANNELS) == 7)

    noise = ERROR * np.random.default_rng(2).normal(size=CHANNELS)
    values = simulator({"a": np.array([truth])})[0] + noise
    observation = fp.Observation(values, np.full(CHANNELS, ERROR))
    retrieval = fp.Retrieval(
        simulator, {"a": (-1.0, 1.0), "b": (0.0, 1.0)}, observation, flow=FlowConfig.fast(),
        pool=Here(),
    )  # fmt: skip
    return retrieval.run(3, 300, progress=False)


def test_a_narrow_mode_that_was_missed_is_noticed():
    """The failure of Ardevol Martinez et al. (2024), Appendix B, without knowing the truth."""
    missed = _retrieve(0.3).importance_sample(300)
    assert missed.chi2_p_value() < 1e-6
    found = _retrieve(0.5).importance_sample(300)
    assert found.chi2_p_value() > 0.01
    assert found.record.rounds[-1].feature_share > UNFAMILIAR
