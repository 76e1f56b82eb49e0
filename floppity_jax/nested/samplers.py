"""One function for each nested sampler: from a `Problem` to what the run came to."""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from floppity_jax.nested.problem import Problem
from floppity_jax.typing import Float

MOST_PROPOSALS = 100  # of a region's, for one batch of points


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


def run_ultranest(problem: Problem, settings: Settings) -> Outcome:
    """Run UltraNest's reactive nested sampler (Buchner 2021, JOSS 6, 3001).

    It draws from numpy's global state, which is set and put back.
    """
    from ultranest import ReactiveNestedSampler
    from ultranest.mlfriends import MLFriends

    options = {"region_class": MLFriends, **settings.run}
    options["region_class"] = _in_batches(options["region_class"], problem.batch)
    if settings.live_points is not None:
        options["min_num_live_points"] = settings.live_points
    folder = settings.folder and settings.folder / "ultranest"
    if folder:  # UltraNest says so where it makes it
        folder.mkdir(exist_ok=True)
    # Not the same numbers again after an interruption.
    with _numpy_seeded([settings.seed, problem.calls]), _quiet_logger("ultranest"):
        sampler = ReactiveNestedSampler(
            list(problem.space.names),
            problem.log_likelihood,
            **{
                "log_dir": folder and str(folder),
                "resume": "resume",
                "vectorized": True,
                "comm": _Alone(),
                **settings.setup,
            },
        )
        try:
            result = sampler.run(show_status=settings.progress, viz_callback=False, **options)
        finally:
            sampler.pointstore.close()
    samples = result["weighted_samples"]
    with np.errstate(divide="ignore"):  # weights of 0
        log_weights = np.log(samples["weights"])
    return Outcome(
        samples["upoints"], log_weights, samples["logl"], result["logz"], result["logzerr"]
    )


def _in_batches(region_class: Any, size: int) -> Any:
    """Let a region of UltraNest's return so many points at a time, so long as it finds them.

    As it is, it makes a number of proposals and returns those inside: on a spectrum one in twenty,
    too few to keep a device or workers busy.
    """

    class Region(region_class):
        def sample(self, nsamples: int = 100) -> Float[np.ndarray, "n d"]:
            found = [super().sample(nsamples)]
            while sum(map(len, found)) < size and len(found) < MOST_PROPOSALS:
                found.append(super().sample(nsamples))
            return np.concatenate(found)[: max(size, nsamples)]  # proposals are independent

    return Region


class _Alone:
    """Stands in for an MPI communicator: our script is one process, also where MPI runs workers."""

    def Get_size(self) -> int:  # noqa: N802
        return 1

    def Get_rank(self) -> int:  # noqa: N802
        return 0


@contextlib.contextmanager
def _numpy_seeded(seed: list[int]) -> Iterator[None]:
    """Seed numpy's global state inside, and put it back."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextlib.contextmanager
def _quiet_logger(name: str) -> Iterator[None]:
    """Let a library's logger print nothing inside, and put it back as it was."""
    logger = logging.getLogger(name)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def _ultranest() -> tuple[Callable[..., Any], ...]:
    from ultranest import ReactiveNestedSampler

    return ReactiveNestedSampler, ReactiveNestedSampler.run


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
    """

    run: Callable[[Problem, Settings], Outcome]
    library: str
    distribution: str
    resumes: bool
    signatures: Callable[[], tuple[Callable[..., Any], ...]]


SAMPLERS = {
    "ultranest": Sampler(run_ultranest, "ultranest", "ultranest", True, _ultranest),
}
