"""The other end of `floppity_jax.worker`: runs in the engine's threads or processes.

Whatever the engine (threads here, Dask, MPI), each of its threads owns one child process, in which
the simulator was set up once. So a simulation that hangs or crashes is known exactly, costs itself
alone, and cannot break the engine.

This module does not import JAX, for the processes of an engine import it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from floppity_jax.errors import SimulatorError
from floppity_jax.worker import Outcome, Parameters, receive, rows_of, send

# Not "-m": what the worker defines must be importable under its name, to be pickled.
START = "from floppity_jax.worker import main; main()"
SET_UP = 3600.0  # seconds that a simulator may take to set up
SETUPS = 4  # simulators that a process of an engine remembers
LAST_WORDS = 400  # characters of a dead worker's output that are shown
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "BLIS")
# A child that met these would take itself for a rank of its parent's MPI job.
MPI = ("PMI_", "PMIX_", "OMPI_", "MPI_LOCAL", "HYDI_")


Setup = tuple[Sequence[str], bytes]  # search path for modules, and the pickled simulator


class Job(NamedTuple):
    """What an engine needs to know to run a simulator.

    Attributes
    ----------
    token : str
        Name of this simulator, different for each.
    run : str
        Name of this run over parameters, which can be cancelled.
    timeout : float or None
        Seconds that one simulation may take.
    retries : int
        How often a simulation is tried again after the process it ran in was lost.
    threads : int or None
        Threads of BLAS and OpenMP in a child; None leaves them as they are.
    setup : Setup or None
        The simulator itself; None where the engine should know it already.
    """

    token: str
    run: str
    timeout: float | None
    retries: int
    threads: int | None
    setup: Setup | None


class Lost(Exception):
    """A child ended while it was at work."""


class Child:
    """A process in which one simulator is set up.

    Raises
    ------
    SimulatorError
        Where the simulator cannot be set up.
    """

    def __init__(self, token: str, setup: Setup, threads: int | None) -> None:
        self.token = token
        self.run_name = ""
        from_parent, self._requests = os.pipe()
        self._replies, to_parent = os.pipe()
        lifeline, held = os.pipe()
        ends = (from_parent, to_parent, lifeline)
        self._output = tempfile.TemporaryFile("a+b")  # noqa: SIM115 closed with the child
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, ends)],
            pass_fds=ends,
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=_environment(threads),
        )
        for end in ends:
            os.close(end)
        self._close = weakref.finalize(
            self, _close, self._process, (self._requests, self._replies, held), self._output
        )
        _children.add(self)
        try:
            send(self._requests, setup)
            error = receive(self._replies, SET_UP)
        except (OSError, EOFError) as failure:
            error = (
                str(self._lost()) if not isinstance(failure, TimeoutError) else "no end in sight"
            )
        if error:
            self.close()
            raise SimulatorError(
                f"the simulator could not be set up in a worker process: {error}. A worker imports "
                "what the simulator refers to, and must find it where this process does."
            )

    def run(self, n: int, parameters: Parameters, timeout: float | None) -> list[Outcome]:
        """Run the simulator on ``n`` parameter sets in one call.

        Raises
        ------
        Lost
            Where the child ended.
        TimeoutError
            Where it took too long.
        """
        try:
            send(self._requests, (n, parameters))
            return receive(self._replies, timeout)
        except (EOFError, BrokenPipeError):
            raise self._lost() from None

    def alive(self) -> bool:
        """Whether it can be given work."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and all that it started; for any thread, its owner cleans up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and give back what it held."""
        self._close()

    def _lost(self) -> Lost:
        code = self._process.wait()
        cause = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._output.seek(0)
        words = self._output.read()[-4 * LAST_WORDS :].decode(errors="replace").strip()
        words = f"; last words: {words[-LAST_WORDS:]!r}" if words else ""
        return Lost(f"the worker process was lost ({cause}{words})")


_children: weakref.WeakSet[Child] = weakref.WeakSet()
_mine = threading.local()  # .child: the one of this thread
_setups: dict[str, Setup] = {}  # of the newest simulators, by token
_cancelled: set[str] = set()


def run_chunk(job: Job, calls: list[tuple[int, Parameters]]) -> list[Outcome] | None:
    """Run in an engine: what came of the calls, in order, or None where the set-up is missing.

    Parameters
    ----------
    job
        The simulator.
    calls
        Parameters of each call, and how many spectra it is to return. What came of a batch may
        be one outcome, or one for each row.
    """
    setup = job.setup or _setups.get(job.token)
    if setup is None:
        return None
    if job.token not in _setups:
        while len(_setups) >= SETUPS:
            _setups.pop(next(iter(_setups)))
        _setups[job.token] = setup
    job = job._replace(setup=setup)
    return [outcome for n, parameters in calls for outcome in _run(job, n, parameters)]


def cancel(run: str) -> None:
    """Give up a run: end its children in this process, and start none for it again."""
    _cancelled.add(run)
    for child in list(_children):
        if child.run_name == run:
            child.stop()


def _run(job: Job, n: int, parameters: Parameters) -> list[Outcome]:
    """Run one call, again where its child was lost; a batch that ends badly goes row by row."""
    start = time.perf_counter()
    for attempt in range(1 + job.retries if n == 1 else 1):
        child = _child(job)
        try:
            return child.run(n, parameters, None if job.timeout is None else n * job.timeout)
        except TimeoutError:
            child.close()
            failure = f"took longer than the time limit of {job.timeout:g} s"
            break
        except Lost as loss:
            child.close()
            failure = f"{loss}, {attempt + 1} times" if attempt else str(loss)
    if n > 1:
        return [outcome for row in rows_of(n, parameters) for outcome in _run(job, 1, row)]
    return [Outcome(1, None, failure, time.perf_counter() - start)]


def _child(job: Job) -> Child:
    """Return the child of this thread, set up with the simulator of the job."""
    if job.run in _cancelled:
        raise InterruptedError("the run was cancelled")
    child: Child | None = getattr(_mine, "child", None)
    if child is None or child.token != job.token or not child.alive():
        if child is not None:
            child.close()
        assert job.setup is not None
        child = _mine.child = Child(job.token, job.setup, job.threads)
    child.run_name = job.run
    return child


def _environment(threads: int | None) -> Mapping[str, str]:
    """Return the environment of a child."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(MPI)}
    # A simulator that uses JAX by itself shares the device with the process that trains.
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads is not None:
        environment |= {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
        environment["VECLIB_MAXIMUM_THREADS"] = str(threads)
    return environment


def _close(process: subprocess.Popen[bytes], pipes: tuple[int, ...], output: Any) -> None:
    for pipe in pipes:
        os.close(pipe)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself, and left nothing behind
    process.wait()
    output.close()
