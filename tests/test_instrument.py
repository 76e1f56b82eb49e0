"""The instrument against dense linear algebra, quadrature and closed forms."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import Here
from scipy import integrate, stats

import floppity_jax as fp
from floppity_jax import instrument
from floppity_jax.batches import DrawMeasured, MeasuredRows
from floppity_jax.density import Density, Whitening, new_flows
from floppity_jax.errors import InvalidInput, NoLikelihoodError, RunDirectoryError
from floppity_jax.features import context_of, in_unit, observed_input
from floppity_jax.flows.config import FlowConfig
from floppity_jax.instrument.step import Prediction
from floppity_jax.measured_features import fit_measured
from floppity_jax.measurement import Measurement
from floppity_jax.noise import JITTER, base_noise, draw_noise
from floppity_jax.nuisances import draw_versions
from floppity_jax.posterior import ImportancePosterior
from floppity_jax.priors import ParameterSpace
from floppity_jax.proposals import Region

CHANNELS, N = 12, 4
RNG = np.random.default_rng(0)
WAVELENGTH = np.sort(RNG.uniform(1, 3, CHANNELS))
ERRORS = RNG.uniform(0.5, 1.5, CHANNELS) * 1e-4
SPECTRA = 0.02 + 1e-3 * RNG.normal(size=(N, CHANNELS))
VALUES = SPECTRA[0] + ERRORS * RNG.normal(size=CHANNELS)
SPACE = ParameterSpace(
    {"a": (0.0, 1.0), "offset": (-1e-3, 1e-3), "f": (0.5, 4.0), "b": (-9.0, -7.0),
     "length": (0.1, 1.0), "amplitude": fp.LogUniform(1e-5, 1e-3), "half": 0.5, "same": "f"}
)  # fmt: skip
THETA = SPACE.to_theta(RNG.normal(size=(N, len(SPACE.names))))
BY_NAME = SPACE.as_mapping(THETA)
OBSERVATION = fp.Observation(VALUES, ERRORS, WAVELENGTH)
_ROOT = RNG.normal(size=(CHANNELS, CHANNELS))
CORRELATED = fp.Observation(
    VALUES, wavelength=WAVELENGTH, covariance=1e-9 * (_ROOT @ _ROOT.T + np.eye(CHANNELS))
)


def _column(name):
    return BY_NAME[name][:, None]


def _kernel(kind, length):
    r = np.abs(WAVELENGTH[:, None] - WAVELENGTH) / length[:, None, None]
    if kind == "squared_exponential":
        return np.exp(-(r**2) / 2)
    if kind == "matern32":
        return (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
    return np.exp(-r)


GIVEN = np.broadcast_to(np.diag(ERRORS**2), (N, CHANNELS, CHANNELS))
EYE = np.eye(CHANNELS)
FULL = [
    instrument.ErrorFactor("f"),
    instrument.ExtraError("b"),
    instrument.Offset("offset"),
    instrument.CorrelatedNoise("amplitude", "length"),
    instrument.MarginalOffset(3e-4),
]
# The steps, and the mean and covariance that they should give.
CASES = {
    "nothing": ([], SPECTRA, GIVEN),
    "offset": ([instrument.Offset("offset")], SPECTRA + _column("offset"), GIVEN),
    "scale": ([instrument.Scale("half")], SPECTRA / 2, GIVEN),
    "offset, then scale": (
        [instrument.Offset(1e-3), instrument.Scale("f")], (SPECTRA + 1e-3) * _column("f"), GIVEN,
    ),
    "error factor": (
        [instrument.ErrorFactor("same")], SPECTRA, GIVEN * _column("f")[..., None] ** 2,
    ),
    "extra error": (
        [instrument.ExtraError("b")], SPECTRA, GIVEN + 10 ** _column("b")[..., None] * EYE,
    ),
    "a factor does not act on what is added": (
        [instrument.ExtraError(-8), instrument.ErrorFactor(2.0)], SPECTRA, 4 * GIVEN + 1e-8 * EYE,
    ),
    "model error": (
        [instrument.ModelError(0.01)], SPECTRA,
        GIVEN + (0.01 * SPECTRA[:, :, None]) ** 2 * EYE,
    ),
    "marginal scale": (
        [instrument.MarginalScale(0.1)], SPECTRA,
        GIVEN + 0.01 * SPECTRA[:, :, None] * SPECTRA[:, None],
    ),
    "marginal offset": ([instrument.MarginalOffset(3e-4)], SPECTRA, GIVEN + 9e-8),
    "all": (
        FULL, SPECTRA + _column("offset"),
        GIVEN * _column("f")[..., None] ** 2 + 10 ** _column("b")[..., None] * EYE + 9e-8
        + _column("amplitude")[..., None] ** 2 * _kernel("squared_exponential", BY_NAME["length"]),
    ),
    **{
        kind: (
            [instrument.CorrelatedNoise("amplitude", "length", kind)], SPECTRA,
            GIVEN + _column("amplitude")[..., None] ** 2 * _kernel(kind, BY_NAME["length"]),
        )
        for kind in ("squared_exponential", "matern32", "exponential")
    },
}  # fmt: skip


def _measurement(steps, observation=OBSERVATION):
    return Measurement(observation, SPACE, instrument.Instrument(steps))


@pytest.mark.parametrize("case", CASES)
def test_likelihood_is_that_of_dense_linear_algebra(case):
    steps, mean, covariance = CASES[case]
    measurement = _measurement(steps)
    np.testing.assert_allclose(measurement.predict(SPECTRA, THETA), mean, rtol=1e-12)
    expected = [
        stats.multivariate_normal(m, c).logpdf(VALUES)
        for m, c in zip(mean, covariance, strict=True)
    ]
    found = measurement.log_likelihood(SPECTRA, THETA).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    chi2 = [r @ np.linalg.solve(c, r) for r, c in zip(mean - VALUES, covariance, strict=True)]
    found = (measurement.residuals(SPECTRA, THETA) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, chi2, rtol=1e-8)


@pytest.mark.parametrize("steps", [[], FULL])
def test_likelihood_with_a_covariance(steps):
    given = CORRELATED.covariance
    mean, covariance = np.array(SPECTRA), np.broadcast_to(given, (N, *given.shape))
    if steps:
        _, mean, added = CASES["all"]
        factor = _column("f")[..., None] ** 2
        covariance = added + factor * (given - np.diag(ERRORS**2))
    found = _measurement(steps, CORRELATED).log_likelihood(SPECTRA, THETA).sum(axis=1)
    expected = [
        stats.multivariate_normal(m, c).logpdf(VALUES)
        for m, c in zip(mean, covariance, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_marginal_scale_is_the_integral_over_the_scale():
    """By quadrature over the factor, with its normal prior."""
    found = _measurement([instrument.MarginalScale(0.1)]).log_likelihood(SPECTRA, THETA).sum(axis=1)
    for row, spectrum in enumerate(SPECTRA):
        best = (spectrum / ERRORS**2) @ VALUES / ((spectrum / ERRORS) @ (spectrum / ERRORS))
        width = 1 / np.sqrt((spectrum / ERRORS) @ (spectrum / ERRORS))
        top = stats.norm(best * spectrum, ERRORS).logpdf(VALUES).sum()

        def integrand(factor, spectrum=spectrum, top=top):
            log_l = stats.norm(factor * spectrum, ERRORS).logpdf(VALUES).sum()
            return np.exp(log_l - top) * stats.norm(1, 0.1).pdf(factor)

        integral, _ = integrate.quad(integrand, best - 10 * width, best + 10 * width, epsabs=0)
        assert found[row] == pytest.approx(top + np.log(integral), rel=1e-8)


@pytest.mark.parametrize("case", ["all", "marginal scale", "model error"])
@pytest.mark.parametrize("observation", [OBSERVATION, CORRELATED])
def test_noise_has_the_covariance_of_the_likelihood(case, observation):
    """White residuals of noisy data: mean 0 and unit covariance, to 5 standard errors.

    The covariance is that which the likelihood was held against.
    """
    steps, n = CASES[case][0], 20_000
    spectra, theta = np.repeat(SPECTRA[:1], n, 0), np.repeat(THETA[:1], n, 0)
    measurement = _measurement(steps, observation)
    data = measurement.noisy(np.random.default_rng(1), spectra, theta)
    covariance = CASES[case][2][0]
    if observation is CORRELATED:
        factor = 1.0 if case != "all" else BY_NAME["f"][0]
        covariance = covariance + factor**2 * (CORRELATED.covariance - np.diag(ERRORS**2))
    scale = np.sqrt(np.diag(covariance))
    root = np.linalg.cholesky(covariance / np.outer(scale, scale))
    white = np.linalg.solve(root, ((data - measurement.predict(spectra, theta)) / scale).T)
    assert np.abs(white.mean(axis=1)).max() < 5 / np.sqrt(n)
    off = np.cov(white) - EYE
    assert np.abs(off).max() < 5 * np.sqrt(2 / n)


# Those whose quantities are not in the unit of the data.
UNITLESS = ("nothing", "marginal scale", "model error", "error factor")


@pytest.mark.parametrize(
    ("case", "unit"), [*((case, 1.0) for case in CASES), *((case, 1e-18) for case in UNITLESS)]
)
def test_the_device_predicts_the_same(case, unit):
    """In float32; also for fluxes whose squares are below the smallest float32."""
    measurement = _measurement(
        CASES[case][0], fp.Observation(VALUES * unit, ERRORS * unit, WAVELENGTH)
    )
    raw = SPECTRA * unit / measurement.prepared.unit
    host = measurement.prepared(np, raw, measurement.instrument_values(THETA))
    values = {
        k: jnp.asarray(v, jnp.float32) for k, v in measurement.instrument_values(THETA).items()
    }
    device = measurement.prepared(jnp, jnp.asarray(raw, jnp.float32), values)
    for one, other in zip(host, device, strict=True):
        if one is not None:
            assert np.isfinite(other).all()
            np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-12)


def test_smooth_noise_is_drawn_in_float32():
    """Of a kernel that float32 takes for singular: the factor times itself is the kernel."""
    n = 200
    r = np.subtract.outer(np.linspace(0.6, 5.3, n), np.linspace(0.6, 5.3, n)) / 3
    kernel = jnp.asarray(np.exp(-(r**2) / 2), jnp.float32)
    nothing = jnp.zeros((n, n), jnp.float32)
    prediction = Prediction(
        nothing,
        nothing,
        nothing,
        nothing[:, :, None][:, :, :0],
        jnp.broadcast_to(kernel, (n, n, n)),
    )
    normal = iter([nothing, jnp.eye(n, dtype=jnp.float32)])  # the noise of row i is column i
    with jax.default_matmul_precision("highest"):  # as DrawMeasured has it
        columns = draw_noise(jnp, prediction, jnp.ones(n), lambda size: next(normal))
    columns = np.asarray(columns)
    np.testing.assert_allclose(columns.T @ columns, kernel, atol=2 * JITTER * n)


def test_strong_noise_that_the_prior_has_is_no_misfit():
    """The errors grow in training only where the strongest noise of the prior falls short."""
    rng = np.random.default_rng(0)
    space = ParameterSpace({"a": (0.0, 1.0), "f": fp.LogUniform(0.5, 4.0)})
    z = rng.normal(size=(500, 2))
    x = np.linspace(-1, 1, 100)
    found = []
    for factor in (1.0, 3.0, 8.0):
        observation = fp.Observation(0.5 + 0.1 * factor * rng.normal(size=100), np.full(100, 0.1))
        measurement = Measurement(
            observation, space, instrument.Instrument([instrument.ErrorFactor("f")])
        )
        theta = space.to_theta(z)
        spectra = theta[:, :1] + 0 * x
        noisy = measurement.noisy(rng, spectra, theta)
        found.append(fit_measured(spectra, noisy, observation, 4, log=False, energies=True).noise)
    assert found[:2] == [1, 1]
    assert found[2] == pytest.approx(2, rel=5 / np.sqrt(2 * 100))


def test_few_channels_tell_nothing_of_the_noise():
    """The projection leaves nothing out, and its rounding is no input."""
    space = ParameterSpace({"a": (0.0, 1.0), "b": (0.0, 1.0), "f": (0.5, 4.0)})
    observation = fp.Observation([0.5, 0.6], [0.1, 0.1])
    measurement = Measurement(
        observation, space, instrument.Instrument([instrument.ErrorFactor("f")])
    )
    rng = np.random.default_rng(0)
    theta = space.to_theta(rng.normal(size=(200, 3)))
    noisy = measurement.noisy(rng, theta[:, :2], theta)
    features = fit_measured(theta[:, :2], noisy, observation, 4, log=False, energies=True)
    assert (features.scale > 0).all()
    np.testing.assert_array_equal(features.energy_scale, 0)
    np.testing.assert_array_equal(observed_input(features, observation)[2:], 0)


def test_what_the_simulator_is_told_by_another_name_is_no_nuisance():
    parameters = {"a": (0.0, 1.0), "offset": (-1.0, 1.0), "b": "offset", "f": (0.5, 2.0), "g": "f"}
    steps = [instrument.Offset("offset"), instrument.ErrorFactor("f"), instrument.Scale("g")]
    measurement = Measurement(OBSERVATION, ParameterSpace(parameters), instrument.Instrument(steps))
    assert measurement.simulator_names == ("a", "b")
    assert [measurement.space.names[i] for i in measurement.nuisances] == ["f"]
    with pytest.raises(InvalidInput, match="must hold one for the simulator"):
        Measurement(
            OBSERVATION, ParameterSpace({"offset": (-1.0, 1.0)}),
            instrument.Instrument([instrument.Offset("offset")]),
        )  # fmt: skip


def test_an_instrument_is_made_ready_once():
    """Training compiles for it: of other values it is the same, of other errors another."""
    retrieval = fp.Retrieval(
        lambda p: SPECTRA[0], {"a": (0.0, 1.0), "offset": (-1.0, 1.0)}, OBSERVATION,
        instrument=[instrument.Offset("offset")],
    )  # fmt: skip
    again = retrieval.with_observation(OBSERVATION.with_values(SPECTRA[1]))
    assert again.measurement.prepared is retrieval.measurement.prepared
    other = retrieval.with_observation(fp.Observation(VALUES, 2 * ERRORS, WAVELENGTH))
    assert other.measurement.prepared.unit == 2 * retrieval.measurement.prepared.unit


def test_a_retrieval_with_an_instrument_pickles(line_run):
    retrieval, raw, _ = line_run
    again = pickle.loads(pickle.dumps(retrieval)).measurement
    theta = raw.sample(3)
    spectra = line(retrieval.measurement.simulator_parameters(theta))
    found = again.log_likelihood(spectra, theta)
    np.testing.assert_array_equal(found, retrieval.measurement.log_likelihood(spectra, theta))
    np.testing.assert_array_equal(again.nuisances, retrieval.measurement.nuisances)


def test_priors_without_two_ends_have_bounds():
    """Where 1e-9 of the prior lies beyond."""
    space = ParameterSpace({"a": (0.0, 1.0), "l": fp.LogNormal(0.3, 0.5)})
    Measurement(OBSERVATION, space, instrument.Instrument([instrument.CorrelatedNoise(1e-4, "l")]))


def test_the_best_draw_is_the_most_likely():
    """Not the one with the largest errors."""
    space = ParameterSpace({"f": (0.5, 100.0), "a": (0.0, 1.0)})
    measurement = Measurement(
        OBSERVATION, space, instrument.Instrument([instrument.ErrorFactor("f")])
    )
    draws = np.array([[1.0, 0.5], [50.0, 0.5]])
    spectra = VALUES + ERRORS * np.array([[1.0], [1.5]])
    posterior = ImportancePosterior(
        measurement=measurement, density=None, flow=None, record=None,
        draws=draws, spectra=spectra, log_weights=np.zeros(2),
    )  # fmt: skip
    assert posterior.reduced_chi2_best() == pytest.approx(CHANNELS / (CHANNELS - 2))


def test_several_datasets_have_steps_of_their_own():
    first = fp.Observation(VALUES[:7], ERRORS[:7], WAVELENGTH[:7])
    second = fp.Observation(VALUES[7:], ERRORS[7:], WAVELENGTH[7:])
    measurement = Measurement(
        fp.Retrieval(lambda p: 0, dict(SPACE.entries), {"one": first, "two": second},
                     instrument={"two": [instrument.Offset("offset"), instrument.ErrorFactor("f"),
                                         instrument.CorrelatedNoise(1e-4, 0.5)],
                                 "one": [instrument.MarginalOffset(1e-4)],
                                 "*": [instrument.MarginalScale(0.1)]}).observation,
        SPACE,
        instrument.Instrument(
            {"two": [instrument.Offset("offset"), instrument.ErrorFactor("f"),
                     instrument.CorrelatedNoise(1e-4, 0.5)],
             "one": [instrument.MarginalOffset(1e-4)],
             "*": [instrument.MarginalScale(0.1)]}
        ),
    )  # fmt: skip
    mean = SPECTRA.copy()
    mean[:, 7:] += _column("offset")
    covariance = GIVEN.copy()
    covariance[:, 7:, 7:] *= _column("f")[..., None] ** 2
    covariance[:, :7, :7] += 1e-8
    covariance[:, 7:, 7:] += 1e-8 * _kernel("squared_exponential", np.array([0.5]))[:, 7:, 7:]
    covariance += 0.01 * mean[:, :, None] * mean[:, None]
    expected = [
        stats.multivariate_normal(m, c).logpdf(VALUES)
        for m, c in zip(mean, covariance, strict=True)
    ]
    found = measurement.log_likelihood(SPECTRA, THETA).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([instrument.Offset("ofset")], r"must hold what the instrument uses, \['ofset'\] too"),
        ([instrument.ErrorFactor("offset")], r"parameters\['offset'\].*must not reach below 0"),
        ([instrument.Scale(-1.0)], "Scale factor = -1.0.*must be at least 0"),
        ([instrument.Offset(np.nan)], "Offset value = nan.*must be a finite number"),
        ([instrument.CorrelatedNoise(1e-4, 0.5, "cubic")], "must be one of .*matern32"),
        ({"nirspec": []}, r"must name datasets, \['spectrum'\]"),
        (["offset"], "must hold steps"),
        ({"*": instrument.Offset(1.0)}, "must be a list of steps"),
    ],
)
def test_what_does_not_fit_is_refused(steps, message):
    with pytest.raises(InvalidInput, match=message):
        _measurement(steps)


def test_changed_noise_needs_errors():
    observation = fp.Observation(VALUES)
    _measurement([instrument.Offset("offset")], observation)
    with pytest.raises(NoLikelihoodError):
        _measurement([instrument.ErrorFactor("f")], observation)


def test_a_covariance_must_be_one():
    for bad, message in [
        (np.ones((3, 3)), "covariance shape"),
        (np.ones((CHANNELS, CHANNELS)), "positive definite"),
        (np.triu(np.ones((CHANNELS, CHANNELS))), "symmetric"),
        (-EYE, "above 0"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            fp.Observation(VALUES, covariance=bad)
    nearly = EYE.copy()
    nearly[0, 1] = 1e-12  # rounding, of one
    fp.Observation(VALUES, covariance=nearly)
    with pytest.raises(InvalidInput, match="errors \\*\\* 2"):
        fp.Observation(VALUES, 2 * ERRORS, covariance=np.diag(ERRORS**2))


def test_nuisances_are_drawn_from_their_law_given_the_rest():
    """In an ellipse of the prior: means and variances of the chain against rejection."""
    d, nuisances = 3, np.array([0, 2])
    graph, parameters = new_flows(jax.random.key(0), d, 2, FlowConfig.fast())
    covariance = np.array([[0.5, 0.3, 0.1], [0.3, 0.6, 0.2], [0.1, 0.2, 0.4]])
    whitening = Whitening(np.array([0.5, -0.2, 0.3]), np.linalg.cholesky(covariance))
    density = Density(graph, parameters, np.zeros(2, np.float32), whitening)
    region = Region(density, float(density.log_prob(np.array([[0.5, -0.2, 0.3]]))[0]) - 3.0)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, d))
    z = z[region.contains(z)]
    every = draw_versions(jax.random.key(1), z, nuisances, region, 8)
    assert region.contains(every.reshape(-1, d)).all()
    np.testing.assert_array_equal(every[:, :, 1], np.repeat(z[:, 1:2], 8, 1))
    n = len(z)
    for version in (0, 7):
        for column in nuisances:
            before, after = z[:, column], every[:, version, column]
            assert abs(before.mean() - after.mean()) < 4 * before.std() * np.sqrt(2 / n)
            assert before.std() == pytest.approx(after.std(), rel=4 * np.sqrt(1 / n))
    # And they do move: a version has little in common with what it started from.
    residual = [
        x - np.polyval(np.polyfit(z[:, 1], x, 1), z[:, 1]) for x in (z[:, 0], every[:, 7, 0])
    ]
    assert np.corrcoef(*residual)[0, 1] < 0.2
    assert draw_versions(jax.random.key(1), z, nuisances, None, 4)[:, :, 0].std() == pytest.approx(
        1.0, rel=4 / np.sqrt(8 * n)
    )


X = np.linspace(-1, 1, 40)
SIGMA = 0.05


@fp.batched
def line(parameters):
    assert set(parameters) == {"a", "b"}  # what the instrument alone uses stays here
    return parameters["a"][:, None] + parameters["b"][:, None] * X


def _line_posterior(observation, offset_sd):
    """Marginals of a, b, offset of the second half and error factor f, by quadrature over f."""
    design = np.stack([np.ones(40), X, X > 0], axis=1).astype(float)
    prior = np.diag([1 / 3, 1 / 3, offset_sd**2])  # variances; a and b are normal in this test
    grid = np.geomspace(0.5, 4, 400)
    log_p, means, variances = [], [], []
    for f in grid:
        sd = f * SIGMA
        covariance = design @ prior @ design.T + sd**2 * np.eye(40)
        log_p.append(stats.multivariate_normal(np.zeros(40), covariance).logpdf(observation.values))
        posterior = np.linalg.inv(np.linalg.inv(prior) + design.T @ design / sd**2)
        means.append(posterior @ design.T @ observation.values / sd**2)
        variances.append(np.diag(posterior))
    weights = np.exp(np.array(log_p) - max(log_p))  # uniform in log f, as the grid
    log_evidence = max(log_p) + np.log(weights.mean())
    weights /= weights.sum()
    mean = weights @ np.array(means)
    sd = np.sqrt(weights @ (np.array(variances) + (np.array(means) - mean) ** 2))
    mean_f = weights @ grid
    return (
        np.append(mean, mean_f), np.append(sd, np.sqrt(weights @ (grid - mean_f) ** 2)),
        log_evidence,
    )  # fmt: skip


@pytest.fixture(scope="module")
def line_run(tmp_path_factory):
    """Two instruments, of which the second is offset, and both understate their errors by 1.5."""
    rng = np.random.default_rng(3)
    values = 0.3 - 0.2 * X + 0.2 * (X > 0) + 1.5 * SIGMA * rng.normal(size=40)
    first, second = X <= 0, X > 0
    observations = {
        name: fp.Observation(values[part], np.full(20, SIGMA), X[part])
        for name, part in (("one", first), ("two", second))
    }
    retrieval = fp.Retrieval(
        line,
        {"a": fp.Normal(0, 3**-0.5), "b": fp.Normal(0, 3**-0.5), "offset": fp.Normal(0, 0.3),
         "f": fp.LogUniform(0.5, 4)},
        observations,
        instrument={"two": [instrument.Offset("offset")], "*": [instrument.ErrorFactor("f")]},
        flow=FlowConfig(members=1), pool=Here(),
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("line") / "run"
    posterior = retrieval.run(4, 500, seed=1, directory=directory, progress=False)
    return retrieval, posterior, posterior.importance_sample(3000)


def test_nuisances_are_recovered(line_run):
    """Means within 4 standard errors, deviations too; the network's own within a third."""
    _, raw, corrected = line_run
    mean, sd, log_evidence = _line_posterior(corrected.observation, 0.3)
    draws = corrected.draws
    found = corrected.weights @ draws
    spread = np.sqrt(corrected.weights @ (draws - found) ** 2)
    error = 1 / np.sqrt(corrected.ess)
    assert corrected.efficiency > 0.3
    assert (np.abs(found - mean) < 4 * sd * error + 1e-3 * sd).all()
    np.testing.assert_allclose(spread, sd, rtol=4 * error)
    # Its prior of f is that of a grid of finite step.
    assert corrected.log_evidence == pytest.approx(
        log_evidence, abs=4 * corrected.log_evidence_error + 0.01
    )
    sample = raw.sample(4000)
    np.testing.assert_allclose(sample.std(axis=0), sd, rtol=1 / 3)
    assert (np.abs(sample.mean(axis=0) - mean) < 0.5 * sd).all()


def test_simulations_of_all_rounds_agree(line_run):
    _, raw, corrected = line_run
    mixture = raw.reuse_simulations()
    error = np.hypot(mixture.log_evidence_error, corrected.log_evidence_error)
    assert abs(mixture.log_evidence - corrected.log_evidence) < 4 * error


def test_a_posterior_with_an_instrument_is_saved(line_run, tmp_path):
    retrieval, _, corrected = line_run
    corrected.save(tmp_path / "posterior.npz")
    again = fp.load_posterior(tmp_path / "posterior.npz", simulator=line, pool=Here())
    np.testing.assert_array_equal(again.sample(5), corrected.sample(5))
    theta = corrected.sample(3)
    np.testing.assert_allclose(again.log_prob(theta), corrected.log_prob(theta), rtol=1e-12)
    assert [part.name for part in again.observation.parts] == ["one", "two"]
    assert again.measurement.instrument.describe() == retrieval.measurement.instrument.describe()


def test_datasets_in_a_tree(line_run):
    _, _, corrected = line_run
    tree = corrected.to_datatree(200)
    assert set(tree["observed_data"].data_vars) == {"one", "two"}
    assert tree["posterior_predictive"]["two"].shape == (1, 200, 20)
    total = sum(tree["log_likelihood"][name].sum(axis=2) for name in ("one", "two"))
    theta = np.stack([tree["posterior"][n].values[0] for n in corrected.names], axis=1)
    expected = tree["sample_stats"]["log_prob"].values - corrected.space.log_prior(theta)
    np.testing.assert_allclose(total, expected + corrected.log_evidence, rtol=1e-10)


def test_each_dataset_is_in_the_manifest():
    """Where one has no wavelengths, all together have none; and sizes count."""
    parts = {"one": OBSERVATION, "two": fp.Observation(VALUES, ERRORS)}
    moved = fp.Observation(VALUES, ERRORS, 1.1 * WAVELENGTH)
    steps = {"one": [instrument.CorrelatedNoise(np.float32(1e-4), np.int64(1))]}
    descriptions = [
        fp.Retrieval(line, {"a": (0.0, 1.0)}, each, instrument=steps).describe([200], 0)
        for each in (parts, {**parts, "one": moved})
    ]
    assert descriptions[0]["channels"] != descriptions[1]["channels"]
    assert json.loads(json.dumps(descriptions[0]["instrument"])) == descriptions[0]["instrument"]


def test_spectra_on_a_grid_serve_other_channels(tmp_path):
    grid = np.linspace(1, 3, 50)

    @fp.batched
    def model(parameters):
        return parameters["a"][:, None] + 0 * grid

    def run(wavelength, grid, **options):
        n = len(wavelength)
        retrieval = fp.Retrieval(
            model, {"a": (0.0, 1.0)},
            fp.Observation(np.ones(n), np.ones(n), wavelength, np.ones(n)),
            instrument=fp.Instrument(grid=grid), flow=FlowConfig.fast(), pool=Here(),
            training=fp.TrainingConfig(max_epochs=1),
        )  # fmt: skip
        return retrieval.run(1, 100, progress=False, **options)

    run([1.5, 2.5], grid, directory=tmp_path)
    assert run([2.0], grid, reuse=tmp_path).record.simulator_calls == 0
    with pytest.raises(RunDirectoryError, match="its spectra are not"):
        run([2.0], grid + 0.1, reuse=tmp_path)


def test_another_instrument_is_another_run(line_run, tmp_path):
    retrieval, _, _ = line_run
    run = {"rounds": 1, "simulations": 200, "progress": False, "directory": tmp_path / "run"}
    retrieval.run(**run)
    other = fp.Retrieval(
        line, retrieval.space.entries, retrieval.observation, pool=Here(),
        instrument={"two": [instrument.Offset("offset")], "one": [instrument.ErrorFactor("f")]},
    )  # fmt: skip
    with pytest.raises(RunDirectoryError, match="instrument"):
        other.run(**run, resume=True)


def test_the_network_sees_the_same_on_host_and_device():
    """Inputs of data, in the unit of the device; and a row without noise is what it is."""
    measurement = _measurement(CASES["all"][0])
    rng = np.random.default_rng(2)
    spectra = 0.02 + 1e-3 * rng.normal(size=(50, 3)) @ rng.normal(size=(3, CHANNELS))
    theta = SPACE.to_theta(rng.normal(size=(50, len(SPACE.names))))
    noisy = measurement.noisy(rng, spectra, theta)
    clean = measurement.predict(spectra, theta)
    for log in (False, True):
        features = fit_measured(clean, noisy, OBSERVATION, 4, log=log, energies=True)
        unit = measurement.prepared.unit
        host = context_of(np, features, noisy)
        device = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), in_unit(features, unit))
        with jax.default_matmul_precision("highest"):  # as DrawMeasured has it
            found = context_of(jnp, device, jnp.asarray(noisy / unit, float))
        np.testing.assert_allclose(found, host, atol=2e-3)
        used = features.scale > 0
        np.testing.assert_allclose(host[:, :4][:, used].std(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(host[:, 4:].std(axis=0), 1, atol=0.01)
    values = {k: v[:, None] for k, v in measurement.instrument_values(theta).items()}
    silent = MeasuredRows(
        jnp.zeros((50, 1, 6)), values, spectra / unit, base_noise(OBSERVATION, unit),
        device._replace(noise=jnp.zeros(())),
    )  # fmt: skip
    _, context = DrawMeasured(measurement.prepared)(jax.random.key(0), silent, jnp.arange(50))
    np.testing.assert_allclose(context, context_of(np, features, clean), atol=2e-3)


def test_logarithms_are_weighed_without_regard_to_the_noise():
    """Were slopes those of the observation, channels of positive noise would count most.

    The weights are those of the one simulation that is near, whatever the noise.
    """
    clean = np.geomspace(1, 100, 8)[:, None] * np.linspace(1.0, 2.0, CHANNELS)
    rng = np.random.default_rng(0)
    errors = np.full(CHANNELS, 2.0)
    found = []
    for _ in range(2):
        noisy = clean + errors * rng.normal(size=clean.shape)
        observation = fp.Observation(clean[3] + errors * rng.normal(size=CHANNELS), errors)
        features = fit_measured(clean, noisy, observation, 2, log=True, energies=False)
        found.append(features.error)
    np.testing.assert_array_equal(*found)
    # What an error becomes, by finite differences.
    bend = features.bend
    step = bend * (np.arcsinh((clean[3] + 1e-5) / bend) - np.arcsinh((clean[3] - 1e-5) / bend))
    np.testing.assert_allclose(features.error, errors * step / 2e-5, rtol=1e-8)


@fp.jax_batched
def jax_line(parameters):
    return parameters["a"][:, None] + parameters["b"][:, None] * jnp.asarray(X)


@pytest.mark.parametrize("sampler", ["ultranest", "blackjax"])
def test_nested_sampling_knows_the_instrument(line_run, sampler):
    """Evidence and moments within 4 standard errors of quadrature."""
    retrieval, _, _ = line_run
    again = fp.Retrieval(
        jax_line, retrieval.space.entries, retrieval.observation,
        instrument=retrieval.measurement.instrument,
    )  # fmt: skip
    tree = again.nested(sampler, live_points=200, seed=2, progress=False)
    mean, sd, log_evidence = _line_posterior(again.observation, 0.3)
    error = tree.attrs["log_evidence_error"]
    assert tree.attrs["log_evidence"] == pytest.approx(log_evidence, abs=4 * error + 0.01)
    draws = np.stack([tree["posterior"][name].values[0] for name in again.space.names], axis=1)
    n = tree.attrs["ess"]
    assert (np.abs(draws.mean(axis=0) - mean) < 4 * sd * np.sqrt(2 / n)).all()


def test_blackjax_knows_no_correlated_noise(line_run):
    retrieval, _, _ = line_run
    other = fp.Retrieval(
        jax_line, {"a": (-1.0, 1.0), "b": (-1.0, 1.0)}, retrieval.observation,
        instrument=[instrument.MarginalScale(0.1)],
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="noise is correlated"):
        other.nested("blackjax")


WIEN = np.linspace(0.5, 5.0, 60)
FLUX_ERROR = 1e-19  # of fluxes from far below it up to 5e-17


@fp.batched
def emission(parameters):
    """Wien's law: over four decades, of which the errors drown two."""
    return 1e-12 * WIEN**-5 * np.exp(-14_388 / (WIEN * parameters["T"][:, None]))


@pytest.mark.parametrize("features", ["linear", "log"])
def test_emission_with_a_marginal_scale(features):
    """Temperature against quadrature, with the scale integrated out: evidence, mean, deviation.

    Some values are below 0. Means of the network alone are off by 0.05 deviations (seeds 4 to 11,
    root mean square), widths are 1 to 1.26 of the exact one: bounds are five and three times that.
    """
    rng = np.random.default_rng(5)
    truth = emission({"T": np.array([900.0])})[0]
    values = 1.05 * truth + FLUX_ERROR * rng.normal(size=60)
    assert (values < 0).any()
    assert values.max() > 100 * FLUX_ERROR
    retrieval = fp.Retrieval(
        emission, {"T": fp.Uniform(600, 1200), "idle": (0.0, 1.0)},
        fp.Observation(values, np.full(60, FLUX_ERROR), WIEN),
        instrument=[instrument.MarginalScale(0.1)],
        flow=FlowConfig(features=features, members=1), pool=Here(),
    )  # fmt: skip
    raw = retrieval.run(3, 400, seed=4, progress=False)
    corrected = raw.importance_sample(2000)
    grid = np.linspace(600, 1200, 60_001)
    models = emission({"T": grid})
    # Woodbury: a constant error and one template.
    power = (models**2).sum(axis=1) / FLUX_ERROR**2
    dot = models @ (values[:, None] / FLUX_ERROR**2)[:, 0]
    residual = ((values - models) ** 2).sum(axis=1) / FLUX_ERROR**2
    shift = dot - power
    log_l = -0.5 * (residual - shift**2 * 0.01 / (1 + 0.01 * power)) - 0.5 * np.log1p(0.01 * power)
    log_l -= 60 * np.log(FLUX_ERROR) + 30 * np.log(2 * np.pi)
    density = np.exp(log_l - log_l.max())
    norm = integrate.trapezoid(density, grid)
    mean = integrate.trapezoid(density * grid, grid) / norm
    sd = np.sqrt(integrate.trapezoid(density * (grid - mean) ** 2, grid) / norm)
    log_evidence = log_l.max() + np.log(norm / 600)
    error = 1 / np.sqrt(corrected.ess)
    draws = corrected.draws[:, 0]
    found = corrected.weights @ draws
    assert corrected.efficiency > 0.3
    assert found == pytest.approx(mean, abs=4 * sd * error)
    assert np.sqrt(corrected.weights @ (draws - found) ** 2) == pytest.approx(sd, rel=4 * error)
    assert corrected.log_evidence == pytest.approx(
        log_evidence, abs=4 * corrected.log_evidence_error + 1e-3
    )
    sample = raw.sample(4000)[:, 0]
    assert sample.mean() == pytest.approx(mean, abs=sd / 4)
    assert sample.std() == pytest.approx(sd, rel=1 / 3)


GRID = np.exp(np.linspace(np.log(0.95), np.log(3.3), 1500))
SHIFTED = ParameterSpace({"a": (0.0, 1.0), "v": (-200.0, 200.0), "offset": (-1e-3, 1e-3)})


def _on_grid(constant, other):
    edges = np.linspace(1.1, 3.0, 41)
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    parts = [
        fp.Observation(np.full(20, 0.02), np.full(20, 1e-4), centres[p], widths[p], name=name)
        for name, p in (("one", slice(0, 20)), ("two", slice(20, 40)))
    ]
    steps = {
        "one": [instrument.Resolution(100.0), instrument.RadialVelocity(constant)],
        "two": [instrument.Resolution(50.0), instrument.RadialVelocity(other),
                instrument.Offset("offset")],
    }  # fmt: skip
    retrieval = fp.Retrieval(
        lambda p: GRID, SHIFTED.entries, parts, instrument=fp.Instrument(steps, grid=GRID)
    )
    return retrieval.measurement


@pytest.mark.parametrize(("constant", "other"), [(30.0, -50.0), (30.0, "v"), ("v", "v")])
def test_steps_on_the_grid_are_taken_in_order(constant, other):
    """Each dataset is what its own steps, and then the average over its channels, make of it."""
    from floppity_jax.instrument.binning import binning

    measurement = _on_grid(constant, other)
    assert measurement.output.size == GRID.size
    assert set(measurement.simulator_names) == ({"a"} if "v" in (constant, other) else {"a", "v"})
    rng = np.random.default_rng(6)
    spectra = 0.02 + 1e-3 * rng.normal(size=(3, 8)) @ np.cos(np.outer(np.arange(8), 9 * GRID))
    theta = SHIFTED.to_theta(rng.normal(size=(3, 3)))
    values, bounds = SHIFTED.as_mapping(theta), {"v": (-200.0, 200.0)}
    expected = []
    for part, R, velocity in zip(measurement.observation.parts, (100.0, 50.0), (constant, other),
                                 strict=True):  # fmt: skip
        half = part.bin_width / 2
        spectrum = spectra
        for step in (instrument.Resolution(R), instrument.RadialVelocity(velocity)):
            spectrum = step.prepare(GRID, bounds)(np, spectrum, values)
        to_channels = binning(GRID, part.wavelength - half, part.wavelength + half)
        expected.append(to_channels(np, spectrum))
    expected[1] = expected[1] + values["offset"][:, None]
    found = measurement.predict(spectra, theta)
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-9)
    # And on the device.
    raw = jnp.asarray(spectra / measurement.prepared.unit, jnp.float32)
    own = {k: jnp.asarray(v, jnp.float32) for k, v in measurement.instrument_values(theta).items()}
    device = measurement.prepared(jnp, measurement.prepared.reduce(jnp, raw), own)
    # Up to 1e-6 of a spectrum of 200 errors.
    np.testing.assert_allclose(device.mean * measurement.prepared.unit, found, rtol=1e-5)


def test_channels_near_the_end_of_the_grid_are_refused():
    part = fp.Observation(np.ones(2), np.ones(2), [1.0, 2.0], [0.01, 0.01])
    with pytest.raises(InvalidInput, match="must lie within .* do not reach the ends of the grid"):
        fp.Retrieval(
            lambda p: GRID, {"a": (0.0, 1.0)}, part,
            instrument=fp.Instrument([instrument.Resolution(20.0)], grid=GRID),
        )  # fmt: skip
    with pytest.raises(InvalidInput, match="acts on the grid of the model"):
        fp.Instrument([instrument.Resolution(50.0)])
    with pytest.raises(InvalidInput, match="grid .*must be .* increase"):
        fp.Instrument([], grid=[2.0, 1.0])
    with pytest.raises(InvalidInput, match="wavelength and bin_width of 'spectrum'"):
        fp.Retrieval(
            lambda p: GRID, {"a": (0.0, 1.0)}, fp.Observation(np.ones(2), np.ones(2)),
            instrument=fp.Instrument(grid=GRID),
        )  # fmt: skip


def test_constant_steps_on_the_grid_are_one_matrix():
    """Of all four, on an uneven grid, for spectra without any smoothness; and quickly made."""
    from floppity_jax.instrument.binning import binning

    grid = np.sort(np.exp(np.linspace(0, np.log(2), 1200) + 2e-5 * RNG.normal(size=1200)))
    centres, widths = np.linspace(1.2, 1.8, 30), np.full(30, 0.02)
    steps = [instrument.Rotation(900.0), instrument.RadialVelocity(-300.0),
             instrument.WavelengthShift(0.002), instrument.Resolution(60.0)]  # fmt: skip
    part = fp.Observation(np.ones(30), np.full(30, 0.1), centres, widths)
    prepared = instrument.Instrument(steps, grid=grid).prepare(part, {})
    spectra = RNG.normal(size=(4, grid.size))
    expected = spectra
    for step in steps:
        expected = step.prepare(grid, {})(np, expected, {})
    expected = binning(grid, centres - widths / 2, centres + widths / 2)(np, expected)
    found = prepared(np, prepared.reduce(np, spectra), {}).mean
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
