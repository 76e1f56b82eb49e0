"""Conditional neural spline flow: location and scale, then rational-quadratic splines.

Densities are evaluated in the *forward* direction, from parameters to the base, which is the one
that training runs; draws go through the inverse.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from floppity_jax.compilation import full_precision
from floppity_jax.flows.conditioner import LocationScale
from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.embedding import Embedding
from floppity_jax.flows.transforms import SplineAutoregressive, SplineCoupling
from floppity_jax.typing import Array, Float, Key


class SplineFlow(nnx.Module):
    """Density of ``dim`` parameters given ``n_context`` features.

    Transforms carry stacked weights and are scanned over, so that the time to compile does not
    grow with their number. Between two of them the coordinates are permuted.

    Parameters
    ----------
    dim
        Number of parameters.
    n_context
        Number of features; of inputs of the embedding, where they go through one.
    config
        Size and shape.
    rngs
        Source of the initial weights and of the permutations.
    """

    def __init__(self, dim: int, n_context: int, config: FlowConfig, *, rngs: nnx.Rngs) -> None:
        self.dim = dim
        self.embedding: Embedding | None
        if config.embedding not in ("mlp", "convolution"):
            self.embedding = None
        else:
            self.embedding = Embedding(n_context, config.components, config.embedding, rngs=rngs)
            n_context = self.embedding.n_outputs
        self.location_scale = LocationScale(
            dim, n_context, width=config.width, blocks=config.blocks, rngs=rngs
        )

        transform: type[SplineCoupling | SplineAutoregressive]
        if config.transform == "coupling":
            transform, orders = SplineCoupling, _alternating_orders
        else:
            transform, orders = SplineAutoregressive, _reversing_orders

        @nnx.split_rngs(splits=config.transforms)
        @nnx.vmap(in_axes=0, out_axes=0)
        def make_stack(rngs: nnx.Rngs) -> SplineCoupling | SplineAutoregressive:
            return transform(dim, n_context, config, rngs=rngs)

        self.layers = make_stack(rngs)
        self.orders = orders(dim, config.transforms)

    @full_precision
    def embed(self, context: Float[Array, "*batch c"]) -> Float[Array, "*batch f"]:
        """Return what the transforms are given of a context; without an embedding, all of it."""
        return context if self.embedding is None else self.embedding(context)

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

    @full_precision
    def to_base(self, z: Array, context: Array) -> tuple[Array, Array]:
        """Return base coordinates of ``z`` and the log determinant."""
        ndim = max(z.ndim, context.ndim)
        features = _features_first(self.embed(context), ndim)
        u, log_det = self.location_scale.forward(_features_first(z, ndim), features)
        graph, weights = nnx.split(self.layers)

        def step(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            u, log_det = carry
            order, weights, projected = layer
            projected = jnp.broadcast_to(projected, (len(projected), *batch)).reshape(
                len(projected), -1
            )
            u, more = nnx.merge(graph, weights).forward(u[order], projected)
            return (u, log_det + more), None

        layers = (jnp.asarray(self.orders), weights, self._project(features))
        batch = u.shape[1:]
        (u, log_det), _ = jax.lax.scan(step, (u.reshape(self.dim, -1), log_det.ravel()), layers)
        return jnp.moveaxis(u.reshape(self.dim, *batch), 0, -1), log_det.reshape(batch)

    @full_precision
    def from_base(self, u: Array, context: Array) -> tuple[Array, Array]:
        """Return parameters at base coordinates ``u`` and the log determinant of that direction."""
        graph, weights = nnx.split(self.layers)
        back = np.argsort(self.orders, axis=1)
        features = _features_first(self.embed(context), u.ndim)

        def step(carry: tuple[Array, Array], layer: Any) -> tuple[tuple[Array, Array], None]:
            z, log_det = carry
            back, weights, projected = layer
            z, more = nnx.merge(graph, weights).inverse(z, projected)
            return (z[back], log_det + more), None

        layers = (jnp.asarray(back), weights, self._project(features))
        start = (jnp.moveaxis(u, -1, 0), jnp.zeros(u.shape[:-1], u.dtype))
        (z, log_det), _ = jax.lax.scan(step, start, layers, reverse=True)
        z, more = self.location_scale.inverse(z, features)
        return jnp.moveaxis(z, 0, -1), log_det + more

    def sample(
        self, key: Key, n: int, context: Float[Array, " c"], *, base_scale: float = 1.0
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Draw ``n`` parameters for one context, with the log density they were drawn from.

        ``base_scale`` widens or narrows the base noise; the density is exact all the same.
        """
        noise = jax.random.normal(key, (n, self.dim))
        z, log_det = self.from_base(noise * base_scale, context)
        return z, _log_normal(noise) - self.dim * jnp.log(base_scale) - log_det

    def _project(self, features: Array) -> Array:
        """First-layer share of the embedded context for every transform, stacked."""
        graph, weights = nnx.split(self.layers)
        return jax.vmap(lambda w: nnx.merge(graph, w).network.project(features))(weights)


def _features_first(rows: Float[Array, "*batch f"], ndim: int) -> Float[Array, " f *batch"]:
    """Bring the features to the first axis, and put batch axes of length 1 up to ``ndim`` axes."""
    return jnp.moveaxis(rows.reshape(*[1] * (ndim - rows.ndim), *rows.shape), -1, 0)


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


def _reversing_orders(dim: int, transforms: int) -> tuple[tuple[int, ...], ...]:
    """Return a permutation for each transform: each but the first reverses the coordinates."""
    ahead = tuple(range(dim))
    return (ahead, *(ahead[::-1] for _ in range(transforms - 1)))
