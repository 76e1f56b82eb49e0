"""ARCiS input files, by ARCiS's own rules.

A line is ``key=value`` or ``key:subkey=value``. Keys are case-insensitive, and a number at the end
of one is an index. Lines that begin with ``*`` or ``#`` are comments, and those that begin with a
blank are passed over. Values are read as Fortran reads a list: the first item counts.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation
from floppity_jax.simulators.columns import fortran_float

# The types of observation for which ARCiS writes a model, and their units.
UNITS = dict.fromkeys(
    ("trans", "transmission", "transC", "transM", "transE"), "(R_planet/R_star)^2"
) | {
    "emis": "Jy", "emisa": "Jy", "emission": "Jy", "phase": "Jy",
    "emisr": "F_planet/F_star", "emisR": "F_planet/F_star",
    "phaser": "F_planet/F_star", "phaseR": "F_planet/F_star",
}  # fmt: skip

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([ed][+-]?\d+)?(?=[\s,;/]|$)", re.IGNORECASE)
_LOGICAL = re.compile(r"\.?([tf])", re.IGNORECASE)
_SUBKEY = {
    "keyword": "name", "parameter": "name", "min": "low", "xmin": "low", "max": "high",
    "xmax": "high", "log": "log", "logscale": "log", "square": "square", "squarescale": "square",
    "increase": "increase",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A retrieval parameter (``fitpar``), with ARCiS's defaults."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False


class Input(NamedTuple):
    """What an input file says, as far as a simulator needs it.

    Attributes
    ----------
    text : str
        The file.
    parameters : tuple of Parameter
        In the file's order, which is that of the columns of a grid.
    observations : dict of str to (path, str)
        File and type of each, by name: ``obs1``, ``obs2``, ...
    """

    text: str
    parameters: tuple[Parameter, ...]
    observations: dict[str, tuple[pathlib.Path, str]]


class Line(NamedTuple):
    """A line that ARCiS reads: its place, key, index, subkey and what follows the =."""

    place: str
    key: str
    number: int
    subkey: str
    value: str

    def text(self) -> str:
        """Return the value, without quotes."""
        value = self.value.strip()
        if value[:1] not in ("'", '"'):
            return value
        if len(value) < 2 or value[-1] != value[0]:
            raise self.refused("must end with its closing quote", "Put comments on their own line.")
        return value[1:-1].strip()

    def name(self) -> str:
        """Return its first word."""
        return re.split(r"[\s,;/]", self.text())[0]

    def file(self) -> str:
        """Return it as the name of a file."""
        if self.value[:1] == " ":  # ARCiS takes the blank for a part of the name
            raise self.refused("must follow the = at once", "Take the blank out.")
        return self.text()

    def real(self) -> float:
        """Return its first item, a number."""
        found = _NUMBER.match(self.text())
        if found is None:
            raise self.refused("must be a number", "Write it as Fortran does, as in 1d-3.")
        return fortran_float(found.group())

    def logical(self) -> bool:
        """Return whether it is true."""
        found = _LOGICAL.match(self.text())
        if found is None:
            raise self.refused("must be .true. or .false.", "Correct the input file.")
        return found.group(1).lower() == "t"

    def refused(self, rule: str, remedy: str) -> InvalidInput:
        """Return an error that says where the line stands."""
        key = f"{self.key}:{self.subkey}" if self.subkey else self.key
        return InvalidInput(f"{key} ({self.place})", self.value, rule, remedy)


def read_input(path: pathlib.Path) -> Input:
    """Read an ARCiS input file; InvalidInput says what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InvalidInput(
            "input_file", str(path), f"must be readable ({error.strerror})",
            "Check the spelling and folder.",
        ) from None  # fmt: skip
    lines = list(split_lines(text, path.name))
    modes = ("pew", "postequalweights", "opacitymode")
    for line in {line.key: line for line in lines if line.key in modes}.values():  # the last counts
        if line.logical():
            raise line.refused(
                "must be .false.", "With it ARCiS computes no grid of models: take the line out."
            )
    return Input(text, _parameters(lines, path), _observations(lines, path))


def split_lines(text: str, name: str) -> Iterator[Line]:
    """Yield the lines that ARCiS reads of a file's text; ``name`` is that of the file."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line[0] in "*# ":
            continue
        keys, _, value = line.partition("=")
        key, _, subkey = keys.rstrip().lower().partition(":")
        key = key.rstrip()
        stem = key.rstrip("0123456789")
        index = int(key[len(stem) :] or 1) or 1  # no number and 0 both mean 1
        subkey = subkey.rstrip("0123456789") if stem in ("fitpar", "retpar", "obs") else subkey
        yield Line(f"line {number} of {name}", stem, index, subkey, value)


def _parameters(lines: list[Line], path: pathlib.Path) -> tuple[Parameter, ...]:
    found: list[tuple[Line, dict[str, object]]] = []
    for line in lines:
        field = _SUBKEY.get(line.subkey) if line.key in ("fitpar", "retpar") else None
        if field is None:
            continue
        if field == "name":
            found.append((line, {"name": _checked_name(line, [f["name"] for _, f in found])}))
        elif not found:
            raise line.refused(
                "must follow a fitpar:keyword line", "Name the parameter that it belongs to first."
            )
        elif field in ("low", "high"):
            found[-1][1][field] = line.real()
        elif field == "log":
            found[-1][1][field] = line.logical()
        elif line.logical():
            raise line.refused(
                "must be .false., for its law is neither uniform nor log-uniform",
                "Take the line out and give the law in Retrieval(parameters=...).",
            )
    if not found:
        raise InvalidInput(
            "input_file", str(path), "must hold a retrieval parameter",
            'Add lines such as fitpar:keyword="Rp", fitpar:min=0.5d0 and fitpar:max=2d0.',
        )  # fmt: skip
    return tuple(_checked_range(line, Parameter(**fields)) for line, fields in found)  # type: ignore[arg-type]


def _checked_name(line: Line, taken: list[object]) -> str:
    name = line.name()
    if not name or name in taken:
        raise line.refused("must name each parameter once", "Take one of the blocks out.")
    if name == "tprofile":
        raise line.refused(
            "must stand for one parameter, but tprofile stands for all points of a free profile",
            "Give the points one by one, or choose a parametrised profile (par_tprofile=.true.).",
        )
    if re.match(r"model_err|obs\d*:", name, re.IGNORECASE):
        raise line.refused(
            "must change the spectrum, but this one changes how ARCiS compares it with the data",
            "Take its block out.",
        )
    return name


def _checked_range(line: Line, parameter: Parameter) -> Parameter:
    low, high = parameter.low, parameter.high
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise line.refused(
            f"must have min < max, but they are {low:g} and {high:g} (0 and 1 unless given)",
            "Set fitpar:min and fitpar:max below this line.",
        )
    if parameter.log and low <= 0:
        raise line.refused(
            f"must have min above 0 to be logarithmic, but it is {low:g} (0 unless given)",
            "Set fitpar:min below this line, or fitpar:log=.false.",
        )
    return parameter


def _observations(
    lines: list[Line], path: pathlib.Path
) -> dict[str, tuple[pathlib.Path, str]]:  # fmt: skip
    files = {line.number: line for line in lines if line.key == "obs" and line.subkey == "file"}
    types = {line.number: line for line in lines if line.key == "obs" and line.subkey == "type"}
    for index, line in types.items():
        if line.name() not in UNITS:
            raise line.refused(
                f"must be one of {sorted(UNITS)}: ARCiS writes no model spectrum for others",
                "Take this observation out; laws of parameters go to Retrieval(parameters=...).",
            )
        files.setdefault(index, line)
    if not files or sorted(files) != list(range(1, max(files) + 1)):
        raise InvalidInput(
            "input_file", str(path),
            f"must number its observations from 1 without gaps, but has {sorted(files)}",
            'Write lines such as obs1:file="spectrum.dat".',
        )  # fmt: skip
    found = {}
    for index, line in sorted(files.items()):
        file = path.absolute().parent / line.file()
        if line.subkey != "file" or not file.is_file():
            raise line.refused(
                f"must have a file that exists, relative to {path.absolute().parent}",
                f"Correct obs{index}:file.",
            )
        found[f"obs{index}"] = (file, types[index].name() if index in types else "")
    return found


def read_spectrum(path: pathlib.Path, name: str, unit: str) -> tuple[Observation, np.ndarray]:
    """Read an ARCiS observation; also return the order that sorts its rows by wavelength.

    The columns are wavelength [um], value, error and, optionally, resolution and the exponent of
    the bin's shape. Lines that are no numbers are titles, and passed over.
    """
    rows: list[list[float]] = []
    blank = False
    for number, line in enumerate(path.read_text("utf-8", errors="replace").split("\n"), start=1):
        blank |= not line.strip()
        fields = [fortran_float(field) for field in _leading_numbers(line)]
        if fields and len(fields) < 3:
            raise InvalidInput(
                f"line {number} of {path}", line, "must hold wavelength, value and error",
                "Complete it, or put a # before it.",
            )  # fmt: skip
        if fields and blank:
            raise InvalidInput(
                f"line {number} of {path}", line, "must have no blank line above it",
                "ARCiS takes the row above a blank line twice: take blank lines out.",
            )  # fmt: skip
        if fields:
            rows.append([*fields[:4], *[np.nan] * (4 - len(fields))])
    if not rows:
        raise InvalidInput(f"{name}:file", str(path), "holds no numbers", "Is it the right file?")
    table = np.array(rows)
    order = np.argsort(table[:, 0], kind="stable")
    wavelength, values, errors, resolution = table[order].T
    width = None if np.isnan(resolution).any() else wavelength / resolution
    return Observation(values, errors, wavelength, width, name=name, unit=unit), order


def _leading_numbers(line: str) -> Iterator[str]:
    for field in re.split(r"[\s,]+", line.strip()):
        if not _NUMBER.fullmatch(field):
            return
        yield field
