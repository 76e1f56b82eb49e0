"""The table of a finished run: what was found, and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from floppity_jax.diagnostics.predictive import ResidualWindow, residual_scan
from floppity_jax.errors import InvalidInput
from floppity_jax.familiarity import UNFAMILIAR
from floppity_jax.importance import pareto_reading
from floppity_jax.summary import aligned, interval, is_log, parameters
from floppity_jax.summary import rounds as rounds_of

if TYPE_CHECKING:
    import xarray

COLUMNS = ("parameter", "unit", "median", "68% interval", "log10")
_WORK = ("simulating", "compiling", "training", "sampling")


def summary_table(datatree: xarray.DataTree) -> str:
    """Medians with 68% intervals, the quality of the fit, and what the run cost.

    Parameters
    ----------
    datatree
        With the group ``posterior``. Of these attributes, each that is there has its line:
        ``reduced_chi2_best``, ``simulator_calls``, ``simulator_failures`` with
        ``prior_share_excluded``, ``seconds_simulating``,
        ``seconds_compiling``, ``seconds_training``, ``seconds_sampling``, ``log_evidence`` with
        ``log_evidence_error``, ``importance_efficiency`` and ``pareto_k``. With the groups that
        `residual_scan` needs, a window of channels that stands out has a line too; with the group
        ``rounds``, a last round that contradicts those before it.

    Returns
    -------
    str
        Lines of aligned text, without a newline at the end.
    """
    lines = aligned([COLUMNS, *parameter_rows(datatree)])
    facts = run_facts(datatree, residual_window(datatree))
    width = max((len(title) for title, _ in facts), default=0)
    return "\n".join([*lines, "", *(f"{title:<{width}}  {fact}" for title, fact in facts)]).rstrip()


def parameter_rows(datatree: xarray.DataTree) -> list[tuple[str, ...]]:
    """Return the cells of each parameter, one a column of ``COLUMNS``."""
    rows: list[tuple[str, ...]] = []
    for name, variable in parameters(datatree).items():
        draws = variable.to_numpy().ravel()
        median, plus, minus = interval(draws).digits()
        in_log10 = " ".join(interval(np.log10(draws)).digits()) if is_log(variable) else ""
        rows.append((name, variable.attrs.get("unit", ""), median, f"{plus} {minus}", in_log10))
    return rows


def weighted_draws(datatree: xarray.DataTree) -> float:
    """Return how many draws were weighted; infinity where that is not known."""
    if "importance" in datatree.children:
        return datatree["importance"].sizes["simulation"]
    known = datatree.attrs
    return known.get("ess", np.inf) / known.get("importance_efficiency", 1.0)


def residual_window(datatree: xarray.DataTree) -> ResidualWindow | None:
    """Return where the residuals stand out most; None where there are no model spectra."""
    try:
        return residual_scan(datatree)
    except InvalidInput:
        return None


def run_facts(
    datatree: xarray.DataTree, window: ResidualWindow | None = None
) -> list[tuple[str, str]]:
    """Return titles and values of the lines below the table; what is not known has none."""
    known = datatree.attrs
    facts = []
    if "reduced_chi2_best" in known:
        facts.append(("reduced chi^2 of the best draw", f"{known['reduced_chi2_best']:.2f}"))
    if known.get("misfit", 1) > 1:
        fact = f"no model fits; errors taken {known['misfit']:.1f} times larger in training"
        facts.append(("misfit", fact))
    if "chi2_p_value" in known:
        facts.append(("predictive p-value of chi^2", f"{known['chi2_p_value']:.2g}"))
    if window is not None and window.stands_out:
        facts.append(("residuals", window.words))
    if known.get("feature_share", 1) < UNFAMILIAR:
        fact = (
            f"the network has never seen a spectrum like this: {known['feature_distance']:.1f} "
            f"sigma from the nearest simulation, further than all but {known['feature_share']:.1%}"
        )
        facts.append(("unfamiliar", fact))
    rounds = rounds_of(datatree)
    if rounds is not None and rounds["ignored_regions"][-1] > 0:
        fact = "contradicts the rounds before it, whose regions left its posterior out: add rounds"
        facts.append(("last round", fact))
    if "log_evidence" in known:
        error = known.get("log_evidence_error")
        value = f"{known['log_evidence']:.2f}" + (f" +- {error:.2f}" if error is not None else "")
        facts.append(("log evidence", value))
    if "mixture_log_evidence" in known:
        value = (
            f"{known['mixture_log_evidence']:.2f} +- {known['mixture_log_evidence_error']:.2f}"
            f" ({known['mixture_ess']:.0f} effective)"
        )
        facts.append(("  from the simulations of the rounds", value))
    if "importance_efficiency" in known:
        efficiency = f"{known['importance_efficiency']:.2g}"
        facts.append(("importance-sampling efficiency", efficiency))
    if "pareto_k" in known:
        k = known["pareto_k"]
        verdict, meaning = pareto_reading(k, weighted_draws(datatree))
        facts.append(("Pareto k of the weights", f"{k:.2f}, {verdict}: {meaning}"))
    if "simulator_calls" in known:
        facts.append(("simulator calls", f"{int(known['simulator_calls']):,}"))
    if known.get("simulator_failures"):
        share = f"{known['prior_share_excluded']:.2g} of the prior is left out"
        facts.append(("failed simulations", f"{int(known['simulator_failures']):,}; {share}"))
    spent = [(work, known[f"seconds_{work}"]) for work in _WORK if f"seconds_{work}" in known]
    facts += [(f"seconds {work}", f"{seconds:.1f}") for work, seconds in spent]
    return facts
