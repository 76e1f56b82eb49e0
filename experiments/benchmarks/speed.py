"""Time the package: optimizer steps beside sbi's, a whole retrieval, and sampling.

``steps``: the paper's network (15 transforms, 10 bins, 2 blocks x 50), 5 parameters, 200 features,
batch 50, atomic loss with 10 atoms, 1,000 simulations of which half are of round two. Each side is
a process of its own that waits while the others take their turn. What counts is whole epochs,
validation included, over their optimizer steps; the first epoch, in which ours compiles, does not.

``whole``: all but the simulator for 5 x 1,000 simulations of the line problem, in a fresh process
with an empty compilation cache and in a second one with the cache of the first. Then ``sampling``
in that second process: 10,000 draws, and their density, once compiled.

Prints JSON; `--output` writes it too.
"""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pathlib  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

HERE = pathlib.Path(__file__).parent
BATCH, ATOMS, FEATURES, PER_ROUND = 50, 10, 200, 500
STEPS_PER_EPOCH = int(0.9 * 2 * PER_ROUND) // BATCH
EPOCHS = 5  # of ours, each turn
TARGETS = {"whole_cold_s": 40.0, "whole_warm_s": 15.0, "sample_s": 0.5, "log_prob_s": 0.5}


def make_data(path):
    """Simulations for both sides: half from the prior, half from a tenth of it around the truth."""
    import line_profile
    import numpy as np

    rng = np.random.default_rng(0)
    low, high = np.array(list(line_profile.PRIORS.values())).T
    centre, width = line_profile.TRUTH, 0.1 * (high - low)
    theta = np.concatenate(
        [
            rng.uniform(low, high, (PER_ROUND, len(low))),
            rng.uniform(centre - width / 2, centre + width / 2, (PER_ROUND, len(low))),
        ]
    )
    wavelength = np.linspace(1, 2, FEATURES)
    spectra = line_profile.line(np, wavelength, *theta.T[:, :, None])
    noisy = spectra + line_profile.SIGMA * rng.standard_normal(spectra.shape)
    np.savez(path, low=low, high=high, theta=theta, spectra=spectra, noisy=noisy)


def steps_worker(path):
    """Train in our package whenever a line is read; the twin of `speed_sbi.py`."""
    import jax
    import line_profile
    import numpy as np

    import floppity_jax as fp

    with np.load(path) as file:
        theta, spectra, noisy = file["theta"], file["spectra"], file["noisy"]
    observation = fp.Observation(noisy[-1], np.full(FEATURES, line_profile.SIGMA))
    # The retrieval is not run: it knows the way from the parameters to prior coordinates.
    z = fp.Retrieval(line_profile.simulator, line_profile.PRIORS, observation).space.to_z(theta)
    train = second_round(observation, z, spectra)
    train()
    print(json.dumps({"jax": jax.__version__, "device": jax.devices()[0].platform}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(train()), flush=True)


def second_round(observation, z, spectra):
    """Return a function that trains in round two and returns the seconds of each epoch.

    All that the benchmark knows of the inside of the package is here. An epoch ends where its
    losses have reached the host, so nothing is left running on the device.
    """
    import dataclasses

    import jax

    from floppity_jax import FlowConfig, Normal, TrainingConfig, sequential
    from floppity_jax.measurement import Measurement
    from floppity_jax.mixture import Law
    from floppity_jax.priors import ParameterSpace

    config = dataclasses.replace(
        TrainingConfig.paper(), batch_size=BATCH, atoms=ATOMS, max_epochs=EPOCHS + 1,
        patience=EPOCHS + 1,
    )  # fmt: skip
    flow = dataclasses.replace(FlowConfig.paper(), components=FEATURES)
    space = ParameterSpace({f"z{i}": Normal(0, 1) for i in range(z.shape[1])})
    measurement = Measurement(observation, space)
    problem = sequential.Problem(z.shape[1], measurement, flow, config, "apt", len(z))
    law = Law(PER_ROUND)  # no weights are asked for
    state = sequential.add(sequential.init(problem), z[:PER_ROUND], spectra[:PER_ROUND], law)
    state = sequential.update(problem, state, sequential.learn(jax.random.key(0), problem, state))
    state = sequential.add(state, z[PER_ROUND:], spectra[PER_ROUND:], law)

    def train():
        ends = []
        sequential.learn(
            jax.random.key(1), problem, state, report=lambda *_: ends.append(time.perf_counter())
        )
        return [after - before for before, after in zip(ends, ends[1:], strict=False)]

    return train


def time_steps(sbi_python, repeats, threads):
    """Let the sides take turns; return the figures of each."""
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    one_thread = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "data.npz")
        make_data(path)
        ours = [sys.executable, __file__, "--steps-worker", path]
        sides = {"ours": (ours, {}), "ours_1_thread": ([*pin, *ours], one_thread)}
        if sbi_python:
            theirs = [sbi_python, str(HERE / "speed_sbi.py"), path]
            sides["sbi"] = ([*theirs, "0"], {})
            sides["sbi_1_thread"] = ([*theirs, "1"], {})
        if threads != "both":
            wanted = threads == "one"
            sides = {
                name: side for name, side in sides.items() if name.endswith("thread") == wanted
            }
        workers, result, seconds = {}, {}, {name: [] for name in sides}
        try:
            for name, (command, environment) in sides.items():
                workers[name] = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | environment,
                )
                result[name] = answer(workers[name])
            for _ in range(repeats):
                for name, worker in workers.items():
                    print("go", file=worker.stdin, flush=True)
                    # The median of a turn: sbi's has two epochs, ours five.
                    seconds[name].append(statistics.median(answer(worker)))
                    rate = STEPS_PER_EPOCH / seconds[name][-1]
                    print(f"{name}: {rate:.1f} steps/s", file=sys.stderr, flush=True)
        finally:
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()
    for name, turns in seconds.items():
        rates = [STEPS_PER_EPOCH / s for s in turns]
        result[name] |= {
            "steps_per_s": round(statistics.median(rates), 2),
            "slowest_to_fastest": [round(min(rates), 2), round(max(rates), 2)],
            "turns": len(turns),
        }
    for suffix in ("", "_1_thread"):
        if "sbi" + suffix not in result:
            continue
        ratio = result["ours" + suffix]["steps_per_s"] / result["sbi" + suffix]["steps_per_s"]
        result["ratio" + suffix] = round(ratio, 2)
    return result


def answer(worker):
    """Next line of JSON; other lines, of a library that talks, are passed over."""
    for line in worker.stdout:
        if line.startswith(("{", "[")):
            return json.loads(line)
    raise RuntimeError(f"{worker.args} ended without an answer")


def whole_worker(method, sampling):
    """Run the line problem in this process and print what it took."""
    import line_profile
    import numpy as np

    import floppity_jax as fp

    observation = line_profile.make_observation()
    retrieval = fp.Retrieval(
        line_profile.simulator, line_profile.PRIORS, observation, method=method
    )
    begin, begin_cpu = time.perf_counter(), time.process_time()
    posterior = retrieval.run(5, 1000, seed=0, progress=False)
    draws = posterior.sample(10_000)
    end, end_cpu = time.perf_counter(), time.process_time()
    spent = posterior.record.seconds
    result = {
        "without_import_s": end - begin - spent["simulating"],
        "with_import_s": end - START - spent["simulating"],
        "cpu_s": end_cpu - begin_cpu,  # of all threads: what a busy machine does not stretch
        **{f"{work}_s": s for work, s in spent.items()},
        "epochs": sum(len(info.training.train_loss) for info in posterior.record.rounds),
    }
    if sampling:
        # Each ends as a NumPy array, so nothing is left running on the device.
        posterior.log_prob(draws)
        begin = time.perf_counter()
        for repeat in range(5):
            posterior.sample(10_000, seed=repeat)
        middle = time.perf_counter()
        for _ in range(5):
            log_q = posterior.log_prob(draws)
        end = time.perf_counter()
        result |= {"sample_s": (middle - begin) / 5, "log_prob_s": (end - middle) / 5}
        assert np.isfinite(log_q).all()
    print(json.dumps({name: round(s, 3) for name, s in result.items()}))


def time_whole(method):
    """Run the line problem twice, in fresh processes that share a compilation cache."""
    with tempfile.TemporaryDirectory() as folder:
        # The package keeps its cache here, with its own settings, unless JAX was told of another.
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        result = {}
        for name, more in (("cold", []), ("warm", ["--sampling"])):
            command = [sys.executable, __file__, "--whole-worker", "--method", method, *more]
            run = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            result[name] = json.loads(run.stdout.splitlines()[-1])
    reached = {
        "whole_cold_s": result["cold"]["with_import_s"],
        "whole_warm_s": result["warm"]["with_import_s"],
        "sample_s": result["warm"].pop("sample_s"),
        "log_prob_s": result["warm"].pop("log_prob_s"),
    }
    result["targets"] = {
        name: {"s": s, "target_s": TARGETS[name], "pass": s <= TARGETS[name]}
        for name, s in reached.items()
    }
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts", nargs="+", choices=["steps", "whole"], default=["steps", "whole"]
    )
    parser.add_argument("--sbi-python", help="Python with sbi; without it, ours alone is timed")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    parser.add_argument("--threads", choices=["both", "as-they-come", "one"], default="both")
    parser.add_argument("--method", choices=["truncated", "apt"], default="truncated")
    parser.add_argument("--output", type=pathlib.Path)
    for flag, kind in (
        ("--steps-worker", {}),
        ("--whole-worker", {"action": "store_true"}),
        ("--sampling", {"action": "store_true"}),
    ):
        parser.add_argument(flag, help=argparse.SUPPRESS, **kind)
    options = parser.parse_args()
    if options.steps_worker:
        return steps_worker(options.steps_worker)
    if options.whole_worker:
        return whole_worker(options.method, options.sampling)
    result = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }
    if "steps" in options.parts:
        result["steps"] = time_steps(options.sbi_python, options.repeats, options.threads)
    if "whole" in options.parts:
        result["whole"] = {"method": options.method} | time_whole(options.method)
    result["load_after"] = [round(load, 2) for load in os.getloadavg()]
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return None


if __name__ == "__main__":
    main()
