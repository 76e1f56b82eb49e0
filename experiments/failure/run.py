"""Planets whose posterior misses the mode that holds the truth: who says so, and what helps.

python -m experiments.failure.run
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import numpy as np

import floppity_jax as fp
from experiments.bulk_coverage.inference import retrievals, retrieve
from experiments.bulk_coverage.planets import PRIORS, Priors, planet
from experiments.bulk_coverage.results import FEW, missed
from experiments.common import Unit, parse, units, write
from experiments.failure.figure import spectra_and_marginals
from floppity_jax.familiarity import UNFAMILIAR

SETTINGS = {
    "bulk": ("runs/bulk_coverage", ""),
    "planets": (list(range(100)), [0, 1, 2]),
    "methods": (["truncated", "apt"], ["truncated"]),
    "rounds": (5, 2),
    "simulations": (1000, 300),
    "draws": (2000, 600),
    "narrow": (8, 1),
}
# What a run says of itself, without the truth: the rule by which each warning fires.
WARNINGS = {
    "chi2 of the prediction": lambda w, _: w["chi2_p_value"] < 0.01,
    "window of residuals": lambda w, _: w["residual_scan_p"] < 0.01,
    "no model near": lambda w, _: w["misfit"] > 1,
    "never seen": lambda w, _: w["feature_share"] < UNFAMILIAR,
    "Pareto k": lambda w, _: w["pareto_k"] is None or w["pareto_k"] > 0.7,
    "few effective draws": lambda w, draws: draws * w["efficiency"] < FEW,
}
TOLD = ("chi2 of the prediction", "window of residuals", "Pareto k", "few effective draws")


def narrow_priors(number: int) -> Priors:
    """Radius to 10% and log g to 0.3: what white light and radial velocities tell beforehand.

    The truth lies anywhere in them.
    """
    problem, truth, _ = planet(number)
    theta = problem.space.to_theta(truth[None])[0]
    offset = np.random.default_rng([7, number]).uniform(size=2)
    ends = {}
    for k, (name, width) in enumerate((("radius", 0.1 * theta[3]), ("log_g", 0.3))):
        prior = PRIORS[name]
        value = theta[list(PRIORS).index(name)]
        least, most = prior.support
        low = max(value - offset[k] * width, least)
        ends[name] = fp.Uniform(low, min(low + width, most), unit=prior.unit)
    return {**PRIORS, **ends}


def retrieve_narrow(number: int, method: str, *settings: Any) -> Unit:
    """As `retrieve`, with narrow priors on radius and log g."""
    return retrieve(number, method, *settings, priors=narrow_priors(number))


def fired(round_: Unit, draws: int) -> dict[str, bool]:
    """Which warnings fire after a round."""
    return {name: bool(rule(round_["warnings"], draws)) for name, rule in WARNINGS.items()}


def cases(found: dict[str, Unit], draws: int) -> list[dict[str, Any]]:
    """Every posterior, after each round of each run: did it miss, and what did it say?"""
    return [
        {
            "run": name, "round": index + 1,
            "missed": bool(missed(unit["log_likelihood_truth"], r["log_likelihood_best"])),
            "fired": fired(r, draws),
        }
        for name, unit in found.items()
        for index, r in enumerate(unit["rounds"])
    ]  # fmt: skip


def caught(chosen: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of the misses that each warning catches, and of the others at which it fires."""
    groups = {"caught": [c for c in chosen if c["missed"]],
              "false alarms": [c for c in chosen if not c["missed"]]}  # fmt: skip
    rates: dict[str, Any] = {"missed": len(groups["caught"]), "found": len(groups["false alarms"])}
    for label, group in groups.items():
        rates[label] = {w: share(c["fired"][w] for c in group) for w in WARNINGS}
        rates[label]["any of all"] = share(any(c["fired"].values()) for c in group)
        rates[label]["any after correction"] = share(
            any(c["fired"][w] for w in TOLD) for c in group
        )
    return rates


def share(values: Any) -> float:
    """Mean of truths; NaN of none."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def policy(all_cases: list[dict[str, Any]], settings: argparse.Namespace) -> dict[str, Any]:
    """Go on until nothing warns: what it costs, and how often it stops at a miss."""
    stops = {}
    for case in all_cases:
        quiet = not any(case["fired"][w] for w in TOLD)
        if case["run"] not in stops and (quiet or case["round"] == settings.rounds):
            stops[case["run"]] = {**case, "quiet": quiet}
    ended = list(stops.values())
    last = [c for c in all_cases if c["round"] == settings.rounds]
    calls = [c["round"] * (settings.simulations + settings.draws) for c in ended]
    return {
        "runs": len(ended),
        "calls until quiet": float(np.mean(calls)),
        "calls of all rounds, corrected once": settings.rounds * settings.simulations
        + settings.draws,
        "quiet": share(c["quiet"] for c in ended),
        "quiet, and missed": sum(c["quiet"] and c["missed"] for c in ended),
        "missed after all rounds": sum(c["missed"] for c in last),
    }


def main() -> None:
    """Read or run the bulk's planets, repeat those that missed, and write results and figure."""
    given = parse(__doc__, __file__, SETTINGS)
    bulk = argparse.Namespace(**vars(given))
    bulk.runs = pathlib.Path(given.bulk) if given.bulk else given.runs
    bulk.runs.mkdir(parents=True, exist_ok=True)
    options = (given.rounds, given.simulations, given.draws)

    wide = {
        method: units(retrieve, retrievals(method, given.planets, options, bulk.runs), bulk)
        for method in given.methods
    }
    told: dict[str, Any] = {}
    again: dict[str, tuple[Any, ...]] = {}
    for method, found in wide.items():
        every = cases(found, given.draws)
        by_round = {k: [c for c in every if c["round"] == k] for k in range(1, given.rounds + 1)}
        told[method] = {
            "all rounds": caught(every),
            "last round": caught(by_round[given.rounds]),
            "missed by round": [sum(c["missed"] for c in group) for group in by_round.values()],
            "missed after all": [c["run"] for c in by_round[given.rounds] if c["missed"]],
            "missed, and not a word": [
                f"{c['run']}, round {c['round']}"
                for c in every if c["missed"] and not any(c["fired"].values())
            ],
            "policy": policy(every, given),
        }  # fmt: skip
        for name in told[method]["missed after all"][: given.narrow]:
            number = int(name[-3:])
            again[f"{name}_narrow"] = (number, method, *options, f"{given.runs}/{name}_narrow")
    narrowed = units(retrieve_narrow, again, given)
    if given.only_units:
        return
    told["narrow priors"] = {
        c["run"]: {"missed": c["missed"], "fired": [w for w, yes in c["fired"].items() if yes]}
        for c in cases(narrowed, given.draws) if c["round"] == given.rounds
    }  # fmt: skip
    write(given.output / "results.json", told)
    if again:
        shown = next(iter(again))
        spectra_and_marginals(
            again[shown], bulk.runs / shown.removesuffix("_narrow"),
            narrow_priors(again[shown][0]), given.output / "miss.png",
        )  # fmt: skip


if __name__ == "__main__":
    main()
