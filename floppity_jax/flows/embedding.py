"""What the flow sees of a long spectrum: its principal components and learned features."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from floppity_jax.flows.conditioner import ResidualNetwork
from floppity_jax.typing import Array, Float

# Principal components that the residual network sees: beyond them is noise, of which thousands of
# channels have much to learn by heart and to wait for.
N_SEEN = 256
N_LEARNED = 32  # learned features
WIDTH, BLOCKS = 128, 2  # of the residual network
# Convolutions of this stride follow on one another until at most so many positions are left.
STRIDE, SHORT = 8, 64
FEWEST_FILTERS, MOST_FILTERS = 16, 64


class Embedding(nnx.Module):
    """A linear projection straight through, beside features that a network learns.

    The projection is set by `start_from_projection` and not trained. The learned features start at
    zero, so that training begins from the principal components alone and adds to them.

    Parameters
    ----------
    n_inputs
        Whitened, scaled channels (``"convolution"``), or their principal components (``"mlp"``).
    n_components
        Outputs of the projection; never more than there are inputs.
    kind
        ``"mlp"`` or ``"convolution"``.
    rngs
        Source of the initial weights.
    """

    def __init__(self, n_inputs: int, n_components: int, kind: str, *, rngs: nnx.Rngs) -> None:
        n_components = min(n_components, n_inputs)
        self.n_outputs = n_components + N_LEARNED
        self.projection = nnx.Linear(n_inputs, n_components, use_bias=False, rngs=rngs)
        self.network: _ResidualComponents | Convolution
        if kind == "mlp":
            self.network = _ResidualComponents(n_inputs, rngs=rngs)
        else:
            self.network = Convolution(n_inputs, rngs=rngs)

    def __call__(self, spectrum: Float[Array, "*batch c"]) -> Float[Array, "*batch f"]:
        """Return the leading components, then the learned features."""
        # Kept as it starts: steps of Adam, as large for each of thousands of weights, would spoil
        # it before they better it.
        components = jax.lax.stop_gradient(self.projection(spectrum))
        return jnp.concatenate([components, self.network(spectrum)], axis=-1)


class _ResidualComponents(ResidualNetwork):
    """Residual network of principal components."""

    def __init__(self, n_components: int, *, rngs: nnx.Rngs) -> None:
        super().__init__(0, n_components, N_LEARNED, width=WIDTH, blocks=BLOCKS, rngs=rngs)

    def __call__(self, spectrum: Array) -> Array:  # type: ignore[override]
        spectrum = jnp.moveaxis(spectrum, -1, 0)
        return jnp.moveaxis(super().__call__(spectrum, self.project(spectrum)), 0, -1)


class Convolution(nnx.Module):
    """Strided residual convolutions along the spectrum, then a linear layer that starts at zero.

    Each stage joins every ``STRIDE`` neighbours into one position, then adds what a three-point
    convolution makes of it. Both are written as products of matrices, about twice as fast on a
    CPU as the convolutions of XLA. The last layer sees every filter at every position that is
    left, so it tells where in the spectrum a feature lies; the mean over positions is one of the
    maps it can learn.
    """

    def __init__(self, n_channels: int, *, rngs: nnx.Rngs) -> None:
        stages: list[nnx.List] = []
        length, filters = n_channels, 1
        while not stages or length > SHORT:
            wider = min(max(2 * filters, FEWEST_FILTERS), MOST_FILTERS)
            join = nnx.Linear(STRIDE * filters, wider, rngs=rngs)
            stages.append(nnx.List([join, nnx.Linear(3 * wider, wider, rngs=rngs)]))
            length, filters = -(-length // STRIDE), wider
        self.stages = nnx.List(stages)
        self.output = nnx.Linear(
            length * filters, N_LEARNED, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(self, spectrum: Float[Array, "*batch c"]) -> Float[Array, "*batch f"]:
        """Return the learned features."""
        hidden = spectrum[..., None]
        for join, refine in self.stages:
            hidden = join(_joined(hidden))
            hidden = jax.nn.relu(hidden + refine(_with_neighbours(jax.nn.relu(hidden))))
        return self.output(hidden.reshape(*spectrum.shape[:-1], -1))


def _joined(x: Float[Array, "*batch length f"]) -> Float[Array, "*batch shorter g"]:
    """Put filters of every ``STRIDE`` positions side by side; zeros fill up the last group."""
    x = _padded(x, 0, -x.shape[-2] % STRIDE)
    return x.reshape(*x.shape[:-2], -1, STRIDE * x.shape[-1])


def _with_neighbours(x: Float[Array, "*batch length f"]) -> Float[Array, "*batch length g"]:
    """Put filters of each position between those of the one before and the one after."""
    x = _padded(x, 1, 1)
    return jnp.concatenate([x[..., :-2, :], x[..., 1:-1, :], x[..., 2:, :]], axis=-1)


def _padded(x: Array, before: int, after: int) -> Array:
    """Put positions of zeros before and after."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(before, after), (0, 0)])


def start_from_projection(parameters: Any, kernel: Float[np.ndarray, "channels components"]) -> Any:
    """Return a flow's parameters with the projection of its embedding set.

    Parameters
    ----------
    parameters
        State of a `SplineFlow` with an embedding, or of several with stacked weights.
    kernel
        From scaled channels to scaled components: from `features.whole_spectra`.
    """
    parameters = jax.tree.map(lambda leaf: leaf, parameters)  # a copy: the caller's stays as it is
    weights = parameters["embedding"]["projection"]["kernel"]
    value = jnp.broadcast_to(jnp.asarray(kernel, float), weights[...].shape)
    parameters["embedding"]["projection"]["kernel"] = weights.replace(value)
    return parameters
