"""Ensembles of a linear Gaussian problem, whose posteriors and evidence are known."""

import dataclasses

import numpy as np
import pytest
import xarray
from scipy import stats
from scipy.special import logsumexp

import floppity_jax as fp
from floppity_jax import plots, report
from floppity_jax.diagnostics.comparison import as_datatree
from floppity_jax.errors import InvalidInput, NoLikelihoodError, RunDirectoryError
from floppity_jax.measurement import Measurement
from floppity_jax.priors import ParameterSpace
from floppity_jax.rounds import Model

N, ROUNDS = 300, 2
DESIGN = np.array([[1.0, 0.6, 0.1, -0.4, 0.8], [0.2, -0.7, 1.0, 0.5, 0.3]])
SIGMA = 0.4
NAMES = ("a", "C/O")
PRIORS = {name: fp.Normal(0.0, 1.0) for name in NAMES}
TRUTH = np.array([0.5, -0.8])
COVARIANCE = np.linalg.inv(np.eye(2) + DESIGN @ DESIGN.T / SIGMA**2)
CLEAN = fp.Observation(TRUTH @ DESIGN, np.full(5, SIGMA))
TINY = {
    "flow": fp.FlowConfig(transforms=2, bins=4, width=16, blocks=1, components=2, members=1),
    "training": fp.TrainingConfig(max_epochs=20),
    "pool": 1,
}


@fp.batched
def linear(parameters):
    return np.stack([parameters[name] for name in NAMES], -1) @ DESIGN


RETRIEVAL = fp.Retrieval(linear, PRIORS, CLEAN, **TINY)


def _mean(observation):
    return COVARIANCE @ DESIGN @ observation.values / SIGMA**2


def _log_evidence(observation):
    marginal = DESIGN.T @ DESIGN + SIGMA**2 * np.eye(5)
    return stats.multivariate_normal(np.zeros(5), marginal).logpdf(observation.values)


def _run(directory, seeds=(0,), observations=None, rounds=ROUNDS, retrieval=RETRIEVAL, **options):
    return fp.run_ensemble(
        retrieval, rounds, N, directory=directory, seeds=seeds, observations=observations,
        progress=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def calls():
    """Count the simulations that are made."""
    made = []

    def count(self, theta, rows, **options):
        made.append(len(rows))
        return stream(self, theta, rows, **options)

    stream = Model.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "stream", count)
        yield made


def _made(calls, work):
    """Return what some work comes to, and the simulations that it took."""
    before = sum(calls)
    return work(), sum(calls) - before


REALISATIONS = fp.noise_realisations(CLEAN, 3, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ensemble") / "runs"


@pytest.fixture(scope="module")
def grown(folder, calls):
    """Three realisations by one seed, then by two; with the calls that each took."""
    first = _made(calls, lambda: _run(folder, (5,), REALISATIONS))
    return first, _made(calls, lambda: _run(folder, (5, 6), REALISATIONS, resume=True))


@pytest.fixture(scope="module")
def ensemble(grown):
    return grown[1][0]


@pytest.fixture(scope="module")
def corrected(ensemble, calls):
    result, made = _made(calls, lambda: ensemble.importance_sample(2000, seed=1))
    assert made == 3 * 2000
    return result


def test_the_first_round_is_simulated_once_and_calls_are_counted(grown):
    (first, made), (both, more) = grown
    assert made == first.simulator_calls == N + 3 * N
    assert more == both.simulator_calls - made == 3 * N
    taken_over = [m.record.rounds[0].taken_over for m in both.members]
    assert sorted(taken_over) == [0] + 5 * [N]
    assert [m.record.seed for m in both.members] == [5, 6, 5, 6, 5, 6]
    observed = [m.observation.values for m in both.members]
    np.testing.assert_array_equal(observed, np.repeat([o.values for o in REALISATIONS], 2, axis=0))


def test_members_that_were_there_are_as_they_were(grown):
    (first, _), (both, _) = grown
    for before, now in zip(first.members, both.members[::2], strict=True):
        np.testing.assert_array_equal(before.sample(50), now.sample(50))
    different = [m.sample(1)[0, 0] for m in both.members]
    assert len(set(different)) == 6


def test_whatever_the_order_nothing_is_simulated_again(folder, ensemble, calls):
    again, made = _made(calls, lambda: _run(folder, (6, 5), REALISATIONS[::-1], resume=True))
    assert made == 0
    assert again.simulator_calls == ensemble.simulator_calls
    np.testing.assert_array_equal(again.members[0].sample(9), ensemble.members[-1].sample(9))
    some, made = _made(calls, lambda: _run(folder, (6,), REALISATIONS[1:2], resume=True))
    assert made == 0
    np.testing.assert_array_equal(some.members[0].sample(9), ensemble.members[3].sample(9))


def test_an_observation_is_added(tmp_path, calls):
    _run(tmp_path, observations=REALISATIONS[:1])
    longer, made = _made(calls, lambda: _run(tmp_path, observations=REALISATIONS[:2], resume=True))
    assert made == N
    assert longer.simulator_calls == 3 * N


def test_an_interrupted_ensemble_goes_on(folder, ensemble, tmp_path, calls, monkeypatch):
    """Stopped in the second round of its second member, after which 300 simulations were there."""
    counted = Model.stream
    before = sum(calls)

    def stop(self, theta, rows, **options):
        if sum(calls) - before >= 2 * N:
            raise KeyboardInterrupt
        return counted(self, theta, rows, **options)

    monkeypatch.setattr(Model, "stream", stop)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, (5,), REALISATIONS)
    monkeypatch.undo()
    again, made = _made(calls, lambda: _run(tmp_path, (5,), REALISATIONS, resume=True))
    assert made == 2 * N
    assert again.simulator_calls == 4 * N
    np.testing.assert_array_equal(again.members[1].sample(9), ensemble.members[2].sample(9))


def test_a_first_round_is_taken_over_and_folders_may_move(tmp_path, calls):
    RETRIEVAL.run(ROUNDS, N, directory=tmp_path / "other", progress=False)
    (tmp_path / "here").mkdir()
    (_, made) = _made(calls, lambda: _run(tmp_path / "here", reuse=tmp_path / "other"))
    assert made == N
    (tmp_path / "here").rename(tmp_path / "there")
    (_, made) = _made(calls, lambda: _run(tmp_path / "there", (0, 1), resume=True))
    assert made == N
    (_, made) = _made(calls, lambda: _run(tmp_path / "there", (1,), resume=True))
    assert made == 0


def test_draws_are_those_of_the_mixture(ensemble):
    """Its moments, from those of the members; five standard errors of 20,000 draws.

    A mean scatters by the deviation over the root of their number, a variance of a law that is
    nearly normal by sqrt(2) times itself over that; both terms come in twice, from either side.
    """
    n = 20_000
    of_each = [member.sample(n, seed=3) for member in ensemble.members]
    means = np.array([draws.mean(0) for draws in of_each])
    mean = means.mean(0)
    variance = np.mean([draws.var(0) for draws in of_each], axis=0) + means.var(0)
    draws = ensemble.sample(n)
    assert draws.shape == (n, 2)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * np.sqrt(2 * variance / n))
    assert np.all(np.abs(draws.var(0) / variance - 1) < 5 * np.sqrt(4 / n))
    np.testing.assert_array_equal(draws, ensemble.sample(n))
    # In random order: the halves do not differ.
    halves = draws[: n // 2].mean(0) - draws[n // 2 :].mean(0)
    assert np.all(np.abs(halves) < 5 * np.sqrt(4 * variance / n))
    assert ensemble.sample(3).shape == (3, 2)


def test_log_prob_is_the_density_of_the_mixture(ensemble):
    theta = ensemble.sample(50)
    each = np.exp([member.log_prob(theta) for member in ensemble.members])
    np.testing.assert_allclose(ensemble.log_prob(theta), np.log(each.mean(0)), rtol=1e-6)
    assert ensemble.names == NAMES
    np.testing.assert_allclose(ensemble.weights, 1 / 6)


@pytest.mark.parametrize("weights", ["equal", "evidence"])
def test_corrected_mixture_is_the_closed_form(ensemble, corrected, calls, weights):
    """Five standard errors, of as many draws as count, of means, variances and evidence."""
    if weights == "evidence":
        corrected, made = _made(
            calls, lambda: ensemble.importance_sample(2000, seed=1, weights="evidence")
        )
        assert made == 0  # the draws are kept in the directory
    log_z = np.array([_log_evidence(o) for o in REALISATIONS])
    expected = np.full(3, 1 / 3)
    log_evidence = log_z.mean()
    if weights == "evidence":
        expected = np.exp(log_z - logsumexp(log_z))
        log_evidence = logsumexp(log_z) - np.log(3)
    assert np.ptp(log_z) > 0.5  # or the two would be the same
    errors = [p.log_evidence_error for p in corrected.posteriors]
    np.testing.assert_allclose(corrected.weights, expected, atol=5 * np.max(errors))
    for posterior, value in zip(corrected.posteriors, log_z, strict=True):
        assert abs(posterior.log_evidence - value) < 5 * posterior.log_evidence_error
        assert posterior.efficiency > 0.5
    assert abs(corrected.log_evidence - log_evidence) < 5 * corrected.log_evidence_error
    assert 0 < corrected.log_evidence_error < max(errors)
    mean = expected @ [_mean(o) for o in REALISATIONS]
    off = np.array([_mean(o) for o in REALISATIONS]) - mean
    variance = np.diag(COVARIANCE) + expected @ off**2
    draws = corrected.sample(20_000)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / corrected.ess))
    assert np.all(np.abs(draws.var(0) / variance - 1) < 5 * np.sqrt(2 / corrected.ess))
    assert 1000 < corrected.ess <= 6000


def test_calls_and_density_after_correction(ensemble, corrected):
    assert corrected.simulator_calls == ensemble.simulator_calls + 3 * 2000
    theta = corrected.sample(5)
    each = [stats.multivariate_normal(_mean(o), COVARIANCE).pdf(theta) for o in REALISATIONS]
    error = max(p.log_evidence_error for p in corrected.posteriors)
    np.testing.assert_allclose(
        corrected.log_prob(theta), np.log(np.mean(each, axis=0)), atol=5 * error
    )


def test_seeds_of_one_observation_are_corrected_as_one(folder, calls):
    ensemble = _run(folder, (5, 6), REALISATIONS[:1], resume=True)
    corrected, made = _made(calls, lambda: ensemble.importance_sample(1000, seed=8))
    assert made == 1000
    (posterior,) = corrected.posteriors
    np.testing.assert_array_equal(corrected.weights, [1.0])
    assert corrected.log_evidence == posterior.log_evidence
    assert corrected.log_evidence_error == pytest.approx(posterior.log_evidence_error)
    assert corrected.ess == pytest.approx(posterior.ess)
    alone, made = _made(calls, lambda: ensemble.members[0].importance_sample(1000, seed=8))
    assert made == 1000
    assert not np.array_equal(alone.draws, posterior.draws)


@pytest.mark.parametrize("which", ["ensemble", "corrected", "seeds", "one"])
def test_datatree_of_draws_and_parts(which, ensemble, corrected, folder, tmp_path):
    if which in ("seeds", "one"):
        seeds = (5, 6) if which == "seeds" else (5,)
        given = _run(folder, seeds, REALISATIONS[:1], resume=True).importance_sample(500)
    else:
        given = ensemble if which == "ensemble" else corrected
    tree = given.to_datatree(900, seed=2)
    draws = np.stack([tree["posterior"][name].to_numpy()[0] for name in ("a", "C_O")], axis=1)
    np.testing.assert_array_equal(draws, given.sample(900, seed=2))
    assert tree["posterior"].sizes == {"chain": 1, "draw": 900}
    np.testing.assert_array_equal(tree["posterior"]["draw"], np.arange(900))
    assert tree["posterior"]["C_O"].attrs["label"] == "C/O"
    k = len(given.posteriors)
    counts = np.bincount(tree["sample_stats"]["part"].to_numpy()[0], minlength=k)
    assert np.all(counts == 900 / k)
    groups = {"posterior", "prior", "sample_stats", "constant_data", "members"}
    if which == "ensemble":
        expected = given.log_prob(draws)
        np.testing.assert_allclose(tree["sample_stats"]["log_prob"][0], expected, rtol=1e-6)
    else:
        groups |= {"model_spectra", "posterior_predictive", "observations"}
        np.testing.assert_allclose(tree["model_spectra"]["spectrum"][0], draws @ DESIGN, rtol=1e-6)
        assert tree.attrs["log_evidence"] == given.log_evidence
        assert tree["observations"]["weight"].to_numpy() == pytest.approx(given.weights)
        medians = tree["observations"]["quantiles_a"].sel(quantile=0.5)
        exact = [_mean(m.observation)[0] for m, *_ in given.by_observation]
        np.testing.assert_allclose(medians, exact, atol=0.1 * SIGMA)
    if which in ("seeds", "one"):
        groups |= {"observed_data", "log_likelihood", "importance"}
        assert "log_prob" in tree["sample_stats"]
    assert set(tree.children) == groups | ({"rounds"} if which == "one" else set())
    members = tree["members"]
    assert members["seed"].to_numpy().tolist() == [m.record.seed for m in given.members]
    assert members["quantiles_C_O"].shape == (len(given.members), 5)
    assert tree.attrs["simulator_calls"] == given.simulator_calls
    tree.to_netcdf(tmp_path / "posterior.nc")
    with xarray.open_datatree(tmp_path / "posterior.nc") as stored:
        assert set(stored.children) == set(tree.children)
    names = {path.name for path in report.write_report(tree, tmp_path / "report")}
    assert names >= {"corner.png", "report.html"}
    assert ("spectrum.png" in names) == (which in ("seeds", "one"))


def test_draws_and_figures_are_read_by_others(ensemble, corrected):
    import arviz_stats

    summary = arviz_stats.summary(corrected.to_datatree(900), kind="stats")
    assert len(summary) == 2
    plots.corner(ensemble.to_datatree(500), *(m.to_datatree(200) for m in ensemble.members[:2]))
    tree = as_datatree(corrected)
    assert tree.attrs["ess"] == corrected.ess


def test_noise_realisations():
    many = fp.noise_realisations(CLEAN, 4000, seed=4)
    white = (np.array([o.values for o in many]) - CLEAN.values) / SIGMA
    assert stats.kstest(white.ravel(), "norm").pvalue > 1e-3
    for few, first in zip(REALISATIONS, many, strict=False):
        np.testing.assert_array_equal(few.values, first.values)
        np.testing.assert_array_equal(few.errors, CLEAN.errors)
    with pytest.raises(InvalidInput, match="n = 0"):
        fp.noise_realisations(CLEAN, 0)
    with pytest.raises(NoLikelihoodError):
        fp.noise_realisations(fp.Observation(np.ones(3)), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "members must be there, and differ"),
        ({"seeds": (0, 0)}, "members must be there, and differ"),
        ({"seeds": (0.5,)}, "seeds must be a whole number"),
        ({"observations": [CLEAN, CLEAN]}, "members must be there, and differ"),
        ({"observations": [CLEAN, fp.Observation(np.ones(4), np.ones(4))]}, "name and channels"),
        ({"observations": [CLEAN.values]}, "observation must be an Observation"),
        ({"rounds": 0}, "rounds must be"),
        ({"stop": "soon"}, "stop must be"),
    ],
)
def test_what_is_refused_before_anything_is_simulated(tmp_path, calls, change, message):
    before = sum(calls)
    with pytest.raises(InvalidInput, match=message):
        _run(tmp_path, **change)
    assert sum(calls) == before
    assert not list(tmp_path.iterdir())


def test_another_ensemble_is_not_added_to(folder, ensemble, calls):
    before = sum(calls)
    with pytest.raises(RunDirectoryError, match="already holds an ensemble"):
        _run(folder, (7,), REALISATIONS)
    other = fp.Retrieval(linear, PRIORS, CLEAN, **{**TINY, "flow": fp.FlowConfig.fast()})
    with pytest.raises(RunDirectoryError, match="set up otherwise: flow"):
        _run(folder, (7, 5), REALISATIONS, retrieval=other, resume=True)
    assert sum(calls) == before
    assert len(list(folder.iterdir())) == 6


def test_what_cannot_be_corrected_is_refused(ensemble):
    for n, weights in ((0, "equal"), (100, "best")):
        with pytest.raises(InvalidInput):
            ensemble.importance_sample(n, weights=weights)
    member = ensemble.members[0]
    space = ParameterSpace({**PRIORS, "a": fp.Normal(0, 2)})
    wider = dataclasses.replace(member, measurement=Measurement(member.observation, space))
    with pytest.raises(InvalidInput, match="same parameters and priors"):
        member.importance_sample(100, others=[wider])
