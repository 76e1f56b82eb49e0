"""Calibration against posteriors that are known to be right, and known to be wrong."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import floppity_jax as fp
from floppity_jax import plots, simulate
from floppity_jax.diagnostics import synthetic
from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.diagnostics.ranks import Ranks, rank, rank_all, tarp_rank
from floppity_jax.diagnostics.uniformity import (
    Side,
    clopper_pearson,
    local_level,
    pointwise_band,
    simultaneous_band,
    uniformity,
)
from floppity_jax.errors import InvalidInput, NoLikelihoodError, RunDirectoryError, SimulatorError
from floppity_jax.rounds import Round

NAMES = ("a", "b", "c")
DESIGN = np.array([[1.0, 0.5, 0.2, 0.0], [0.8, 1.0, -0.3, 0.1], [0.0, 0.4, 1.0, 0.9]])
ERROR = 0.5
COVARIANCE = np.linalg.inv(np.eye(3) + DESIGN @ DESIGN.T / ERROR**2)
DEVIATION = np.sqrt(np.diag(COVARIANCE))


def calibration_of(ranks, draws=400, **changes):
    """Return a calibration of three parameters from its ranks."""
    columns = {name: np.array([getattr(r, name) for r in ranks]) for name in Ranks._fields}
    n = len(ranks)
    return Calibration(**{
        "names": NAMES, "subject": "test", "truth": np.zeros((n, 3)), **columns,
        "ess": np.full(n, float(draws)), "simulator_calls": 0, **changes,
    })  # fmt: skip


def linear_calibration(n, seed, *, scale=1.0, shift=0.0, covariance=COVARIANCE, weighted=None):
    """Calibrate a posterior of a linear Gaussian problem, exact unless it is made wrong.

    ``shift`` is in deviations of the first parameter. Draws from a posterior twice as wide are
    weighted, or with ``weighted=False`` left as they are.
    """
    rng = np.random.default_rng(seed)
    root = scale * np.linalg.cholesky(covariance)
    ranks = []
    for _ in range(n):
        truth = rng.normal(size=3)
        observed = truth @ DESIGN + ERROR * rng.normal(size=4)
        mean = COVARIANCE @ DESIGN @ observed / ERROR**2 + [shift * DEVIATION[0], 0, 0]

        def log_density(theta, root=root, mean=mean):
            return -0.5 * (np.linalg.solve(root, (theta - mean).T) ** 2).sum(axis=0)

        wide = 1.0 if weighted is None else 2.0
        white = wide * rng.normal(size=(400 if weighted is None else 2000, 3))
        draws = mean + white @ root.T
        log_weights = None
        if weighted:
            log_weights = -0.5 * (1 - wide**-2) * (white**2).sum(axis=1)
        both = log_density(np.concatenate([draws, truth[None]]))
        # Over the prior's density, N(0, I).
        both += 0.5 * (np.concatenate([draws, truth[None]]) ** 2).sum(axis=1)
        ranks.append(rank_all(rng, draws, truth, both[:-1], both[-1], log_weights))
    return calibration_of(ranks)


def test_chance_to_leave_the_band_is_exact():
    """In closed form for one and two numbers, by simulation for 20: four binomial deviations.

    The smaller of two must lie in l .. h, the larger in 1 - h .. 1 - l, with l = 1 - sqrt(1 - level
    / 2) and h = 1 - sqrt(level / 2): pairs of one in either, 2 (h - l)^2, less those in the overlap
    1 - h .. h, which that counts in both orders.
    """
    assert local_level(1, 0.05) == pytest.approx(0.05, rel=1e-5)
    level = local_level(2, 0.05)
    low, high = 1 - np.sqrt(1 - level / 2), 1 - np.sqrt(level / 2)
    inside = 2 * (high - low) ** 2 - (high - (1 - high)) ** 2
    assert inside == pytest.approx(0.95, abs=1e-6)
    n, repeats = 20, 20_000
    numbers = np.sort(np.random.default_rng(0).uniform(size=(repeats, n)), axis=1)
    i = np.arange(1, n + 1)
    for p_value in (0.05, 0.3, 0.8):
        tail = local_level(n, p_value) / 2
        low, high = stats.beta.ppf(tail, i, n + 1 - i), stats.beta.isf(tail, i, n + 1 - i)
        left = ((numbers < low) | (numbers > high)).any(axis=1).mean()
        assert abs(left - p_value) < 4 * np.sqrt(p_value * (1 - p_value) / repeats)


def test_a_curve_leaves_the_band_where_the_test_says_so():
    rng = np.random.default_rng(1)
    verdicts = set()
    for power in rng.choice([0.6, 1.0, 1.6], size=100):
        numbers = rng.uniform(size=30) ** power
        at = np.sort(np.concatenate([numbers, numbers - 1e-12]))
        low, high = simultaneous_band(30, at)
        share = (numbers <= at[:, None]).mean(axis=1)
        test = uniformity(numbers)
        assert ((share < low - 1e-9) | (share > high + 1e-9)).any() == (test.p_value < 0.05)
        verdicts.add(test.side if test.p_value < 0.05 else None)
    assert verdicts == {None, Side.LOW, Side.HIGH}


def test_binomial_intervals():
    low, high = pointwise_band(100, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(low, [0, 0.40, 1])  # P(X < 40) = 0.018, P(X < 41) = 0.028
    np.testing.assert_allclose(high, [0, 0.60, 1])
    exact = stats.binomtest(68, 100).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(clopper_pearson(68, 100), [exact.low, exact.high])
    assert clopper_pearson(0, 10)[0] == 0
    assert clopper_pearson(10, 10)[1] == 1


@pytest.mark.parametrize("draw", ["continuous", "ties", "all equal"])
def test_ranks_among_few_draws_are_uniform(draw):
    """Of 20,000 independent columns with 3 draws each; the test fails one seed in 1,000."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(4, 20_000))
    values = {"continuous": values, "ties": np.round(values), "all equal": np.zeros_like(values)}
    values = values[draw]
    ranks = rank(rng, values[1:], values[0])
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3
    far = rank(rng, values[1:], values[0] + 0.2)
    assert stats.kstest(far, "uniform").pvalue < 1e-10


def test_equal_weights_are_no_weights_and_weights_are_shares():
    values, truth = np.random.default_rng(0).normal(size=(50, 3)), np.zeros(3)
    one, other = (np.random.default_rng(1) for _ in range(2))
    plain = rank(one, values, truth)
    np.testing.assert_allclose(plain, rank(other, values, truth, log_weights=np.full(50, -800.0)))
    weights = np.random.default_rng(2).gamma(1.0, size=50)
    weighted = rank(np.random.default_rng(3), values, truth, log_weights=np.log(weights))
    share = weights @ (values < 0) / weights.sum()
    own = (weights**2).sum() / weights.sum() ** 2
    assert ((weighted >= share / (1 + own)) & (weighted <= (share + own) / (1 + own))).all()
    assert 0 < tarp_rank(one, values[:1], truth) < 1  # a single draw has no spread


def test_exact_posteriors_are_found_calibrated():
    """So they are in 95% of all seeds or more: see the rate of false alarms."""
    verdict = linear_calibration(100, seed=0).verdict
    assert verdict.calibrated
    assert verdict.p_value > 0.05
    assert [f.reading for f in verdict.findings] == 5 * ["calibrated"]


def test_false_alarms_are_as_rare_as_stated():
    """At most 5% of exact posteriors; 4.9% if the five tests at 1% each were independent.

    They share the draws, and so some of their alarms: at least the 1% of one alone are left. Four
    binomial deviations.
    """
    repeats = 500
    alarms = [not linear_calibration(30, seed).verdict.calibrated for seed in range(repeats)]
    assert 0.01 < np.mean(alarms) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / repeats)


@pytest.mark.parametrize(
    ("wrong", "reading"),
    [({"scale": 0.7}, "overconfident"), ({"scale": 1.4}, "underconfident")],
)
def test_wrong_widths_are_found(wrong, reading):
    calibration = linear_calibration(100, seed=4, **wrong)
    verdict = calibration.verdict
    assert verdict.reading == reading
    assert verdict.findings[0].reading == reading
    share = calibration.coverage(np.array([0.6827])).density[0]
    # Of a normal law in three dimensions, its width times s: P(chi2_3 < q s^2), q its quantile.
    expected = stats.chi2.cdf(stats.chi2.ppf(0.6827, 3) * wrong["scale"] ** 2, 3)
    # That is the coverage of regions of highest posterior density, ours are of that over the
    # prior's: the same but for the posterior's width, a third of the prior's.
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 100) + 0.03
    assert f"{reading} (p = " in str(calibration)


@pytest.mark.parametrize(("shift", "reading"), [(0.8, "too high"), (-0.8, "too low")])
def test_a_bias_is_found_and_named(shift, reading):
    verdict = linear_calibration(100, seed=4, shift=shift).verdict
    readings = {finding.of: finding.reading for finding in verdict.findings}
    assert readings["a"] == reading
    assert "biased" in verdict.reading
    assert readings["b"] == readings["c"] == "calibrated"


def test_a_missed_correlation_is_found_by_distance_alone():
    """Every marginal is right; densities are left out, as where there are none.

    The truths are correlated by 0.9, the draws are not. Of 200 truths four in five such tests find
    it, of 400 nearly all.
    """
    rng = np.random.default_rng(6)
    root = np.linalg.cholesky([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    ranks = []
    for _ in range(400):
        truth, draws = root @ rng.normal(size=3), rng.normal(size=(400, 3))
        ranks.append(rank_all(rng, draws, truth, np.zeros(400), 0.0))
    verdict = calibration_of(ranks).verdict
    assert verdict.reading == "miscalibrated"
    assert [f.of for f in verdict.findings if f.reading != "calibrated"] == ["TARP"]


def test_weighted_draws_are_as_good_as_draws():
    wide = linear_calibration(100, seed=7, weighted=False)
    assert wide.verdict.findings[0].reading == "underconfident"
    weighted = linear_calibration(100, seed=7, weighted=True)
    assert weighted.verdict.calibrated
    # Observations, truths and draws are the same: only the ranks of the weighted ones move.
    assert (np.abs(wide.pit - weighted.pit).max(axis=0) > 0.1).all()


def test_datatree_is_read_by_arviz_plots_and_by_ours():
    import arviz_plots

    calibration = linear_calibration(50, seed=8)
    tree = calibration.to_datatree()
    assert set(tree["prior_sbc"].data_vars) == set(NAMES)
    np.testing.assert_array_equal(tree["prior_sbc"]["b"].to_numpy(), calibration.pit[None, :, 1])
    drawn = arviz_plots.plot_ecdf_pit(tree, backend="matplotlib")
    line = drawn.viz["ecdf_lines"]["a"].item().get_xydata()
    # Its curve is the share below minus the level.
    x = line[len(line) // 2, 0]
    share = (calibration.pit[:, 0] <= x).mean() - x
    assert abs(line[len(line) // 2, 1] - share) <= 1 / 50 + 1e-9
    assert tree.attrs["verdict"] == calibration.verdict.reading
    over = linear_calibration(30, seed=9, scale=0.7)
    axes = plots.coverage(tree, over, labels=["right", "narrow"])
    (ax,) = axes.flat
    right, narrow = (ax.get_lines()[i].get_ydata() for i in (1, 2))
    np.testing.assert_array_equal(right, calibration.coverage().density)
    np.testing.assert_array_equal(narrow, over.coverage().density)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["chance, 50 observations", "right", "chance, 30 observations", "narrow"]
    tarp = plots.coverage(over, axes=axes, distance=True)[0, 0].get_lines()[-1]
    np.testing.assert_array_equal(tarp.get_ydata(), over.coverage().distance)
    with pytest.raises(InvalidInput, match="one for each of 2 curves"):
        plots.coverage(tree, over, labels=["right"])


def test_what_is_said_of_coarse_ranks_and_misfits():
    text = str(calibration_of([Ranks(0.5, np.full(3, 0.5), 0.5)] * 4, draws=20, misfit=3.0))
    assert "at most 20 effective draws" in text
    assert "errors 3.0 times larger" in text
    assert "what 4 observations can tell" in text
    assert " 50.0%    100.0%  39.8% .. 100.0%  100.0%" in text


@fp.jax_batched
def linear(parameters):
    return jnp.stack([parameters[name] for name in NAMES], -1) @ jnp.asarray(DESIGN, jnp.float32)


def retrieval(simulator=linear, **changes):
    settings = {
        "flow": fp.FlowConfig(members=1, transforms=2, bins=4, width=16, blocks=1),
        "training": fp.TrainingConfig(patience=3, max_epochs=10),
        "pool": 1,
    }
    observation = fp.Observation(np.zeros(4), np.full(4, ERROR))
    priors = {name: fp.Normal(0, 1) for name in NAMES}
    return fp.Retrieval(simulator, priors, observation, **{**settings, **changes})


SMALL = {"rounds": 2, "simulations": 200, "importance_samples": 150, "progress": False}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("calibration")
    return fp.calibrate(retrieval(), 3, directory=directory, **SMALL), directory


def test_calibration_of_a_retrieval(undisturbed):
    calibration, directory = undisturbed
    assert calibration.n == 3
    assert calibration.subject.endswith("corrected by 150 draws")
    # 200 of the prior for all; then each its truth, 200 of round two and 150 to correct it.
    assert calibration.simulator_calls == 200 + 3 * (1 + 200 + 150)
    assert calibration.uncorrected.simulator_calls == 200 + 3 * (1 + 200)
    assert len(np.unique(calibration.truth, axis=0)) == 3
    # The corrected posterior is the exact one, whose PIT is known; its error is that of a mean of
    # `ess` draws, 0.5 / sqrt(ess) at most, and of one more draw.
    for unit in range(3):
        with np.load(directory / f"unit_{unit:03d}" / "truth.npz") as stored:
            truth, spectrum = stored["z"], stored["spectrum"]
        rng = np.random.default_rng([0, unit, 1])
        observed = synthetic.observe(rng, retrieval().measurement, truth, spectrum).values
        assert 0 < np.abs(observed - spectrum).max() < 5 * ERROR
        mean = COVARIANCE @ DESIGN @ observed / ERROR**2
        exact = stats.norm.cdf((truth - mean) / DEVIATION)
        ess = calibration.ess[unit]
        assert ess > 20
        assert np.abs(calibration.pit[unit] - exact).max() < 4 * 0.5 / np.sqrt(ess) + 1 / ess


def test_a_calibration_goes_on_from_where_it_was_interrupted(tmp_path, monkeypatch, undisturbed):
    whole, _ = undisturbed
    run = fp.Retrieval.run
    trained = Round.run

    def interrupted(self, key, state, name, n, take_over):
        if self.store.path.name == "unit_001" and name == "round_02":
            raise KeyboardInterrupt
        return trained(self, key, state, name, n, take_over)

    with monkeypatch.context() as patch:
        patch.setattr(Round, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fp.calibrate(retrieval(), 3, directory=tmp_path, **SMALL)
    assert (tmp_path / "unit_001" / "rounds" / "round_01.npz").exists()
    assert sorted(p.name for p in tmp_path.glob("unit_*.npz")) == ["unit_000.npz"]
    with pytest.raises(RunDirectoryError, match="already holds a calibration"):
        fp.calibrate(retrieval(), 3, directory=tmp_path, **SMALL)
    with pytest.raises(RunDirectoryError, match="set up otherwise, in draws"):
        fp.calibrate(retrieval(), 3, directory=tmp_path, resume=True, draws=10, **SMALL)
    ran = []

    def counted(self, *arguments, directory, **options):
        ran.append(directory.name)
        return run(self, *arguments, directory=directory, **options)

    monkeypatch.setattr(fp.Retrieval, "run", counted)
    shares = [
        fp.calibrate(retrieval(), 3, directory=tmp_path, resume=True, units=units, **SMALL)
        for units in ((2,), (), None)
    ]
    assert [share.n for share in shares] == [2, 2, 3]
    assert ran == ["unit_002", "unit_001"]
    for ours, theirs in ((shares[-1], whole), (shares[-1].uncorrected, whole.uncorrected)):
        for name in ("truth", "credibility", "pit", "tarp", "ess", "simulator_calls"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_first_round_is_tested_at_no_call_beyond_it(tmp_path, monkeypatch):
    """The flow begins as a linear regression, which is exact here up to what 200 rows teach.

    Four binomial deviations for 200 observations, and that error: regression on 200 rows makes
    widths uncertain by 1 / sqrt(400) = 5%, a coverage by 0.04.
    """
    ours = retrieval()
    ours.run(1, 400, seed=3, directory=tmp_path, progress=False)

    def no_more(*arguments, **options):
        raise AssertionError("the simulator was called")

    monkeypatch.setattr(simulate, "stream", no_more)
    calibration = fp.calibrate_amortised(ours, directory=tmp_path, seed=3, progress=False)
    assert calibration.n == 200
    assert calibration.simulator_calls == 0
    assert calibration.misfit == 1
    curve = calibration.coverage(np.array([0.5, 0.6827]))
    for share in (curve.density, curve.distance):
        assert np.abs(share - curve.level).max() < 4 * 0.5 / np.sqrt(200) + 0.04
    # The truths are those that were simulated, and not all alike to the flow.
    with np.load(tmp_path / "simulations" / "round_01.npz") as stored:
        np.testing.assert_array_equal(calibration.truth, stored["theta"][-200:])
    assert len(np.unique(calibration.pit)) == calibration.pit.size


def test_first_round_is_run_where_there_is_none():
    small = fp.calibrate_amortised(retrieval(), 400, draws=50, progress=False)
    assert (small.n, small.simulator_calls) == (200, 400)
    assert "200 simulations" in small.subject


def nothing(parameters):
    raise ValueError("no opacities")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n = 0: n must be a whole number of at least 1"),
        ({"n": 3, "units": (1, 3)}, "units = .3.: units must lie in"),
        ({"draws": 0}, "draws = 0"),
        ({"importance_samples": -1}, "importance_samples = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"rounds": 0}, "rounds = 0"),
    ],
)
def test_bad_arguments_are_refused_before_any_call(change, message):
    with pytest.raises(InvalidInput, match=message):
        fp.calibrate(retrieval(nothing), **change)


def test_what_cannot_be_tested_is_refused(tmp_path):
    stochastic = retrieval(nothing)
    stochastic.observation = fp.Observation(np.zeros(4))
    with pytest.raises(NoLikelihoodError):
        fp.calibrate(stochastic, importance_samples=10)
    with pytest.raises(RunDirectoryError, match="no finished unit"):
        fp.calibrate(retrieval(nothing), units=(), directory=tmp_path)
    with pytest.raises(InvalidInput, match="held_out = 1000"):
        fp.calibrate_amortised(retrieval(nothing), held_out=1000)
    with pytest.raises(InvalidInput, match="simulations = 50"):
        fp.calibrate_amortised(retrieval(nothing), 250)
    with pytest.raises(SimulatorError, match="100 draws of the prior.*no opacities"):
        synthetic.draw_truth(retrieval(nothing), np.random.default_rng(0), tmp_path / "unit")
