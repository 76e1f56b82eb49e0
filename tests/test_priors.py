"""Priors: quantiles against closed forms, and everything a user may get wrong."""

import json

import numpy as np
import pytest
from scipy import special, stats

from floppity_jax import priors
from floppity_jax.errors import InvalidInput
from floppity_jax.priors import Fixed, ParameterSpace, Tied

EPS = np.finfo(float).eps
LOW, HIGH = 1e-12, 0.1

# Prior, closed form of theta(z), and the z at which float64 resolves theta: near an end that is
# not 0, theta stands still from |z| of about 8.
LAWS = {
    "uniform": (priors.Uniform(0.8, 1.6), lambda z: 0.8 + 0.8 * special.ndtr(z), (-7, 7)),
    "uniform from 0": (priors.Uniform(0, 5), lambda z: 5 * special.ndtr(z), (-30, 7)),
    "log-uniform": (
        priors.LogUniform(LOW, HIGH),
        lambda z: LOW * np.exp(np.log(HIGH / LOW) * special.ndtr(z)),
        (-7, 7),
    ),
    "normal": (priors.Normal(30, 0.2), lambda z: 30 + 0.2 * z, (-30, 30)),
    "log-normal": (priors.LogNormal(1e-4, 2), lambda z: 1e-4 * np.exp(2 * z), (-30, 30)),
    "truncated normal": (
        priors.TruncatedNormal(1, 0.5, 0.4, 3),
        lambda z: 1 + 0.5 * special.ndtri(
            special.ndtr(-1.2) + special.ndtr(z) * (special.ndtr(4) - special.ndtr(-1.2))
        ),
        (-7, 4),
    ),
    "exponential": (
        priors.Prior(stats.expon(0, 2)), lambda z: -2 * special.log_ndtr(-z), (-30, 30)
    ),
}  # fmt: skip


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]


def test_theta_is_the_closed_form(law):
    prior, closed_form, (low, high) = law
    z = np.linspace(low, high, 61)
    # exp and powers turn an error of their argument, up to 60, into a relative one.
    np.testing.assert_allclose(prior.to_theta(z), closed_form(z), rtol=100 * EPS, atol=1e-250)


def test_round_trip(law):
    prior, _, (low, high) = law
    z = np.linspace(low, high, 61)
    back = prior.to_z(prior.to_theta(z))
    # On a side whose end is a number, F(theta) is known to a few rounding errors of theta or 1:
    # in z that is divided by the normal density. Elsewhere the tail itself is, up to its logarithm.
    theta = prior.to_theta(z)
    from_rounding = EPS * (1 + np.abs(theta) * prior.law.pdf(theta)) / stats.norm.pdf(z)
    unbounded = (np.abs([low, high]) == 30)[(z > 0).astype(int)]
    tolerance = np.where(unbounded, 1e-11, 1e-11 + 16 * from_rounding)
    assert np.all(np.abs(back - z) <= tolerance)


def test_draws_follow_the_law(law):
    prior = law[0]
    draws = prior.to_theta(np.random.default_rng(0).normal(size=5000))
    assert stats.kstest(draws, prior.law.cdf).pvalue > 1e-3


def test_theta_stays_inside_the_support(law):
    prior = law[0]
    low, high = prior.support
    theta = prior.to_theta(np.array([-37.0, -12.0, 12.0, 37.0]))
    assert np.all((theta >= low) & (theta <= high))
    assert np.all(np.diff(theta) >= 0)


def test_z_is_infinite_outside():
    assert priors.Uniform(0, 1).to_z(np.array([-0.1, 1.1])).tolist() == [-np.inf, np.inf]


def test_scale_tells_which_priors_read_in_log10():
    scales = {name: entry[0].scale for name, entry in LAWS.items()}
    assert [name for name, scale in scales.items() if scale == "log"] == [
        "log-uniform",
        "log-normal",
    ]


@pytest.fixture
def space():
    return ParameterSpace(
        {
            "T": priors.LogUniform(300, 3000, unit="K", label="$T$"),
            "g": 9.8,
            "radius": (0.8, 1.6),
            "T_night": "T",
            "haze": stats.gamma(2.0, scale=0.5),
            "star": Fixed(0.9),
            "star_again": Tied("star"),
        }
    )


def test_grammar_of_parameters(space):
    assert space.names == ("T", "radius", "haze")
    theta = np.array([[500.0, 1.0, 0.2], [900.0, 1.5, 0.1]])
    mapping = space.as_mapping(theta)
    assert list(mapping) == ["T", "g", "radius", "T_night", "haze", "star", "star_again"]
    expected = [[500, 900], [9.8, 9.8], [1, 1.5], [500, 900], [0.2, 0.1], [0.9, 0.9], [0.9, 0.9]]
    np.testing.assert_array_equal(list(mapping.values()), expected)


def test_log_prior_is_the_sum_of_the_laws(space):
    theta = np.array([[500.0, 1.0, 0.2], [200.0, 1.0, 0.2], [500.0, 1.7, 0.2]])
    # 1 / (T ln 10), 1 / 0.8, and x exp(-x / s) / s^2 for a gamma law of shape 2
    density = 1 / (500 * np.log(10)) / 0.8 * 0.2 * np.exp(-0.2 / 0.5) / 0.5**2
    log_prior = space.log_prior(theta)
    assert log_prior[0] == pytest.approx(np.log(density), rel=1e-12)
    assert log_prior[1:].tolist() == [-np.inf, -np.inf]


def test_columns_keep_their_order(space):
    z = np.random.default_rng(0).normal(size=(50, 3))
    theta = space.to_theta(z)
    np.testing.assert_array_equal(theta[:, 1], space.priors["radius"].to_theta(z[:, 1]))
    np.testing.assert_allclose(space.to_z(theta), z, atol=1e-11)


def test_description_travels_through_json(space):
    again = ParameterSpace.from_description(json.loads(json.dumps(space.describe())))
    z = np.random.default_rng(0).normal(size=(20, 3))
    assert again.describe() == space.describe()
    assert again.all_names == space.all_names
    assert (again.priors["T"].unit, again.priors["T"].label) == ("K", "$T$")
    for name, column in again.as_mapping(again.to_theta(z)).items():
        np.testing.assert_array_equal(column, space.as_mapping(space.to_theta(z))[name])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.Uniform(2, 1), r"Uniform = \(2, 1\).*reversed.*Write \(1, 2\)"),
        (lambda: priors.Uniform(1, 1), "both are equal.*To fix a parameter, give 1"),
        (lambda: priors.Uniform(0, INF), "finite bounds"),
        (lambda: priors.LogUniform(0, 1), "LogUniform low = 0.*above 0"),
        (lambda: priors.LogUniform(-1, 1), "LogUniform low = -1.*above 0"),
        (lambda: priors.LogUniform(NAN, 1), "finite bounds"),
        (lambda: priors.Normal(0, 0), "Normal sd = 0.*above 0"),
        (lambda: priors.Normal(NAN, 1), "Normal mean = nan.*finite"),
        (lambda: priors.LogNormal(-1, 1), "LogNormal median = -1.*above 0"),
        (lambda: priors.LogNormal(1, INF), "LogNormal sd_log = inf.*finite"),
        (lambda: priors.TruncatedNormal(0, -1, 0, 1), "TruncatedNormal sd = -1"),
        (lambda: priors.TruncatedNormal(INF, 1, 0, 1), "TruncatedNormal mean = inf.*finite"),
        (lambda: ParameterSpace({}), "at least one name"),
        (lambda: ParameterSpace({"g": 9.8}), "must have a free parameter"),
        (lambda: ParameterSpace({"T": (2, 1)}), r"parameters\['T'\].*reversed"),
        (lambda: ParameterSpace({"T": NAN}), r"parameters\['T'\] = nan.*finite number"),
        (lambda: ParameterSpace({"T": Fixed(INF)}), r"parameters\['T'\].*finite number"),
        (lambda: ParameterSpace({"T": True}), r"parameters\['T'\]"),
        (lambda: ParameterSpace({"T": (1, 2, 3)}), r"parameters\['T'\]"),
        (lambda: ParameterSpace({"T": stats.poisson(3)}), "frozen continuous"),
        (lambda: ParameterSpace({"T": (0, 1), "b": "c"}), r"parameters\['b'\] = 'c'.*\['T'\]"),
        (lambda: ParameterSpace({"T": (0, 1), "b": "b"}), r"parameters\['b'\].*tied"),
        (lambda: ParameterSpace({"T": (0, 1), "b": "T", "c": "b"}), r"parameters\['c'\].*tied"),
    ],
)
def test_refusals_name_the_argument_and_the_way_out(make, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        make()
