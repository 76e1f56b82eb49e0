"""Ensembles as ArviZ DataTrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import floppity_jax
from floppity_jax.ensembles.ensemble import Ensemble, ImportanceEnsemble
from floppity_jax.record import RunRecord
from floppity_jax.summary import QUANTILES, variable_name

if TYPE_CHECKING:
    import xarray

DRAWS = 4096  # behind the quantiles of a corrected posterior
# Of the draws of one posterior, in its own terms: they say nothing of a mixture.
OF_ONE = ("log_prob", "log_weight")
FIGURES = ("log_evidence", "log_evidence_error", "ess", "efficiency", "pareto_k")
ROUND_FIGURES = ("change", "efficiency", "overlap", "ignored_regions", "misfit", "feature_share")


def ensemble_tree(ensemble: Ensemble, n: int, seed: int) -> xarray.DataTree:
    """Return ``n`` draws of the mixture as one chain, with what is known of its parts.

    Groups are those of a single posterior's tree. Those that hold draws are put together, in random
    order; of the others, those are there that all posteriors have in common. ``sample_stats`` says
    in ``part`` of which posterior a draw is: a member, or after correction an observation, in the
    groups ``members`` and ``observations``. These have the quantiles of each, beside what else is
    known of it.
    """
    import xarray

    counts, seeds, order = ensemble.shares(n, seed)
    parts = [i for i, count in enumerate(counts) if count]
    trees = [ensemble.posteriors[i].to_datatree(counts[i], seeds[i]) for i in parts]
    groups = {
        name: together
        for name in trees[0].children
        if (together := _together([tree[name].to_dataset() for tree in trees], order)) is not None
    }
    part = np.repeat(parts, [counts[i] for i in parts])[order]
    stats = groups["sample_stats"].assign(part=(("chain", "draw"), part[None]))
    if len(ensemble.posteriors) > 1:
        stats = stats.drop_vars(OF_ONE, errors="ignore")
        if not isinstance(ensemble, ImportanceEnsemble):
            theta = np.stack([v.to_numpy()[0] for v in groups["posterior"].values()], axis=1)
            stats["log_prob"] = (("chain", "draw"), ensemble.log_prob(theta)[None])
    groups["sample_stats"] = stats
    if len(ensemble.by_observation) > 1:
        groups.pop("log_likelihood", None)  # each draw's is of its own observation
    if len(ensemble.members) > 1:
        groups.pop("rounds", None)  # those of one run
    groups["members"] = _members(ensemble)
    if isinstance(ensemble, ImportanceEnsemble):
        groups["observations"] = _observations(ensemble, seed)
    tree = xarray.DataTree.from_dict(groups)
    tree.attrs.update(_attributes(ensemble))
    return tree


def _together(datasets: Sequence[xarray.Dataset], order: np.ndarray) -> xarray.Dataset | None:
    """Put draws one after the other, in order; anything else is None where it differs."""
    import xarray

    if "draw" in datasets[0].dims:
        joined = xarray.concat(datasets, "draw", data_vars="all", join="override")
        return joined.isel(draw=order).assign_coords(draw=np.arange(len(order)))
    return datasets[0] if all(datasets[0].equals(other) for other in datasets[1:]) else None


def _members(ensemble: Ensemble) -> xarray.Dataset:
    """Return what is known of each run, and the quantiles that its flow has."""
    numbers = {
        id(member): number
        for number, group in enumerate(ensemble.by_observation)
        for member in group
    }
    records = [member.record for member in ensemble.members]
    figures: dict[str, Any] = {
        "observation": [numbers[id(member)] for member in ensemble.members],
        "seed": [record.seed for record in records],
        "simulator_calls": [record.simulator_calls for record in records],
        "rounds": [len(record.rounds) for record in records],
        **{name: [getattr(r.rounds[-1], name) for r in records] for name in ROUND_FIGURES},
    }
    quantiles = {name: [r.rounds[-1].quantiles[name] for r in records] for name in ensemble.names}
    return _dataset("member", figures, quantiles)


def _observations(ensemble: ImportanceEnsemble, seed: int) -> xarray.Dataset:
    """Return what is known of each corrected posterior."""
    posteriors = ensemble.corrected
    figures = {
        "weight": ensemble.weights,
        **{name: [getattr(p, name) for p in posteriors] for name in FIGURES},
        "reduced_chi2_best": [p.reduced_chi2_best() for p in posteriors],
        "chi2_p_value": [p.chi2_p_value() for p in posteriors],
    }
    levels = [np.quantile(p.sample(DRAWS, seed), QUANTILES, axis=0) for p in posteriors]
    quantiles = {name: [q[:, i] for q in levels] for i, name in enumerate(ensemble.names)}
    return _dataset("observation", figures, quantiles)


def _dataset(part: str, figures: Mapping[str, Any], quantiles: Mapping[str, Any]) -> xarray.Dataset:
    import xarray

    return xarray.Dataset(
        {
            **{name: (part, np.asarray(values)) for name, values in figures.items()},
            **{
                f"quantiles_{variable_name(name)}": ((part, "quantile"), np.asarray(values))
                for name, values in quantiles.items()
            },
        },
        coords={"quantile": list(QUANTILES)},
    )


def _attributes(ensemble: Ensemble) -> dict[str, Any]:
    """Return the numbers of the ensemble, by the names that a single posterior has for them."""
    records = ensemble.records
    known: dict[str, Any] = {
        "inference_library": "floppity_jax",
        "inference_library_version": floppity_jax.__version__,
        "method": records[0].method,
        "members": len(ensemble.members),
        "simulator_calls": ensemble.simulator_calls,
        **_seconds(records),
    }
    if not isinstance(ensemble, ImportanceEnsemble):
        return known
    known |= {
        "weights": ensemble.weighting,
        "log_evidence": ensemble.log_evidence,
        "log_evidence_error": ensemble.log_evidence_error,
        "ess": ensemble.ess,
    }
    if len(ensemble.corrected) == 1:
        (posterior,) = ensemble.corrected
        known |= {
            "importance_efficiency": posterior.efficiency,
            "pareto_k": posterior.pareto_k,
            "reduced_chi2_best": posterior.reduced_chi2_best(),
            "chi2_p_value": posterior.chi2_p_value(),
        }
    return known


def _seconds(records: Sequence[RunRecord]) -> dict[str, float]:
    work = sorted({name for record in records for name in record.seconds})
    return {f"seconds_{name}": sum(r.seconds.get(name, 0.0) for r in records) for name in work}
