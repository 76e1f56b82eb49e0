"""Small networks that turn inputs into the numbers that shape a transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from floppity_jax.typing import Array, Float


class ResidualNetwork(nnx.Module):
    """Residual network whose context enters as an already projected vector.

    The context (the spectrum) is the same for every atom of an observation: it is projected
    once per observation row, by `project`, and broadcast here. The last layer starts at zero,
    so a transform shaped by this network starts as the identity.

    Parameters
    ----------
    n_inputs
        Length of the direct input (may be 0).
    n_context
        Length of the context.
    n_outputs
        Length of the output.
    width, blocks
        Hidden units, and residual blocks of two layers each.
    rngs
        Source of the initial weights.
    """

    def __init__(
        self,
        n_inputs: int,
        n_context: int,
        n_outputs: int,
        *,
        width: int,
        blocks: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.context = nnx.Linear(n_context, width, rngs=rngs)
        self.input = nnx.Linear(n_inputs, width, use_bias=False, rngs=rngs) if n_inputs else None
        self.blocks = nnx.List(
            [
                nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
                for _ in range(blocks)
            ]
        )
        self.output = nnx.Linear(
            width,
            n_outputs,
            kernel_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )

    def project(self, context: Float[Array, "*batch c"]) -> Float[Array, "*batch width"]:
        """First layer's share of the context."""
        return self.context(context)

    def __call__(
        self, inputs: Float[Array, "*batch i"], projected: Float[Array, "*batch width"]
    ) -> Float[Array, "*batch o"]:
        """Evaluate on inputs (of any length where ``n_inputs`` is 0) and projected context."""
        hidden = projected if self.input is None else projected + self.input(inputs)
        for first, second in self.blocks:
            hidden = hidden + second(jax.nn.relu(first(jax.nn.relu(hidden))))
        return self.output(jax.nn.relu(hidden))


class LocationScale(nnx.Module):
    """Conditional location and lower-triangular scale: ``u = L(x)^-1 (z - mu(x))``.

    A linear path runs straight through beside a residual network, for a spectrum answers to its
    parameters nearly linearly once the posterior is narrow. The splines that follow then model
    shape only.
    """

    def __init__(
        self, dim: int, n_context: int, *, width: int, blocks: int, rngs: nnx.Rngs
    ) -> None:
        self.dim = dim
        n_outputs = dim + dim * (dim + 1) // 2
        zeros = nnx.initializers.zeros_init()
        self.linear = nnx.Linear(n_context, n_outputs, kernel_init=zeros, rngs=rngs)
        self.network = ResidualNetwork(
            0, n_context, n_outputs, width=width, blocks=blocks, rngs=rngs
        )

    def _location_and_inverse_scale(self, context: Array) -> tuple[Array, Array, Array]:
        """Return mu, the inverse of L (lower triangular), and the log of its diagonal."""
        d = self.dim
        out = self.linear(context) + self.network(context, self.network.project(context))
        log_diagonal = out[..., d : 2 * d]
        rows, columns = jnp.tril_indices(d, -1)
        inverse = jnp.zeros((*out.shape[:-1], d, d)).at[..., rows, columns].set(out[..., 2 * d :])
        inverse = inverse + jnp.exp(log_diagonal)[..., None] * jnp.eye(d)
        return out[..., :d], inverse, log_diagonal

    def forward(
        self, z: Float[Array, "*batch d"], context: Float[Array, "*batch c"]
    ) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch"]]:
        """From parameters towards the base, with the log determinant."""
        location, inverse_scale, log_diagonal = self._location_and_inverse_scale(context)
        u = jnp.einsum("...ij,...j->...i", inverse_scale, z - location)
        return u, jnp.broadcast_to(log_diagonal.sum(-1), u.shape[:-1])

    def inverse(
        self, u: Float[Array, "*batch d"], context: Float[Array, "*batch c"]
    ) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch"]]:
        """From the base towards parameters, with the log determinant."""
        location, inverse_scale, log_diagonal = self._location_and_inverse_scale(context)
        inverse_scale = jnp.broadcast_to(inverse_scale, (*u.shape, self.dim))
        shift = jax.scipy.linalg.solve_triangular(inverse_scale, u[..., None], lower=True)[..., 0]
        return location + shift, -jnp.broadcast_to(log_diagonal.sum(-1), u.shape[:-1])
