"""How the training of each round went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.plots.style import BLUE, GREY, ORANGE, make_axes, need_rounds

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def losses(datatree: xarray.DataTree, axes: Axes | np.ndarray | None = None) -> np.ndarray:
    """Training and validation loss by epoch, one round after another.

    A dot marks the lowest validation loss of a round. Losses of different rounds do not compare:
    each learns other simulations, in other coordinates.

    Parameters
    ----------
    datatree
        With the group ``rounds``.
    axes
        To draw in.

    Returns
    -------
    array (1, 1) of matplotlib.axes.Axes

    Raises
    ------
    InvalidInput
        Where the DataTree holds no rounds.
    """
    rounds = need_rounds(datatree)
    axes = make_axes(axes, (1, 1), (8.0, 3.5))
    ax = axes[0, 0]
    train, validation = (rounds[f"{kind}_loss"].to_numpy() for kind in ("train", "validation"))
    start, ends = 1, []
    for index in range(len(train)):
        epochs = int(np.isfinite(train[index]).nonzero()[0].max(initial=-1)) + 1
        x = np.arange(start, start + epochs)
        label = {"train": "training", "validation": "validation"} if index == 0 else {}
        ax.plot(x, train[index, :epochs], color=BLUE, linewidth=1.0, label=label.get("train"))
        ax.plot(
            x, validation[index, :epochs], color=ORANGE, linewidth=1.2, linestyle="--",
            label=label.get("validation"),
        )  # fmt: skip
        if np.isfinite(validation[index, :epochs]).any():
            best = int(np.nanargmin(validation[index, :epochs]))
            ax.plot(x[best], validation[index, best], "o", color=ORANGE, markersize=4)
        ax.text(
            start + epochs / 2, 1.01, f"{index + 1}", transform=ax.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=8,
        )  # fmt: skip
        start += epochs
        ends.append(start - 0.5)
    for end in ends[:-1]:
        ax.axvline(end, color=GREY, linewidth=0.6, linestyle=":")
    ax.set_xlim(0.5, max(start - 0.5, 1.5))
    ax.set_ylim(_limits(np.concatenate([train, validation])))
    ax.set_title("round", fontsize=9, pad=14)
    ax.set_xlabel("epoch, one round after another")
    ax.set_ylabel("loss [nats]")
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return axes


def _limits(values: np.ndarray) -> tuple[float, float] | None:
    """Return ends of the axis that leave out the highest losses, of the first steps."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = values.min(), np.quantile(values, 0.98)
    margin = 0.08 * (high - low) or 0.5
    return float(low - margin), float(high + 2 * margin)
