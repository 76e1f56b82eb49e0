"""Time what the pool adds to a simulator: its rate, overhead per call, and replacing a worker.

``rate``: a simulator that sleeps for 0.5 s, with 2 workers, relative to the ideal; with processes
that are there already (warm), and with their start (cold). ``overhead``: a simulator that computes
for about 1 ms, with 1 worker, beside a plain loop over the same calls in one process, in turn: by
the clock, which other programs on the machine disturb, and in processor time of both processes,
which they disturb less (on one core that no one else uses, the two are nearly the same).
``replacement``: from the time limit, or the crash, to the first line of the next call in a new
process.

Prints JSON, with the median of `--repeats` and each value; `--output` writes it too.
"""

import argparse
import ctypes
import functools
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time

import numpy as np

import floppity_jax as fp
from floppity_jax.simulate import simulate

CHANNELS = 100
OBSERVATION = fp.Observation(np.ones(CHANNELS))
SLEEP, SLEEPS, WORKERS = 0.5, 32, 2
CALLS = 5000
LIMIT, EVERY, REPLACED = 0.5, 5, 10  # s; one call in EVERY fails, REPLACED times


def rows(n):
    return {"i": np.arange(n, dtype=float)}


def seconds_of(simulator, n, pool):
    start = time.perf_counter()
    result = simulate(simulator, rows(n), OBSERVATION, pool)
    seconds = time.perf_counter() - start
    assert not result.failures, result.failures
    return seconds, result.spectra


def sleeping(p):
    time.sleep(SLEEP)
    return np.full(CHANNELS, p["i"])


def busy(steps, p):
    """Compute the same amount in each call; the spectrum begins with the seconds it took.

    Then come its processor time and, for its process, that before the call and after it.
    """
    start, start_cpu = time.perf_counter(), time.process_time()
    grid = np.linspace(0, 1, CHANNELS)
    for _ in range(steps):
        grid = np.sqrt(grid + p["i"] * 1e-9)
    end_cpu = time.process_time()
    grid[:4] = time.perf_counter() - start, end_cpu - start_cpu, start_cpu, end_cpu
    return grid


def steps_in_a_millisecond():
    seconds = min(busy(1000, {"i": 0.0})[0] for _ in range(50))
    return round(1000 * 1e-3 / seconds)


def rate():
    """Rates relative to the ideal, without and with the start of the processes."""
    pool, ideal = fp.Pool(WORKERS), SLEEPS * SLEEP / WORKERS
    cold = ideal / seconds_of(sleeping, SLEEPS, pool)[0]
    warm = ideal / seconds_of(sleeping, SLEEPS, pool)[0]
    return {"warm": warm, "cold": cold}


def overhead(simulator):
    """Milliseconds a call beyond what the simulator measures itself, and beyond a plain loop."""
    pool, each = fp.Pool(1), 1e3 / CALLS
    figures, worker_before = {}, 0.0
    for name in ("cold", "warm"):
        cpu = time.process_time()
        seconds, spectra = seconds_of(simulator, CALLS, pool)
        own, own_cpu, _, worker_end = spectra[:, :4].T
        cpu = time.process_time() - cpu + worker_end.max() - worker_before - own_cpu.sum()
        worker_before = worker_end.max()
        start = time.perf_counter()
        own_loop = sum(simulator({"i": float(i)})[0] for i in range(CALLS))
        loop = time.perf_counter() - start
        figures |= {
            f"{name}_cpu_beyond_own_ms": each * cpu,
            f"{name}_beyond_own_ms": each * (seconds - own.sum()),
            f"{name}_beyond_loop_ms": each * (seconds - loop),
            f"{name}_call_in_worker_ms": each * own.sum(),
            f"{name}_call_in_loop_ms": each * own_loop,
            f"{name}_loop_beyond_own_ms": each * (loop - own_loop),
        }
    return figures


def failing(fault, path, p):
    with open(path, "a") as file:
        file.write(f"{time.monotonic()} {p['i']:.0f}\n")
    if p["i"] % EVERY == EVERY - 1:
        fault()
    return np.full(CHANNELS, p["i"])


def hang():
    time.sleep(1000)


def crash():
    ctypes.string_at(0)


def replacement(fault, after):
    """Seconds from the end of a worker, ``after`` a failing call began, to the next call."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "calls")
        simulate(
            functools.partial(failing, fault, path), rows(EVERY * REPLACED + 1), OBSERVATION,
            fp.Pool(1, timeout=LIMIT, retries=0),
        )  # fmt: skip
        calls = [line.split() for line in path.read_text().splitlines()]
    began = {int(i): float(t) for t, i in calls}
    assert len(began) == len(calls) == EVERY * REPLACED + 1
    return statistics.median(
        began[i + 1] - began[i] - after for i in range(EVERY - 1, EVERY * REPLACED, EVERY)
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    arguments = parser.parse_args()
    simulator = functools.partial(busy, steps_in_a_millisecond())
    results = []
    for _ in range(arguments.repeats):
        figures = {
            "rate": rate(),
            "overhead": overhead(simulator),
            "replacement": {
                "after_hang_s": replacement(hang, LIMIT),
                "after_crash_s": replacement(crash, 0.0),
            },
            "load": {"of_the_last_minute": os.getloadavg()[0]},
        }
        results.append(figures)
    summary = {
        part: {
            name: {
                "median": round(statistics.median(one[part][name] for one in results), 4),
                "each": [round(one[part][name], 4) for one in results],
            }
            for name in results[0][part]
        }
        for part in results[0]
    }
    summary["setting"] = {
        "rate": f"{SLEEPS} calls of {SLEEP} s, {WORKERS} workers",
        "overhead": f"{CALLS} calls, 1 worker, {CHANNELS} channels",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "floppity_jax": fp.__version__,
    }
    text = json.dumps(summary, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
