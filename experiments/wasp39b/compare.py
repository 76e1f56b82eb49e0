"""Lay the WASP-39 b demo posterior beside nested sampling of the same problem.

It reads nested_seed*.npz (made by nested.py) and demo_seedN.npz, running the demo for those seeds
that have none yet, and writes results.json and compare.png. All runs must come from one simulator:
same model, channels and opacities.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from runs import Run, load_demo

from floppity_jax.priors import ParameterSpace
from floppity_jax.summary import interval

BLACK, BLUE, ORANGE, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"  # Okabe & Ito
LABELS = {
    "T": r"$\log_{10}$ ($T$ / K)",
    "X_H2O": r"$\log_{10}\,X_\mathrm{H_2O}$",
    "X_CO2": r"$\log_{10}\,X_\mathrm{CO_2}$",
    "radius": r"radius at 10 bar [$R_\mathrm{Jup}$]",
    "log_g": r"$\log_{10}$ ($g$ / cm s$^{-2}$)",
}
DRAWS = 20_000  # of the weighted posterior: the weights, not these, limit how well it is known


def run_demo(seed: int, rounds: int | None) -> tuple[Run, Run]:
    """Do what ``floppity-jax demo`` does; return the corrected posterior and the flow's own."""
    setup = load_demo()
    retrieval = setup.retrieval
    rounds = rounds or setup.run.rounds
    start = time.perf_counter()
    flow = retrieval.run(rounds, setup.run.simulations, seed=seed, progress=False)
    middle = time.perf_counter()
    posterior = flow.importance_sample(setup.run.importance_samples, seed=seed)
    end = time.perf_counter()
    common = {
        "seed": seed,
        "rounds": rounds,
        "simulations": setup.run.simulations,
        "simulator": retrieval.simulator.fingerprint(),
    }
    corrected = {
        **common,
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "effective": posterior.ess,
        "efficiency": posterior.efficiency,
        "pareto_k": posterior.pareto_k,
        "simulator_calls": posterior.record.simulator_calls,
        "seconds": end - start,
        "seconds_by_kind": posterior.record.seconds,
        "reduced_chi2_best": posterior.reduced_chi2_best(),
    }
    alone = {
        **common,
        "simulator_calls": flow.record.simulator_calls,
        "seconds": middle - start,
        "change_by_round": [r.change for r in flow.record.rounds[1:]],
    }
    return (
        Run(posterior.sample(DRAWS, seed), corrected),
        Run(flow.sample(DRAWS // 4, seed), alone),
    )


def columns(space: ParameterSpace, run: Run) -> dict[str, np.ndarray]:
    """Draws by parameter, in log10 where the prior is logarithmic."""
    return {
        name: np.log10(x) if space.priors[name].scale == "log" else x
        for name, x in zip(space.names, run.draws.T, strict=True)
    }


def against(space: ParameterSpace, truth: Run, run: Run) -> dict:
    """Compare medians and central 68% intervals, parameter by parameter.

    Returns
    -------
    dict
        ``shift``: difference of the medians over half the 68% interval of the truth; ``width``:
        ratio of the 68% intervals, of each parameter; ``error``: standard error of a shift, from
        the number of effective draws of both runs, for a normal law.
    """
    # The variance of the median of n draws from a normal law tends to pi / (2 n).
    effective = [r.info.get("effective", len(r.draws)) for r in (truth, run)]
    result = {"error": float(np.sqrt(np.pi / 2 * sum(1 / n for n in effective)))}
    true, other = columns(space, truth), columns(space, run)
    for name in space.names:
        a, b = interval(true[name]), interval(other[name])
        sigma = (a.plus + a.minus) / 2
        result[name] = {
            "shift": (b.median - a.median) / sigma,
            "width": (b.plus + b.minus) / 2 / sigma,
        }
    return result


def table(names: tuple[str, ...], runs: dict[str, Run], measured: dict[str, dict]) -> str:
    """One line a run: shift in sigma and width ratio of each parameter, evidence and cost."""
    lines = [
        "shift of the median [sigma of the first] / ratio of the 68% widths; +-: error of a shift",
        " ".join(
            [
                f"{'run':22}",
                *(f"{n:>13}" for n in names),
                "    +-",
                f"{'ln Z':>15}",
                "  calls",
                "    s",
            ]
        ),
    ]
    for label, run in runs.items():
        cells = [
            f"{measured[label][n]['shift']:+6.2f} /{measured[label][n]['width']:5.2f}"
            if label in measured else "0 / 1" for n in names
        ]  # fmt: skip
        info = run.info
        evidence = (
            f"{info['log_evidence']:.2f}+-{info['log_evidence_error']:.2f}"
            if "log_evidence" in info else "-"
        )  # fmt: skip
        error = f"{measured[label]['error']:.3f}" if label in measured else "-"
        lines.append(
            " ".join([f"{label:22}", *(f"{c:>13}" for c in cells), f"{error:>6}", f"{evidence:>15}",
                      f"{info['simulator_calls']:7d}", f"{info['seconds']:5.0f}"])
        )  # fmt: skip
    return "\n".join(lines)


def draw(space: ParameterSpace, nested: list[Run], demo: list[Run]) -> Figure:
    """Marginals: nested sampling filled, the demo's seeds as lines."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots(1, len(space.names))
    truth = columns(space, nested[0])
    styles = [(BLUE, "-"), (ORANGE, "--"), (GREEN, ":")]
    for ax, name in zip(axes, space.names, strict=True):
        low, high = np.quantile(truth[name], (0.0005, 0.9995))
        edges = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), 31)
        ax.hist(truth[name], edges, density=True, color="#BBBBBB", label="nested sampling")
        for index, run in enumerate(demo):
            colour, style = styles[index % len(styles)]
            ax.hist(columns(space, run)[name], edges, density=True, histtype="step", lw=1.6,
                    color=colour, ls=style, label=f"demo, seed {run.info['seed']}")  # fmt: skip
        ax.set_xlabel(LABELS[name])
        ax.set_yticks([])
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.ticklabel_format(axis="x", useOffset=False)
        ax.spines[["left", "right", "top"]].set_visible(False)
    axes[0].set_ylabel("probability density")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center",
                  ncols=1 + len(demo), frameon=False)  # fmt: skip
    return figure


def main() -> None:
    """Run what is missing, compare, and write the table and the figure."""
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2],
                        help="seeds of the demo (0 1 2)")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="rounds of the demo (those of the demo's input)")
    parser.add_argument("--output", type=pathlib.Path, default=here,
                        help="folder of all runs (this one)")  # fmt: skip
    options = parser.parse_args()
    folder = options.output

    nested = [Run.read(path) for path in sorted(folder.glob("nested_seed*.npz"))]
    if not nested:
        raise SystemExit(f"{folder} holds no nested_seed*.npz: run nested.py first.")
    demo, flows = [], []
    for seed in options.seeds:
        paths = [folder / f"{kind}_seed{seed}.npz" for kind in ("demo", "flow")]
        if not all(path.exists() for path in paths):
            for run, path in zip(run_demo(seed, options.rounds), paths, strict=True):
                run.save(path)
        demo.append(Run.read(paths[0]))
        flows.append(Run.read(paths[1]))
    fingerprints = {run.info["simulator"] for run in [*nested, *demo, *flows]}
    if len(fingerprints) > 1:
        raise SystemExit(
            f"the runs come from different simulators, {sorted(fingerprints)}: "
            f"remove the *.npz of the older ones from {folder} and run again."
        )

    space = load_demo().retrieval.space
    runs = {
        **{f"nested, seed {r.info['seed']}": r for r in nested},
        **{f"demo, seed {r.info['seed']}": r for r in demo},
        **{f"  flow alone, seed {r.info['seed']}": r for r in flows},
    }
    first = next(iter(runs))
    measured = {k: against(space, nested[0], r) for k, r in runs.items() if k != first}
    text = table(space.names, runs, measured)
    print(text)
    for name, x in columns(space, nested[0]).items():
        log = "log10 " if space.priors[name].scale == "log" else ""
        print(f"{log + name:12} {' '.join(interval(x).digits())} {space.priors[name].unit}")
    results = {
        "simulator": fingerprints.pop(),
        "truth": {name: interval(x)._asdict() for name, x in columns(space, nested[0]).items()},
        "runs": {k: {**r.info, "against_truth": measured.get(k)} for k, r in runs.items()},
        "table": text.splitlines(),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(space, nested, demo).savefig(folder / "compare.png", dpi=150)


if __name__ == "__main__":
    main()
