"""Seconds spent, by kind of work; compilation is told apart from what it interrupts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import jax.monitoring

_COMPILE_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_compiled_seconds = 0.0


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    global _compiled_seconds  # JAX reports to a process-wide listener
    if event in _COMPILE_EVENTS:
        _compiled_seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


class Stopwatch:
    """Adds up seconds of ``simulating``, ``compiling``, ``training`` and ``sampling``.

    Parameters
    ----------
    seconds
        Where to add them up; a new account unless given.
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = {} if seconds is None else seconds
        for work in ("simulating", "compiling", "training", "sampling"):
            self.seconds.setdefault(work, 0.0)

    @contextlib.contextmanager
    def time(self, work: str) -> Iterator[None]:
        """Count the seconds inside as ``work``, but what JAX compiled, or is timed in there."""
        start, compiled = time.perf_counter(), _compiled_seconds
        before, compiling_before = sum(self.seconds.values()), self.seconds["compiling"]
        try:
            yield
        finally:
            self.seconds["compiling"] = compiling_before + _compiled_seconds - compiled
            inside = sum(self.seconds.values()) - before
            self.seconds[work] += time.perf_counter() - start - inside
