"""Whether the network has seen a spectrum like the observed one.

A flow answers for any input, also for one unlike all that it learned from, and then its answer
means nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from floppity_jax.features import Features, project
from floppity_jax.observation import Observation
from floppity_jax.typing import Float, Int

MOST_TESTS = 500  # simulations that the observation is compared with
UNFAMILIAR = 0.01  # share below which the observation lies outside of what was simulated


class Familiarity(NamedTuple):
    """Where an observation lies among simulations.

    Attributes
    ----------
    distance : float
        From the nearest simulation, in standard deviations of the noise on a network input.
    share : float
        Share of simulations, with noise of their own, that lie further from all others: below
        0.01 the observation is outside of what the network has seen.
    """

    distance: float
    share: float


def familiarity(
    features: Features,
    clean: Float[np.ndarray, "n channels"],
    rows: Int[np.ndarray, " m"],
    noisy: Float[np.ndarray, "m channels"],
    observation: Observation,
) -> Familiarity:
    """Hold the observation's distance to its nearest simulation against theirs to one another.

    In the components that the network sees, where the noise has unit deviation. No law is assumed
    for the cloud of simulations, which is curved: only that the observation, were one of the models
    true, would be like one more simulation. Where the observation is a misfit, so that the errors
    were inflated for training, the noise here is still that of the errors as given.

    Parameters
    ----------
    features
        Fitted on the simulations.
    clean
        Simulated data that the network learned from, noise-free.
    rows, noisy
        Some of them, `MOST_TESTS` at most, and these with noise.
    observation
        What was observed.
    """
    # In numpy: the shapes change from round to round, and JAX would compile for each.
    used = features.scale > 0
    seen, tests, centres = (
        project(features, data)[:, used].astype(np.float64)
        for data in (observation.values[None], noisy, clean)
    )
    between = _squared_distances(tests, centres)
    between[np.arange(len(rows)), rows] = np.inf  # not from itself
    distance = _squared_distances(seen, centres).min()
    share = float((between.min(axis=1) >= distance).mean())
    return Familiarity(float(np.sqrt(distance)), share)


def _squared_distances(
    a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, "n m"]:
    products = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.maximum(products, 0.0)
