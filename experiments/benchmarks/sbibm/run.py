"""Run sbibm tasks and score the posteriors against sbibm's references (C2ST).

One JSON file for each task, method, budget and observation; those that exist are passed over, so
that a run can be broken off and taken up again. Needs sbibm's wheel, to read from, not to install:

    pip download --no-deps sbibm==1.1.0
    python run.py --wheel sbibm-1.1.0-py2.py3-none-any.whl --budget 1000 --output runs
"""

import argparse
import itertools
import json
import os
import pathlib
import sys
import time
import traceback

import reference
from tasks import TASKS

import floppity_jax as fp

# One configuration for all tasks: rounds, simulations of each, changes to the flow and training.
APT = {"patience": 8, "atoms": 20}
TRUNCATED = {"patience": 8}
CONFIGURATIONS = {
    ("apt", 1000): (5, [200] * 5, {"members": 1}, APT),
    ("apt", 10000): (5, [2000] * 5, {"members": 1}, APT),
    ("truncated", 1000): (10, [100] * 10, {"members": 3}, TRUNCATED),
    ("truncated", 10000): (10, [1000] * 10, {"members": 3}, TRUNCATED),
}
METHODS = sorted({method for method, _ in CONFIGURATIONS})
BUDGETS = sorted({budget for _, budget in CONFIGURATIONS})
DRAWS = 10_000


def run_unit(wheel, task, method, budget, observation, folds):
    rounds, simulations, flow, training = CONFIGURATIONS[method, budget]
    values = reference.read_observation(wheel, task.name, observation)
    retrieval = fp.Retrieval(
        task.simulator(observation),
        task.parameters,
        fp.Observation(values),
        flow=fp.FlowConfig(**flow),
        training=fp.TrainingConfig(**training),
        method=method,
    )
    start = time.perf_counter()
    posterior = retrieval.run(rounds, simulations, seed=observation, progress=False)
    draws = posterior.sample(DRAWS, seed=observation)
    seconds = time.perf_counter() - start
    exact = reference.read_posterior(wheel, task.name, observation)
    start = time.perf_counter()
    scores = reference.c2st_by_fold(exact, draws, folds)
    return {
        "task": task.name,
        "method": method,
        "budget": budget,
        "observation": observation,
        "c2st": sum(scores) / len(scores),
        "c2st_by_fold": scores,
        "seconds": round(seconds, 1),
        "seconds_c2st": round(time.perf_counter() - start, 1),
        "rounds": rounds,
        "simulations": simulations,
        "flow": flow,
        "training": training,
        "version": fp.__version__,
    }


def write_json(path, result):
    """Write the file whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(path)


def read_shard(text):
    index, count = map(int, text.split("/"))
    if not 1 <= index <= count:
        raise ValueError
    return index, count


def read_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--wheel", type=pathlib.Path, required=True, help="file of sbibm 1.1.0")
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK",
        help="of " + ", ".join(TASKS) + "; all unless given")  # fmt: skip
    add("--methods", nargs="+", choices=METHODS, default=METHODS, help="both unless given")
    add("--budget", nargs="+", type=int, choices=BUDGETS, default=BUDGETS[:1],
        help="simulations of a run; 1000 unless given")  # fmt: skip
    add("--observations", nargs="+", type=int, choices=range(1, 11), default=range(1, 11),
        metavar="N", help="of 1 .. 10; all unless given")  # fmt: skip
    add("--output", type=pathlib.Path, required=True, metavar="DIR", help="where results go")
    add("--quick", action="store_true", help="C2ST by the first of its five folds only")
    add("--shard", type=read_shard, default=(1, 1), metavar="i/n",
        help="the i-th of n equal shares of the work, to run n processes at once")  # fmt: skip
    return parser.parse_args()


def main():
    options = read_options()
    options.output.mkdir(parents=True, exist_ok=True)
    units = itertools.product(
        options.observations, options.budget, options.methods, options.tasks
    )  # observations outermost: whatever has run by then is a fair picture
    index, count = options.shard
    failed = []
    for observation, budget, method, name in itertools.islice(units, index - 1, None, count):
        path = options.output / f"{name}_{method}_{budget}_{observation}.json"
        if path.exists():
            continue
        folds = 1 if options.quick else 5
        try:
            result = run_unit(options.wheel, TASKS[name], method, budget, observation, folds)
        except Exception:  # the others are still worth having
            traceback.print_exc()
            failed.append(path.stem)
            continue
        write_json(path, result)
        print(f"{path.stem:40s} C2ST {result['c2st']:.3f}  {result['seconds']:.0f} s "
              f"(+ {result['seconds_c2st']:.0f} s)", flush=True)  # fmt: skip
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
