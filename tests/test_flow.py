"""The flow as a density: normalisation, round trip and Jacobian, in one to six dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from floppity_jax.errors import InvalidInput
from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.flows.transforms import SplineAutoregressive

N_CONTEXT = 4


def _moved(module):
    """Move every weight, as training would, far from the identity at which a flow starts."""
    graph, state = nnx.split(module)
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.03 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(structure, moved))


def _random_flow(dim, transform):
    config = FlowConfig(transform=transform)
    return _moved(SplineFlow(dim, N_CONTEXT, config, rngs=nnx.Rngs(0)))


CONTEXT = jnp.array([0.5, -1.0, 0.2, 1.5])
each_kind = pytest.mark.parametrize("transform", ["coupling", "autoregressive"])


@each_kind
@pytest.mark.parametrize("base_scale", [1.0, 0.5])
def test_density_integrates_to_one_on_a_grid(base_scale, transform):
    flow = _random_flow(2, transform)
    # Each kink of the splines' second derivative costs the rule about spacing^2 / 12 of the jump:
    # with 0.05 and jumps of order one, 2e-4.
    axis = jnp.linspace(-12, 12, 481)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1)
    log_p = jax.jit(lambda z: flow.log_prob(z, CONTEXT, base_scale=base_scale))(grid)
    mass = np.exp(np.asarray(log_p, np.float64)).sum() * float(axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("embedding", ["projection", "mlp", "convolution"])
@each_kind
def test_products_are_in_full_precision(transform, embedding):
    """Else a GPU rounds them to three digits, each way otherwise: no CPU would show it."""
    config = FlowConfig(transform=transform, embedding=embedding)
    flow = SplineFlow(3, N_CONTEXT, config, rngs=nnx.Rngs(0))
    rows = jnp.zeros((5, 3)), jnp.zeros((5, N_CONTEXT))
    for way in (flow.to_base, flow.from_base):
        text = str(jax.make_jaxpr(jax.grad(lambda *both, way=way: way(*both)[1].sum(), 1))(*rows))
        assert text.count("dot_general[") > 10
        assert text.count("Precision.HIGHEST") == 2 * text.count("dot_general[")


@each_kind
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 6])
def test_round_trip_and_jacobian(dim, transform):
    with jax.enable_x64(True):
        flow = _random_flow(dim, transform)
        u = jax.random.normal(jax.random.key(2), (50, dim), jnp.float64)

        @jax.jit
        def there_and_back(u):
            z, log_det_back = flow.from_base(u, CONTEXT)
            jacobian = jax.vmap(jax.jacfwd(lambda z: flow.to_base(z, CONTEXT)[0]))(z)
            return log_det_back, *flow.to_base(z, CONTEXT), jnp.linalg.slogdet(jacobian)[1]

        log_det_back, back, log_det, expected = there_and_back(u)
        np.testing.assert_allclose(back, u, atol=1e-9)
        np.testing.assert_allclose(log_det, -log_det_back, atol=1e-9)
        np.testing.assert_allclose(log_det, expected, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_an_autoregressive_transform_is_triangular(dim):
    """Each coordinate is shaped by every one before it and by the context, and by no other."""
    layer = _moved(SplineAutoregressive(dim, N_CONTEXT, FlowConfig(bins=10), rngs=nnx.Rngs(0)))
    z = jax.random.uniform(jax.random.key(2), (dim,), minval=-2, maxval=2)

    def forward(z, context):
        return layer.forward(z, layer.network.project(context))[0]

    by_z, by_context = jax.jit(jax.jacfwd(forward, (0, 1)))(z, CONTEXT)
    assert np.all(np.triu(by_z, 1) == 0)
    assert np.all(by_z[np.tril_indices(dim)] != 0)
    assert np.all(by_context != 0)


@each_kind
def test_draws_carry_the_density_they_were_drawn_from(transform):
    flow = _random_flow(3, transform)
    z, log_q = flow.sample(jax.random.key(0), 500, CONTEXT, base_scale=1.6)
    np.testing.assert_allclose(log_q, flow.log_prob(z, CONTEXT, base_scale=1.6), atol=2e-3)


@each_kind
def test_contexts_broadcast_over_atoms(transform):
    """Projecting the context once for each row is the same as doing so for each atom."""
    flow = _random_flow(3, transform)
    z = jax.random.normal(jax.random.key(0), (5, 7, 3))
    contexts = jax.random.normal(jax.random.key(1), (5, N_CONTEXT))
    together = flow.log_prob(z, contexts[:, None, :])
    apart = flow.log_prob(z, jnp.broadcast_to(contexts[:, None, :], (5, 7, N_CONTEXT)))
    np.testing.assert_allclose(together, apart, rtol=2e-5, atol=2e-5)


def test_every_coordinate_is_moved():
    """With the location and scale left at the identity, the splines alone move each of them."""
    for dim in (1, 2, 3, 5, 6):
        orders = SplineFlow(dim, N_CONTEXT, FlowConfig(transforms=4), rngs=nnx.Rngs(0)).orders
        position, moved = np.arange(dim), set()
        for order in orders:
            position = position[list(order)]
            moved |= set(position[dim // 2 :].tolist())
        assert moved == set(range(dim))


def test_config_refuses_nonsense():
    with pytest.raises(InvalidInput, match=r"flow\.bins = 0"):
        FlowConfig(bins=0)
    for name in ("transform", "embedding"):
        with pytest.raises(InvalidInput, match=rf"flow\.{name} = 'masked'.*must be one of"):
            FlowConfig(**{name: "masked"})
