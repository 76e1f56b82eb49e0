"""Each method on one case, timed: a unit of work of run.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import xarray

import floppity_jax as fp
from experiments.common import Unit
from experiments.cost.problem import PLANET, retrieval
from floppity_jax.posterior import ImportancePosterior
from floppity_jax.simulate import simulate

T = TypeVar("T")
BATCH = 128  # spectra of a compiled call while its time is taken


def ours(path: str, case: tuple[int, float], cost: float, workers: int, rounds: int,
         simulations: int, draws: int) -> Unit:  # fmt: skip
    """Rounds until they have converged, at most ``rounds``; then the correction."""
    problem = retrieval(*case, cost, workers)

    def solve() -> ImportancePosterior:
        stop = "converged" if rounds > 1 else None
        posterior = problem.run(rounds, simulations, stop=stop, progress=False)
        return posterior.importance_sample(draws)

    found, posterior = timed(problem, solve, cost)
    keep(posterior.to_datatree(draws), path)
    record = posterior.record
    return {
        **found(record.simulator_calls),
        "ess": posterior.ess,
        "log_evidence": [posterior.log_evidence, posterior.log_evidence_error],
        "rounds": len(record.rounds),
        "efficiency": posterior.efficiency,
        "pareto_k": posterior.pareto_k,
        "parts": record.seconds,
    }


def nested(path: str, case: tuple[int, float], cost: float, workers: int, sampler: str,
           live_points: int | None, options: dict[str, Any]) -> Unit:  # fmt: skip
    """Run a nested sampler, through ``retrieval.nested``."""
    problem = retrieval(*case, cost, workers)

    def solve() -> xarray.DataTree:
        return problem.nested(sampler, live_points=live_points, progress=False, **options)

    found, tree = timed(problem, solve, cost)
    keep(tree, path)
    attrs = tree.attrs
    return {
        **found(int(attrs["simulator_calls"])),
        "ess": attrs["ess"],
        "log_evidence": [attrs["log_evidence"], attrs["log_evidence_error"]],
    }


def timed(
    problem: fp.Retrieval, solve: Callable[[], T], cost: float
) -> tuple[Callable[[int], Unit], T]:
    """Solve, and return what tells, given the number of calls, what it took.

    A method's own time is that of this process: workers have theirs, and of the model that is
    computed here, so much is taken off as its spectra take by themselves.
    """
    spectrum = 0.0 if cost else seconds_of_a_spectrum(problem)
    start, cpu = time.perf_counter(), time.process_time()
    result = solve()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return lambda calls: {
        "calls": calls, "wall": wall, "own": cpu - calls * spectrum, "spectrum": spectrum
    }, result  # fmt: skip


def keep(tree: xarray.DataTree, path: str) -> None:
    """Keep the draws and the attributes: spectra of 5,000 channels are large."""
    small = xarray.DataTree.from_dict({"posterior": tree["posterior"].to_dataset()})
    small.attrs.update(tree.attrs)
    small.to_netcdf(path)


def seconds_of_a_spectrum(problem: fp.Retrieval) -> float:
    """Processor time of a spectrum of the compiled model, in batches."""
    columns = {name: np.full(BATCH, value) for name, value in PLANET.items()}
    each = []
    for _ in range(6):
        start = time.process_time()
        simulate(problem.simulator, columns, problem.observation, problem.pool, device_chunk=BATCH)
        each.append((time.process_time() - start) / BATCH)
    return float(np.median(each[1:]))  # the first compiles


def agreement(reference: str, path: str) -> Unit:
    """Lay a posterior beside nested sampling's: the worst of its marginals, and a verdict."""
    comparison = fp.compare_posteriors(reference, path)
    pair = comparison.pairs[0]
    marginals, ours, theirs = pair.marginals.values(), pair.run, comparison.reference
    known = ours.log_evidence is not None and theirs.log_evidence is not None
    return {
        "shift": max((m.shift for m in marginals), key=abs),
        "width": max((m.width for m in marginals), key=lambda w: abs(w - 1)),
        "log_evidence": ours.log_evidence - theirs.log_evidence if known else None,
        "log_evidence_sigma": pair.evidence,
        "verdict": pair.verdict,
    }
