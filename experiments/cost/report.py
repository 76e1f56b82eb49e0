"""From what was measured to what slower simulators take: table, figures, results.json."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

import numpy as np
import xarray

from experiments import common
from experiments.common import Unit
from experiments.cost import methods

COSTS = (1e-3, 0.5, 3.0, 30.0)  # of a spectrum [s]
WORKERS = 12  # of the pool, in the table and the figure
DISPATCH = 8.2e-5  # of a call through the pool, here [s]: cpu_beyond_own in ../faults
ENOUGH = 4000  # effective draws
SAMPLERS = ("nautilus", "ultranest")
SLOW = {"1ms": (1e-3, 2), "500ms": (0.5, 12)}  # runs through a pool: seconds a spectrum, workers

BESIDE = "_beside_nautilus"


def write(found: dict[str, Unit], given: argparse.Namespace) -> None:
    """Compare, project, and write all there is."""
    floppity = given.runs / "floppity.npz"
    if floppity.exists():
        found |= {"floppity_150_60": _floppity(floppity)}
    compared = common.units(methods.agreement, _pairs(found, given.runs), given)
    for name, agreement in compared.items():
        found[name.removesuffix(BESIDE)]["agreement"] = agreement
    for unit in found.values():
        unit["calls_for_enough"] = calls_for_enough(unit, given.draws)
    results = {
        "runs": found,
        "measured": {name: _measured(name, found) for name in found if _slow(name)},
        "projected": {
            name: {f"{cost:g}": projected(unit, cost, WORKERS) for cost in COSTS}
            for name, unit in found.items()
            if not _slow(name)
        },
        "break_even": _break_evens(found),
        "settings": {k: v for k, v in vars(given).items() if k in ("rounds", "simulations",
                     "draws", "live_points")} | {"workers": WORKERS},
    }  # fmt: skip
    common.write(given.output / "results.json", results)
    print(table(results))
    if not given.small:
        from experiments.cost import figures

        figures.wall(results, given.output / "wall.png")
        figures.calls(results, given.output / "calls.png")


def projected(unit: Unit, cost: float, workers: int) -> float:
    """Wall time [s] on free cores, for a simulator that takes ``cost`` seconds a spectrum."""
    return unit["own"] + unit["calls"] * (cost / workers + DISPATCH)


def break_even(unit: Unit, other: Unit) -> float:
    """Time of a spectrum over the number of workers, from which on ``unit`` is the faster one [s].

    0 where it is at any cost; NaN where it takes more calls.
    """
    fewer = other["calls"] - unit["calls"]
    return max(0.0, (unit["own"] - other["own"]) / fewer) if fewer > 0 else float("nan")


def calls_for_enough(unit: Unit, draws: int) -> float:
    """Calls for `ENOUGH` effective draws; nested sampling has them when it ends, or is at fault."""
    if "efficiency" not in unit:
        return unit["calls"]
    return unit["calls"] - draws + ENOUGH / unit["efficiency"]


def _measured(name: str, found: dict[str, Unit]) -> dict[str, Any]:
    """What a run through a pool took, beside what is foretold from the one without."""
    unit, fast = found[name], found.get(_fast(name))
    cost, workers = SLOW[name.rsplit("_", 1)[1]]
    return {
        "run": _fast(name),
        "cost": cost,
        "workers": workers,
        "wall": unit["wall"],
        "simulator_alone": unit["calls"] * cost / workers,
        "projected": fast and projected(fast, cost, workers),
    }


def table(results: dict[str, Any]) -> str:
    """One line a run: what it took, what it would take, and whether it agrees."""
    costs = "".join(f"{cost:>9g} s" for cost in COSTS)
    lines = [f"{'run':22}   calls  own s{costs}     ess  calls for {ENOUGH}  verdict"]
    for name, unit in results["runs"].items():
        times = results["projected"].get(name)
        walls = "".join(f"{t:11.0f}" for t in times.values()) if times else f"{unit['wall']:44.0f}"
        lines.append(
            f"{name:22}{unit['calls']:8d}{unit['own']:7.0f}{walls}{unit['ess']:8.0f}"
            f"{unit['calls_for_enough']:16.0f}  {unit.get('agreement', {}).get('verdict', '')}"
        )
    for name, at in results["break_even"].items():
        milliseconds = [f"{1e3 * seconds:.3g}" for seconds in at.values()]
        lines.append(f"ours is faster than {name} from {milliseconds} ms x workers on")
    return "\n".join(lines)


def _break_evens(found: dict[str, Unit]) -> dict[str, dict[str, float]]:
    """Of ours, by each run of nested sampling on the same case: as run, and for enough draws."""
    break_evens = {}
    for name, unit in found.items():
        sampler, case = name.split("_", 1)
        mine = found.get(f"ours_{case}")
        if sampler in SAMPLERS and mine and not _slow(name):
            enough = [u | {"calls": u["calls_for_enough"]} for u in (mine, unit)]
            break_evens[name] = {
                "as_run": break_even(mine, unit),
                "for_enough_draws": break_even(*enough),
            }
    return break_evens


def _pairs(found: dict[str, Unit], runs: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Files to lay side by side: those of nautilus on the same case, and of each other run."""
    pairs = {}
    for name in found:
        method, case = name.split("_", 1)
        reference = f"nautilus_{'_'.join(case.split('_')[:2])}"
        if name != reference and reference in found:
            pairs[name + BESIDE] = (str(runs / f"{reference}.nc"), str(runs / f"{name}.nc"))
    return pairs


def _slow(name: str) -> bool:
    return name != _fast(name)


def _fast(name: str) -> str:
    """Name of the run with the compiled model on the same case."""
    return "_".join(name.split("_")[:3])


def _floppity(path: pathlib.Path) -> Unit:
    """Read what FlopPITy left, and keep its draws as the other runs are kept."""
    with np.load(path) as file:
        draws, names = file["draws"], file["names"].tolist()
        info = json.loads(str(file["info"]))
    posterior = xarray.Dataset(
        {
            name: (("chain", "draw"), column[None])
            for name, column in zip(names, draws.T, strict=True)
        }
    )
    tree = xarray.DataTree.from_dict({"posterior": posterior})
    tree.to_netcdf(path.with_name("floppity_150_60.nc"))
    return info | {"ess": len(draws)}
