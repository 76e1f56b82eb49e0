"""A GPU beside the CPU of the same machine: the same retrievals, spectra, draws and densities.

Each device has a process of its own, one after the other, with an empty compilation cache; the
first retrieval is run twice. JSON is printed; `--output` writes it too.

    python -m experiments.benchmarks.devices --devices gpu cpu
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

import floppity_jax as fp
from experiments.common import PLATFORMS, write
from experiments.cost.problem import PRIORS, retrieval
from floppity_jax.simulate import simulate

FEW, MANY, ERROR = 150, 5000, 60.0  # channels, and ppm, of the planet of experiments/cost
SPECTRA, DRAWS = 4096, 100_000
FLOW, PAPER = fp.FlowConfig(), fp.FlowConfig.paper()
TRAINING = fp.TrainingConfig()
# Channels, flow, training, rounds, simulations of each. Epochs are bounded where the network is
# large, so that both devices do the same work.
CASES = {
    "default": (FEW, FLOW, TRAINING, 5, 1000),
    "default, compiled": (FEW, FLOW, TRAINING, 5, 1000),
    "paper": (
        FEW, PAPER, dataclasses.replace(fp.TrainingConfig.paper(), max_epochs=15), 3, 1000
    ),
    "5,000 channels": (MANY, FLOW, dataclasses.replace(TRAINING, max_epochs=60), 3, 1000),
    "10 flows, batches of 1,000": (
        FEW, dataclasses.replace(FLOW, members=10),
        dataclasses.replace(TRAINING, batch_size=1000, max_epochs=20), 2, 10_000,
    ),
}  # fmt: skip


def retrieve(case: str) -> dict:
    """Run a case, and correct it."""
    channels, flow, training, rounds, simulations = CASES[case]
    problem = retrieval(channels, ERROR, 0.0, 1, flow=flow, training=training)
    start = time.perf_counter()
    posterior = problem.run(rounds, simulations, seed=0, progress=False)
    seconds = posterior.record.seconds | {"whole": time.perf_counter() - start}
    corrected = posterior.importance_sample(4000, seed=0)
    mean = corrected.weights @ corrected.draws
    epochs = sum(len(info.training.train_loss) for info in posterior.record.rounds)
    return {
        "seconds": {name: round(s, 2) for name, s in seconds.items()},
        "epochs": epochs,
        "ms_an_epoch": round(1e3 * seconds["training"] / epochs, 1),
        "efficiency": round(corrected.efficiency, 3),
        "log_evidence": round(corrected.log_evidence, 3),
        "mean": mean.tolist(),
        "sd": np.sqrt(corrected.weights @ (corrected.draws - mean) ** 2).tolist(),
    }


def time_draws() -> dict:
    """Draws and densities a second, once compiled; both end as NumPy arrays on the host."""
    posterior = retrieval(FEW, ERROR, 0.0, 1).run(1, 1000, seed=0, progress=False)
    posterior.log_prob(posterior.sample(DRAWS, seed=1))
    start = time.perf_counter()
    draws = posterior.sample(DRAWS, seed=2)
    middle = time.perf_counter()
    log_q = posterior.log_prob(draws)
    end = time.perf_counter()
    assert np.isfinite(log_q).all()
    return {
        "draws_a_second": DRAWS / (middle - start), "densities_a_second": DRAWS / (end - middle)
    }  # fmt: skip


def time_spectra(channels: int, path: pathlib.Path) -> dict:
    """Spectra of the shipped model a second, over all of the prior; they are kept."""
    problem = retrieval(channels, ERROR, 0.0, 1)
    z = np.random.default_rng(0).normal(size=(SPECTRA, len(PRIORS)))
    columns = problem.space.as_mapping(problem.space.to_theta(z))
    seconds = []
    for _ in range(4):  # the first compiles
        start = time.perf_counter()
        done = simulate(problem.simulator, columns, problem.observation, problem.pool)
        seconds.append(time.perf_counter() - start)
    np.save(path, done.spectra)
    return {"spectra_a_second": SPECTRA / min(seconds)}


def work(folder: pathlib.Path, cases: list[str]) -> None:
    """Do all of it on the device of this process; print a line of JSON for each part."""
    device = jax.devices()[0]
    tell("device", {"platform": device.platform, "kind": device.device_kind})
    for channels in (FEW, MANY):
        path = folder / f"{device.platform}_{channels}.npy"
        tell(f"simulator, {channels} channels", time_spectra(channels, path))
    tell("sampling", time_draws())
    for case in cases:
        tell(case, retrieve(case))


def tell(part: str, found: dict) -> None:
    print(json.dumps({part: found}), flush=True)


def run(device: str, folder: pathlib.Path, cases: list[str]) -> dict:
    """Let a process do all of it on one device."""
    environment = os.environ | {
        "JAX_PLATFORMS": PLATFORMS[device], "XDG_CACHE_HOME": str(folder / device)
    }  # fmt: skip
    command = [sys.executable, "-m", "experiments.benchmarks.devices"]
    command += ["--worker", str(folder), "--cases", *cases]
    found: dict = {}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        for line in worker.stdout or ():
            if line.startswith("{"):
                found |= json.loads(line)
                print(device, line, end="", file=sys.stderr, flush=True)
    if worker.returncode:
        raise RuntimeError(f"the {device} did not end: exit status {worker.returncode}")
    return found


def compare(gpu: dict, cpu: dict, folder: pathlib.Path, cases: list[str]) -> dict:
    """Hold the devices against each other: corrected posteriors, and spectra."""
    told: dict = {}
    for case in cases:
        a, b = ({k: np.array(side[case][k]) for k in ("mean", "sd")} for side in (gpu, cpu))
        told[case] = {
            "shift_sd": np.round((a["mean"] - b["mean"]) / b["sd"], 3).tolist(),
            "width": np.round(a["sd"] / b["sd"], 3).tolist(),
            "log_evidence": round(gpu[case]["log_evidence"] - cpu[case]["log_evidence"], 3),
        }
    for channels in (FEW, MANY):
        a, b = (np.load(folder / f"{name}_{channels}.npy").astype(float) for name in ("gpu", "cpu"))
        off = np.abs(a - b)
        told[f"simulator, {channels} channels"] = {
            "largest_ppm": float(1e6 * off.max()), "largest_relative": float((off / b).max())
        }  # fmt: skip
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", nargs="+", choices=list(PLATFORMS), default=["gpu", "cpu"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.cases)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        result: dict = {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "cores": len(os.sched_getaffinity(0)),
        }
        result |= {device: run(device, folder, options.cases) for device in options.devices}
        if "gpu" in result and "cpu" in result:
            sides = result["gpu"], result["cpu"]
            result["gpu beside cpu"] = compare(*sides, folder, options.cases)
    print(json.dumps(result, indent=1))
    if options.output:
        write(options.output, result)
    return None


if __name__ == "__main__":
    main()
