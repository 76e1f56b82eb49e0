"""From spectra to the inputs of the flow: whiten by the noise, project, rescale.

Where there is no noise to whiten by, the simulator being stochastic, channels may span orders of
magnitude: each first goes through a monotonic map that makes it normal.

Each function pair fits on the simulations in use and applies to any spectrum. The projection is
on an orthonormal basis, so unit noise on the whitened channels is unit noise on the components,
and the training draws it there, fresh at each step.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize

from floppity_jax.observation import Observation
from floppity_jax.quantiles import fit_quantiles, to_normal
from floppity_jax.typing import Float

# A component whose signal variance is v times the noise variance carries ln(1 + v) / 2 nats.
# Below this v it is noise to every purpose, and is switched off.
NEGLIGIBLE_SIGNAL = 1e-3
# Of more channels than this, principal components come from at most as many simulations: their
# cost grows as the cube of the smaller of the two numbers.
MANY = 1000
LEAST_ENERGY = 1e-6  # of the noise as given: what is added before the logarithm is taken
MOST_ENERGY = 10.0  # standard deviations that it may be off


class Features(NamedTuple):
    """A map from spectra to network inputs; affine where the noise is known.

    Attributes
    ----------
    reference : array (channels,)
        Subtracted first: the observation (made normal, where ``knots`` are in use).
    error : array (channels,)
        Divided by next: the noise, or the spread of the simulations where there is none.
    mean : array (channels,)
        Mean of the whitened simulations.
    basis : array (channels, components)
        Orthonormal columns: leading principal components of the whitened simulations. Without
        columns there is no projection, and the channels themselves are the components.
    scale : array (components,)
        Brings each component, with its noise, to unit variance; 0 switches it off.
    noise : float
        Standard deviation of the noise on a component before scaling: 1, more where the
        observation is a `misfit`, or 0 where the simulator itself is stochastic.
    knots, quantiles : array (channels, n_knots)
        Map that makes each channel normal before all else, from `fit_quantiles`; of size 0 where
        the noise is known.
    reconstruction_error : float
        Root mean square over channels, in units of ``error``, of what the projection leaves out of
        the simulations.
    bend : array (channels,)
        Where it has a size, values go through ``bend * arcsinh(value / bend)`` before all else: a
        logarithm that is straight where values drown in noise.
    whitener : array (channels, channels)
        Takes the place of the division by ``error`` where noise is correlated.
    filters : array (channels, f)
    groups : array (channels + f, e)
        What is left beside the projection tells of the noise: logarithms of the mean squares of
        it, and of it seen through filters, over groups, are further inputs.
    energy_mean, energy_scale : array (e,)
        Standardise these.
    """

    reference: Float[np.ndarray, " channels"]
    error: Float[np.ndarray, " channels"]
    mean: Float[np.ndarray, " channels"]
    basis: Float[np.ndarray, "channels components"]
    scale: Float[np.ndarray, " components"]
    noise: float
    knots: Float[np.ndarray, "channels n_knots"] = np.empty((0, 0))
    quantiles: Float[np.ndarray, "channels n_knots"] = np.empty((0, 0))
    reconstruction_error: float = 0.0
    bend: Float[np.ndarray, " channels"] = np.empty(0)
    whitener: Float[np.ndarray, "channels channels"] = np.empty((0, 0))
    filters: Float[np.ndarray, "channels f"] = np.empty((0, 0))
    groups: Float[np.ndarray, "g e"] = np.empty((0, 0))
    energy_mean: Float[np.ndarray, " e"] = np.empty(0)
    energy_scale: Float[np.ndarray, " e"] = np.empty(0)

    @property
    def n_inputs(self) -> int:
        """Inputs of the network."""
        return len(self.scale) + len(self.energy_scale)


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
    values = np.asarray(spectra, np.float64)
    reference, error = observation.values, observation.errors
    knots = quantiles = np.empty((0, 0))
    if error is None:
        knots, quantiles = fit_quantiles(values)
        values, reference = (to_normal(knots, quantiles, x) for x in (values, reference))
        # Of equal numbers the spread is 0 only but for rounding.
        error = np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), 1.0)
    whitened = (values - reference) / error
    mean = whitened.mean(axis=0)
    variance, basis = principal_components(whitened)
    # The observation is the reference, at 0: it lies at -mean from the simulations.
    noise = 0.0 if observation.errors is None else misfit(*on_every_axis(mean, variance, basis))
    n_components = min(n_components, observation.n_channels)
    # Fewer simulations than that have fewer components: the rest are switched off.
    lacking = max(n_components - len(variance), 0)
    variance = np.pad(variance[:n_components], (0, lacking))
    basis = np.pad(basis[:, :n_components], [(0, 0), (0, lacking)])
    if observation.errors is None:
        used = variance > 1e-12 * variance.max()
    else:
        used = variance > NEGLIGIBLE_SIGNAL * noise**2
    scale = np.divide(1, np.sqrt(variance + noise**2), out=np.zeros_like(variance), where=used)
    reconstruction_error = left_out(whitened, mean, basis * (scale > 0))
    return Features(
        reference, error, mean, basis, scale, noise, knots, quantiles, reconstruction_error
    )


def left_out(
    whitened: Float[np.ndarray, "n channels"],
    mean: Float[np.ndarray, " channels"],
    basis: Float[np.ndarray, "channels components"],
) -> float:
    """Root mean square of what a projection leaves out."""
    centred = whitened - mean
    left = max((centred**2).sum() - ((centred @ basis) ** 2).sum(), 0.0)
    return float(np.sqrt(left / centred.size))


def in_unit(features: Features, unit: float) -> Features:
    """Return the map of data that were divided by ``unit``."""
    if features.bend.size:
        features = features._replace(bend=features.bend / unit)
    return features._replace(
        reference=features.reference / unit,
        error=features.error / unit,
        whitener=features.whitener * unit,
    )


def centred_on(xp: ModuleType, features: Features, values: Any) -> Any:
    """Whiten by the noise, and take the mean off."""
    if features.bend.size:
        values = features.bend * xp.arcsinh(values / features.bend)
    centred = values - features.reference
    if features.whitener.size:
        return centred @ features.whitener.T - features.mean
    return centred / features.error - features.mean


def energies_of(xp: ModuleType, features: Features, centred: Any) -> Any:
    """Logarithms of the mean squares of what the projection leaves out."""
    used = features.basis * (features.scale > 0)
    beside = centred - (centred @ used) @ used.T
    squares = xp.concatenate([beside, beside @ features.filters], axis=1) ** 2
    return xp.log(squares @ features.groups + LEAST_ENERGY)


def context_of(xp: ModuleType, features: Features, data: Any) -> Any:
    """Network inputs of data with noise.

    Parameters
    ----------
    xp
        ``numpy`` or ``jax.numpy``.
    features
        From `fit_measured`.
    data : array (n, channels)
        In the unit of the features.
    """
    centred = centred_on(xp, features, data)
    components = (centred @ features.basis) * features.scale
    if not features.energy_scale.size:
        return components
    energies = (energies_of(xp, features, centred) - features.energy_mean) * features.energy_scale
    return xp.concatenate([components, xp.clip(energies, -MOST_ENERGY, MOST_ENERGY)], axis=1)


def principal_components(
    whitened: Float[np.ndarray, "n channels"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "channels k"]]:
    """Variances and orthonormal directions, the largest variance first.

    From the eigenvectors of the smaller of the two Gram matrices, which is cheaper than the
    singular value decomposition: channels by channels, which gives a direction for each channel,
    or simulations by simulations, which gives those alone in which the simulations vary.
    """
    n, channels = whitened.shape
    if channels > MANY:
        whitened = whitened[:: -(-n // MANY)]
        n = len(whitened)
    if channels <= n:
        eigenvalues, vectors = np.linalg.eigh(np.cov(whitened.T, bias=True).reshape(channels, -1))
    else:
        centred = whitened - whitened.mean(axis=0)
        eigenvalues, vectors = np.linalg.eigh(centred @ centred.T / n)
        # The others are known to rounding only.
        known = eigenvalues > 1e-12 * eigenvalues[-1]
        eigenvalues = eigenvalues[known]
        vectors = centred.T @ (vectors[:, known] / np.sqrt(n * eigenvalues))
    variance, basis = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    # The sign of an eigenvector is arbitrary: fix it, so that equal runs stay equal.
    largest = np.abs(basis).argmax(axis=0)
    return variance, basis * np.sign(basis[largest, np.arange(len(variance))])


def on_every_axis(
    mean: Float[np.ndarray, " channels"],
    variance: Float[np.ndarray, " k"],
    basis: Float[np.ndarray, "channels k"],
) -> tuple[Float[np.ndarray, " channels"], Float[np.ndarray, " channels"]]:
    """Distance and variance on each axis; those without variance share what is left of the mean."""
    distance = mean @ basis
    flat = len(mean) - len(variance)
    if flat:
        left = max(mean @ mean - distance @ distance, 0.0)
        distance = np.concatenate([distance, np.full(flat, np.sqrt(left / flat))])
        variance = np.concatenate([variance, np.zeros(flat)])
    return distance, variance


def whole_spectra(
    projected: Features, spectra: Float[np.ndarray, "n channels"]
) -> tuple[Features, Float[np.ndarray, "channels components"]]:
    """Give up the projection: the inputs become all channels, each with unit variance.

    Parameters
    ----------
    projected
        From `fit_features`.
    spectra
        The simulations it was fitted on.

    Returns
    -------
    features : Features
        The same but for ``basis`` (no columns) and ``scale``.
    kernel : array (channels, components)
        Turns inputs of these into those of ``projected``.
    """
    whole = projected._replace(basis=projected.basis[:, :0])
    deviation = np.sqrt(project(whole, spectra).var(axis=0, dtype=np.float64) + whole.noise**2)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    kernel = deviation[:, None] * projected.basis * projected.scale
    return whole._replace(scale=scale), kernel


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
    values = np.asarray(spectra, np.float64)
    if features.knots.size:
        values = to_normal(features.knots, features.quantiles, values)
    centred = centred_on(np, features, values)
    components = centred @ features.basis if features.basis.size else centred
    return components.astype(np.float32)


def observed_input(features: Features, observation: Observation) -> Float[np.ndarray, " inputs"]:
    """Network input of the observation itself."""
    if features.energy_scale.size:
        return context_of(np, features, observation.values[None])[0].astype(np.float32)
    components = project(features, observation.values[None])[0]
    return (components * features.scale).astype(np.float32)
