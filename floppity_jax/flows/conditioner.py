"""Small networks that turn inputs into the numbers that shape a transform.

Features lie along the *first* axis here and the batch behind it, so that every operation runs over
long contiguous rows and the splines get their parameters without a transpose: on a CPU a step of
training takes less than half the time (`experiments/benchmarks/README.md`).
"""

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

    def project(self, context: Float[Array, " c *batch"]) -> Float[Array, " width *batch"]:
        """First layer's share of the context."""
        return linear(self.context, context)

    def __call__(
        self, inputs: Float[Array, " i *batch"], projected: Float[Array, " width *batch"]
    ) -> Float[Array, " o *batch"]:
        """Evaluate on inputs (of any length where ``n_inputs`` is 0) and projected context."""
        hidden = projected if self.input is None else projected + linear(self.input, inputs)
        for first, second in self.blocks:
            hidden = hidden + linear(second, jax.nn.relu(linear(first, jax.nn.relu(hidden))))
        return linear(self.output, jax.nn.relu(hidden))


def linear(
    layer: nnx.Linear, x: Float[Array, " i *batch"], mask: Array | float = 1.0
) -> Float[Array, " o *batch"]:
    """Apply a linear layer to features on the first axis; the mask multiplies its weights."""
    out = jnp.tensordot(layer.kernel * mask, x, axes=(0, 0))
    if layer.bias is None:
        return out
    return out + layer.bias.reshape(-1, *[1] * (out.ndim - 1))


class MaskedResidualNetwork(ResidualNetwork):
    """Residual network in which an output sees only the inputs before its own.

    Of ``n_outputs`` numbers for each of ``dim`` inputs, the inputs being the faster axis,
    those for input ``i`` depend on inputs 0 .. i-1 and on all of the context. Each hidden unit has
    a degree, the number of leading inputs it may see, and weights that would carry more are
    masked (MADE: Germain et al. 2015, Eqs. 8 to 10; here degree 0, units that see the context
    alone, is allowed). Degrees are the same in every hidden layer, as residual paths need.

    Parameters
    ----------
    dim
        Number of inputs.
    n_context
        Length of the context.
    n_outputs
        Numbers for each input.
    width, blocks, rngs
        As for `ResidualNetwork`; fewer hidden units than inputs leave some degrees out.
    """

    def __init__(
        self,
        dim: int,
        n_context: int,
        n_outputs: int,
        *,
        width: int,
        blocks: int,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(dim, n_context, n_outputs * dim, width=width, blocks=blocks, rngs=rngs)
        self.dim = dim
        self.width = width

    def __call__(
        self, inputs: Float[Array, " d *batch"], projected: Float[Array, " width *batch"]
    ) -> Float[Array, " o *batch"]:
        """Evaluate on inputs and projected context."""
        assert self.input is not None
        degree = jnp.arange(self.width) % self.dim
        place = jnp.arange(self.dim)
        inner = degree[:, None] <= degree

        hidden = projected + linear(self.input, inputs, place[:, None] < degree)
        for first, second in self.blocks:
            half = linear(first, jax.nn.relu(hidden), inner)
            hidden = hidden + linear(second, jax.nn.relu(half), inner)
        of_output = jnp.arange(self.output.out_features) % self.dim
        return linear(self.output, jax.nn.relu(hidden), degree[:, None] <= of_output)


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

    def start_linear(
        self, coefficients: Float[Array, "c d"], inverse_scale: Float[Array, "d d"]
    ) -> None:
        """Set the linear path to ``mu = x @ coefficients`` and a constant lower triangle.

        ``x`` is the leading part of the context; what follows it starts without weight.
        """
        d = self.dim
        kernel = jnp.zeros_like(self.linear.kernel[...])
        kernel = kernel.at[: len(coefficients), :d].set(coefficients)  # learned features: 0
        lower = inverse_scale[jnp.tril_indices(d, -1)]
        bias = jnp.concatenate([jnp.zeros(d), jnp.log(jnp.diag(inverse_scale)), lower])
        self.linear.kernel[...] = kernel
        assert self.linear.bias is not None
        self.linear.bias[...] = bias.astype(kernel.dtype)

    def _location_and_inverse_scale(self, context: Array) -> tuple[Array, Array, Array]:
        """Return mu, what lies below the diagonal of the inverse of L, and the log of the diagonal.

        The former is (d, d, *batch), with zeros elsewhere.
        """
        d = self.dim
        out = linear(self.linear, context)
        out = out + self.network(context, self.network.project(context))
        rows, columns = jnp.tril_indices(d, -1)
        below = jnp.zeros((d, d, *out.shape[1:]), out.dtype).at[rows, columns].set(out[2 * d :])
        return out[:d], below, out[d : 2 * d]

    def forward(
        self, z: Float[Array, " d *batch"], context: Float[Array, " c *batch"]
    ) -> tuple[Float[Array, " d *batch"], Float[Array, "*batch"]]:
        """From parameters towards the base, with the log determinant."""
        location, below, log_diagonal = self._location_and_inverse_scale(context)
        centred = z - location
        # A sum of products: products of so small matrices, one for each row, would cost more.
        u = (below * centred).sum(axis=1) + jnp.exp(log_diagonal) * centred
        return u, jnp.broadcast_to(log_diagonal.sum(axis=0), u.shape[1:])

    def inverse(
        self, u: Float[Array, " d *batch"], context: Float[Array, " c *batch"]
    ) -> tuple[Float[Array, " d *batch"], Float[Array, "*batch"]]:
        """From the base towards parameters, with the log determinant."""
        location, below, log_diagonal = self._location_and_inverse_scale(context)
        scale = jnp.exp(-log_diagonal)
        centred: list[Array] = []
        for i in range(self.dim):  # forward substitution
            known = sum((below[i, j] * centred[j] for j in range(i)), jnp.zeros(()))
            centred.append((u[i] - known) * scale[i])
        return location + jnp.stack(centred), -jnp.broadcast_to(
            log_diagonal.sum(axis=0), u.shape[1:]
        )
