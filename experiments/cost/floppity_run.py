"""FlopPITy 0.5 on one case: run by the python of its own environment.

    python3.11 -m venv floppity && floppity/bin/pip install torch==2.13.0 floppity==0.5
    floppity/bin/python experiments/cost/floppity_run.py --python $(which python)

The forward model, which needs JAX, runs in a process of ``--python``, an environment of this
package; spectra come by a pipe. Leaves draws and what they took in an ``.npz``.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

CHUNK = 128  # spectra of a compiled call


def main() -> None:
    """Run, or compute spectra for one that runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="python of an environment of this package")
    parser.add_argument("--channels", type=int, default=150, help="(%(default)s)")
    parser.add_argument("--error", type=float, default=60.0, help="ppm (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--simulations", type=int, default=1024, help="a round (%(default)s)")
    parser.add_argument("--draws", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--output", type=pathlib.Path, help="(%(default)s)",
                        default=pathlib.Path("runs/cost/floppity.npz"))  # fmt: skip
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.output = given.output.resolve()
    (serve if given.serve else retrieve)(given)


def retrieve(given: argparse.Namespace) -> None:
    """Run FlopPITy with its defaults, one thread."""
    import torch
    from floppity import Retrieval

    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    np.random.seed(given.seed)  # noqa: NPY002 it draws from numpy's global state
    command = [given.python, "-m", "experiments.cost.floppity_run", "--serve"]
    command += ["--channels", str(given.channels), "--error", str(given.error)]
    root = pathlib.Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process, tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # fmt: skip
        setup = json.loads(process.stdout.readline())
        seen = pathlib.Path("observation.txt")
        np.savetxt(seen, np.transpose(setup["observation"]))
        model = Model(process)
        retrieval = Retrieval(model, obs_type="trans")
        retrieval.get_obs([str(seen)])
        for name, (low, high) in setup["priors"].items():
            retrieval.add_parameter(name, low, high)
        rounds = []
        start, cpu = time.perf_counter(), time.process_time()
        for done in range(given.rounds):  # a run of five, in which each round is seen to end
            retrieval.run(n_samples=given.simulations, n_rounds=1, resume=done > 0)
            draws = retrieval.proposals[-1].sample((given.draws,)).numpy()
            rounds.append({
                "calls": model.calls, "wall": time.perf_counter() - start,
                "own": time.process_time() - cpu,
            })  # fmt: skip
            save(given.output, draws.reshape(given.draws, -1), setup, rounds)
        process.stdin.close()


def save(path, draws, setup, rounds):
    """Write the draws in physical units, and what they took."""
    log = np.isin(list(setup["priors"]), setup["log"])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, draws=np.where(log, 10.0 ** np.where(log, draws, 0), draws),
        names=list(setup["priors"]), info=json.dumps({**rounds[-1], "rounds": rounds}),
    )  # fmt: skip
    print(rounds[-1], flush=True)


class Model:
    """The process that computes spectra, as FlopPITy calls a simulator."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.calls = process, 0

    def __getstate__(self) -> dict:  # FlopPITy pickles its simulator, and a pipe cannot be
        return {}

    def __call__(self, obs, parameters, thread=0, **_):
        """Send parameters, and read their spectra."""
        parameters = np.ascontiguousarray(parameters, dtype=np.float64)
        self.calls += len(parameters)
        self.process.stdin.write(f"{len(parameters)}\n".encode() + parameters.tobytes())
        self.process.stdin.flush()
        key, seen = next(iter(obs.items()))
        received = self.process.stdout.read(8 * len(parameters) * len(seen))
        return {key: np.frombuffer(received).reshape(len(parameters), len(seen)).copy()}


def serve(given: argparse.Namespace) -> None:
    """Compute spectra until nothing more is asked for."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    from experiments.cost.problem import BOUNDS, LOG, retrieval
    from floppity_jax.simulate import simulate as compute

    problem = retrieval(given.channels, given.error, 0.0, 1)
    seen = problem.observation
    pipe = sys.stdout.buffer
    setup = {
        "observation": [seen.wavelength.tolist(), seen.values.tolist(), seen.errors.tolist()],
        "priors": {k: np.log10(v).tolist() if k in LOG else v for k, v in BOUNDS.items()},
        "log": LOG,
    }
    pipe.write(json.dumps(setup).encode() + b"\n")
    pipe.flush()
    with contextlib.suppress(KeyboardInterrupt):
        while asked := sys.stdin.buffer.readline():
            n = int(asked)
            z = np.frombuffer(sys.stdin.buffer.read(8 * n * len(BOUNDS))).reshape(n, -1)
            theta = {k: 10**v if k in LOG else v for k, v in zip(BOUNDS, z.T, strict=True)}
            spectra = compute(
                problem.simulator, theta, seen, problem.pool, device_chunk=CHUNK
            ).spectra
            pipe.write(np.ascontiguousarray(spectra, dtype=np.float64).tobytes())
            pipe.flush()


if __name__ == "__main__":
    main()
