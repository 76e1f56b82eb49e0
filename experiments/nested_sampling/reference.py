"""Settle a disputed width: a planet of run.py by nautilus, with far more effective draws.

python reference.py --planet 4
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np
from run import DRAWS, ROUNDS, SIMULATIONS, planet

import floppity_jax as fp


def main() -> None:
    """Print the comparison with UltraNest-like columns, for several seeds of ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planet", type=int, default=4)
    parser.add_argument("--n-eff", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"))
    options = parser.parse_args()
    retrieval, _ = planet(options.planet)
    reference = retrieval.nested(
        "nautilus", n_eff=options.n_eff, n=40_000, progress=False, resume=True,
        directory=options.runs / f"nautilus_{options.planet}",
    )  # fmt: skip
    results: dict[str, object] = {
        "log_evidence": reference.attrs["log_evidence"],
        "log_evidence_error": reference.attrs["log_evidence_error"],
        "ess": reference.attrs["ess"],
        "calls": int(reference.attrs["simulator_calls"]),
        "seconds": reference.attrs["seconds"],
    }
    ultranest = options.runs / f"nested_{options.planet}.nc"
    if ultranest.exists():
        pair = fp.compare_posteriors(reference, ultranest).pairs[0]
        results["UltraNest"] = {n: [m.width, m.width_error] for n, m in pair.marginals.items()}
    for seed in options.seeds:
        posterior = retrieval.run(ROUNDS, SIMULATIONS, seed=seed, progress=False)
        corrected = posterior.importance_sample(DRAWS, seed=seed)
        comparison = fp.compare_posteriors(reference, corrected.to_datatree(40_000))
        print(comparison, flush=True)
        pair = comparison.pairs[0]
        results[f"seed {seed}"] = {
            "width": {n: [m.width, m.width_error] for n, m in pair.marginals.items()},
            "shift": {n: [m.shift, m.shift_error] for n, m in pair.marginals.items()},
            "jsd_above_floor": {
                n: m.divergence.value - m.divergence.floor for n, m in pair.marginals.items()
            },
            "ln_z_sigma": pair.evidence,
            "efficiency": corrected.efficiency,
        }
    path = pathlib.Path(__file__).parent / f"reference_{options.planet}.json"
    path.write_text(json.dumps(results, indent=1, default=float) + "\n")
    print(np.array([results[f"seed {s}"]["width"]["X_H2O"][0] for s in options.seeds]))  # type: ignore[index]


if __name__ == "__main__":
    main()
