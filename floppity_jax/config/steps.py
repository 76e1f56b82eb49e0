"""``[[instrument.NAME]]`` and ``[model_grid]``: what happens to a spectrum after the simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from floppity_jax.channels import edges_of
from floppity_jax.config.programs import MODEL_GRID
from floppity_jax.config.reader import Reader
from floppity_jax.config.schema import STEPS, ModelGridSection
from floppity_jax.config.text import dump_key
from floppity_jax.config.values import nearest
from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.model import Instrument
from floppity_jax.instrument.prepared import ALL, acts_on_grid
from floppity_jax.measurement import Measurement
from floppity_jax.observation import Observation
from floppity_jax.priors import ParameterSpace
from floppity_jax.typing import Float

Steps = dict[str, tuple[str, Any]]  # by their places in the file: for which dataset, and the step


def read_grid(reader: Reader, tables: Mapping[str, Any]) -> Float[np.ndarray, " n"] | None:
    """Read the grid of the model: None where there is none, too."""
    if "model_grid" not in tables:
        return None
    section = reader.section(ModelGridSection, tables["model_grid"], "model_grid")
    grid = None
    if section is not None:
        with reader.gathering("model_grid", ("file",)):
            grid = section.read()
            Instrument(grid=grid)
    return grid


def cells_of(grid: Float[np.ndarray, " n"]) -> Observation:
    """Return the cells of a grid as channels: for simulators that average over channels.

    The instrument takes a spectrum to be even over these very cells (`binning`), so that the mean
    over them is what it should be given.
    """
    edges = edges_of(grid)
    return Observation(
        np.zeros(len(grid)), None, (edges[1:] + edges[:-1]) / 2, np.diff(edges), name=MODEL_GRID
    )


def nuisances(tables: Mapping[str, Any]) -> set[str]:
    """Return the names that steps are given for their quantities, be the steps right or wrong."""
    return {
        value
        for steps in _by_name(tables).values()
        for step in (steps if isinstance(steps, list) else [steps])
        for key, value in (step.items() if isinstance(step, Mapping) else ())
        if isinstance(value, str) and key not in ("step", "kernel")
    }


def read_steps(
    reader: Reader,
    tables: Mapping[str, Any],
    observation: Observation | None,
    grid: Float[np.ndarray, " n"] | None,
) -> Steps:
    """Read the steps, each for itself; return those that are sound."""
    by_name = _by_name(tables)
    names = list(by_name)
    if observation is not None:
        names = [*(part.name for part in observation.parts), ALL]
        reader.refuse_unknown(by_name, names, "instrument")
    return {
        place: (name, step)
        for name, given in by_name.items()
        for place, step in _steps(reader, tables, name, given)
        if name in names and step and not (grid is None and acts_on_grid(step))
    }


def instrument_of(steps: Steps, grid: Float[np.ndarray, " n"] | None) -> Instrument:
    """Put steps together."""
    by_name: dict[str, list[Any]] = {}
    for name, step in steps.values():
        by_name.setdefault(name, []).append(step)
    return Instrument(by_name, grid=grid)


def check_steps(
    reader: Reader,
    steps: Steps,
    grid: Float[np.ndarray, " n"] | None,
    observation: Observation | None,
    parameters: Mapping[str, Any] | None,
) -> None:
    """Hold each step against priors and data, where these could be read."""
    if observation is None or parameters is None:
        return
    space, before = ParameterSpace(parameters), len(reader.problems)
    with reader.gathering(MODEL_GRID):
        Measurement(observation, space, Instrument(grid=grid))
    if len(reader.problems) > before:
        return  # no step would do any better
    for place, (name, step) in steps.items():
        with reader.gathering(place):
            Measurement(observation, space, Instrument({name: [step]}, grid=grid))


def _by_name(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lists of steps by dataset; a single list is for all."""
    given = tables.get("instrument", {})
    one = not isinstance(given, dict) or isinstance(given.get("step"), str)
    return {ALL: given} if one else given


def _steps(
    reader: Reader, tables: Mapping[str, Any], name: str, given: Any
) -> Iterator[tuple[str, Any]]:
    """Yield place and step of a dataset: None for one that is wrong."""
    if not isinstance(given, list):
        reader.problems.append(
            InvalidInput(
                _place(name), given, "must be a list of steps",
                f'For each write [[{_place(name)}]], then step = "Offset" and its keys.',
            )
        )  # fmt: skip
        return
    for number, table in enumerate(given, start=1):
        place = _place(name, number)
        yield place, _step(reader, tables, place, table)


def _step(reader: Reader, tables: Mapping[str, Any], where: str, table: Any) -> Any:
    before = len(reader.problems)
    if reader.table(table, where) is None:
        return None
    keys = dict(table)
    kind = keys.pop("step", None)
    if not isinstance(kind, str) or kind not in STEPS:
        remedy = nearest(kind if isinstance(kind, str) else "", STEPS)
        reader.problems.append(
            InvalidInput(f"{where}.step", kind, "must be the name of a step", remedy)
        )
        return None
    step = reader.section(STEPS[kind], keys, where)
    if step is None:
        return None
    parameters = tables.get("parameters")
    known = parameters if isinstance(parameters, Mapping) else step.names  # told of elsewhere
    for name in step.names:
        if name not in known:
            reader.problems.append(
                InvalidInput(
                    f"{where}: {kind}", name, "must be a number or one of the [parameters]",
                    nearest(name, known),
                )
            )  # fmt: skip
    if acts_on_grid(step) and "model_grid" not in tables:
        reader.problems.append(
            InvalidInput(
                f"{where}.step", kind, "acts on the grid of the model, so there must be one",
                "Add a [model_grid] table, and let the simulator return the spectrum there.",
            )
        )  # fmt: skip
    return step if len(reader.problems) == before else None


def _place(name: str, number: int | None = None) -> str:
    """Say which list of steps, or which step in it, counted from 1."""
    place = "instrument" if name == ALL else f"instrument.{dump_key(name)}"
    return place if number is None else f"{place}[{number}]"
