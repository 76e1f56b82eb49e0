"""The diagnostics of a run, each with what its figure means and the rule that says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from floppity_jax.diagnostics.predictive import TAIL, ResidualWindow
from floppity_jax.familiarity import UNFAMILIAR
from floppity_jax.importance import pareto_limit, pareto_reading
from floppity_jax.report.table import weighted_draws
from floppity_jax.retrieval import CONVERGED_DISTANCE, CONVERGED_EFFICIENCY
from floppity_jax.summary import rounds as rounds_of

if TYPE_CHECKING:
    import xarray

GOOD, POOR, BAD, NEUTRAL = "good", "poor", "bad", ""
LEAST_EFFICIENCY = 0.01
ENOUGH_ESS, LEAST_ESS = 400, 100
LEAST_MIXTURE_ESS = 10
SIGMAS = 3


class Reading(NamedTuple):
    """One diagnostic.

    Attributes
    ----------
    name, value : str
        What it is, and what it came to.
    verdict : str
        ``"good"``, ``"poor"`` or ``"bad"``; empty where there is none to give.
    meaning : str
        What that says of this run.
    rule : str
        By which it was judged.
    """

    name: str
    value: str
    verdict: str
    meaning: str
    rule: str


def readings(datatree: xarray.DataTree, window: ResidualWindow | None = None) -> list[Reading]:
    """Read every diagnostic that there are figures for.

    Parameters
    ----------
    datatree
        Of which the attributes and the group ``rounds`` hold the figures.
    window
        Where the residuals stand out most, where that is known.
    """
    found = [*(read(datatree) for read in _READERS), _residuals(window)]
    return [reading for reading in found if reading is not None]


def _change(tree: xarray.DataTree) -> Reading | None:
    rounds = rounds_of(tree)
    if rounds is None:
        return None
    change = float(rounds["change"][-1])
    if rounds.sizes["round"] == 1:
        verdict, meaning = NEUTRAL, "There was one round, with none before to compare it with."
    elif change < CONVERGED_DISTANCE:
        verdict, meaning = GOOD, "The last round changed the posterior little."
    else:
        verdict = POOR
        meaning = (
            "The posterior of the flow was still changing. Correction by the likelihood may make "
            "up for it: see the weights. Otherwise add rounds."
        )
    return Reading(
        "Change in the last round", f"{change:.2f}", verdict, meaning,
        "Total variation distance from the posterior of the round before, 0 to 1: the best "
        f"classifier could tell the two apart with accuracy {(1 + change) / 2:.3g}. Good below "
        f"{CONVERGED_DISTANCE}, the stopping rule.",
    )  # fmt: skip


def _given_up(tree: xarray.DataTree) -> Reading | None:
    rounds = rounds_of(tree)
    if rounds is None or not rounds["ignored_regions"].any():
        return None
    contradicted = 1 + np.flatnonzero(rounds["ignored_regions"].to_numpy())
    last = contradicted[-1] == rounds.sizes["round"]
    if last:
        verdict = BAD
        meaning = (
            "The last round contradicts those before it, and none has confirmed it: add rounds."
        )
    else:
        verdict = NEUTRAL
        meaning = (
            "Later rounds agree. What had been drawn in the regions given up was not learned from."
        )
    return Reading(
        "Rounds that contradict those before", ", ".join(map(str, contradicted)), verdict, meaning,
        "Where less than half of a posterior lies in the regions before it, these are given up.",
    )  # fmt: skip


def _training(tree: xarray.DataTree) -> Reading | None:
    rounds = rounds_of(tree)
    if rounds is None:
        return None
    reasons = [str(reason) for reason in rounds["stop_reason"].to_numpy()]
    if "NON_FINITE" in reasons:
        verdict = BAD
        meaning = "A loss was not finite time and again: look at the spectra for outliers."
    elif "MAX_EPOCHS" in reasons:
        verdict = POOR
        meaning = "Training was cut off at its ceiling of epochs while it still improved."
    else:
        verdict, meaning = GOOD, "In every round the validation loss had stopped falling."
    ended = ", ".join(
        f"{reasons.count(r)} {r.lower().replace('_', ' ')}" for r in dict.fromkeys(reasons)
    )
    return Reading(
        "End of training", ended, verdict, meaning,
        "Good where every round ended because the validation loss fell no more (patience).",
    )  # fmt: skip


def _misfit(tree: xarray.DataTree) -> Reading | None:
    misfit = tree.attrs.get("misfit", 0.0)
    if not misfit > 0:  # 0 where the simulator itself is stochastic
        return None
    if misfit > 1:
        verdict = BAD
        meaning = (
            f"No model comes near the observation: errors were taken {misfit:.1f} times larger in "
            "training. The posterior is right for the model and the errors as given only after "
            "correction, and its widths are formal."
        )
    else:
        verdict, meaning = GOOD, "The observation lies among the simulations."
    return Reading(
        "Misfit", f"{misfit:.2f}", verdict, meaning,
        "Factor by which errors had to grow for the observation to lie among noisy simulations. "
        "Good at 1.",
    )  # fmt: skip


def _familiarity(tree: xarray.DataTree) -> Reading | None:
    if "feature_share" not in tree.attrs:
        return None
    share, distance = tree.attrs["feature_share"], tree.attrs["feature_distance"]
    if share < UNFAMILIAR:
        verdict = BAD
        meaning = (
            "The network has never seen a spectrum like this: its answer means nothing alone. The "
            f"nearest simulation is {distance:.1f} standard deviations of the noise away."
        )
    else:
        verdict, meaning = GOOD, "The network has seen spectra like this one."
    return Reading(
        "Familiarity", f"{share:.1%} further off", verdict, meaning,
        "Share of simulations that lie further from all others than the observation does, in the "
        f"inputs of the network. Bad below {UNFAMILIAR:.0%}.",
    )  # fmt: skip


def _uncorrected(tree: xarray.DataTree) -> Reading | None:
    if "importance_efficiency" in tree.attrs or rounds_of(tree) is None:
        return None
    return Reading(
        "Correction by the likelihood", "not done", NEUTRAL,
        "The posterior is that of the flow as trained, and there is no evidence.",
        "Where the observation has errors, importance sampling corrects the draws and says how far "
        "off they were.",
    )  # fmt: skip


def _efficiency(tree: xarray.DataTree) -> Reading | None:
    if "importance_efficiency" not in tree.attrs:
        return None
    efficiency = tree.attrs["importance_efficiency"]
    if efficiency >= CONVERGED_EFFICIENCY:
        verdict, meaning = GOOD, "The flow was near the posterior."
    elif efficiency >= LEAST_EFFICIENCY:
        verdict = POOR
        meaning = "The flow was off. The correction cost many draws, and holds if they are enough."
    else:
        verdict, meaning = BAD, "The flow was far off: a few draws carry the whole posterior."
    return Reading(
        "Importance-sampling efficiency", f"{efficiency:.2g}", verdict, meaning,
        f"Effective draws over draws. Good from {CONVERGED_EFFICIENCY} on, bad below "
        f"{LEAST_EFFICIENCY}.",
    )  # fmt: skip


def _ess(tree: xarray.DataTree) -> Reading | None:
    if "ess" not in tree.attrs:
        return None
    ess = float(tree.attrs["ess"])
    if ess >= ENOUGH_ESS:
        verdict = GOOD
    else:
        verdict = POOR if ess >= LEAST_ESS else BAD
    return Reading(
        "Effective sample size", f"{ess:,.0f}", verdict,
        f"Means are known to {1 / math.sqrt(max(ess, 1)):.0%} of a standard deviation; the ends of "
        "intervals less well.",
        f"Number of independent draws worth as much (Kish). Good from {ENOUGH_ESS} on, bad below "
        f"{LEAST_ESS}.",
    )  # fmt: skip


def _pareto(tree: xarray.DataTree) -> Reading | None:
    if "pareto_k" not in tree.attrs:
        return None
    k, n = tree.attrs["pareto_k"], weighted_draws(tree)
    verdict, meaning = pareto_reading(k, n)
    return Reading(
        "Pareto k of the weights", f"{k:.2f}", verdict, meaning[0].upper() + meaning[1:] + ".",
        "Shape of the tail of the weights (Vehtari et al. 2024): their variance is finite below "
        "0.5; good below min(1 - 1 / log10 of their number, 0.7) = "
        f"{pareto_limit(n):.2f}, bad from 1 on.",
    )  # fmt: skip


def _evidence(tree: xarray.DataTree) -> Reading | None:
    known = tree.attrs
    if "log_evidence" not in known or "mixture_log_evidence" not in known:
        return None
    difference = known["mixture_log_evidence"] - known["log_evidence"]
    error = math.hypot(known["mixture_log_evidence_error"], known["log_evidence_error"])
    if known["mixture_ess"] < LEAST_MIXTURE_ESS:
        verdict = NEUTRAL
        meaning = "Too few simulations of the rounds lie where the posterior is, to say."
    elif abs(difference) <= SIGMAS * error:
        verdict, meaning = GOOD, "Two estimates from different simulations agree."
    else:
        verdict, meaning = BAD, "Two estimates from different simulations disagree: one is wrong."
    return Reading(
        "Evidence from two sources", f"difference {difference:+.2f} +- {error:.2f}", verdict,
        meaning,
        "Log evidence from the simulations of the rounds, less that of importance sampling. Good "
        f"within {SIGMAS} combined standard errors, if {LEAST_MIXTURE_ESS} effective simulations "
        "are behind the former.",
    )  # fmt: skip


def _chi2(tree: xarray.DataTree) -> Reading | None:
    if "reduced_chi2_best" not in tree.attrs:
        return None
    chi2 = tree.attrs["reduced_chi2_best"]
    channels = sum(v.size for v in tree["observed_data"].data_vars.values())
    freedom = max(channels - len(tree["posterior"].data_vars), 1)
    spread = math.sqrt(2 / freedom)
    if abs(chi2 - 1) <= SIGMAS * spread:
        verdict, meaning = GOOD, "The best model fits."
    elif chi2 > 1:
        verdict, meaning = BAD, "No model fits, or the errors are too small."
    else:
        verdict, meaning = POOR, "The best model fits too well: the errors may be too large."
    return Reading(
        "Reduced chi square of the best draw", f"{chi2:.2f}", verdict, meaning,
        f"Good within {SIGMAS} of its standard deviations, {spread:.2f} for {freedom} degrees of "
        "freedom, from 1.",
    )  # fmt: skip


def _p_value(tree: xarray.DataTree) -> Reading | None:
    if "chi2_p_value" not in tree.attrs:
        return None
    p = tree.attrs["chi2_p_value"]
    if p < TAIL:
        verdict, meaning = BAD, "The models of the posterior do not make data like these."
    elif p > 1 - TAIL:
        verdict, meaning = POOR, "Data lie nearer to the models than noise would put them."
    else:
        verdict, meaning = GOOD, "The models of the posterior make data like these."
    return Reading(
        "Posterior predictive p-value of chi square", f"{p:.2g}", verdict, meaning,
        "Probability that data made by the models of the posterior lie as far from them as these "
        f"(Gelman, Meng & Stern 1996). Good between {TAIL} and {1 - TAIL}.",
    )  # fmt: skip


def _residuals(window: ResidualWindow | None) -> Reading | None:
    if window is None:
        return None
    words = window.words
    return Reading(
        "Residuals of neighbouring channels", f"p = {window.p_value:.2g}",
        BAD if window.stands_out else GOOD, words[0].upper() + words[1:] + ".",
        "Probability that residuals of a model that is right stand out as far in any window, from "
        f"replicated data that were fitted too (`residual_scan`). Bad below {TAIL}.",
    )  # fmt: skip


def _failures(tree: xarray.DataTree) -> Reading | None:
    if "simulator_failures" not in tree.attrs:
        return None
    failures, share = int(tree.attrs["simulator_failures"]), tree.attrs["prior_share_excluded"]
    if failures:
        verdict = NEUTRAL
        meaning = (
            f"The posterior's prior is without the {share:.2g} of it where the simulator fails; "
            "the evidence is that of the whole prior, with no likelihood there."
        )
    else:
        verdict, meaning = GOOD, "The simulator gave a spectrum everywhere."
    return Reading(
        "Failed simulations", f"{failures:,}", verdict, meaning,
        "The share of the prior is that of failures in the first round, which draws from all of "
        "it.",
    )  # fmt: skip


_READERS: tuple[Callable[[xarray.DataTree], Reading | None], ...] = (
    _change, _given_up, _training, _misfit, _familiarity, _uncorrected, _efficiency, _ess, _pareto,
    _evidence, _chi2, _p_value, _failures,
)  # fmt: skip
