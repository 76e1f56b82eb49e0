"""UltraNest on a `Problem`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from floppity_jax.nested.problem import Problem
from floppity_jax.nested.sampler import Outcome, Sampler, Settings
from floppity_jax.typing import Float

MOST_PROPOSALS = 100  # of a region's, for one batch of points


def _run(problem: Problem, settings: Settings) -> Outcome:
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
            log_dir=folder and str(folder),
            resume="resume",
            vectorized=True,
            comm=_Alone(),
            **settings.setup,
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


def _signatures() -> tuple[Callable[..., Any], ...]:
    from ultranest import ReactiveNestedSampler

    return ReactiveNestedSampler, ReactiveNestedSampler.run


ULTRANEST = Sampler(
    run=_run,
    library="ultranest",
    distribution="ultranest",
    resumes=True,
    signatures=_signatures,
    ours=frozenset(
        "self param_names loglike transform log_dir resume vectorized comm show_status "
        "viz_callback".split()
    ),
)
