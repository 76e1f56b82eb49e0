"""Inputs of the network where data are more than a spectrum with the noise of each channel.

Noise may be correlated, or depend on what is retrieved: the network is then told of the noise too.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from floppity_jax.features import (
    NEGLIGIBLE_SIGNAL,
    Features,
    centred_on,
    energies_of,
    left_out,
    misfit,
    on_every_axis,
    principal_components,
)
from floppity_jax.observation import Observation
from floppity_jax.typing import Float

BANDS = 4  # of a dataset, in which the strength of the noise is looked at
LEAST_SPREAD = 1e-3  # of the logarithm of a strength, for it to tell anything
LOUD = 0.99  # quantile of the noise of simulations that counts as its strongest


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
        slope = 1 / np.hypot(1, nearest(clean / bend, reference / bend))
        reference, error = bend * np.arcsinh(reference / bend), errors * slope
        whitener = whitener / slope if whitener.size else whitener
    n_components = min(n_components, observation.n_channels)
    none = np.empty((len(reference), 0))
    features = Features(
        reference, error, np.zeros(len(reference)), none, np.empty(0), 1.0,
        bend=bend, whitener=whitener,
    )  # fmt: skip
    whitened = centred_on(np, features, clean)
    noise = centred_on(np, features, noisy) - whitened
    mean = whitened.mean(axis=0)
    variance, basis = principal_components(whitened)
    power = ((noise @ basis) ** 2).mean(axis=0)
    distance, variances = on_every_axis(mean, variance, basis)
    beside = ((noise**2).mean(axis=0).sum() - power.sum()) / max(len(mean) - len(power), 1)
    powers = np.concatenate([power, np.full(len(mean) - len(power), beside)])
    if energies:
        # How strong the noise is, the posterior is to say: a misfit is what is beyond all of it.
        strength = (noise**2).mean(axis=1)
        powers = powers * (np.quantile(strength, LOUD) / strength.mean())
    factor = misfit(distance / np.sqrt(powers), variances / powers)
    lacking = max(n_components - len(variance), 0)
    variance, power = (np.pad(x[:n_components], (0, lacking)) for x in (variance, power))
    basis = np.pad(basis[:, :n_components], [(0, 0), (0, lacking)])
    used = variance > NEGLIGIBLE_SIGNAL * factor**2 * power
    seen = whitened - mean + factor * noise
    deviation = (seen @ basis).std(axis=0)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=used)
    reconstruction_error = left_out(whitened, mean, basis * (scale > 0))
    features = features._replace(
        mean=mean, basis=basis, scale=scale, noise=factor, reconstruction_error=reconstruction_error
    )
    if not energies:
        return features
    filters, groups = noise_filters(observation)
    features = features._replace(filters=filters, groups=groups)
    found = energies_of(np, features, seen)
    spread = found.std(axis=0)
    # Where the projection leaves nothing out, what is left is rounding.
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > LEAST_SPREAD)
    return features._replace(energy_mean=found.mean(axis=0), energy_scale=scale)


def nearest(
    clean: Float[np.ndarray, "n channels"], observed: Float[np.ndarray, " channels"]
) -> Float[np.ndarray, " channels"]:
    """Return the simulation without noise that is nearest to the observation in logarithms.

    It gives the slope of the logarithm, and so the weight of each channel. Slopes at the
    observation itself would weigh most the channels whose noise happened to be positive.
    """
    distance = ((np.arcsinh(clean) - np.arcsinh(observed)) ** 2).sum(axis=1)
    return clean[distance.argmin()]


def noise_filters(
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
