"""Models of one observation held against each other by their evidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.diagnostics.sources import as_datatree
from floppity_jax.errors import InvalidInput
from floppity_jax.summary import aligned
from floppity_jax.typing import Float

# Kass & Raftery (1995), section 3.2, on ln B.
READINGS = ((1.0, "not worth more than a bare mention"), (3.0, "positive"), (5.0, "strong"))


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """Evidence of several models, the best first; ``str()`` of it is a table.

    Attributes
    ----------
    names : tuple of str
        Of the models.
    log_evidence, log_evidence_error : array (models,)
        Natural logarithm.
    """

    names: tuple[str, ...]
    log_evidence: Float[np.ndarray, " models"]
    log_evidence_error: Float[np.ndarray, " models"]

    @property
    def log_bayes_factor(self) -> Float[np.ndarray, " models"]:
        """Of the best model over each."""
        return self.log_evidence[0] - self.log_evidence

    @property
    def log_bayes_factor_error(self) -> Float[np.ndarray, " models"]:
        """Standard errors; 0 for the best over itself."""
        error = np.hypot(self.log_evidence_error[0], self.log_evidence_error)
        return np.where(np.arange(len(error)) == 0, 0.0, error)

    @property
    def probability(self) -> Float[np.ndarray, " models"]:
        """Posterior probability of each, where all are equally probable before."""
        odds = np.exp(-self.log_bayes_factor)
        return odds / odds.sum()

    def __str__(self) -> str:
        rows = [("model", "ln Z", "ln B of the best", "probability", "evidence against it")]
        for i, name in enumerate(self.names):
            bayes, error = self.log_bayes_factor[i], self.log_bayes_factor_error[i]
            rows.append(
                (name, f"{self.log_evidence[i]:.2f} +- {self.log_evidence_error[i]:.2f}",
                 f"{bayes:.2f} +- {error:.2f}" if i else "", f"{self.probability[i]:.2g}",
                 _reading(bayes) if i else "")
            )  # fmt: skip
        return "\n".join([*aligned(rows), "(readings of Kass & Raftery 1995)"])


def compare(runs: Mapping[str, Any] | Sequence[Any]) -> ModelComparison:
    """Compare models of one observation by their evidence.

    Parameters
    ----------
    runs
        By name, or in a list: each as for `compare_posteriors`, of the same observation.

    Raises
    ------
    InvalidInput
        Where a run has no evidence, or the observations differ.
    """
    if not isinstance(runs, Mapping):
        runs = {f"model {i + 1}": run for i, run in enumerate(runs)}
    if len(runs) < 2:
        raise InvalidInput("runs", list(runs), "must hold two runs or more", "Give another one.")
    trees = {name: as_datatree(run) for name, run in runs.items()}
    for name, tree in trees.items():
        if "log_evidence" not in tree.attrs:
            raise InvalidInput(
                f"runs[{name!r}]", "a posterior without evidence", "must know its evidence",
                "Correct it first: posterior.importance_sample(4000).",
            )  # fmt: skip
    _check_same_observation(trees)
    order = sorted(trees, key=lambda name: -trees[name].attrs["log_evidence"])
    values = [
        [float(trees[name].attrs.get(key, math.nan)) for name in order]
        for key in ("log_evidence", "log_evidence_error")
    ]
    return ModelComparison(tuple(order), np.array(values[0]), np.array(values[1]))


def _check_same_observation(trees: Mapping[str, Any]) -> None:
    """Hold the observed values against each other, of those runs that have them."""
    observed = {
        name: np.concatenate([v.to_numpy().ravel() for v in tree["observed_data"].values()])
        for name, tree in trees.items()
        if "observed_data" in tree.children
    }
    first = next(iter(observed), "")
    for name, values in observed.items():
        if not np.array_equal(values, observed[first]):
            raise InvalidInput(
                f"runs[{name!r}]", "another observation", f"must be of that of {first!r}",
                "Evidence can be compared for the same data only.",
            )  # fmt: skip


def _reading(log_bayes_factor: float) -> str:
    for limit, words in READINGS:
        if log_bayes_factor < limit:
            return words
    return "very strong"
