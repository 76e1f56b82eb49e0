import numpy as np
import pytest
import xarray

from floppity_jax import report
from floppity_jax.summary import Interval, interval

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def tree():
    """Evenly spaced draws, whose quantiles are exact."""
    dims = ("chain", "draw")
    posterior = xarray.Dataset(
        {
            "T": (dims, np.linspace(900, 1100, 1001)[None], {"unit": "K", "scale": "linear"}),
            "X_H2O": (dims, 10 ** np.linspace(-4, -2, 1001)[None], {"scale": "log"}),
        }
    )
    return xarray.DataTree.from_dict({"posterior": posterior})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((1003.2, 81.4, 76.1), ("1003", "+81", "-76")),
        ((-2.951, 0.131, 0.128), ("-2.95", "+0.13", "-0.13")),
        ((1.2003, 0.01, 0.0099), ("1.2003", "+0.0100", "-0.0099")),
        ((1.12e-3, 4e-4, 3e-4), ("0.00112", "+0.00040", "-0.00030")),
        ((2.73e-5, 1.35e-5, 8.1e-6), ("2.73e-05", "+1.35e-05", "-0.81e-05")),
        ((-3.1e9, 2e8, 1e8), ("-3.10e+09", "+0.20e+09", "-0.10e+09")),
        ((0.0, 1.0, 1.0), ("0.0", "+1.0", "-1.0")),
        ((5.0, 0.0, 0.0), ("5.0", "+0.0", "-0.0")),
    ],
)
def test_digits_follow_the_smaller_distance(given, shown):
    assert Interval(*given).digits() == shown


def test_interval_is_that_of_the_normal_law():
    # Quantiles of a normal law at its own percentiles: the interval is one standard deviation.
    from scipy import stats

    draws = stats.norm(3, 2).ppf(np.linspace(1e-6, 1 - 1e-6, 200_001))
    assert tuple(interval(draws)) == pytest.approx((3, 2, 2), abs=1e-4)


def test_table_of_a_bare_posterior(tree):
    # Central 68.27% of 200 K is 136.5 K, of two decades 1.365: 1e-3 times 10^(+-0.683).
    assert report.summary_table(tree).splitlines() == [
        "parameter  unit  median   68% interval       log10",
        "---------  ----  -------  -----------------  -----------------",
        "T          K     1000     +68 -68",
        "X_H2O            0.00100  +0.00382 -0.00079  -3.00 +0.68 -0.68",
    ]


def test_table_reports_what_is_known(tree):
    tree.attrs.update(
        reduced_chi2_best=1.2345,
        simulator_calls=12000,
        seconds_simulating=3.21,
        seconds_compiling=11.0,
        seconds_training=41.26,
        seconds_sampling=0.04,
        log_evidence=1033.217,
        log_evidence_error=0.021,
        importance_efficiency=0.4149,
        pareto_k=0.312,
    )
    assert report.summary_table(tree).splitlines()[5:] == [
        "reduced chi^2 of the best draw  1.23",
        "log evidence                    1033.22 +- 0.02",
        "importance-sampling efficiency  0.41",
        "Pareto k of the weights         0.31, good: below 0.70, weighted means and their errors "
        "can be trusted",
        "simulator calls                 12,000",
        "seconds simulating              3.2",
        "seconds compiling               11.0",
        "seconds training                41.3",
        "seconds sampling                0.0",
    ]


def test_table_says_what_failures_leave_out(tree):
    tree.attrs.update(simulator_failures=123, prior_share_excluded=0.0512)
    assert report.summary_table(tree).splitlines()[-1] == (
        "failed simulations  123; 0.051 of the prior is left out"
    )
    tree.attrs["simulator_failures"] = 0
    assert "failed" not in report.summary_table(tree)


@pytest.mark.parametrize("k", [0.7, 1.3, np.inf, np.nan])
def test_table_warns_of_weights_that_cannot_be_trusted(tree, k):
    tree.attrs["pareto_k"] = k
    last = report.summary_table(tree).splitlines()[-1]
    reading = (
        "poor: not below 0.70, errors of weighted means are larger than stated"
        if k < 1
        else "bad: not below 1, weighted means have no error that could be stated"
    )
    assert last == f"Pareto k of the weights  {k:.2f}, {reading}"


def test_report_writes_the_figures_it_can(tree, tmp_path):
    corner, page = report.write_report(tree, tmp_path / "new" / "run")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert corner == tmp_path / "new" / "run" / "corner.png"
    assert corner.read_bytes().startswith(PNG)

    shape = (1, 1001, 3)
    models = np.random.default_rng(0).normal(1, 0.1, shape)
    tree["model_spectra"] = xarray.Dataset({"s": (("chain", "draw", "c"), models)})
    tree["observed_data"] = xarray.Dataset({"s": ("c", np.ones(3))})
    tree["constant_data"] = xarray.Dataset({"error_s": ("c", np.full(3, 0.1))})
    paths = report.write_report(tree, tmp_path)
    assert [path.name for path in paths] == ["corner.png", "spectrum.png", "report.html"]
    assert all(path.read_bytes().startswith(PNG) for path in paths[:2])


@pytest.mark.parametrize("missing", [0.0, 5.0])
def test_report_says_where_residuals_stand_out(tree, tmp_path, missing):
    rng = np.random.default_rng(0)
    dims, shape = ("chain", "draw", "c"), (1, 1001, 40)
    data = rng.normal(1, 0.1, 40)
    data[10:18] -= missing * 0.1
    tree["observed_data"] = xarray.Dataset({"s": ("c", data)})
    tree["constant_data"] = xarray.Dataset({"error_s": ("c", np.full(40, 0.1))})
    tree["model_spectra"] = xarray.Dataset({"s": (dims, np.ones(shape))})
    noisy = rng.normal(1, 0.1, shape)
    tree["posterior_predictive"] = xarray.Dataset({"s": (dims, noisy)})
    report.write_report(tree, tmp_path)
    page, table = (tmp_path / "report.html").read_text(), report.summary_table(tree)
    assert "Residuals of neighbouring channels" in page
    assert ("Shaded, where residuals stand out" in page) == (missing > 0)
    assert ("channels 10 to 17" in table) == (missing > 0)
    assert ("residuals  data lie below" in table) == (missing > 0)
