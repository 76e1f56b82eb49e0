"""The observation, the spectra that fit it, and the columns behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.self_consistent.model import BrownDwarf
from experiments.self_consistent.problem import TRUTH

BLUE, RED, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def spectrum_figure(model: BrownDwarf, corrected: Any, draws: int = 30) -> Figure:
    """Spectrum, temperatures and abundances of the truth and of draws."""
    observation, clean = corrected.posteriors[0].observation, model(TRUTH)
    figure = Figure(figsize=(14, 4.4), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=[1.7, 1, 1], height_ratios=[2.5, 1])
    spectrum, column, gases = (figure.add_subplot(grid[rows, i]) for i, rows in
                               enumerate((0, slice(2), slice(2))))  # fmt: skip
    residual = figure.add_subplot(grid[1, 0], sharex=spectrum)
    for theta in corrected.posteriors[0].sample(draws):
        p = dict(zip(corrected.names, map(float, theta), strict=True))
        flux = model(p)
        spectrum.plot(observation.wavelength, flux, color=BLUE, alpha=0.2, lw=1)
        residual.plot(observation.wavelength, (flux - clean) / observation.errors, color=BLUE,
                      alpha=0.2, lw=1)  # fmt: skip
        column.plot(model.structure(p).temperature, model.pressure, color=BLUE, alpha=0.2, lw=1)
    spectrum.plot([], [], color=BLUE, label="draws from its posterior")
    spectrum.plot(observation.wavelength, observation.values, ".", color=RED, ms=4,
                  label="the first noise realisation")  # fmt: skip
    seen = (observation.values - clean) / observation.errors
    residual.plot(observation.wavelength, seen, ".", color=RED, ms=4)
    spectrum.set(ylabel="flux density [uJy]")
    residual.set(xlabel="wavelength [um]", ylabel="less truth\n[errors]")
    spectrum.tick_params(labelbottom=False)
    spectrum.legend()
    truth = model.structure(TRUTH)
    column.plot(truth.temperature, model.pressure, color=RED, lw=1.5, label="truth")
    face = model.faces[np.flatnonzero(truth.convective)[0]]
    column.axhline(face, color="grey", ls=":", label="convective below")
    column.set(xlabel="temperature [K]", ylabel="pressure [bar]")
    per_h2, _ = model.composition(truth.temperature, TRUTH)
    for (gas, values), color in zip(per_h2.items(), (BLUE, RED, GREEN, PINK), strict=True):
        gases.plot(values, model.pressure, color=color, label=gas)
    gases.set(xscale="log", xlabel="molecules per H2, truth", xlim=(1e-10, 1e-2))
    for ax, place in ((column, "upper right"), (gases, "upper left")):
        ax.set(yscale="log", ylim=(1e3, 1e-4))
        ax.legend(loc=place)
    return figure
