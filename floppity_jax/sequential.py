"""Rounds: propose, simulate, learn. The loop over them is the caller's, a thin ``for``.

Two methods. ``truncated`` (Deistler et al. 2022) draws from the prior cut to where the current
posterior lives, learns by maximum likelihood from every simulation inside, and standardises anew
with fresh weights in each round. ``apt`` (Greenberg et al. 2019, as configured by Ardevol
Martinez et al. 2024) draws from the current posterior, learns with the atomic loss from every
simulation (and by maximum likelihood from those of the first round, the combined loss), and goes on
from the weights and the standardisation of that round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np

from floppity_jax import proposals, training
from floppity_jax.density import Density, Whitening, new_flow
from floppity_jax.features import Features, fit_features, observed_input, project
from floppity_jax.flows.spline_flow import FlowConfig
from floppity_jax.observation import Observation
from floppity_jax.training import TrainingConfig, TrainingRecord
from floppity_jax.typing import Bool, Float, Key

Method = Literal["truncated", "apt"]


class Problem(NamedTuple):
    """What stays the same from round to round.

    Attributes
    ----------
    dim : int
        Number of free parameters.
    observation : Observation
        What was observed.
    flow : FlowConfig
        Size and shape of the flow.
    training : TrainingConfig
        How it is trained.
    method : str
        ``"truncated"`` or ``"apt"``.
    rows : int
        Simulations of the whole run: arrays are padded to it, so that training compiles once.
    """

    dim: int
    observation: Observation
    flow: FlowConfig
    training: TrainingConfig
    method: Method
    rows: int


class Fit(NamedTuple):
    """What a round learned.

    Attributes
    ----------
    density : Density
        The posterior.
    features : Features
        Inputs of its flow.
    log_threshold : float
        Least log density inside its highest-density region.
    record : TrainingRecord
        Losses and stop reason.
    """

    density: Density
    features: Features
    log_threshold: float
    record: TrainingRecord


class State(NamedTuple):
    """What is known after some rounds.

    Attributes
    ----------
    z : array (n, d)
        Parameters simulated so far (good simulations only), in prior coordinates.
    spectra : array (n, channels)
        Their noise-free spectra.
    inside : array (n,)
        Which of them are in use: all for ``apt``, else those in every region so far.
    fit : Fit or None
        What the last round learned.
    n_prior : int
        How many of the first simulations were drawn from the prior.
    regions : list of Region
        One a round, for ``truncated``; each is used within all those before it.
    """

    z: Float[np.ndarray, "n d"]
    spectra: Float[np.ndarray, "n channels"]
    inside: Bool[np.ndarray, " n"]
    n_prior: int
    fit: Fit | None
    regions: list[proposals.Region]


def init(problem: Problem) -> State:
    """Start with nothing known."""
    d, channels = problem.dim, problem.observation.n_channels
    return State(np.empty((0, d)), np.empty((0, channels)), np.empty(0, bool), 0, None, [])


def propose(key: Key, problem: Problem, state: State, n: int) -> proposals.Draws:
    """Draw the parameters of the next round."""
    if state.fit is None:
        return proposals.draw_prior(key, n, problem.dim)
    if problem.method == "apt":
        return proposals.draw_posterior(key, n, state.fit.density)
    return proposals.draw_truncated(key, n, state.regions)


def add(
    state: State, z: Float[np.ndarray, "n d"], spectra: Float[np.ndarray, "n channels"]
) -> State:
    """Take in the good simulations of a round, which were proposed inside every region."""
    return state._replace(
        z=np.concatenate([state.z, z]),
        spectra=np.concatenate([state.spectra, spectra]),
        inside=np.concatenate([state.inside, np.ones(len(z), bool)]),
        n_prior=len(z) if state.fit is None else state.n_prior,
    )


def learn(
    key: Key,
    problem: Problem,
    state: State,
    *,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Fit:
    """Train the flow on the simulations in use."""
    key_flow, key_set, key_fit, key_region = jax.random.split(key, 4)
    before = state.fit if problem.method == "apt" else None
    z, spectra = state.z[state.inside], state.spectra[state.inside]
    if before is not None:
        features = before.features
        graph, parameters, _, whitening, _ = before.density
    else:
        features = fit_features(spectra, problem.observation, problem.flow.components)
        whitening = Whitening.fit(z)
        graph, parameters = new_flow(key_flow, problem.dim, len(features.scale), problem.flow)
    data = training.make_training_set(
        key_set,
        whitening.whiten(z),
        project(features, spectra),
        -0.5 * (z**2).sum(axis=1),
        (np.arange(len(state.z)) < state.n_prior)[state.inside],
        features.scale,
        features.noise,
        rows=problem.rows,
        validation_fraction=problem.training.validation_fraction,
    )
    parameters, record = training.fit(
        key_fit, graph, parameters, data, problem.training, atomic=before is not None, report=report
    )
    context = observed_input(features, problem.observation)
    density = Density(graph, parameters, context, whitening, 1 / max(features.noise, 1.0))
    region = proposals.highest_density_region(key_region, density)
    return Fit(density, features, region.log_threshold, record)


def update(problem: Problem, state: State, fit: Fit) -> State:
    """Take up what was learned, and for ``truncated`` leave out what lies beyond its region."""
    state = state._replace(fit=fit)
    if problem.method == "apt":
        return state
    region = proposals.Region(fit.density._replace(base_scale=1.0), fit.log_threshold)
    return state._replace(
        regions=[*state.regions, region], inside=state.inside & region.contains(state.z)
    )


def distance(key: Key, old: Density | None, new: Density) -> float:
    """How far the posterior moved between two rounds, in the worst of its parameters.

    The larger of the shift of the mean in standard deviations and the absolute log of the ratio
    of standard deviations, in prior coordinates; its Monte Carlo floor is about 0.03.
    """
    if old is None:
        return float("inf")
    key_old, key_new = jax.random.split(key)
    before, after = old.sample(key_old, 8192)[0], new.sample(key_new, 8192)[0]
    sd = after.std(axis=0)
    shift = np.abs(after.mean(axis=0) - before.mean(axis=0)) / sd
    return float(max(shift.max(), np.abs(np.log(before.std(axis=0) / sd)).max()))
