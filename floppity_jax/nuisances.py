"""Parameters that the simulator does not know: drawn anew for every simulation, at no call."""

from __future__ import annotations

import jax
import numpy as np

from floppity_jax.density import log_standard_normal
from floppity_jax.proposals import Region
from floppity_jax.typing import Float, Int, Key

VERSIONS = 32  # of each simulation, from which every training step takes one
WIDENED = 1.5  # deviation of what is proposed, over that of the simulations


def draw_versions(
    key: Key,
    z: Float[np.ndarray, "n d"],
    nuisances: Int[np.ndarray, " k"],
    region: Region | None,
    versions: int,
) -> Float[np.ndarray, "n versions d"]:
    """Draw the nuisances of each simulation again, from their law given its other parameters.

    That law is the prior, cut to the region that the simulations come from. A Markov chain takes
    ``versions`` steps from the value that a simulation was drawn with: it starts in the law, and so
    has it at every step. Proposals are independent of where the chain stands, from the linear
    regression of the nuisances on the other parameters.

    Parameters
    ----------
    key
        For the proposals.
    z
        Parameters of the simulations, in prior coordinates.
    nuisances
        Columns that are drawn again.
    region
        All simulations lie inside. None for the whole prior.
    versions
        How many of each.
    """
    if versions == 1:
        return z[:, None]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    out = np.repeat(z[:, None], versions, axis=1)
    if region is None:
        out[:, :, nuisances] = rng.normal(size=(len(z), versions, len(nuisances)))
        return out
    centre, root = _regression(z, nuisances)
    now = z.copy()
    log_now = _log_ratio(now[:, nuisances], centre, root)
    for version in range(versions):
        new = now.copy()
        new[:, nuisances] = centre + rng.normal(size=centre.shape) @ root.T
        log_new = _log_ratio(new[:, nuisances], centre, root)
        moved = (rng.exponential(size=len(z)) > log_now - log_new) & region.contains(new)
        now[moved], log_now[moved] = new[moved], log_new[moved]
        out[:, version] = now
    return out


def _regression(
    z: Float[np.ndarray, "n d"], nuisances: Int[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "k k"]]:
    """Nuisances as the other parameters predict them, and the root of their widened covariance."""
    others = np.delete(z, nuisances, axis=1)
    design = np.concatenate([np.ones((len(z), 1)), others], axis=1)
    centre = design @ np.linalg.lstsq(design, z[:, nuisances], rcond=None)[0]
    covariance = np.atleast_2d(np.cov((z[:, nuisances] - centre).T))
    covariance += 1e-12 * np.trace(covariance) * np.eye(len(nuisances))
    return centre, WIDENED * np.linalg.cholesky(covariance)


def _log_ratio(
    x: Float[np.ndarray, "n k"], centre: Float[np.ndarray, "n k"], root: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, " n"]:
    """Log density of the prior over that of the proposals, up to a constant."""
    return log_standard_normal(x) - log_standard_normal(np.linalg.solve(root, (x - centre).T).T)
