"""All keys of an input file: as comments in a new one, and as tables of the documentation."""

from __future__ import annotations

import inspect
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from floppity_jax.config import forward
from floppity_jax.config.keys import Key, described, keys_of
from floppity_jax.config.schema import (
    LAWS,
    PRESETS,
    STEPS,
    ModelGridSection,
    ObservationSection,
    PoolSection,
    RunSection,
)
from floppity_jax.config.text import dump
from floppity_jax.config.values import in_words
from floppity_jax.flows.config import FlowConfig
from floppity_jax.priors import Prior
from floppity_jax.training_config import TrainingConfig

_WIDTH = 96
_INSTRUMENT = """
# What happens to a spectrum after the simulator; each step has a [[instrument]] of its own, or for
# several datasets [[instrument.NAME]]. All steps are in docs/instruments.md. For example:
# [[instrument]]
# step = "ErrorFactor"
# factor = "error_factor"  # a number, or one of the [parameters]
"""
_MODEL_GRID = (
    "Where the simulator computes spectra, if it does not compute the channels. It needs `low`, "
    "`high` and `R`, or a `file`."
)


class Table(NamedTuple):
    """A table of an input file.

    Attributes
    ----------
    name : str
        Its header.
    title : str
        What it is for.
    keys : dict of str to Key
        What it may hold.
    """

    name: str
    title: str
    keys: dict[str, Key]


def all_tables() -> list[Table]:
    """Return every table, that of the simulator once for each forward model."""
    simulators = [
        Table("simulator", f"{_first_line(section)}", keys_of(section))
        for section in (forward.Own, *forward.SIMULATORS.values())
    ]
    laws = [
        Table("parameters", _first_line(law).replace("Return the", "The"), _named("law", name, law))
        for name, law in LAWS.items()
    ]
    steps = [
        Table("[instrument.NAME]", _first_line(step), _named("step", name, step))
        for name, step in STEPS.items()
    ]
    observation = keys_of(ObservationSection)
    several = {key: found for key, found in observation.items() if key != "name"}
    return [
        Table("observation", "The spectrum.", observation),
        Table("observations.NAME", "Instead, where there are several: one of them.", several),
        *simulators,
        *laws,
        *steps,
        Table("model_grid", _MODEL_GRID, keys_of(ModelGridSection)),
        Table("run", "How to run.", keys_of(RunSection)),
        Table("pool", "The processes that run the simulator.", keys_of(PoolSection)),
        Table("flow", _first_line(FlowConfig), _with_preset("flow", FlowConfig)),
        Table("training", _first_line(TrainingConfig), _with_preset("training", TrainingConfig)),
    ]


def markdown() -> str:
    """Return the tables of docs/input_files.md, as they stand there."""
    parts, name = [], ""
    for table in all_tables():
        if table.name != name:
            name = table.name
            parts.append(f"### `[{name}]`")
        rows = ["| key | value | default | |", "|---|---|---|---|"]
        for each, key in table.keys.items():
            default = "must be given" if key.required else _default(key)
            cells = (f"`{each}`", in_words(key.hint), default, key.text.replace("``", "`"))
            rows.append(f"| {' | '.join(cells)} |")
        parts += [table.title.replace("``", "`"), "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def complete(content: str) -> str:
    """Return an input file with the keys that it does not have as comments, under their tables."""
    given = tomllib.loads(content)
    simulator = keys_of(forward.section_of(given["simulator"]))
    tables = {table.name: table for table in all_tables()}
    names = [name for name in ("observation", "run", "pool", "flow", "training")
             if name != "observation" or "observations" not in given]  # fmt: skip
    lines = content.rstrip().splitlines()
    for table in [*map(tables.__getitem__, names), Table("simulator", "", simulator)]:
        keys = {k: key for k, key in table.keys.items() if k not in given.get(table.name, {})}
        if table.name not in given:
            lines += ["", f"[{table.name}]  # {table.title}"]
        at = _end_of(lines, table.name)
        lines[at:at] = list(_comments(keys))
    return "\n".join(lines) + "\n" + ("" if "instrument" in given else _INSTRUMENT)


def _end_of(lines: list[str], name: str) -> int:
    """Return the number of the line after the last key of a table."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"[{name}]"))
    at = start + 1
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if line.startswith("["):
            break
        if line.strip() and not line.startswith("#"):
            at = number
    return at


def _comments(keys: dict[str, Key]) -> Iterator[str]:
    """Yield lines that say what each key is for, and one to take the # off."""
    for name, key in keys.items():
        yield from textwrap.wrap(
            key.text.replace("``", ""), _WIDTH, initial_indent="# ", subsequent_indent="# ",
            break_on_hyphens=False,
        )  # fmt: skip
        default = f"<{in_words(key.hint)}>" if key.required or key.default is None else None
        yield f"#{name} = {default or dump(key.default)}"


def _with_preset(name: str, config: Any) -> dict[str, Key]:
    choices: Any = Literal[tuple(PRESETS[name])]
    text = "Settings that hold for the keys which are not given."
    return {"preset": Key(choices, "default", text), **keys_of(config)}


def _named(key: str, name: str, make: Callable[..., Any]) -> dict[str, Key]:
    """Return the keys of a law or a step, with the one that says which it is."""
    choice: Any = Literal[name]
    texts = described(Prior)
    keys = {k: found if found.text else found._replace(text=texts.get(k, ""))
            for k, found in keys_of(make).items()}  # fmt: skip
    return {key: Key(choice, inspect.Parameter.empty, f"Which {key}."), **keys}


def _default(key: Key) -> str:
    return "" if key.default is None or key.default == "" else f"`{dump(key.default)}`"


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]
