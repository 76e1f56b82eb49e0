"""Simulate the brown dwarf by ARCiS and write five noise realisations; or retrieve them all.

python observe.py                              # realisation_1.dat to realisation_5.dat
python observe.py --retrieve runs/brown_dwarf  # 10 rounds x 5,000 of each, put together
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

import floppity_jax as fp
from floppity_jax import plots

HERE = pathlib.Path(__file__).parent
TRUTH = {"TeffP": 700.0, "Rp": 1.0, "loggP": 4.5, "Kzz": 1e9, "COratio": 0.55, "metallicity": 0.0}


def main() -> None:
    """Observe, and retrieve where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executable", default="ARCiS", help="on PATH, or a path")
    parser.add_argument("--realisations", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    parser.add_argument("--retrieve", type=pathlib.Path, help="folder of the runs; resumes")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--simulations", type=int, default=5000)
    parser.add_argument("--workers", type=int, help="ARCiS processes (all cores)")
    given = parser.parse_args()
    arcis = fp.simulators.ARCiS(HERE / "brown_dwarf.in", executable=given.executable, timeout=1800)
    channels = arcis.observations()["obs1"]
    realisations = fp.noise_realisations(
        channels.with_values(arcis(TRUTH)), given.realisations, seed=0
    )
    for i, seen in enumerate(realisations, start=1):
        rows = np.stack(
            [seen.wavelength, seen.values, seen.errors, seen.wavelength / seen.bin_width], axis=1
        )
        np.savetxt(given.output / f"realisation_{i}.dat", rows, fmt="%.8e")
    if given.retrieve:
        retrieval = fp.Retrieval(arcis, arcis.priors(), channels, pool=fp.Pool(given.workers))
        ensemble = fp.run_ensemble(
            retrieval, given.rounds, given.simulations, directory=given.retrieve,
            observations=realisations, resume=True,
        )  # fmt: skip
        tree = ensemble.to_datatree()
        tree.to_netcdf(given.retrieve / "posterior.nc")
        axes = plots.corner(tree, truths=TRUTH)
        axes.flat[0].figure.savefig(given.retrieve / "corner.png")


if __name__ == "__main__":
    main()
