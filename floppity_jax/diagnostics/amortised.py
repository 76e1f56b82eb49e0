"""Calibration of the first round, whose flow serves any observation: at no simulator call."""

from __future__ import annotations

import os

import jax
import numpy as np
from tqdm.auto import tqdm

from floppity_jax import sequential
from floppity_jax.diagnostics.calibrate import kept_in
from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.diagnostics.synthetic import observe, rank_flow
from floppity_jax.errors import InvalidInput, check_whole
from floppity_jax.features import observed_input
from floppity_jax.mixture import Law
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulations import first_round, prior_simulations, simulations_of


def calibrate_amortised(
    retrieval: Retrieval,
    simulations: int = 1000,
    held_out: int = 200,
    *,
    draws: int = 1000,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Calibration:
    """Test the flow of the first round on simulations that it was not trained on.

    Before it is narrowed to one observation, the flow is a posterior for any. It is trained on all
    simulations of the first round but the ``held_out`` last, and these, with noise, are the
    synthetic observations. See `calibrate` for the rounds that follow.

    The inputs of the flow are fitted with the observation at hand as reference. Where no model
    fits that, the flow is trained with larger errors and contracted; ``misfit`` of the result is
    above 1 then, and what is found may be due to that.

    Parameters
    ----------
    retrieval
        Whose first round is tested.
    simulations
        Of the first round, where it has yet to be run.
    held_out
        How many of them are tested on.
    draws
        Of each posterior, for ranks.
    seed
        Of the first round, where it has yet to be run, of the noise and of the training.
    directory
        Run directory. The first round that it holds is tested; where it holds none, a first round
        is run there, as ``retrieval.run(1, simulations, seed=seed, directory=directory)`` would,
        which can be resumed with more rounds. Nothing is kept unless given.
    progress
        Show progress bars.

    Raises
    ------
    InvalidInput
        Where an argument breaks a rule, or the first round is too small.
    RunDirectoryError
        Where the directory holds a run of another problem.
    SimulatorError
        As for `Retrieval.run`.
    """
    check_whole("held_out", held_out, 1, "Leave it out for the default.")
    check_whole("draws", draws, 1, "Leave it out for the default.")
    check_whole("seed", seed, 0, "Leave it out for the default.")
    counts = retrieval.counts(1, simulations)
    with kept_in(directory) as folder:
        calls = 0
        if not first_round(folder).exists():
            _check_left(simulations, held_out, retrieval)
            record = retrieval.run(
                1, counts, seed=seed, directory=folder, resume=True, progress=progress
            ).record
            calls = record.simulator_calls
        batch = prior_simulations(str(folder), retrieval.describe(counts, seed))
    good = np.setdiff1d(np.arange(len(batch["z"])), list(simulations_of(batch).failures))
    _check_left(len(good), held_out, retrieval)
    train, test = good[:-held_out], good[-held_out:]
    problem = retrieval.problem(len(train))
    state = sequential.add(
        sequential.init(problem), batch["z"][train], batch["spectra"][train], Law(len(train))
    )
    key_train, key_draws = jax.random.split(jax.random.key(seed))
    fit = sequential.learn(key_train, problem, state)
    rng = np.random.default_rng([seed, held_out])
    ranks = []
    for row in tqdm(test, desc="held-out simulations", disable=not progress):
        observation = observe(rng, retrieval.measurement, batch["z"][row], batch["spectra"][row])
        density = fit.density._replace(context=observed_input(fit.features, observation))
        key = jax.random.fold_in(key_draws, int(row))
        ranks.append(rank_flow(key, rng, density, batch["z"][row], draws))
    return Calibration(
        names=retrieval.space.names,
        subject=f"first round, trained on {len(train):,} simulations",
        truth=batch["theta"][test],
        credibility=np.array([r.credibility for r in ranks]),
        pit=np.array([r.pit for r in ranks]),
        tarp=np.array([r.tarp for r in ranks]),
        ess=np.full(len(test), float(draws)),
        simulator_calls=calls,
        misfit=fit.features.noise,
    )


def _check_left(n: int, held_out: int, retrieval: Retrieval) -> None:
    """See that enough is left to train on."""
    if held_out >= n:
        raise InvalidInput(
            "held_out", held_out, f"must be below the {n} simulations of the first round",
            "A fifth of them is a good choice.",
        )  # fmt: skip
    retrieval.counts(1, n - held_out)
