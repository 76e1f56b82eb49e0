"""Geometry of light that grazes an isothermal atmosphere: heights, slant paths, annuli.

Everything is integrated over y = ln(P_reference / P), the height in pressure scale heights, on
levels spaced evenly by ``step``. The integrands are smooth in y and fall off exponentially, and
for such the sum over even levels converges faster than any power of the step but for its ends
(Euler-Maclaurin). So the two ends that matter are treated with care, and 40 levels do the work of
several hundred homogeneous shells.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Riemann's zeta at 1/2, -1/2, -3/2: the end correction of an inverse square root.
_ZETA = (-1.4603545088095868, -0.2078862249773546, -0.0254852018898330)
# Above 3 reference radii a level is no longer placed where 1/r ~ 1/R + (H/R^2) ln(P/P_R) has it,
# for that law reaches infinity at a finite pressure where the atmosphere is unbound.
_LAST_EXACT = 3.0
_STRETCH = 0.1


class Levels(NamedTuple):
    """Where the levels lie; lengths in units of the reference radius."""

    radius: jax.Array
    """r of each level."""
    slope: jax.Array
    """dr/dy, the local scale height."""
    area: jax.Array
    """r^2 - r_bottom^2, accurate to its own size however thin the atmosphere is."""


def hydrostatic_levels(height: Any, scale_height: Any) -> Levels:
    """Radii of pressure levels in an isothermal atmosphere whose gravity falls as 1/r^2.

    Integrating d ln P = -(mu m_u g / k T) dr with g = g_R (R/r)^2 gives R/r = 1 - (H/R) y, with H
    the scale height at the reference radius R and y = ln(P_R/P). This reaches zero, and r
    infinity, at y = R/H: a warm planet of low gravity has no bound atmosphere. From r = 3 R
    upwards (about the Hill radius of a hot Saturn) the radius is therefore continued, with the
    same slope at first, as r = 3 R (1 + a ln(1 + t/a)) with t = 1 - 3 (1 - (H/R) y) and a = 0.1:
    it stays under 5 R for every H up to 1.5 R.

    Parameters
    ----------
    height
        y of the levels (levels,), increasing; the first must be 0 or less.
    scale_height
        H / R.

    Returns
    -------
    Levels
    """
    lowest = 1 / _LAST_EXACT
    bottom = 1 - scale_height * height[0]  # R / r of the lowest level
    kept, beyond = _inverse_radius(height, scale_height)
    slope = scale_height / kept**2 / (1 + beyond)
    # bottom - kept, without the cancellation that a thin atmosphere would suffer in float32
    fall = jnp.minimum(scale_height * (height - height[0]), bottom - lowest)
    rise = fall / (bottom * kept) + _STRETCH / lowest * jnp.log1p(beyond)
    return Levels(radius_at(height, scale_height), slope, rise * (2 / bottom + rise))


def radius_at(height: Any, scale_height: Any) -> jax.Array:
    """Radius at heights y, as in `hydrostatic_levels`; lengths in reference radii."""
    kept, beyond = _inverse_radius(height, scale_height)
    return (1 + _STRETCH * jnp.log1p(beyond)) / kept


def _inverse_radius(height: Any, scale_height: Any) -> tuple[jax.Array, jax.Array]:
    """R/r where the exact law holds, 1/3 beyond; and t/a, how far beyond."""
    lowest = 1 / _LAST_EXACT
    inverse = 1 - scale_height * height
    beyond = jnp.maximum(lowest - inverse, 0) / (lowest * _STRETCH)
    return jnp.maximum(inverse, lowest), beyond


def slant_quadrature(levels: int, step: float) -> np.ndarray:
    """Weights c_ij of int_0^inf F(z) z^(-1/2) dz ~ sqrt(step) sum_j c_ij F_ij, z = (j - i) step.

    The sum over j > i of z^(-1/2) F, with Navot's (1961, J. Math. and Phys. 40, 271) correction
    -sum_k zeta(1/2 - k) F^(k)(0) step^(k + 1/2) / k! of its singular end, the first two
    derivatives being differences of F at the three lowest levels. Above the highest level F is
    continued as exp(-z).

    Parameters
    ----------
    levels
        Number of levels.
    step
        Their distance in z.

    Returns
    -------
    array (levels, levels), upper triangular
    """
    unseen = int(np.ceil(40 / step))  # exp(-40) is beyond double precision
    along = np.arange(levels + unseen)
    weight = 1 / np.sqrt(np.maximum(along, 1))
    weight[0] = 0
    value, first, second = (-zeta for zeta in _ZETA)
    weight[:3] += value * np.array([1, 0, 0])
    weight[:3] += first * np.array([-1.5, 2, -0.5])
    weight[:3] += second / 2 * np.array([1, -2, 1])
    offset = along - np.arange(levels)[:, None]
    matrix = np.where(offset >= 0, weight[np.maximum(offset, 0)], 0)
    beyond = matrix[:, levels:] @ np.exp(-step * np.arange(1, unseen + 1))
    matrix[:, levels - 1] += beyond
    return matrix[:, :levels]


def slant_paths(at: Levels, quadrature: np.ndarray, step: float) -> jax.Array:
    """Matrix (levels, levels) that turns absorption coefficients into slant optical depths.

    tau_i = 2 int alpha r dr / sqrt(r^2 - r_i^2) = sum_j paths_ij alpha_j, with r dr = r r' dz and
    F = alpha r r' sqrt(z / (r^2 - r_i^2)), which is smooth down to z = 0.

    Parameters
    ----------
    at
        The levels.
    quadrature
        From `slant_quadrature`.
    step
        Distance of the levels in y.
    """
    n = at.radius.size
    above = np.arange(n)[None, :] > np.arange(n)[:, None]
    distance = np.maximum(np.arange(n)[None, :] - np.arange(n)[:, None], 1) * step
    # On and below the diagonal the ratio is replaced before the root is taken, so that no
    # derivative passes through 1/0; on it, this is its limit.
    across = jnp.where(above, at.area[None, :] - at.area[:, None], 1)
    limit = 1 / (2 * at.radius * at.slope)
    smooth = jnp.sqrt(jnp.where(above, distance / across, limit[:, None]))
    weights = jnp.asarray(2 * np.sqrt(step) * quadrature, at.radius.dtype)
    return weights * smooth * (at.radius * at.slope)[None, :]


def annulus_weights(start: Any, levels: int) -> jax.Array:
    """Weights w_j of int_start^top f(s) ds ~ sum_j w_j f(j), s counting levels from the bottom.

    f is interpolated by cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, with a = -1/2),
    whose kernel is integrated exactly; the levels that are missing past either end are continued
    in a straight line. The weights are smooth in ``start``, and with start = 0 they are Gregory's
    5/12, 13/12, 1, 1, ..., 1, 13/12, 5/12.

    Parameters
    ----------
    start
        Where the integral begins, from 0 (the lowest level) to ``levels`` - 1.
    levels
        Number of levels.

    Returns
    -------
    array (levels,)
    """
    index = np.arange(-1, levels + 1)
    top = _kernel_integral(jnp.asarray(levels - 1.0 - index, jnp.result_type(start)))
    weights = top - _kernel_integral(start - index)
    straight = np.zeros(levels, weights.dtype)
    straight[:2] = 2, -1
    return weights[1:-1] + weights[0] * straight + weights[-1] * straight[::-1]


def _kernel_integral(u: Any) -> jax.Array:
    """Integral from 0 to u of Keys' kernel, an odd function."""
    near = jnp.clip(u, -1, 1)
    far = jnp.clip(jnp.abs(u), 1, 2)
    inner = near + near**3 * (3 / 8 * jnp.abs(near) - 5 / 6)
    outer = far * (2 - far * (2 - far * (5 / 6 - far / 8))) - 17 / 24
    return inner + jnp.sign(u) * outer
