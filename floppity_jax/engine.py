"""Hands the calls of a simulator to an engine, and takes back what they return."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import itertools
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
# Rows that were given out, and what has ended since.
Ended = Generator[tuple[int, list[tuple[np.ndarray, Outcome]]], None, None]


def run_in_engine(
    pool: Pool,
    simulator: Callable[..., Any],
    kind: str,
    parameters: Mapping[str, np.ndarray],
    calls: Calls,
) -> Ended:
    """Run calls in an engine, a chunk of them at a time, and yield them as they end."""
    executor, slots = pool.engine(), pool.slots()
    setup = (list(sys.path), _pickled(simulator))
    token = hashlib.sha256(setup[1])
    # What is pickled of a module's function is its name alone: its source counts too.
    token.update(repr((setup[0], fingerprint(simulator))).encode())
    job = Job(token.hexdigest(), uuid.uuid4().hex, pool.timeout, pool.retries, pool.threads, None)
    waiting = collections.deque(calls)
    ended: queue.SimpleQueue[concurrent.futures.Future[Any]] = queue.SimpleQueue()
    running: dict[concurrent.futures.Future[Any], tuple[Calls, int]] = {}
    seconds, size, started, submitted = 0.0, 1, 0, 0

    def submit(chunk: Calls, tries: int = 0, *, whole: bool = False) -> None:
        nonlocal submitted
        arguments = [_call(kind, parameters, rows) for rows in chunk]
        # The first of each worker brings the simulator along; it stays for the others.
        bring = job._replace(setup=setup) if whole or submitted < slots else job
        submitted += 1
        try:
            future = executor.submit(run_chunk, bring, arguments)
        except RuntimeError as error:  # broken, or shut down
            raise _broken(error) from error
        running[future] = (chunk, tries)
        future.add_done_callback(ended.put)

    try:
        while waiting or running:
            while waiting and len(running) < 2 * slots:
                chunk: Calls = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                started += sum(map(len, chunk))
                submit(chunk)
            try:
                future = ended.get(timeout=TICK)
            except queue.Empty:
                yield started, []
                continue
            chunk, tries = running.pop(future)
            try:
                outcomes = future.result()
            except SimulatorError:
                raise
            except concurrent.futures.BrokenExecutor as error:
                raise _broken(error) from error
            except Exception as error:  # noqa: BLE001 the engine lost a worker
                if tries < pool.retries:
                    submit(chunk, tries + 1)
                    continue
                text = f"lost by the engine ({type(error).__name__}: {error}), {tries + 1} times"
                outcomes = [[Outcome(len(rows), None, text, 0.0)] for rows in chunk]
            if outcomes is None:  # this worker has not seen the simulator yet
                submit(chunk, tries, whole=True)
                continue
            left = chunk[len(outcomes) :]  # for want of time
            waiting.extendleft(reversed(left))
            started -= sum(map(len, left))
            took = [sum(o.seconds for o in call) for call in outcomes]
            seconds = max(seconds / 2, sum(took) / len(took))
            fair = len(waiting) // (2 * slots)
            size = max(1, min(2 * size, int(CHUNK_SECONDS / max(seconds, 1e-6)), fair))
            yield started, list(_by_row(chunk, outcomes))
    except BaseException:
        for future in running:
            future.cancel()
        cancel(job.run_id)
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


def _by_row(chunk: Calls, outcomes: list[list[Outcome]]) -> Iterator[tuple[np.ndarray, Outcome]]:
    """Pair outcomes with their rows: those of a call, or where it ended badly, of each row."""
    for rows, call in zip(chunk, outcomes, strict=False):
        starts = itertools.accumulate((outcome.n for outcome in call), initial=0)
        for start, outcome in zip(starts, call, strict=False):
            yield rows[start : start + outcome.n], outcome


def _broken(error: Exception) -> SimulatorError:
    reason = str(error).partition("\n")[0]
    return SimulatorError(
        f"the executor is broken ({type(error).__name__}: {reason}). What it finished is kept in "
        "the run directory, where there is one. Make a new executor, and resume."
    )
