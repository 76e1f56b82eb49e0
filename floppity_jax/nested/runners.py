"""Nested sampling of a retrieval: the sampler's run, kept in a folder, as a DataTree."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from floppity_jax.compilation import use_cache
from floppity_jax.errors import InvalidInput, check_whole
from floppity_jax.nested.problem import Problem
from floppity_jax.nested.sampler import Sampler, Settings
from floppity_jax.nested.samplers import SAMPLERS
from floppity_jax.nested.tree import NestedRun, nested_tree
from floppity_jax.simulations import Directory
from floppity_jax.store import UNFINISHED, NoDirectory, RunDirectory

if TYPE_CHECKING:
    import xarray

RESULT = "nested.nc"  # in the run directory


def run_nested(
    sampler: str,
    make_problem: Callable[[Directory], Problem],
    description: Mapping[str, Any],
    *,
    live_points: int | None,
    seed: int,
    directory: str | os.PathLike[str] | None,
    resume: bool,
    n: int | None,
    progress: bool,
    options: Mapping[str, Any],
) -> xarray.DataTree:
    """Run a nested sampler; see `floppity_jax.Retrieval.nested`.

    Parameters
    ----------
    sampler
        A name in `SAMPLERS`.
    make_problem
        Returns the problem, given where its counts are kept.
    description
        Of the problem, for the manifest.
    live_points, seed, directory, resume, n, progress, options
        As there.
    """
    chosen = _find(sampler)
    setup, run = _sort(sampler, options)
    for name, value in (("live_points", live_points), ("n", n)):
        if value is not None:
            check_whole(name, value, 1, "Leave it out for the default.")
    if resume and not chosen.resumes:
        raise InvalidInput(
            "resume", resume, f"must be False for {sampler}, whose runs cannot be taken up again",
            f"Choose a sampler of which they can: {[k for k, v in SAMPLERS.items() if v.resumes]}.",
        )  # fmt: skip
    chosen.check(make_problem(NoDirectory()))  # before anything is written
    configuration = {
        "sampler": sampler, "live_points": live_points, "seed": seed,
        "options": {k: v if _is_plain(v) else repr(v) for k, v in setup.items()},
    }  # fmt: skip
    store: Directory = NoDirectory()
    if directory is not None:
        store = RunDirectory(directory, {**description, **configuration}, resume=resume)
    use_cache()
    folder = store.path if isinstance(store, RunDirectory) else None
    with store:
        problem = make_problem(store)
        try:
            outcome = chosen.run(problem, Settings(live_points, seed, folder, progress, setup, run))
        finally:
            problem.save()
        nested = NestedRun(
            library=chosen.distribution,
            version=importlib.metadata.version(chosen.distribution),
            names=problem.space.names,
            theta=problem.to_theta(outcome.u),
            log_weights=outcome.log_weights,
            log_likelihood=outcome.log_likelihood,
            log_evidence=outcome.log_evidence,
            log_evidence_error=outcome.log_evidence_error,
            calls=problem.calls,
            seconds=problem.seconds,
            attributes={
                name: {"unit": prior.unit, "label": prior.label or name, "scale": prior.scale}
                for name, prior in problem.space.priors.items()
            },
        )
        tree = nested_tree(nested, n=n, seed=seed)
        text = {k: v if _is_plain(v) else repr(v) for k, v in {**setup, **run}.items()}
        tree.attrs.update(
            seed=seed,
            simulator_failures=problem.failures,
            configuration=json.dumps({**configuration, "options": text}),
        )
        if folder:
            _write(tree, folder)
    return tree


def _find(name: str) -> Sampler:
    """Return the sampler of that name, if it is installed."""
    if name not in SAMPLERS:
        raise InvalidInput(
            "sampler", name, f"must be one of {list(SAMPLERS)}", "Leave it out for the default."
        )
    if importlib.util.find_spec(SAMPLERS[name].library) is None:
        raise InvalidInput(
            "sampler", name, "must be installed",
            "Install the nested samplers by: pip install 'floppity_jax[nested]'",
        )  # fmt: skip
    return SAMPLERS[name]


def _sort(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort options into those of the sampler's constructor and those of its run."""
    chosen = SAMPLERS[name]
    known = [set(inspect.signature(f).parameters) - chosen.ours for f in chosen.signatures()]
    setup: dict[str, Any] = {}
    run: dict[str, Any] = {}
    for option, value in options.items():
        if option in known[1]:
            run[option] = value
        elif option in known[0]:
            setup[option] = value
        else:
            near = difflib.get_close_matches(option, known[0] | known[1], 1)
            raise InvalidInput(
                option, value, f"must be an option of {name}",
                f"Did you mean {near[0]}?" if near else "See the pages of that library.",
            )  # fmt: skip
    return setup, run


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _write(tree: xarray.DataTree, folder: pathlib.Path) -> None:
    """Put the result into the run directory, whole or not at all."""
    temporary = folder / f".{RESULT}{UNFINISHED}"
    tree.to_netcdf(temporary, engine="h5netcdf")
    os.replace(temporary, folder / RESULT)
