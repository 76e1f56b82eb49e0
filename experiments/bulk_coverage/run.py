"""Whether posteriors of synthetic PRISM planets hold the truth as often as they say.

python -m experiments.bulk_coverage.run
"""

from __future__ import annotations

import argparse

from experiments.bulk_coverage.inference import nest, retrieve
from experiments.common import Unit, parse, units

SETTINGS = {
    "planets": (100, 4),
    "methods": (["truncated", "apt"], ["truncated"]),
    "rounds": (5, 2),
    "simulations": (1000, 300),
    "draws": (2000, 300),
    "nested": (25, 0),
    "live_points": (2000, 200),
    "n_eff": (4000, 500),
    "long_planets": (20, 0),
    "long_rounds": (20, 3),
}


def work(given: argparse.Namespace) -> dict[str, dict[str, Unit]]:
    """Do what is missing: the methods, nested sampling, and the runs of many rounds."""
    options = (given.simulations, given.draws)
    found = {}
    for method in given.methods:
        names = {i: f"{method}_{i:03d}" for i in range(given.planets)}
        found[method] = units(
            retrieve,
            {n: (i, method, given.rounds, *options, f"{given.runs}/{n}") for i, n in names.items()},
            given,
        )
    found["nested"] = units(
        nest,
        {f"nested_{i:03d}": (i, given.live_points, given.n_eff) for i in range(given.nested)},
        given,
    )
    for method in given.methods:  # they go on in the folders of the shorter ones
        names = {i: f"{method}_{i:03d}" for i in range(given.long_planets)}
        found[f"{method}, long"] = units(
            retrieve,
            {
                f"{n}_long": (i, method, given.long_rounds, *options, f"{given.runs}/{n}")
                for i, n in names.items()
            },
            given,
        )
    return found


def main() -> None:
    """Run what is missing, and write results and figures."""
    given = parse(__doc__, __file__, SETTINGS)
    found = work(given)
    if given.only_units:
        return


if __name__ == "__main__":
    main()
