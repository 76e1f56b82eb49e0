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
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from floppity_jax import proposals, training
from floppity_jax.batches import Draw, DrawMeasured, draw_projected, measured_rows, projected_rows
from floppity_jax.density import Density, Whitening, log_standard_normal, new_flows, start_linear
from floppity_jax.familiarity import MOST_TESTS, Familiarity, familiarity
from floppity_jax.features import Features, fit_features, observed_input, project, whole_spectra
from floppity_jax.flows.config import FlowConfig
from floppity_jax.flows.embedding import N_SEEN, start_from_projection
from floppity_jax.measured_features import fit_measured
from floppity_jax.measurement import Measurement
from floppity_jax.mixture import Law, mixture_weights
from floppity_jax.nuisances import VERSIONS, draw_versions
from floppity_jax.training import TrainingRecord
from floppity_jax.training_config import TrainingConfig
from floppity_jax.typing import Bool, Float, Key

Method = Literal["truncated", "apt"]

# Effective simulations where the likelihood is high, for an efficiency to be more than a guess.
LEAST_ESS = 10
# Share of a posterior in the regions before it, below which these are taken to be wrong. Where it
# was above a half, starting again lost more than it mended (`experiments/benchmarks/README.md`).
LEAST_OVERLAP = 0.5


class Problem(NamedTuple):
    """What stays the same from round to round.

    Attributes
    ----------
    dim : int
        Number of free parameters.
    measurement : Measurement
        What was observed, and how spectra become such data.
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
    measurement: Measurement
    flow: FlowConfig
    training: TrainingConfig
    method: Method
    rows: int

    @property
    def measured(self) -> bool:
        """Whether data are more than a spectrum with the noise of each channel."""
        observation = self.measurement.observation
        if observation.errors is None:
            return False
        return (
            self.flow.features == "log"
            or observation.covariance is not None
            or not self.measurement.instrument.trivial
        )


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
    log_threshold_used : float
        Least log density of the simulations that the next round learns from.
    overlap : float
        Share of the posterior, under the errors as given, that lies in the regions before it; 1
        where there are none.
    record : TrainingRecord
        Losses and stop reason.
    """

    density: Density
    features: Features
    log_threshold: float
    log_threshold_used: float
    overlap: float
    record: TrainingRecord

    @property
    def contradicts(self) -> bool:
        """Whether the regions before it left out what this posterior holds."""
        return self.overlap < LEAST_OVERLAP


class State(NamedTuple):
    """What is known after some rounds.

    Attributes
    ----------
    z : array (n, d)
        Parameters simulated so far (good simulations only), in prior coordinates.
    spectra : array (n, k)
        What the simulator returned, noise-free.
    valid : array (n,)
        Which of them may be learned from: not those drawn in regions since given up. All for
        ``apt``.
    inside : array (n,)
        Which of the valid lie in every region so far.
    used : array (n,)
        Which of them are learned from: those inside, and those not far outside.
    fit : Fit or None
        What the last round learned.
    n_prior : int
        How many of the first simulations were drawn from the prior.
    regions : list of Region
        One a round since regions were last given up, for ``truncated``; each is used within all
        those before it.
    laws : list of Law
        What the parameters of each round were drawn from.
    """

    z: Float[np.ndarray, "n d"]
    spectra: Float[np.ndarray, "n channels"]
    valid: Bool[np.ndarray, " n"]
    inside: Bool[np.ndarray, " n"]
    used: Bool[np.ndarray, " n"]
    n_prior: int
    fit: Fit | None
    regions: list[proposals.Region]
    laws: list[Law]

    @property
    def from_prior(self) -> Bool[np.ndarray, " n"]:
        """Which simulations are those of round one."""
        return np.arange(len(self.z)) < self.n_prior


def init(problem: Problem) -> State:
    """Start with nothing known."""
    d, channels = problem.dim, problem.measurement.output.size
    return State(
        np.empty((0, d)), np.empty((0, channels)), np.empty(0, bool), np.empty(0, bool),
        np.empty(0, bool), 0, None, [], [],
    )  # fmt: skip


def propose(key: Key, problem: Problem, state: State, n: int) -> proposals.Draws:
    """Draw the parameters of the next round."""
    if state.fit is None:
        return proposals.draw_prior(key, n, problem.dim)
    if problem.method == "apt":
        return proposals.draw_posterior(key, n, state.fit.density, problem.training.prior_share)
    return proposals.draw_truncated(key, n, state.regions)


def law(problem: Problem, state: State, n: int, draws: proposals.Draws) -> Law:
    """Return what `propose` drew from: ``n`` simulations came of it; ``draws`` needs no ``z``."""
    if state.fit is None:
        return Law(n)
    if problem.method == "apt":
        return Law(n, state.fit.density, prior_share=problem.training.prior_share)
    newest = state.regions[-1]
    return Law(
        n, newest.density, newest.log_threshold, 0.0, len(state.regions) == 1,
        draws.log_mass, draws.log_mass_error, draws.log_cap,
    )  # fmt: skip


def add(
    state: State,
    z: Float[np.ndarray, "n d"],
    spectra: Float[np.ndarray, "n channels"],
    law: Law,
) -> State:
    """Take in the good simulations of a round, which were proposed inside every region."""
    new = np.ones(len(z), bool)
    return state._replace(
        laws=[*state.laws, law],
        z=np.concatenate([state.z, z]),
        spectra=np.concatenate([state.spectra, spectra]),
        valid=np.concatenate([state.valid, new]),
        inside=np.concatenate([state.inside, new]),
        used=np.concatenate([state.used, new]),
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
    key_flow, key_fit, key_region, key_wide = jax.random.split(key, 4)
    key_noise, key_versions = jax.random.split(jax.random.fold_in(key, 4))
    key_overlap = jax.random.fold_in(key, 5)
    before = state.fit if problem.method == "apt" else None
    z, spectra = state.z[state.used], state.spectra[state.used]
    theta = problem.measurement.space.to_theta(z)
    clean = problem.measurement.predict(spectra, theta)
    if before is not None:
        features = before.features
        graph, parameters, _, whitening, _ = before.density
    else:
        features = _fit_features(key_noise, problem, spectra, theta, clean)
        whitening = Whitening.fit(z)
        graph, parameters, features = _start(
            key_flow, problem, features, whitening.whiten(z), clean
        )
    rows: Any
    draw: Draw
    if problem.measured:
        rows, draw = _measured_rows(key_versions, problem, state, features, whitening)
    else:
        rows = projected_rows(features, clean, whitening.whiten(z), problem.rows)
        draw = draw_projected
    data = training.make_training_set(
        rows,
        log_standard_normal(z),
        state.from_prior[state.used],
        n_rows=problem.rows,
        validation_fraction=problem.training.validation_fraction,
    )
    parameters, record = training.fit(
        key_fit, graph, parameters, data, problem.training,
        draw=draw, atomic=before is not None, report=report,
    )  # fmt: skip
    observation = problem.measurement.observation
    context = observed_input(features, observation)
    density = Density(graph, parameters, context, whitening, 1 / max(features.noise, 1.0))
    region = proposals.highest_density_region(key_region, density)
    if not np.isfinite(region.log_threshold):
        raise FloatingPointError(
            "the flow has no finite density at the observation, whose network inputs reach "
            f"{np.abs(context).max():.3g} where simulations have deviation 1: it lies far outside "
            "of what the simulator returns. Compare it with simulated spectra, and their units."
        )
    # With errors known, noise is drawn afresh and widths can be corrected: there resolution counts.
    # Without, widths count, and the few simulations there are.
    log_threshold_used = (
        proposals.log_threshold_wide(key_wide, density)
        if observation.errors is None
        else region.log_threshold
    )
    overlap = proposals.overlap(key_overlap, density, state.regions)
    return Fit(density, features, region.log_threshold, log_threshold_used, overlap, record)


def _fit_features(
    key: Key,
    problem: Problem,
    spectra: Float[np.ndarray, "n k"],
    theta: Float[np.ndarray, "n d"],
    clean: Float[np.ndarray, "n channels"],
) -> Features:
    measurement, n_components = problem.measurement, problem.flow.components
    if not problem.measured:
        if problem.flow.embedding == "mlp":
            n_components = max(n_components, N_SEEN)
        return fit_features(clean, measurement.observation, n_components)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return fit_measured(
        clean,
        measurement.noisy(rng, spectra, theta),
        measurement.observation,
        n_components,
        log=problem.flow.features == "log",
        energies=measurement.instrument.changes_noise,
        covariance=measurement.typical_covariance(spectra, theta),
    )


def _start(
    key: Key,
    problem: Problem,
    features: Features,
    white: Float[np.ndarray, "n d"],
    clean: Float[np.ndarray, "n channels"],
) -> tuple[Any, Any, Features]:
    """Return fresh flows that begin as a linear regression on the leading components."""
    n_components, embedding = problem.flow.components, problem.flow.embedding
    inputs = project(features, clean)[:, :n_components] * features.scale[:n_components]
    kernel = np.eye(len(features.scale), n_components)
    if embedding == "convolution":
        features, kernel = whole_spectra(features, clean)
    graph, parameters = new_flows(key, problem.dim, features.n_inputs, problem.flow)
    if embedding in ("mlp", "convolution"):
        parameters = start_from_projection(parameters, kernel)
    # What tells of the noise has no part in the regression, to begin with.
    inputs = np.pad(inputs, [(0, 0), (0, len(features.energy_scale))])
    return graph, start_linear(graph, parameters, white, inputs), features


def _measured_rows(
    key: Key, problem: Problem, state: State, features: Features, whitening: Whitening
) -> tuple[Any, Draw]:
    """Return simulations with several versions of the parameters that cost no simulator call."""
    measurement = problem.measurement
    z, spectra = state.z[state.used], state.spectra[state.used]
    versions = 1 if problem.method == "apt" or not len(measurement.nuisances) else VERSIONS
    region = state.regions[-1] if state.regions else None
    every = draw_versions(key, z, measurement.nuisances, region, versions)
    flat = every.reshape(-1, problem.dim)
    shape = every.shape[:2]
    values = {
        name: each.reshape(shape)
        for name, each in measurement.instrument_values(measurement.space.to_theta(flat)).items()
    }
    white = whitening.whiten(flat).reshape(every.shape)
    rows = measured_rows(measurement, features, spectra, white, values, problem.rows)
    return rows, DrawMeasured(measurement.prepared)


def update(problem: Problem, state: State, fit: Fit) -> State:
    """Take up what was learned, and for ``truncated`` leave out what lies beyond its region.

    Where the simulator is stochastic, simulations a little outside stay in use. They are prior
    draws as well, only sparser, and leave the posterior inside what it is; without them, a
    posterior near the edge would be seen cut off, and the flow would learn widths too small for
    all. A spectrum's posterior is so much narrower that they would only keep the flow from
    resolving it (`experiments/benchmarks/README.md`).

    A region fitted to few simulations may leave the posterior out, and no later one inside it could
    bring that back. So where less than half of a posterior lies in the regions before it, they are
    given up, and with them what was drawn there: what is left are draws of the prior.
    """
    state = state._replace(fit=fit)
    if problem.method == "apt":
        return state
    if fit.contradicts:
        prior = state.from_prior
        state = state._replace(regions=[], valid=prior, inside=prior)
    region = proposals.Region(fit.density._replace(base_scale=1.0), fit.log_threshold)
    near = region._replace(log_threshold=fit.log_threshold_used)
    return state._replace(
        regions=[*state.regions, region],
        inside=state.inside & region.contains(state.z),
        used=state.valid & near.contains(state.z),
    )


def weigh(problem: Problem, state: State) -> tuple[Float[np.ndarray, " n"], float]:
    """Weigh all simulations so far by their likelihood: `mixture.mixture_weights`."""
    log_likelihood = _log_likelihood(problem, state.z, state.spectra)
    return mixture_weights(state.laws, state.z, log_likelihood)


def _log_likelihood(
    problem: Problem, z: Float[np.ndarray, "n d"], spectra: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, " n"]:
    theta = problem.measurement.space.to_theta(z)
    return problem.measurement.log_likelihood(spectra, theta).sum(axis=1)


def familiar(key: Key, problem: Problem, state: State, features: Features) -> Familiarity:
    """Say whether the observation is like the simulations that were learned from."""
    z, spectra = state.z[state.used], state.spectra[state.used]
    theta = problem.measurement.space.to_theta(z)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    rows = rng.permutation(len(z))[:MOST_TESTS]
    return familiarity(
        features,
        problem.measurement.predict(spectra, theta),
        rows,
        problem.measurement.noisy(rng, spectra[rows], theta[rows]),
        problem.measurement.observation,
    )


def distance(key: Key, old: Density | None, new: Density) -> float:
    """Total variation distance of the posteriors before and after a round, from 0 to 1.

    The best of all classifiers tells draws of the two apart with accuracy ``(1 + distance) / 2``;
    unlike a trained one it needs no training, for both densities are known. Before round one stands
    the prior. The Monte Carlo error is below 0.01.
    """
    n = 4096
    key_old, key_new = jax.random.split(key)
    after = new.draw(key_new, n)
    if old is None:
        before = proposals.draw_prior(key_old, n, after.shape[1]).z
        log_old = log_standard_normal
    else:
        before = old.draw(key_old, n)
        log_old = old.log_prob
    # The mean over p of max(0, 1 - q / p), with the sides exchanged in the second half.
    log_ratio = np.concatenate(
        [log_old(after) - new.log_prob(after), new.log_prob(before) - log_old(before)]
    )
    return float(-np.expm1(np.minimum(log_ratio, 0)).mean())


def efficiency(problem: Problem, state: State, density: Density) -> float:
    """Estimate the efficiency that importance sampling would have, at no simulator call.

    The simulations in use are draws of the prior cut to the region, so that with their likelihoods
    L and r = q / p, the density over the prior, the efficiency of weights L p / q on draws of q is
    ``mean(L)^2 / (mean(r) mean(L^2 / r))``. NaN where there is no likelihood, or where the
    proposals were no truncated prior, or too few simulations lie where the likelihood is high.
    """
    if problem.measurement.observation.errors is None or problem.method == "apt":
        return float("nan")
    z, spectra = state.z[state.inside], state.spectra[state.inside]
    log_l = _log_likelihood(problem, z, spectra)
    if proposals.effective_sample_size(log_l) < LEAST_ESS:
        return float("nan")
    log_r = density.log_prob(z) - log_standard_normal(z)
    return float(np.exp(2 * logsumexp(log_l) - logsumexp(log_r) - logsumexp(2 * log_l - log_r)))
