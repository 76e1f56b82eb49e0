"""Radiative-convective equilibrium: the temperatures at which every level passes on the same flux.

The unknowns are the temperatures of the layers. Each layer has one equation: where it is radiative,
that the flux through its upper face is sigma T_int^4; where it is convective, that it lies on the
adiabat through the layer above. Newton steps solve them, and chemistry and opacities follow the
temperatures from step to step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from experiments.self_consistent.chemistry import HELIUM_PER_HYDROGEN
from experiments.self_consistent.radiation import STEFAN_BOLTZMANN, Planck, flux_derivatives, fluxes

_HELIUM = 2 * HELIUM_PER_HYDROGEN
ADIABATIC_GRADIENT = (1 + _HELIUM) / (3.5 + 2.5 * _HELIUM)
"""R / c_p of H2, a rigid rotator, and He."""
TOLERANCE = 3e-5
"""Largest departure of the flux through a radiative face from sigma T_int^4, as a share of it."""
LIMIT = 0.2
"""Largest relative change of a temperature in a step."""
NEAR = 0.2
"""Error of the flux below which the matrix is updated instead of computed anew."""


class NotConverged(RuntimeError):
    """No equilibrium was found."""


@dataclasses.dataclass(frozen=True)
class Structure:
    """A column in radiative-convective equilibrium, from the top down."""

    temperature: np.ndarray
    """Of the layers [K]."""
    convective: np.ndarray
    """Whether a layer lies on the adiabat of the one above."""
    flux: np.ndarray
    """Radiative flux through the top and the lower face of each layer, over sigma T_int^4."""
    steps: int
    """Newton steps taken."""


def node_temperatures(layers: np.ndarray) -> np.ndarray:
    """Temperatures of the nodes of `radiation` from those of the layers."""
    return _nodes(len(layers)) @ layers


def _nodes(n: int) -> np.ndarray:
    """A face has the mean of the layers on both sides; those at the ends are extrapolated."""
    matrix = np.zeros((2 * n + 1, n))
    i = np.arange(n)
    matrix[2 * i + 1, i] = 1
    matrix[2 * i[1:], i[1:]] = matrix[2 * i[1:], i[1:] - 1] = 0.5
    matrix[0, 0] = 1
    matrix[-1, -2:] = -0.5, 1.5
    return matrix


def solve(
    optical_depths: Callable[[np.ndarray], np.ndarray],
    planck: Planck,
    weights: np.ndarray,
    pressure: np.ndarray,
    t_int: float,
    start: np.ndarray,
    steps: int = 60,
) -> Structure:
    """Find the equilibrium.

    Parameters
    ----------
    optical_depths
        Vertical optical depths (layers, bins, g) at temperatures of the layers [K].
    planck, weights
        Planck's law in the bins, and weights of the points in g.
    pressure
        Of the layers [bar], from the top down.
    t_int
        [K].
    start
        Temperatures to begin with.

    Raises
    ------
    NotConverged
        After that many steps.
    """
    target = STEFAN_BOLTZMANN * t_int**4
    ratio = (pressure[1:] / pressure[:-1]) ** ADIABATIC_GRADIENT
    matrix = _nodes(len(pressure))
    temperature = start.copy()
    convective = np.zeros(len(pressure), bool)
    change = residual = jacobian = None
    for step in range(steps):
        depth = optical_depths(temperature)
        source, slope = planck(matrix @ temperature)
        flux = fluxes(depth, source, weights).sum(axis=1) / target
        error = np.abs(flux[:-1] - 1)[~convective].max()
        was = convective
        if step:
            steep = _steep(temperature, pressure, ratio)
            # Where radiation carries all of the flux by itself, convection ends. Asked near
            # equilibrium or now and then only, for far from it the flux says little.
            enough = (flux[:-1] > 1 + TOLERANCE) & (error < TOLERANCE or step % 3 == 0)
            convective = (was | steep) & ~(was & enough)
        settled = (convective == was).all()
        if step and settled and error < TOLERANCE:
            return Structure(temperature, convective, flux, step)
        before, residual = residual, _residual(temperature, flux, convective, ratio)
        if step and settled and error < NEAR:
            # Broyden's update: what the last step did teaches how opacities respond.
            missed = residual - before - jacobian @ change
            jacobian = jacobian + np.outer(missed, change) / (change @ change)
        else:
            jacobian = flux_derivatives(depth, slope, weights)[:-1] @ matrix / target
            _put_adiabats(jacobian, convective, ratio)
        change = -np.linalg.solve(jacobian, residual)
        change = np.clip(change, -LIMIT * temperature, LIMIT * temperature)
        temperature = temperature + change
    raise NotConverged(f"flux off by {error:.2g} after {steps} steps")


def _steep(temperature: np.ndarray, pressure: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Layers that are warmer than the adiabat from the layer above."""
    steep = np.append(False, temperature[1:] > temperature[:-1] * ratio * (1 + 1e-6))
    return steep & (pressure > 10 * pressure[0])  # the top shines into space, and is too cold


def _residual(
    temperature: np.ndarray, flux: np.ndarray, convective: np.ndarray, ratio: np.ndarray
) -> np.ndarray:
    """What is to be 0, an equation for each layer."""
    above = np.append(temperature[0], temperature[:-1] * ratio)
    return np.where(convective, temperature - above, flux[:-1] - 1)


def _put_adiabats(jacobian: np.ndarray, convective: np.ndarray, ratio: np.ndarray) -> None:
    """Put the derivatives of convective layers' equations into the matrix."""
    rows = np.flatnonzero(convective)
    jacobian[rows] = 0
    jacobian[rows, rows] = 1
    jacobian[rows, rows - 1] = -ratio[rows - 1]
