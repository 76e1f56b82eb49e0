"""Broadening of a model spectrum on its own grid: by rotation, and by the instrument.

Widths are in units of the wavelength: 1/R for the instrument, v/c for rotation. Each point of the
result is a weighted mean of its neighbours, so that a flat spectrum stays as it is. The flux is
conserved to the square of the width (R = 100: 2e-5), for as wavelengths grow, so do the kernels.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.neighbours import (
    Kernel,
    Step,
    Window,
    check_grid,
    neighbour_sums,
    window_of,
)
from floppity_jax.instrument.quantities import Quantity, names_of, range_of, value_of
from floppity_jax.typing import Float

SPEED_OF_LIGHT = 299792.458  # [km/s]
_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations
_CUT = 4.0  # standard deviations; 6e-5 of a Gaussian lies beyond
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Resolution:
    """Gaussian line spread of full width at half maximum wavelength / R.

    Parameters
    ----------
    R : float or str, optional
        Resolving power, a number or the name of a retrieved parameter.
    table : pair of sequences, optional
        In place of R: wavelengths [um], increasing, and R at each; in between it is interpolated,
        beyond the ends it stays.

    Notes
    -----
    A point is the sum over the grid of exp(-x^2/2) times spectrum and width of cell, over the
    same sum without the spectrum; x is the distance in standard deviations of the Gaussian at
    that point. On a grid whose spacing varies smoothly the error of such a sum falls off as
    exp(-pi^2 (sigma/spacing)^2) (the trapezoidal rule, for a line as narrow as the kernel), where
    the spacing jumps as its square. Before use it is measured at the largest R: kernel and line
    multiply to a Gaussian of sigma / sqrt(2), whose sum must be right to 1e-3 at each point. 0.9
    points for each standard deviation (2 for each full width) do on an even grid, 3 where the
    spacing scatters by 10%, 5 where it doubles from one point to the next. There is no fading: a
    kernel narrower than the grid can hold is an error.
    """

    R: Quantity | None = None
    table: tuple[Sequence[float], Sequence[float]] | None = None

    def __post_init__(self) -> None:
        if (self.R is None) == (self.table is None):
            raise InvalidInput(
                "Resolution.R", self.R, "or Resolution.table must be given, and not both",
                "Give Resolution(100.0), Resolution('R') or Resolution(table=(wavelength, R)).",
            )  # fmt: skip
        if self.table is not None:
            object.__setattr__(self, "table", _checked_table(self.table))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return names_of(self.R)

    def reach(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> float:
        """How far from the ends of the grid they are felt, in units of the wavelength."""
        return float(np.max(_CUT * self._sigmas(np.asarray(wavelength), bounds)[0]))

    def prepare(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> Step:
        """Check the grid, and return what broadens a spectrum on it.

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
            Where R may be 0 or less or has no bounds, or the grid is too coarse or too short.
        """
        wavelength = check_grid("Resolution", wavelength, self.reach(wavelength, bounds))
        widest, sharpest = self._sigmas(wavelength, bounds)
        window = window_of(wavelength, _CUT * widest)
        self._check_fine(wavelength, window, sharpest)
        R = self.R

        def step(xp: Any, spectrum: Any, values: Mapping[str, Any]) -> Any:
            tabulated = xp.asarray(widest, spectrum.dtype)
            sigma = tabulated if R is None else 1 / (_FWHM * value_of(R, values))
            total, weight = neighbour_sums(xp, spectrum, window, _gaussian(xp, sigma))
            return total / weight

        return step

    def _sigmas(
        self, wavelength: np.ndarray, bounds: Mapping[str, tuple[float, float]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Largest and smallest standard deviation (grid,), in units of the wavelength."""
        if self.table is not None:
            low = high = np.interp(wavelength, *self.table)
        else:
            low, high = (np.full(wavelength.shape, end) for end in self._range(bounds))
        return 1 / (_FWHM * low), 1 / (_FWHM * high)

    def _range(self, bounds: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
        low, high = range_of("Resolution.R", self.R, bounds)
        if not 0 < low:
            raise InvalidInput("Resolution.R", (low, high), "must be above 0", "Narrow the prior.")
        return low, high

    def _check_fine(self, wavelength: np.ndarray, window: Window, sigma: np.ndarray) -> None:
        nothing = np.zeros((1, wavelength.size))
        _, weight = neighbour_sums(np, nothing, window, _gaussian(np, sigma))
        _, line = neighbour_sums(np, nothing, window, _gaussian(np, sigma / np.sqrt(2)))
        error = np.abs(np.sqrt(2) * line / weight - 1)
        worst = int(np.argmax(error))
        if error[worst] > _TOLERANCE:
            given = "table" if self.R is None else "R"
            raise InvalidInput(
                f"Resolution.{given}", f"{1 / (_FWHM * sigma[worst]):g}",
                f"needs a finer grid at {wavelength[worst]:g} um, where it has "
                f"{(sigma * wavelength / np.gradient(wavelength))[worst]:.2g} points for each "
                f"standard deviation and a line as narrow would be wrong by {error[worst]:.1g}",
                "Compute the model on a grid with 2 points or more for each standard deviation, "
                "evenly spaced, or bound R.",
            )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Rotation:
    """Rotational broadening of a sphere that turns as a solid body, darkened to its limb.

    Parameters
    ----------
    vsini : float or str
        Projected speed at the equator [km/s], a number or the name of a retrieved parameter.
    limb_darkening : float or str
        Coefficient epsilon of I(mu) = 1 - epsilon (1 - mu), 0 to 1.

    Notes
    -----
    The profile is that of Gray (2005), The Observation and Analysis of Stellar Photospheres,
    eq. 18.14, with x = c (wavelength distance) / (wavelength vsini),

        G(x) = [2 (1 - epsilon) sqrt(1 - x^2) / pi + epsilon (1 - x^2) / 2] / (1 - epsilon / 3),

    integrated over each cell in closed form. Cells have a width of their own, and so widen the
    profile, most where it is narrow; the mean and the variance of the profile are therefore
    restored by a first and a second difference of the result. As vsini falls below the width
    of a cell this difference is all that is left, and it fades as vsini^2: at 0 the spectrum is
    as it was. Only the fastest rotation has to be resolved, by two cells on either side: a grid
    on which all speeds are too slow to be seen is refused. On an even grid a line with a standard
    deviation of 2 cells comes out right to 1e-3 of its depth at any speed, of 3 to 3e-4; where
    the spacing doubles to 4e-3 and 2e-3.
    """

    vsini: Quantity
    limb_darkening: Quantity = 0.6

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return names_of(self.vsini, self.limb_darkening)

    def reach(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> float:
        """How far from the ends of the grid they are felt, in units of the wavelength."""
        return range_of("Rotation.vsini", self.vsini, bounds)[1] / SPEED_OF_LIGHT

    def prepare(
        self, wavelength: Float[np.ndarray, " grid"], bounds: Mapping[str, tuple[float, float]]
    ) -> Step:
        """Check the grid, and return what broadens a spectrum on it.

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
            Where vsini may be below 0, limb_darkening outside 0 to 1, either has no bounds, or
            the grid is too coarse or too short.
        """
        slowest, fastest = range_of("Rotation.vsini", self.vsini, bounds)
        if slowest < 0:
            raise InvalidInput(
                "Rotation.vsini", (slowest, fastest), "must be 0 or more", "Narrow the prior."
            )
        darkening = range_of("Rotation.limb_darkening", self.limb_darkening, bounds)
        if not 0 <= darkening[0] <= darkening[1] <= 1:
            raise InvalidInput(
                "Rotation.limb_darkening", darkening, "must be from 0 to 1", "Narrow the prior."
            )
        wavelength = check_grid("Rotation", wavelength, fastest / SPEED_OF_LIGHT)
        window = window_of(wavelength, fastest / SPEED_OF_LIGHT)
        cell = np.diff(window.edges)[window.cells : -window.cells] / wavelength
        widest = SPEED_OF_LIGHT * cell.max()  # [km/s]
        if 0 < fastest < 2 * widest:
            raise InvalidInput(
                "Rotation.vsini", (slowest, fastest),
                f"needs a finer grid: at {wavelength[np.argmax(cell)]:g} um it has cells of "
                f"{widest:.3g} km/s, and shows speeds from twice that",
                "Compute the model on a finer grid, or leave the rotation out.",
            )  # fmt: skip
        least = 1e-3 * float(cell.min())  # spares 0/0, and is as good as none

        def step(xp: Any, spectrum: Any, values: Mapping[str, Any]) -> Any:
            width = value_of(self.vsini, values) / SPEED_OF_LIGHT
            epsilon = value_of(self.limb_darkening, values)
            kernel = _rotation(xp, xp.maximum(width, least), epsilon)
            total, weight, first, second = neighbour_sums(xp, spectrum, window, kernel, moments=2)
            mean, square = first / weight, second / weight
            variance = width**2 * ((1 - epsilon) / 4 + 2 * epsilon / 15) / (1 - epsilon / 3)
            seen = total / weight
            seen = seen - mean * _differences(xp, seen, window)[0]
            return seen + ((variance - square) / 2 + mean**2) * _differences(xp, seen, window)[1]

        return step


def _gaussian(xp: Any, sigma: Any) -> Kernel:
    """Value at the point times width of the cell."""
    return Kernel(lambda centre: xp.exp(-0.5 * xp.square(centre / sigma)), lambda edge: edge)


def _rotation(xp: Any, width: Any, epsilon: Any) -> Kernel:
    """Integral of Gray's profile over the cell."""

    def up_to(edge: Any) -> Any:
        """From the centre; beyond the limb exactly 1/2, for rounding there adds up."""
        x = xp.clip(edge / width, -1, 1)
        disc = (x * xp.sqrt((1 - x) * (1 + x)) + xp.arcsin(x)) / np.pi
        within = ((1 - epsilon) * disc + epsilon / 2 * (x - x**3 / 3)) / (1 - epsilon / 3)
        return xp.where(xp.abs(x) < 1, within, x / 2)

    return Kernel(lambda centre: 1.0, up_to)


def _differences(xp: Any, spectrum: Any, window: Window) -> tuple[Any, Any]:
    """Find two derivatives by distance, in units of the wavelength, from three points each."""
    inner = slice(window.cells - 1, len(window.points) - window.cells + 1)
    points = window.points[inner]
    before, after = np.diff(points)[:-1] / points[1:-1], np.diff(points)[1:] / points[1:-1]
    before, after = (xp.asarray(gap, spectrum.dtype) for gap in (before, after))
    padded = xp.pad(spectrum, ((0, 0), (1, 1)), mode="edge")
    rise = xp.diff(padded, axis=1)
    left, right = rise[:, :-1] / before, rise[:, 1:] / after
    both = before + after
    return (left * after + right * before) / both, 2 * (right - left) / both


def _checked_table(
    table: tuple[Sequence[float], Sequence[float]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        wavelength, R = (np.asarray(column, np.float64) for column in table)
    except (TypeError, ValueError):
        wavelength = R = np.empty(0)
    good = wavelength.ndim == 1 and wavelength.shape == R.shape and wavelength.size > 0
    if not (good and (np.diff(wavelength) > 0).all() and (R > 0).all() and np.isfinite(R).all()):
        raise InvalidInput(
            "Resolution.table", table,
            "must be increasing wavelengths [um] and as many R, finite and above 0",
            "Give Resolution(table=(wavelength, R)).",
        )  # fmt: skip
    return tuple(wavelength.tolist()), tuple(R.tolist())
