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
    observation = corrected.posteriors[0].observation
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    spectrum, column, gases = figure.subplots(1, 3, width_ratios=[1.7, 1, 1])
    for theta in corrected.sample(draws):
        p = dict(zip(corrected.names, map(float, theta), strict=True))
        structure = model.structure(p)
        spectrum.plot(observation.wavelength, model(p), color=BLUE, alpha=0.2, lw=1)
        column.plot(structure.temperature, model.pressure, color=BLUE, alpha=0.2, lw=1)
    spectrum.plot([], [], color=BLUE, label="draws from the posterior")
    spectrum.errorbar(
        observation.wavelength, observation.values, observation.errors, fmt=".", color=RED, ms=4,
        label="one noise realisation",
    )  # fmt: skip
    spectrum.set(xlabel="wavelength [um]", ylabel="flux density [uJy]")
    spectrum.legend()
    truth = model.structure(TRUTH)
    column.plot(truth.temperature, model.pressure, color=RED, lw=1.5, label="truth")
    face = model.faces[np.flatnonzero(truth.convective)[0]]
    column.axhline(face, color="grey", ls=":", label="convective below")
    column.set(xscale="log", xlabel="temperature [K]", ylabel="pressure [bar]")
    per_h2, _ = model.composition(truth.temperature, TRUTH)
    for (gas, values), color in zip(per_h2.items(), (BLUE, RED, GREEN, PINK), strict=True):
        gases.plot(values, model.pressure, color=color, label=gas)
    gases.set(xscale="log", xlabel="molecules per H2, truth", xlim=(1e-9, 1e-2))
    for ax in (column, gases):
        ax.set(yscale="log", ylim=(1e3, 1e-4))
        ax.legend()
    return figure
