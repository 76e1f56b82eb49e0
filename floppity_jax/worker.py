"""A process that runs one simulator, and nothing else: what hangs or crashes does so alone.

Started by `floppity_jax.child` in a new interpreter, with three pipes: requests, replies, and a
lifeline that nothing is ever written to. It ends with the process at the other end.
This module imports no more than it must, for every worker pays for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

IDLE = 1800.0  # seconds without a request, after which a worker gives its memory back
HEADER = 8  # bytes: the length of a message
LOOK = 1.0  # seconds between looks at whether the other end is alive

Parameters = dict[str, Any]


class Outcome(NamedTuple):
    """What came of one call of the simulator.

    Attributes
    ----------
    n : int
        Number of parameter sets.
    result : object
        What the simulator returned, None where it failed.
    error : str
        What went wrong; empty where nothing did.
    seconds : float
        How long it took.
    """

    n: int
    result: Any
    error: str
    seconds: float


def send(pipe: int, message: Any) -> None:
    """Write one message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    view = memoryview(len(body).to_bytes(HEADER) + body)
    while view:
        view = view[os.write(pipe, view) :]


def receive(pipe: int, timeout: float | None, alive: Callable[[], bool] = lambda: True) -> Any:
    """Read one message.

    Parameters
    ----------
    pipe
        Read end.
    timeout
        Seconds to wait for all of it.
    alive
        Tells whether the other end still runs. A pipe need not be closed where it does not: a
        process that it started may hold it open.

    Raises
    ------
    EOFError
        Where the other end is closed, or no longer runs.
    TimeoutError
        Where the message is not there in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    length = int.from_bytes(_read(pipe, HEADER, deadline, alive))
    return pickle.loads(_read(pipe, length, deadline, alive))


def _read(pipe: int, n: int, deadline: float | None, alive: Callable[[], bool]) -> bytes:
    pieces = []
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(pipe, select.POLLIN)
    while n > 0:
        lives = alive()  # asked first: what it wrote before it ended is there by then
        left = LOOK if deadline is None else min(LOOK, max(deadline - time.monotonic(), 0.0))
        if not poll.poll(1000 * left if lives else 0):
            if not lives:
                raise EOFError
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
            continue
        piece = os.read(pipe, min(n, 2**20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        n -= len(piece)
    return b"".join(pieces)


def main() -> None:
    """Set up the simulator that comes first, then run whatever parameters follow."""
    requests, replies, lifeline = (int(argument) for argument in sys.argv[1:4])
    for pipe in (requests, replies, lifeline):
        os.set_inheritable(pipe, False)
    _end_with(lifeline)
    try:
        path, pickled = receive(requests, None)
        # Modules are looked for where the parent looks, in that order: another of the same name
        # must not take their place.
        sys.path[:] = [*path, *(folder for folder in sys.path if folder not in path)]
        try:
            simulator = pickle.loads(pickled)
            getattr(simulator, "set_up", lambda: None)()
        except BaseException as error:  # noqa: BLE001 SystemExit too: the parent must know
            send(replies, _text(error))
            return
        send(replies, "")
        while True:
            n, parameters = receive(requests, IDLE)
            outcome = _run(simulator, n, parameters)
            try:
                send(replies, outcome)
            except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:
                # What does not travel is a failure of this simulation.
                send(replies, outcome._replace(result=None, error=_text(error)))
    except (EOFError, TimeoutError, BrokenPipeError):
        return


def _run(simulator: Callable[..., Any], n: int, parameters: Parameters) -> Outcome:
    start = time.perf_counter()
    result, text = None, ""
    try:
        result = simulator(parameters)
    except BaseException as error:  # noqa: BLE001 codes that exit are among those to be run
        text = _text(error)
    return Outcome(n, result, text, time.perf_counter() - start)


def _text(error: BaseException) -> str:
    """Say what was raised, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file = os.path.basename(frame.filename)
    # What came as code, from a script or notebook, has lost the name of its file.
    where = f"line {frame.lineno}" if file.startswith("<") else f"{file}, line {frame.lineno}"
    return f"{type(error).__name__}: {error} ({where})"


def _end_with(lifeline: int) -> None:
    """End this process, and those it started, when the other end of the lifeline is closed.

    That happens even where the parent is killed. On Linux the kernel sees to it; elsewhere a
    thread does, which compiled code that never lets go of the interpreter can keep from running.
    """
    if hasattr(fcntl, "F_SETSIG"):
        with contextlib.suppress(OSError):  # some sandboxes refuse
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
            if select.select([lifeline], [], [], 0)[0]:  # closed before the kernel was told
                os.killpg(0, signal.SIGKILL)
            return
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
