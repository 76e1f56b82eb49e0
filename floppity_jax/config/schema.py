"""The tables of an input file, but for those of the simulators: a dataclass each.

A key is a field: its annotation says what fits, its docstring what it is for. From these come the
checks of a file, the comments of a new one, and the tables of docs/input_files.md. A further table
is a dataclass here, a name in ``TABLES``, a reader in `floppity_jax.config.tables` and a line in
`floppity_jax.config.reference.all_tables`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from floppity_jax import priors
from floppity_jax.config.values import Copied, RunFolder
from floppity_jax.errors import InvalidInput, check_whole
from floppity_jax.flows.config import FlowConfig
from floppity_jax.observation import Observation
from floppity_jax.spectra.read import read_observation
from floppity_jax.training_config import TrainingConfig

TABLES = ("observation", "simulator", "parameters", "run", "pool", "flow", "training")
NEEDED = ("observation", "simulator", "parameters")
LAWS = {
    law.__name__: law
    for law in (priors.Uniform, priors.LogUniform, priors.Normal, priors.LogNormal,
                priors.TruncatedNormal)
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "flow": {"default": FlowConfig(), "fast": FlowConfig.fast(), "paper": FlowConfig.paper()},
    "training": {"default": TrainingConfig(), "paper": TrainingConfig.paper()},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservationSection:
    """``[observation]``: the spectrum. See `read_observation`.

    Attributes
    ----------
    file : path
        Text or CSV; relative to this file. The run directory gets a copy.
    format : str
        ``"arcis"`` for a file as ARCiS reads it: wavelength, value, error, and perhaps resolution.
    columns : list of str, or table
        What the columns hold: ``"wavelength"``, ``"bin_width"``, ``"values"``, ``"errors"``, or
        ``""`` for one to pass over; or by title, ``{ "Rp/Rs" = "values" }``. Unless given, titles
        say it.
    wavelength_unit : str
        Of wavelengths and bin widths, where the file does not say.
    table : str or int
        Which table of a FITS file.
    name : str
        Of the dataset, for tables and figures.
    unit : str
        Of the values, for figures: the simulator's own. Nothing is converted.
    """

    file: Copied
    format: Literal["table", "arcis"] = "table"
    columns: list[str] | dict[str, str] | None = None
    wavelength_unit: str | None = None
    table: str | int | None = None
    name: str = "spectrum"
    unit: str = ""

    def read(self) -> Observation:
        """Read the spectrum."""
        if self.format == "arcis":
            from floppity_jax.simulators.arcis_input import read_spectrum

            observation, _ = read_spectrum(self.file, self.name, self.unit)
            return observation
        return read_observation(
            self.file, columns=self.columns, name=self.name, unit=self.unit,
            wavelength_unit=self.wavelength_unit, table=self.table,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSection:
    """``[run]``: see `Retrieval` and `Retrieval.run`.

    Attributes
    ----------
    method : str
        ``"truncated"`` draws from the prior cut to where the posterior lives; ``"apt"`` is the
        method of the FlopPITy paper.
    rounds : int
        Number of rounds, at most.
    simulations : int or list of int
        Good spectra of a round; a list has one number for each.
    importance_samples : int
        Further simulations that correct the posterior at the end; 0 leaves it be.
    seed : int
        The same seed gives the same posterior on the same machine.
    stop : str
        ``"converged"`` ends the run early, once two rounds agree.
    reuse : path
        Run directory of another retrieval with the same parameters, simulator and channels: its
        first round is taken over.
    """

    method: Literal["truncated", "apt"] = "truncated"
    rounds: int = 10
    simulations: int | list[int] = 1000
    importance_samples: int = 4000
    seed: int = 0
    stop: Literal["converged"] | None = None
    reuse: RunFolder | None = None

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds, 1, "For example 10.")
        check_whole(
            "importance_samples", self.importance_samples, 0,
            "Give 0 to leave the posterior as the flow has it.",
        )  # fmt: skip
        check_whole("seed", self.seed, 0, "For example 0.")

    def check_against(self, observation: Observation) -> None:
        """Refuse a correction where there is no likelihood."""
        if self.importance_samples and observation.errors is None:
            raise InvalidInput(
                "run.importance_samples", self.importance_samples,
                "must be 0 where the observation has no errors, for there is no likelihood",
                "Give the errors, or importance_samples = 0.",
            )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolSection:
    """``[pool]``: the processes that run a simulator of your own. See `Pool`.

    Attributes
    ----------
    workers : int
        Number of processes; all cores that this job may use unless given.
    timeout : float
        Seconds that a simulation may take; one that takes longer has failed.
    retries : int
        How often a simulation is tried again after its process was lost.
    threads : int
        Threads of BLAS and OpenMP in each process.
    most_failures : float
        Share of the simulations of a round that may fail.
    """

    workers: int | None = None
    timeout: float | None = None
    retries: int = 1
    threads: int = 1
    most_failures: float = 0.5
