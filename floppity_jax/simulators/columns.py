"""Numbers in columns of text, as Fortran programs write them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float  # not by way of floppity_jax.typing, which loads JAX

from floppity_jax.errors import InvalidInput, SimulatorError, require_positive


@dataclasses.dataclass(frozen=True)
class ColumnReader:
    """Reads one column of a text file; made by `read_column`."""

    file: str
    column: int
    channels: int | None

    def __call__(self, folder: pathlib.Path) -> Float[np.ndarray, " channels"]:
        """Read the column from the file in ``folder``."""
        values = read_table(folder / self.file, [self.column])[:, 0]
        if self.channels is not None and len(values) != self.channels:
            raise SimulatorError(f"{self.file} holds {len(values)} rows; expected {self.channels}")
        return values


def read_column(file: str, column: int, *, channels: int | None = None) -> ColumnReader:
    """Make a reader of one column of a text file with columns apart by blanks.

    Blank lines and what follows a ``#`` or ``!`` are passed over; Fortran's exponents (``1D-3``)
    are numbers.

    Parameters
    ----------
    file
        Name of the file, relative to the working folder.
    column
        Counted from 0; from the last backwards where negative.
    channels
        Number of rows that the file must hold. A file that breaks off is then the failure of one
        simulation; without this, a spectrum of the wrong length ends the retrieval.

    Raises
    ------
    InvalidInput
        Where ``column`` is not a whole number or ``channels`` is not above 0.
    """
    if isinstance(column, bool) or not isinstance(column, int):
        raise InvalidInput("column", column, "must be a whole number", "The first column is 0.")
    if channels is not None:
        require_positive("read_column", {"channels": channels})
    return ColumnReader(file, column, channels)


@dataclasses.dataclass(frozen=True)
class ColumnsReader:
    """Reads the same column of several files; made by `read_columns`."""

    readers: Mapping[str, ColumnReader]

    def __call__(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        """Read the columns from the files in ``folder``."""
        return {name: read(folder) for name, read in self.readers.items()}


def read_columns(
    files: Mapping[str, str], column: int, *, channels: Mapping[str, int] | None = None
) -> ColumnsReader:
    """Make a reader of several datasets, each from a file of its own: `read_column` for each.

    Parameters
    ----------
    files
        From the name of a dataset to that of its file, relative to the working folder.
    column
        Counted from 0, in all of them.
    channels
        Number of rows of each, by the name of the dataset.

    Raises
    ------
    InvalidInput
        As `read_column`.
    """
    counts = channels or {}
    return ColumnsReader(
        {name: read_column(f, column, channels=counts.get(name)) for name, f in files.items()}
    )


def read_table(path: pathlib.Path, columns: Sequence[int]) -> Float[np.ndarray, "rows columns"]:
    """Read some columns of a text file, as `read_column` does; SimulatorError where it cannot."""
    rows = []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split("#")[0].split("!")[0].split()
            if not fields:
                continue
            try:
                rows.append([fortran_float(fields[column]) for column in columns])
            except (IndexError, ValueError):
                raise SimulatorError(
                    f"line {number} of {path.name}, {line.strip()[:80]!r}, lacks a number in one "
                    f"of the columns {list(columns)} (the first is 0)"
                ) from None
    if not rows:
        raise SimulatorError(f"{path.name} holds no numbers")
    return np.array(rows)


def fortran_float(text: str) -> float:
    """Read a number that may have Fortran's exponent, as in ``1.5d-3``."""
    return float(text.lower().replace("d", "e"))
