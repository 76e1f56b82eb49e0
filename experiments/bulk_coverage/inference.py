"""A unit of work: a planet, retrieved by a method, and the ranks of its truth in the posterior."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

import floppity_jax as fp
from experiments.bulk_coverage.planets import Priors, planet
from experiments.common import Unit
from floppity_jax.checkpoint import fit_from_arrays
from floppity_jax.diagnostics import residual_scan
from floppity_jax.diagnostics.ranks import rank_all
from floppity_jax.diagnostics.synthetic import rank_corrected, rank_flow
from floppity_jax.posterior import ImportancePosterior
from floppity_jax.store import read_arrays

RANKED = 1000  # draws of a posterior, for ranks
QUANTILES = (0.1587, 0.5, 0.8413)


def retrieve(
    number: int, method: str, rounds: int, simulations: int, draws: int, runs: str,
    priors: Priors | None = None,
) -> Unit:  # fmt: skip
    """Ranks of the truth after each round: in the flow, and corrected by ``draws`` calls."""
    problem, truth, spectrum = planet(number, method, priors)
    theta, log_likelihood = problem.space.to_theta(truth[None]), problem.measurement.log_likelihood
    place = pathlib.Path(runs)
    posterior = take_up(problem, number, rounds, simulations, place)
    after = []
    for index, info in enumerate(posterior.record.rounds):
        arrays = read_arrays(place / "rounds" / f"round_{index + 1:02d}.npz")
        density = fit_from_arrays(arrays, len(truth), posterior.flow).density
        rng = np.random.default_rng([number, index])
        key = jax.random.fold_in(jax.random.key(number), index)
        flow = dataclasses.replace(posterior, density=density)
        corrected = correct(flow, number, index, draws)
        of_draws = log_likelihood(corrected.spectra, corrected.draws).sum(axis=1)
        after.append({
            "flow": rank_flow(key, rng, density, truth, RANKED)._asdict(),
            "corrected": rank_corrected(rng, corrected, truth, spectrum)._asdict(),
            "flow_quantiles": quantiles(problem, flow.sample(4000)),
            "used": info.used, "change": info.change, "sampler": info.sampler,
            "warnings": warnings(corrected, index),
            "log_likelihood_best": of_draws.max(),
        })  # fmt: skip
    return {
        "truth": theta[0],
        "rounds": after,
        "quantiles": quantiles(problem, corrected.sample(4000)),
        "log_evidence": [corrected.log_evidence, corrected.log_evidence_error],
        "log_likelihood_truth": log_likelihood(spectrum[None], theta).sum(),
        "simulator_calls": posterior.record.simulator_calls + draws,
        "spent": posterior.record.seconds,
    }


def take_up(
    problem: fp.Retrieval, number: int, rounds: int, simulations: int, place: pathlib.Path
) -> fp.Posterior:
    """Run a planet's retrieval, or go on with what its folder holds."""
    return problem.run(
        rounds, simulations, seed=number, directory=place, resume=True, progress=False
    )


def correct(posterior: fp.Posterior, number: int, index: int, draws: int) -> ImportancePosterior:
    """Correct a planet's posterior after the round of that index, the first being 0.

    Planets share no draws: chance in them would look like bias of their mean.
    """
    return posterior.importance_sample(draws, seed=1000 * number + index)


def refer(number: int, method: str, rounds: int, simulations: int, draws: int, runs: str) -> Unit:
    """Go on in the folder of a retrieval: corrected by so many draws that it judges the others."""
    problem, _, _ = planet(number, method)
    posterior = take_up(problem, number, rounds, simulations, pathlib.Path(runs))
    corrected = posterior.importance_sample(draws, seed=number)
    return {
        "quantiles": quantiles(problem, corrected.sample(10 * draws)),
        "log_evidence": [corrected.log_evidence, corrected.log_evidence_error],
        "simulator_calls": corrected.record.simulator_calls,
        "ess": corrected.ess,
        "pareto_k": corrected.pareto_k,
    }


def retrievals(
    method: str, numbers: Iterable[int], settings: tuple[int, int, int], runs: pathlib.Path,
    suffix: str = "",
) -> dict[str, tuple[Any, ...]]:  # fmt: skip
    """Arguments of `retrieve` for each planet, by the name of the unit.

    ``settings`` are rounds, simulations and draws. A unit whose name has a suffix goes on in the
    folder of the one that has none.
    """
    names = {f"{method}_{number:03d}": number for number in numbers}
    return {
        f"{name}{suffix}": (number, method, *settings, str(runs / name))
        for name, number in names.items()
    }


def nest(number: int, live_points: int, n_eff: int) -> Unit:
    """Ranks of the truth in nautilus' posterior."""
    problem, truth, spectrum = planet(number)
    tree = problem.nested(
        "nautilus", live_points=live_points, n_eff=n_eff, seed=number, progress=False
    )
    theta = np.stack([tree["posterior"][name].to_numpy()[0] for name in problem.space.names], 1)
    log_l = tree["sample_stats"]["log_likelihood"].to_numpy()[0]
    true_theta = problem.space.to_theta(truth[None])
    log_l_truth = float(problem.measurement.log_likelihood(spectrum[None], true_theta).sum())
    rng = np.random.default_rng(number)
    ranks = rank_all(rng, problem.space.to_z(theta), truth, log_l, log_l_truth)
    return {
        "truth": true_theta[0],
        "nested": ranks._asdict(),
        "log_likelihood_truth": log_l_truth,
        "log_likelihood_best": log_l.max(),
        "quantiles": quantiles(problem, theta),
        "log_evidence": [tree.attrs["log_evidence"], tree.attrs["log_evidence_error"]],
        "simulator_calls": tree.attrs["simulator_calls"],
        "ess": tree.attrs["ess"],
    }


def warnings(corrected: ImportancePosterior, index: int) -> Unit:
    """What a run says of itself after a round, without the truth."""
    info = corrected.record.rounds[index]
    return {
        "misfit": info.misfit, "feature_share": info.feature_share,
        "efficiency": corrected.efficiency, "pareto_k": corrected.pareto_k,
        "chi2_p_value": corrected.chi2_p_value(),
        "residual_scan_p": residual_scan(corrected.to_datatree(1000)).p_value,
    }  # fmt: skip


def quantiles(problem: fp.Retrieval, theta: np.ndarray) -> np.ndarray:
    """Median and 68% interval of each parameter, in the coordinates z where the prior is normal."""
    return np.quantile(problem.space.to_z(theta), QUANTILES, axis=0).T
