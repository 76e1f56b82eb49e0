"""Spline transforms, as layers of a flow: coupling and autoregressive.

As in `floppity_jax.flows.conditioner`, coordinates lie along the first axis, the batch behind it.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from floppity_jax.flows import spline
from floppity_jax.flows.conditioner import MaskedResidualNetwork, ResidualNetwork
from floppity_jax.flows.config import FlowConfig
from floppity_jax.typing import Array


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
        kept, moved = z[: self.n_kept], z[self.n_kept :]
        raw = self.network(kept, projected)
        raw = raw.reshape(-1, self.n_moved, *raw.shape[1:])
        # With one parameter nothing is kept, and the shape may lack the batch of z.
        raw = jnp.broadcast_to(raw, (len(raw), *moved.shape))
        moved, log_slope = function(moved, raw, self.bound)
        return jnp.concatenate([kept, moved]), log_slope.sum(axis=0)

    def forward(self, z: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the base, with the log determinant."""
        return self._apply(spline.forward, z, projected)

    def inverse(self, u: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the parameters, with the log determinant."""
        return self._apply(spline.inverse, u, projected)


class SplineAutoregressive(nnx.Module):
    """Splines on every coordinate, shaped by the coordinates before it and the context.

    Its Jacobian is lower triangular (Papamakarios et al. 2017; with splines, Durkan et al. 2019).
    """

    def __init__(self, dim: int, n_context: int, config: FlowConfig, *, rngs: nnx.Rngs) -> None:
        self.dim = dim
        self.bound = config.bound
        self.network = MaskedResidualNetwork(
            dim,
            n_context,
            spline.n_parameters(config.bins),
            width=config.width,
            blocks=config.blocks,
            rngs=rngs,
        )

    def _splines(self, z: Array, projected: Array) -> Array:
        """Parameters of the splines at ``z``, on the first axis."""
        raw = self.network(z, projected)
        return raw.reshape(-1, *z.shape)

    def forward(self, z: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the base, with the log determinant."""
        u, log_slope = spline.forward(z, self._splines(z, projected), self.bound)
        return u, log_slope.sum(axis=0)

    def inverse(self, u: Array, projected: Array) -> tuple[Array, Array]:
        """Towards the parameters, with the log determinant.

        Each pass inverts the splines that the previous one's values give. It makes one more
        coordinate right, for a spline sees only those before its own: after ``dim`` passes all
        are, and the last has the slopes of them all.
        """

        def again(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            z, _slope = carry
            z, log_slope = spline.inverse(u, self._splines(z, projected), self.bound)
            return z, log_slope.sum(axis=0)

        return jax.lax.fori_loop(0, self.dim, again, (u, jnp.zeros(u.shape[1:], u.dtype)))
