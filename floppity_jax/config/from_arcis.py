"""Converts an ARCiS input file to one of ours."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator

from floppity_jax.config.text import dump, dump_key
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.arcis_input import UNITS, Input, Line, read_input, split_lines

_OURS = ("", "keyword", "parameter", "min", "xmin", "max", "xmax", "log", "logscale")
_BLOCKS = ("fitpar", "retpar")


def from_arcis(source: pathlib.Path, folder: pathlib.Path) -> str:
    """Convert an ARCiS input file.

    ARCiS goes on reading its own file: what that sets but the retrieval does not vary stays there.

    Parameters
    ----------
    source
        The ARCiS input file.
    folder
        Where the converted file is to be; paths in it are relative to that.

    Returns
    -------
    str
        Tables of the observations, the simulator and the parameters; what ARCiS keeps, and what has
        no counterpart, are comments.

    Raises
    ------
    InvalidInput
        Where the file cannot be read, or asks for what has no counterpart at all.
    """
    given = read_input(source)
    lines = list(split_lines(given.text, source.name))
    return "\n".join(
        [
            f"# Converted from {source.name}, which ARCiS goes on reading: leave it where it is.",
            *_observations(given, folder),
            "",
            "[simulator]",
            'name = "ARCiS"',
            f"input_file = {dump(_relative(source, folder))}",
            "",
            "# Values, not logarithms. The priors are those given here: change them as you like.",
            "[parameters]",
            *_priors(given),
            *_listed(_fixed(lines), "Fixed, by that file. To vary one, give it a fitpar block "
                     "there and a prior here"),
            *_listed(_passed_over(lines), "Not converted, for the likelihood and the sampling are "
                     "not ARCiS's here"),
        ]
    )  # fmt: skip


def _observations(given: Input, folder: pathlib.Path) -> Iterator[str]:
    """Yield the table of each observation."""
    several = len(given.observations) > 1
    for name, (path, kind) in given.observations.items():
        yield ""
        yield f"[observations.{name}]" if several else "[observation]"
        yield f"file = {dump(_relative(path, folder))}"
        yield 'format = "arcis"'
        if not several:
            yield f"name = {dump(name)}"
        yield f"unit = {dump(UNITS.get(kind, ''))}"


def _priors(given: Input) -> Iterator[str]:
    for parameter in given.parameters:
        law = "LogUniform" if parameter.log else "Uniform"
        prior = {"law": law, "low": parameter.low, "high": parameter.high}
        yield f"{dump_key(parameter.name)} = {dump(prior)}"


def _fixed(lines: Iterable[Line]) -> list[str]:
    """Return the lines that set numbers, each key as it is last."""
    found = {}
    for line in lines:
        if line.key not in (*_BLOCKS, "obs"):
            try:
                line.real()
            except InvalidInput:
                continue
            found[_key(line)] = _shown(line)
    return list(found.values())


def _passed_over(lines: Iterable[Line]) -> list[str]:
    """Return the lines of blocks and observations that have no counterpart."""
    block, found = "", []
    for line in lines:
        if line.key in _BLOCKS and line.subkey in ("keyword", "parameter"):
            block = f" of {line.name()}"
        if line.key in _BLOCKS and line.subkey not in _OURS:
            found.append(_shown(line) + block)
        if line.key == "obs" and line.subkey not in ("file", "type"):
            found.append(_shown(line))
    return found


def _listed(lines: list[str], title: str) -> list[str]:
    return [f"# {title}:", *(f"#   {line}" for line in lines)] if lines else []


def _key(line: Line) -> str:
    number = str(line.number) if line.key == "obs" or line.number > 1 else ""
    return f"{line.key}{number}" + (f":{line.subkey}" if line.subkey else "")


def _shown(line: Line) -> str:
    return f"{_key(line)}={line.value.strip()}"


def _relative(path: pathlib.Path, folder: pathlib.Path) -> str:
    return os.path.relpath(path, folder)
