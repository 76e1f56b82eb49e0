"""From an input file to a retrieval that is ready to run."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import tomllib
from collections.abc import Mapping
from typing import Any

from floppity_jax.config import steps, tables, text
from floppity_jax.config.reader import CONFIG, Reader
from floppity_jax.config.schema import RunSection
from floppity_jax.errors import FloppityError, InvalidFile, InvalidInput, RunDirectoryError
from floppity_jax.flows.config import FlowConfig
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulations import prior_simulations
from floppity_jax.training_config import TrainingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """An input file, read and checked.

    Attributes
    ----------
    retrieval : Retrieval
        Ready to run.
    run : RunSection
        How to run it.
    text : str
        The file as the run directory has it: with what was set from outside, and with paths that
        hold there.
    copies : mapping of pathlib.Path to str
        Files that the run directory has a copy of (the spectrum, and modules that lie beside the
        input file), and their names there.
    """

    retrieval: Retrieval
    run: RunSection
    text: str
    copies: Mapping[pathlib.Path, str]

    def keep(self, directory: pathlib.Path) -> None:
        """Write the file, and copy what it needs: the run can be resumed without the originals."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / CONFIG).write_text(self.text)
        for original, name in self.copies.items():
            if original != (directory / name).resolve():
                shutil.copyfile(original, directory / name)


def load(
    path: str | pathlib.Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    resuming: bool = False,
) -> Setup:
    """Read an input file.

    Parameters
    ----------
    path
        The file.
    overrides
        Values to set, by dotted key, as in ``{"run.rounds": 5}``.
    resuming
        The run directory to reuse is not asked for: what the run took over, it has.

    Raises
    ------
    InvalidFile
        With all that is wrong: where the file is missing or is not TOML, a key is unknown or
        missing, a value breaks a rule, a file is not there, or a simulator cannot be imported.
    """
    path = pathlib.Path(path)
    reader = Reader(path.parent)
    content = _content(path, overrides or {})
    setup = None
    with reader.gathering():
        setup = _setup(reader, content, resuming=resuming)
    if setup is None:
        raise InvalidFile(str(path), reader.problems)
    return setup


def _content(path: pathlib.Path, overrides: Mapping[str, Any]) -> str:
    """Read the text, with what is set from outside."""
    try:
        if not path.is_file():
            raise InvalidInput("input file", str(path), "must be a file", "Check the spelling.")
        try:
            content = path.read_text(encoding="utf-8")
            tomllib.loads(content)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(
                "input file", str(path), f"must be TOML ({error})", "Mend that line."
            ) from None
        for key, value in overrides.items():
            content = text.set_key(content, text.read_key(key), value)
    except InvalidInput as error:
        raise InvalidFile(str(path), [error]) from None
    return content


def _setup(reader: Reader, content: str, *, resuming: bool) -> Setup | None:
    """Read all tables; None where there are problems."""
    given = tables.read_tables(reader, content)
    observation = tables.read_observed(reader, given)
    parameters = tables.read_parameters(reader, given)
    grid = steps.read_grid(reader, given)
    found = steps.read_steps(reader, given, observation, grid)
    channels = observation
    if "model_grid" in given:
        channels = None if grid is None else steps.cells_of(grid)
    simulator = tables.read_simulator(reader, given, channels, steps.nuisances(given))
    pool = tables.read_pool(reader, given)
    flow = tables.read_with_preset(reader, FlowConfig, given, "flow")
    training = tables.read_with_preset(reader, TrainingConfig, given, "training")
    run = tables.read_run(reader, given, observation, training)
    if reader.problems:
        steps.check_steps(reader, found, grid, observation, parameters)
        return None
    assert observation is not None  # or there were problems
    try:
        retrieval = Retrieval(
            simulator, parameters, observation, instrument=steps.instrument_of(found, grid),
            flow=flow, training=training, method=run.method, pool=pool,
        )  # fmt: skip
    except FloppityError:
        steps.check_steps(reader, found, grid, observation, parameters)
        if not reader.problems:
            raise
        return None
    if run.reuse is not None and not resuming:
        _check_reuse(retrieval, run)
    for keys, value in reader.kept.items():
        content = text.set_key(content, keys, value)
    return Setup(retrieval=retrieval, run=run, text=content, copies=reader.copies)


def _check_reuse(retrieval: Retrieval, run: RunSection) -> None:
    """See that the run to take over is one of the same problem."""
    description = retrieval.describe(retrieval.counts(run.rounds, run.simulations), run.seed)
    try:
        prior_simulations(str(run.reuse), description)
    except RunDirectoryError as error:
        raise InvalidInput(
            "run.reuse", str(run.reuse), f"must be a run whose first round fits ({error})",
            "Name another, or leave it out.",
        ) from None  # fmt: skip
