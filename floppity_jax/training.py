"""Fit a flow: compiled epochs, noise drawn afresh at each step, early stopping, best state.

One compiled function runs a whole epoch and its validation. Arrays are padded to the size of the
whole run, so that every round calls the same compiled function; how many rows are in use is data.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from floppity_jax import losses
from floppity_jax.errors import InvalidInput, require_positive
from floppity_jax.flows.spline_flow import SplineFlow
from floppity_jax.typing import Array, Float, Int, Key

# Steps between two looks at the validation loss, however few the simulations: patience is counted
# in these looks, and a flow does not learn in two steps.
LEAST_STEPS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the flow is trained.

    Attributes
    ----------
    batch_size : int
        Simulations a step.
    learning_rate : float
        Of Adam.
    clip_norm : float
        Largest norm of a gradient.
    patience : int
        Epochs without a better validation loss after which training stops.
    max_epochs : int
        Ceiling of epochs a round.
    validation_fraction : float
        Share of the simulations kept out of training, to tell when to stop.
    atoms : int
        Atoms of the APT loss; at most ``batch_size``.
    """

    batch_size: int = 100
    learning_rate: float = 1e-3
    clip_norm: float = 5.0
    patience: int = 15
    max_epochs: int = 500
    validation_fraction: float = 0.1
    atoms: int = 10

    def __post_init__(self) -> None:
        require_positive("training", dataclasses.asdict(self))
        if self.validation_fraction >= 0.5:
            raise InvalidInput(
                "training.validation_fraction", self.validation_fraction, "must be below 0.5",
                "0.1 is a good choice.",
            )  # fmt: skip
        if not 2 <= self.atoms <= self.batch_size:
            raise InvalidInput(
                "training.atoms", self.atoms, f"must lie in 2 .. batch_size = {self.batch_size}",
                "Lower atoms or raise batch_size.",
            )  # fmt: skip


class StopReason(enum.Enum):
    """Why training ended."""

    PATIENCE = "the validation loss stopped falling"
    MAX_EPOCHS = "the ceiling of epochs was reached"
    NON_FINITE = "the loss was not finite; the best state before that is kept"


class TrainingSet(NamedTuple):
    """What is learned from, padded to a fixed number of rows.

    Attributes
    ----------
    z : array (rows, d)
        Whitened parameters.
    components : array (rows, c)
        Projected noise-free spectra.
    log_prior : array (rows,)
        ``log p(z)`` up to a constant.
    from_prior : array (rows,)
        1 where the row was drawn from the prior, else 0.
    scale : array (c,)
        Turns components with noise into inputs.
    noise : float
        Standard deviation of the noise on a component.
    n_train, n_validation : int
        Rows in use: first the ones to train on, then the ones to validate on.
    """

    z: Float[Array, "rows d"]
    components: Float[Array, "rows c"]
    log_prior: Float[Array, " rows"]
    from_prior: Float[Array, " rows"]
    scale: Float[Array, " c"]
    noise: Float[Array, ""]
    n_train: Int[Array, ""]
    n_validation: Int[Array, ""]


class TrainingRecord(NamedTuple):
    """How a training went.

    Attributes
    ----------
    train_loss, validation_loss : list of float
        One an epoch.
    reason : StopReason
        Why it ended.
    """

    train_loss: list[float]
    validation_loss: list[float]
    reason: StopReason

    @property
    def best_loss(self) -> float:
        """Lowest validation loss: that of the returned parameters."""
        return min(loss for loss in self.validation_loss if np.isfinite(loss))


class _State(NamedTuple):
    parameters: Any
    optimizer: Any
    best_parameters: Any
    best_loss: Float[Array, ""]


def make_training_set(
    key: Key,
    z: Float[np.ndarray, "n d"],
    components: Float[np.ndarray, "n c"],
    log_prior: Float[np.ndarray, " n"],
    from_prior: Float[np.ndarray, " n"],
    scale: Float[np.ndarray, " c"],
    noise: float,
    *,
    rows: int,
    validation_fraction: float,
) -> TrainingSet:
    """Shuffle once, set the validation rows apart, and pad to ``rows`` rows."""
    n = len(z)
    order = np.asarray(jax.random.permutation(key, n))
    n_validation = max(1, round(validation_fraction * n))

    def pad(array: np.ndarray) -> Array:
        widths = [(0, rows - n)] + [(0, 0)] * (array.ndim - 1)
        return jnp.asarray(np.pad(array[order], widths), dtype=jnp.float32)

    return TrainingSet(
        pad(z),
        pad(components),
        pad(log_prior),
        pad(from_prior),
        jnp.asarray(scale, jnp.float32),
        jnp.float32(noise),
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
    atomic: bool = False,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[Any, TrainingRecord]:
    """Train until the validation loss stops falling; return the best parameters.

    Parameters
    ----------
    key
        For shuffling, noise and atoms.
    graph, parameters
        The flow, taken apart by ``nnx.split``; ``parameters`` is where training starts.
    data
        From `make_training_set`.
    config
        How to train.
    atomic
        Train with the atomic loss of APT rather than by maximum likelihood.
    report
        Called after each epoch with its number and validation loss.

    Returns
    -------
    parameters
        Those of the epoch with the lowest validation loss.
    record
        Losses, and why training ended.
    """
    key_epochs, key_validation = jax.random.split(key)
    optimizer = _optimizer(config)
    # A copy: the state is donated to the compiled epoch, the caller's arrays are not.
    state = jax.tree.map(
        jnp.array, _State(parameters, optimizer.init(parameters), parameters, jnp.float32(jnp.inf))
    )
    train_losses: list[float] = []
    validation_losses: list[float] = []
    best, since_best = np.inf, 0
    reason = StopReason.MAX_EPOCHS
    for epoch in range(config.max_epochs):
        key_epoch = jax.random.fold_in(key_epochs, epoch)
        state, epoch_losses = _epoch(key_epoch, key_validation, graph, state, data, config, atomic)
        train_loss, validation_loss = (float(loss) for loss in epoch_losses)
        train_losses.append(train_loss)
        validation_losses.append(validation_loss)
        if not (np.isfinite(train_loss) and np.isfinite(validation_loss)):
            reason = StopReason.NON_FINITE
            break
        report(epoch, validation_loss)
        since_best = 0 if validation_loss < best else since_best + 1
        best = min(best, validation_loss)
        if since_best >= config.patience:
            reason = StopReason.PATIENCE
            break
    if not np.isfinite(best):
        raise FloatingPointError(
            "training diverged in its first epoch: the loss is not finite. Lower "
            f"training.learning_rate (now {config.learning_rate}), or look for simulations "
            "that differ from the rest by many orders of magnitude."
        )
    return state.best_parameters, TrainingRecord(train_losses, validation_losses, reason)


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.adam(config.learning_rate)
    )


@functools.partial(
    jax.jit, static_argnames=("graph", "config", "atomic"), donate_argnames=("state",)
)
def _epoch(
    key: Key,
    key_validation: Key,
    graph: nnx.GraphDef[SplineFlow],
    state: _State,
    data: TrainingSet,
    config: TrainingConfig,
    atomic: bool,
) -> tuple[_State, tuple[Array, Array]]:
    """Pass once through the training rows, then validate and keep the better parameters."""
    optimizer = _optimizer(config)
    rows = data.z.shape[0]
    key_order, key_steps = jax.random.split(key)
    priority = jax.random.uniform(key_order, (rows,))
    order = jnp.argsort(jnp.where(jnp.arange(rows) < data.n_train, priority, jnp.inf))
    batch_size = config.batch_size
    n_steps = jnp.maximum(data.n_train // batch_size, LEAST_STEPS)

    def loss(parameters: Any, key: Key, picked: Array) -> Array:
        return _losses(parameters, key, graph, data, picked, data.n_train, config, atomic).mean()

    def step(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        parameters, opt_state, total = carry
        # A small training set is gone through more than once.
        picked = order[(i * batch_size + jnp.arange(batch_size)) % data.n_train]
        value, gradient = jax.value_and_grad(loss)(
            parameters, jax.random.fold_in(key_steps, i), picked
        )
        updates, opt_state = optimizer.update(gradient, opt_state, parameters)
        return optax.apply_updates(parameters, updates), opt_state, total + value

    parameters, opt_state, total = jax.lax.fori_loop(
        0, n_steps, step, (state.parameters, state.optimizer, jnp.float32(0))
    )
    validation = _validation_loss(parameters, key_validation, graph, data, config, atomic)
    better = validation < state.best_loss
    best_parameters = jax.tree.map(
        lambda new, old: jnp.where(better, new, old), parameters, state.best_parameters
    )
    best_loss = jnp.where(better, validation, state.best_loss)
    return _State(parameters, opt_state, best_parameters, best_loss), (total / n_steps, validation)


def _validation_loss(
    parameters: Any,
    key: Key,
    graph: nnx.GraphDef[SplineFlow],
    data: TrainingSet,
    config: TrainingConfig,
    atomic: bool,
) -> Array:
    """Mean loss of the validation rows; the same noise and atoms each time it is called."""
    batch_size = config.batch_size
    n_batches = -(-data.n_validation // batch_size)

    def add(i: Array, total: Array) -> Array:
        place = i * batch_size + jnp.arange(batch_size)
        picked = data.n_train + place % data.n_validation
        each = _losses(
            parameters,
            jax.random.fold_in(key, i),
            graph,
            data,
            picked,
            data.n_validation,
            config,
            atomic,
        )
        return total + jnp.sum(jnp.where(place < data.n_validation, each, 0.0))

    return jax.lax.fori_loop(0, n_batches, add, jnp.float32(0)) / data.n_validation


def _losses(
    parameters: Any,
    key: Key,
    graph: nnx.GraphDef[SplineFlow],
    data: TrainingSet,
    picked: Int[Array, " batch"],
    n_distinct: Int[Array, ""],
    config: TrainingConfig,
    atomic: bool,
) -> Float[Array, " batch"]:
    """Losses of the picked rows, with noise (and atoms) drawn from ``key``."""
    key_noise, key_atoms = jax.random.split(key)
    flow = nnx.merge(graph, parameters)
    components = data.components[picked]
    noise = data.noise * jax.random.normal(key_noise, components.shape)
    context = (components + noise) * data.scale
    z = data.z[picked]
    if not atomic:
        return losses.negative_log_likelihood(flow, z, context)
    atoms = losses.draw_atoms(key_atoms, len(picked), config.atoms, n_distinct)
    # The atomic loss says nothing of the density where no atom lies: what the flow puts there goes
    # unseen. Maximum likelihood on the draws from the prior, right for the same posterior, pins it.
    anchor = data.from_prior[picked] * losses.negative_log_likelihood(flow, z, context)
    return losses.atomic(flow, z, context, data.log_prior[picked], atoms) + anchor
