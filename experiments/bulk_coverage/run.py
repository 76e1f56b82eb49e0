"""Whether posteriors of synthetic PRISM planets hold the truth as often as they say.

python -m experiments.bulk_coverage.run
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from experiments.bulk_coverage import figures, results
from experiments.bulk_coverage.inference import nest, refer, retrievals, retrieve
from experiments.common import Unit, parse, units, write

SETTINGS = {
    "planets": (100, 3),
    "methods": (["truncated", "apt"], ["truncated"]),
    "rounds": (5, 2),
    "simulations": (1000, 300),
    "draws": (2000, 600),
    "nested": (25, 0),
    "live_points": (1000, 200),
    "n_eff": (2000, 500),
    "reference_draws": (20_000, 0),
    "long_planets": (20, 0),
    "long_rounds": (20, 3),
}


def work(given: argparse.Namespace) -> dict[str, dict[str, Unit]]:
    """Do what is missing: the methods, nested sampling, references, and runs of many rounds."""
    settings = (given.rounds, given.simulations, given.draws)
    long = (given.long_rounds, *settings[1:])
    planets, few = range(given.planets), range(given.long_planets)
    found = {
        method: units(retrieve, retrievals(method, planets, settings, given.runs), given)
        for method in given.methods
    }
    found["nested"] = units(
        nest,
        {f"nested_{i:03d}": (i, given.live_points, given.n_eff) for i in range(given.nested)},
        given,
    )
    if given.reference_draws:
        most = (*settings[:2], given.reference_draws)
        jobs = retrievals("truncated", range(given.nested), most, given.runs)
        found["reference"] = units(
            refer, {f"reference_{name[-3:]}": job for name, job in jobs.items()}, given
        )
    for method in given.methods:
        jobs = retrievals(method, few, long, given.runs, "_long")
        found[f"{method}, long"] = units(retrieve, jobs, given)
    return found


def summary(found: dict[str, dict[str, Unit]], draws: int) -> dict[str, Any]:
    """Everything in numbers."""
    told_of: dict[str, Any] = {}
    others = {f"beside {name}": found[name] for name in ("nested", "reference") if name in found}
    for name, runs in found.items():
        if name == "reference":
            told_of[name] = {"ess": results.spread(r["ess"] for r in runs.values())}
            continue
        if name == "nested":
            told_of[name] = {
                "coverage": results.told(results.of_nested(runs)),
                "calls": results.spread(r["simulator_calls"] for r in runs.values()),
                "cpu_seconds": results.spread(r["cpu_seconds"] for r in runs.values()),
            } | {k: results.beside(runs, v) for k, v in others.items() if v is not runs}
            continue
        bound = results.physical(runs)
        told_of[name] = {
            kind: [results.told(c) for c in results.by_round(runs, kind, draws)]
            for kind in ("flow", "corrected")
        } | {
            "calls": results.spread(r["simulator_calls"] for r in runs.values()),
            "cpu_seconds": results.spread(r["cpu_seconds"] for r in runs.values()),
            "unbound": int((~bound).sum()),
        }
        groups = {"bound": bound, "unbound": ~bound}
        told_of[name]["last, by physics"] = {
            group: results.told(results.by_round(chosen, "corrected", draws)[-1])
            for group, rows in groups.items()
            if (chosen := {k: v for (k, v), row in zip(runs.items(), rows, strict=True) if row})
        }
        if not name.endswith("long"):
            told_of[name] |= {k: results.beside(runs, v) for k, v in others.items()}
    return told_of


def draw(
    found: dict[str, dict[str, Unit]], told_of: dict[str, Any], draws: int, output: Path
) -> None:
    """All figures."""
    nested = results.of_nested(found["nested"]) if "nested" in found else None
    by_kind = {
        name: {kind: results.by_round(runs, kind, draws) for kind in ("flow", "corrected")}
        for name, runs in found.items()
        if name not in ("nested", "reference")
    }
    short = {name: kinds for name, kinds in by_kind.items() if not name.endswith("long")}
    long = {name: kinds for name, kinds in by_kind.items() if name.endswith("long")}
    figures.coverage(short, nested, output / "coverage.png")
    if long:
        figures.rounds(long, output / "rounds.png")
    if nested is not None:
        compared = {name: told_of[name]["beside nested"] for name in short}
        figures.nested(compared, output / "nested.png")


def main() -> None:
    """Run what is missing, and write results and figures of what is there."""
    given = parse(__doc__, __file__, SETTINGS)
    found = {name: runs for name, runs in work(given).items() if runs}
    if given.only_units:
        return
    told_of = summary(found, given.draws)
    write(given.output / "results.json", told_of)
    draw(found, told_of, given.draws, given.output)


if __name__ == "__main__":
    main()
