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
    b = _find_bin(x_safe, parameters, bound, by_height=False)
    position = (x_safe - b.x) / b.width
    y, log_slope = _evaluate(position, b)
    return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)


def inverse(
    y: Float[Array, " *shape"], parameters: Float[Array, " p *shape"], bound: float
) -> tuple[Float[Array, " *shape"], Float[Array, " *shape"]]:
    """Return ``x`` with ``f(x) = y`` and ``ln dx/dy`` (Durkan et al. 2019, Eqs. 6 to 8)."""
    inside = jnp.abs(y) < bound
    y_safe = jnp.where(inside, y, 0.0)
    b = _find_bin(y_safe, parameters, bound, by_height=True)
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


def _find_bin(value: Array, parameters: Array, bound: float, *, by_height: bool) -> _Bin:
    """Pick the bin that holds ``value`` by sums over one-hot masks: no gather, no scatter.

    What can be done once a scalar, rather than once a bin, is done on what was picked: the
    division by the sum of a softmax, and the softplus of the slopes.
    """
    bins = (parameters.shape[0] + 1) // 3
    free = 1 - MIN_BIN * bins  # the share of the interval that is shared out
    unconstrained = parameters[: 2 * bins].reshape(2, bins, *value.shape)  # widths, heights
    highest = jax.lax.stop_gradient(unconstrained.max(axis=1, keepdims=True))
    sizes = jnp.exp(unconstrained - highest)
    totals = sizes.sum(axis=1)

    searched, total = jax.lax.stop_gradient((sizes[int(by_height)], totals[int(by_height)]))
    number = jnp.arange(1, bins).reshape(-1, *[1] * value.ndim)
    right = free * jnp.cumsum(searched[:-1], axis=0) + MIN_BIN * number * total
    beyond = jax.lax.stop_gradient(value / (2 * bound) + 0.5) * total >= right
    yes, no = jnp.ones_like(beyond[:1]), jnp.zeros_like(beyond[:1])
    before = jnp.concatenate([beyond, no])
    here = jnp.concatenate([yes, beyond]) & ~before

    def pick(mask: Array, values: Array) -> Array:
        return jnp.sum(jnp.where(mask, values, 0.0), axis=-value.ndim - 1)

    (x, y), (width, height) = (
        2 * bound * (MIN_BIN * count + free * pick(mask, sizes) / totals)
        for mask, count in ((before, beyond.sum(axis=0)), (here, 1))
    )
    inner = parameters[2 * bins :]
    ends = jnp.zeros_like(inner[:1])  # slope 1, as in the tails
    left, right = (
        MIN_SLOPE + jax.nn.softplus(pick(here, jnp.concatenate(slopes)) + _SLOPE_OFFSET)
        for slopes in ([ends, inner], [inner, ends])
    )
    return _Bin(x - bound, y - bound, width, height, left, right)


def _evaluate(position: Array, b: _Bin) -> tuple[Array, Array]:
    """Value and log slope at a relative position (0 to 1) in a bin."""
    secant = b.height / b.width
    rest = position * (1 - position)
    denominator = secant + (b.slope_right + b.slope_left - 2 * secant) * rest
    y = b.y + b.height * (secant * position**2 + b.slope_left * rest) / denominator
    numerator = b.slope_right * position**2 + 2 * secant * rest + b.slope_left * (1 - position) ** 2
    return y, 2 * jnp.log(secant) + jnp.log(numerator) - 2 * jnp.log(denominator)
