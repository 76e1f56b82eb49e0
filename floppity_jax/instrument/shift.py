"""Shifts of a model spectrum along its own grid: by motion, and by a wavelength calibration.

The spectrum is read between the points of the grid from the polynomial through the six nearest.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.broadening import SPEED_OF_LIGHT
from floppity_jax.instrument.neighbours import Step, check_grid, split
from floppity_jax.instrument.quantities import Quantity, names_of, range_of, value_of
from floppity_jax.typing import Float

_POINTS = 6  # of the polynomial


@dataclasses.dataclass(frozen=True)
class RadialVelocity:
    """Doppler shift by a velocity along the line of sight.

    Parameters
    ----------
    velocity : float or str
        Velocity [km/s], positive for a source that recedes, a number or the name of a retrieved
        parameter. A feature at wavelength w is seen at w sqrt((1 + v/c) / (1 - v/c)); its
        brightness stays.
    """

    velocity: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return names_of(self.velocity)

    def reach(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> float:
        """How far from the ends of the grid they are felt, in units of the wavelength."""
        fastest = max(map(abs, range_of("RadialVelocity.velocity", self.velocity, bounds)))
        if not fastest < SPEED_OF_LIGHT:
            raise InvalidInput(
                "RadialVelocity.velocity", fastest, "must be below the speed of light",
                "Narrow the prior; the unit is km/s.",
            )  # fmt: skip
        return math.expm1(math.atanh(fastest / SPEED_OF_LIGHT))

    def prepare(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> Step:
        """Check the velocity, and return what shifts a spectrum.

        Parameters
        ----------
        wavelength
            The model's grid (grid,) [um], increasing.
        bounds
            Range of each retrieved parameter.

        Returns
        -------
        callable
            ``step(xp, spectrum, values)``; see `Step`.

        Raises
        ------
        InvalidInput
            Where the velocity has no bounds, may be that of light, or leads off the grid.
        """
        grid = check_grid("RadialVelocity", wavelength, self.reach(wavelength, bounds))
        read = reader(grid)

        def step(xp: Any, spectrum: Any, values: Mapping[str, Any]) -> Any:
            # the logarithm of the Doppler factor is artanh(v/c); expm1 keeps small ones in float32
            factor = -xp.expm1(-xp.arctanh(value_of(self.velocity, values) / SPEED_OF_LIGHT))
            return read(xp, spectrum, factor * xp.asarray(grid, spectrum.dtype)[None, :])

        return step


@dataclasses.dataclass(frozen=True)
class WavelengthShift:
    """Constant error of the wavelength calibration.

    Parameters
    ----------
    shift : float or str
        What is added to the wavelength of each feature [um], a number or the name of a retrieved
        parameter.
    """

    shift: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return names_of(self.shift)

    def reach(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> float:
        """How far from the ends of the grid they are felt, in units of the wavelength."""
        largest = max(map(abs, range_of("WavelengthShift.shift", self.shift, bounds)))
        return largest / float(np.min(wavelength))

    def prepare(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> Step:
        """Check the shift, and return what shifts a spectrum.

        Parameters
        ----------
        wavelength
            The model's grid (grid,) [um], increasing.
        bounds
            Range of each retrieved parameter.

        Returns
        -------
        callable
            ``step(xp, spectrum, values)``; see `Step`.

        Raises
        ------
        InvalidInput
            Where the shift has no bounds or leads off the grid.
        """
        grid = check_grid("WavelengthShift", wavelength, 0.0)
        grid = check_grid("WavelengthShift", grid, self.reach(grid, bounds) * grid[0] / grid)
        read = reader(grid)

        def step(xp: Any, spectrum: Any, values: Mapping[str, Any]) -> Any:
            moved = xp.asarray(value_of(self.shift, values), spectrum.dtype)
            return read(xp, spectrum, moved + xp.zeros((1, grid.size), spectrum.dtype))

        return step


def reader(grid: Float[np.ndarray, " grid"]) -> Callable[[Any, Any, Any], Any]:
    """Return a function that reads a spectrum off its grid.

    ``read(xp, spectrum, moved)`` gives the spectrum (n, grid) at wavelengths grid - moved, where
    ``moved`` is (n, grid) or (1, grid) [um]. Beyond the ends the spectrum stays as it is there.
    The polynomial of Lagrange through six points is exact to the fifth power of the spacing: a
    Gaussian line with a standard deviation of 2 cells is read to 1e-3 of its depth, of 3 to 1e-4,
    of 1 to 2e-2.
    """
    stencils = np.arange(grid.size - _POINTS + 1)[:, None] + np.arange(_POINTS)
    scale = np.ptp(grid[stencils], axis=1)  # keeps products within float32
    offsets = (grid[stencils] - grid[stencils[:, :1]]) / scale[:, None]
    gaps = offsets[:, :, None] - offsets[:, None, :] + np.eye(_POINTS)
    factors = 1 / gaps.prod(axis=2)
    middle = _POINTS // 2 - 1

    def read(xp: Any, spectrum: Any, moved: Any) -> Any:
        dtype = spectrum.dtype
        high, low = split(xp, grid, dtype)
        from_first, from_last = ((high - high[end]) + (low - low[end]) for end in (0, -1))
        moved = xp.clip(moved, from_last, from_first)
        nearest = xp.searchsorted(high, high - moved, side="right") - 1
        start = xp.clip(nearest - middle, 0, grid.size - _POINTS)
        past = (high - high[start]) + (low - low[start]) - moved  # of the first point
        past = past / xp.asarray(scale, dtype)[start]
        at, factor = xp.asarray(offsets.T, dtype), xp.asarray(factors.T, dtype)
        distances = [past - at[k][start] for k in range(_POINTS)]
        result = 0.0
        for k in range(_POINTS):
            weight = factor[k][start]
            for other in range(_POINTS):
                if other != k:
                    weight = weight * distances[other]
            result = result + weight * xp.take_along_axis(spectrum, start + k, axis=1)
        return result

    return read
