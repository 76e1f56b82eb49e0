"""A planet whose posterior missed, with wide priors, and with narrow ones."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.bulk_coverage.inference import correct, take_up
from experiments.bulk_coverage.planets import PRIORS, Priors, planet

WIDE, NARROW = "#D55E00", "#0072B2"
IN_LOG = ("T", "X_H2O", "X_CO2")


def spectra_and_marginals(
    unit: tuple[Any, ...], wide: pathlib.Path, priors: Priors, path: pathlib.Path
) -> None:
    """Above, the data less what either posterior predicts; below, its marginals and the truth.

    Both are read from the folders of their runs.
    """
    number, method, rounds, simulations, draws, narrow = unit
    figure = plt.figure(figsize=(11, 6.4), layout="constrained")
    grid = figure.add_gridspec(3, len(PRIORS), height_ratios=(1, 1, 1.1))
    spectrum = figure.add_subplot(grid[0, :])
    residuals = figure.add_subplot(grid[1, :], sharex=spectrum)
    below = [figure.add_subplot(grid[2, k]) for k in range(len(PRIORS))]
    for label, place, chosen, colour, marker in (
        ("wide priors", wide, None, WIDE, "v"),
        ("narrow on radius and log g", narrow, priors, NARROW, "o"),
    ):
        problem, truth, _ = planet(number, method, chosen)
        posterior = take_up(problem, number, rounds, simulations, place)
        corrected = correct(posterior, number, rounds - 1, draws)
        seen = problem.observation
        rows = corrected.resample(1000, 0)
        model = np.median(corrected.spectra[rows], axis=0)
        residuals.plot(seen.wavelength, (seen.values - model) / seen.errors, marker, ms=3,
                       color=colour, label=label)  # fmt: skip
        theta = posterior.sample(4000)
        for axis, name, x in zip(below, problem.space.names, theta.T, strict=True):
            values = np.log10(x) if name in IN_LOG else x
            axis.hist(values, 40, density=True, histtype="step", color=colour, lw=1.4)
    theta = problem.space.to_theta(truth[None])[0]
    spectrum.errorbar(seen.wavelength, 100 * seen.values, yerr=100 * seen.errors, fmt=".", ms=2,
                      lw=0.5, color="k")  # fmt: skip
    spectrum.set(ylabel="transit depth [%]", title=f"planet {number}")
    spectrum.tick_params(labelbottom=False)
    residuals.axhline(0, color="0.6", lw=0.8, zorder=0)
    residuals.set(xlabel="wavelength [um]", ylabel="data less model [errors]")
    residuals.legend(fontsize=8, frameon=False, ncols=2)
    for axis, (name, prior), value in zip(below, PRIORS.items(), theta, strict=True):
        unit_of = f" [{prior.unit}]" if prior.unit else ""
        axis.axvline(np.log10(value) if name in IN_LOG else value, color="k", ls="--", lw=1)
        axis.set_xlabel(("log10 " if name in IN_LOG else "") + name + unit_of)
        axis.set_yticks([])
        axis.set_yscale("log")
    figure.savefig(path, dpi=90)
    plt.close(figure)
