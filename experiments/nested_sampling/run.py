"""Lay our posteriors of synthetic planets beside UltraNest's.

Each planet is drawn from the priors of the demo (WASP-39 b, five parameters) and observed through
the 147 PRISM channels with their errors. Finished runs are kept in the output folder and not
repeated. Prints the table, and writes results.json and a corner plot of each planet.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import numpy as np
import xarray

import floppity_jax as fp
from floppity_jax import config, plots
from floppity_jax.simulate import simulate

DEMO = pathlib.Path(fp.__file__).parent / "data" / "wasp39b.toml"
ROUNDS, SIMULATIONS, DRAWS = 8, 500, 6000  # 10,000 calls in all
LIMITS = {"median": 0.1, "width": 0.05, "jsd": 2.0, "evidence": 2.0, "mixture": 3.0}


def planet(number: int) -> tuple[fp.Retrieval, np.ndarray]:
    """Return the retrieval of a planet drawn from the prior, and its true parameters."""
    demo = config.load(DEMO).retrieval
    rng = np.random.default_rng([2024, number])
    truth = demo.space.to_theta(rng.normal(size=(1, len(demo.space.names))))
    model = simulate(demo.simulator, demo.space.as_mapping(truth), demo.observation, demo.pool)
    seen = demo.observation
    noisy = model.spectra[0] + seen.errors * rng.normal(size=seen.n_channels)
    observation = fp.Observation(
        noisy, seen.errors, seen.wavelength, seen.bin_width, f"planet {number}", seen.unit
    )
    return fp.Retrieval(demo.simulator, demo.space.entries, observation), truth[0]


def ours(retrieval: fp.Retrieval, path: pathlib.Path) -> xarray.DataTree:
    """Run, correct, and keep."""
    if not path.exists():
        start = time.perf_counter()
        posterior = retrieval.run(ROUNDS, SIMULATIONS, seed=0, progress=False)
        posterior = posterior.importance_sample(DRAWS, seed=0)
        tree = posterior.to_datatree(20_000)
        tree.attrs["seconds"] = time.perf_counter() - start
        tree.to_netcdf(path)
    return read(path)


def nested(
    retrieval: fp.Retrieval, path: pathlib.Path, live_points: int, seed: int
) -> xarray.DataTree:
    """Run UltraNest, and keep."""
    if not path.exists():
        tree = retrieval.nested(
            "ultranest", live_points=live_points, seed=seed, n=20_000, progress=False
        )
        tree.to_netcdf(path)
    return read(path)


def read(path: pathlib.Path) -> xarray.DataTree:
    """Read a tree whole."""
    with xarray.open_datatree(path) as tree:
        return tree.load()


def main() -> None:
    """Run what is missing, compare, and write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, default=5, help="how many (%(default)s)")
    parser.add_argument("--live-points", type=int, default=1000, help="of UltraNest (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of UltraNest (%(default)s)")
    parser.add_argument("--only", choices=("ours", "nested"), help="run these and compare nothing")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"),
                        help="folder of the runs (%(default)s)")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent,
                        help="folder of the results (that of this script)")  # fmt: skip
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    results = {}
    for number in range(options.planets):
        retrieval, truth = planet(number)
        trees = {}
        if options.only != "ours":
            path = options.runs / f"nested_{number}_{options.live_points}_{options.seed}.nc"
            trees["nested"] = nested(retrieval, path, options.live_points, options.seed)
        if options.only != "nested":
            trees["ours"] = ours(retrieval, options.runs / f"ours_{number}.nc")
        for kind, tree in trees.items():
            a = tree.attrs
            print(f"planet {number} {kind}: ln Z {a['log_evidence']:.2f}"
                  f" +- {a['log_evidence_error']:.2f}, {a['simulator_calls']} calls,"
                  f" {a['seconds']:.0f} s, ess {a['ess']:.0f}", flush=True)  # fmt: skip
        if options.only:
            continue
        results[f"planet {number}"] = compared(trees["nested"], trees["ours"], truth)
        figure = options.output / f"planet_{number}.png"
        axes = plots.corner(trees["nested"], trees["ours"], labels=["UltraNest", "floppity_jax"],
                            truths=dict(zip(retrieval.space.names, truth, strict=True)))  # fmt: skip
        axes.flat[0].figure.savefig(figure, dpi=110)
    if results:
        print(table(results))
        (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
