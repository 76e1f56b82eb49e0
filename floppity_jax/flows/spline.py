"""Monotonic rational-quadratic spline (Durkan et al. 2019), elementwise, with identity tails.

The bins lie along the *leading* axis, so that each operation runs over long contiguous rows: on
a CPU this is several times faster than `distrax.RationalQuadraticSpline`, which it equals
(`experiments/benchmarks/spline.py`, `tests/test_spline.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from floppity_jax.typing import Array, Float

MIN_BIN = 1e-3  # of the whole interval: no bin can collapse
MIN_SLOPE = 1e-3
# softplus(0 + _SLOPE_OFFSET) + MIN_SLOPE = 1, so that zeros are the identity
_SLOPE_OFFSET = float(jnp.log(jnp.expm1(1 - MIN_SLOPE)))


class _Bin(NamedTuple):
    """The bin in which each input lies: left knot, size, and slope at both ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    slope_left: Array
    slope_right: Array


def n_parameters(bins: int) -> int:
    """Return the count of unconstrained numbers that shape one spline of so many bins."""
    return 3 * bins - 1


def forward(
    x: Float[Array, " *shape"], parameters: Float[Array, " p *shape"], bound: float
) -> tuple[Float[Array, " *shape"], Float[Array, " *shape"]]:
    """Return ``y = f(x)`` and ``ln f'(x)`` (Durkan et al. 2019, Eqs. 4 and 5).

    Parameters
    ----------
    x
        Inputs.
    parameters
        Unconstrained: ``bins`` widths, ``bins`` heights and ``bins - 1`` inner slopes, stacked
        on the first axis, for each input. Zeros are the identity.
    bound
        The spline acts on -bound .. bound; outside it is the identity.
    """
    inside = jnp.abs(x) < bound
    x_safe = jnp.where(inside, x, 0.0)
    b = _find_bin(x_safe, *_knots(parameters, bound), by_height=False)
    position = (x_safe - b.x) / b.width
    y, log_slope = _evaluate(position, b)
    return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)


def inverse(
    y: Float[Array, " *shape"], parameters: Float[Array, " p *shape"], bound: float
) -> tuple[Float[Array, " *shape"], Float[Array, " *shape"]]:
    """Return ``x`` with ``f(x) = y`` and ``ln dx/dy`` (Durkan et al. 2019, Eqs. 6 to 8)."""
    inside = jnp.abs(y) < bound
    y_safe = jnp.where(inside, y, 0.0)
    b = _find_bin(y_safe, *_knots(parameters, bound), by_height=True)
    secant = b.height / b.width
    rise = (y_safe - b.y) / b.height
    curvature = b.slope_right + b.slope_left - 2 * secant
    # Quadratic in the position, divided by the secant; the root is taken in the form that does
    # not cancel.
    qa = (secant - b.slope_left) / secant + rise * curvature / secant
    qb = b.slope_left / secant - rise * curvature / secant
    discriminant = jnp.maximum(qb**2 + 4 * qa * rise, 1e-12)
    position = jnp.clip(2 * rise / (qb + jnp.sqrt(discriminant)), 0.0, 1.0)
    _, log_slope = _evaluate(position, b)
    return (
        jnp.where(inside, b.x + position * b.width, y),
        jnp.where(inside, -log_slope, 0.0),
    )


def _knots(parameters: Array, bound: float) -> tuple[Array, Array, Array]:
    """Left knots and sizes of the bins in x and in y, and slopes, bins leading."""
    bins = (parameters.shape[0] + 1) // 3

    def sizes(unconstrained: Array) -> Array:
        share = jax.nn.softmax(unconstrained, axis=0)
        return 2 * bound * (MIN_BIN + (1 - MIN_BIN * bins) * share)

    slopes = MIN_SLOPE + jax.nn.softplus(parameters[2 * bins :] + _SLOPE_OFFSET)
    return sizes(parameters[:bins]), sizes(parameters[bins : 2 * bins]), slopes


def _find_bin(
    value: Array, widths: Array, heights: Array, slopes: Array, *, by_height: bool
) -> _Bin:
    """Pick the bin that holds ``value`` by a sum over a one-hot mask: no gather, no scatter."""
    sizes = heights if by_height else widths
    bound = jnp.sum(sizes, axis=0, keepdims=True) / 2
    right = jnp.cumsum(sizes[:-1], axis=0) - bound
    beyond = value >= jax.lax.stop_gradient(right)
    yes, no = jnp.ones_like(beyond[:1]), jnp.zeros_like(beyond[:1])
    here = jnp.concatenate([yes, beyond]) & ~jnp.concatenate([beyond, no])
    before = jnp.concatenate([beyond, no])
    ends = jnp.ones_like(slopes[:1])

    def pick(mask: Array, values: Array) -> Array:
        return jnp.sum(jnp.where(mask, values, 0.0), axis=0)

    return _Bin(
        pick(before, widths) - bound[0],
        pick(before, heights) - bound[0],
        pick(here, widths),
        pick(here, heights),
        pick(here, jnp.concatenate([ends, slopes])),
        pick(here, jnp.concatenate([slopes, ends])),
    )


def _evaluate(position: Array, b: _Bin) -> tuple[Array, Array]:
    """Value and log slope at a relative position (0 to 1) in a bin."""
    secant = b.height / b.width
    rest = position * (1 - position)
    denominator = secant + (b.slope_right + b.slope_left - 2 * secant) * rest
    y = b.y + b.height * (secant * position**2 + b.slope_left * rest) / denominator
    numerator = b.slope_right * position**2 + 2 * secant * rest + b.slope_left * (1 - position) ** 2
    return y, 2 * jnp.log(secant) + jnp.log(numerator) - 2 * jnp.log(denominator)
