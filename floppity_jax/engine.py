"""Hands the calls of a simulator to an engine, and takes back what they return."""

from __future__ import annotations

import concurrent.futures
import hashlib
import queue
import sys
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.child import Job, cancel, run_chunk
from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.fingerprint import fingerprint
from floppity_jax.pool import Pool
from floppity_jax.worker import Outcome

CHUNK_SECONDS = 0.2  # of work handed over at a time, where simulations are faster
TICK = 0.25  # seconds between signs of life

Calls = Sequence[np.ndarray]  # rows of the parameters, for each call
Progress = Generator[tuple[int, list[tuple[np.ndarray, Outcome]]], None, None]


def run_in_engine(
    pool: Pool,
    simulator: Callable[..., Any],
    kind: str,
    parameters: Mapping[str, np.ndarray],
    calls: Calls,
) -> Progress:
    """Run calls in an engine, a chunk of them at a time, and yield them as they end."""
    executor = pool.engine()
    setup = (list(sys.path), _pickled(simulator))
    # What is pickled of a module's function is its name alone: its source counts too.
    token = hashlib.sha256(repr((setup, fingerprint(simulator))).encode()).hexdigest()
    job = Job(token, uuid.uuid4().hex, pool.timeout, pool.retries, pool.threads, None)
    slots = pool.slots()
    waiting: Calls = calls
    ended: queue.SimpleQueue[concurrent.futures.Future[Any]] = queue.SimpleQueue()
    running: dict[concurrent.futures.Future[Any], tuple[Calls, int]] = {}
    seconds, chunk, started = 0.0, 1, 0  # of a call, lately; calls in a chunk; rows given out

    def submit(chunk: Calls, tries: int, job: Job) -> None:
        arguments = [_call(kind, parameters, rows) for rows in chunk]
        try:
            future = executor.submit(run_chunk, job, arguments)
        except RuntimeError as error:  # broken, or shut down
            raise _broken(error) from error
        running[future] = (chunk, tries)
        future.add_done_callback(ended.put)

    try:
        while waiting or running:
            while waiting and len(running) < 2 * slots:
                part, waiting = waiting[:chunk], waiting[chunk:]
                started += sum(map(len, part))
                submit(part, 0, job)
            try:
                future = ended.get(timeout=TICK)
            except queue.Empty:
                yield started, []
                continue
            part, tries = running.pop(future)
            try:
                outcomes = future.result()
            except SimulatorError:
                raise
            except concurrent.futures.BrokenExecutor as error:
                raise _broken(error) from error
            except Exception as error:  # noqa: BLE001 the engine lost a worker
                if tries < pool.retries:
                    submit(part, tries + 1, job)
                    continue
                text = f"lost by the engine ({type(error).__name__}: {error}), {tries + 1} times"
                outcomes = [Outcome(len(rows), None, text, 0.0) for rows in part]
            if outcomes is None:  # this worker has not seen the simulator yet
                submit(part, tries, job._replace(setup=setup))
                continue
            seconds = max(seconds / 2, sum(o.seconds for o in outcomes) / len(part))
            chunk = max(1, min(2 * chunk, int(CHUNK_SECONDS / max(seconds, 1e-6))))
            yield started, list(_by_row(part, outcomes))
    except BaseException:
        for future in running:
            future.cancel()
        cancel(job.run)
        raise


def _pickled(simulator: Callable[..., Any]) -> bytes:
    """Return the simulator as the workers get it; what a script defines travels as code."""
    import cloudpickle

    try:
        return cloudpickle.dumps(simulator)
    except Exception as error:
        raise InvalidInput(
            "simulator", simulator, f"must be able to travel to a worker process ({error})",
            "Build it there: fp.simulators.per_worker(build), where build() returns it.",
        ) from error  # fmt: skip


def _call(
    kind: str, parameters: Mapping[str, np.ndarray], rows: np.ndarray
) -> tuple[int, dict[str, Any]]:
    """Return what a worker needs for one call."""
    if kind == "scalar":
        return 1, {name: float(column[rows[0]]) for name, column in parameters.items()}
    return len(rows), {name: column[rows] for name, column in parameters.items()}


def _by_row(calls: Calls, outcomes: list[Outcome]) -> Iterator[tuple[np.ndarray, Outcome]]:
    """Pair outcomes with their rows: those of a call, or where it ended badly, of each row."""
    rows, start = np.concatenate(calls), 0
    for outcome in outcomes:
        yield rows[start : start + outcome.n], outcome
        start += outcome.n


def _broken(error: Exception) -> SimulatorError:
    reason = str(error).partition("\n")[0]
    return SimulatorError(
        f"the executor is broken ({type(error).__name__}: {reason}). What it finished is kept in "
        "the run directory, where there is one. Make a new executor, and resume."
    )
