"""How retrievals answer to data that no model fits: nested sampling, the flow, its correction.

python run.py
"""

from __future__ import annotations

import argparse
import json
import pathlib

import matplotlib.pyplot as plt
import numpy as np
import xarray
from cases import CASES, TRUTH, retrieval

from floppity_jax.diagnostics import residual_scan

IN_LOG = ("T", "X_H2O", "X_CO2")
METHODS = ("nested", "flow", "corrected", "errors inflated")
COLOURS = ("#000000", "#56B4E9", "#0072B2", "#D55E00")
MARKERS = ("s", "v", "o", "D")


def quantiles(tree: xarray.DataTree) -> dict[str, list[float]]:
    """16%, 50% and 84% of each parameter, in log10 where its prior is."""
    found = {}
    for name in TRUTH:
        x = tree["posterior"][name].to_numpy().ravel()
        found[name] = np.quantile(np.log10(x) if name in IN_LOG else x, [0.16, 0.5, 0.84]).tolist()
    return found


def warnings(tree: xarray.DataTree) -> dict[str, float]:
    """What the run says of itself."""
    known = ("misfit", "feature_share", "chi2_p_value", "importance_efficiency", "pareto_k",
             "log_evidence", "simulator_calls", "reduced_chi2_best")  # fmt: skip
    scan = residual_scan(tree)
    return {**{k: float(tree.attrs[k]) for k in known}, "residual_scan_p": float(scan.p_value)}


def run(case: str, settings: argparse.Namespace) -> dict[str, object]:
    """All methods on one case."""
    options = {"seed": settings.seed, "progress": False}
    plain = retrieval(case, settings.seed)
    flow = plain.run(settings.rounds, settings.simulations, **options)
    corrected = flow.importance_sample(settings.draws, settings.seed).to_datatree(10_000)
    inflated = (
        retrieval(case, settings.seed, inflate=True)
        .run(settings.rounds, settings.simulations, **options)
        .importance_sample(settings.draws, settings.seed)
        .to_datatree(10_000)
    )
    nested = plain.nested("nautilus", n_eff=settings.n_eff, n=10_000, **options)
    factor = inflated["posterior"]["error_factor"].to_numpy()
    return {
        "nested": quantiles(nested),
        "flow": quantiles(flow.to_datatree(10_000)),
        "corrected": quantiles(corrected),
        "errors inflated": quantiles(inflated),
        "error_factor": [float(factor.mean()), float(factor.std())],
        "warnings": warnings(corrected),
        "warnings, errors inflated": warnings(inflated),
        "nested_log_evidence": float(nested.attrs["log_evidence"]),
        "nested_calls": int(nested.attrs["simulator_calls"]),
    }


def figure(results: dict, path: pathlib.Path) -> None:
    """Medians and 68% intervals less truth, in widths of the control's nested run."""
    names = list(TRUTH)
    truth = {n: np.log10(v) if n in IN_LOG else v for n, v in TRUTH.items()}
    low_high = results["control"]["nested"]
    width = {n: (low_high[n][2] - low_high[n][0]) / 2 for n in names}
    figure, axes = plt.subplots(1, len(names), figsize=(12, 4.5), sharey=True, layout="constrained")
    cases = list(results)
    for axis, name in zip(axes, names, strict=True):
        for k, method in enumerate(METHODS):
            q = np.array([results[c][method][name] for c in cases])
            x = (q - truth[name]) / width[name]
            y = np.arange(len(cases)) + 0.16 * (k - 1.5)
            error = np.abs(x[:, [0, 2]] - x[:, [1]]).T
            axis.errorbar(x[:, 1], y, xerr=error, fmt=MARKERS[k], color=COLOURS[k], ms=4,
                          label=method)  # fmt: skip
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set_title(name)
        axis.set_xscale("symlog", linthresh=3)
        low, high = axis.get_xlim()
        ticks = [t for t in (-100, -10, -3, 0, 3, 10, 100) if low <= t <= high]
        axis.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
        axis.minorticks_off()
    axes[0].set_yticks(range(len(cases)), cases)
    axes[0].invert_yaxis()
    axes[2].set_xlabel("median less truth, in standard deviations of the control (linear to 3)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the cases that are wanted, and write results.json and biases.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--draws", type=int, default=6000)
    parser.add_argument("--n-eff", type=int, default=10_000, help="of nautilus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    settings = parser.parse_args()
    results = {}
    for case in settings.cases:
        results[case] = run(case, settings)
        print(case, json.dumps(results[case]), flush=True)
    settings.output.mkdir(parents=True, exist_ok=True)
    (settings.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if "control" in results:
        figure(results, settings.output / "biases.png")


if __name__ == "__main__":
    main()
