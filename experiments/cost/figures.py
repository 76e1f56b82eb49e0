"""Figures of what was measured and what follows from it."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.cost.report import COSTS, ENOUGH, WORKERS, projected

NAMES = {
    "ours": "floppity_jax", "single": "floppity_jax, one round", "nautilus": "nautilus",
    "ultranest": "UltraNest", "floppity": "FlopPITy 0.5",
}  # fmt: skip
COLOURS = {
    "ours": "#0072B2", "single": "#56B4E9", "nautilus": "#D55E00", "ultranest": "#009E73",
    "floppity": "#CC79A7",
}  # fmt: skip
MARKERS = {"ours": "o", "single": "v", "nautilus": "s", "ultranest": "^", "floppity": "D"}
MORE = f"floppity_jax, {ENOUGH:,} effective draws"
FAR = 0.5  # sigma that a median is off, beyond which the line is dotted
MIDDLE, MANY = 60, 150  # ppm, channels


def wall(results: dict[str, Any], path: pathlib.Path) -> None:
    """Wall time over the cost of a spectrum: measured filled, projected open."""
    runs = results["runs"]
    channels = sorted({int(name.split("_")[1]) for name in runs})
    figure, axes = plt.subplots(
        1, len(channels), figsize=(3 * len(channels), 3.9), sharey=True, layout="constrained"
    )
    for axis, n in zip(axes, channels, strict=True):
        for method, colour in COLOURS.items():
            _method(axis, results, f"{method}_{n}_{MIDDLE}", colour, MARKERS[method])
        axis.set(xscale="log", yscale="log", title=f"{n:,} channels")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("wall time [s]")
    figure.supxlabel(
        "time of a spectrum / workers [s]    "
        f"(filled: measured; open: projected, 1 ms, 0.5 s, 3 s, 30 s over {WORKERS} workers)",
        fontsize=11,
    )
    handles = {}
    for axis in axes:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _method(axis: Any, results: dict[str, Any], name: str, colour: str, marker: str) -> None:
    """Draw the runs of one method on one case."""
    unit = results["runs"].get(name)
    if unit is None:
        return
    at = np.geomspace(1e-5, 5, 60)
    agrees = abs(unit.get("agreement", {}).get("shift", 0.0)) < FAR
    label = NAMES[name.split("_")[0]]
    if not agrees:
        label += f", after {len(unit['rounds'])} rounds (wrong)"
    axis.plot(at, [projected(unit, c, 1) for c in at], "-" if agrees else ":", color=colour, lw=1)
    if name.startswith("ours"):
        enough = unit | {"calls": unit["calls_for_enough"]}
        axis.plot(at, [projected(enough, c, 1) for c in at], "--", color=colour, lw=1, label=MORE)
    cost = np.array(COSTS)
    axis.plot(
        cost / WORKERS, [projected(unit, c, WORKERS) for c in cost],
        marker, color=colour, mfc="white", ms=5,
    )  # fmt: skip
    spectrum = unit.get("spectrum", 0.0) or 0.0
    x = [spectrum] * bool(spectrum)
    y = [unit["own"] + unit["calls"] * spectrum] * bool(spectrum)
    for slow in results["measured"].values():
        if slow["run"] == name:
            x.append(slow["cost"] / slow["workers"])
            y.append(slow["wall"])
    axis.plot(x, y, marker, color=colour, ms=6, label=label)


def calls(results: dict[str, Any], path: pathlib.Path) -> None:
    """Calls by the number of channels, and by the error of each."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.7), sharey=True, layout="constrained")
    for method in ("ours", "nautilus", "ultranest"):
        style = {"color": COLOURS[method], "marker": MARKERS[method]}
        if method == "ours":
            for axis, by, fixed in ((axes[0], 1, {2: MIDDLE}), (axes[1], 2, {1: MANY})):
                x, y = _series(results, method, by, fixed, "calls_for_enough")
                axis.plot(x, y, "--", **style, mfc="white", label=MORE)
        axes[0].plot(*_series(results, method, 1, {2: MIDDLE}), **style, label=NAMES[method])
        axes[1].plot(*_series(results, method, 2, {1: MANY}), **style)
    axes[0].set(xlabel=f"channels, of {MIDDLE} ppm each", ylabel="simulator calls")
    axes[1].set(xlabel=f"error of each of {MANY} channels [ppm]")
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        axis.grid(alpha=0.3, which="both")
    for axis, by in zip(axes, (1, 2), strict=True):
        values = sorted({int(name.split("_")[by]) for name in results["runs"]})
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.set_xticks([], minor=True)
    axes[1].invert_xaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _series(
    results: dict[str, Any], method: str, by: int, fixed: dict[int, int], what: str = "calls"
) -> tuple[list[int], list[int]]:
    """Calls of a method by one part of the runs' names, where the others are as given."""
    points = []
    for name, unit in results["runs"].items():
        parts = name.split("_")
        if len(parts) == 3 and parts[0] == method:
            if all(int(parts[i]) == value for i, value in fixed.items()):
                points.append((int(parts[by]), unit[what]))
    return tuple(map(list, zip(*sorted(points), strict=True))) if points else ([], [])
