"""The posterior: draws, densities, and their correction by the true likelihood."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import scipy.special
from scipy.special import logsumexp

from floppity_jax.density import Density, log_standard_normal
from floppity_jax.errors import InvalidInput, NoLikelihoodError, SimulatorError
from floppity_jax.flows.config import FlowConfig
from floppity_jax.importance import adaptive_draws, pareto_smoothed
from floppity_jax.measurement import Measurement
from floppity_jax.mixture import WeightedSimulations
from floppity_jax.noise import require_errors
from floppity_jax.observation import Observation
from floppity_jax.priors import ParameterSpace
from floppity_jax.proposals import effective_sample_size, normalised, systematic
from floppity_jax.record import RunRecord
from floppity_jax.simulate import Simulations
from floppity_jax.timing import Stopwatch
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray

CORRECTION = 2**31 - 1  # keeps the keys of importance sampling apart from those of the rounds
# Runs the simulator on physical parameters; the text names the piece of work, for the store.
Evaluate = Callable[[str, Float[np.ndarray, "n d"]], Simulations]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """The posterior as the flow has it.

    Made by `Retrieval.run` or `load_posterior`.

    Attributes
    ----------
    measurement : Measurement
        What was observed, and how spectra become such data.
    density : Density
        The trained flow at the observation.
    flow : FlowConfig
        Its size and shape.
    record : RunRecord
        How the run went.
    evaluate : callable or None
        Runs the simulator; None for a posterior read from a file.
    simulations : WeightedSimulations or None
        Those of all rounds; None without a likelihood, and for a posterior read from a file.
    """

    measurement: Measurement
    density: Density
    flow: FlowConfig
    record: RunRecord
    evaluate: Evaluate | None = None
    simulations: WeightedSimulations | None = None

    @property
    def space(self) -> ParameterSpace:
        """Parameters and priors."""
        return self.measurement.space

    @property
    def observation(self) -> Observation:
        """What was observed."""
        return self.measurement.observation

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, in the order of the columns of every ``theta``."""
        return self.space.names

    def sample(self, n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
        """Draw ``n`` parameter sets, in physical units."""
        _check_count("n", n)
        return self.space.to_theta(self.density.draw(jax.random.key(seed), n))

    def log_prob(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log density per unit of each parameter; minus infinity outside the prior.

        Raises
        ------
        InvalidInput
            Where ``theta`` has not one column for each of ``names``.
        """
        theta = self._checked(theta)
        z = self.space.to_z(theta)
        inside = np.isfinite(z).all(axis=1)
        log_q = np.full(len(theta), -np.inf)
        log_q[inside] = (
            self.density.log_prob(z[inside])
            + self.space.log_prior(theta[inside])
            - log_standard_normal(z[inside])
        )
        return log_q

    def importance_sample(
        self, n: int, seed: int = 0, *, others: Sequence[Posterior] = ()
    ) -> ImportancePosterior:
        """Correct the posterior by the true likelihood, at ``n`` simulator calls.

        Draws from the flow are weighted by ``likelihood * prior / q``, in stages that adapt to
        the weights so far: see `floppity_jax.importance`.

        Parameters
        ----------
        n
            Draws, and so simulator calls.
        seed
            The same seed gives the same draws.
        others
            Posteriors of other runs with the same priors, whose flows are drawn from as well.

        Raises
        ------
        InvalidInput
            Where ``n`` is no whole number above 0, or others have other parameters.
        NoLikelihoodError
            Where the observation has no errors, or no simulator came with a loaded posterior.
        SimulatorError
            Where every simulation fails.
        """
        _check_count("n", n)
        if any(other.space.describe() != self.space.describe() for other in others):
            raise InvalidInput(
                "others", list(others), "must have the same parameters and priors", "Leave it out."
            )
        evaluate = self._evaluator()
        require_errors(self.observation)
        stopwatch = Stopwatch(dict(self.record.seconds))
        spectra: list[Float[np.ndarray, "m channels"]] = []
        work = f"importance_{len(self.record.rounds)}_rounds_seed{seed}_n{n}"
        if others:  # whose draws are not those of this flow alone, nor of fewer others
            work += f"_{len(others) + 1}flows"

        def log_target(stage: int, z: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
            with stopwatch.time("simulating"):
                theta = self.space.to_theta(z)
                spectra.append(evaluate(f"{work}_stage{stage + 1}", theta).spectra)
            log_likelihood = self.measurement.log_likelihood(spectra[-1], theta).sum(axis=1)
            # A model that failed has no likelihood: it carries no weight.
            return np.where(
                np.isfinite(log_likelihood), log_likelihood + log_standard_normal(z), -np.inf
            )

        with stopwatch.time("sampling"):
            key = jax.random.fold_in(jax.random.key(seed), CORRECTION)
            draws = adaptive_draws(
                key, self.density, log_target, n, others=[other.density for other in others]
            )
        if not np.isfinite(draws.log_weights).any():
            raise SimulatorError(
                f"none of the {n} simulations of importance sampling succeeded. The posterior may "
                "lie where the simulator fails: look at its spectra for posterior.sample(5)."
            )
        record = dataclasses.replace(
            self.record,
            importance_calls=self.record.importance_calls + n,
            seconds=stopwatch.seconds,
        )
        return ImportancePosterior(
            **{**_fields(self), "record": record},
            draws=self.space.to_theta(draws.z),
            spectra=np.concatenate(spectra),
            log_weights=draws.log_weights,
        )

    def reuse_simulations(self) -> ImportancePosterior:
        """Correct the posterior by the simulations of all rounds, at no further simulator call.

        They are weighted as draws of the mixture of what the rounds drew from
        (`floppity_jax.mixture`). Far fewer of them count than of the draws of `importance_sample`:
        this is a check on its evidence, and a posterior where the simulator is too slow for it.

        Raises
        ------
        NoLikelihoodError
            Where the observation has no errors.
        InvalidInput
            Where the posterior was read from a file, which does not hold the simulations.
        """
        require_errors(self.observation)
        if self.simulations is None:
            raise InvalidInput(
                "posterior", "read from a file", "must hold the simulations of its rounds",
                "Take it from retrieval.run(..., directory=..., resume=True).",
            )  # fmt: skip
        theta, spectra, log_weights, log_mass_error = self.simulations
        return ImportancePosterior(
            **_fields(self),
            draws=theta, spectra=spectra, log_weights=log_weights, log_mass_error=log_mass_error,
        )  # fmt: skip

    def to_datatree(self, n: int = 4000, seed: int = 0) -> xarray.DataTree:
        """Draws and all that is known about them, as an ArviZ DataTree.

        No simulator is called: the groups ``posterior_predictive`` and ``log_likelihood`` are
        there after `importance_sample` only.
        """
        from floppity_jax.datatree import to_datatree

        return to_datatree(self, n, seed)

    def save(self, path: str | pathlib.Path) -> None:
        """Write the posterior to one ``.npz`` file; `load_posterior` reads it."""
        from floppity_jax.posterior_file import save_posterior

        save_posterior(self, pathlib.Path(path))

    def _evaluator(self) -> Evaluate:
        if self.evaluate is None:
            raise NoLikelihoodError(
                "this posterior has no simulator: give one to load_posterior(path, simulator=...)."
            )
        return self.evaluate

    def _checked(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        theta = np.asarray(theta, np.float64)
        if theta.ndim != 2 or theta.shape[1] != len(self.names):
            raise InvalidInput(
                "theta shape", theta.shape, f"must be (n, {len(self.names)})",
                f"Give one column for each of {self.names}.",
            )  # fmt: skip
        return theta


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImportancePosterior(Posterior):
    """The posterior corrected by the true likelihood: weighted draws and the evidence.

    Attributes
    ----------
    draws : array (n, d)
        Drawn from the flow, in physical units.
    spectra : array (n, k)
        What the simulator returned for each, noise-free.
    log_weights : array (n,)
        Log of likelihood times prior over the density that the draws came from.
    log_mass_error : float
        What the normalisation of that density adds to the error of `log_evidence`.
    """

    draws: Float[np.ndarray, "n d"]
    spectra: Float[np.ndarray, "n channels"]
    log_weights: Float[np.ndarray, " n"]
    log_mass_error: float = 0.0

    @property
    def ess(self) -> float:
        """Effective number of draws, of the weights as they are (Kish)."""
        return effective_sample_size(self.log_weights)

    @property
    def efficiency(self) -> float:
        """Effective number of draws over their number."""
        return self.ess / len(self.draws)

    @property
    def log_evidence(self) -> float:
        """Log of the marginal likelihood."""
        return float(logsumexp(self.log_weights) - np.log(len(self.draws)))

    @property
    def log_evidence_error(self) -> float:
        """Standard error of `log_evidence`."""
        variance = max(1 / self.ess - 1 / len(self.draws), 0.0)
        return float(np.sqrt(variance + self.log_mass_error**2))

    @property
    def pareto_k(self) -> float:
        """Shape of the tail of the weights; `importance.pareto_reading` says what it means."""
        return self._smoothed[1]

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Pareto-smoothed weights of ``draws``, which add up to 1."""
        return normalised(self._smoothed[0])

    def sample(self, n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
        """Draw ``n`` of the weighted parameter sets; the same one may come more than once."""
        return self.draws[self.resample(n, seed)]

    def resample(self, n: int, seed: int = 0) -> np.ndarray:
        """Rows of ``draws``, each as often as its weight has it, to within one, in random order."""
        _check_count("n", n)
        rng = np.random.default_rng(seed)
        return rng.permutation(systematic(rng, self.weights, n))

    def log_prob(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log of likelihood times prior over evidence: one simulator call for each row."""
        theta = self._checked(theta)
        evaluate = self._evaluator()
        log_prior = self.space.log_prior(theta)
        inside = np.isfinite(log_prior)
        log_p = np.full(len(theta), -np.inf)
        spectra = evaluate("", theta[inside]).spectra
        log_likelihood = self.measurement.log_likelihood(spectra, theta[inside]).sum(axis=1)
        # A model that failed has no likelihood.
        log_likelihood = np.where(np.isfinite(log_likelihood), log_likelihood, -np.inf)
        log_p[inside] = log_likelihood + log_prior[inside] - self.log_evidence
        return log_p

    def chi2_p_value(self) -> float:
        """Posterior-predictive p-value of chi square (Gelman, Meng & Stern 1996).

        The probability that data made by the models of the posterior, with new noise, lie as far
        from those models as the observation does: near 0 where none of them fits.
        """
        chi2, _ = self._fits
        good = np.isfinite(chi2)
        p = scipy.special.gammaincc(self.observation.n_channels / 2, chi2[good] / 2)
        return float(self.weights[good] @ p)

    def reduced_chi2_best(self) -> float:
        """Chi square of the most likely draw over channels less free parameters."""
        freedom = self.observation.n_channels - len(self.names)
        chi2, log_likelihood = self._fits
        return float(chi2[np.nanargmax(log_likelihood)] / max(freedom, 1))

    @functools.cached_property
    def _fits(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Chi square of each draw, and its log-likelihood up to a constant; NaN where it failed."""
        residual, log_sd = self.measurement.whitened(self.spectra, self.draws)
        chi2 = (residual**2).sum(axis=1)
        return chi2, -chi2 / 2 - log_sd.sum(axis=1)

    @functools.cached_property
    def _smoothed(self) -> tuple[Float[np.ndarray, " n"], float]:
        """Pareto-smoothed log weights, and the shape of their tail (Vehtari et al. 2024)."""
        good = np.isfinite(self.log_weights)
        log_weights = np.full(len(self.draws), -np.inf)
        log_weights[good], k = pareto_smoothed(self.log_weights[good])
        return log_weights, k


def _fields(posterior: Posterior) -> dict[str, Any]:
    return {f.name: getattr(posterior, f.name) for f in dataclasses.fields(Posterior)}


def _check_count(argument: str, n: int) -> None:
    if not isinstance(n, int | np.integer) or n < 1:
        raise InvalidInput(argument, n, "must be a whole number above 0", "For example 4000.")
