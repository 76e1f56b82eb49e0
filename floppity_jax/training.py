"""Fit an ensemble of flows: compiled epochs, noise drawn afresh at each step, best states.

One compiled function runs a whole epoch of every member and its validation. Arrays are padded to
the size of the whole run, so that every round calls the same compiled function; how many rows are
in use is data. What decides whether a member goes on (its best state, its rate, its patience) is
carried in the compiled state, so that members stop, or roll back, each for itself.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from floppity_jax import losses
from floppity_jax.batches import Draw, draw_projected, pad_rows
from floppity_jax.flows.ensemble import over_members
from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.training_config import TrainingConfig
from floppity_jax.typing import Array, Bool, Float, Int, Key

# Steps between two looks at the validation loss, at least, however few the simulations: patience is
# counted in these looks, and a flow does not learn in two steps.
LEAST_STEPS = 16
# Non-finite losses of one member that are rolled back before it is given up.
MOST_ROLLBACKS = 8


class StopReason(enum.Enum):
    """Why training ended."""

    PATIENCE = "the validation loss stopped falling"
    MAX_EPOCHS = "the ceiling of epochs was reached"
    NON_FINITE = "the loss was not finite time and again; the best state is kept"


class TrainingSet(NamedTuple):
    """What is learned from, padded to a fixed number of rows.

    Attributes
    ----------
    rows : pytree of arrays
        Simulations, for the `batches.Draw` of the training.
    log_prior : array (rows,)
        ``log p(z)`` up to a constant.
    from_prior : array (rows,)
        1 where the row was drawn from the prior, else 0.
    n_train, n_validation : int
        How many of the rows in use are trained on, and how many validated on: which, is the
        member's own affair.
    """

    rows: Any
    log_prior: Float[Array, " rows"]
    from_prior: Float[Array, " rows"]
    n_train: Int[Array, ""]
    n_validation: Int[Array, ""]


class TrainingRecord(NamedTuple):
    """How a training went.

    Attributes
    ----------
    train_loss, validation_loss : list of float
        One an epoch, mean of the members.
    reason : StopReason
        Why it ended.
    rollbacks : int
        Times that a loss was not finite and a member went back to its best state at half the rate.
    best_loss : float
        Lowest validation losses: those of the returned parameters, mean of the members.
    """

    train_loss: list[float]
    validation_loss: list[float]
    reason: StopReason
    rollbacks: int
    best_loss: float


class _Recipe(NamedTuple):
    """What a training is compiled for.

    Attributes
    ----------
    graph : nnx.GraphDef
        Structure of the flow.
    config : TrainingConfig
        How to train.
    draw : callable
        Returns the parameters and network inputs of the rows of a batch.
    atomic : bool
        By the loss of APT.
    rows : NamedSharding
        How the rows of a batch are spread over devices.
    """

    graph: nnx.GraphDef[SplineFlow]
    config: TrainingConfig
    draw: Draw
    atomic: bool
    rows: NamedSharding


class _State(NamedTuple):
    """One member in training; stacked along a leading axis for the ensemble."""

    parameters: Any
    optimizer: Any
    best_parameters: Any
    best_loss: Float[Array, ""]
    rate: Float[Array, ""]  # share of the learning rate
    steps: Int[Array, ""]
    since_best: Int[Array, ""]
    decays: Int[Array, ""]
    rollbacks: Int[Array, ""]

    @property
    def goes_on(self) -> Bool[Array, ""]:
        return (self.decays >= 0) & (self.rollbacks < MOST_ROLLBACKS)


def make_training_set(
    rows: Any,
    log_prior: Float[np.ndarray, " n"],
    from_prior: Float[np.ndarray, " n"],
    *,
    n_rows: int,
    validation_fraction: float,
) -> TrainingSet:
    """Count how many rows are validated on, and pad to ``n_rows``: ``rows`` has that many."""
    n = len(log_prior)
    n_validation = max(1, round(validation_fraction * n))
    return TrainingSet(
        rows,
        pad_rows(log_prior, n_rows),
        pad_rows(from_prior, n_rows),
        jnp.int32(n - n_validation),
        jnp.int32(n_validation),
    )


def fit(
    key: Key,
    graph: nnx.GraphDef[SplineFlow],
    parameters: Any,
    data: TrainingSet,
    config: TrainingConfig,
    *,
    draw: Draw = draw_projected,
    atomic: bool = False,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[Any, TrainingRecord]:
    """Train every member until its validation loss stops falling; return the best parameters.

    Parameters
    ----------
    key
        For the split, shuffling, noise and atoms.
    graph, parameters
        The flows, taken apart by ``nnx.split``, parameters stacked along a leading axis of members;
        they are where training starts.
    data
        From `make_training_set`. Each member validates on rows of its own choice.
    config
        How to train.
    draw
        Returns the parameters and network inputs of picked rows.
    atomic
        Train with the atomic loss of APT rather than by maximum likelihood.
    report
        Called after each epoch with its number and mean validation loss.

    Returns
    -------
    parameters
        Those of each member's epoch with the lowest validation loss, stacked.
    record
        Losses, and why training ended.

    Raises
    ------
    FloatingPointError
        Where no epoch of any member had a finite loss.
    """
    members = len(jax.tree.leaves(parameters)[0])
    rows = _rows_sharding(config.batch_size)
    recipe = _Recipe(graph, config, draw, atomic, rows)
    # Copies: the state is donated to the compiled epoch, the caller's arrays are not.
    keys, parameters, data = jax.device_put(
        (jax.random.split(key, members), jax.tree.map(jnp.array, parameters), data),
        NamedSharding(rows.mesh, PartitionSpec()),
    )
    state, orders = _start(keys, parameters, data, recipe)
    train_losses: list[float] = []
    validation_losses: list[float] = []
    reason = StopReason.MAX_EPOCHS
    for epoch in range(config.max_epochs):
        state, epoch_losses, going = _epoch(keys, np.int32(epoch), orders, state, data, recipe)
        train_loss, validation_loss = (_mean_of_finite(np.asarray(each)) for each in epoch_losses)
        train_losses.append(train_loss)
        validation_losses.append(validation_loss)
        report(epoch, validation_loss)
        if not going:
            reason = StopReason.PATIENCE
            break
    best = np.asarray(state.best_loss)
    rollbacks = np.asarray(state.rollbacks)
    if not np.isfinite(best).any():
        raise FloatingPointError(
            "training diverged from its first epoch on: the loss is not finite. Lower "
            f"training.learning_rate (now {config.learning_rate}), or look for simulations "
            "that differ from the rest by many orders of magnitude."
        )
    if (rollbacks >= MOST_ROLLBACKS).any():
        reason = StopReason.NON_FINITE
    # A member that never had a finite loss gives its place to the best of the others.
    sound = np.where(np.isfinite(best), np.arange(members), int(np.nanargmin(best)))
    chosen = jax.tree.map(lambda leaf: leaf[sound], state.best_parameters)
    record = TrainingRecord(
        train_losses, validation_losses, reason, int(rollbacks.sum()), float(best[sound].mean())
    )
    return chosen, record


def _mean_of_finite(each: Float[np.ndarray, " members"]) -> float:
    """Mean over the members whose loss is finite; NaN where none is."""
    finite = each[np.isfinite(each)]
    return float(finite.mean()) if finite.size else float("nan")


def _rows_sharding(batch_size: int) -> NamedSharding:
    """Spread the rows of a batch over all local devices, or as many as divide it."""
    devices = jax.local_devices()
    n = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return NamedSharding(Mesh(np.array(devices[:n]), ("rows",)), PartitionSpec("rows"))


@functools.partial(jax.jit, static_argnames=("recipe",))
def _start(
    keys: Key, parameters: Any, data: TrainingSet, recipe: _Recipe
) -> tuple[_State, Int[Array, "members rows"]]:
    """Return every member at the start of training, and its rows: training ones first."""
    zero, config = jnp.int32(0), recipe.config

    def one(key: Key, parameters: Any) -> tuple[_State, Array]:
        rows = len(data.log_prior)
        order = _shuffled(jax.random.fold_in(key, 0), rows, data.n_train + data.n_validation)
        loss = _validation_loss(parameters, key, order, data, recipe)
        # Training from here may only improve on the start, which may be good already.
        loss = jnp.where(jnp.isfinite(loss), loss, jnp.inf)
        optimizer = _optimizer(config).init(parameters)
        state = _State(
            parameters, optimizer, parameters, loss, jnp.ones(()), zero, zero,
            jnp.int32(config.decays), zero,
        )  # fmt: skip
        return state, order

    return over_members(one)(keys, parameters)


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW at rate 1: what it returns is multiplied by the rate of the moment."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay),
    )


def _shuffled(key: Key, rows: int, n: Int[Array, ""]) -> Int[Array, " rows"]:
    """Random order of the first ``n`` of ``rows`` rows; the others follow."""
    priority = jax.random.uniform(key, (rows,))
    return jnp.argsort(jnp.where(jnp.arange(rows) < n, priority, jnp.inf)).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("recipe",), donate_argnames=("state",))
def _epoch(
    keys: Key,
    epoch: Int[Array, ""],
    orders: Int[Array, "members rows"],
    state: _State,
    data: TrainingSet,
    recipe: _Recipe,
) -> tuple[_State, tuple[Array, Array], Bool[Array, ""]]:
    """One epoch of every member; also tells whether any of them goes on."""

    def one(key: Key, order: Array, state: _State) -> tuple[_State, tuple[Array, Array]]:
        return _member_epoch(key, epoch, order, state, data, recipe)

    state, losses_ = over_members(one)(keys, orders, state)
    return state, losses_, state.goes_on.any()


def _member_epoch(
    key: Key,
    epoch: Int[Array, ""],
    order: Int[Array, " rows"],
    state: _State,
    data: TrainingSet,
    recipe: _Recipe,
) -> tuple[_State, tuple[Array, Array]]:
    """Pass once through the training rows, then validate and see how to go on."""
    key_order, key_steps = jax.random.split(jax.random.fold_in(key, 1 + epoch))
    config = recipe.config
    optimizer = _optimizer(config)
    batch_size = config.batch_size
    shuffled = order[_shuffled(key_order, len(order), data.n_train)]
    n_steps = jnp.maximum(data.n_train // batch_size, LEAST_STEPS)

    def loss(parameters: Any, key: Key, picked: Array) -> Array:
        return _losses(parameters, key, data, picked, data.n_train, recipe).mean()

    def step(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        parameters, opt_state, total = carry
        # A small training set is gone through more than once.
        picked = shuffled[(i * batch_size + jnp.arange(batch_size)) % data.n_train]
        value, gradient = jax.value_and_grad(loss)(
            parameters, jax.random.fold_in(key_steps, i), picked
        )
        updates, opt_state = optimizer.update(gradient, opt_state, parameters)
        warm = jnp.minimum(1.0, (state.steps + i + 1) / max(config.warmup_steps, 1))
        rate = config.learning_rate * state.rate * warm
        parameters = jax.tree.map(lambda p, u: p - rate * u, parameters, updates)
        return parameters, opt_state, total + value

    parameters, opt_state, total = jax.lax.fori_loop(
        0, n_steps, step, (state.parameters, state.optimizer, jnp.zeros(()))
    )
    validation = _validation_loss(parameters, key, order, data, recipe)
    losses_ = (total / n_steps, validation)
    trained = state._replace(
        parameters=parameters, optimizer=opt_state, steps=state.steps + n_steps
    )
    return _judge(state, trained, losses_, optimizer, config), losses_


def _judge(
    before: _State,
    after: _State,
    losses_: tuple[Array, Array],
    optimizer: optax.GradientTransformation,
    config: TrainingConfig,
) -> _State:
    """Keep the better state; lower the rate where patience ran out or the loss was not finite."""
    train, validation = losses_
    broken = ~(jnp.isfinite(train) & jnp.isfinite(validation))
    better = ~broken & (validation < before.best_loss) & before.goes_on

    def choose(where: Array, yes: Any, no: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(where, a, b), yes, no)

    best_parameters = choose(better, after.parameters, before.best_parameters)
    since_best = jnp.where(better, 0, before.since_best + 1)
    stuck = ~broken & (since_best >= config.patience)
    back = broken | stuck
    return after._replace(
        parameters=choose(back, best_parameters, after.parameters),
        optimizer=choose(back, optimizer.init(best_parameters), after.optimizer),
        best_parameters=best_parameters,
        best_loss=jnp.where(better, validation, before.best_loss),
        rate=before.rate * jnp.where(broken, 0.5, jnp.where(stuck, config.decay, 1.0)),
        since_best=jnp.where(back, 0, since_best),
        decays=before.decays - stuck,
        rollbacks=before.rollbacks + (broken & before.goes_on),
    )


def _validation_loss(
    parameters: Any,
    key: Key,
    order: Int[Array, " rows"],
    data: TrainingSet,
    recipe: _Recipe,
) -> Array:
    """Mean loss of the validation rows, each with several draws of noise."""
    batch_size = recipe.config.batch_size
    key = jax.random.fold_in(key, 0)  # the same noise and atoms in every epoch
    n = recipe.config.validation_draws * data.n_validation

    def add(i: Array, total: Array) -> Array:
        place = i * batch_size + jnp.arange(batch_size)
        picked = order[data.n_train + place % data.n_validation]
        each = _losses(
            parameters, jax.random.fold_in(key, i), data, picked, data.n_validation, recipe
        )
        return total + jnp.sum(jnp.where(place < n, each, 0.0))

    return jax.lax.fori_loop(0, -(-n // batch_size), add, jnp.zeros(())) / n


def _losses(
    parameters: Any,
    key: Key,
    data: TrainingSet,
    picked: Int[Array, " batch"],
    n_distinct: Int[Array, ""],
    recipe: _Recipe,
) -> Float[Array, " batch"]:
    """Losses of the picked rows, with noise (and atoms) drawn from ``key``."""
    key_noise, key_atoms = jax.random.split(key)
    flow = nnx.merge(recipe.graph, parameters)
    # The compiler follows from here: each device works on its rows, gradients are summed over all.
    picked = jax.lax.with_sharding_constraint(picked, recipe.rows)
    z, context = recipe.draw(key_noise, data.rows, picked)
    if not recipe.atomic:
        return losses.negative_log_likelihood(flow, z, context)
    atoms = losses.draw_atoms(key_atoms, len(picked), recipe.config.atoms, n_distinct)
    each, log_q = losses.atomic(flow, z, context, data.log_prior[picked], atoms)
    if not recipe.config.combined_loss:
        return each
    # The atomic loss says nothing of the density where no atom lies: what the flow puts there goes
    # unseen. Maximum likelihood on the draws from the prior, right for the same posterior, pins it.
    return each - data.from_prior[picked] * log_q
