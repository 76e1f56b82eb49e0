"""One round of a run, kept in its directory: propose, simulate, learn, and tell how it went."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import numpy as np

from floppity_jax import sequential
from floppity_jax.checkpoint import fit_arrays, fit_from_arrays
from floppity_jax.density import Density
from floppity_jax.fingerprint import digest
from floppity_jax.measurement import Measurement
from floppity_jax.pool import Pool
from floppity_jax.priors import ParameterSpace
from floppity_jax.progress import Progress
from floppity_jax.proposals import Draws, Sampler
from floppity_jax.record import RoundInfo
from floppity_jax.simulate import Finished, Simulations, stream
from floppity_jax.simulations import (
    Directory,
    collect,
    fill_round,
    prior_simulations,
    simulation_arrays,
    simulations_of,
)
from floppity_jax.store import Arrays, NoDirectory
from floppity_jax.summary import QUANTILES
from floppity_jax.timing import Stopwatch
from floppity_jax.training_config import check_enough
from floppity_jax.typing import Float, Key

FURTHER = 1000  # folded, and numbers above it, into the keys of further proposals of a round


class Model(NamedTuple):
    """The simulator, what is measured of its spectra, and where it runs."""

    simulator: Callable[..., Any]
    measurement: Measurement
    pool: Pool

    def stream(
        self, theta: Float[np.ndarray, "n d"], rows: np.ndarray, most_failures: float = 1.0
    ) -> Generator[Finished, None, None]:
        """Simulate rows of ``theta``, and yield them as they finish."""
        return stream(
            self.simulator, self.measurement.simulator_parameters(theta), self.measurement.output,
            self.pool, rows, most_failures=most_failures,
        )  # fmt: skip

    def evaluate(self, store: Directory, name: str, theta: Float[np.ndarray, "n d"]) -> Simulations:
        """Simulate for a posterior; what has a name is kept in the run directory."""
        if not name:
            store = NoDirectory()
        path, after = f"simulations/{name}", digest(theta)

        def compute() -> Arrays:
            simulations = collect(store, path, theta, self.measurement.output.size, self.stream)
            return {"theta": theta, **simulation_arrays(simulations)}

        with store:
            return simulations_of(store.remember(path, compute, after=after))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """A round, with what all rounds of a run use.

    Attributes
    ----------
    problem : sequential.Problem
        What stays the same from round to round.
    model : Model
        What is simulated.
    store : RunDirectory or NoDirectory
        Where the round is kept.
    stopwatch : Stopwatch
        Takes the time of its parts.
    bar : Progress
        Shows how far it is.
    """

    problem: sequential.Problem
    model: Model
    store: Directory
    stopwatch: Stopwatch
    bar: Progress

    def run(
        self,
        key: Key,
        state: sequential.State,
        name: str,
        n: int,
        take_over: dict[str, Any] | None,
    ) -> tuple[sequential.State, RoundInfo]:
        """Propose, simulate and learn, or read what the store already has of it.

        ``n`` good simulations are made; with the first round of another run to begin with, if that
        is described by ``take_over``.
        """
        key_propose, key_learn, key_tell = jax.random.split(key, 3)
        before = None if state.fit is None else state.fit.density
        after = "" if state.fit is None else digest(*fit_arrays(state.fit).values())
        batch = self.store.remember(
            f"simulations/{name}",
            lambda: self._simulate(key, key_propose, state, name, n, take_over, after),
            after=after,
        )
        failures = simulations_of(batch).failures
        good = np.setdiff1d(np.arange(len(batch["z"])), list(failures))
        self.bar.simulated(len(good), len(failures))
        draws = _draws(batch)
        law = sequential.law(self.problem, state, len(batch["z"]), draws)
        state = sequential.add(state, batch["z"][good], batch["spectra"][good], law)
        check_enough(int(state.used.sum()), self.problem.training)
        fit = self._learn(key_learn, state, name)
        info = self._tell(key_tell, before, state, fit, batch, draws)
        self.bar.round_done()
        return sequential.update(self.problem, state, fit), info

    def _simulate(
        self,
        key: Key,
        key_propose: Key,
        state: sequential.State,
        name: str,
        n: int,
        take_over: dict[str, Any] | None,
        after: str,
    ) -> Arrays:
        """Simulate what the round lacks; ``after`` is the digest of what its proposals follow from.

        Further proposals have keys, made of ``key``, apart from those of the round and, where
        simulations were taken over, from the keys that drew those.
        """
        start = None if take_over is None else prior_simulations(take_over["reuse"], take_over)
        key_again = key
        if start is not None:
            key_again = jax.random.fold_in(key, int(digest(start["theta"])[:7], 16))

        def propose(attempt: int, n: int) -> Arrays:
            again = attempt > 0 or start is not None
            key = jax.random.fold_in(key_again, FURTHER + attempt) if again else key_propose
            with self.stopwatch.time("sampling"):
                draws = sequential.propose(key, self.problem, state, n)
            return {
                "z": draws.z,
                "theta": self.model.measurement.space.to_theta(draws.z),
                **{f"proposal_{name}": figure for name, figure in _figures(draws).items()},
            }

        most_failures = self.model.pool.most_failures
        with self.stopwatch.time("simulating"):
            arrays = fill_round(
                self.store, f"simulations/{name}", n, propose, self.model.measurement.output.size,
                functools.partial(self.model.stream, most_failures=most_failures),
                most_failures=most_failures, start=start, after=after, report=self.bar.simulated,
            )  # fmt: skip
        taken_over = 0 if start is None else min(len(start["z"]), len(arrays["z"]))
        return {**arrays, "taken_over": np.array(taken_over)}

    def _learn(self, key: Key, state: sequential.State, name: str) -> sequential.Fit:
        """Train, or read what was learned."""

        def learn() -> Arrays:
            with self.stopwatch.time("training"):
                fit = sequential.learn(key, self.problem, state, report=self.bar.trained)
            return fit_arrays(fit)

        after = digest(state.z, state.spectra)
        arrays = self.store.remember(f"rounds/{name}", learn, after=after)
        return fit_from_arrays(arrays, self.problem.dim, self.problem.flow)

    def _tell(
        self,
        key: Key,
        before: Density | None,
        learned: sequential.State,
        fit: sequential.Fit,
        batch: Arrays,
        draws: Draws,
    ) -> RoundInfo:
        """Tell how the round went, by what was ``learned`` from and what came of it."""
        with self.stopwatch.time("sampling"):
            change = sequential.distance(key, before, fit.density)
            efficiency = sequential.efficiency(self.problem, learned, fit.density)
            key_familiarity = jax.random.fold_in(key, 1)
            familiar = sequential.familiar(key_familiarity, self.problem, learned, fit.features)
        return RoundInfo(
            simulations=len(batch["z"]),
            failures=len(simulations_of(batch).failures),
            taken_over=int(batch["taken_over"]),
            used=int(learned.used.sum()),
            acceptance=draws.acceptance,
            proposal_ess=draws.ess,
            sampler=draws.sampler.name,
            overlap=fit.overlap,
            ignored_regions=len(learned.regions) if fit.contradicts else 0,
            change=change,
            efficiency=efficiency,
            misfit=fit.features.noise,
            feature_distance=familiar.distance,
            feature_share=familiar.share,
            reconstruction_error=fit.features.reconstruction_error,
            quantiles=_quantiles(
                jax.random.fold_in(key, 2), fit.density, self.model.measurement.space
            ),
            training=fit.record,
        )


def _quantiles(key: Key, density: Density, space: ParameterSpace) -> dict[str, tuple[float, ...]]:
    """Quantiles of each marginal, for `RoundInfo`."""
    quantiles = np.quantile(space.to_theta(density.draw(key, 4096)), QUANTILES, axis=0)
    return dict(zip(space.names, map(tuple, quantiles.T.tolist()), strict=True))


def _figures(draws: Draws) -> Arrays:
    """How the draws came about, for a file."""
    figures = {**draws._asdict(), "sampler": draws.sampler.name}
    return {name: np.array(figure) for name, figure in figures.items() if name != "z"}


def _draws(batch: Arrays) -> Draws:
    """Read the draws of a round from its file."""
    figures = {name: batch[f"proposal_{name}"].item() for name in Draws._fields if name != "z"}
    return Draws(batch["z"], **{**figures, "sampler": Sampler[figures["sampler"]]})
