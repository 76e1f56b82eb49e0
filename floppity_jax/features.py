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
import scipy.linalg
import scipy.optimize
import scipy.special

from floppity_jax.observation import Observation
from floppity_jax.typing import Float

# A component whose signal variance is v times the noise variance carries ln(1 + v) / 2 nats.
# Below this v it is noise to every purpose, and is switched off.
NEGLIGIBLE_SIGNAL = 1e-3
# Of more channels than this, principal components come from at most as many simulations: their
# cost grows as the cube of the smaller of the two numbers.
MANY = 1000
N_KNOTS = 101  # of the map that makes a channel normal
BANDS = 4  # of a dataset, in which the strength of the noise is looked at
LEAST_ENERGY = 1e-6  # of the noise as given: what is added before the logarithm is taken
MOST_ENERGY = 10.0  # standard deviations that it may be off
BEYOND = 3.0  # normal deviations that it goes on for beyond the last simulation


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
    noise = 0.0 if observation.errors is None else misfit(*_on_every_axis(mean, variance, basis))
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
    reconstruction_error = _left_out(whitened, mean, basis * (scale > 0))
    return Features(
        reference, error, mean, basis, scale, noise, knots, quantiles, reconstruction_error
    )


def fit_measured(
    clean: Float[np.ndarray, "n channels"],
    noisy: Float[np.ndarray, "n channels"],
    observation: Observation,
    n_components: int,
    *,
    log: bool,
    energies: bool,
    covariance: Float[np.ndarray, "channels channels"] | None = None,
) -> Features:
    """Fit the map where the noise is not simply that of the errors.

    Parameters
    ----------
    clean, noisy
        Simulated data, without and with noise.
    observation
        With errors.
    n_components
        Projected components; never more than there are channels.
    log
        Look at logarithms of the data.
    energies
        Tell the network of the noise too: an instrument changes it.
    covariance
        Of the noise, typically, where that of different channels is correlated.
    """
    errors = observation.errors
    assert errors is not None
    reference, error, bend, whitener = observation.values, errors, np.empty(0), np.empty((0, 0))
    if covariance is not None:
        scale = np.sqrt(np.diag(covariance))
        root = np.linalg.cholesky(covariance / np.outer(scale, scale))
        whitener = np.linalg.inv(root) / scale
    if log:
        bend = 2 * errors
        slope = 1 / np.hypot(1, reference / bend)
        reference, error = bend * np.arcsinh(reference / bend), errors * slope
        whitener = whitener / slope if whitener.size else whitener
    n_components = min(n_components, observation.n_channels)
    none = np.empty((len(reference), 0))
    features = Features(
        reference, error, np.zeros(len(reference)), none, np.empty(0), 1.0,
        bend=bend, whitener=whitener,
    )  # fmt: skip
    whitened = _centred(np, features, clean)
    noise = _centred(np, features, noisy) - whitened
    mean = whitened.mean(axis=0)
    variance, basis = principal_components(whitened)
    power = ((noise @ basis) ** 2).mean(axis=0)
    distance, variances = _on_every_axis(mean, variance, basis)
    beside = ((noise**2).mean(axis=0).sum() - power.sum()) / max(len(mean) - len(power), 1)
    powers = np.concatenate([power, np.full(len(mean) - len(power), beside)])
    factor = misfit(distance / np.sqrt(powers), variances / powers)
    lacking = max(n_components - len(variance), 0)
    variance, power = (np.pad(x[:n_components], (0, lacking)) for x in (variance, power))
    basis = np.pad(basis[:, :n_components], [(0, 0), (0, lacking)])
    used = variance > NEGLIGIBLE_SIGNAL * factor**2 * power
    seen = whitened - mean + factor * noise
    deviation = (seen @ basis).std(axis=0)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=used)
    reconstruction_error = _left_out(whitened, mean, basis * (scale > 0))
    features = features._replace(
        mean=mean, basis=basis, scale=scale, noise=factor, reconstruction_error=reconstruction_error
    )
    if not energies:
        return features
    filters, groups = _noise_filters(observation)
    features = features._replace(filters=filters, groups=groups)
    found = _energies(np, features, seen)
    return features._replace(energy_mean=found.mean(axis=0), energy_scale=1 / found.std(axis=0))


def _left_out(
    whitened: Float[np.ndarray, "n channels"],
    mean: Float[np.ndarray, " channels"],
    basis: Float[np.ndarray, "channels components"],
) -> float:
    """Root mean square of what a projection leaves out."""
    centred = whitened - mean
    left = max((centred**2).sum() - ((centred @ basis) ** 2).sum(), 0.0)
    return float(np.sqrt(left / centred.size))


def _noise_filters(
    observation: Observation,
) -> tuple[Float[np.ndarray, "channels f"], Float[np.ndarray, "g e"]]:
    """Return filters and groups that tell noises apart.

    By strength, in all, in each dataset and in ``BANDS`` parts of it; and by how far it is
    correlated, from sums over 2, 4, 8, ... channels, up to an eighth of the dataset.
    """
    n = observation.n_channels
    channels = np.arange(n)[:, None]
    filters, groups = [np.empty((n, 0))], [np.ones((n, 1))]
    for place in observation.slices:
        own = channels[place]
        groups.append(np.isin(channels, own).astype(float))
        parts = [part for part in np.array_split(own, BANDS) if len(part)]
        groups += [np.isin(channels, part).astype(float) for part in parts]
    for place in observation.slices:
        size = place.stop - place.start
        length = 2
        while length <= size // 8:
            starts = np.arange(place.start, place.stop - length + 1, length)
            inside = (channels >= starts) & (channels < starts + length)
            filters.append(inside / np.sqrt(length))
            length *= 2
    sizes = [f.shape[1] for f in filters[1:]]
    # One group for the channels themselves, or for the sums of one length.
    blocks = scipy.linalg.block_diag(
        np.concatenate(groups, axis=1), *[np.ones((size, 1)) for size in sizes]
    )
    return np.concatenate(filters, axis=1), blocks / blocks.sum(axis=0)


def in_unit(features: Features, unit: float) -> Features:
    """Return the map of data that were divided by ``unit``."""
    if features.bend.size:
        features = features._replace(bend=features.bend / unit)
    return features._replace(
        reference=features.reference / unit,
        error=features.error / unit,
        whitener=features.whitener * unit,
    )


def _centred(xp: ModuleType, features: Features, values: Any) -> Any:
    """Whiten by the noise, and take the mean off."""
    if features.bend.size:
        values = features.bend * xp.arcsinh(values / features.bend)
    centred = values - features.reference
    if features.whitener.size:
        return centred @ features.whitener.T - features.mean
    return centred / features.error - features.mean


def _energies(xp: ModuleType, features: Features, centred: Any) -> Any:
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
    centred = _centred(xp, features, data)
    components = (centred @ features.basis) * features.scale
    if not features.energy_scale.size:
        return components
    energies = (_energies(xp, features, centred) - features.energy_mean) * features.energy_scale
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


def _on_every_axis(
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


def fit_quantiles(
    spectra: Float[np.ndarray, "n channels"],
) -> tuple[Float[np.ndarray, "channels n_knots"], Float[np.ndarray, "channels n_knots"]]:
    """Fit a monotonic map that makes each channel normal.

    The empirical distribution function (half of equal values counted as below) is turned into
    normal quantiles, at as many of the values as there are knots, evenly spaced in the quantile.

    Returns
    -------
    knots, quantiles
        Strictly increasing along a row; rows with fewer distinct values end in NaN.
    """
    n, channels = spectra.shape
    knots, quantiles = np.full((2, channels, N_KNOTS), np.nan)
    for channel in range(channels):
        values, counts = np.unique(spectra[:, channel], return_counts=True)
        normal = scipy.special.ndtri((np.cumsum(counts) - counts / 2) / n)
        if len(values) > N_KNOTS:
            picked = np.searchsorted(normal, np.linspace(normal[0], normal[-1], N_KNOTS))
            picked = np.unique(picked)
            values, normal = values[picked], normal[picked]
        knots[channel, : len(values)] = values
        quantiles[channel, : len(values)] = normal
    return knots, quantiles


def to_normal(
    knots: Float[np.ndarray, "channels n_knots"],
    quantiles: Float[np.ndarray, "channels n_knots"],
    spectra: Float[np.ndarray, "*n channels"],
) -> Float[np.ndarray, "*n channels"]:
    """Apply the map of `fit_quantiles`; beyond the ends it goes on with a constant slope.

    That slope is the mean one from the middle knot to the end: the last interval alone, between
    the two most extreme values, would have a slope of chance. It goes on for ``BEYOND`` only: in a
    channel where all simulations are nearly equal, another value would be at any distance.
    """
    out = np.zeros(spectra.shape)
    for channel in range(len(knots)):
        used = np.isfinite(knots[channel])
        x, y = knots[channel, used], quantiles[channel, used]
        if len(x) < 2:
            continue  # nothing to learn from a channel that does not vary
        value = spectra[..., channel]
        low, high = len(x) // 2, (len(x) - 1) // 2
        below = (y[low] - y[0]) / (x[low] - x[0])
        above = (y[-1] - y[high]) / (x[-1] - x[high])
        out[..., channel] = (
            np.interp(value, x, y)
            + np.clip(below * (value - x[0]), -BEYOND, 0)
            + np.clip(above * (value - x[-1]), 0, BEYOND)
        )
    return out


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
    centred = _centred(np, features, values)
    components = centred @ features.basis if features.basis.size else centred
    return components.astype(np.float32)


def observed_input(features: Features, observation: Observation) -> Float[np.ndarray, " inputs"]:
    """Network input of the observation itself."""
    if features.energy_scale.size:
        return context_of(np, features, observation.values[None])[0].astype(np.float32)
    components = project(features, observation.values[None])[0]
    return (components * features.scale).astype(np.float32)
