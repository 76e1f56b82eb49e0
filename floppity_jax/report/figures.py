"""The figures of a report, as PNG images with captions."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from floppity_jax import plots
from floppity_jax.diagnostics.predictive import ResidualWindow
from floppity_jax.errors import InvalidInput
from floppity_jax.summary import parameters

if TYPE_CHECKING:
    import xarray

DPI = 150
MOST_PIXELS = 2400  # across: figures of many parameters are drawn coarser


class Figure(NamedTuple):
    """One figure.

    Attributes
    ----------
    name, title, caption : str
        What it is called as a file, and on the page.
    alternative : str
        What it shows, for those who do not see it.
    missing : str
        Why there is none, where the run holds nothing to draw.
    png : bytes
        The image; empty where there is none.
    """

    name: str
    title: str
    caption: str
    alternative: str
    missing: str
    png: bytes = b""


def draw_figures(datatree: xarray.DataTree, window: ResidualWindow | None) -> list[Figure]:
    """Draw every figure that the DataTree holds enough for.

    ``window`` is shaded in the fit, where its residuals stand out.
    """
    if window is not None and not window.stands_out:
        window = None
    names = ", ".join(parameters(datatree))
    outline = "prior" in datatree.children
    plans: list[tuple[Figure, Callable[[], np.ndarray]]] = [
        (
            Figure(
                "corner", "Posterior",
                "Marginal and joint posteriors: contours hold 68% and 95% of the draws; dashed and "
                "dotted lines mark median and central 68%"
                + ("; the grey line outlines the prior." if outline else "."),
                f"Corner plot of {names}, whose medians and intervals the table of results gives.",
                "No parameter varies from draw to draw.",
            ),
            lambda: plots.corner(datatree, prior=outline),
        ),
        (
            Figure(
                "spectrum", "Fit",
                "Observed spectrum with bands that hold the central 68.3, 95.4 and 99.7% of the "
                "noise-free models of the posterior; below, data less median model."
                + (" Shaded, where residuals stand out." if window else ""),
                "Observed spectrum with error bars, the median model with its bands, and the "
                "residuals in standard deviations.",
                "No model spectra: they come with importance sampling.",
            ),
            lambda: plots.spectrum(datatree, window=window),
        ),
        (
            Figure(
                "marginals", "Marginals by round",
                "Median, central 68% and 95% of each parameter after each round; the square is the "
                "posterior as reported.",
                f"Median and intervals of {names} against the number of the round.",
                "The rounds of this run, or their quantiles, are not in the DataTree.",
            ),
            lambda: plots.marginals(datatree),
        ),
        (
            Figure(
                "convergence", "Convergence",
                "Change of the posterior since the round before (from the prior, in round one), "
                "expected efficiency of importance sampling, acceptance of the proposal, and the "
                "factor on the errors in training; dashed, the rules they are held against.",
                "Four panels against the number of the round; the table of rounds has the figures.",
                "The rounds of this run are not in the DataTree.",
            ),
            lambda: plots.convergence(datatree),
        ),
        (
            Figure(
                "losses", "Training",
                "Training and validation loss by epoch, one round after another; dots mark the "
                "lowest validation losses.",
                "Loss curves of training and validation, one pair for each round.",
                "The rounds of this run are not in the DataTree.",
            ),
            lambda: plots.losses(datatree),
        ),
        (
            Figure(
                "weights", "Importance weights",
                "Left: weights over their mean. Right: share of the posterior that the heaviest "
                "draws hold.",
                "Histogram of the importance weights, and their cumulative share beside that of "
                "equal weights.",
                "No importance sampling was done.",
            ),
            lambda: plots.weights(datatree),
        ),
    ]  # fmt: skip
    return [figure._replace(png=_png(draw)) for figure, draw in plans]


def _png(draw: Callable[[], np.ndarray]) -> bytes:
    """Return the image; nothing where there is nothing to draw."""
    try:
        figure = draw().flat[0].figure
    except InvalidInput:
        return b""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=min(DPI, MOST_PIXELS / figure.get_size_inches()[0]))
    return buffer.getvalue()
