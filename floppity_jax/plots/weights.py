"""The importance weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from floppity_jax.errors import InvalidInput
from floppity_jax.plots.style import BLUE, GREY, ORANGE, TINTS, make_axes, need_group
from floppity_jax.proposals import effective_sample_size

if TYPE_CHECKING:
    import xarray


def weights(datatree: xarray.DataTree, axes: np.ndarray | None = None) -> np.ndarray:
    """Show how the importance weights are spread, and how many draws carry the posterior.

    Left, the normalised weights in units of their mean; right, the share of the posterior that the
    largest of them hold. The title gives the effective number of draws (Kish) and, where the
    DataTree has it, the Pareto shape k of the tail (Vehtari et al. 2024).

    Parameters
    ----------
    datatree
        With the group ``importance``: ``log_weight``, of every draw that was simulated.
    axes
        Two, to draw in.

    Returns
    -------
    array (1, 2) of matplotlib.axes.Axes

    Raises
    ------
    InvalidInput
        Where the DataTree holds no weights, or all of them are zero.
    """
    group = need_group(
        datatree, "importance", "Weights come with posterior.importance_sample(n).to_datatree()."
    )
    log_weights = group["log_weight"].to_numpy().ravel()
    n, good = len(log_weights), np.isfinite(log_weights)
    if not good.any():
        raise InvalidInput("log_weight", n, "must not all be zero", "Look at the simulator.")
    axes = make_axes(axes, (1, 2), (8.0, 3.4))
    left, right = axes.flat
    log_w = log_weights[good] - logsumexp(log_weights[good])

    relative = (log_w + np.log(n)) / np.log(10)
    # The smallest weights, of the widened tails, are countless decades off and matter to no mean.
    shown = relative[relative > -6]
    left.hist(shown, bins=40, color=TINTS[2], edgecolor=BLUE, linewidth=0.5)
    left.axvline(0, color=GREY, linestyle=":", linewidth=1.0)
    left.set_yscale("log")
    left.set_xlabel(r"$\log_{10}$ of weight over mean weight")
    left.set_ylabel("draws")
    if less := n - len(shown):
        left.set_title(f"{less:,} draws weigh less or nothing", fontsize=8, loc="left")

    share = np.cumsum(np.sort(np.exp(log_w))[::-1])
    ess = effective_sample_size(log_weights)
    right.plot(np.arange(1, len(share) + 1) / n, share, color=BLUE, label="these weights")
    right.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="equal weights")
    right.axvline(ess / n, color=ORANGE, linestyle="--", label="effective share")
    right.set_xlabel("share of draws, heaviest first")
    right.set_ylabel("share of the posterior")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1.02)
    right.legend(frameon=False, fontsize=8, loc="lower right")

    title = f"{ess:,.0f} effective of {n:,} draws"
    if "pareto_k" in datatree.attrs:
        title += f", Pareto k {datatree.attrs['pareto_k']:.2f}"
    right.set_title(title, fontsize=9, loc="right")
    return axes
