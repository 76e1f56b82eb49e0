"""Embedding networks: they start as the projection, and add to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import floppity_jax as fp
from floppity_jax.features import fit_features, project, whole_spectra
from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.embedding import N_LEARNED, N_SEEN, start_from_projection
from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.observation import Observation

DIM, CHANNELS, COMPONENTS = 2, 150, 4
each_kind = pytest.mark.parametrize("kind", ["mlp", "convolution"])


def _config(kind):
    return FlowConfig(transforms=2, width=8, blocks=1, components=COMPONENTS, embedding=kind)


def _new(kind, seed=0):
    return nnx.split(SplineFlow(DIM, CHANNELS, _config(kind), rngs=nnx.Rngs(seed)))


@each_kind
def test_training_starts_from_the_projection(kind):
    rng = np.random.default_rng(0)
    spectra = rng.normal(size=(300, 3)) @ rng.normal(size=(3, CHANNELS))
    observation = Observation(spectra[0], np.ones(CHANNELS))
    projected = fit_features(spectra, observation, COMPONENTS)
    if kind == "mlp":
        seen = fit_features(spectra, observation, CHANNELS)
        kernel = np.eye(CHANNELS, COMPONENTS)
    else:
        seen, kernel = whole_spectra(projected, spectra)
    graph, parameters = _new(kind)
    flow = nnx.merge(graph, start_from_projection(parameters, kernel))
    embedded = flow.embed(project(seen, spectra) * seen.scale)
    assert embedded.shape == (300, COMPONENTS + N_LEARNED)
    expected = project(projected, spectra) * projected.scale
    np.testing.assert_allclose(embedded[:, :COMPONENTS], expected, atol=1e-4)
    assert np.all(embedded[:, COMPONENTS:] == 0)


@each_kind
def test_members_of_an_ensemble_start_from_the_same_projection(kind):
    graph, first = _new(kind)
    _, second = _new(kind, seed=1)
    kernel = np.random.default_rng(0).normal(size=(CHANNELS, COMPONENTS))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)
    started = start_from_projection(stacked, kernel)
    assert jax.tree.structure(started) == jax.tree.structure(stacked)
    x = jnp.ones(CHANNELS)
    embedded = jax.vmap(lambda p: nnx.merge(graph, p).embed(x))(started)
    np.testing.assert_allclose(embedded[:, :COMPONENTS], [kernel.sum(axis=0)] * 2, rtol=1e-4)
    before = jax.vmap(lambda p: nnx.merge(graph, p).embed(x))(stacked)
    assert not np.allclose(before[:, :COMPONENTS], embedded[:, :COMPONENTS])


@each_kind
def test_draws_and_densities_go_through_the_embedding(kind):
    """Spectra of any batch shape; and what is learned does change the density."""
    graph, parameters = _new(kind)
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.03 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    flow = nnx.merge(graph, jax.tree.unflatten(structure, moved))
    spectra = jax.random.normal(jax.random.key(2), (3, CHANNELS))
    z, log_q = flow.sample(jax.random.key(0), 50, spectra[0])
    np.testing.assert_allclose(flow.log_prob(z, spectra[0]), log_q, atol=1e-3)
    together = flow.log_prob(z[:6].reshape(3, 2, DIM), spectra[:, None, :])
    apart = [flow.log_prob(z[2 * i : 2 * i + 2], spectra[i]) for i in range(3)]
    np.testing.assert_allclose(together, apart, atol=1e-4)

    def loss(parameters):
        return -nnx.merge(graph, parameters).log_prob(z[:3], spectra).mean()

    gradient = jax.grad(loss)(jax.tree.unflatten(structure, moved))["embedding"]
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient["network"]))
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient["projection"]))


def test_automatic_choice():
    config = FlowConfig()
    assert config.for_spectrum(1000, measured=False).embedding == "projection"
    assert config.for_spectrum(1001, measured=False).embedding == "mlp"
    assert config.for_spectrum(1001, measured=True).embedding == "projection"
    chosen = FlowConfig(embedding="convolution")
    assert chosen.for_spectrum(10, measured=False) is chosen
    assert SplineFlow(DIM, 16, config, rngs=nnx.Rngs(0)).embedding is None


def test_thousands_of_channels(tmp_path):
    """From the first round to a posterior read back; the network sees 256 components of them."""
    wavelength = np.linspace(0, 1, 1200)

    @fp.jax_batched
    def simulator(parameters):
        return parameters["a"][:, None] + parameters["b"][:, None] * wavelength

    rng = np.random.default_rng(0)
    seen = fp.Observation(1 + wavelength + rng.normal(size=1200), np.ones(1200))
    retrieval = fp.Retrieval(
        simulator,
        {"a": fp.Uniform(0, 2), "b": fp.Uniform(0, 2)},
        seen,
        flow=FlowConfig(transforms=1, width=8, blocks=1, members=2),
        training=fp.TrainingConfig(max_epochs=3),
        pool=1,
    )
    assert retrieval.problem(1).flow.embedding == "mlp"
    posterior = retrieval.run(2, 100, directory=tmp_path / "run", progress=False)
    assert posterior.density.context.size == N_SEEN
    # Means of a straight line by least squares, as wide as the posterior of so short a training.
    design = np.stack([np.ones(1200), wavelength], axis=1)
    mean, spread = np.linalg.lstsq(design, seen.values)[0], np.linalg.inv(design.T @ design)
    draws = posterior.sample(4000, seed=0)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 2 * np.sqrt(np.diag(spread)))
    read = retrieval.run(2, 100, directory=tmp_path / "run", resume=True, progress=False)
    np.testing.assert_array_equal(read.sample(4000, seed=0), draws)
