"""Several components of one simulator, and the labels they carry."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators import batched, combine, jax_batched, simulator_kind
from floppity_jax.simulators.base import batch_size

WAVELENGTH = np.linspace(1, 2, 5)
LIMBS = ["morning", "evening"]


def scalar(parameters):
    return parameters["R"] * np.exp(-parameters["X"] * WAVELENGTH) * parameters["T"]


@batched(size=7)
def rows(parameters):
    T, X, R = (np.asarray(parameters[name])[:, None] for name in ("T", "X", "R"))  # noqa: N806
    return R * np.exp(-X * WAVELENGTH) * T


@jax_batched
def traced(parameters):
    T, X, R = (parameters[name][:, None] for name in ("T", "X", "R"))  # noqa: N806
    return R * jnp.exp(-X * WAVELENGTH) * T


class Known:
    parameters = ("T", "X", "R")

    def __init__(self):
        self.ready = 0

    def set_up(self):
        self.ready += 1

    def fingerprint(self):
        return "known"

    def __call__(self, parameters):
        return scalar(parameters)


def theta(n=1, names=("T_morning", "X_morning", "T_evening", "X_evening", "R", "share"), seed=0):
    values = np.random.default_rng(seed).uniform(0.1, 1, (len(names), n))
    return dict(zip(names, values, strict=True))


def one(columns):
    return {name: float(column[0]) for name, column in columns.items()}


WEIGHTS = {
    "sum": (None, lambda p: (1, 1)),
    "numbers": ([0.3, 0.9], lambda p: (0.3, 0.9)),
    "a parameter": ("share", lambda p: (p["share"], 1 - p["share"])),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("simulator", [scalar, rows, traced])
def test_spectra_are_added_with_their_weights(simulator, kind):
    weights, expected = WEIGHTS[kind]
    combined = combine(simulator, LIMBS, private=["T", "X"], shared=["R"], weights=weights)
    assert simulator_kind(combined) == simulator_kind(simulator)
    assert batch_size(combined) == batch_size(simulator)
    columns = theta(3)
    if weights != "share":
        columns.pop("share")
    assert set(combined.parameters) == set(columns)
    if simulator is scalar:
        row = one(columns)
        a, b = expected(row)
        wanted = a * scalar({"T": row["T_morning"], "X": row["X_morning"], "R": row["R"]})
        wanted = wanted + b * scalar({"T": row["T_evening"], "X": row["X_evening"], "R": row["R"]})
        np.testing.assert_allclose(combined(row), wanted, rtol=1e-12)
        return
    a, b = (np.reshape(weight, (-1, 1)) for weight in expected(columns))
    both = [
        rows({"T": columns[f"T_{limb}"], "X": columns[f"X_{limb}"], "R": columns["R"]})
        for limb in LIMBS
    ]
    run = jax.jit(lambda p: combined(p)) if simulator is traced else combined
    np.testing.assert_allclose(run(columns), a * both[0] + b * both[1], rtol=1e-5)


def test_mappings_lists_and_more_than_two_components():
    def datasets(p):
        return {"red": np.full(2, p["T"]), "blue": [p["T"], 1.0, 2.0]}

    combined = combine(datasets, ["a", "b", "c"], private=["T"], shared=[], weights=[1, 2, 3])
    got = combined({"T_a": 1.0, "T_b": 10.0, "T_c": 100.0})
    np.testing.assert_array_equal(got["red"], [321.0, 321.0])
    np.testing.assert_array_equal(got["blue"], [321.0, 6.0, 12.0])


def test_what_the_simulator_says_of_itself_is_used():
    simulator = Known()
    combined = combine(simulator, LIMBS, private=["T"])
    assert combined.parameters == ("T_morning", "T_evening", "X", "R")
    combined.set_up()
    assert simulator.ready == 1
    assert "known" in combined.fingerprint()
    assert combine(simulator, LIMBS, private=["T", "X"]).fingerprint() != combined.fingerprint()
    assert combine(scalar, LIMBS, private=["T"], shared=["R"]).fingerprint() != (
        combine(theta, LIMBS, private=["T"], shared=["R"]).fingerprint()
    )
    values = {"T_morning": 1.0, "T_evening": 2.0, "X": 0.5, "R": 1.0}
    again = pickle.loads(pickle.dumps(combined))
    np.testing.assert_array_equal(again(values), combined(values))


@pytest.mark.parametrize("weights", [None, [0.5, 0.5], "share"])
def test_components_can_change_places_without_changing_the_spectrum(weights):
    combined = combine(scalar, LIMBS, private=["T", "X"], shared=["R"], weights=weights)
    row = one(theta())
    if weights != "share":
        row.pop("share")
    swapped = dict(row)
    for name in ("T", "X"):
        swapped[f"{name}_morning"] = row[f"{name}_evening"]
        swapped[f"{name}_evening"] = row[f"{name}_morning"]
    if weights == "share":
        swapped["share"] = 1 - row["share"]
    np.testing.assert_allclose(combined(swapped), combined(row), rtol=1e-14)
    half = swapped | {"X_morning": row["X_morning"], "X_evening": row["X_evening"]}
    assert not np.allclose(combined(half), combined(row))  # T alone must not change places


PRIORS = {
    "T_morning": fp.LogUniform(300, 3000),
    "X_morning": fp.Uniform(0, 1),
    "R": fp.Uniform(0.8, 1.6),
    "T_evening": fp.LogUniform(300, 3000),
    "X_evening": fp.Uniform(0, 1),
    "share": fp.Uniform(0, 1),
}


def limbs(**options):
    return combine(
        scalar, LIMBS, private=["T", "X"], shared=["R"], weights="share", ordered="T", **options
    )


def space(**changes):
    return fp.priors.ParameterSpace(PRIORS | changes)


def draw(space, n=4000, seed=0):
    return space.to_theta(np.random.default_rng(seed).normal(size=(n, len(space.names))))


def test_ordered_draws_have_the_likelihood_and_prior_they_had():
    where = space()
    before = draw(where, 200)
    after = limbs().ordered(before, where)
    np.testing.assert_allclose(where.log_prior(after), where.log_prior(before), rtol=1e-12)
    spectra = [
        np.array([limbs()(dict(zip(where.names, row, strict=True))) for row in each])
        for each in (before, after)
    ]
    np.testing.assert_allclose(spectra[1], spectra[0], rtol=1e-12)
    named = [dict(zip(where.names, each.T, strict=True)) for each in (before, after)]
    assert (named[1]["T_morning"] <= named[1]["T_evening"]).all()
    np.testing.assert_array_equal(named[1]["R"], named[0]["R"])
    moved = named[0]["T_morning"] > named[0]["T_evening"]
    assert 50 < moved.sum() < 150
    np.testing.assert_array_equal(after[~moved], before[~moved])
    np.testing.assert_array_equal(limbs().ordered(after, where), after)


def test_ordering_does_not_distort_the_prior():
    where = space()
    before = draw(where, 40_000)
    after = limbs().ordered(before, where)
    u = {name: PRIORS[name].law.cdf(x) for name, x in zip(where.names, after.T, strict=True)}
    # The order statistics of two uniform variates: means 1/3 and 2/3, correlation 1/2.
    np.testing.assert_allclose(u["T_morning"].mean(), 1 / 3, atol=0.006)
    np.testing.assert_allclose(u["T_evening"].mean(), 2 / 3, atol=0.006)
    np.testing.assert_allclose(np.corrcoef(u["T_morning"], u["T_evening"])[0, 1], 0.5, atol=0.02)
    for name in ("X_morning", "X_evening", "R", "share"):
        np.testing.assert_allclose(u[name].mean(), 0.5, atol=0.008)
        np.testing.assert_allclose(u[name].var(), 1 / 12, atol=0.002)
        assert abs(np.corrcoef(u[name], u["T_morning"])[0, 1]) < 0.02
    # As the prior restricted to the sorted half and renormalised, which rejection gives.
    sorted_half = before[before[:, 0] < before[:, 3]]
    np.testing.assert_allclose(
        np.quantile(after, [0.1, 0.5, 0.9], axis=0),
        np.quantile(sorted_half, [0.1, 0.5, 0.9], axis=0),
        rtol=0.05,
    )


def test_a_components_parameters_stay_together():
    combined = combine(scalar, ["a", "b", "c"], private=["T", "X"], shared=["R"], ordered="T")
    names = [f"{name}_{each}" for each, name in itertools.product("abc", ["T", "X"])]
    where = fp.priors.ParameterSpace(dict.fromkeys(names, fp.Uniform(0, 1)) | {"R": 1.0})
    t = np.random.default_rng(1).uniform(size=(50, 3))
    before = np.stack([t, 1 - t], axis=2).reshape(50, 6)  # X is 1 - T in each component
    after = combined.ordered(before, where).reshape(50, 3, 2)
    np.testing.assert_array_equal(after[..., 0], np.sort(t, axis=1))
    np.testing.assert_array_equal(after[..., 1], 1 - after[..., 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"T_evening": fp.LogUniform(300, 2999)}, "priors of T = .* the same for every component"),
        ({"X_evening": 0.5}, "parameters of X = .* must all be free, or all be the same"),
        ({"X_evening": "X_morning", "R": "X_morning"}, None),
        ({"R": "T_morning"}, r"parameters\['R'\] = 'T_morning': .* tied to one component"),
        ({"share": fp.Uniform(0, 0.5)}, r"parameters\['share'\] = .* symmetric about 1/2"),
        ({"share": 0.3}, r"parameters\['share'\] = .* symmetric about 1/2"),
        ({"share": "X_morning"}, r"parameters\['share'\]"),
        ({"T_morning": 900.0, "T_evening": 900.0}, "must be free for every component"),
        ({"share": 0.5}, None),
        ({"X_morning": 0.2, "X_evening": 0.2}, None),
        ({"share": fp.TruncatedNormal(0.5, 0.1, 0, 1)}, None),
    ],
)
def test_ordering_is_refused_where_the_prior_tells_components_apart(changes, message):
    where = space(**changes)
    if message is None:
        after = limbs().ordered(draw(where, 20), where)
        t = [where.names.index(f"T_{limb}") for limb in LIMBS]
        assert (np.diff(after[:, t], axis=1) >= 0).all()
    else:
        with pytest.raises(InvalidInput, match=message):
            limbs().ordered(draw(where, 20), where)


def test_ordering_wants_the_draws_of_this_retrieval():
    with pytest.raises(InvalidInput, match=r"must be \(n, 6\)"):
        limbs().ordered(np.ones((3, 5)), space())
    with pytest.raises(InvalidInput, match="must be given to combine"):
        combine(scalar, LIMBS, private=["T"], shared=["X"]).ordered(np.ones((3, 6)), space())
    other = fp.priors.ParameterSpace({"T_morning": (0, 1)})
    with pytest.raises(InvalidInput, match="'share'"):
        limbs().ordered(np.ones((3, 1)), other)


REFUSED = {
    "one component": ({"components": ["a"]}, "components"),
    "a word": ({"components": "ab"}, "components"),
    "nothing private": ({"private": []}, "private"),
    "shared unknown": ({"shared": None}, "lists no parameters"),
    "private and shared": ({"shared": ["T"]}, "must be different names"),
    "a clash": ({"shared": ["T_a"]}, "must be different names"),
    "weights too few": ({"weights": [1.0]}, "must be 2 finite numbers"),
    "weights not finite": ({"weights": [1.0, np.nan]}, "must be 2 finite numbers"),
    "a name for three": ({"components": "a b c".split(), "weights": "f"}, "for two components"),
    "order by shared": ({"ordered": "R"}, "must be one of the private"),
    "unequal weights": ({"weights": [1, 2], "ordered": "T"}, "needs equal weights"),
    "not callable": ({"simulator": 3}, "must be callable"),
    "more than known": ({"simulator": Known(), "shared": ["R"]}, "what the simulator needs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_combine_refuses(case):
    changes, message = REFUSED[case]
    usual = {"simulator": scalar, "components": ["a", "b"], "private": ["T"], "shared": ["X"]}
    with pytest.raises(InvalidInput, match=message):
        combine(**usual | changes)


def test_a_retrieval_knows_the_parameters():
    observation = fp.Observation(np.ones(5), np.ones(5))
    fp.Retrieval(limbs(), PRIORS, observation)
    without = {name: prior for name, prior in PRIORS.items() if name != "X_evening"}
    with pytest.raises(InvalidInput, match=r"\['X_evening'\] too"):
        fp.Retrieval(limbs(), without, observation)
    with pytest.raises(InvalidInput, match="must be"):
        limbs()({"T_morning": 1.0})
