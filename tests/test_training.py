"""Training: what it does where the loss breaks, when it stops, and that members go their own way.

Each configuration compiles anew, which is what these tests take their time for: there are few.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from scipy import stats

import floppity_jax as fp
from floppity_jax import sequential, training
from floppity_jax.batches import ProjectedRows, draw_projected, pad_rows
from floppity_jax.density import CHUNK, Density, Whitening, new_flows
from floppity_jax.flows.config import FlowConfig
from floppity_jax.measurement import Measurement
from floppity_jax.mixture import Law
from floppity_jax.priors import ParameterSpace
from floppity_jax.training import MOST_ROLLBACKS, StopReason
from floppity_jax.training_config import TrainingConfig

DIM, N_INPUTS, N, ROWS = 2, 3, 500, 600
N_TRAIN = 450
DESIGN = np.random.default_rng(0).normal(size=(DIM, N_INPUTS))
KEY = jax.random.key(3)
FLOW = FlowConfig(transforms=2, bins=4, width=8, blocks=1, components=N_INPUTS, members=2)
CONFIG = TrainingConfig(warmup_steps=0, max_epochs=12)
# Far below the rounding of any weight: training stands still.
STILL = TrainingConfig(learning_rate=1e-30, patience=2, decays=2, decay=0.25)


@pytest.fixture(scope="module", autouse=True)
def _compile_fast():
    """Compiling dominates here, not running."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def _simulations(z, components, scale):
    z, components = (pad_rows(array, ROWS) for array in (z, components))
    return ProjectedRows(z, components, jnp.asarray(scale, float), jnp.ones(()))


def _data(rows=(), value=0.0):
    """Return a linear model of normal parameters, seen through noise; some rows may be broken."""
    z = np.random.default_rng(1).normal(size=(N, DIM))
    components = z @ DESIGN
    scale = 1 / np.sqrt(components.var(axis=0) + 1)
    components[list(rows)] = value
    return training.make_training_set(
        _simulations(z, components, scale), -0.5 * (z**2).sum(1), np.ones(N),
        n_rows=ROWS, validation_fraction=1 - N_TRAIN / N,
    )  # fmt: skip


def _flows(config=FLOW):
    return new_flows(jax.random.key(0), DIM, N_INPUTS, config)


def _recipe(graph, config, atomic=False):
    rows = training._rows_sharding(config.batch_size)
    return training._Recipe(graph, config, draw_projected, atomic, rows)


def _start(keys, graph, parameters, data, config, atomic=False):
    # Copies: the state is donated to the compiled epoch.
    arguments = keys, jax.tree.map(jnp.array, parameters), data
    return training._start(*_placed(arguments, config), _recipe(graph, config, atomic))


def _epoch(keys, epoch, orders, graph, state, data, config):
    keys, data = _placed((keys, data), config)
    return training._epoch(keys, np.int32(epoch), orders, state, data, _recipe(graph, config))


def _placed(tree, config):
    """On every device, as `training.fit` has it: what it compiled serves here too."""
    mesh = training._rows_sharding(config.batch_size).mesh
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _member(tree, i, squeeze=False):
    return jax.tree.map(lambda leaf: jnp.array(leaf[i] if squeeze else leaf[i : i + 1]), tree)


def _rows(orders, *validated):
    """Rows that each member validates on, where told so, or else trains on."""
    kept = [
        set((order[N_TRAIN:N] if last else order[:N_TRAIN]).tolist())
        for order, last in zip(np.asarray(orders), validated, strict=True)
    ]
    return sorted(set.intersection(*kept))


def _assert_equal(got, expected, atol=0.0):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def orders():
    graph, parameters = _flows()
    return _start(jax.random.split(KEY, 2), graph, parameters, _data(), CONFIG)[1]


@pytest.mark.parametrize(("value", "atomic"), [(np.nan, False), (1e30, False), (1e30, True)])
def test_a_loss_that_is_never_finite_gives_the_start_back(orders, value, atomic):
    """One row breaks every epoch of training; the validation rows, and so the start, are sound."""
    graph, parameters = _flows()
    data = _data(_rows(orders, False, False)[:1], value)
    got, record = training.fit(KEY, graph, parameters, data, CONFIG, atomic=atomic)
    _assert_equal(got, parameters)
    assert record.reason is StopReason.NON_FINITE
    assert record.rollbacks == 2 * MOST_ROLLBACKS
    assert len(record.validation_loss) == MOST_ROLLBACKS
    assert np.isfinite(record.best_loss)


def test_a_broken_epoch_goes_back_to_the_best_state_at_half_the_rate(orders):
    graph, parameters = _flows()
    keys = jax.random.split(KEY, 2)
    sound, broken = _data(), _data(_rows(orders, False, False)[:1], np.nan)
    state, _ = _start(keys, graph, parameters, sound, CONFIG)
    rates, losses = [], [np.array(state.best_loss)]
    for epoch, data in enumerate([sound, broken, broken, sound]):
        best = jax.tree.map(np.array, state.best_parameters)
        state, _, going = _epoch(keys, epoch, orders, graph, state, data, CONFIG)
        assert going
        if data is broken:
            _assert_equal(state.parameters, best)
            _assert_equal(state.best_parameters, best)
            assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.optimizer))
        rates.append(np.array(state.rate))
        losses.append(np.array(state.best_loss))
    np.testing.assert_array_equal(np.transpose(rates), [[1, 0.5, 0.25, 0.25]] * 2)
    np.testing.assert_array_equal(state.rollbacks, [2, 2])
    assert np.all(losses[1] < losses[0])
    np.testing.assert_array_equal(losses[3], losses[1])
    assert np.all(losses[4] < losses[3])  # it learns again


def test_a_member_that_is_never_finite_gives_its_place_to_another(orders):
    """The row lies among the validation rows of the first member; the second trains on it."""
    graph, parameters = _flows()
    data = _data(_rows(orders, True, False)[:1], np.nan)
    got, record = training.fit(KEY, graph, parameters, data, CONFIG)
    for member in range(2):
        _assert_equal(_member(got, member), _member(parameters, 1))
    assert record.reason is StopReason.NON_FINITE
    assert record.rollbacks == 2 * MOST_ROLLBACKS
    assert np.isfinite(record.best_loss)


def test_where_nothing_was_ever_finite_an_error_says_what_to_do():
    graph, parameters = _flows()
    with pytest.raises(FloatingPointError, match=r"Lower training\.learning_rate"):
        training.fit(KEY, graph, parameters, _data(range(N), np.nan), CONFIG)


@pytest.mark.parametrize(
    ("config", "atomic"),
    [(CONFIG, False), (CONFIG, True), (TrainingConfig(learning_rate=1e6, warmup_steps=0), False)],
    ids=["usual", "atomic", "absurd rate"],
)
def test_training_never_returns_worse_than_its_start(config, atomic):
    """By the validation loss, also as recomputed from what is returned, to float32 rounding."""
    graph, parameters = _flows()
    data, keys = _data(), jax.random.split(KEY, 2)
    start, _ = _start(keys, graph, parameters, data, config, atomic)
    got, record = training.fit(KEY, graph, parameters, data, config, atomic=atomic)
    before = float(start.best_loss.mean())
    assert record.best_loss <= before
    if config is CONFIG:
        assert record.best_loss < before - 0.1
        # Patience cannot run out that soon.
        assert record.reason is StopReason.MAX_EPOCHS
        assert len(record.train_loss) == len(record.validation_loss) == CONFIG.max_epochs
        assert record.rollbacks == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    end, _ = _start(keys, graph, got, data, config, atomic)
    assert float(end.best_loss.mean()) == pytest.approx(record.best_loss, rel=1e-5)


def test_members_trained_together_are_those_trained_alone():
    """Products of batched matrices may be rounded otherwise, and training amplifies that.

    With four keys, weights differed by at most 2.4e-7.
    """
    graph, parameters = _flows()
    data, keys = _data(), jax.random.split(KEY, 2)
    together, record = training.fit(KEY, graph, parameters, data, CONFIG)
    losses = []
    for member in range(2):
        key = keys[member : member + 1]
        state, orders = _start(key, graph, _member(parameters, member), data, CONFIG)
        for epoch in range(CONFIG.max_epochs):
            state, (_, loss), _ = _epoch(key, epoch, orders, graph, state, data, CONFIG)
            losses.append(float(loss[0]))
        _assert_equal(_member(together, member), state.best_parameters, atol=1e-4)
    each = np.reshape(losses, (2, -1))
    np.testing.assert_allclose(record.validation_loss, each.mean(axis=0), atol=1e-4)
    assert record.best_loss == pytest.approx(each.min(axis=1).mean(), abs=1e-4)


def test_a_member_that_has_stopped_keeps_its_best_state(orders):
    """However long the others go on."""
    graph, parameters = _flows()
    data, keys = _data(), jax.random.split(KEY, 2)
    state, _ = _start(keys, graph, parameters, data, CONFIG)
    before = np.array(state.best_loss)
    state = state._replace(decays=jnp.array([-1, 2], jnp.int32))
    for epoch in range(3):
        state, _, going = _epoch(keys, epoch, orders, graph, state, data, CONFIG)
        assert going
    _assert_equal(_member(state.best_parameters, 0), _member(parameters, 0))
    assert state.best_loss[0] == before[0]
    assert state.best_loss[1] < before[1]


def test_the_rate_falls_each_time_that_patience_runs_out():
    """With a rate too small to move a weight, no epoch is better than the start."""
    graph, parameters = _flows()
    data, keys = _data(), jax.random.split(KEY, 2)
    seen = []
    _, record = training.fit(
        KEY, graph, parameters, data, STILL, report=lambda *shown: seen.append(shown)
    )
    n_epochs = (1 + STILL.decays) * STILL.patience
    assert record.reason is StopReason.PATIENCE
    assert record.rollbacks == 0
    assert len(record.train_loss) == n_epochs
    assert seen == list(enumerate(record.validation_loss))
    state, orders = _start(keys, graph, parameters, data, STILL)
    rates = []
    for epoch in range(n_epochs):
        rates.append(float(state.rate[0]))
        state, _, going = _epoch(keys, epoch, orders, graph, state, data, STILL)
        assert bool(going) == (epoch + 1 < n_epochs)
    assert rates == [1, 1, 0.25, 0.25, 0.0625, 0.0625]


def test_a_linear_start_is_the_exact_posterior_of_a_linear_problem():
    """To float32 rounding, but for what is known; and the truth within sampling error.

    A noise-free linear model is regressed on without error. What is left is that the prior is taken
    to be normal with the mean and covariance of its draws, and that residuals are widened by
    n / (n - c - 1) (1 + c / n), for coefficients that have errors.
    """
    channels = 20
    design = np.random.default_rng(2).normal(size=(DIM, channels)) / 2
    values = np.array([0.8, -1.2]) @ design + np.random.default_rng(3).normal(size=channels)
    observation = fp.Observation(values, np.ones(channels))
    space = ParameterSpace({name: fp.Normal(0, 1) for name in "ab"})
    measurement = Measurement(observation, space)
    problem = sequential.Problem(DIM, measurement, FLOW, STILL, "truncated", ROWS)
    z = np.random.default_rng(4).normal(size=(N, DIM))
    state = sequential.add(sequential.init(problem), z, z @ design, Law(N))
    density = sequential.learn(jax.random.key(0), problem, state).density

    def posterior(mean, covariance):
        gain = covariance @ design
        gain = np.linalg.solve(design.T @ covariance @ design + np.eye(channels), gain.T)
        return mean + (values - mean @ design) @ gain, covariance - gain.T @ design.T @ covariance

    # The density is normal: its logarithm is a polynomial of second degree.
    mean, covariance = posterior(z.mean(axis=0), np.cov(z.T, bias=True))
    x, y = points = stats.multivariate_normal(mean, covariance).rvs(1000, random_state=5).T
    terms = np.stack([np.ones(1000), x, y, x**2, x * y, y**2], axis=1)
    (_, *slope, xx, xy, yy), (rest,), _, _ = np.linalg.lstsq(terms, density.log_prob(points.T))
    assert rest < 1000 * 1e-3**2
    found = np.linalg.inv([[-2 * xx, -xy], [-xy, -2 * yy]])
    c = len(density.context)
    expected = N / (N - c - 1) * (1 + c / N) * covariance
    # Whitening divides by n - 1, which adds 1 / n of the prior's variance.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1.5 / N)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((found @ slope - mean) / sd, 0, atol=2e-3)

    mean, covariance = posterior(np.zeros(DIM), np.eye(DIM))
    # The prior's moments have relative errors of 1 / sqrt(n) and sqrt(2 / n), of which the
    # posterior, narrower, has a part; the draws add their own.
    m = 20_000
    draws = density.draw(jax.random.key(1), m)
    error = 5 * np.sqrt(1 / N + 1 / m)
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / sd, 0, atol=error)
    residual = (np.cov(draws.T) - covariance) / np.outer(sd, sd)
    np.testing.assert_allclose(residual, 0, atol=np.sqrt(2) * error)


def _ensemble(shifts):
    """Flows with splines far from the identity, each about its own place."""
    config = FlowConfig(transforms=2, bins=4, width=8, blocks=1, members=len(shifts))
    graph, parameters = _flows(config)
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.1 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    members = []
    for i, shift in enumerate(shifts):
        flow = nnx.merge(graph, _member(jax.tree.unflatten(structure, moved), i, squeeze=True))
        coefficients = jnp.zeros((N_INPUTS, DIM)).at[0, 0].set(shift)
        flow.location_scale.start_linear(coefficients, jnp.array([[1.2, 0.0], [0.5, 0.8]]))
        members.append(nnx.split(flow)[1])
    context = np.array([1.0, 0.5, -0.5], np.float32)
    whitening = Whitening(np.array([0.3, -0.2]), np.array([[0.7, 0.0], [0.4, 1.1]]))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    return Density(graph, stacked, context, whitening)


def test_the_density_of_an_ensemble_is_the_mean_of_its_members_and_integrates_to_one():
    density = _ensemble([-1.5, 0.0, 2.0])
    axis = np.linspace(-8, 8, 161)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, DIM)
    p = np.exp(density.log_prob(grid))
    # The rule errs by about the square of the spacing, over 12, times kinks of order one: 8e-4.
    assert p.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=4e-3)
    points = density.draw(jax.random.key(0), CHUNK)
    each = [
        np.exp(density._replace(parameters=_member(density.parameters, i)).log_prob(points))
        for i in range(3)
    ]
    p = np.exp(density.log_prob(points))
    np.testing.assert_allclose(p, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    # They differ, so that the mean is none of them.
    assert min(np.abs(p - q).max() for q in each) > 0.01


def test_draws_come_in_equal_shares_and_in_no_order():
    """Three do not divide a chunk: it holds as many of each member, to one."""
    density = _ensemble([0.0, 40.0, 80.0])
    n = 2 * CHUNK
    white = density.whitening.whiten(density.draw(jax.random.key(2), n))
    member = np.round(white[:, 0] / 40).astype(int)
    counts = np.bincount(member)
    assert len(counts) == 3
    assert np.abs(counts - n / 3).max() <= 2
    # What the first 300 hold, chance decides.
    assert np.abs(np.bincount(member[:300]) - 100).max() < 5 * np.sqrt(300 * 2 / 9)
