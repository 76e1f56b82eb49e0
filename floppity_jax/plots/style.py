"""Colours, labels and axes that all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.summary import is_log
from floppity_jax.summary import rounds as rounds_of

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
TINTS = ("#CCE3F0", "#99C7E0", "#4D9CC9")  # of the blue, from pale to full
# What is laid over one another differs in colour and in line.
SERIES: tuple[tuple[str, Any], ...] = (
    (BLUE, "-"),
    (ORANGE, "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#E69F00", (0, (5, 1))),
)


def make_axes(
    axes: Axes | np.ndarray | None,
    shape: tuple[int, int],
    size: tuple[float, float],
    **subplots: Any,
) -> np.ndarray:
    """Return the axes given, as an array of ``shape``, or those of a new figure of ``size`` inches.

    Raises
    ------
    InvalidInput
        Where others than the ``shape`` of axes are given.
    """
    if axes is not None:
        given = np.array(axes, dtype=object)
        if given.size != shape[0] * shape[1]:
            raise InvalidInput(
                "axes", given.shape, f"must be {shape[0]} x {shape[1]} axes",
                f"Make them by figure.subplots{shape}, or leave them out.",
            )  # fmt: skip
        return given.reshape(shape)
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure.subplots(*shape, squeeze=False, **subplots)


def need_group(datatree: xarray.DataTree, group: str, way_out: str) -> xarray.Dataset:
    """Return a group of the tree, or say where it comes from."""
    if group not in datatree.children:
        raise InvalidInput(
            "datatree", tuple(datatree.children), f"must have the group {group}", way_out
        )
    return datatree.children[group].dataset


def need_rounds(datatree: xarray.DataTree) -> xarray.Dataset:
    """Return the group ``rounds``, which must hold some."""
    way_out = "Take the DataTree of a run; a posterior read from a file has lost its rounds."
    need_group(datatree, "rounds", way_out)
    rounds = rounds_of(datatree)
    if rounds is None:
        raise InvalidInput("datatree", tuple(datatree.children), "must hold rounds", way_out)
    return rounds


def axis_label(name: str, variable: xarray.DataArray) -> str:
    """Label of a parameter, with its unit, and log10 where it is shown so."""
    label = _readable(variable.attrs.get("label", "")) or _literal(name)
    unit = variable.attrs.get("unit", "")
    unit = f" [{_readable(unit) or _literal(unit)}]" if unit else ""
    return (r"$\log_{10}$ " if is_log(variable) else "") + label + unit


def tidy_ticks(ax: Axes, *, bottom: bool, left: bool) -> None:
    """Turn ticks inwards, keep them few, and number those at the rim."""
    from matplotlib.ticker import MaxNLocator

    ax.tick_params(direction="in", labelsize=8, labelbottom=bottom, labelleft=left)
    ax.tick_params(axis="x", labelrotation=45)
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.yaxis.set_major_locator(MaxNLocator(4, prune="both"))


def count_rounds(ax: Axes, n: int) -> None:
    """Put the numbers of the rounds on the horizontal axis, from 1."""
    ax.set_xlabel("round")
    ax.set_xlim(0.5, n + 0.5)
    ax.set_xticks(np.unique(np.linspace(1, n, min(n, 8)).round()))


def _readable(text: str) -> str:
    """Return ``text`` if matplotlib can set it, formulae and all, else nothing."""
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return ""
    return text


def _literal(text: str) -> str:
    return text.replace("$", r"\$")
