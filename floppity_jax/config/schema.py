"""The tables of an input file, but for those of the simulators: a dataclass each.

A key is a field: its annotation says what fits, its docstring what it is for. From these come the
checks of a file, the comments of a new one, and the tables of docs/input_files.md. A further table
is a dataclass here, a name in ``TABLES``, a reader in `floppity_jax.config.tables` and a line in
`floppity_jax.config.reference.all_tables`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from floppity_jax import instrument, priors
from floppity_jax.config.values import Copied, RunFolder
from floppity_jax.errors import InvalidInput, check_whole
from floppity_jax.flows.config import FlowConfig
from floppity_jax.observation import Observation
from floppity_jax.simulators.columns import read_table
from floppity_jax.spectra.read import read_observation
from floppity_jax.training_config import TrainingConfig
from floppity_jax.typing import Float

TABLES = (
    "observation", "observations", "simulator", "parameters", "instrument", "model_grid", "run",
    "pool", "flow", "training",
)  # fmt: skip
NEEDED = ("observation", "simulator", "parameters")
LAWS = {
    law.__name__: law
    for law in (priors.Uniform, priors.LogUniform, priors.Normal, priors.LogNormal,
                priors.TruncatedNormal)
}  # fmt: skip
STEPS = {name: getattr(instrument, name) for name in instrument.__all__ if name != "Instrument"}
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
class ModelGridSection:
    """``[model_grid]``: where the simulator computes spectra. See `Instrument`.

    Attributes
    ----------
    file : path
        Text; its first column has the wavelengths [um], increasing. The run directory gets a copy.
    low, high : float
        Instead of a file: where the grid begins and ends [um].
    R : float
        Wavelength over the distance of neighbours, with low and high.
    """

    file: Copied | None = None
    low: float | None = None
    high: float | None = None
    R: float | None = None

    def __post_init__(self) -> None:
        ends = (self.low, self.high, self.R)
        if (ends != (None, None, None)) if self.file else (None in ends):
            raise InvalidInput(
                "model_grid", self._given(), "must have a file, or else low, high and R",
                "For example low = 0.5, high = 5.5 and R = 3000.",
            )  # fmt: skip
        if self.low is not None and self.high is not None and self.R is not None:
            if not (0 < self.low < self.high and self.R > 0):
                raise InvalidInput(
                    "model_grid", self._given(), "must have 0 < low < high, and R above 0",
                    "The unit of low and high is um.",
                )  # fmt: skip

    def _given(self) -> dict[str, Any]:
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def read(self) -> Float[np.ndarray, " n"]:
        """Return the wavelengths."""
        if self.file is not None:
            return read_table(self.file, [0])[:, 0]
        assert self.low is not None
        assert self.high is not None
        assert self.R is not None
        points = 1 + int(np.ceil(self.R * np.log(self.high / self.low)))
        return np.geomspace(self.low, self.high, max(points, 2))


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
        Run directory of another retrieval with the same parameters, simulator, and channels or
        model grid: its first round is taken over.
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
