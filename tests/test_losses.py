"""Losses against transcriptions of the papers' equations, and gradients by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from floppity_jax import losses
from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.spline_flow import SplineFlow

BATCH, DIM, N_CONTEXT = 12, 2, 3


@pytest.fixture(scope="module")
def setting():
    flow = SplineFlow(DIM, N_CONTEXT, FlowConfig(transforms=2, width=8), rngs=nnx.Rngs(0))
    graph, state = nnx.split(flow)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    state = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(next(keys), a.shape), state)
    z = jax.random.normal(jax.random.key(2), (BATCH, DIM))
    context = jax.random.normal(jax.random.key(3), (BATCH, N_CONTEXT))
    return graph, state, z, context


@pytest.mark.parametrize("m", [2, 5, BATCH])
def test_atomic_loss_is_the_papers_equation(setting, m):
    """Greenberg et al. (2019), Eqs. 5 to 7, written out with loops."""
    graph, state, z, context = setting
    log_prior = -0.5 * (z**2).sum(1)
    atoms = losses.draw_atoms(jax.random.key(4), BATCH, m, BATCH)
    computed, log_q = losses.atomic(nnx.merge(graph, state), z, context, log_prior, atoms)
    density = jax.jit(lambda z, x: jnp.exp(nnx.merge(graph, state).log_prob(z, x)))
    for i in range(BATCH):
        q = [float(density(z[a], context[i])) for a in atoms[i]]
        p = [float(jnp.exp(log_prior[a])) for a in atoms[i]]
        ratios = [q_a / p_a for q_a, p_a in zip(q, p, strict=True)]
        assert float(computed[i]) == pytest.approx(-np.log(ratios[0] / sum(ratios)), rel=1e-3)
        assert float(log_q[i]) == pytest.approx(np.log(q[0]), rel=1e-4)


def test_maximum_likelihood_is_minus_log_density(setting):
    graph, state, z, context = setting
    flow = nnx.merge(graph, state)
    one = jax.jit(lambda z, x: nnx.merge(graph, state).log_prob(z, x))
    expected = [-float(one(z[i], context[i])) for i in range(BATCH)]
    computed = losses.negative_log_likelihood(flow, z, context)
    np.testing.assert_allclose(computed, expected, rtol=1e-4)


@pytest.mark.parametrize("n_distinct", [6, BATCH])
def test_atoms_are_own_row_and_distinct_others(n_distinct):
    seen = set()
    for seed in range(50):
        atoms = np.asarray(losses.draw_atoms(jax.random.key(seed), BATCH, 5, n_distinct))
        np.testing.assert_array_equal(atoms[:, 0], np.arange(BATCH) % n_distinct)
        assert all(len(set(row)) == 5 for row in atoms)
        seen |= set(atoms[0].tolist())
    assert seen == set(range(n_distinct))


@pytest.mark.parametrize("atomic", [False, True])
def test_gradient_is_the_finite_difference(setting, atomic):
    graph, state, z, context = setting
    with jax.enable_x64(True):
        as64 = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)  # noqa: E731
        state, z, context = as64(state), as64(z), as64(context)
        atoms = losses.draw_atoms(jax.random.key(4), BATCH, 5, BATCH)

        @jax.jit
        def loss(state):
            flow = nnx.merge(graph, state)
            if atomic:
                return losses.atomic(flow, z, context, -0.5 * (z**2).sum(1), atoms)[0].mean()
            return losses.negative_log_likelihood(flow, z, context).mean()

        keys = iter(jax.random.split(jax.random.key(5), 100))
        direction = jax.tree.map(lambda a: jax.random.normal(next(keys), a.shape, a.dtype), state)
        step = 1e-6
        moved = [
            jax.tree.map(lambda a, d, s=sign: a + s * step * d, state, direction)
            for sign in (1, -1)
        ]
        numerical = (loss(moved[0]) - loss(moved[1])) / (2 * step)
        products = jax.tree.map(jnp.vdot, jax.grad(loss)(state), direction)
        exact = sum(jax.tree.leaves(products))
        np.testing.assert_allclose(exact, numerical, rtol=1e-5)
