"""Input files: TOML, checked whole before anything runs."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pathlib
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from floppity_jax import priors, simulators
from floppity_jax.errors import InvalidInput
from floppity_jax.flows.config import FlowConfig
from floppity_jax.observation import Observation
from floppity_jax.pool import Pool
from floppity_jax.retrieval import Retrieval
from floppity_jax.spectra.read import read_observation
from floppity_jax.training_config import TrainingConfig

_Section = TypeVar("_Section")
LAWS = ("Uniform", "LogUniform", "Normal", "LogNormal", "TruncatedNormal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservationSection:
    """``[observation]``: the spectrum. See `read_observation`."""

    file: str
    columns: list[str] | dict[str, str] | None = None
    name: str = "spectrum"
    unit: str = ""
    wavelength_unit: str | None = None
    table: str | int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatorSection:
    """``[simulator]``: the forward model.

    ``name`` is ``"IsothermalTransmission"``, with the radius of the star [R_sun], or
    ``"module:function"`` for one of your own, looked for beside the input file first.
    """

    name: str
    star_radius: float | None = None
    cloud: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolSection:
    """``[pool]``: the processes that run a simulator of your own. See `Pool`."""

    workers: int | None = None
    timeout: float | None = None
    retries: int = 1
    threads: int | None = 1
    most_failures: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSection:
    """``[run]``: see `Retrieval` and `Retrieval.run`.

    ``importance_samples`` simulator calls correct the posterior at the end; 0 leaves it be.
    """

    method: str = "truncated"
    rounds: int = 10
    simulations: int | list[int] = 1000
    importance_samples: int = 4000
    seed: int = 0
    stop: str | None = None


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
        The file as it was read.
    files : tuple of pathlib.Path
        What it refers to: the observation, and the simulator's module where it lies beside.
    """

    retrieval: Retrieval
    run: RunSection
    text: str
    files: tuple[pathlib.Path, ...]


def load(path: str | pathlib.Path) -> Setup:
    """Read an input file.

    Raises
    ------
    InvalidInput
        Where the file is missing or is not TOML, a key is unknown or missing, or a value breaks a
        rule.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InvalidInput("input file", str(path), "must be a file", "Check the spelling.")
    text = path.read_text()
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(
            "input file", str(path), f"must be TOML ({error})", "Mend that line."
        ) from None
    sections = ("observation", "simulator", "parameters", "run", "pool", "flow", "training")
    _refuse_unknown(tables, sections, "input file")
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise InvalidInput(name, table, "must be a table", f"Write [{name}], then its keys.")
    for needed in ("observation", "simulator", "parameters"):
        if needed not in tables:
            raise InvalidInput(
                "input file", str(path), f"must have a [{needed}] table",
                "Start from the file that floppity-jax demo uses; it is in the run directory.",
            )  # fmt: skip
    observed = _read(ObservationSection, tables["observation"], "observation")
    run = _read(RunSection, tables.get("run", {}), "run")
    if run.importance_samples < 0:
        raise InvalidInput(
            "run.importance_samples", run.importance_samples, "must not be negative",
            "Give 0 to leave the posterior as the flow has it.",
        )  # fmt: skip
    if run.stop not in ("converged", None):
        raise InvalidInput("run.stop", run.stop, 'must be "converged"', "Or leave it out.")
    data = path.parent / observed.file
    if not data.is_file() and (path.parent / data.name).is_file():
        data = path.parent / data.name  # the copy that a run directory holds
    arguments = dataclasses.asdict(observed)
    del arguments["file"]
    observation = read_observation(data, **arguments)
    forward = _read(SimulatorSection, tables["simulator"], "simulator")
    retrieval = Retrieval(
        _simulator(forward, observation, path),
        {name: _prior(name, given) for name, given in tables["parameters"].items()},
        observation,
        flow=_read(FlowConfig, tables.get("flow", {}), "flow"),
        training=_read(TrainingConfig, tables.get("training", {}), "training"),
        method=typing.cast(Any, run.method),
        pool=Pool(**dataclasses.asdict(_read(PoolSection, tables.get("pool", {}), "pool"))),
    )
    module = path.parent / f"{forward.name.partition(':')[0]}.py"
    files = (data, module) if module.is_file() else (data,)
    return Setup(retrieval=retrieval, run=run, text=text, files=files)


def _simulator(
    section: SimulatorSection, observation: Observation, path: pathlib.Path
) -> Callable[..., Any]:
    module, colon, name = section.name.partition(":")
    if colon:
        # For good: the workers of a pool take the search path over, and import the module too.
        sys.path.insert(0, str(path.parent.resolve()))
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InvalidInput(
                "simulator.name", section.name, f'must name "module:function" ({error})',
                f"Put {module}.py beside {path.name}, or install it in this environment.",
            ) from None  # fmt: skip
    if section.name != "IsothermalTransmission":
        raise InvalidInput(
            "simulator.name", section.name,
            'must be "IsothermalTransmission" or "module:function"',
            'For a function spectrum in my_model.py, write "my_model:spectrum".',
        )  # fmt: skip
    if section.star_radius is None:
        raise InvalidInput(
            "simulator.star_radius", None, "must be given for IsothermalTransmission",
            "Give the radius of the star in solar radii.",
        )  # fmt: skip
    return simulators.IsothermalTransmission.for_observation(
        observation, star_radius=section.star_radius, cloud=section.cloud
    )


def _prior(name: str, given: Any) -> Any:
    """One entry of ``[parameters]``: a law as a table, or what `priors.as_prior` reads."""
    if not isinstance(given, Mapping):
        return given
    arguments = dict(given)
    law = arguments.pop("law", None)
    if law not in LAWS:
        raise InvalidInput(
            f"parameters.{name}.law", law, f"must be one of {LAWS}",
            'For example { law = "Uniform", low = 0.8, high = 1.6 }.',
        )  # fmt: skip
    try:
        return getattr(priors, law)(**arguments)
    except TypeError as error:
        raise InvalidInput(
            f"parameters.{name}", dict(given), f"must fit the law ({error})",
            f"See help(floppity_jax.{law}).",
        ) from None  # fmt: skip


def _read(cls: type[_Section], table: Mapping[str, Any], where: str) -> _Section:
    """Fill a section from its table: no unknown keys, none missing, each of its type."""
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    _refuse_unknown(table, fields, where)
    hints = typing.get_type_hints(cls)
    for name, field in fields.items():
        if name not in table:
            if field.default is dataclasses.MISSING:
                raise InvalidInput(
                    where, dict(table), f"must have the key {name!r}", f"Add it under [{where}]."
                )
        elif not _fits(table[name], hints[name]):
            raise InvalidInput(
                f"{where}.{name}", table[name], f"must be of type {field.type}", "Mend the value."
            )
    return cls(**table)


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a TOML value is of an annotated type; whole numbers pass as float."""
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        (item,) = typing.get_args(hint)
        return isinstance(value, list) and all(_fits(v, item) for v in value)
    if typing.get_origin(hint) is dict:
        _, item = typing.get_args(hint)  # keys of TOML are text
        return isinstance(value, dict) and all(_fits(v, item) for v in value.values())
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _refuse_unknown(table: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise InvalidInput(f"{where}: key", key, "is not known", f"Did you mean {near[0]!r}?")
