"""Training: what it does where the loss breaks, when it stops, and that members go their own way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import floppity_jax as fp
from floppity_jax import sequential, training
from floppity_jax.density import CHUNK, Density, Whitening, new_flows, start_linear
from floppity_jax.flows.spline_flow import FlowConfig
from floppity_jax.training import MOST_ROLLBACKS, StopReason, TrainingConfig

SMALL = FlowConfig(transforms=2, bins=4, width=8, blocks=1, components=3)
DIM, N_INPUTS, N, ROWS = 2, 3, 500, 600
DESIGN = np.random.default_rng(0).normal(size=(DIM, N_INPUTS))
# The training rate alone decides: far below the rounding of any weight, it stands still.
STILL = 1e-30


def _data(components=None):
    """Return a linear model of normal parameters, seen through unit noise."""
    z = np.random.default_rng(1).normal(size=(N, DIM))
    components = z @ DESIGN if components is None else components
    scale = 1 / np.sqrt((z @ DESIGN).var(axis=0) + 1)
    return training.make_training_set(
        z, components, -0.5 * (z**2).sum(1), np.ones(N), scale, 1.0,
        rows=ROWS, validation_fraction=0.1,
    )  # fmt: skip


def _flows(members=2, seed=0):
    config = FlowConfig(transforms=2, bins=4, width=8, blocks=1, members=members)
    return new_flows(jax.random.key(seed), DIM, N_INPUTS, config)


KEY = jax.random.key(3)


def _start(graph, parameters, data, config, atomic=False, key=KEY):
    keys = jax.random.split(key, len(jax.tree.leaves(parameters)[0]))
    copies = jax.tree.map(jnp.array, parameters)
    return keys, *training._start(keys, graph, copies, data, config, atomic)


def _bad_rows(orders, kept_for_validation):
    """Rows on which, member by member, training (False) or validation (True) alone would break."""
    n_train = N - round(0.1 * N)
    wanted = np.ones(N, bool)
    for order, validated in zip(np.asarray(orders), kept_for_validation, strict=True):
        rows = order[n_train:N] if validated else order[:n_train]
        wanted &= np.isin(np.arange(N), rows)
    return np.flatnonzero(wanted)


def _broken(rows, value):
    components = np.array(_data().components[:N])
    components[rows] = value
    return _data(components)


def _assert_equal(got, expected, **tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, 1e30])
@pytest.mark.parametrize("atomic", [False, True])
def test_a_loss_that_is_never_finite_gives_the_start_back(value, atomic):
    """One row breaks every training epoch; the validation rows, and so the start, are sound."""
    graph, parameters = _flows()
    config = TrainingConfig()
    _, _, orders = _start(graph, parameters, _data(), config, atomic)
    data = _broken(_bad_rows(orders, [False, False])[:1], value)
    got, record = training.fit(KEY, graph, parameters, data, config, atomic=atomic)
    _assert_equal(got, parameters)
    assert record.reason is StopReason.NON_FINITE
    assert record.rollbacks == 2 * MOST_ROLLBACKS
    assert len(record.validation_loss) == MOST_ROLLBACKS
    assert np.isfinite(record.best_loss)


def test_a_broken_epoch_goes_back_to_the_best_state_at_half_the_rate():
    graph, parameters = _flows()
    config = TrainingConfig(warmup_steps=0)
    keys, state, orders = _start(graph, parameters, _data(), config)
    broken = _broken(_bad_rows(orders, [False, False])[:1], np.nan)
    rates, best = [], [np.asarray(state.best_loss)]
    for epoch, data in enumerate([_data(), broken, broken, _data()]):
        before = jax.tree.map(np.array, state.best_parameters)  # the state is donated
        state, _, going = training._epoch(
            keys, jnp.int32(epoch), orders, graph, state, data, config, False
        )
        assert going
        rates.append(float(state.rate[0]))
        best.append(np.asarray(state.best_loss))
        if data is broken:
            _assert_equal(state.parameters, before)
            _assert_equal(state.best_parameters, before)
            assert not np.any(jax.tree.leaves(state.optimizer)[0])  # Adam starts anew
    assert rates == [1, 0.5, 0.25, 0.25]
    np.testing.assert_array_equal(state.rollbacks, [2, 2])
    assert np.all(best[1] < best[0])
    np.testing.assert_array_equal(best[3], best[1])
    assert np.all(best[4] < best[3])  # and it learns again


def test_a_member_that_is_never_finite_gives_its_place_to_the_best():
    """The row lies among the validation rows of the first member, and is trained on by others."""
    graph, parameters = _flows(3)
    config = TrainingConfig()
    _, start, orders = _start(graph, parameters, _data(), config)
    data = _broken(_bad_rows(orders, [True, False, False])[:1], np.nan)
    got, record = training.fit(KEY, graph, parameters, data, config)
    place = 1 + int(np.argmin(np.asarray(start.best_loss)[1:]))
    _assert_equal(got, jax.tree.map(lambda leaf: leaf[jnp.array([place, 1, 2])], parameters))
    assert record.reason is StopReason.NON_FINITE
    assert record.rollbacks == 3 * MOST_ROLLBACKS


def test_where_nothing_was_ever_finite_an_error_says_what_to_do():
    graph, parameters = _flows()
    data = _broken(np.arange(N), np.nan)
    with pytest.raises(FloatingPointError, match=r"Lower training\.learning_rate"):
        training.fit(KEY, graph, parameters, data, TrainingConfig())


@pytest.mark.parametrize("learning_rate", [STILL, 2e-3, 1.0, 1e6])
@pytest.mark.parametrize("atomic", [False, True])
def test_training_never_returns_worse_than_its_start(learning_rate, atomic):
    """Judged by the validation rows: recomputed from what is returned, to float32 rounding."""
    graph, parameters = _flows()
    data = _data()
    config = TrainingConfig(learning_rate=learning_rate, max_epochs=4, warmup_steps=0)
    _, start, _ = _start(graph, parameters, data, config, atomic)
    got, record = training.fit(KEY, graph, parameters, data, config, atomic=atomic)
    assert record.best_loss <= float(start.best_loss.mean())
    if learning_rate == 2e-3:
        assert record.best_loss < float(start.best_loss.mean())
    _, end, _ = _start(graph, got, data, config, atomic)
    assert float(end.best_loss.mean()) == pytest.approx(record.best_loss, rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def _alone(member, graph, parameters, data, config):
    """Train one member by itself, with the key that it has in the ensemble."""
    keys = jax.random.split(KEY, len(jax.tree.leaves(parameters)[0]))[member : member + 1]
    # Not donated twice: a slice is a copy.
    own = jax.tree.map(lambda leaf: jnp.array(leaf[member : member + 1]), parameters)
    state, orders = training._start(keys, graph, own, data, config, False)
    for epoch in range(config.max_epochs):
        state, _, going = training._epoch(
            keys, jnp.int32(epoch), orders, graph, state, data, config, False
        )
        if not going:
            break
    return state, epoch + 1
