"""What the experiments share: their arguments, and units of work that are done once."""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import json
import math
import multiprocessing
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Each process uses one core: side by side they are faster than one that uses all.
ONE_CORE = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # the first process would take 3/4 of it
PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu"}  # as JAX names them; simulators may stay on the CPU

Unit = dict[str, Any]  # what a unit found, in words that JSON knows


def parse(
    doc: str,
    folder: str,
    settings: Mapping[str, tuple[Any, Any]],
    argv: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Read the command line, and choose the device.

    Parameters
    ----------
    doc
        Docstring of the script.
    folder
        Its file: results go beside it unless ``--output`` says otherwise.
    settings
        Full and small value of each; one that is a list takes several words.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true",
                        help="settings that end within a minute")  # fmt: skip
    parser.add_argument("--device", choices=list(PLATFORMS), default="cpu", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=None,
                        help="processes, each with a core (all cores; with a GPU 1)")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, default=None,
                        help="results and figures (beside the script)")  # fmt: skip
    parser.add_argument("--runs", type=pathlib.Path, default=None,
                        help="finished units, found again (runs/FOLDER)")  # fmt: skip
    parser.add_argument("--only-units", action="store_true",
                        help="do units and stop: for further jobs that share --runs")  # fmt: skip
    parser.add_argument("--no-units", action="store_true",
                        help="write results and figures of the units that are done")  # fmt: skip
    for name, (full, small) in settings.items():
        kind = type(full[0] if isinstance(full, list) else full)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=None,
            nargs="+" if isinstance(full, list) else None, help=f"({full}; small {small})",
        )  # fmt: skip
    given = parser.parse_args(argv)
    for name, (full, small) in settings.items():
        if getattr(given, name) is None:
            setattr(given, name, small if given.small else full)
    here = pathlib.Path(folder).resolve().parent
    given.runs = given.runs or pathlib.Path("runs") / (here.name + "_small" * given.small)
    given.output = given.output or (given.runs if given.small else here)
    given.output.mkdir(parents=True, exist_ok=True)
    given.runs.mkdir(parents=True, exist_ok=True)
    given.workers = given.workers or (len(os.sched_getaffinity(0)) if given.device == "cpu" else 1)
    os.environ["JAX_PLATFORMS"] = PLATFORMS[given.device]
    if given.workers > 1:
        for name, value in (ONE_CORE if given.device == "cpu" else SHARED_GPU).items():
            os.environ.setdefault(name, value)
    return given


def units(
    work: Callable[..., Unit], arguments: Mapping[str, tuple[Any, ...]], given: argparse.Namespace
) -> dict[str, Unit]:
    """Do each unit once, in processes; those that are done are read.

    Any number of jobs may share the folder of units, on one machine or several: each does what no
    other has done or is doing. What one was doing when it was killed is done again.

    Parameters
    ----------
    work
        Function of a module; its arguments and what it returns are kept as JSON.
    arguments
        Of each unit, by its name.

    Returns
    -------
    dict
        What is done, by name and in the order of ``arguments``.
    """
    folder = given.runs / "units"
    folder.mkdir(exist_ok=True)
    jobs = [(work, name, values, folder / f"{name}.json") for name, values in arguments.items()]
    missing = [job for job in jobs if not job[-1].exists()]
    if missing and not given.no_units:
        context = multiprocessing.get_context("spawn")  # a fork beside JAX deadlocks
        with concurrent.futures.ProcessPoolExecutor(
            min(given.workers, len(missing)), context, _end_with_parent, (os.getpid(),)
        ) as pool:
            for done in concurrent.futures.as_completed(pool.submit(_do, *job) for job in missing):
                print(done.result(), flush=True)
    return {name: json.loads(path.read_text()) for _, name, _, path in jobs if path.exists()}


def _end_with_parent(parent: int) -> None:
    """Leave no process behind where the script is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(work: Callable[..., Unit], name: str, values: tuple[Any, ...], path: pathlib.Path) -> str:
    """Do a unit, unless another job has it."""
    with open(path.with_suffix(".lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"{name}: another job has it"
        if path.exists():
            return f"{name}: another job has done it"
        start, cpu = time.perf_counter(), time.process_time()
        found = work(*values)
        found |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        write(path, found)
        return f"{name}: {found['seconds']:.0f} s"


def write(path: pathlib.Path, content: Any) -> None:
    """Write JSON, whole or not at all; floats with nine digits: ln Z is in the thousands."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(_plain(content), indent=1) + "\n")
    temporary.replace(path)


def _plain(value: Any) -> Any:
    """Return what JSON knows; no number is null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
