"""Training losses, as pure functions of a flow and a batch: one number for each row."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.typing import Array, Float, Int, Key


def negative_log_likelihood(
    flow: SplineFlow, z: Float[Array, "batch d"], context: Float[Array, "batch c"]
) -> Float[Array, " batch"]:
    """``-log q(z | context)``: right where ``z`` was drawn from the (truncated) prior."""
    return -flow.log_prob(z, context)


def atomic(
    flow: SplineFlow,
    z: Float[Array, "batch d"],
    context: Float[Array, "batch c"],
    log_prior: Float[Array, " batch"],
    atoms: Int[Array, "batch m"],
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Atomic loss of APT (SNPE-C): right whatever the proposal was.

    For each row, the posterior of its own parameter among ``m`` atoms taken as equally likely
    proposals (Greenberg et al. 2019, Eqs. 5 to 7)::

        q~(z_i | x_i) = [q(z_i | x_i) / p(z_i)] / sum_a [q(z_a | x_i) / p(z_a)]

    Parameters
    ----------
    log_prior
        ``log p(z)``, up to a constant.
    atoms
        Rows of the batch that serve as atoms; the first of each is the row itself.

    Returns
    -------
    loss
        One for each row.
    log_q
        ``log q(z | context)`` of each row, which comes with it.
    """
    log_q = flow.log_prob(z[atoms], context[:, None, :])
    ratios = log_q - log_prior[atoms]
    return jax.nn.logsumexp(ratios, axis=1) - ratios[:, 0], log_q[:, 0]


def draw_atoms(
    key: Key, batch: int, m: int, n_distinct: Int[Array, ""] | int
) -> Int[Array, "batch m"]:
    """Own row and ``m - 1`` others of the batch, without replacement.

    The others lie at the same random distances from each row: uniform for each of them, at the
    price of one permutation. Only the first ``n_distinct >= m`` rows of the batch are used as
    atoms: a small data set fills the rest of its batch with repetitions.
    """
    priority = jax.random.uniform(key, (batch - 1,))
    priority = jnp.where(jnp.arange(batch - 1) < n_distinct - 1, priority, jnp.inf)
    distances = jnp.concatenate(
        [jnp.zeros(1, jnp.int32), 1 + jnp.argsort(priority)[: m - 1].astype(jnp.int32)]
    )
    return (jnp.arange(batch)[:, None] + distances) % jnp.minimum(n_distinct, batch)
