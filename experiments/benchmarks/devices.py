"""A GPU beside the CPU of the same machine: the same retrievals, spectra, draws and densities.

Each device has a process of its own, one after the other, with an empty compilation cache; the
first retrieval is run twice. JSON is printed; `--output` writes it too.

    python -m experiments.benchmarks.devices --devices gpu cpu
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

from experiments.common import PLATFORMS

CHANNELS, ERROR = 150, 60.0  # of the planet of experiments/cost, ppm
SPECTRA, DRAWS = 4096, 100_000
# Rounds, simulations of each, channels, and what is not the default. Epochs are bounded where the
# network is large, so that both devices do the same work.
CASES = {
    "default": (5, 1000, CHANNELS, {}, {}),
    "default, compiled": (5, 1000, CHANNELS, {}, {}),
    "paper": (3, 1000, CHANNELS, "paper", {"max_epochs": 15}),
    "5,000 channels": (3, 1000, 5000, {}, {"max_epochs": 60}),
    "10 flows, batches of 1,000": (
        2, 10_000, CHANNELS, {"members": 10}, {"batch_size": 1000, "max_epochs": 20}
    ),
}  # fmt: skip


def retrieve(case: str) -> dict:
    """Run a case, and correct it."""
    import dataclasses

    import numpy as np

    import floppity_jax as fp
    from experiments.cost.problem import retrieval

    rounds, simulations, channels, flow, training = CASES[case]
    paper = flow == "paper"
    flow = fp.FlowConfig.paper() if paper else fp.FlowConfig(**flow)
    base = fp.TrainingConfig.paper() if paper else fp.TrainingConfig()
    problem = retrieval(
        channels, ERROR, 0.0, 1, flow=flow, training=dataclasses.replace(base, **training)
    )
    start = time.perf_counter()
    posterior = problem.run(rounds, simulations, seed=0, progress=False)
    seconds = posterior.record.seconds | {"whole": time.perf_counter() - start}
    corrected = posterior.importance_sample(4000, seed=0)
    weights = np.exp(corrected.log_weights - corrected.log_weights.max())
    mean = np.average(corrected.draws, 0, weights)
    epochs = sum(len(info.training.train_loss) for info in posterior.record.rounds)
    return {
        "seconds": {name: round(s, 2) for name, s in seconds.items()},
        "epochs": epochs,
        "ms_an_epoch": round(1e3 * seconds["training"] / epochs, 1),
        "efficiency": round(corrected.efficiency, 3),
        "log_evidence": round(corrected.log_evidence, 3),
        "mean": mean.tolist(),
        "sd": np.sqrt(np.average((corrected.draws - mean) ** 2, 0, weights)).tolist(),
    }


def draw() -> dict:
    """Time draws and densities of a small flow, once compiled; hold one against the other."""
    import numpy as np

    from experiments.cost.problem import retrieval

    posterior = retrieval(CHANNELS, ERROR, 0.0, 1).run(1, 1000, seed=0, progress=False)
    posterior.log_prob(posterior.sample(DRAWS, seed=1))
    start = time.perf_counter()
    draws = posterior.sample(DRAWS, seed=2)
    middle = time.perf_counter()
    log_q = posterior.log_prob(draws)  # a NumPy array: nothing is left running on the device
    end = time.perf_counter()
    assert np.isfinite(log_q).all()
    return {
        "draws_a_second": DRAWS / (middle - start),
        "densities_a_second": DRAWS / (end - middle),
    }


def simulate(channels: int, path: pathlib.Path) -> dict:
    """Time spectra of the shipped model over all of the prior; keep them."""
    import numpy as np

    import floppity_jax.simulate as host
    from experiments.cost.problem import PRIORS, retrieval

    problem = retrieval(channels, ERROR, 0.0, 1)
    z = np.random.default_rng(0).normal(size=(SPECTRA, len(PRIORS)))
    columns = problem.space.as_mapping(problem.space.to_theta(z))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        done = host.simulate(problem.simulator, columns, problem.observation, problem.pool)
        seconds.append(time.perf_counter() - start)
    np.save(path, done.spectra)
    return {"spectra_a_second": SPECTRA / min(seconds)}


def work(folder: pathlib.Path, cases: list[str]) -> None:
    """Do all of it on one device; a line of JSON for each part."""
    import jax

    device = jax.devices()[0]
    tell("device", {"platform": device.platform, "kind": device.device_kind})
    for channels in (CHANNELS, 5000):
        path = folder / f"{device.platform}_{channels}.npy"
        tell(f"simulator, {channels} channels", simulate(channels, path))
    tell("sampling", draw())
    for case in cases:
        tell(case, retrieve(case))


def tell(part: str, found: dict) -> None:
    print(json.dumps({part: found}), flush=True)


def run(device: str, folder: pathlib.Path, cases: list[str]) -> dict:
    """Let a process do all of it on one device."""
    environment = os.environ | {
        "JAX_PLATFORMS": PLATFORMS[device], "XDG_CACHE_HOME": str(folder / device),
    }  # fmt: skip
    command = [sys.executable, "-m", "experiments.benchmarks.devices", "--worker", str(folder)]
    command += ["--cases", *cases]
    found: dict = {}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        for line in worker.stdout or ():
            if line.startswith("{"):
                found |= json.loads(line)
                print(device, line, end="", file=sys.stderr, flush=True)
    return found


def compare(found: dict[str, dict], folder: pathlib.Path) -> dict:
    """Hold the devices against each other: corrected posteriors, and spectra."""
    import numpy as np

    gpu, cpu = found["gpu"], found["cpu"]
    told: dict = {}
    for case in CASES:
        if case in gpu and case in cpu:
            mine, other = (
                {k: np.array(side[case][k]) for k in ("mean", "sd")} for side in (gpu, cpu)
            )
            told[case] = {
                "shift_sd": np.round((mine["mean"] - other["mean"]) / other["sd"], 3).tolist(),
                "width": np.round(mine["sd"] / other["sd"], 3).tolist(),
                "log_evidence": round(gpu[case]["log_evidence"] - cpu[case]["log_evidence"], 3),
            }
    for channels in (CHANNELS, 5000):
        a, b = (np.load(folder / f"{name}_{channels}.npy").astype(float) for name in ("gpu", "cpu"))
        ppm = 1e6 * np.abs(a - b)
        told[f"simulator, {channels} channels"] = {
            "largest_ppm": float(ppm.max()), "largest_relative": float((np.abs(a - b) / b).max())
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
        import importlib.metadata

        result: dict = {
            "python": platform.python_version(),
            "jax": importlib.metadata.version("jax"),
            "cores": len(os.sched_getaffinity(0)),
        }
        result |= {device: run(device, folder, options.cases) for device in options.devices}
        if set(options.devices) == {"gpu", "cpu"}:
            result["gpu beside cpu"] = compare(result, folder)
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return None


if __name__ == "__main__":
    main()
