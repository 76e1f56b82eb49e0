"""The other end of `floppity_jax.worker`: runs in the engine's threads or processes.

Whatever the engine (threads here, Dask, MPI), each of its threads owns one child process, in which
the simulator was set up once. So a simulation that hangs or crashes is known exactly, costs itself
alone, and cannot break the engine.

This module does not import JAX, for the processes of an engine import it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import floppity_jax
from floppity_jax.errors import SimulatorError
from floppity_jax.worker import IDLE, Outcome, Parameters, receive, send

# Not "-m": what the worker defines must be importable under its name, to be pickled. "-P": the
# working folder must not come before the package.
HOME = str(pathlib.Path(floppity_jax.__file__).parents[1])
START = f"import sys; sys.path.insert(0, {HOME!r}); from floppity_jax.worker import main; main()"
SET_UP = 3600.0  # seconds that a simulator may take to set up
LONG = 1.0  # seconds after which a chunk is handed back, done or not
SETUPS = 4  # simulators that a process of an engine remembers
LAST_WORDS = 400  # characters of a dead worker's output that are shown
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "BLIS")
# A child that met these would take itself for a rank of its parent's MPI job.
MPI = ("PMI_", "PMI2_", "PMIX_", "OMPI_", "MPI_LOCAL", "HYDI_", "MV2_", "PALS_", "I_MPI_")

Setup = tuple[Sequence[str], bytes]  # search path for modules, and the pickled simulator
Call = tuple[int, Parameters]  # spectra that a call is to return, and its parameters


class Job(NamedTuple):
    """What an engine needs to know to run a simulator.

    Attributes
    ----------
    token : str
        Name of this simulator, different for each.
    run_id : str
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
    run_id: str
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
        Where the process cannot be started, or the simulator not set up.
    Lost
        Where the process ends while the simulator is set up.
    InterruptedError
        Where the run was cancelled meanwhile.
    """

    def __init__(self, token: str, run_id: str, setup: Setup, threads: int | None) -> None:
        self.token = token
        self.run_id = run_id
        self._start(threads)
        _register(self)
        self.used = time.monotonic()
        try:
            send(self._requests, setup)
            error = receive(self._replies, SET_UP, self.alive)
        except TimeoutError:
            error = f"it was not done after {SET_UP:g} s"
        except (EOFError, BrokenPipeError):
            loss = self._lost("while the simulator was set up")
            self.close()
            raise loss from None
        if error:
            self.close()
            raise SimulatorError(
                f"the simulator could not be set up in a worker process: {error}. A worker imports "
                "what the simulator refers to, and must find it where this process does."
            )

    def _start(self, threads: int | None) -> None:
        opened: list[int] = []
        try:
            for _ in range(3):
                opened += os.pipe()
            from_parent, self._requests, self._replies, to_parent, lifeline, held = opened
            ends = (from_parent, to_parent, lifeline)
            self._output = tempfile.TemporaryFile("a+b")  # noqa: SIM115 closed with the child
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, *map(str, ends)],
                pass_fds=ends,
                process_group=0,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=_environment(threads),
            )
        except OSError as error:
            for pipe in opened:
                os.close(pipe)
            raise SimulatorError(f"no worker process could be started: {error}.") from error
        for end in ends:
            os.close(end)
        pipes = (self._requests, self._replies, held)
        self.close = weakref.finalize(self, _close, os.getpid(), self._process, pipes, self._output)

    def run(self, n: int, parameters: Parameters, timeout: float | None) -> Outcome:
        """Run the simulator on ``n`` parameter sets in one call.

        Raises
        ------
        Lost
            Where the child ended.
        TimeoutError
            Where it took too long.
        """
        self._output.truncate(0)  # the last words of a worker are those of its last simulation
        try:
            send(self._requests, (n, parameters))
            outcome = receive(self._replies, timeout, self.alive)
        except (EOFError, BrokenPipeError):
            raise self._lost("") from None
        self.used = time.monotonic()
        return outcome

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def fresh(self) -> bool:
        """Whether it can be given work: it runs, and is not about to end for idleness."""
        return self.alive() and time.monotonic() - self.used < IDLE - 60

    def stop(self) -> None:
        """End it, and all that it started; for any thread, its owner cleans up."""
        _end(self._process)

    def _lost(self, when: str) -> Lost:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it closed its pipes, and goes on
            _end(self._process)
            code = self._process.wait()
        cause = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        end = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, end - 4 * LAST_WORDS))
        words = self._output.read().decode(errors="replace").strip()
        words = f"; last words: {words[-LAST_WORDS:]!r}" if words else ""
        when = f" {when}" if when else ""
        return Lost(f"the worker process was lost{when} ({cause}{words})")


# Guards the three below, which the threads of a process share. It can be taken twice: a run that is
# given up while a thread holds it, since garbage is collected there, is cancelled by that thread.
_lock = threading.RLock()
_children: weakref.WeakSet[Child] = weakref.WeakSet()
_setups: dict[str, Setup] = {}  # of the newest simulators, by token
_cancelled: set[str] = set()
_mine = threading.local()  # .child: the one of this thread


def run_chunk(job: Job, calls: list[Call]) -> list[list[Outcome]] | None:
    """Run in an engine: what came of the first calls, or None where the set-up is missing.

    Parameters
    ----------
    job
        The simulator.
    calls
        One at least is run, then more until `LONG` has gone by. What comes of a batch is one
        outcome, or where it went wrong one for each row.
    """
    with _lock:
        setup = job.setup or _setups.get(job.token)
        if setup is None:
            return None
        if job.token not in _setups:
            while len(_setups) >= SETUPS:
                del _setups[next(iter(_setups))]
            _setups[job.token] = setup
    job = job._replace(setup=setup)
    outcomes: list[list[Outcome]] = []
    start = time.monotonic()
    for n, parameters in calls:
        outcomes.append(_run(job, n, parameters))
        if time.monotonic() - start > LONG:
            break
    return outcomes


def cancel(run_id: str) -> None:
    """Give up a run: end its children in this process, and start none for it again."""
    with _lock:
        _cancelled.add(run_id)
        children = [child for child in _children if child.run_id == run_id]
    for child in children:
        child.stop()


def _register(child: Child) -> None:
    """Let `cancel` find a child, from before it is given anything to do."""
    with _lock:
        _children.add(child)
        cancelled = child.run_id in _cancelled
    if cancelled:
        child.close()
        raise InterruptedError("the run was cancelled")


def _run(job: Job, n: int, parameters: Parameters) -> list[Outcome]:
    """Run one call, again where its child was lost; a batch that ends badly goes row by row."""
    start = time.perf_counter()
    for attempt in range(1 + job.retries):
        try:
            child = _child(job)
            outcome = child.run(n, parameters, None if job.timeout is None else n * job.timeout)
            failure = outcome.error
            break
        except TimeoutError:
            child.close()
            failure = f"took longer than the time limit of {job.timeout:g} s"
            break
        except Lost as loss:
            _drop_child()
            failure = f"{loss}, {attempt + 1} times" if attempt else str(loss)
    if not failure:
        return [outcome]
    if n == 1:
        return [Outcome(1, None, failure, time.perf_counter() - start)]
    rows = ({name: column[i : i + 1] for name, column in parameters.items()} for i in range(n))
    return [outcome for row in rows for outcome in _run(job, 1, row)]


def _child(job: Job) -> Child:
    """Return the child of this thread, set up with the simulator of the job."""
    if job.run_id in _cancelled:
        raise InterruptedError("the run was cancelled")
    child: Child | None = getattr(_mine, "child", None)
    if child is None or child.token != job.token or not child.fresh():
        _drop_child()
        assert job.setup is not None
        child = _mine.child = Child(job.token, job.run_id, job.setup, job.threads)
    elif child.run_id != job.run_id:
        child.run_id = job.run_id
        _register(child)
    return child


def _drop_child() -> None:
    child = getattr(_mine, "child", None)
    if child is not None:
        child.close()
    _mine.child = None


def _environment(threads: int | None) -> Mapping[str, str]:
    """Return the environment of a child."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(MPI)}
    # A simulator that uses JAX by itself shares the device with the process that trains.
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads is not None:
        environment |= {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
        environment["VECLIB_MAXIMUM_THREADS"] = str(threads)
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    # It may have ended by itself; macOS says EPERM of a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _close(
    owner: int, process: subprocess.Popen[bytes], pipes: tuple[int, ...], output: Any
) -> None:
    """End a child, and give back what it held."""
    if os.getpid() != owner:
        return  # this is a fork of the owner, which may still need it
    for pipe in pipes:
        os.close(pipe)
    _end(process)
    process.wait()
    output.close()
