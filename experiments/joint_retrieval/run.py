"""Retrieve a spectrum of two instruments with their nuisance parameters; hold it against UltraNest.

python run.py --output runs
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
from model import TRUTH, retrieval

import floppity_jax as fp
from floppity_jax import plots


def main() -> None:
    """Write ``results.json`` and the figures beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--draws", type=int, default=6000)
    parser.add_argument("--live-points", type=int, default=400)
    given = parser.parse_args()
    problem = retrieval(given.seed)
    posterior = problem.run(
        given.rounds, given.simulations, seed=given.seed, directory=given.output / "ours",
        resume=True,
    )  # fmt: skip
    corrected = posterior.importance_sample(given.draws, given.seed)
    ours = corrected.to_datatree(20_000)
    nested = problem.nested(
        live_points=given.live_points, seed=given.seed, directory=given.output / "nested",
        resume=True, progress=False,
    )  # fmt: skip
    comparison = fp.compare_posteriors(nested, ours, labels=["UltraNest", "floppity_jax"])
    print(comparison)
    truth_sigma = {
        name: float((np.median(x) - TRUTH[name]) / np.std(x))
        for name, x in zip(corrected.names, corrected.sample(20_000).T, strict=True)
    }
    pair = comparison.pairs[0]
    results = {
        "calls": corrected.record.simulator_calls,
        "nested_calls": int(nested.attrs["simulator_calls"]),
        "seconds": corrected.record.seconds,
        "nested_seconds": float(nested.attrs["seconds"]),
        "efficiency": corrected.efficiency,
        "pareto_k": corrected.pareto_k,
        "log_evidence": [corrected.log_evidence, corrected.log_evidence_error],
        "nested_log_evidence": [nested.attrs["log_evidence"], nested.attrs["log_evidence_error"]],
        "median_minus_truth_sigma": truth_sigma,
        "marginals": {name: each._asdict() for name, each in pair.marginals.items()},
        "chi2_p_value": corrected.chi2_p_value(),
    }
    here = pathlib.Path(__file__).parent
    (here / "results.json").write_text(json.dumps(results, indent=1, default=float) + "\n")
    axes = plots.corner(nested, ours, labels=["UltraNest", "floppity_jax"], truths=TRUTH)
    axes.flat[0].figure.savefig(here / "corner.png", dpi=80)
    axes = plots.spectrum(ours)
    axes.flat[0].figure.savefig(here / "spectrum.png", dpi=80)


if __name__ == "__main__":
    main()
