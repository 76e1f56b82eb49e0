"""Figures of posteriors and runs, from ArviZ DataTrees.

Figures belong to no window: save them with ``figure.savefig``. Colours are those of Okabe & Ito,
safe for the colour-blind.
"""

from floppity_jax.plots.corner import corner
from floppity_jax.plots.spectrum import spectrum

__all__ = ["corner", "spectrum"]
