"""Retrieve a self-consistent brown dwarf from noise realisations of one spectrum.

python -m experiments.self_consistent.run

Members that are there are taken up where they are; with more --rounds they go on.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

import numpy as np

from experiments.common import parse, write


def main() -> None:
    """Write ``results.json`` and the figures."""
    given = parse(__doc__, __file__, {
        "layers": (50, 15), "realisations": (5, 2), "rounds": (7, 1), "first": (600, 100),
        "simulations": (120, 100), "draws": (300, 0), "seed": (0, 0),
    })  # fmt: skip
    import floppity_jax as fp
    from experiments.self_consistent.model import BrownDwarf
    from experiments.self_consistent.problem import PARAMETERS, clean_observation

    model = BrownDwarf(given.layers)
    clean = clean_observation(model)
    retrieval = fp.Retrieval(model, PARAMETERS, clean, pool=given.workers)
    ensemble = fp.run_ensemble(
        retrieval, given.rounds, [given.first] + [given.simulations] * (given.rounds - 1),
        observations=fp.noise_realisations(clean, given.realisations, given.seed),
        seeds=[given.seed], directory=given.runs / "ensemble", resume=True, progress=False,
    )  # fmt: skip
    results = {
        "settings": {
            key: getattr(given, key)
            for key in ("layers", "realisations", "rounds", "first", "simulations", "draws")
        },
        "calls": ensemble.simulator_calls,
        "seconds": _seconds(ensemble.records, given.output / "results.json"),
        "forecast_sd": forecast(model, clean),
        "flows": summary(ensemble),
        "rounds": [
            [{key: getattr(info, key) for key in ("simulations", "change", "efficiency")}
             for info in record.rounds]
            for record in ensemble.records
        ],
    }  # fmt: skip
    if given.draws:
        corrected = ensemble.importance_sample(given.draws, given.seed)
        results |= {
            "corrected": summary(corrected),
            "calls_with_correction": corrected.simulator_calls,
            "efficiency": [posterior.efficiency for posterior in corrected.posteriors],
            "pareto_k": [posterior.pareto_k for posterior in corrected.posteriors],
            "chi2_p_value": [posterior.chi2_p_value() for posterior in corrected.posteriors],
        }
    write(given.output / "results.json", results)
    if not given.small:
        figures(given, model, ensemble, corrected)


def summary(ensemble: Any) -> dict[str, dict[str, Any]]:
    """Of each parameter: truth, and the aggregated posterior against it and against its parts."""
    from experiments.self_consistent.problem import TRUTH

    draws = ensemble.sample(20_000)
    parts = np.array([posterior.sample(4_000) for posterior in ensemble.posteriors])
    found = {}
    for i, name in enumerate(ensemble.names):
        low, median, high = np.quantile(draws[:, i], [0.16, 0.5, 0.84])
        found[name] = {
            "truth": TRUTH[name],
            "median": median,
            "minus": median - low,
            "plus": high - median,
            "error": median - TRUTH[name],
            "error_sigma": (median - TRUTH[name]) / draws[:, i].std(),
            "sd_of_each": parts[:, :, i].std(axis=1),
            "error_sigma_of_each": (np.median(parts[:, :, i], axis=1) - TRUTH[name])
            / parts[:, :, i].std(axis=1),
        }
    return found


def forecast(model: Any, clean: Any) -> dict[str, float]:
    """Standard deviations by the Fisher matrix at the truth, which know nothing of the prior."""
    from experiments.self_consistent.problem import PARAMETERS, TRUTH

    slopes = []
    for name, prior in PARAMETERS.items():
        step = 2e-3 * np.ptp(prior.support)
        up, down = (model(TRUTH | {name: TRUTH[name] + sign * step}) for sign in (1, -1))
        slopes.append((up - down) / (2 * step) / clean.errors)
    covariance = np.linalg.inv(np.array(slopes) @ np.transpose(slopes))
    return dict(zip(PARAMETERS, np.sqrt(np.diag(covariance)), strict=True))


def _seconds(records: Any, earlier: pathlib.Path) -> dict[str, float]:
    """Of all members: how a run's time is shared out, as in the paper's Section 4."""
    found = {name: sum(record.seconds[name] for record in records) for name in records[0].seconds}
    if not found["training"] and earlier.exists():  # all was there: the run itself took these
        found = json.loads(earlier.read_text())["seconds"]
    return found


def figures(given: argparse.Namespace, model: Any, ensemble: Any, corrected: Any) -> None:
    """Corner plot as the paper's Figure 3; spectrum and temperatures of some draws."""
    from experiments.self_consistent.figure import spectrum_figure
    from experiments.self_consistent.problem import TRUTH
    from floppity_jax import plots

    trees = [corrected.to_datatree(20_000), ensemble.to_datatree(20_000)]
    labels = [f"{given.realisations} realisations, corrected", "as the flows have it"]
    axes = plots.corner(*trees, labels=labels, truths=TRUTH)
    axes.flat[0].figure.savefig(given.output / "corner.png", dpi=60)
    spectrum_figure(model, corrected).savefig(given.output / "spectrum.png", dpi=75)


if __name__ == "__main__":
    main()
