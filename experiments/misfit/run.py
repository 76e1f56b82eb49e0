"""How retrievals answer to data that no model fits: nested sampling, the flow, its correction.

python -m experiments.misfit.run
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray

from experiments.common import Unit, parse, units, write
from experiments.misfit.cases import CASES, TRUTH, retrieval
from experiments.misfit.summary import draw, summary
from floppity_jax.diagnostics import residual_scan
from floppity_jax.report.readings import BAD, readings

SETTINGS: dict[str, tuple[Any, Any]] = {
    "cases": (list(CASES), ["control", "errors"]),
    "inflated": (list(CASES), ["errors"]),
    "seeds": (3, 1),
    "inflated_seeds": (1, 1),
    "nested_seeds": (1, 0),
    "rounds": (8, 5),
    "simulations": (500, 300),
    "draws": (6000, 1000),
    "n_eff": (10_000, 10_000),
}
N = 10_000  # equally weighted draws that are looked at
IN_LOG = ("T", "X_H2O", "X_CO2")
FIGURES = ("misfit", "feature_share", "reduced_chi2_best", "chi2_p_value", "importance_efficiency",
           "log_evidence", "simulator_calls")  # fmt: skip


def marginals(tree: xarray.DataTree) -> Unit:
    """Median less truth, and half of the 68% interval, of each parameter; logarithms base 10."""
    found = {}
    for name, truth in TRUTH.items():
        x = tree["posterior"][name].to_numpy().ravel()
        x = np.log10(x / truth) if name in IN_LOG else x - truth
        low, median, high = np.quantile(x, [0.16, 0.5, 0.84])
        found[name] = [median, (high - low) / 2]
    return found


def warnings(tree: xarray.DataTree) -> Unit:
    """Which lines of the report are bad, and the figures behind them."""
    window = residual_scan(tree)
    bad = [reading.name for reading in readings(tree, window) if reading.verdict == BAD]
    figures = {name: float(tree.attrs[name]) for name in FIGURES}
    return {**figures, "residual_scan_p": window.p_value, "bad": bad}


def ours(case: str, seed: int, inflate: bool, rounds: int, simulations: int, draws: int) -> Unit:
    """Retrieve by the flow, and correct it; with a factor on the errors, or without."""
    problem = retrieval(case, seed, inflate=inflate)
    flow = problem.run(rounds, simulations, seed=seed, progress=False)
    tree = flow.importance_sample(draws, seed).to_datatree(N)
    found = {"flow": marginals(flow.to_datatree(N)), "corrected": marginals(tree), **warnings(tree)}
    if inflate:
        factor = tree["posterior"]["error_factor"].to_numpy()
        found["error_factor"] = [factor.mean(), factor.std()]
    return found


def nested(case: str, seed: int, n_eff: int) -> Unit:
    """Retrieve by nested sampling."""
    problem = retrieval(case, seed)
    tree = problem.nested("nautilus", n_eff=n_eff, n=N, seed=seed, progress=False)
    figures = {name: float(tree.attrs[name]) for name in ("log_evidence", "simulator_calls")}
    return {"nested": marginals(tree), **figures}


def main() -> None:
    """Run what is missing, and write results.json and biases.png."""
    given = parse(__doc__, __file__, SETTINGS)
    options = (given.rounds, given.simulations, given.draws)
    pairs = [(case, seed) for seed in range(given.seeds) for case in given.cases]
    todo = {f"{c}_{s}_plain": (c, s, False, *options) for c, s in pairs}
    found = units(ours, todo, given)
    wide = [(c, s) for c, s in pairs if c in given.inflated and s < given.inflated_seeds]
    found |= units(ours, {f"{c}_{s}_inflated": (c, s, True, *options) for c, s in wide}, given)
    few = [(c, s) for c, s in pairs if s < given.nested_seeds]
    found |= units(nested, {f"{c}_{s}_nested": (c, s, given.n_eff) for c, s in few}, given)
    if not given.only_units:
        results = {case: summary(case, found) for case in given.cases}
        write(given.output / "results.json", results)
        draw(given.cases, found, given.output / "biases.png")


if __name__ == "__main__":
    main()
