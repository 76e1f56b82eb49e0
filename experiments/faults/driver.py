"""A retrieval whose simulator raises, returns NaN, hangs and crashes: `run.py` starts and kills it.

    python driver.py DIRECTORY

runs it there, or goes on with it, and writes DIRECTORY.npz at its end. Which parameters fail, and
how, is read off a hash of them, so it is the same in every run. Each call adds a line to the file
FAULTS_LOG when it starts and one when it ends; a command that a simulation starts adds its pid.
"""

import ctypes
import hashlib
import os
import subprocess
import sys
import time

import numpy as np

NAMES = ("continuum", "slope", "depth", "centre", "width")
LOW, HIGH = np.array([[0.5, -1.0, 0.0, 1.2, 0.02], [1.5, 1.0, 0.8, 1.8, 0.2]])
TRUTH = np.array([1.0, 0.2, 0.3, 1.5, 0.08])
SIGMA = 0.01
WAVELENGTH = np.linspace(1.0, 2.0, 60)
# Chance of each fault. Half of the simulations that hang do so in a command that they started.
FAULTS = {"exception": 0.10, "nan": 0.05, "hang": 0.01, "hang in a command": 0.01, "crash": 0.01}
SECONDS = 0.01  # of a call
TIMEOUT = 0.5
WORKERS = 2
SEED = 5
DRAWS = 2000


def key_of(theta):
    """Name of a parameter set."""
    return np.array(theta, dtype=np.float64).tobytes().hex()


def fault_of(key):
    """Which fault a parameter set meets: a key of `FAULTS`, or "good"."""
    number = int.from_bytes(hashlib.blake2b(bytes.fromhex(key), digest_size=8).digest()) / 2**64
    for fault, chance in FAULTS.items():
        if number < chance:
            return fault
        number -= chance
    return "good"


def log(event, key):
    """Add a line, in one write, so that lines of several processes do not mix."""
    line = f"{time.monotonic():.6f} {os.getpid()} {event} {key}\n"
    file = os.open(os.environ["FAULTS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def line(continuum, slope, depth, centre, width):
    """Flux of an absorption line on a sloping continuum."""
    profile = np.exp(-((WAVELENGTH - centre) ** 2) / (2 * width**2))
    return continuum * (1 + slope * (WAVELENGTH - 1.5)) - depth * profile + 1


def simulator(parameters):
    theta = [parameters[name] for name in NAMES]
    key = key_of(theta)
    fault = fault_of(key)
    log("start", key)
    time.sleep(SECONDS)
    if fault == "hang":
        time.sleep(1000)
    if fault == "hang in a command":
        command = subprocess.Popen(["sleep", "1000"])
        log(f"command-{command.pid}", key)
        command.wait()
    if fault == "crash":
        ctypes.string_at(0)  # reads address 0: SIGSEGV
    spectrum = line(*theta)
    if fault == "nan":
        spectrum[3] = np.nan
    log(fault, key)
    if fault == "exception":
        raise ValueError(f"no convergence at continuum = {theta[0]:.3f}")
    return spectrum


def main(directory, rounds=3, simulations=300, corrected=400):
    import floppity_jax as fp

    noise = SIGMA * np.random.default_rng(2024).standard_normal(WAVELENGTH.size)
    retrieval = fp.Retrieval(
        simulator,
        {name: (low, high) for name, low, high in zip(NAMES, LOW, HIGH, strict=True)},
        fp.Observation(line(*TRUTH) + noise, np.full(WAVELENGTH.size, SIGMA)),
        pool=fp.Pool(WORKERS, timeout=TIMEOUT),
    )
    print("begin", flush=True)
    posterior = retrieval.run(
        rounds, simulations, seed=SEED, directory=directory, resume=os.path.exists(directory),
        progress=False,
    )  # fmt: skip
    weighted = posterior.importance_sample(corrected)
    np.savez(
        f"{directory}.npz",
        draws=posterior.sample(DRAWS),
        corrected_draws=weighted.sample(DRAWS),
        log_weights=weighted.log_weights,
        log_evidence=weighted.log_evidence,
        efficiency=weighted.efficiency,
    )


if __name__ == "__main__":
    main(sys.argv[1])
