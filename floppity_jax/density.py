"""A trained flow together with the coordinates it was trained in, at the observation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from floppity_jax.flows.spline_flow import FlowConfig, SplineFlow
from floppity_jax.typing import Array, Float, Key

# Draws and densities are computed in pieces of this size: one compilation serves any number,
# and the first draws are the same however many are asked for.
CHUNK = 8192


class Whitening(NamedTuple):
    """Affine map to zero mean and unit covariance: ``z = mean + cholesky @ white``.

    Attributes
    ----------
    mean : array (d,)
        Mean of the simulations in use.
    cholesky : array (d, d)
        Lower Cholesky factor of their covariance.
    """

    mean: Float[np.ndarray, " d"]
    cholesky: Float[np.ndarray, "d d"]

    @classmethod
    def fit(cls, z: Float[np.ndarray, "n d"]) -> Whitening:
        """Fit on ``z``; a spread too small to measure is kept from being singular."""
        covariance = np.atleast_2d(np.cov(z.T))
        floor = 1e-12 * np.trace(covariance) / len(covariance) + 1e-30
        return cls(z.mean(axis=0), np.linalg.cholesky(covariance + floor * np.eye(len(covariance))))

    def whiten(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """From prior coordinates to white ones."""
        return np.linalg.solve(self.cholesky, (z - self.mean).T).T

    def restore(self, white: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """From white coordinates to those of the prior."""
        return self.mean + white @ self.cholesky.T

    @property
    def log_determinant(self) -> float:
        """Log of the volume of ``z`` a unit of white volume takes up."""
        return float(np.log(np.diag(self.cholesky)).sum())


class Density(NamedTuple):
    """The posterior density of ``z`` at one observation, as one flow has it.

    Attributes
    ----------
    graph, parameters
        The flow, taken apart by ``nnx.split``.
    context : array (c,)
        Network input of the observation.
    whitening : Whitening
        From the coordinates of the flow to ``z``.
    base_scale : float
        Standard deviation of the base noise: below 1 where the flow was trained with errors
        inflated by ``1 / base_scale`` (`features.misfit`). To the extent that the posterior is
        narrow, and so nearly normal, contracting the base undoes that inflation.
    """

    graph: nnx.GraphDef[SplineFlow]
    parameters: Any
    context: Float[np.ndarray, " c"]
    whitening: Whitening
    base_scale: float = 1.0

    def sample(
        self, key: Key, n: int, *, widened: float = 1.0
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Draw ``n`` values of ``z`` (float64), with the log density they were drawn from.

        ``widened`` multiplies the base noise: above 1 it makes a proposal with broader flanks.
        """
        scale = widened * self.base_scale
        pieces = [
            _sample(jax.random.fold_in(key, i), self.graph, self.parameters, self.context, scale)
            for i in range(-(-n // CHUNK))
        ]
        white = np.concatenate([np.asarray(z, np.float64) for z, _ in pieces])[:n]
        log_q = np.concatenate([np.asarray(q, np.float64) for _, q in pieces])[:n]
        return self.whitening.restore(white), log_q - self.whitening.log_determinant

    def log_prob(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log density of ``z`` (float64)."""
        white = self.whitening.whiten(np.asarray(z, np.float64))
        n = len(white)
        padded = np.pad(white, [(0, -n % CHUNK), (0, 0)]).astype(np.float32)
        pieces = [
            _log_prob(
                self.graph, self.parameters, self.context, padded[i : i + CHUNK], self.base_scale
            )
            for i in range(0, len(padded), CHUNK)
        ]
        log_q = np.concatenate([np.asarray(q, np.float64) for q in pieces] or [np.empty(0)])[:n]
        return log_q - self.whitening.log_determinant


def new_flow(key: Key, dim: int, n_context: int, config: FlowConfig) -> tuple[Any, Any]:
    """Fresh flow, taken apart into its structure and its parameters."""
    return nnx.split(SplineFlow(dim, n_context, config, rngs=nnx.Rngs(key)))


def density_arrays(density: Density) -> dict[str, np.ndarray]:
    """Return the arrays that rebuild a density."""
    leaves = jax.tree.leaves(density.parameters)
    return {
        **{f"flow_{i:03d}": np.asarray(leaf) for i, leaf in enumerate(leaves)},
        "context": density.context,
        "whitening_mean": density.whitening.mean,
        "whitening_cholesky": density.whitening.cholesky,
        "base_scale": np.array(density.base_scale),
    }


def density_from_arrays(arrays: Mapping[str, np.ndarray], dim: int, flow: FlowConfig) -> Density:
    """Rebuild a density from what `density_arrays` returned."""
    graph, parameters = new_flow(jax.random.key(0), dim, arrays["context"].size, flow)
    structure = jax.tree.structure(parameters)
    leaves = [jnp.asarray(arrays[key]) for key in sorted(arrays) if key.startswith("flow_")]
    return Density(
        graph,
        jax.tree.unflatten(structure, leaves),
        arrays["context"],
        Whitening(arrays["whitening_mean"], arrays["whitening_cholesky"]),
        float(arrays["base_scale"]),
    )


@functools.partial(jax.jit, static_argnames=("graph",))
def _sample(
    key: Key, graph: Any, parameters: Any, context: Array, base_scale: float
) -> tuple[Array, Array]:
    flow = nnx.merge(graph, parameters)
    return flow.sample(key, CHUNK, jnp.asarray(context), base_scale=base_scale)


@functools.partial(jax.jit, static_argnames=("graph",))
def _log_prob(
    graph: Any, parameters: Any, context: Array, white: Array, base_scale: float
) -> Array:
    flow = nnx.merge(graph, parameters)
    return flow.log_prob(white, jnp.asarray(context), base_scale=base_scale)
