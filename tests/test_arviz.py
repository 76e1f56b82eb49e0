"""ArviZ on our DataTrees, of a posterior that is known in closed form.

The model is linear, its priors and noise normal, and the draws come from a wider normal law, so
that weights, moments, evidence and leave-one-out densities are exact.
"""

import dataclasses

import jax
import numpy as np
import pytest
import xarray
from scipy import stats

import floppity_jax as fp
from floppity_jax.density import Density, Whitening, new_flows
from floppity_jax.flows.config import FlowConfig
from floppity_jax.measurement import Measurement
from floppity_jax.mixture import WeightedSimulations
from floppity_jax.posterior import ImportancePosterior, Posterior
from floppity_jax.priors import ParameterSpace
from floppity_jax.record import RoundInfo, RunRecord
from floppity_jax.training import StopReason, TrainingRecord

N, DRAWS, CHANNELS = 4000, 2000, 20
SMALL = FlowConfig(transforms=1, bins=4, width=8, blocks=1, components=2)
DESIGN = np.random.default_rng(0).normal(size=(2, CHANNELS))
ERRORS = np.linspace(1.0, 3.0, CHANNELS)
NAMES = ("C/O", "T")
VARIABLES = ("C_O", "T")  # a slash would be a path


def linear_posterior(kind=ImportancePosterior):
    """Return the posterior, corrected unless it is of another kind; one model in 100 failed."""
    rng = np.random.default_rng(1)
    observation = fp.Observation(
        np.array([0.3, -0.5]) @ DESIGN + ERRORS * rng.normal(size=CHANNELS), ERRORS,
        wavelength=np.linspace(0.6, 5.3, CHANNELS), name="NIRSpec/PRISM", unit="ppm",
    )  # fmt: skip
    space = ParameterSpace(
        {
            "C/O": fp.Normal(0.0, 1.0, label=r"$\mathrm{C/O}$"),
            "T": fp.Normal(0.0, 1.0, unit="K", label="$T_0$"),
        }
    )
    graph, parameters = new_flows(jax.random.key(0), 2, 2, SMALL)
    start = Density(graph, parameters, np.zeros(2, np.float32), Whitening(np.zeros(2), np.eye(2)))
    measurement = Measurement(observation, space)
    common = {"measurement": measurement, "density": start, "flow": SMALL, "record": record()}
    if kind is Posterior:
        return Posterior(**common)
    law = stats.multivariate_normal(*moments(observation, widened=1.3))
    draws = law.rvs(N, random_state=rng)
    spectra = draws @ DESIGN
    log_weights = (
        measurement.log_likelihood(spectra, draws).sum(axis=1)
        + space.log_prior(draws) - law.logpdf(draws)
    )  # fmt: skip
    failed = rng.uniform(size=N) < 0.01
    spectra[failed], log_weights[failed] = np.nan, -np.inf
    return ImportancePosterior(
        **common, draws=draws, spectra=spectra, log_weights=log_weights,
        simulations=WeightedSimulations(draws[:100], spectra[:100], log_weights[:100], 0.1),
    )  # fmt: skip


def moments(observation, widened=1.0):
    """Return mean and covariance of the exact posterior."""
    covariance = np.linalg.inv(np.eye(2) + (DESIGN / ERRORS**2) @ DESIGN.T)
    return covariance @ DESIGN @ (observation.values / ERRORS**2), widened**2 * covariance


def record():
    def a_round(epochs, reason, sampler):
        quantiles = {name: (-2.0, -1.0, 0.0, 1.0, 2.0) for name in NAMES}
        losses = [1.0 / (i + 1) for i in range(epochs)]
        training = TrainingRecord(losses, losses, reason, 0, losses[-1])
        return RoundInfo(
            simulations=100, failures=1, taken_over=0, used=99, acceptance=0.5, proposal_ess=80.0,
            sampler=sampler, overlap=1.0, ignored_regions=0, change=0.1, efficiency=np.nan,
            misfit=1.0,
            feature_distance=1.0, feature_share=0.5,
            reconstruction_error=0.1, quantiles=quantiles, training=training,
        )  # fmt: skip

    rounds = [a_round(3, StopReason.PATIENCE, "prior"), a_round(5, StopReason.MAX_EPOCHS, "flow")]
    return RunRecord(
        3, "truncated", rounds, importance_calls=N, seconds={"simulating": 1.5},
        configuration="[run]\nname = 'µm'",
    )  # fmt: skip


@pytest.fixture(scope="module")
def posterior():
    return linear_posterior()


@pytest.fixture(scope="module")
def tree(posterior):
    return posterior.to_datatree(DRAWS)


@pytest.fixture(scope="module")
def arviz_plots():
    import arviz_plots

    return arviz_plots


@pytest.mark.parametrize("kind", ["corrected", "flow", "without likelihood"])
def test_netcdf_gives_back_the_whole_tree(kind, tmp_path):
    posterior = linear_posterior(ImportancePosterior if kind == "corrected" else Posterior)
    if kind == "without likelihood":
        bare = Measurement(fp.Observation(posterior.observation.values), posterior.space)
        posterior = dataclasses.replace(posterior, measurement=bare)
    tree = posterior.to_datatree(DRAWS)
    tree.to_netcdf(tmp_path / "posterior.nc")
    with xarray.open_datatree(tmp_path / "posterior.nc") as read:
        read.load()
    xarray.testing.assert_identical(tree, read)  # groups, dims, coordinates, values, attributes
    for node in tree.subtree:
        for name, variable in node.variables.items():
            found = read[node.path].variables[name].dtype
            # netCDF keeps no length of texts.
            assert found == variable.dtype or found.kind in "TOU" and variable.dtype.kind in "TU"
    for name, value in tree.attrs.items():
        assert isinstance(read.attrs[name], type(value) | np.number)
    assert tree["posterior"]["T"].attrs == {"unit": "K", "label": "$T_0$", "scale": "linear"}
    assert ("constant_data" in tree.children) == (kind != "without likelihood")
    if "constant_data" in tree.children:
        assert tree["observed_data"]["NIRSpec_PRISM"].attrs == {"unit": "ppm"}
        assert tree["constant_data"]["wavelength_NIRSpec_PRISM"].attrs == {"unit": "um"}


def test_summary_has_the_exact_moments(posterior, tree):
    """Within 4.5 standard errors of as many independent draws as the weights are worth."""
    import arviz_stats

    table = arviz_stats.summary(tree, kind="stats", ci_prob=0.95, ci_kind="eti", round_to="none")
    mean, covariance = moments(posterior.observation)
    sd = np.sqrt(np.diag(covariance))
    ess = min(posterior.ess, DRAWS)
    assert list(table.index) == list(VARIABLES)
    assert (np.abs(table["mean"] - mean) < 4.5 * sd / np.sqrt(ess)).all()
    assert (np.abs(table["sd"] / sd - 1) < 4.5 / np.sqrt(2 * ess)).all()
    # A quantile q of n draws scatters by sqrt(q (1 - q) / n) over the density there.
    scatter = np.sqrt(0.025 * 0.975 / ess) / stats.norm.pdf(1.96)
    for column, side in (("eti95_lb", -1), ("eti95_ub", 1)):
        assert (np.abs((table[column] - mean) / sd - side * 1.96) < 4.5 * scatter).all()
    # Draws are independent, as far as ArviZ can see: its scatter over seeds is some 5%.
    diagnostics = arviz_stats.summary(tree, kind="diagnostics", round_to="none")
    assert (diagnostics["ess_bulk"] > 0.8 * DRAWS).all()


def test_leave_one_out_densities_are_the_exact_ones(posterior, tree):
    """Of channel i given the others: N(y_i - g_i / c_i, 1 / c_i).

    With c the diagonal of K^-1, g = K^-1 y, and K the covariance of the data before they are known
    (Sundararajan & Keerthi 2001).
    """
    import arviz_stats

    y = posterior.observation.values
    precision = np.linalg.inv(DESIGN.T @ DESIGN + np.diag(ERRORS**2))
    c, g = np.diag(precision), precision @ y
    exact = stats.norm(y - g / c, 1 / np.sqrt(c)).logpdf(y)
    loo = arviz_stats.loo(tree, pointwise=True)
    found = loo.elpd_i.to_numpy()
    # Raw weights are 1 / likelihood; the error of their mean is that of the estimate.
    weights = np.exp(-tree["log_likelihood"]["NIRSpec_PRISM"].to_numpy()[0])
    error = weights.std(axis=0) / weights.mean(axis=0) / np.sqrt(min(posterior.ess, DRAWS))
    assert (np.abs(found - exact) < 4.5 * error).all()
    assert loo.n_data_points == CHANNELS
    assert not loo.warning
    assert (loo.pareto_k < loo.good_k).all()


def test_pareto_k_is_that_of_the_weights_in_the_tree(posterior, tree):
    """Of ArviZ on the group `importance`, and as the report reads it."""
    import arviz_stats  # noqa: F401 registers the accessor

    from floppity_jax.report.readings import readings

    log_weights = tree["importance"]["log_weight"]
    assert log_weights.size == N
    good = log_weights[np.isfinite(log_weights.to_numpy())]
    assert good.size < N
    _, k = (-good).azstats.psislw(dim="simulation")
    assert k.item() == pytest.approx(tree.attrs["pareto_k"], rel=1e-12)
    assert tree.attrs["pareto_k"] == posterior.pareto_k
    (reading,) = [r for r in readings(tree) if r.name.startswith("Pareto k")]
    assert (reading.value, reading.verdict) == (f"{k.item():.2f}", "good")


@pytest.mark.parametrize(("given_up", "verdict"), [((0, 0), None), ((1, 0), ""), ((0, 2), "bad")])
def test_a_round_that_contradicts_those_before_is_told_of(tree, given_up, verdict):
    """And the table warns where it is the last, which no other has confirmed."""
    from floppity_jax.report.readings import readings
    from floppity_jax.report.table import summary_table

    tree = tree.copy()
    tree["rounds"] = tree["rounds"].to_dataset().assign(ignored_regions=("round", list(given_up)))
    found = [r for r in readings(tree) if r.name.startswith("Rounds that contradict")]
    assert [r.verdict for r in found] == ([] if verdict is None else [verdict])
    warned = [line for line in summary_table(tree).splitlines() if line.startswith("last round")]
    assert len(warned) == (verdict == "bad")


def test_pair_plot_shows_the_draws(arviz_plots, tree):
    viz = arviz_plots.plot_pair(tree, backend="matplotlib").viz
    assert viz["var_name_x"].to_numpy().tolist() == list(VARIABLES)
    drawn = viz["scatter"].sel(row_index=1, col_index=0).item()
    draws = np.stack([tree["posterior"][name].to_numpy()[0] for name in VARIABLES], axis=1)
    np.testing.assert_allclose(np.asarray(drawn.get_offsets()), draws)


def test_predictive_plots_find_what_they_need(arviz_plots, tree):
    drawn = arviz_plots.plot_ppc_dist(tree, num_samples=7, backend="matplotlib").viz
    assert drawn["predictive_dist"]["NIRSpec_PRISM"].size == 7
    assert drawn["observed_dist"]["NIRSpec_PRISM"].item().get_xydata().size
    points = arviz_plots.plot_ppc_interval(tree, backend="matplotlib").viz
    observed = points["observed_markers"]["NIRSpec_PRISM"].item().get_offsets()[:, 1]
    np.testing.assert_allclose(np.asarray(observed), tree["observed_data"]["NIRSpec_PRISM"])


def test_predictive_ranks_of_the_data_are_the_exact_ones(arviz_plots, tree):
    """Of each channel, left out: uniform where the model is right."""
    import arviz_stats

    loo_pit = arviz_stats.loo_pit(tree)["NIRSpec_PRISM"].to_numpy()
    posterior = linear_posterior()
    y = posterior.observation.values
    precision = np.linalg.inv(DESIGN.T @ DESIGN + np.diag(ERRORS**2))
    exact = stats.norm.cdf((precision @ y) / np.sqrt(np.diag(precision)))
    # Shares of weighted draws: binomial, of somewhat fewer draws than there are.
    assert np.abs(loo_pit - exact).max() < 4.5 * 0.5 / np.sqrt(0.5 * DRAWS)
    assert arviz_plots.plot_loo_pit(tree, backend="matplotlib").viz["ecdf_lines"]
