"""Sums over the neighbours of each point of an uneven grid, in NumPy or JAX.

A kernel as wide as many points would need an array (n, grid, neighbours). The sums are made one
neighbour at a time instead: what is in memory is (n, grid).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from floppity_jax.channels import edges_of
from floppity_jax.errors import InvalidInput
from floppity_jax.typing import Float

Step = Callable[..., Any]
"""``step(xp, spectrum, values)``: xp is numpy or jax.numpy, spectrum (n, grid), and values maps
the names of parameters to arrays (n,); returns (n, grid)."""


class Window(NamedTuple):
    """A grid, continued at its outermost spacing by as many points as a kernel reaches."""

    points: np.ndarray
    """Wavelengths (grid + 2 cells,) [um]."""
    edges: np.ndarray
    """Where their cells meet (grid + 2 cells + 1,) [um]."""
    cells: int
    """Neighbours on either side."""


class Kernel(NamedTuple):
    """Weight of a cell, ``at(point) * (up_to(right edge) - up_to(left edge))``.

    Both take distances (grid,) from the point that is summed for, in units of its wavelength, and
    return (n, grid), or (grid,) where it is the same for all.
    """

    at: Callable[[Any], Any]
    up_to: Callable[[Any], Any]


def check_grid(name: str, wavelength: object, half_width: Any) -> np.ndarray:
    """Return a model grid (grid,) in float64, if a kernel fits in it.

    Parameters
    ----------
    name
        Of what asks, for messages.
    wavelength
        The grid [um].
    half_width
        Largest reach of the kernel, in units of the wavelength, one or (grid,).

    Raises
    ------
    InvalidInput
        Where the grid is not one-dimensional, positive and increasing, of 6 points or more, or
        the kernel reaches as far as the grid does.
    """
    grid = np.asarray(wavelength, np.float64)
    if grid.ndim != 1 or grid.size < 6 or not (grid[0] > 0 and (np.diff(grid) > 0).all()):
        raise InvalidInput(
            f"{name}: wavelength", wavelength, "must be 6 or more increasing numbers above 0",
            "Give the model's own grid [um].",
        )  # fmt: skip
    if not (np.max(half_width * grid) < grid[-1] - grid[0]):  # NaN and infinity too
        raise InvalidInput(
            f"{name}: wavelength", (grid[0], grid[-1]),
            f"must span more than {name} can move light, {np.max(half_width * grid):g} um",
            "Let the model reach further, or narrow the prior.",
        )  # fmt: skip
    return grid


def window_of(
    wavelength: Float[np.ndarray, " grid"], half_width: float | Float[np.ndarray, " grid"]
) -> Window:
    """Find how many neighbours a kernel touches, in units of the wavelength ``half_width`` wide."""
    reach = half_width * wavelength
    first, last = wavelength[1] - wavelength[0], wavelength[-1] - wavelength[-2]

    def continued(cells: int) -> np.ndarray:
        beyond = np.arange(1, cells + 1)
        return np.concatenate(
            [wavelength[0] - first * beyond[::-1], wavelength, wavelength[-1] + last * beyond]
        )

    beyond = int(np.max(reach) / min(first, last)) + 2
    edges = edges_of(continued(beyond))
    own = np.arange(wavelength.size) + beyond
    left = np.searchsorted(edges, wavelength - reach, side="right") - 1
    right = np.searchsorted(edges, wavelength + reach, side="left") - 1
    cells = int(max((own - left).max(), (right - own).max()))
    points = continued(max(cells, 1))
    return Window(points, edges_of(points), max(cells, 1))


def split(xp: Any, numbers: np.ndarray, dtype: Any) -> tuple[Any, Any]:
    """Numbers as a sum of two of ``dtype``.

    Cells of 1e-5 of the wavelength drown in the rounding of float32, 1e-7 of it: differences are
    taken of both parts.
    """
    high = numbers.astype(dtype)
    return xp.asarray(high), xp.asarray((numbers - high.astype(np.float64)).astype(dtype))


def neighbour_sums(
    xp: Any, spectrum: Any, window: Window, kernel: Kernel, moments: int = 0
) -> tuple[Any, ...]:
    """Sum a kernel, times the spectrum and times powers of the distance.

    Parameters
    ----------
    xp
        numpy or jax.numpy.
    spectrum
        Array (n, grid); beyond its ends it is taken to stay as it is there.
    window
        The neighbours.
    kernel
        Gives each cell a weight.
    moments
        Highest power of the distance.

    Returns
    -------
    tuple of arrays
        Sum of weight times spectrum (n, grid); sums of weight times distance to the power of 0
        to ``moments``, shaped as the kernel's values.
    """
    size, cells = spectrum.shape[1], window.cells
    padded = xp.pad(spectrum, ((0, 0), (cells, cells)), mode="edge")
    points, edges = (split(xp, a, spectrum.dtype) for a in (window.points, window.edges))
    here = tuple(part[cells : cells + size] for part in points)

    def distance(of: tuple[Any, Any], offset: Any) -> Any:
        high, low = (_slice(xp, part, offset, size) for part in of)
        return ((high - here[0]) + (low - here[1])) / here[0]

    def add(offset: Any, state: tuple[Any, tuple[Any, ...]]) -> tuple[Any, tuple[Any, ...]]:
        to_left, sums = state
        to_right = kernel.up_to(distance(edges, offset + 1))
        centre = distance(points, offset)
        weight = kernel.at(centre) * (to_right - to_left)
        powers = [weight]
        for _ in range(moments):
            powers.append(powers[-1] * centre)
        terms = (weight * _slice(xp, padded, offset, size), *powers)
        return to_right, tuple(a + b for a, b in zip(sums, terms, strict=True))

    first = add(0, (kernel.up_to(distance(edges, 0)), (0.0,) * (moments + 2)))
    return _fold(xp, 1, 2 * cells + 1, add, first)[1]


def _slice(xp: Any, array: Any, start: Any, size: int) -> Any:
    """``size`` entries of the last axis from ``start``, which JAX may be tracing."""
    if xp is np:
        return array[..., start : start + size]
    import jax

    return jax.lax.dynamic_slice_in_dim(array, start, size, axis=-1)


def _fold(xp: Any, start: int, stop: int, add: Callable[..., Any], state: Any) -> Any:
    """``add(i, state)`` for i from start to stop; compiled once however many there are."""
    if xp is np:
        for i in range(start, stop):
            state = add(i, state)
        return state
    import jax

    return jax.lax.fori_loop(start, stop, add, state)
