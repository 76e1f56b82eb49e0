"""From spectra to the inputs of the flow: whiten by the noise, project, rescale.

Each function pair fits on the simulations in use and applies to any spectrum. The projection is
on an orthonormal basis, so unit noise on the whitened channels is unit noise on the components,
and the training draws it there, fresh at each step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.optimize

from floppity_jax.observation import Observation
from floppity_jax.typing import Float

# A component whose signal variance is v times the noise variance carries ln(1 + v) / 2 nats.
# Below this v it is noise to every purpose, and is switched off.
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
        Standard deviation of the noise on a component before scaling: 1, more where the
        observation is a `misfit`, or 0 where the simulator itself is stochastic.
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
    error = observation.errors
    if error is None:
        spread = spectra.std(axis=0, dtype=np.float64)
        # Of equal numbers the spread is 0 only but for rounding.
        error = np.where(np.ptp(spectra, axis=0) > 0, spread, 1.0)
    whitened = (np.asarray(spectra, np.float64) - observation.values) / error
    mean = whitened.mean(axis=0)
    # The small Gram matrix of the channels: cheaper than the SVD of all simulations.
    eigenvalues, vectors = np.linalg.eigh(np.cov(whitened.T, bias=True).reshape(len(mean), -1))
    variance, basis = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    # The sign of an eigenvector is arbitrary: fix it, so that equal runs stay equal.
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(len(mean))])
    # The observation is the reference, at 0: it lies at -mean from the simulations.
    noise = 0.0 if observation.errors is None else misfit(mean @ basis, variance)
    kept = slice(min(n_components, observation.n_channels))
    variance, basis = variance[kept], basis[:, kept]
    if observation.errors is None:
        used = variance > 1e-12 * variance.max()
    else:
        used = variance > NEGLIGIBLE_SIGNAL * noise**2
    scale = np.divide(1, np.sqrt(variance + noise**2), out=np.zeros_like(variance), where=used)
    return Features(observation.values, error, mean, basis, scale, noise)


def misfit(
    distance: Float[np.ndarray, " channels"], variance: Float[np.ndarray, " channels"]
) -> float:
    """Factor on the errors that puts an observation among the noisy simulations.

    On each principal component the observation is off the mean by about the root of signal
    variance plus noise variance, if one of the models is true. Where it is further off, a network
    would have to answer for data unlike any it has seen. The errors are then taken to be ``s``
    times larger, with ``mean(distance^2 / (variance + s^2)) = 1``.

    Parameters
    ----------
    distance
        Of the observation from the mean of the whitened simulations, by component.
    variance
        Of the whitened simulations, by component.

    Returns
    -------
    float
        ``s``; exactly 1 unless the mean square is over 5 of its standard deviations above 1.
    """

    def excess(log_s: float) -> float:
        return float(np.mean(distance**2 / (variance + np.exp(2 * log_s)))) - 1

    if excess(0.0) < 5 * np.sqrt(2 / len(distance)):
        return 1.0
    # Where even without signal the mean is 1, and beyond rounding.
    highest = 0.5 * np.log(np.mean(distance**2)) + 1e-6
    return float(np.exp(scipy.optimize.brentq(excess, 0.0, highest)))


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
