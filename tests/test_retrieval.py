"""Whole retrievals against truths: closed forms, likelihood-based posteriors, and themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax.errors import InvalidInput, NoLikelihoodError, SimulatorError
from floppity_jax.simulate import Simulations

TINY = {
    "flow": fp.FlowConfig(transforms=2, bins=4, width=16, blocks=1, components=4),
    "training": fp.TrainingConfig(max_epochs=10),
}
N_CHANNELS, SIGMA = 20, 0.5
DESIGN = np.random.default_rng(0).normal(size=(3, N_CHANNELS))
NAMES = ("a", "b", "c")
PRIORS = {name: fp.Normal(0.0, 1.0) for name in NAMES}


@fp.jax_batched
def linear(parameters):
    return jnp.stack([parameters[name] for name in NAMES], -1) @ jnp.asarray(DESIGN, jnp.float32)


def _linear_observation():
    rng = np.random.default_rng(1)
    truth = np.array([0.8, -1.2, 0.3])
    return fp.Observation(
        truth @ DESIGN + SIGMA * rng.normal(size=N_CHANNELS), np.full(N_CHANNELS, SIGMA)
    )


def _closed_form(observation):
    """Posterior of a linear model with a standard normal prior, and its evidence."""
    precision = np.eye(3) + DESIGN @ DESIGN.T / SIGMA**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ DESIGN @ observation.values / SIGMA**2
    marginal = DESIGN.T @ DESIGN + SIGMA**2 * np.eye(N_CHANNELS)
    _, log_det = np.linalg.slogdet(2 * np.pi * marginal)
    chi2 = observation.values @ np.linalg.solve(marginal, observation.values)
    return mean, covariance, -0.5 * (log_det + chi2)


@pytest.fixture(scope="module", params=["truncated", "apt"])
def linear_posterior(request):
    retrieval = fp.Retrieval(linear, PRIORS, _linear_observation(), method=request.param)
    return retrieval.run(3, 1000, seed=0, progress=False)


def test_linear_gaussian_flow_is_near_the_closed_form(linear_posterior):
    """Neural network error, not Monte Carlo error, sets these bounds.

    The worst mean was 0.03 to 0.21 sd off in six seeds of ``truncated`` (mean 0.10, deviation 0.06)
    and 0.18 to 0.32 in four runs of ``apt`` (mean 0.25, deviation 0.06): the bounds lie 3 and 5
    deviations above. A mean that is off by d sd leaves exp(-d^2) of the efficiency of a correction,
    0.74 at 0.55. Standard deviations within 0.8 .. 1.4 leave 0.83 for each parameter.
    """
    most = {"truncated": 0.3, "apt": 0.55}[linear_posterior.record.method]
    mean, covariance, _ = _closed_form(linear_posterior.observation)
    sd = np.sqrt(np.diag(covariance))
    draws = linear_posterior.sample(20_000)
    assert np.abs((draws.mean(0) - mean) / sd).max() < most
    ratio = draws.std(0) / sd
    assert ratio.min() > 0.8
    assert ratio.max() < 1.4


def test_rounds_keep_the_quantiles_of_their_marginals(linear_posterior):
    """Five binomial deviations of the share of 20,000 draws below a quantile of 4,096 others."""
    draws = linear_posterior.sample(20_000)
    tree = linear_posterior.to_datatree(10)
    levels = tree["rounds"]["quantile"].to_numpy()
    assert levels == pytest.approx([0.02275, 0.158655, 0.5, 0.841345, 0.97725], abs=1e-5)
    error = np.sqrt(levels * (1 - levels) * (1 / 4096 + 1 / len(draws)))
    for i, name in enumerate(NAMES):
        quantiles = tree["rounds"][f"quantiles_{name}"].to_numpy()
        assert quantiles.shape == (len(linear_posterior.record.rounds), len(levels))
        below = (draws[:, i, None] < quantiles[-1]).mean(0)
        assert np.all(np.abs(below - levels) < 5 * error)


def test_linear_gaussian_corrected_is_the_closed_form(linear_posterior):
    """Importance weights leave Monte Carlo error only: 5 standard errors of each estimate."""
    mean, covariance, log_evidence = _closed_form(linear_posterior.observation)
    sd = np.sqrt(np.diag(covariance))
    corrected = linear_posterior.importance_sample(4000)
    weights = np.exp(corrected.log_weights - corrected.log_weights.max())
    weights /= weights.sum()
    estimated = weights @ corrected.draws
    assert np.abs((estimated - mean) / sd).max() < 5 / np.sqrt(corrected.ess)
    centred = (corrected.draws - estimated) / sd
    correlation = (weights[:, None] * centred).T @ centred
    # The variance of a sample covariance of normal draws is (1 + rho^2) / n, at most 2 / n.
    exact = covariance / np.outer(sd, sd)
    assert np.abs(correlation - exact).max() < 5 * np.sqrt(2 / corrected.ess)
    error = corrected.log_evidence_error
    assert abs(corrected.log_evidence - log_evidence) < 5 * error
    assert corrected.efficiency > 0.5
    assert corrected.pareto_k < 0.7


def test_log_prob_is_the_density_of_the_draws(linear_posterior):
    """The mean of 1/q over draws in a box is its volume: holds only if q is normalised."""
    draws = linear_posterior.sample(50_000)
    low, high = np.quantile(draws, [0.25, 0.75], axis=0)
    inside = ((draws > low) & (draws < high)).all(1)
    inverse = np.where(inside, np.exp(-linear_posterior.log_prob(draws)), 0.0)
    volume = np.prod(high - low)
    error = inverse.std() / np.sqrt(len(draws))
    assert abs(inverse.mean() - volume) < 5 * error
    assert np.isneginf(linear_posterior.log_prob(np.full((1, 3), np.inf))).all()


def test_same_seed_same_posterior():
    runs = [
        fp.Retrieval(linear, PRIORS, _linear_observation(), **TINY).run(
            2, 300, seed=seed, progress=False
        )
        for seed in (7, 7, 8)
    ]
    first, again, other = (run.sample(100) for run in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_save_and_load(tmp_path, linear_posterior):
    corrected = linear_posterior.importance_sample(500)
    for posterior in (linear_posterior, corrected):
        posterior.save(tmp_path / "posterior.npz")
        loaded = fp.load_posterior(tmp_path / "posterior.npz", simulator=linear)
        assert type(loaded) is type(posterior)
        np.testing.assert_array_equal(loaded.sample(100), posterior.sample(100))
        theta = posterior.sample(5)
        np.testing.assert_allclose(loaded.log_prob(theta), posterior.log_prob(theta), rtol=1e-6)
    with pytest.raises(NoLikelihoodError, match="no simulator"):
        fp.load_posterior(tmp_path / "posterior.npz").importance_sample(10)


def test_stochastic_simulator_needs_no_errors():
    """Without errors the engine serves any simulator; what needs a likelihood says so."""

    def noisy(parameters):
        rng = np.random.default_rng(int(1e6 * abs(parameters["a"])))
        return rng.normal(parameters["a"], 0.1, size=4)

    retrieval = fp.Retrieval(
        noisy, {"a": fp.Normal(0.0, 1.0)}, fp.Observation(np.full(4, 0.5)), pool=1
    )
    posterior = retrieval.run(1, 1000, seed=0, progress=False)
    # The prior has deviation 1, the posterior 0.05 about 0.5. How near one round comes to that is
    # tested above; here, that the simulator's own noise is learned from, and nothing added to it.
    low, median, high = np.quantile(posterior.sample(5000), [0.16, 0.5, 0.84])
    assert abs(median - 0.5) < 0.1
    assert 0.03 < (high - low) / 2 < 0.2
    with pytest.raises(NoLikelihoodError, match="errors=None"):
        posterior.importance_sample(10)


def test_simulator_that_fails_too_often_stops_the_run():
    def fails(parameters):
        if parameters["a"] > -0.5:
            raise RuntimeError("no convergence")
        return np.zeros(N_CHANNELS)

    retrieval = fp.Retrieval(fails, PRIORS, _linear_observation(), pool=1, **TINY)
    with pytest.raises(SimulatorError, match=r"\d+ of \d+ simulations failed.*no convergence"):
        retrieval.run(1, 200, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "rounds = 0"),
        ({"simulations": 10}, "simulations = 10"),
        ({"simulations": [300, 300]}, "one number for each of 1 rounds"),
        ({"stop": "soon"}, "stop = 'soon'"),
    ],
)
def test_run_refuses_nonsense_before_simulating(change, message):
    def must_not_run(parameters):
        raise AssertionError("simulated")

    retrieval = fp.Retrieval(must_not_run, PRIORS, _linear_observation())
    with pytest.raises(InvalidInput, match=message):
        retrieval.run(**{"rounds": 1, "simulations": 300, "progress": False, **change})


def test_names_are_held_against_the_simulator(wasp39b):
    priors = {name: (0.1, 0.2) for name in wasp39b.parameters}
    observation = fp.Observation(
        np.full(wasp39b.wavelength.size, 0.02), np.full(wasp39b.wavelength.size, 1e-4)
    )
    with pytest.raises(InvalidInput, match="log_g"):
        fp.Retrieval(wasp39b, {k: v for k, v in priors.items() if k != "log_g"}, observation)
    with pytest.raises(InvalidInput, match="X_CH4"):
        fp.Retrieval(wasp39b, {**priors, "X_CH4": (0, 1)}, observation)


@pytest.fixture(scope="module")
def wasp39b():
    centre = np.linspace(1.0, 5.2, 60)
    return fp.simulators.IsothermalTransmission(
        centre, np.full(60, centre[1] - centre[0]), star_radius=0.932
    )


def test_synthetic_spectrum_is_recovered(wasp39b):
    """Five parameters of the embedded model, from its own spectrum with noise.

    Each true value lies within 4 posterior standard deviations: missed by chance for one of five
    in 3,000 noise draws; and the fit is as good as the noise, 5 deviations of chi square.
    """
    truth = {"T": 900.0, "X_H2O": 1e-3, "X_CO2": 1e-5, "radius": 1.25, "log_g": 2.7}
    spectrum = jax.jit(wasp39b)({k: jnp.array([v]) for k, v in truth.items()})[0]
    rng = np.random.default_rng(3)
    errors = np.full(60, 1e-4)
    observation = fp.Observation(
        np.asarray(spectrum, np.float64) + errors * rng.normal(size=60), errors
    )
    retrieval = fp.Retrieval(
        wasp39b,
        {
            "T": fp.LogUniform(300, 3000, unit="K"),
            "X_H2O": fp.LogUniform(1e-12, 0.1),
            "X_CO2": fp.LogUniform(1e-12, 0.1),
            "radius": fp.Uniform(0.8, 1.6, unit="R_jup"),
            "log_g": fp.Uniform(2, 4),
        },
        observation,
    )
    corrected = retrieval.run(4, 1000, seed=0, progress=False).importance_sample(2000)
    z = retrieval.space.to_z(corrected.sample(10_000))
    z_truth = retrieval.space.to_z(np.array([list(truth.values())]))[0]
    assert np.abs((z.mean(0) - z_truth) / z.std(0)).max() < 4
    assert corrected.efficiency > 0.1
    freedom = 60 - 5
    assert abs(corrected.reduced_chi2_best() - 1) < 5 * np.sqrt(2 / freedom)


def test_importance_sampling_where_every_simulation_fails():
    observation = _linear_observation()
    posterior = fp.Retrieval(linear, PRIORS, observation, **TINY).run(1, 200, progress=False)
    nothing = Simulations(np.full((20, N_CHANNELS), np.nan), dict.fromkeys(range(20), "crashed"))
    broken = dataclasses.replace(
        posterior,
        evaluate=lambda name, theta: nothing._replace(spectra=nothing.spectra[: len(theta)]),
    )
    with pytest.raises(SimulatorError, match="none of the 20 simulations"):
        broken.importance_sample(20)
