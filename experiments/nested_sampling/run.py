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


def nested(retrieval: fp.Retrieval, path: pathlib.Path, live_points: int) -> xarray.DataTree:
    """Run UltraNest, and keep."""
    if not path.exists():
        tree = retrieval.nested("ultranest", live_points=live_points, n=20_000, progress=False)
        tree.to_netcdf(path)
    return read(path)


def read(path: pathlib.Path) -> xarray.DataTree:
    """Read a tree whole."""
    with xarray.open_datatree(path) as tree:
        return tree.load()


def compared(
    reference: xarray.DataTree, tree: xarray.DataTree, truth: np.ndarray
) -> dict[str, object]:
    """All figures of one planet."""
    comparison = fp.compare_posteriors(reference, tree, labels=["UltraNest", "floppity_jax"])
    pair, a = comparison.pairs[0], tree.attrs
    error = np.hypot(a["log_evidence_error"], a["mixture_log_evidence_error"])
    return {
        "truth": dict(zip(pair.marginals, truth.tolist(), strict=True)),
        "nested": comparison.reference._asdict(),
        "live_points": json.loads(reference.attrs["configuration"])["live_points"],
        "ours": pair.run._asdict(),
        "efficiency": a["importance_efficiency"],
        "pareto_k": a["pareto_k"],
        "chi2_p_value": a["chi2_p_value"],
        "feature_share": a["feature_share"],
        "mixture": {
            "log_evidence": a["mixture_log_evidence"],
            "log_evidence_error": a["mixture_log_evidence_error"],
            "ess": a["mixture_ess"],
            "sigma_off": (a["mixture_log_evidence"] - a["log_evidence"]) / error,
        },
        "evidence_sigma_off": pair.evidence,
        "c2st": [pair.accuracy, pair.accuracy_error],
        "sliced_wasserstein": pair.wasserstein._asdict(),
        "marginals": {
            name: {**m._asdict(), "divergence": m.divergence._asdict()}
            for name, m in pair.marginals.items()
        },
        "verdict": pair.verdict,
        "table": str(comparison).splitlines(),
    }


def table(results: dict[str, dict]) -> str:
    """One line a planet: the worst of its marginals, and the evidence."""
    lines = [
        "          worst of the marginals      ln Z                              sigma off  "
        "of chance  calls                effi-",
        "          shift  width  JSD-floor   UltraNest       floppity_jax      nested mixture"
        "  C2ST   UltraNest      ours  ciency",
    ]
    for name, r in results.items():
        marginals = r["marginals"].values()
        shift = max((m["shift"] for m in marginals), key=abs)
        width = max((m["width"] for m in marginals), key=lambda w: abs(w - 1))
        above = max(m["divergence"]["value"] - m["divergence"]["floor"] for m in marginals)
        a, b = r["nested"], r["ours"]
        lines.append(
            f"{name}  {shift:+.3f}  {width:.3f}  {above:6.2f}  "
            f"{a['log_evidence']:9.2f} +- {a['log_evidence_error']:.2f}"
            f"  {b['log_evidence']:9.3f} +- {b['log_evidence_error']:.3f}"
            f"  {r['evidence_sigma_off']:+.2f}  {r['mixture']['sigma_off']:+.2f}"
            f"    {r['c2st'][0]:.3f}  {a['calls']:9,d}  {b['calls']:8,d}   {r['efficiency']:.2f}"
        )
    lines.append(f"median efficiency {np.median([r['efficiency'] for r in results.values()]):.2f}")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, compare, and write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planets", type=int, nargs="+", default=[0, 1, 2, 3, 4],
                        help="their numbers (0 1 2 3 4)")  # fmt: skip
    parser.add_argument("--live-points", type=int, default=1000, help="of UltraNest (%(default)s)")
    parser.add_argument("--only", choices=("ours", "nested"), help="run these and compare nothing")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"),
                        help="folder of the runs (%(default)s)")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent,
                        help="folder of the results (that of this script)")  # fmt: skip
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    results = {}
    for number in options.planets:
        retrieval, truth = planet(number)
        trees = {}
        if options.only != "ours":
            path = options.runs / f"nested_{number}.nc"
            trees["nested"] = nested(retrieval, path, options.live_points)
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
        axes = plots.corner(
            trees["nested"], trees["ours"], labels=["UltraNest", "floppity_jax"],
            truths=dict(zip(retrieval.space.names, truth, strict=True)),
        )  # fmt: skip
        axes.flat[0].figure.savefig(figure, dpi=110)
    if results:
        print(table(results))
        (options.output / "results.json").write_text(
            json.dumps(results, indent=1, default=float) + "\n"
        )


if __name__ == "__main__":
    main()
