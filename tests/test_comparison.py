"""Comparisons of samples whose differences are known."""

import numpy as np
import pytest
from scipy import integrate, stats

import floppity_jax as fp
from floppity_jax.diagnostics.distances import (
    classifier_accuracy,
    jensen_shannon,
    sliced_wasserstein,
)
from floppity_jax.errors import InvalidInput
from floppity_jax.nested.tree import NestedRun, nested_tree

N = 20_000


def _tree(seed, shift=0.0, scale=1.0, n=N, library="one", evidence=(1.0, 0.1)):
    theta = shift + scale * np.random.default_rng(seed).normal(size=(n, 2))
    return nested_tree(
        NestedRun(library, ("a", "b"), theta, log_evidence=evidence[0],
                  log_evidence_error=evidence[1], calls=5)
    )  # fmt: skip


def test_the_same_law_agrees():
    comparison = fp.compare_posteriors(_tree(0), _tree(1, library="two"))
    pair = comparison.pairs[0]
    assert pair.verdict == "agree"
    for m in pair.marginals.values():
        # Errors of a median and of a 68% width of normal draws, for both samples.
        assert m.shift_error == pytest.approx(1.2533 * np.sqrt(2 / N), rel=0.25)
        assert m.width_error == pytest.approx(0.963 * np.sqrt(2 / N), rel=0.25)
        assert abs(m.shift) < 4 * m.shift_error
        assert abs(m.width - 1) < 4 * m.width_error
    assert abs(pair.accuracy - 0.5) < 4 * pair.accuracy_error
    assert pair.wasserstein.value < 2 * pair.wasserstein.floor_95
    assert "one" in str(comparison)
    assert list(comparison.to_dataframe().index.names) == ["posterior", "parameter"]
    assert comparison.to_datatree()["joint"]["verdict"].item() == "agree"


@pytest.mark.parametrize(("shift", "scale", "found"), [(0.3, 1.0, "sigma"), (0.0, 1.2, "width")])
def test_a_known_difference_is_measured(shift, scale, found):
    pair = fp.compare_posteriors(_tree(0), _tree(1, shift, scale)).pairs[0]
    m = pair.marginals["a"]
    assert m.shift == pytest.approx(shift, abs=4 * m.shift_error)
    assert m.width == pytest.approx(scale, abs=4 * m.width_error)
    assert pair.verdict.startswith("differ: a by")
    assert found in pair.verdict


def test_few_draws_cannot_tell():
    pair = fp.compare_posteriors(_tree(0), _tree(1, n=100)).pairs[0]
    assert pair.verdict.startswith("too few draws to tell")


def test_evidence_beyond_the_rule_differs():
    pair = fp.compare_posteriors(_tree(0), _tree(1, evidence=(1.5, 0.1))).pairs[0]
    assert pair.evidence == pytest.approx(0.5 / np.hypot(0.1, 0.1))
    assert pair.verdict == "differ: ln Z by +3.5 sigma"


def test_divergence_of_normal_laws():
    """Against quadrature; bins of equal mass lose less than 5% of it, the floor adds to it."""
    shift = 0.5
    p, q = stats.norm(), stats.norm(shift)

    def integrand(x):
        middle = (p.pdf(x) + q.pdf(x)) / 2
        return 500 * sum(f.pdf(x) * np.log(f.pdf(x) / middle) for f in (p, q))

    exact = integrate.quad(integrand, -8, 9)[0]
    rng = np.random.default_rng(0)
    found = jensen_shannon(rng, rng.normal(size=N), rng.normal(shift, size=N), (N, N))
    assert found.value - found.floor == pytest.approx(exact, rel=0.08)


def test_the_floor_is_that_of_chance():
    """Of 200 pairs of the same flat law, 5% lie above the 95% point: 10, deviation 3.1."""
    rng = np.random.default_rng(0)
    above = values = 0
    for _ in range(200):
        a, b = rng.uniform(size=(2, 1000))
        found = jensen_shannon(rng, a, b, (1000, 1000))
        above += found.value > found.floor_95
        values += found.value / found.floor / 200
    assert above <= 10 + 3.3 * 3.1
    assert values == pytest.approx(1.0, abs=0.1)


def test_joint_measures_see_what_marginals_do_not():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 2))
    b = rng.multivariate_normal(np.zeros(2), [[1, 0.9], [0.9, 1]], 4000)
    accuracy, error = classifier_accuracy(0, a, b, (4000, 4000))
    assert accuracy > 0.5 + 10 * error
    distance = sliced_wasserstein(rng, a, b, (4000, 4000))
    assert distance.value > 3 * distance.floor_95


def test_names_and_logarithms():
    log = {"a": {"scale": "log"}, "b": {"scale": "log"}}
    x = np.random.default_rng(0).normal(size=(2, N, 2))
    ours = nested_tree(NestedRun("ours", ("a", "b"), 10 ** x[0], attributes=log))
    theirs = nested_tree(NestedRun("theirs", ("log_a", "c"), x[1]))
    with pytest.raises(InvalidInput, match="must have a name in common"):
        fp.compare_posteriors(ours, theirs)
    with pytest.raises(InvalidInput, match="must be above 0"):
        fp.compare_posteriors(ours, theirs, rename={"log_a": "a"})
    pair = fp.compare_posteriors(ours, theirs, rename={"log_a": "a"}, log10=("a",)).pairs[0]
    assert list(pair.marginals) == ["a"]
    assert abs(pair.marginals["a"].shift) < 4 * pair.marginals["a"].shift_error


def test_bayes_factors():
    found = fp.compare({"clear": _tree(0, evidence=(10.0, 0.3)),
                        "cloudy": _tree(1, evidence=(14.0, 0.4))})  # fmt: skip
    assert found.names == ("cloudy", "clear")
    assert found.log_bayes_factor.tolist() == [0, 4]
    assert found.log_bayes_factor_error.tolist() == [0, 0.5]
    assert found.probability == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))])
    assert "strong" in str(found)
    without = nested_tree(NestedRun("x", ("a",), np.zeros((3, 1))))
    with pytest.raises(InvalidInput, match="must know its evidence"):
        fp.compare([_tree(0), without])


def test_a_handful_of_distinct_draws_has_no_classifier():
    """As after an importance sample of two effective draws."""
    from floppity_jax.diagnostics.distances import classifier_accuracy

    rng = np.random.default_rng(0)
    few = np.repeat(rng.normal(size=(4, 2)), 500, axis=0)
    many = rng.normal(size=(2000, 2))
    assert np.isnan(classifier_accuracy(0, few, many, (4.0, 2000.0))).all()
    assert np.isfinite(classifier_accuracy(0, many, many, (2000.0, 2000.0))).all()
