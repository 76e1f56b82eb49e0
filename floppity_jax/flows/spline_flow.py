"""Conditional neural spline flow: location and scale, then coupled rational-quadratic splines.

Densities are evaluated in the *forward* direction, from parameters to the base, which is the one
that training runs; draws go through the inverse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from floppity_jax.errors import require_positive
from floppity_jax.flows import spline
from floppity_jax.flows.conditioner import LocationScale, ResidualNetwork
from floppity_jax.typing import Array, Float, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Size and shape of the flow.

    Attributes
    ----------
    transforms : int
        Number of coupling transforms.
    bins : int
        Bins of each spline.
    bound : float
        The splines act on -bound .. bound of the whitened parameters.
    width, blocks : int
        Hidden units and residual blocks of each conditioner.
    components : int
        Principal components of the spectra that the flow is given.
    """

    transforms: int = 5
    bins: int = 10
    bound: float = 5.0
    width: int = 50
    blocks: int = 2
    components: int = 16

    def __post_init__(self) -> None:
        require_positive("flow", dataclasses.asdict(self))

    @classmethod
    def fast(cls) -> FlowConfig:
        """Return a small flow, for trying things out."""
        return cls(transforms=3, bins=8, width=32, blocks=1)

    @classmethod
    def default(cls) -> FlowConfig:
        """Return the settings that a run takes unless told otherwise."""
        return cls()

    @classmethod
    def paper(cls) -> FlowConfig:
        """Return the size of Ardevol Martinez et al. (2024): 15 transforms, 10 bins, 2 x 50."""
        return cls(transforms=15)


class SplineCoupling(nnx.Module):
    """Splines on the second part of the coordinates, shaped by the first part and the context."""

    def __init__(self, dim: int, n_context: int, config: FlowConfig, *, rngs: nnx.Rngs) -> None:
        self.n_kept = dim // 2
        self.n_moved = dim - self.n_kept
        self.bound = config.bound
        self.network = ResidualNetwork(
            self.n_kept,
            n_context,
            spline.n_parameters(config.bins) * self.n_moved,
            width=config.width,
            blocks=config.blocks,
            rngs=rngs,
        )

    def _apply(
        self, function: Callable[..., tuple[Array, Array]], z: Array, projected: Array
    ) -> tuple[Array, Array]:
        kept, moved = z[..., : self.n_kept], z[..., self.n_kept :]
        raw = self.network(kept, projected)
        raw = raw.reshape(*raw.shape[:-1], -1, self.n_moved)
        # With one parameter nothing is kept, and the shape may lack the batch of z.
        raw = jnp.broadcast_to(raw, (*moved.shape[:-1], *raw.shape[-2:]))
        moved, log_slope = function(moved, jnp.moveaxis(raw, -2, 0), self.bound)
        return jnp.concatenate([kept, moved], axis=-1), log_slope.sum(-1)

    def forward(self, z: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the base, with the log determinant."""
        return self._apply(spline.forward, z, projected)

    def inverse(self, u: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the parameters, with the log determinant."""
        return self._apply(spline.inverse, u, projected)


class SplineFlow(nnx.Module):
    """Density of ``dim`` parameters given ``n_context`` features.

    Couplings carry stacked weights and are scanned over, so that the time to compile does not
    grow with their number. Between two of them the coordinates are permuted.

    Parameters
    ----------
    dim
        Number of parameters.
    n_context
        Number of features.
    config
        Size and shape.
    rngs
        Source of the initial weights and of the permutations.
    """

    def __init__(self, dim: int, n_context: int, config: FlowConfig, *, rngs: nnx.Rngs) -> None:
        self.dim = dim
        self.location_scale = LocationScale(
            dim, n_context, width=config.width, blocks=config.blocks, rngs=rngs
        )

        @nnx.split_rngs(splits=config.transforms)
        @nnx.vmap(in_axes=0, out_axes=0)
        def make_stack(rngs: nnx.Rngs) -> SplineCoupling:
            return SplineCoupling(dim, n_context, config, rngs=rngs)

        self.couplings = make_stack(rngs)
        self.orders = _alternating_orders(dim, config.transforms)

    def log_prob(
        self,
        z: Float[Array, "*batch d"],
        context: Float[Array, "*batch c"],
        *,
        base_scale: float = 1.0,
    ) -> Float[Array, "*batch"]:
        """Log density of ``z`` given ``context``; batch axes broadcast."""
        u, log_det = self.to_base(z, context)
        return log_det + _log_normal(u / base_scale) - self.dim * jnp.log(base_scale)

    def to_base(self, z: Array, context: Array) -> tuple[Array, Array]:
        """Return base coordinates of ``z`` and the log determinant."""
        u, log_det = self.location_scale.forward(z, context)
        graph, weights = nnx.split(self.couplings)

        def step(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            u, log_det = carry
            order, weights, projected = layer
            u, more = nnx.merge(graph, weights).forward(u[..., order], projected)
            return (u, log_det + more), None

        layers = (jnp.asarray(self.orders), weights, self._project(context))
        (u, log_det), _ = jax.lax.scan(step, (u, log_det), layers)
        return u, log_det

    def from_base(self, u: Array, context: Array) -> tuple[Array, Array]:
        """Return parameters at base coordinates ``u`` and the log determinant of that direction."""
        graph, weights = nnx.split(self.couplings)
        back = np.argsort(self.orders, axis=1)

        def step(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            z, log_det = carry
            back, weights, projected = layer
            z, more = nnx.merge(graph, weights).inverse(z, projected)
            return (z[..., back], log_det + more), None

        layers = (jnp.asarray(back), weights, self._project(context))
        start = (u, jnp.zeros(u.shape[:-1], u.dtype))
        (z, log_det), _ = jax.lax.scan(step, start, layers, reverse=True)
        z, more = self.location_scale.inverse(z, context)
        return z, log_det + more

    def sample(
        self, key: Key, n: int, context: Float[Array, " c"], *, base_scale: float = 1.0
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Draw ``n`` parameters for one context, with the log density they were drawn from.

        ``base_scale`` widens or narrows the base noise; the density is exact all the same.
        """
        noise = jax.random.normal(key, (n, self.dim))
        z, log_det = self.from_base(noise * base_scale, context)
        return z, _log_normal(noise) - self.dim * jnp.log(base_scale) - log_det

    def _project(self, context: Array) -> Array:
        """First-layer share of the context for every coupling, stacked."""
        graph, weights = nnx.split(self.couplings)
        return jax.vmap(lambda w: nnx.merge(graph, w).network.project(context))(weights)


def _log_normal(u: Array) -> Array:
    """Log density of the standard normal base."""
    return -0.5 * jnp.sum(u**2 + jnp.log(2 * jnp.pi), axis=-1)


def _alternating_orders(dim: int, transforms: int) -> tuple[tuple[int, ...], ...]:
    """Return a permutation for each transform: every coordinate is moved at least every other time.

    Each swaps the two halves after rotating one of them, so neighbours change as well.
    """
    swap = np.roll(np.arange(dim), dim - dim // 2)
    orders = [np.arange(dim)]
    for i in range(1, transforms):
        half = dim // 2
        order = swap.copy()
        order[half:] = np.roll(order[half:], i)
        orders.append(order)
    return tuple(tuple(int(i) for i in order) for order in orders)
