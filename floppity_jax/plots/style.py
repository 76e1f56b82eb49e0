"""Colours and labels that all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floppity_jax.summary import is_log

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
TINTS = ("#CCE3F0", "#99C7E0", "#4D9CC9")  # of the blue, from pale to full


def axis_label(name: str, variable: xarray.DataArray) -> str:
    """Label of a parameter, with its unit, and log10 where it is shown so."""
    label = variable.attrs.get("label") or name
    unit = variable.attrs.get("unit", "")
    unit = f" [{unit}]" if unit else ""
    return (r"$\log_{10}$ " if is_log(variable) else "") + label + unit


def tidy_ticks(ax: Axes, *, bottom: bool, left: bool) -> None:
    """Turn ticks inwards, keep them few, and number those at the rim."""
    from matplotlib.ticker import MaxNLocator

    ax.tick_params(direction="in", labelsize=8, labelbottom=bottom, labelleft=left)
    ax.tick_params(axis="x", labelrotation=45)
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.yaxis.set_major_locator(MaxNLocator(4, prune="both"))
