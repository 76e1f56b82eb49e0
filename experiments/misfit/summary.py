"""What the seeds of a case come to, in numbers and in a figure."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.common import Unit
from experiments.misfit.cases import TRUTH

# Method: the unit that has it, its name there, colour and marker.
METHODS = {
    "nested": ("nested", "nested", "#000000", "s"),
    "flow": ("plain", "flow", "#56B4E9", "v"),
    "corrected": ("plain", "corrected", "#0072B2", "o"),
    "errors inflated": ("inflated", "corrected", "#D55E00", "D"),
}
TITLES = {"T": "lg T", "X_H2O": "lg X(H$_2$O)", "X_CO2": "lg X(CO$_2$)", "radius": "radius",
          "log_g": "log g"}  # fmt: skip


def seeds_of(case: str, kind: str, found: Mapping[str, Unit]) -> dict[str, Unit]:
    """Units of a case, by seed."""
    names = [name.rsplit("_", 2) for name in found]
    return {s: found[f"{c}_{s}_{k}"] for c, s, k in names if (c, k) == (case, kind)}


def marginals(case: str, method: str, found: Mapping[str, Unit]) -> dict[str, np.ndarray]:
    """Median less truth, and width: arrays (parameters, 2), by seed."""
    kind, name, *_ = METHODS[method]
    runs = seeds_of(case, kind, found)
    return {s: np.array([run[name][p] for p in TRUTH]) for s, run in runs.items()}


def summary(case: str, found: Mapping[str, Unit]) -> dict[str, Any]:
    """Biases, widths and shares of warnings of a case.

    Biases are medians less truth over a method's own width, mean and standard error over the seeds;
    shifts (in widths) and widths are beside the corrected posterior of the same seeds.
    """
    results: dict[str, Any] = {}
    corrected = marginals(case, "corrected", found)
    for method in METHODS:
        runs = marginals(case, method, found)
        if not runs:
            continue
        bias = np.array([run[:, 0] / run[:, 1] for run in runs.values()])
        beside = np.array([corrected[s] for s in runs])
        run = np.array(list(runs.values()))
        results[method] = {
            "seeds": len(runs),
            "bias": bias.mean(axis=0),
            "bias_error": bias.std(axis=0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else None,
            "shift": ((run - beside)[..., 0] / beside[..., 1]).mean(axis=0),
            "width": (run / beside)[..., 1].mean(axis=0),
        }
    plain, inflated, nested = (seeds_of(case, k, found) for k in ("plain", "inflated", "nested"))
    for name, runs in (("plain", plain), ("errors inflated", inflated)):
        lines = sorted({line for run in runs.values() for line in run["bad"]})
        results[f"warnings, {name}"] = {
            line: sum(line in run["bad"] for run in runs.values()) / len(runs) for line in lines
        }
        for figure in ("misfit", "feature_share", "reduced_chi2_best", "chi2_p_value",
                       "residual_scan_p", "importance_efficiency"):  # fmt: skip
            results[f"{figure}, {name}"] = [run[figure] for run in runs.values()]
    results["error_factor"] = [run["error_factor"] for run in inflated.values()]
    gain = [run["log_evidence"] - plain[s]["log_evidence"] for s, run in inflated.items()]
    results["log_evidence_gain"] = gain
    beyond = [run["log_evidence"] - plain[s]["log_evidence"] for s, run in nested.items()]
    results["log_evidence_nested_less_ours"] = beyond
    results["calls"] = [run["simulator_calls"] for run in plain.values()]
    results["calls_nested"] = [run["simulator_calls"] for run in nested.values()]
    return results


def draw(cases: list[str], found: Mapping[str, Unit], path: pathlib.Path) -> None:
    """Draw medians less truth, of each seed and their mean, in widths of the first case.

    A method with fewer seeds than the corrected posterior has its mean, and what it is off that on
    the seeds that they share.
    """
    unit = np.mean(list(marginals(cases[0], "corrected", found).values()), axis=0)[:, 1]
    figure, axes = plt.subplots(1, len(TRUTH), figsize=(12, 0.9 + 0.85 * len(cases)), sharey=True,
                                layout="constrained")  # fmt: skip
    for row, case in enumerate(cases):
        corrected = marginals(case, "corrected", found)
        for k, (method, (_, _, colour, marker)) in enumerate(METHODS.items()):
            runs = marginals(case, method, found)
            if not runs:
                continue
            off = np.mean([run - corrected[seed] for seed, run in runs.items()], axis=0)
            middle, width = (np.mean(list(corrected.values()), axis=0) + off).T / unit
            y = row + 0.18 * (k - 1.5)
            for i, axis in enumerate(axes):
                each = [run[i, 0] / unit[i] for run in runs.values()]
                axis.plot(each, np.full(len(each), y), "|", color=colour, ms=5, alpha=0.6)
                axis.errorbar(middle[i], y, xerr=width[i], fmt=marker, color=colour, ms=4,
                              label=method)  # fmt: skip
    for axis, title in zip(axes, TITLES.values(), strict=True):
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set_title(title)
        axis.set_xscale("symlog", linthresh=3)
        low, high = (1.2 * limit for limit in axis.get_xlim())
        axis.set_xlim(low, high)
        marks = (-100, -10, 0, 10, 100) if high > 30 else (-10, -3, 0, 3, 10)
        ticks = [t for t in marks if low <= t <= high]
        axis.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
        axis.minorticks_off()
    axes[0].set_yticks(range(len(cases)), cases)
    axes[0].invert_yaxis()
    axes[2].set_xlabel(f"median less truth, in standard deviations of the {cases[0]} (linear to 3)")
    handles, labels = axes[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=110)
