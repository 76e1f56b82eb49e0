"""Figures of coverage, of its course over the rounds, and of nested sampling beside it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments.bulk_coverage.planets import PRIORS
from experiments.bulk_coverage.results import LEVELS
from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.diagnostics.uniformity import clopper_pearson

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"


def curves(
    axis: Axes, calibrations: Sequence[Calibration], labels: Sequence[str], colours: Sequence[Any]
) -> None:
    """Expected coverage of highest-density regions, with the 95% bands of chance."""
    bands = calibrations[0].coverage()
    for band, alpha in ((bands.simultaneous, 0.12), (bands.pointwise, 0.18)):
        axis.fill_between(bands.level, *band, color=GREY, alpha=alpha, lw=0)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for each, label, colour in zip(calibrations, labels, colours, strict=True):
        axis.plot(bands.level, each.coverage().density, color=colour, lw=1.4, label=label)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.legend(fontsize=7, loc="upper left", frameon=False)


def coverage(
    rows: Mapping[str, Mapping[str, Sequence[Calibration]]], nested: Calibration | None,
    path: pathlib.Path,
) -> None:  # fmt: skip
    """A row a method: the flow by rounds, corrected by rounds, and both beside nested sampling."""
    figure, axes = plt.subplots(
        len(rows), 3, figsize=(10, 3.5 * len(rows) + 0.2), squeeze=False, layout="constrained"
    )
    for line, (method, kinds) in zip(axes, rows.items(), strict=True):
        for axis, (kind, title) in zip(
            line, (("flow", "flow alone"), ("corrected", "corrected")), strict=False
        ):
            many = kinds[kind]
            shown = plt.colormaps["viridis"](np.linspace(0, 0.9, len(many)))
            curves(axis, many, [f"round {i + 1}" for i in range(len(many))], shown)
            axis.set_title(f"{method}: {title}, {many[0].n} planets", fontsize=9)
        last = [kinds["flow"][-1], kinds["corrected"][-1]]
        labels, colours = ["flow, last round", "corrected"], [ORANGE, BLUE]
        if nested is not None:
            last, labels, colours = [nested, *last], [f"nautilus, {nested.n} planets", *labels], [
                "k", *colours]  # fmt: skip
        curves(line[2], last, labels, colours)
        line[2].set_title(f"{method}: beside nested sampling", fontsize=9)
        line[0].set_ylabel("share of the truths inside")
    for axis in axes[-1]:
        axis.set_xlabel("credibility of the region")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def rounds(rows: Mapping[str, Mapping[str, Sequence[Calibration]]], path: pathlib.Path) -> None:
    """Coverage of the 68% and 95% regions against the number of rounds, with 95% intervals."""
    figure, axes = plt.subplots(
        1, len(rows), figsize=(5.2 * len(rows), 3.6), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axis, (method, kinds) in zip(axes[0], rows.items(), strict=True):
        for k, (kind, colour, marker) in enumerate(
            (("flow", ORANGE, "v"), ("corrected", BLUE, "o"))
        ):
            for level, line in zip(LEVELS[1:], ("--", "-"), strict=True):
                many = kinds[kind]
                x = np.arange(1, len(many) + 1) + 0.2 * (k - 0.5)
                share = np.array([float(c.coverage(np.array([level])).density[0]) for c in many])
                ends = [clopper_pearson(round(s * many[0].n), many[0].n) for s in share]
                error = np.abs(np.array(ends).T - share)
                axis.errorbar(x, share, yerr=error, color=colour, marker=marker, ms=3.5, lw=1,
                              elinewidth=0.6, ls=line, label=f"{kind}, {level:.0%}")  # fmt: skip
                axis.axhline(level, color=GREY, lw=0.8, ls=line, zorder=0)
        axis.set(xlabel="round", title=f"{method}, {many[0].n} planets", ylim=(0, 1.02))
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("share of the truths inside")
    axes[0, 0].legend(fontsize=7, frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def nested(compared: Mapping[str, Mapping[str, Any]], path: pathlib.Path) -> None:
    """Differences of ln Z, ratios of widths, and calls, for each method."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for k, ((method, c), colour, marker) in enumerate(
        zip(compared.items(), (BLUE, ORANGE), ("o", "v"), strict=False)
    ):
        axes[0].errorbar(
            c["efficiency"], c["log_evidence_difference"], yerr=c["combined_error"], fmt=marker,
            color=colour, ms=4, lw=0.8, label=method,
        )  # fmt: skip
        for i, ratio in enumerate(np.array(c["width_ratio"]).T):
            x = i + 0.4 * (k - 0.5) + np.linspace(-0.15, 0.15, len(ratio))
            axes[1].plot(x, ratio, marker, color=colour, ms=3)
        calls = np.array(c["calls"])
        if k == 0:
            axes[2].plot(calls[:, 1], "ks", ms=4, label="nautilus")
        x = np.arange(len(calls)) + 0.2 * k
        axes[2].plot(x, calls[:, 0], marker, color=colour, ms=4, label=method)
    axes[0].axhline(0, color=GREY, lw=0.8)
    axes[0].set_yscale("symlog", linthresh=0.1)
    low, high = axes[0].get_ylim()
    ticks = [t for t in (-1e4, -100, -1, -0.1, 0, 0.1, 1, 100) if low <= t <= high]
    axes[0].set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0].set(xscale="log", xlabel="efficiency of the correction")
    axes[0].set_ylabel("ln Z, ours less nautilus' (linear to 0.1)")
    axes[1].axhline(1, color=GREY, lw=0.8)
    axes[1].set(ylabel="68% interval, ours over nautilus'", ylim=(0, None))
    axes[1].set_xticks(range(len(PRIORS)), list(PRIORS))
    axes[2].set(yscale="log", xlabel="planets, in order", ylabel="calls", ylim=(1e3, 1e5))
    for axis in axes[::2]:
        axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)
