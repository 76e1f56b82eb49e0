"""From spectra to the inputs of the flow: whiten by the noise, project, rescale.

Each function pair fits on the simulations in use and applies to any spectrum. The projection is
on an orthonormal basis, so unit noise on the whitened channels is unit noise on the components,
and the training draws it there, fresh at each step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from floppity_jax.observation import Observation
from floppity_jax.typing import Float

# A component whose signal variance is v times the noise variance carries ln(1 + v) / 2 nats.
# Below this v it is noise to every purpose, and an observation that no model fits exactly is
# furthest from the simulations just there: such components are switched off.
NEGLIGIBLE_SIGNAL = 1e-3


class Features(NamedTuple):
    """An affine map from spectra to network inputs.

    Attributes
    ----------
    reference : array (channels,)
        Subtracted first: the observation.
    error : array (channels,)
        Divided by next: the noise, or the spread of the simulations where there is none.
    mean : array (channels,)
        Mean of the whitened simulations.
    basis : array (channels, components)
        Orthonormal columns: leading principal components of the whitened simulations.
    scale : array (components,)
        Brings each component, with its noise, to unit variance; 0 switches it off.
    noise : float
        Standard deviation of the noise on a component before scaling: 1, or 0 where the
        simulator itself is stochastic.
    """

    reference: Float[np.ndarray, " channels"]
    error: Float[np.ndarray, " channels"]
    mean: Float[np.ndarray, " channels"]
    basis: Float[np.ndarray, "channels components"]
    scale: Float[np.ndarray, " components"]
    noise: float


def fit_features(
    spectra: Float[np.ndarray, "n channels"], observation: Observation, n_components: int
) -> Features:
    """Fit the map on the simulations in use.

    Parameters
    ----------
    spectra
        Noise-free simulations (noisy ones where the simulator is stochastic).
    observation
        Gives the reference and the noise.
    n_components
        Number of inputs of the network; never more than there are channels.
    """
    noise = 0.0 if observation.errors is None else 1.0
    error = observation.errors
    if error is None:
        spread = spectra.std(axis=0, dtype=np.float64)
        error = np.where(spread > 0, spread, 1.0)
    whitened = (np.asarray(spectra, np.float64) - observation.values) / error
    mean = whitened.mean(axis=0)
    n_components = min(n_components, observation.n_channels)
    if noise == 0 and n_components == observation.n_channels:
        basis, variance = np.eye(n_components), np.ones(n_components)
    else:
        # The small Gram matrix of the channels: cheaper than the SVD of all simulations.
        centred = whitened - mean
        eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        basis = vectors[:, ::-1][:, :n_components]
        # The sign of an eigenvector is arbitrary: fix it, so that equal runs stay equal.
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(n_components)])
        variance = np.maximum(eigenvalues[::-1][:n_components], 0.0)
    used = variance > NEGLIGIBLE_SIGNAL * max(noise, 1e-6)
    scale = np.where(used, 1 / np.sqrt(variance + noise**2 + 1e-300), 0.0)
    return Features(observation.values, error, mean, basis, scale, noise)


def project(
    features: Features, spectra: Float[np.ndarray, "n channels"]
) -> Float[np.ndarray, "n components"]:
    """Components of spectra before scaling, on which the noise has deviation ``noise``."""
    whitened = (np.asarray(spectra, np.float64) - features.reference) / features.error
    return ((whitened - features.mean) @ features.basis).astype(np.float32)


def observed_input(
    features: Features, observation: Observation
) -> Float[np.ndarray, " components"]:
    """Network input of the observation itself."""
    components = project(features, observation.values[None])[0]
    return (components * features.scale).astype(np.float32)
