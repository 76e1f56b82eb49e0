"""What several retrievals say together: the mixture of their posteriors.

Runs of one observation with different seeds approximate the same posterior. Their equal mixture is
no further from it, in Kullback-Leibler divergence, than they are on average. Correction makes one
posterior of them: the flows take turns in one importance sample (`importance.adaptive_draws`),
whose draws weigh likelihood and prior over the mixture of all, so that what one flow has missed is
found by another, and a flow that has failed does no harm but for its share of the draws.

Runs of several observations have different posteriors, and a choice has to be made.

- Equal weights average over the observations: the posterior to be expected of one more of the
  kind, as Ardevol Martinez et al. (2024, Section 3.2) have it of five noise realisations. It is no
  posterior of all these data together, which would be narrower, but wider than that of each.
- Weights by evidence, ``w_k = Z_k / sum Z``, make it ``prior * sum_k L_k / sum_k Z_k``: the
  posterior given that one of the observations is right and the others are not, each as likely
  before. That is a question for, say, several reductions of one dataset. Of noise realisations it
  is the wrong one: their ln Z scatter by about ``sqrt(channels / 2)``, through chi square, so that
  of many channels one realisation, picked by chance, has all the weight.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import logsumexp

from floppity_jax.errors import InvalidInput, check_whole
from floppity_jax.posterior import ImportancePosterior, Posterior
from floppity_jax.proposals import normalised, systematic
from floppity_jax.record import RunRecord
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray

Weighting = Literal["equal", "evidence"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """The equal mixture of the posteriors of several runs, each as its flow has it.

    Made by `run_ensemble`.

    Attributes
    ----------
    members : tuple of Posterior
        One a run.
    """

    members: tuple[Posterior, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, in the order of the columns of every ``theta``."""
        return self.members[0].names

    @property
    def posteriors(self) -> tuple[Posterior, ...]:
        """What is mixed: the members; after correction, one posterior for each observation."""
        return self.members

    @property
    def weights(self) -> Float[np.ndarray, " posteriors"]:
        """Shares of the mixture, which add up to 1."""
        return np.full(len(self.posteriors), 1 / len(self.posteriors))

    @property
    def by_observation(self) -> tuple[tuple[Posterior, ...], ...]:
        """The members, those of one observation together."""
        groups: dict[int, list[Posterior]] = {}
        for member in self.members:
            groups.setdefault(id(member.observation), []).append(member)
        return tuple(map(tuple, groups.values()))

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """How the runs went; every simulator call and second is in one of them."""
        return tuple(member.record for member in self.members)

    @property
    def simulator_calls(self) -> int:
        """Every call of all runs, and of their correction; the shared ones count once."""
        return sum(record.simulator_calls for record in self.records)

    def sample(self, n: int, seed: int = 0) -> Float[np.ndarray, "n d"]:
        """Draw ``n`` parameter sets, in physical units: of each posterior its share."""
        counts, seeds, order = self.shares(n, seed)
        draws = [
            posterior.sample(count, part_seed)
            for posterior, count, part_seed in zip(self.posteriors, counts, seeds, strict=True)
            if count
        ]
        return np.concatenate(draws)[order]

    def shares(self, n: int, seed: int) -> tuple[list[int], list[int], np.ndarray]:
        """Say how ``n`` draws are made: how many of each posterior, by which seed, in what order.

        Each has as many as its weight has it, to within one.
        """
        check_whole("n", n, 1, "For example 4000.")
        rng = np.random.default_rng(seed)
        k = len(self.posteriors)
        counts = np.bincount(systematic(rng, self.weights, n), minlength=k)
        return counts.tolist(), rng.integers(2**31, size=k).tolist(), rng.permutation(n)

    def log_prob(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log density of the mixture per unit of each parameter.

        After correction that takes one simulator call for each row and observation.

        Raises
        ------
        InvalidInput
            Where ``theta`` has not one column for each of ``names``.
        """
        log_p = [posterior.log_prob(theta) for posterior in self.posteriors]
        with np.errstate(divide="ignore"):  # a weight may be too small for a float
            return logsumexp(np.stack(log_p) + np.log(self.weights)[:, None], axis=0)

    def importance_sample(
        self, n: int, seed: int = 0, *, weights: Weighting = "equal"
    ) -> ImportanceEnsemble:
        """Correct by the true likelihood, at ``n`` simulator calls for each observation.

        Parameters
        ----------
        n
            Draws for each observation, from the flows of all runs of it.
        seed
            Of these draws; each observation has its own.
        weights
            Of the observations: ``"equal"``, or ``"evidence"``, which asks another question (see
            `floppity_jax.ensembles.ensemble`). Of one observation, whatever the number of seeds,
            both are the same.

        Raises
        ------
        InvalidInput
            Where an argument breaks a rule.
        NoLikelihoodError
            Where an observation has no errors.
        SimulatorError
            Where every simulation fails.
        """
        check_whole("n", n, 1, "For example 4000.")
        if weights not in ("equal", "evidence"):
            raise InvalidInput(
                "weights", weights, 'must be "equal" or "evidence"', "Leave it out for the default."
            )
        corrected = tuple(
            first.importance_sample(n, seed + i, others=others)
            for i, (first, *others) in enumerate(self.by_observation)
        )
        return ImportanceEnsemble(members=self.members, corrected=corrected, weighting=weights)

    def to_datatree(self, n: int = 4000, seed: int = 0) -> xarray.DataTree:
        """``n`` draws of the mixture and what is known of its parts, as an ArviZ DataTree.

        No simulator is called. See `floppity_jax.ensembles.tree`.
        """
        from floppity_jax.ensembles.tree import ensemble_tree

        return ensemble_tree(self, n, seed)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImportanceEnsemble(Ensemble):
    """The mixture of the corrected posteriors of several observations, or that of one.

    Attributes
    ----------
    corrected : tuple of ImportancePosterior
        One for each observation, in the order of ``by_observation``.
    weighting : str
        ``"equal"`` or ``"evidence"``.
    """

    corrected: tuple[ImportancePosterior, ...]
    weighting: Weighting = "equal"

    @property
    def posteriors(self) -> tuple[ImportancePosterior, ...]:
        """What is mixed: one posterior for each observation."""
        return self.corrected

    @property
    def weights(self) -> Float[np.ndarray, " posteriors"]:
        """Shares of the mixture, which add up to 1."""
        if self.weighting == "equal":
            return super().weights
        return normalised(self._of_each("log_evidence"))

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """How the runs went, the first of each observation with its correction."""
        others = [member.record for _, *rest in self.by_observation for member in rest]
        return (*(posterior.record for posterior in self.corrected), *others)

    @property
    def ess(self) -> float:
        """Effective number of draws of the mixture."""
        return float(1 / (self.weights**2 / self._of_each("ess")).sum())

    @property
    def log_evidence(self) -> float:
        """Log evidence of the observations, put together as the weights say.

        Equal weights: the mean of ``ln Z_k``, so that the difference of two models is the mean of
        their log Bayes factors. By evidence: the log of the mean ``Z_k``.
        """
        log_evidence = self._of_each("log_evidence")
        if self.weighting == "equal":
            return float(log_evidence.mean())
        return float(logsumexp(log_evidence) - np.log(len(log_evidence)))

    @property
    def log_evidence_error(self) -> float:
        """Standard error of `log_evidence`, from the finite number of draws."""
        return float(np.linalg.norm(self.weights * self._of_each("log_evidence_error")))

    def _of_each(self, figure: str) -> Float[np.ndarray, " posteriors"]:
        figures: list[Any] = [getattr(posterior, figure) for posterior in self.corrected]
        return np.array(figures, np.float64)
