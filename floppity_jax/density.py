"""Trained flows together with the coordinates they were trained in, at the observation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.ensemble import over_members
from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.typing import Array, Float, Key

# Draws and densities are computed in pieces of this size: one compilation serves any number,
# and the first draws are the same however many are asked for.
CHUNK = 2048
LEAST_RESIDUAL = 1e-3  # variance, of white parameters about their linear regression


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
    """The posterior density of ``z`` at one observation: the equal mixture of an ensemble of flows.

    Attributes
    ----------
    graph, parameters
        The flows, taken apart by ``nnx.split``; the parameters carry a leading axis of members.
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
        wide = self._replace(base_scale=widened * self.base_scale)
        white = wide._draw_white(key, n)
        return self.whitening.restore(white), wide._log_prob_white(white)

    def draw(self, key: Key, n: int) -> Float[np.ndarray, "n d"]:
        """Draw ``n`` values of ``z`` (float64): as `sample`, without the cost of their density."""
        return self.whitening.restore(self._draw_white(key, n))

    def log_prob(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log density of ``z`` (float64)."""
        return self._log_prob_white(self.whitening.whiten(np.asarray(z, np.float64)))

    def _draw_white(self, key: Key, n: int) -> Float[np.ndarray, "n d"]:
        pieces = [
            _draw(
                jax.random.fold_in(key, i),
                self.graph, self.parameters, self.context, self.base_scale,
            )
            for i in range(-(-n // CHUNK))
        ]  # fmt: skip
        return np.concatenate([np.asarray(white, np.float64) for white in pieces])[:n]

    def _log_prob_white(self, white: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        n = len(white)
        padded = np.pad(white, [(0, -n % CHUNK), (0, 0)])  # float32 on the device, unless x64
        pieces = [
            _log_prob(
                self.graph, self.parameters, self.context, padded[i : i + CHUNK], self.base_scale
            )
            for i in range(0, len(padded), CHUNK)
        ]
        log_q = np.concatenate([np.asarray(q, np.float64) for q in pieces] or [np.empty(0)])[:n]
        return log_q - self.whitening.log_determinant


def new_flows(key: Key, dim: int, n_context: int, config: FlowConfig) -> tuple[Any, Any]:
    """Fresh ensemble, taken apart into the structure of one flow and the stacked parameters."""
    abstract = nnx.eval_shape(lambda: SplineFlow(dim, n_context, config, rngs=nnx.Rngs(0)))
    return nnx.graphdef(abstract), _fresh_parameters(key, dim, n_context, config)


@functools.partial(jax.jit, static_argnames=("dim", "n_context", "config"))
def _fresh_parameters(key: Key, dim: int, n_context: int, config: FlowConfig) -> Any:
    """Compiled: one by one, the operations that make them take seconds."""

    def one(key: Key) -> Any:
        parameters = nnx.split(SplineFlow(dim, n_context, config, rngs=nnx.Rngs(key)))[1]
        # float64 where the user has enabled it, float32 otherwise.
        return jax.tree.map(lambda leaf: leaf.astype(float), parameters)

    return over_members(one)(jax.random.split(key, config.members))


def start_linear(
    graph: Any, parameters: Any, white: Float[np.ndarray, "n d"], inputs: Float[np.ndarray, "n c"]
) -> Any:
    """Set every member to the linear regression of white parameters on its inputs.

    The inputs have unit covariance once noise is added, so that the coefficients are their
    covariance with the parameters, and what is left of the unit covariance of the parameters is
    that of the residuals. It is where training would get to first; a few hundred steps later.
    """
    coefficients = (inputs - inputs.mean(axis=0)).T @ white / len(white)
    # The error of the coefficients themselves widens what is predicted for a new spectrum.
    n, c = inputs.shape
    unbiased = n / max(n - c - 1, 1) * (1 + c / n)
    residual = unbiased * (np.eye(white.shape[1]) - coefficients.T @ coefficients)
    values, vectors = np.linalg.eigh(residual)
    # Never so narrow that the first steps would be lost on the rows farthest off.
    residual = (vectors * np.maximum(values, LEAST_RESIDUAL)) @ vectors.T
    inverse_scale = np.linalg.inv(np.linalg.cholesky(residual))

    def one(parameters: Any) -> Any:
        flow = nnx.merge(graph, parameters)
        flow.location_scale.start_linear(jnp.asarray(coefficients), jnp.asarray(inverse_scale))
        return nnx.split(flow)[1]

    return over_members(one)(parameters)


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
    graph, parameters = new_flows(jax.random.key(0), dim, arrays["context"].size, flow)
    structure = jax.tree.structure(parameters)
    leaves = [jnp.asarray(arrays[key]) for key in sorted(arrays) if key.startswith("flow_")]
    return Density(
        graph,
        jax.tree.unflatten(structure, leaves),
        arrays["context"],
        Whitening(arrays["whitening_mean"], arrays["whitening_cholesky"]),
        float(arrays["base_scale"]),
    )


def log_standard_normal(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Log density of the prior, in its own coordinates."""
    return -0.5 * (z**2 + np.log(2 * np.pi)).sum(axis=1)


@functools.partial(jax.jit, static_argnames=("graph",))
def _draw(key: Key, graph: Any, parameters: Any, context: Array, base_scale: float) -> Array:
    """Draw as many from each member, then mix them up."""
    members = len(jax.tree.leaves(parameters)[0])
    key_members, key_order = jax.random.split(key)

    def one(key: Key, parameters: Any) -> Array:
        flow = nnx.merge(graph, parameters)
        n = -(-CHUNK // members)
        return flow.sample(key, n, jnp.asarray(context), base_scale=base_scale)[0]

    draws = over_members(one)(jax.random.split(key_members, members), parameters)
    return jax.random.permutation(key_order, draws.reshape(-1, draws.shape[-1]))[:CHUNK]


@functools.partial(jax.jit, static_argnames=("graph",))
def _log_prob(
    graph: Any, parameters: Any, context: Array, white: Array, base_scale: float
) -> Array:
    def one(parameters: Any) -> Array:
        flow = nnx.merge(graph, parameters)
        return flow.log_prob(white, jnp.asarray(context), base_scale=base_scale)

    log_q = over_members(one)(parameters)
    return jax.nn.logsumexp(log_q, axis=0) - jnp.log(len(log_q))
