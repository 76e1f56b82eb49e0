"""Conservation of energy and of atoms over the prior, and the seconds that a model takes.

python -m experiments.self_consistent.check
"""

from __future__ import annotations

import pathlib
import time

import numpy as np
from scipy.stats import qmc

from experiments.common import parse, write
from experiments.self_consistent.chemistry import elements
from experiments.self_consistent.model import BrownDwarf
from experiments.self_consistent.problem import PARAMETERS
from experiments.self_consistent.radiation import STEFAN_BOLTZMANN, fluxes
from experiments.self_consistent.structure import node_temperatures
from floppity_jax.priors import ParameterSpace


def check(model: BrownDwarf, p: dict[str, float]) -> dict[str, float]:
    """What a model gets wrong, each as a share."""
    start = time.process_time()
    model(p)
    seconds = time.process_time() - start
    structure = model.structure(p)
    radiative = ~structure.convective
    per_h2, _ = model.composition(structure.temperature, p)
    carbon = per_h2["CO"] + per_h2["CO2"] + per_h2["CH4"]
    oxygen = per_h2["H2O"] + per_h2["CO"] + 2 * per_h2["CO2"]
    atoms = np.concatenate(
        [x / y - 1 for x, y in zip((carbon, oxygen), elements(p["M_H"], p["C_O"]), strict=True)]
    )
    # The flux at the top anew, and what both tables see of it from 5 to 18 um.
    depth = model.depths(model.broad, structure.temperature, p)
    source, _ = model.broad_planck(node_temperatures(structure.temperature))
    broad = fluxes(depth, source, model.broad.weights)[0]
    inside = np.interp(model.edges[[0, -1]], model.broad.edges, np.append(0, np.cumsum(broad)))
    return {
        "radiative_levels": float(np.abs(structure.flux[:-1][radiative] - 1).max()),
        "convective_levels": float(structure.flux[:-1][~radiative].max(initial=0) - 1),
        "emergent": float(broad.sum() / (STEFAN_BOLTZMANN * p["T_int"] ** 4) - 1),
        "tables": float(model.emission(structure, p).sum() / np.diff(inside)[0] - 1),
        "atoms": float(np.abs(atoms).max()),
        "least_abundance": float(min(x.min() for x in per_h2.values())),
        "fully_radiative": bool(radiative.all()),
        "coldest": float(structure.temperature.min()),
        "steps": structure.steps,
        "cpu_seconds": seconds,
    }


def main() -> None:
    """Write ``check.json``."""
    given = parse(__doc__, __file__, {"models": (200, 5), "layers": (50, 25)})
    space, model = ParameterSpace(PARAMETERS), BrownDwarf(given.layers)
    bounds = np.array([prior.support for prior in PARAMETERS.values()])
    theta = qmc.scale(qmc.Halton(len(bounds), seed=0).random(given.models), *bounds.T)
    found = [check(model, dict(zip(space.names, map(float, row), strict=True))) for row in theta]
    columns = {name: np.array([each[name] for each in found]) for name in found[0]}
    write(pathlib.Path(given.output) / "check.json", {
        "models": given.models,
        "worst_radiative_level": columns["radiative_levels"].max(),
        "worst_convective_level": columns["convective_levels"].max(),
        "fully_radiative": columns["fully_radiative"].sum(),
        "worst_emergent": np.abs(columns["emergent"]).max(),
        "tables_rms_and_worst": [columns["tables"].std(), np.abs(columns["tables"]).max()],
        "worst_atoms": columns["atoms"].max(),
        "least_abundance": columns["least_abundance"].min(),
        "coldest": columns["coldest"].min(),
        "steps_mean_and_most": [columns["steps"].mean(), columns["steps"].max()],
        "cpu_seconds_mean_and_most": [columns["cpu_seconds"].mean(), columns["cpu_seconds"].max()],
    })  # fmt: skip


if __name__ == "__main__":
    main()
