"""Runs of one retrieval by several seeds and of several observations, in one directory.

Each member has a run directory of its own, ``member_01`` and so on. All start from the first round
of ``member_01``, drawn from the prior.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from floppity_jax.ensembles.ensemble import Ensemble
from floppity_jax.errors import InvalidInput, RunDirectoryError, check_whole
from floppity_jax.noise import base_noise, given_noise, require_errors
from floppity_jax.observation import Observation
from floppity_jax.posterior import Posterior
from floppity_jax.retrieval import Retrieval
from floppity_jax.store import MANIFEST, read_manifest

Member = tuple[str, int]  # digest of the observation, and seed


def run_ensemble(
    retrieval: Retrieval,
    rounds: int = 10,
    simulations: int | Sequence[int] = 1000,
    *,
    directory: str | os.PathLike[str],
    seeds: Iterable[int] = (0,),
    observations: Iterable[Observation] | None = None,
    stop: Literal["converged"] | None = None,
    resume: bool = False,
    reuse: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Ensemble:
    """Run a retrieval by several seeds, of several observations, or both.

    The members are all pairs of an observation and a seed. They run one after another, and share
    the simulations of the first round, which are made once.

    Parameters
    ----------
    retrieval
        Whose settings all members have, and whose pool they use.
    rounds, simulations, stop
        Of each member, as for `Retrieval.run`.
    directory
        Where the members are kept, each in a run directory of its own.
    seeds
        Each observation is retrieved by each of them.
    observations
        On the same channels; that of ``retrieval`` unless given. `noise_realisations` makes some.
    resume
        Go on with what the directory holds. Members that are there are read, others are added:
        with more seeds or observations than before, only theirs are simulated.
    reuse
        Run directory whose first round is taken over, as in `Retrieval.run`, when ``member_01`` is
        begun.
    progress
        Show a progress bar for each member.

    Raises
    ------
    InvalidInput
        Where an argument breaks a rule; nothing has been simulated by then.
    RunDirectoryError
        Where the directory holds an ensemble, without ``resume``, or one that was set up otherwise.
    SimulatorError
        As for `Retrieval.run`.
    """
    counts = retrieval.counts(rounds, simulations)
    members = _members(retrieval, counts, observations, seeds)
    folder = pathlib.Path(directory).resolve()
    held = _held(folder)
    if held and not resume:
        raise RunDirectoryError(
            f"directory = {str(folder)!r}: the folder already holds an ensemble. Go on with it, or "
            "add to it, by resume=True, or choose another."
        )
    posteriors: dict[Member, Posterior] = {}
    # Those that are there first: where they were set up otherwise, nothing is added to them.
    for member in sorted(members, key=lambda member: member not in held):
        place = held.get(member) or _free(folder)
        posteriors[member] = members[member].run(
            rounds, counts, seed=member[1], directory=place, resume=True, progress=progress,
            stop=stop, reuse=_first_round_of(place, reuse),
        )  # fmt: skip
    return Ensemble(members=tuple(posteriors[member] for member in members))


def noise_realisations(observation: Observation, n: int, seed: int = 0) -> tuple[Observation, ...]:
    """Return what would be observed of a spectrum ``n`` times, each with noise of its own.

    Parameters
    ----------
    observation
        Its values are the noise-free spectrum: real data have noise already, and would have more
        than their errors say. Its errors are those of the noise.
    n
        How many. The first few are the same however many are asked for.
    seed
        Of the noise.

    Raises
    ------
    InvalidInput
        Where ``n`` or ``seed`` is no whole number.
    NoLikelihoodError
        Where the observation has no errors.
    """
    check_whole("n", n, 1, "For example 5.")
    check_whole("seed", seed, 0, "Leave it out for the default.")
    require_errors(observation)
    base = base_noise(observation, 1.0)
    draws = [np.random.default_rng([seed, i]).normal(size=observation.n_channels) for i in range(n)]
    return tuple(
        observation.with_values(observation.values + given_noise(base, draw)) for draw in draws
    )


def _members(
    retrieval: Retrieval,
    counts: list[int],
    observations: Iterable[Observation] | None,
    seeds: Iterable[int],
) -> dict[Member, Retrieval]:
    """Return the retrieval of each member, or refuse what cannot be one ensemble."""
    seeds = list(seeds)
    for seed in seeds:
        check_whole("seeds", seed, 0, "For example seeds=range(5).")
    observed = [retrieval.observation] if observations is None else list(observations)
    members: dict[Member, Retrieval] = {}
    channels = retrieval.describe(counts, 0)["channels"]
    for observation in observed:
        other = retrieval.with_observation(observation)
        description = other.describe(counts, 0)
        if description["channels"] != channels:
            raise InvalidInput(
                "observations", observation, "must have the name and channels of the retrieval's",
                "Other channels need other simulations: make an ensemble of their own.",
            )  # fmt: skip
        members |= {(description["observation"], seed): other for seed in seeds}
    if not members or len(members) < len(observed) * len(seeds):
        raise InvalidInput(
            "members", f"{len(observed)} observations, seeds {seeds}", "must be there, and differ",
            "Give at least one of each, none of them twice.",
        )  # fmt: skip
    return members


def _held(folder: pathlib.Path) -> dict[Member, pathlib.Path]:
    """Return the folders of the members that are there."""
    held: dict[Member, pathlib.Path] = {}
    for manifest in sorted(folder.glob(f"member_*/{MANIFEST}")):
        run = _configuration(manifest.parent)
        held[run["observation"], run["seed"]] = manifest.parent
    return held


def _free(folder: pathlib.Path) -> pathlib.Path:
    """Return the first folder without a member."""
    number = 1
    while (place := _place(folder, number)).joinpath(MANIFEST).exists():
        number += 1
    return place


def _place(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"member_{number:02d}"


def _first_round_of(
    place: pathlib.Path, reuse: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """Return the run directory whose first round a member takes over."""
    if (place / MANIFEST).exists():  # as it was begun, wherever that folder is by now
        return _configuration(place).get("reuse")
    first = _place(place.parent, 1)
    return reuse if place == first else first


def _configuration(place: pathlib.Path) -> dict[str, Any]:
    return read_manifest(place)["configuration"]
