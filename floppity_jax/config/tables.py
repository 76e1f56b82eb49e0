"""The tables of an input file, read one by one.

What a function returns is None where something is wrong with its table: the reader has gathered
that, and the others are read none the less.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

from floppity_jax.config import forward
from floppity_jax.config.reader import Reader
from floppity_jax.config.schema import (
    LAWS,
    NEEDED,
    PRESETS,
    TABLES,
    ObservationSection,
    PoolSection,
    RunSection,
)
from floppity_jax.config.text import dump_key
from floppity_jax.config.values import nearest
from floppity_jax.datasets import join
from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.priors import ParameterSpace, as_prior
from floppity_jax.simulators.base import check_names
from floppity_jax.training_config import TrainingConfig, counts_of_rounds


def read_tables(reader: Reader, content: str) -> dict[str, Any]:
    """Read the tables of the file; a missing one is none, not an empty one."""
    tables = tomllib.loads(content)
    reader.refuse_unknown(tables, TABLES, "input file")
    for needed in NEEDED:
        if needed not in tables and not (needed == "observation" and "observations" in tables):
            reader.problems.append(
                InvalidInput(
                    "input file", sorted(tables), f"must have a [{needed}] table",
                    "Start from the file that floppity-jax init writes.",
                )
            )  # fmt: skip
    return tables


def read_observed(reader: Reader, tables: Mapping[str, Any]) -> Observation | None:
    """Read the observation, file and all; where there are several, join them."""
    if "observations" not in tables:
        return None if "observation" not in tables else _dataset(reader, tables["observation"])
    if "observation" in tables:
        reader.problems.append(
            InvalidInput(
                "input file", sorted(tables), "must have [observation] or [observations.NAME]",
                "Make it one of these: [observations.NAME] for each spectrum.",
            )
        )  # fmt: skip
    if (given := reader.table(tables["observations"], "observations")) is None:
        return None
    before, joint = len(reader.problems), None
    parts = {name: _dataset(reader, table, name) for name, table in given.items()}
    with reader.gathering("observations"):
        if len(reader.problems) == before:
            joint = join(parts)  # type: ignore[arg-type]
    return joint


def _dataset(reader: Reader, table: Any, name: str | None = None) -> Observation | None:
    """Read one spectrum; ``name`` is that of its table."""
    where = "observation" if name is None else f"observations.{dump_key(name)}"
    if name is not None and isinstance(table, Mapping):
        if "name" in table:
            reader.problems.append(
                InvalidInput(
                    f"{where}.name", table["name"], "must not be given: the table has a name",
                    "Take it out, or rename the table.",
                )
            )  # fmt: skip
        table = {**table, "name": name}
    section = reader.section(ObservationSection, table, where)
    observation = None
    if section is not None:
        with reader.gathering(where, ("columns",)):
            observation = section.read()
    return observation


def read_parameters(reader: Reader, tables: Mapping[str, Any]) -> Any:
    """Read the entries of the parameter space."""
    if "parameters" not in tables or reader.table(tables["parameters"], "parameters") is None:
        return None
    before = len(reader.problems)
    entries = {name: _entry(reader, name, given) for name, given in tables["parameters"].items()}
    if len(reader.problems) == before:
        with reader.gathering():
            ParameterSpace(entries)
    return entries if len(reader.problems) == before else None


def _entry(reader: Reader, name: str, given: Any) -> Any:
    """Read one parameter: a law as a table, or what `priors.as_prior` reads."""
    if not isinstance(given, Mapping):
        try:
            return as_prior(name, given)
        except InvalidInput as error:
            reader.problems.append(error)
            return None
    keys, where = dict(given), f"parameters.{name}"
    law = keys.pop("law", None)
    if not isinstance(law, str) or law not in LAWS:
        example = 'For example { law = "Uniform", low = 0.8, high = 1.6 }.'
        near = nearest(law, LAWS) if isinstance(law, str) else example
        reader.problems.append(
            InvalidInput(f"{where}.law", law, f"must be one of {', '.join(LAWS)}", near)
        )
        return None
    return reader.section(LAWS[law], keys, where)


def read_simulator(
    reader: Reader,
    tables: Mapping[str, Any],
    channels: Observation | None,
    nuisances: Collection[str],
) -> Any:
    """Make the simulator, and hold the parameters' names and units against it.

    Parameters
    ----------
    reader, tables
        Of the input file.
    channels
        What it is to compute.
    nuisances
        Parameters that the instrument uses: they are the simulator's too only where it lists them.
    """
    table = tables.get("simulator")
    if table is None or reader.table(table, "simulator") is None:
        return None
    section = None
    with reader.gathering():
        section = reader.section(forward.section_of(table), table, "simulator")
    parameters = tables.get("parameters")
    if section is None or channels is None or not isinstance(parameters, Mapping):
        return None
    simulator = None
    with reader.gathering("simulator", table):
        names = tuple(name for name in parameters if name not in nuisances)
        simulator = section.make(channels, names)
        both = set(nuisances) & set(getattr(simulator, "parameters", ())) & set(parameters)
        check_names(simulator, [*names, *both])
        _check_units(reader, simulator, parameters)
    return simulator


def _check_units(reader: Reader, simulator: Any, parameters: Mapping[str, Any]) -> None:
    """Hold the units of parameters against the simulator's own, where it names them."""
    for name, unit in getattr(simulator, "units", {}).items():
        given = parameters[name].get("unit") if isinstance(parameters.get(name), Mapping) else None
        if isinstance(given, str) and given and _same(given) != _same(unit):
            reader.problems.append(
                InvalidInput(
                    f"parameters.{name}.unit", given, f"must be {unit!r}, as the simulator has it",
                    "Convert the bounds: nothing is converted here.",
                )
            )  # fmt: skip


def _same(unit: str) -> str:
    return unit.replace("_", "").replace(" ", "").casefold()


def read_pool(reader: Reader, tables: Mapping[str, Any]) -> Pool | None:
    """Read the pool."""
    section = reader.section(PoolSection, tables.get("pool", {}), "pool")
    pool = None
    if section is not None:
        with reader.gathering("pool", dataclasses.asdict(section)):
            pool = Pool(**dataclasses.asdict(section))
    return pool


def read_with_preset(reader: Reader, cls: type, tables: Mapping[str, Any], where: str) -> Any:
    """Read a table whose other values are those of a preset."""
    table = tables.get(where, {})
    preset, presets = "default", PRESETS[where]
    if isinstance(table, Mapping):
        table = dict(table)
        preset = table.pop("preset", preset)
    if not isinstance(preset, str) or preset not in presets:
        reader.problems.append(
            InvalidInput(
                f"{where}.preset", preset, f"must be one of {', '.join(presets)}",
                nearest(str(preset), presets),
            )
        )  # fmt: skip
        preset = "default"
    return reader.section(cls, table, where, base=presets[preset])


def read_run(
    reader: Reader,
    tables: Mapping[str, Any],
    observation: Observation | None,
    training: TrainingConfig | None,
) -> Any:
    """Read how to run, and hold it against training and observation."""
    run = reader.section(RunSection, tables.get("run", {}), "run")
    if run is not None and training is not None:
        with reader.gathering("run", ("rounds", "simulations")):
            counts_of_rounds(run.rounds, run.simulations, training)
    if run is not None and observation is not None:
        with reader.gathering():
            run.check_against(observation)
    return run
