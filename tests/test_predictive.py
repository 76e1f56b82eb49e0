"""The scan of residuals on posteriors in closed form, with the model right and with it wrong."""

import numpy as np
import pytest
import xarray
from scipy import stats
from threadpoolctl import threadpool_limits

from floppity_jax.diagnostics import residual_scan
from floppity_jax.diagnostics.predictive import window_sizes
from floppity_jax.errors import InvalidInput

CHANNELS, DRAWS, REPEATS = 60, 400, 300
X = np.linspace(-1, 1, CHANNELS)


@pytest.fixture(autouse=True)
def _one_thread():
    """Thousands of small matrices: threads that wait for one another cost a hundred times as much.

    That is where other processes use the cores too.
    """
    with threadpool_limits(1):
        yield


def tree_of(rng, data, models, noise, wavelength=None):
    """Return what the scan needs; ``noise`` draws that of as many spectra as it is told."""
    dims = ("chain", "draw", "channel")
    groups = {
        "observed_data": {"s": ("channel", data)},
        "model_spectra": {"s": (dims, models[None])},
        "posterior_predictive": {"s": (dims, (models + noise(rng, len(models)))[None])},
    }
    if wavelength is not None:
        groups["constant_data"] = {"wavelength_s": ("channel", wavelength)}
    return xarray.DataTree.from_dict({k: xarray.Dataset(v) for k, v in groups.items()})


def white(rng, n):
    return 0.5 * rng.normal(size=(n, CHANNELS))


LAG = np.abs(np.subtract.outer(np.arange(CHANNELS), np.arange(CHANNELS)))
ROOT = 0.8 * np.linalg.cholesky(np.exp(-LAG / 4))


def correlated(rng, n):
    return rng.normal(size=(n, CHANNELS)) @ ROOT.T


def linear(seed, *, covariance=None, noise=white, extra=0.0, parameters=5, prior=1.0):
    """Polynomials, and the exact posterior of their coefficients; ``extra`` is what they lack."""
    rng = np.random.default_rng(seed)
    design = np.polynomial.legendre.legvander(X, parameters - 1).T
    data = prior * rng.normal(size=parameters) @ design + extra + noise(rng, 1)[0]
    precision = np.linalg.inv(0.25 * np.eye(CHANNELS) if covariance is None else covariance)
    posterior = np.linalg.inv(np.eye(parameters) / prior**2 + design @ precision @ design.T)
    mean = posterior @ design @ precision @ data
    draws = rng.multivariate_normal(mean, posterior, DRAWS)
    return tree_of(rng, data, draws @ design, noise)


GRID = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 61)], indexing="ij"), axis=-1).reshape(-1, 2)
LINES = 1 - np.exp(
    -3 * GRID[:, :1] * np.exp(-0.5 * ((X - 2 * GRID[:, 1:] + 1) / 0.1) ** 2)
)  # saturated, of unknown place: far from linear


def bent(seed):
    """A line of unknown depth and place, and the exact posterior on a grid."""
    rng = np.random.default_rng(seed)
    data = LINES[rng.integers(len(GRID))] + white(rng, 1)[0]
    log_likelihood = -0.5 * ((LINES - data) ** 2).sum(axis=1) / 0.25
    weights = np.exp(log_likelihood - log_likelihood.max())
    rows = rng.choice(len(GRID), DRAWS, p=weights / weights.sum())
    return tree_of(rng, data, LINES[rows], white)


PROBLEMS = {
    "linear": linear,
    "fifteen parameters": lambda seed: linear(seed, parameters=15),
    "held by the prior": lambda seed: linear(seed, prior=0.04),
    "bent": bent,
    "correlated": lambda seed: linear(seed, covariance=ROOT @ ROOT.T, noise=correlated),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_false_alarms_are_as_many_as_p_says(problem):
    """Of observations whose model is right: each tail within four binomial deviations.

    The law of p as a whole is tested more loosely where the model is bent: at one in 100,000.
    """
    p = np.array([residual_scan(PROBLEMS[problem](seed)).p_value for seed in range(REPEATS)])
    for level in (0.01, 0.05, 0.2):
        share, deviation = (p <= level).mean(), np.sqrt(level * (1 - level) / REPEATS)
        assert abs(share - level) < 4 * deviation
    assert stats.kstest(p, "uniform").pvalue > 1e-5


def test_an_absorber_that_is_missing_is_found_where_it_is():
    """Eight channels of 2 sigma: 5.7 sigma together, less what the polynomials take up.

    Of 300 observations 0.66 were found at p < 0.01, and of these 0.80 there; the others lay beside
    it, where a fit drawn to the absorber leaves the data above. Four binomial deviations of 50 are
    0.27, of 33 they are 0.28.
    """
    band = (X > 0.2) & (X < 0.47)
    inside = np.flatnonzero(band)
    assert len(inside) == 8
    found = [residual_scan(linear(seed, extra=-1.0 * band)) for seed in range(50)]
    found = [window for window in found if window.stands_out]
    assert len(found) > 0.39 * 50
    there = [
        len(np.intersect1d(np.arange(w.first, w.last + 1), inside)) >= 4 and w.mean < 0
        for w in found
    ]
    assert np.mean(there) > 0.52
    # Of those as strong as can be, the ends are known to a step of the sizes.
    strong = residual_scan(linear(0, extra=-20.0 * band))
    assert abs(strong.first - inside[0]) <= 2
    assert abs(strong.last - inside[-1]) <= 2
    assert "data lie below the models at channels" in strong.words
    assert strong.p_value == pytest.approx(1 / (DRAWS + 1))


@pytest.mark.parametrize(
    ("wavelength", "widths", "edges", "place"),
    [
        (None, None, (9.5, 10.5), "channels 10 to 10"),
        (np.arange(1.0, 31.0), None, (10.5, 11.5), "10.5 to 11.5 um"),
        (np.arange(1.0, 31.0), np.full(30, 0.5), (10.75, 11.25), "10.75 to 11.25 um"),
    ],
)
def test_the_window_is_told_in_wavelength_where_that_is_known(wavelength, widths, edges, place):
    rng = np.random.default_rng(0)
    data = rng.normal(size=30)
    data[10] += 50.0

    def noise(rng, n):
        return rng.normal(size=(n, 30))

    tree = tree_of(rng, data, np.zeros((DRAWS, 30)), noise, wavelength)
    if widths is not None:
        constants = tree["constant_data"].to_dataset()
        tree["constant_data"] = constants.assign(bin_width_s=("channel", widths))
    window = residual_scan(tree)
    assert (window.dataset, window.first, window.last) == ("s", 10, 10)
    assert (window.low, window.high) == pytest.approx(edges)
    assert window.place == place
    assert window.mean == pytest.approx(50, rel=0.2)
    assert window.words.startswith(f"data lie above the models at {place}, by ")
    assert "1 channel" in window.words


def test_windows_stay_inside_a_dataset():
    """Half of the excess lies at the end of one, half at the start of the next."""
    rng = np.random.default_rng(0)
    groups = {"observed_data": {}, "model_spectra": {}, "posterior_predictive": {}}
    for name, sign in (("first", 1), ("second", -1)):
        noise = rng.normal(size=(DRAWS + 1, 40))
        channel = f"channel_{name}"
        dims = ("chain", "draw", channel)
        raised = noise[0] + 3.0 * (np.arange(40)[::sign] >= 32)
        groups["observed_data"][name] = (channel, raised)
        groups["model_spectra"][name] = (dims, np.zeros((1, DRAWS, 40)))
        groups["posterior_predictive"][name] = (dims, noise[None, 1:])
    tree = xarray.DataTree.from_dict({k: xarray.Dataset(v) for k, v in groups.items()})
    window = residual_scan(tree)
    assert window.stands_out
    where = {"first": (32, 39), "second": (0, 7)}[window.dataset]
    assert abs(window.first - where[0]) <= 2
    assert abs(window.last - where[1]) <= 2


def test_sizes_grow_geometrically():
    assert window_sizes(1) == window_sizes(3) == [1]
    assert window_sizes(30) == [1, 2, 3, 4, 6, 8, 11]
    assert len(window_sizes(5000)) == 22
    assert max(window_sizes(5000)) <= 2500


def test_what_is_missing_is_named():
    tree = linear(0)
    del tree["posterior_predictive"]
    with pytest.raises(InvalidInput, match="must have the group posterior_predictive"):
        residual_scan(tree)
