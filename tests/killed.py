"""A retrieval that kills itself, or waits to be killed: run by test_resume.

    python killed.py DIRECTORY [WHERE]

prints digits of the posterior. WHERE is "simulation", "training", "checkpoint" (its process kills
itself there, in round two), or "wait" (it simulates for ever, until interrupted).
"""

import os
import pathlib
import signal
import sys
import time

import numpy as np

import floppity_jax as fp
from floppity_jax import store, training

# Where the tests run in the background, interrupts are ignored, and so by what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
DIRECTORY, WHERE = sys.argv[1], (sys.argv[2:] or [""])[0]
CALLS = pathlib.Path(DIRECTORY).with_suffix(".calls")
GRID = np.linspace(-1, 1, 6)


def line(p):
    with open(CALLS, "a") as file:
        file.write(f"{os.getpid()} {p['a']!r},{p['b']!r}\n")
    if p["a"] > 1.8:
        raise ValueError("too steep")
    if WHERE == "wait" and not 0 < p["b"] < 0.5:
        time.sleep(100)
    time.sleep(0.02)
    return p["a"] * GRID + p["b"]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def rounds_done():
    return len(list(pathlib.Path(DIRECTORY, "rounds").glob("*.npz")))


if WHERE == "simulation":
    add_piece = store.RunDirectory.add_piece

    def add_and_kill(self, name, arrays, **after):
        add_piece(self, name, arrays, **after)
        if rounds_done() and len(list(self._pieces(name).iterdir())) > 1:
            kill()

    store.RunDirectory.add_piece = add_and_kill
if WHERE == "training":
    fit = training.fit

    def report_and_kill(*arguments, report, **options):
        def killing(epoch, loss):
            if rounds_done() and epoch > 2:
                kill()

        return fit(*arguments, report=killing, **options)

    training.fit = report_and_kill
if WHERE == "checkpoint":
    fsync = os.fsync

    def sync_and_kill(file):
        fsync(file)
        name = os.readlink(f"/proc/self/fd/{file}")
        if rounds_done() and "/rounds/" in name:
            kill()

    os.fsync = sync_and_kill

retrieval = fp.Retrieval(
    line,
    {"a": fp.Uniform(-2, 2), "b": (-1.0, 1.0)},
    fp.Observation(0.7 * GRID + 0.2, 0.05 * np.ones(6)),
    flow=fp.FlowConfig(members=1, transforms=2),
    training=fp.TrainingConfig(patience=3, max_epochs=20),
    pool=2,
)
posterior = retrieval.run(
    3, 200, seed=4, directory=DIRECTORY, resume=os.path.exists(DIRECTORY), progress=False
)
failed = [info.failures for info in posterior.record.rounds]
print(posterior.sample(3).tolist(), posterior.importance_sample(300).log_evidence, failed)
