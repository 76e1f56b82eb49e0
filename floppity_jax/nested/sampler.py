"""What a nested sampler is to us: what it is told, and what it returns."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from floppity_jax.nested.problem import Problem
from floppity_jax.nested.tree import NestedRun
from floppity_jax.typing import Float


class Settings(NamedTuple):
    """How a sampler is to run.

    Attributes
    ----------
    live_points : int or None
        The sampler's own number where None.
    seed : int
        Of everything the sampler draws.
    folder : pathlib.Path or None
        For the sampler's own files, from which it goes on where they are there.
    progress : bool
        Show the sampler's own status line.
    setup, run : mapping
        Options for the sampler's constructor, and for its run.
    """

    live_points: int | None
    seed: int
    folder: pathlib.Path | None
    progress: bool
    setup: Mapping[str, Any]
    run: Mapping[str, Any]


class Outcome(NamedTuple):
    """What a sampler returned: weighted points of the unit cube, and the evidence.

    Attributes
    ----------
    u : array (n, d)
        Points of the unit cube.
    log_weights, log_likelihood : array (n,)
        Of each.
    log_evidence, log_evidence_error : float
        Natural logarithm of the evidence, and its standard error.
    """

    u: Float[np.ndarray, "n d"]
    log_weights: Float[np.ndarray, " n"]
    log_likelihood: Float[np.ndarray, " n"]
    log_evidence: float
    log_evidence_error: float


def outcome_of(run: NestedRun) -> Outcome:
    """Return what was read from a sampler in memory, whose parameters were the unit cube."""
    return Outcome(run.theta, **{name: getattr(run, name) for name in Outcome._fields[1:]})


def _takes_all(problem: Problem) -> None:
    """Refuse nothing."""


class Sampler(NamedTuple):
    """A sampler that can be chosen.

    Attributes
    ----------
    run : callable
        Runs it.
    library, distribution : str
        The module that it is imported from, and what that is installed as.
    resumes : bool
        Whether an interrupted run can go on.
    signatures : callable
        Returns its constructor and its run, whose options the user may give.
    ours : frozenset of str
        Those of them that we set ourselves.
    check : callable
        Raises InvalidInput for a problem that it cannot take.
    """

    run: Callable[[Problem, Settings], Outcome]
    library: str
    distribution: str
    resumes: bool
    signatures: Callable[[], tuple[Callable[..., Any], ...]]
    ours: frozenset[str]
    check: Callable[[Problem], None] = _takes_all
