"""Wall time and calls of each method, by the simulator's cost, the channels and their errors.

Every method solves the same retrieval of five parameters (problem.py). Calls and a method's own
time are measured with the compiled model; what a slower simulator takes follows from them, and is
measured too at 1 ms and 0.5 s a spectrum. FlopPITy 0.5 has an environment of its own:
floppity_run.py first, which leaves floppity.npz in the folder of --runs. Prints the table; writes
results.json, wall.png and calls.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from experiments import common
from experiments.cost import methods, report

MIDDLE = 60.0  # ppm
MANY = 150  # channels of the case that is seen with several errors
CASES = {13: (MIDDLE,), MANY: (180.0, MIDDLE, 20.0), 1000: (MIDDLE,), 5000: (MIDDLE,)}  # ppm
SMALL = (13, 3000.0)


def work(given: argparse.Namespace) -> dict[str, tuple]:
    """Return the arguments of each unit by its name, METHOD_CHANNELS_ERROR[_COST]."""
    units = {}

    def add(method: str, case: tuple[int, float], slow: str = "") -> None:
        name = "_".join([method, f"{case[0]}", f"{case[1]:.0f}", *[slow] * bool(slow)])
        path = str(given.runs / f"{name}.nc")
        units[name] = (method, path, case, *report.SLOW.get(slow, (0.0, 1)), *settings[method])

    rounds = (given.rounds, given.simulations, given.draws)
    settings = {
        "ours": rounds,
        "single": (1, given.rounds * given.simulations + given.draws, given.draws),
        "nautilus": ("nautilus", given.live_points, {"n_eff": given.draws}),
        "ultranest": ("ultranest", None, {}),
    }
    if given.small:
        add("ours", SMALL, "1ms")
        return units
    for channels, errors in CASES.items():
        for error in errors:
            for method in ("ours", "nautilus"):
                add(method, (channels, error))
    for channels in (13, MANY):
        for method in ("single", "ultranest"):
            add(method, (channels, MIDDLE))
    for method, slow in (("ours", "1ms"), ("ours", "500ms"), ("nautilus", "500ms")):
        add(method, (13, MIDDLE), slow)
    return {name: values for name, values in units.items() if name.startswith(tuple(given.only))}


def solve(method: str, *values: object) -> common.Unit:
    """Do one unit."""
    return (methods.ours if method in ("ours", "single") else methods.nested)(*values)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, compare, and write the table and the figures."""
    settings = {
        "rounds": (10, 1),
        "simulations": (500, 400),
        "draws": (5000, 400),
        "live_points": (1000, 100),
        "only": ([""], [""]),
    }
    given = common.parse(__doc__, __file__, settings, argv)
    found = common.units(solve, work(given), given)
    if not given.only_units:
        report.write(found, given)


if __name__ == "__main__":
    main()
