"""`Retrieval`: a forward model, priors and an observation, and the run that joins them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax

from floppity_jax import sequential
from floppity_jax.compilation import use_cache
from floppity_jax.datasets import join
from floppity_jax.errors import InvalidInput
from floppity_jax.fingerprint import digest, fingerprint
from floppity_jax.flows.config import FlowConfig
from floppity_jax.instrument.model import Instrument
from floppity_jax.measurement import Measurement
from floppity_jax.mixture import WeightedSimulations
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.posterior import Posterior
from floppity_jax.priors import ParameterSpace
from floppity_jax.progress import Progress
from floppity_jax.record import RoundInfo, RunRecord
from floppity_jax.rounds import Model, Round
from floppity_jax.simulations import (
    Directory,
)
from floppity_jax.simulators.base import check_names, simulator_kind
from floppity_jax.store import NoDirectory, RunDirectory
from floppity_jax.timing import Stopwatch
from floppity_jax.training_config import TrainingConfig, counts_of_rounds

if TYPE_CHECKING:
    import xarray

# A run may stop where the best classifier could tell draws of the last two rounds apart with an
# accuracy of 0.55 at most, and correction, where there is a likelihood, would keep enough draws.
CONVERGED_DISTANCE = 0.1
CONVERGED_EFFICIENCY = 0.2


class Retrieval:
    """A retrieval: which atmospheres could have produced an observed spectrum.

    Parameters
    ----------
    simulator
        Forward model: a callable that takes ``{name: value}`` and returns a noise-free spectrum
        (see `floppity_jax.simulators` for batched and JAX models).
    parameters
        Maps each name to a prior, a ``(low, high)`` tuple (uniform), a number (fixed), another
        parameter's name (tied) or a frozen `scipy.stats` law.
    observation
        What was observed: an `Observation`, or several by name, ``{"niriss": first, ...}``. The
        simulator then returns them by name, or one after the other in one array.
    instrument : Instrument, list or dict, optional
        What happens to a spectrum after the simulator: a list of steps of `floppity_jax.instrument`
        or, for several datasets, lists by name. Parameters that only these use are kept from the
        simulator, and cost no call of it.
    flow : FlowConfig, optional
        Size of the neural network.
    training : TrainingConfig, optional
        How it is trained.
    method
        ``"truncated"``: draw from the prior cut to where the posterior lives (Deistler et al.
        2022). ``"apt"``: the method of the paper (Greenberg et al. 2019).
    pool : Pool, int or concurrent.futures.Executor, optional
        Where the simulator runs; all local cores unless given.

    Raises
    ------
    InvalidInput
        Where an argument breaks a rule; nothing has been simulated by then.
    """

    def __init__(
        self,
        simulator: Callable[..., Any],
        parameters: Mapping[str, Any],
        observation: Observation | Mapping[str, Observation] | Sequence[Observation],
        *,
        instrument: Instrument | Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        flow: FlowConfig | None = None,
        training: TrainingConfig | None = None,
        method: Literal["truncated", "apt"] = "truncated",
        pool: Pool | int | concurrent.futures.Executor | None = None,
    ) -> None:
        if method not in ("truncated", "apt"):
            raise InvalidInput(
                "method", method, 'must be "truncated" or "apt"', "Leave it out for the default."
            )
        self.simulator = simulator
        self.space = ParameterSpace(parameters)
        self.observation: Observation = (
            observation if isinstance(observation, Observation) else join(observation)
        )
        self.flow = flow or FlowConfig.default()
        self.training = training or TrainingConfig()
        self.method = method
        self.pool = Pool.of(pool)
        simulator_kind(simulator)
        wanted = getattr(simulator, "parameters", None)
        self.measurement = Measurement(
            self.observation, self.space, Instrument.of(instrument), wanted
        )
        check_names(simulator, self.measurement.simulator_names)
        problem = self.problem(1)
        if problem.measured and problem.flow.embedding != "projection":
            raise InvalidInput(
                "flow.embedding", self.flow.embedding,
                "must be the projection where there is an instrument, a covariance or log features",
                "Leave it out.",
            )  # fmt: skip

    def with_observation(self, observation: Observation) -> Retrieval:
        """Return the same retrieval of another observation.

        Raises
        ------
        InvalidInput
            Where it is no `Observation`.
        """
        return Retrieval(
            self.simulator, self.space.entries, observation,
            instrument=self.measurement.instrument, flow=self.flow, training=self.training,
            method=self.method, pool=self.pool,
        )  # fmt: skip

    def run(
        self,
        rounds: int = 10,
        simulations: int | Sequence[int] = 1000,
        *,
        seed: int = 0,
        directory: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: bool = True,
        stop: Literal["converged"] | None = None,
        reuse: str | os.PathLike[str] | None = None,
        configuration: str = "",
    ) -> Posterior:
        """Run the rounds and return the posterior.

        Parameters
        ----------
        rounds
            Number of rounds, at most.
        simulations
            Good spectra of a round; a list gives one number a round. Calls that fail come on top:
            fresh parameters are drawn for them.
        seed
            The same seed gives the same posterior on the same machine, if the simulator gives the
            same spectrum for the same parameters.
        directory
            Where the run is kept, as it goes; nothing is written unless given.
        resume
            Go on with the run that the directory holds: take up an interrupted one, or, with more
            ``rounds``, extend a finished one.
        progress
            Show a progress bar.
        stop
            ``"converged"`` ends the run early, when the posteriors of two rounds in a row are hard
            to tell apart (total variation distance below 0.1) and, where there is a likelihood,
            correction would keep at least a fifth of its draws; never after a round that gave up
            the regions of those before. ``record.rounds`` has the figures for each round.
        reuse
            Run directory of another retrieval, with the same parameters and simulator, and of the
            same channels or model grid (say, of another observation): its first round, drawn from
            the prior, is taken over, and only what is lacking is simulated.
        configuration
            Text to keep with the run.

        Raises
        ------
        InvalidInput
            Where an argument breaks a rule.
        RunDirectoryError
            Where the directory holds another run, or this one without ``resume``; where it is in
            use, or full.
        SimulatorError
            Where the simulator cannot be set up, returns the wrong shape, or fails more often
            than the pool lets pass.
        """
        counts = self.counts(rounds, simulations)
        if stop not in ("converged", None):
            raise InvalidInput("stop", stop, 'must be "converged" or None', "Leave it out.")
        description = self.describe(counts, seed)
        if reuse is not None:
            description["reuse"] = os.path.abspath(reuse)
        store: Directory = NoDirectory()
        if directory is not None:
            store = RunDirectory(directory, description, resume=resume)
        use_cache()
        stopwatch = Stopwatch()
        record = RunRecord(seed, self.method, [], 0, stopwatch.seconds, configuration)
        problem = self.problem(sum(counts))
        model = Model(self.simulator, self.measurement, self.pool)
        state = sequential.init(problem)
        with store, Progress(counts, enabled=progress) as bar:
            one = Round(problem=problem, model=model, store=store, stopwatch=stopwatch, bar=bar)
            for index, n in enumerate(counts):
                key = jax.random.fold_in(jax.random.key(seed), index)
                take_over = description if reuse is not None and index == 0 else None
                state, info = one.run(key, state, f"round_{index + 1:02d}", n, take_over)
                record.rounds.append(info)
                if stop == "converged" and _converged(info):
                    break
        assert state.fit is not None  # there is at least one round
        with stopwatch.time("sampling"):
            weighted = self._weighted(problem, state)
        return Posterior(
            measurement=self.measurement,
            density=state.fit.density,
            flow=problem.flow,
            record=record,
            evaluate=functools.partial(model.evaluate, store),
            simulations=weighted,
        )

    def problem(self, rows: int) -> sequential.Problem:
        """Return what stays the same from round to round, of ``rows`` simulations in all."""
        problem = sequential.Problem(
            len(self.space.names), self.measurement, self.flow, self.training, self.method, rows
        )
        flow = self.flow.for_spectrum(self.observation.n_channels, problem.measured)
        return problem._replace(flow=flow)

    def _weighted(
        self, problem: sequential.Problem, state: sequential.State
    ) -> WeightedSimulations | None:
        """All simulations with their weights, where there is a likelihood."""
        if self.observation.errors is None:
            return None
        log_weights, log_mass_error = sequential.weigh(problem, state)
        return WeightedSimulations(
            self.space.to_theta(state.z), state.spectra, log_weights, log_mass_error
        )

    def nested(
        self,
        sampler: str = "ultranest",
        *,
        live_points: int | None = None,
        seed: int = 0,
        directory: str | os.PathLike[str] | None = None,
        resume: bool = False,
        n: int | None = None,
        progress: bool = True,
        **options: Any,
    ) -> xarray.DataTree:
        """Run a nested sampler on the same priors, simulator and observation.

        It needs ``pip install 'floppity_jax[nested]'``.

        Parameters
        ----------
        sampler
            ``"ultranest"``, ``"nautilus"``, ``"dynesty"``, or, where JAX can trace the simulator,
            ``"blackjax"``. The first two can be resumed.
        live_points
            The sampler's own number unless given.
        seed
            The same seed gives the same result on the same machine, if the simulator gives the same
            spectrum for the same parameters, and nothing interrupts the run.
        directory
            Where the run is kept: the sampler's own files, and the result, ``nested.nc``. Nothing
            is written unless given.
        resume
            Go on with the run that the directory holds.
        n
            Equally weighted draws; as many as there are effective samples unless given.
        progress
            Show the sampler's own status line.
        options
            For the sampler's constructor or its run, by the names that it gives them. Those of
            the run say when it ends, and may change when it is resumed.

        Returns
        -------
        xarray.DataTree
            As `floppity_jax.nested.tree.nested_tree` has it, with ``simulator_failures``.

        Raises
        ------
        InvalidInput
            Where an argument breaks a rule, or the sampler is not installed.
        NoLikelihoodError
            Where the observation has no errors.
        RunDirectoryError
            Where the directory holds another run, or this one without ``resume``; where it is in
            use.
        SimulatorError
            Where the simulator cannot be set up, returns the wrong shape, or fails more often than
            the pool lets pass.
        """
        from floppity_jax.nested.problem import Problem
        from floppity_jax.nested.runners import run_nested

        return run_nested(
            sampler,
            functools.partial(Problem, self.simulator, self.measurement, self.pool),
            self._describe_problem(),
            live_points=live_points,
            seed=seed,
            directory=directory,
            resume=resume,
            n=n,
            progress=progress,
            options=options,
        )

    def counts(self, rounds: int, simulations: int | Sequence[int]) -> list[int]:
        """Return the checked number of simulator calls of each round."""
        return counts_of_rounds(rounds, simulations, self.training)

    def describe(self, counts: list[int], seed: int) -> dict[str, Any]:
        """All that decides the result, for the manifest."""
        return {
            **self._describe_problem(),
            "method": self.method,
            "flow": dataclasses.asdict(self.flow),
            "training": dataclasses.asdict(self.training),
            "simulations": counts,
            "seed": seed,
        }

    def _describe_problem(self) -> dict[str, Any]:
        """Say what is asked, however it is answered."""
        parts, instrument = self.observation.parts, self.measurement.instrument
        channels = "+".join(
            f"{p.name}:{p.n_channels}:{digest(p.wavelength, p.bin_width)}" for p in parts
        )
        return {
            "parameters": self.space.describe(),
            "observation": "+".join(
                f"{p.name}:{digest(p.values, p.errors, p.covariance)}" for p in parts
            ),
            "instrument": instrument.describe(),
            "channels": channels,
            "simulator": fingerprint(self.simulator),
            "simulator_parameters": self.measurement.simulator_names,
            "spectra": channels if instrument.grid is None else f"grid:{digest(instrument.grid)}",
        }


def _converged(info: RoundInfo) -> bool:
    """Whether successive posteriors agree; an efficiency that is not known is no obstacle."""
    return (
        info.change < CONVERGED_DISTANCE
        and not info.efficiency < CONVERGED_EFFICIENCY
        and not info.ignored_regions
    )
