"""Thermal radiation through layers that absorb and do not scatter.

A column has N layers and 2 N + 1 nodes: the top of the column, then in turn the middle of a layer
and its lower face. Between nodes the source, Planck's law, is linear in optical depth, which makes
the formal solution right in thin and in thick layers (Olson & Kunasz 1987, JQSRT 38, 325).
"""

from __future__ import annotations

import numpy as np

STEFAN_BOLTZMANN = 5.670374419e-5  # [erg / (s cm2 K4)]
SECOND_RADIATION_CONSTANT = 14387.76877  # [um K]
# Gauss quadrature of a flux: nodes and weights of the integral of mu f(mu) from 0 to 1.
MU = np.array([0.3550510257, 0.8449489743])
MU_WEIGHTS = np.array([0.1819586183, 0.3180413817])
MEAN_MU = 0.6  # of the one ray with which derivatives are worked out: 1 / 1.66


def planck_share(wavelength: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Share of a black body's flux that lies below a wavelength [um].

    By its series in exp(-x), and in x where that is slow (Chang & Rhee 1984, Int. Commun. Heat
    Mass Transf. 11, 451), with x = h c / (lambda k T).
    """
    x = SECOND_RADIATION_CONSTANT / (wavelength * temperature)
    small = np.minimum(x, 1.0)
    series = 1 - 15 / np.pi**4 * small**3 * (
        1 / 3 - small / 8 + small**2 / 60 - small**4 / 5040 + small**6 / 272160
    )
    large = np.maximum(x, 1.0)
    terms = [
        np.exp(-n * large) * (large**3 / n + 3 * large**2 / n**2 + 6 * large / n**3 + 6 / n**4)
        for n in range(1, 16)
    ]
    return np.where(x < 1, series, 15 / np.pi**4 * sum(terms))


class Planck:
    """pi B of each bin [erg / (s cm2)] and its derivative by T, from a table in T.

    Parameters
    ----------
    edges
        Of the bins [um].
    whole
        Whether the first and the last bin hold all flux below and above them too, so that the
        bins add up to sigma T^4.
    """

    LOW, HIGH, STEP = 20.0, 6000.0, 2.0  # [K]

    def __init__(self, edges: np.ndarray, whole: bool) -> None:
        temperature = np.arange(self.LOW, self.HIGH + self.STEP, self.STEP)[:, None]
        below = planck_share(edges[None], temperature)
        if whole:
            below[:, 0], below[:, -1] = 0, 1
        self.table = STEFAN_BOLTZMANN * temperature**4 * np.diff(below, axis=1)
        self.slope = np.diff(self.table, axis=0) / self.STEP

    def __call__(self, temperature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, (temperatures, bins)."""
        place = (temperature - self.LOW) / self.STEP
        i = np.clip(place.astype(int), 0, len(self.slope) - 1)
        slope = self.slope[i]
        return self.table[i] + ((place - i) * self.STEP)[:, None] * slope, slope


def _coefficients(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a ray keeps over an optical depth, and what the source at its far and near end adds."""
    depth = np.maximum(depth, 1e-6)  # below, differences of what follows are lost in rounding
    keeps = np.exp(-depth)
    mean = (1 - keeps) / depth
    return keeps, mean - keeps, 1 - mean


def fluxes(depth: np.ndarray, source: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Net flux upwards through the top of the column and the lower face of each layer.

    Parameters
    ----------
    depth : array (layers, bins, g)
        Vertical optical depth.
    source : array (2 layers + 1, bins)
        pi B at the nodes.
    weights : array (g,)

    Returns
    -------
    array (layers + 1, bins)
    """
    half = np.repeat(depth / 2, 2, axis=0)
    keeps, far, near = _coefficients(half / MU[:, None, None, None])
    source = source[:, :, None]
    rising, falling = far * source[1:] + near * source[:-1], far * source[:-1] + near * source[1:]
    up = np.empty((len(MU), len(source), *depth.shape[1:]))
    down = np.zeros_like(up)
    up[:, -1] = source[-1] + MU[:, None, None] * (source[-1] - source[-2]) / half[-1]
    for n in range(len(half) - 1, -1, -1):
        np.multiply(keeps[:, n], up[:, n + 1], out=up[:, n])
        up[:, n] += rising[:, n]
    for n in range(len(half)):
        np.multiply(keeps[:, n], down[:, n], out=down[:, n + 1])
        down[:, n + 1] += falling[:, n]
    net = np.tensordot(2 * MU_WEIGHTS, up[:, ::2] - down[:, ::2], 1)
    return net @ weights


def flux_derivatives(depth: np.ndarray, slope: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Derivative of the net flux, summed over bins, by the temperature of each node.

    At constant opacity, and with a single ray: for Newton steps that is near enough.

    Parameters
    ----------
    depth, weights
        As for `fluxes`.
    slope : array (nodes, bins)
        Derivative of pi B.

    Returns
    -------
    array (layers + 1, nodes)
    """
    half = np.repeat(depth / 2, 2, axis=0)
    n_nodes = len(slope)
    keeps, far, near = _coefficients(half / MEAN_MU)
    result = np.zeros((len(depth) + 1, n_nodes))

    def seen(ray: np.ndarray, nodes: slice) -> np.ndarray:
        return np.einsum("jb,jb->j", ray[nodes] @ weights, slope[nodes])

    ray = np.zeros((n_nodes, *depth.shape[1:]))  # intensity of a unit source at each node
    ray[-1] = 1 + MEAN_MU / half[-1]
    ray[-2] = -MEAN_MU / half[-1]
    for n in range(n_nodes - 2, -1, -1):
        ray[n:] *= keeps[n]
        ray[n + 1] += far[n]
        ray[n] += near[n]
        if n % 2 == 0:
            result[n // 2, n:] += seen(ray, slice(n, None))
    result[-1, -2:] += [(-MEAN_MU / half[-1] @ weights) @ slope[-2],
                        ((1 + MEAN_MU / half[-1]) @ weights) @ slope[-1]]  # fmt: skip
    ray = np.zeros_like(ray)
    for n in range(n_nodes - 1):
        ray[: n + 1] *= keeps[n]
        ray[n] += far[n]
        ray[n + 1] += near[n]
        if n % 2:
            result[(n + 1) // 2, : n + 2] -= seen(ray, slice(None, n + 2))
    return result
