"""Where simulators run: local processes, or an engine that the user already has."""

from __future__ import annotations

import concurrent.futures
import math
import os

from floppity_jax.errors import InvalidInput, check_whole

UNKNOWN_SLOTS = 128  # workers an engine is taken to have, where it does not say


class Pool:
    """Host processes that run a simulator.

    Parameters
    ----------
    workers : int, optional
        Number of local processes; all cores that this process may use, unless given.
    executor : concurrent.futures.Executor, optional
        An engine that already runs (Dask's ``client.get_executor()``, ``mpi4py.futures``, ...),
        instead of local processes. It is used, never shut down. Each of its threads starts one
        process, on its own machine, for the simulator to run in. The processes stay for the next
        run of the same simulator: after a change in a module that it uses, take a new engine.
    timeout : float, optional
        Seconds that a simulation may take. One that takes longer is ended, with all that it
        started, and counts as failed. No limit unless given.
    retries : int
        How often a simulation is tried again after the process that it ran in was lost (killed for
        memory, crashed, its node gone). What raises, or runs out of time, is never tried again.
    threads : int or None
        Threads of BLAS and OpenMP in each process; None leaves them as the environment has them.
    most_failures : float
        Share of the simulations of a round that may fail; the run stops where more do.

    Raises
    ------
    InvalidInput
        Where an argument breaks a rule.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        executor: concurrent.futures.Executor | None = None,
        timeout: float | None = None,
        retries: int = 1,
        threads: int | None = 1,
        most_failures: float = 0.5,
    ) -> None:
        if workers is not None and executor is not None:
            raise InvalidInput(
                "workers", workers, "must be left out where an executor is given",
                "The executor knows its own workers.",
            )  # fmt: skip
        if executor is not None and not hasattr(executor, "submit"):
            raise InvalidInput(
                "executor", executor, "must be a concurrent.futures.Executor",
                "For Dask, give client.get_executor().",
            )  # fmt: skip
        context = getattr(executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise InvalidInput(
                "executor", executor, "must not fork this process, in which JAX has threads",
                "Give workers=4, or ProcessPoolExecutor(4, multiprocessing.get_context('spawn')).",
            )  # fmt: skip
        if workers is not None:
            check_whole("workers", workers, 1, "Leave it out for all cores.")
        if threads is not None:
            check_whole("threads", threads, 1, "Give None to leave them as they are.")
        check_whole("retries", retries, 0, "Give 0 to try each simulation once.")
        if timeout is not None and not 0 < timeout < math.inf:
            raise InvalidInput(
                "timeout", timeout, "must be above 0 seconds", "Leave it out for no limit."
            )
        if not 0 <= most_failures < 1:
            raise InvalidInput(
                "most_failures", most_failures, "must be at least 0 and below 1",
                "It is a share: 0.5 is half.",
            )  # fmt: skip
        self.timeout = timeout
        self.retries = retries
        self.threads = threads
        self.most_failures = most_failures
        self._workers = workers
        self._executor = executor

    @classmethod
    def of(cls, pool: Pool | int | concurrent.futures.Executor | None) -> Pool:
        """Read a ``pool=`` argument: None, a number of workers, an executor, or a pool."""
        if isinstance(pool, Pool):
            return pool
        if pool is None or isinstance(pool, int):
            return cls(pool)
        return cls(executor=pool)

    def engine(self) -> concurrent.futures.Executor:
        """Return the engine: the one that was given, or threads with a process each."""
        if self._executor is None:
            workers = self._workers or _cores()
            self._executor = concurrent.futures.ThreadPoolExecutor(workers, "floppity_jax")
        return self._executor

    def slots(self) -> int:
        """Return how many simulations the engine runs at once, as far as it says."""
        client = getattr(self.engine(), "_client", None)  # Dask's
        if client is not None:
            return sum(client.nthreads().values()) or UNKNOWN_SLOTS
        for name in ("_max_workers", "num_workers"):  # the standard library's and loky's; mpi4py's
            if isinstance(slots := getattr(self.engine(), name, None), int):
                return max(1, slots)
        return UNKNOWN_SLOTS


def _cores() -> int:
    """Return how many cores this process may use: a batch system often lends a few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
