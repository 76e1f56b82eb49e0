"""Figures of posteriors and runs, from ArviZ DataTrees.

Every function draws into the matplotlib axes it is given, or into a new figure, and returns the
axes as an array: ``axes.flat[0].figure.savefig(path)`` saves them. New figures belong to no window.
Colours are those of Okabe & Ito, safe for the colour-blind; what is told apart by colour has its
own line style too.
"""

from floppity_jax.plots.convergence import convergence
from floppity_jax.plots.corner import corner
from floppity_jax.plots.coverage import coverage
from floppity_jax.plots.losses import losses
from floppity_jax.plots.marginals import marginals
from floppity_jax.plots.spectrum import spectrum
from floppity_jax.plots.weights import weights

__all__ = [
    "convergence",
    "corner",
    "coverage",
    "losses",
    "marginals",
    "spectrum",
    "weights",
]
