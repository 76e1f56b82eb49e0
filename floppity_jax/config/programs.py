"""``[simulator]``: the forward models that are programs of their own."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from floppity_jax import simulators
from floppity_jax.config.values import Function, Program
from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation

Names = tuple[str, ...]
Simulator = Callable[..., Any]
MODEL_GRID = "model_grid"  # name of an observation whose channels are the cells of the model's grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class ARCiS:
    """ARCiS, on the input file of an ARCiS retrieval.

    Attributes
    ----------
    name : str
        Which forward model.
    input_file : path
        Its ``fitpar`` blocks are the parameters, each of which needs an entry in ``[parameters]``.
    executable : str
        On PATH, or a path.
    batch : int
        Models of an ARCiS run, for which it reads its opacities once.
    threads : int
        OpenMP threads of each run.
    proof : str
        File that ARCiS writes for a model only where it succeeded; empty to trust every spectrum.
    environment : table
        Environment variables.
    scratch : path
        Folder for scratch files; the system's temporary folder unless given.
    timeout : float
        Seconds that a model may take; below that of the pool, if that has one.
    """

    name: Literal["ARCiS"]
    input_file: pathlib.Path
    executable: Program = "ARCiS"
    batch: int = 1
    threads: int = 1
    proof: str = "mixingratios.dat"
    environment: dict[str, str] | None = None
    scratch: pathlib.Path | None = None
    timeout: float | None = None

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the adapter; its datasets and channels must be those of the observation."""
        if observation.name == MODEL_GRID:
            raise InvalidInput(
                MODEL_GRID, observation.n_channels,
                "must not be given with ARCiS, which computes the channels of its observations",
                "Leave it out, and the steps that act on it.",
            )  # fmt: skip
        adapter = simulators.ARCiS(**_settings(self, proof=self.proof or None))
        known = adapter.observations()
        several = len(known) > 1 or len(observation.parts) > 1
        for part in observation.parts:
            name = part.name if several else "obs1"
            if name not in known:
                raise InvalidInput(
                    "name of the dataset", name,
                    f"must be one of {sorted(known)}, as ARCiS has them",
                    "Give it that, as [observations.NAME] or by the key name of [observation].",
                )  # fmt: skip
            if not _same_channels(part.wavelength, known[name].wavelength):
                raise InvalidInput(
                    f"file of dataset {part.name!r}", part.n_channels,
                    f"must have the channels of {name} in {self.input_file.name}",
                    f'Name the file of {name} there, and give format = "arcis".',
                )  # fmt: skip
        return adapter


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandSimulator:
    """Any executable: input files from templates, the spectrum from a column of its output.

    Attributes
    ----------
    name : str
        Which forward model.
    program : str
        On PATH, or a path.
    arguments : list of str
        Of the program. Placeholders ``$name`` are filled in here too.
    inputs : table
        From the name of an input file to the file that is its template.
    files : list of path
        What the program needs in its folder beside them, by link.
    copy : bool
        Whether these are copied, for a program that changes them.
    output : str, or table
        File, in the program's folder, that holds the spectrum; several datasets one after the
        other, or in a file each: ``{ niriss = "niriss.txt", nirspec = "nirspec.txt" }``.
    column : int
        Of the output; the first is 0.
    read : function
        ``"module:function"`` of the program's folder that returns the spectrum, instead of output
        and column.
    number_format : str
        Of the numbers that are filled in.
    environment : table
        Environment variables.
    scratch : path
        Folder for scratch files; the system's temporary folder unless given.
    timeout : float
        Seconds that a run may take; below that of the pool, if that has one.
    """

    name: Literal["CommandSimulator"]
    program: Program
    arguments: list[str] | None = None
    inputs: dict[str, pathlib.Path] | None = None
    files: list[pathlib.Path] | None = None
    copy: bool = False
    output: str | dict[str, str] | None = None
    column: int = 1
    read: Function | None = None
    number_format: str = ".17g"
    environment: dict[str, str] | None = None
    scratch: pathlib.Path | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if (self.output is None) == (self.read is None):
            raise InvalidInput(
                "output", self.output, "must be given, or read, and not both",
                "Name the file that the program writes its spectrum to.",
            )  # fmt: skip

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the adapter."""
        read = self.read or self._reader(observation)
        own = ("program", "arguments", "output", "column")
        settings = {k: v for k, v in _settings(self, read=read).items() if k not in own}
        settings["files"] = self.files or ()
        return simulators.CommandSimulator([self.program, *(self.arguments or ())], **settings)

    def _reader(self, observation: Observation) -> Callable[[pathlib.Path], Any]:
        if not isinstance(self.output, dict):
            return simulators.read_column(
                self.output or "", self.column, channels=observation.n_channels
            )
        sizes = dict(zip(*observation.output, strict=True))
        if set(self.output) != set(sizes):
            raise InvalidInput(
                "output", self.output, f"must name a file for each of {list(sizes)}",
                "Or one file for all.",
            )  # fmt: skip
        return simulators.read_columns(self.output, self.column, channels=sizes)


def _same_channels(ours: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return False
    return np.allclose(ours, theirs, rtol=1e-4, atol=0)


def _settings(section: Any, **others: Any) -> dict[str, Any]:
    """Return the values of a section, but its name, ready for the adapter."""
    values = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
    return {key: value for key, value in {**values, **others}.items() if key != "name"}
