"""What every format is read into: columns with a title, a unit and cells."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from floppity_jax.errors import InvalidInput

_MISSING = {"", "-", "--", "---", "...", "null", "none", "na", "n/a", "masked"}


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One column.

    Attributes
    ----------
    title : str
        As the file has it, without the unit; empty where it has none.
    unit : str
        As the file has it; empty where it tells none.
    cells : sequence
        Numbers or text, one a row.
    """

    title: str
    unit: str
    cells: Sequence[object]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The columns of a file, and where each row stands in it (``line 7``), for messages.

    ``titled`` tells whether the titles are to be gone by; ``unsplit`` is a line of titles that are
    not as many as the columns.
    """

    source: str
    columns: tuple[Column, ...]
    places: Sequence[str]
    titled: bool = True
    unsplit: str = ""

    def numbers(self, column: Column) -> np.ndarray:
        """Return a column as numbers, missing ones as NaN; InvalidInput where a cell is none."""
        found = [number(cell) for cell in column.cells]
        for row, value in enumerate(found):
            if value is None:
                raise InvalidInput(
                    f"{self.places[row]} of {self.source}",
                    " ".join(str(other.cells[row]) for other in self.columns),
                    f"must hold a number under {column.title}" if self.titled
                    else "must hold numbers only",
                    "Put a # before lines that are not data.",
                )  # fmt: skip
        return np.array(found, dtype=np.float64)


def number(cell: object) -> float | None:
    """Return a cell as a number, NaN where it stands for a missing one, None where it is text."""
    if not isinstance(cell, str):
        return float(cell)  # type: ignore[arg-type]
    if cell.strip().lower() in _MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None
