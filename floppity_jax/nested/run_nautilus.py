"""nautilus on a `Problem`."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

from floppity_jax.errors import InvalidInput
from floppity_jax.nested.objects import read_nautilus
from floppity_jax.nested.problem import Problem
from floppity_jax.nested.sampler import Outcome, Sampler, Settings, outcome_of

FILE = "nautilus.hdf5"
SPARING = 10.0  # so many times what it takes to write the file, it is not written again


def _run(problem: Problem, settings: Settings) -> Outcome:
    """Run nautilus' importance nested sampling (Lange 2023, MNRAS 525, 3181)."""
    live_points = {} if settings.live_points is None else {"n_live": settings.live_points}
    sampler = _keeping()(
        _unchanged,
        problem.log_likelihood,
        n_dim=len(problem.space.names),
        n_batch=problem.batch,
        vectorized=True,
        seed=settings.seed,
        filepath=settings.folder and settings.folder / FILE,
        **live_points,
        **settings.setup,
    )
    sampler.run(verbose=settings.progress, **settings.run)
    if settings.folder:
        sampler.write(sampler.filepath, overwrite=True)
    return outcome_of(read_nautilus(sampler))


def _unchanged(u: Any) -> Any:
    return u


def _keeping() -> Any:
    """Return a nautilus sampler whose file is whole at any moment.

    As it is, it changes its file in place with each batch: whoever is killed meanwhile loses it.
    """
    from nautilus import Sampler as Nautilus

    class Keeping(Nautilus):
        _next = 0.0

        def write(self, filepath: pathlib.Path, overwrite: bool = False) -> None:
            start = time.monotonic()
            unfinished = filepath.with_name(f"unfinished_{filepath.name}")
            super().write(unfinished, overwrite=True)
            os.replace(unfinished, filepath)
            self._next = time.monotonic() + SPARING * (time.monotonic() - start)

        def write_shell_update(self, filepath: pathlib.Path, shell: int) -> None:
            if time.monotonic() > self._next:
                self.write(filepath)

    return Keeping


def _check(problem: Problem) -> None:
    if len(problem.space.names) < 2:
        raise InvalidInput(
            "sampler", "nautilus", "must not be nautilus where one parameter is free",
            "It needs two: choose another sampler.",
        )  # fmt: skip


def _signatures() -> tuple[Callable[..., Any], ...]:
    from nautilus import Sampler as Nautilus

    return Nautilus, Nautilus.run


NAUTILUS = Sampler(
    run=_run,
    library="nautilus",
    distribution="nautilus-sampler",
    resumes=True,
    signatures=_signatures,
    ours=frozenset(
        "self prior likelihood n_dim n_live prior_args prior_kwargs likelihood_args "
        "likelihood_kwargs vectorized pass_dict pool seed blobs_dtype filepath resume verbose"
        .split()
    ),
    check=_check,
)  # fmt: skip
