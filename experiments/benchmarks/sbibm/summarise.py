"""Average the results of run.py, beside the published figures of SNPE-C (APT).

Prints a markdown table; `--output` writes the same as JSON.
"""

import argparse
import json
import pathlib
import statistics

# Mean C2ST of SNPE-C at 1,000 and 10,000 simulations (Lueckmann et al. 2021).
PUBLISHED = {
    "two_moons": {1000: 0.643, 10000: 0.554},
    "gaussian_linear_uniform": {1000: 0.631, 10000: 0.527},
    "gaussian_linear": {1000: 0.652, 10000: 0.544},
    "gaussian_mixture": {1000: 0.669, 10000: 0.551},
    "slcp": {1000: 0.965, 10000: 0.845},
    "sir": {1000: 0.638, 10000: 0.561},
    "lotka_volterra": {1000: 0.990, 10000: 0.953},
}


def summarise(units):
    """One row for each task, budget and method, in the order of `PUBLISHED`."""
    groups = {}
    for unit in units:
        groups.setdefault((unit["task"], unit["budget"], unit["method"]), []).append(unit)
    order = list(PUBLISHED)
    rows = []
    for task, budget, method in sorted(groups, key=lambda g: (g[1], order.index(g[0]), g[2])):
        group = groups[task, budget, method]
        scores = [unit["c2st"] for unit in group]
        rows.append(
            {
                "task": task,
                "budget": budget,
                "method": method,
                "c2st": round(statistics.fmean(scores), 3),
                "lowest": round(min(scores), 3),
                "highest": round(max(scores), 3),
                "published_snpe_c": PUBLISHED[task][budget],
                "observations": len(group),
                "by_observation": {
                    unit["observation"]: round(unit["c2st"], 4)
                    for unit in sorted(group, key=lambda unit: unit["observation"])
                },
                "folds": min(len(unit["c2st_by_fold"]) for unit in group),
                "seconds": round(statistics.fmean(unit["seconds"] for unit in group), 1),
            }
        )
    return rows


def markdown(rows):
    titles = ("task", "simulations", "method", "C2ST", "lowest .. highest", "SNPE-C, published",
              "observations", "folds", "seconds a run")  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = (row["task"], f"{row['budget']:,}", row["method"], f"{row['c2st']:.3f}",
                 f"{row['lowest']:.3f} .. {row['highest']:.3f}", f"{row['published_snpe_c']:.3f}",
                 row["observations"], row["folds"], f"{row['seconds']:.0f}")  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where run.py put its results")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.json"))
    units = [json.loads(path.read_text()) for path in paths]
    rows = summarise([unit for unit in units if isinstance(unit, dict)])
    print(markdown(rows))
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
