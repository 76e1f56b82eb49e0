"""What every reader needs: a table of numbers from a text file, and names for its columns."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.typing import Float

# Fortran leaves out the E of an exponent of three digits: 0.5-101.
_WITHOUT_E = re.compile(r"(?<=\d)([+-]\d{3})(?!\S)")


def refuse(path: object, rule: str, remedy: str) -> InvalidInput:
    """Return the error of a run that cannot be read."""
    shown = str(path) if isinstance(path, pathlib.Path) else type(path)
    return InvalidInput("path_or_object", shown, rule, remedy)


def read_table(path: pathlib.Path, *, header: int = 0) -> Float[np.ndarray, "n k"]:
    """Read the numbers of a text file, one row a line.

    Parameters
    ----------
    path
        The file; blank lines are passed over.
    header
        Lines at its head that hold no numbers.

    Returns
    -------
    array (n, k)

    Raises
    ------
    InvalidInput
        For a file without rows, with rows of unequal length, or with something else than numbers.
    """
    remedy = "It is empty, cut short or still being written; copy the whole run again."
    lines = [line for line in path.read_text().splitlines()[header:] if line.strip()]
    try:
        rows = [[float(x) for x in _WITHOUT_E.sub(r"E\1", line).split()] for line in lines]
    except ValueError as error:
        raise refuse(path, f"must hold numbers only ({error})", remedy) from error
    if not rows:
        raise refuse(path, "must have rows of numbers", remedy)
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise refuse(path, f"must have rows of one length; found {lengths} numbers a row", remedy)
    return np.array(rows)


def log_weights(path: pathlib.Path, weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the logarithm of posterior weights, which must add up to 1.

    Samplers write normalised weights, so that another sum tells that rows are missing.

    Raises
    ------
    InvalidInput
        If a weight is negative or not finite, or the sum differs from 1 by more than 1%.
    """
    if not np.all(weights >= 0) or not abs(weights.sum() - 1) < 0.01:
        raise refuse(
            path,
            f"must have weights that are not negative and add up to 1; found {weights.sum():.6g}",
            "Rows are missing, or this is not a table of weighted samples; copy the run again.",
        )
    with np.errstate(divide="ignore"):
        return np.log(weights)


def column_names(
    given: Sequence[str] | None, found: Sequence[str] | None, n: int, path: object
) -> tuple[str, ...]:
    """Return names for ``n`` parameters.

    Parameters
    ----------
    given
        By the user: they win.
    found
        In the files of the run.
    n
        Parameters.
    path
        Of the run, for errors.

    Returns
    -------
    tuple of str
        ``parameter_1`` and so on where nobody knows better.

    Raises
    ------
    InvalidInput
        For another number of names, a name that comes twice, or the names of the files in another
        order: the columns would be mistaken for one another.
    """
    if given is None and found is None:
        return tuple(f"parameter_{i + 1}" for i in range(n))
    names = tuple(str(name) for name in (found if given is None else given) or ())
    argument, value = ("names", given) if given is not None else ("path_or_object", str(path))
    if len(names) != n or len(set(names)) != n:
        raise InvalidInput(
            argument,
            value,
            f"must name each of the {n} parameters once; found {len(names)} names: "
            + ", ".join(names[:20]),
            "Pass names= with one name a column, in the order of the columns.",
        )
    if given is not None and found is not None:
        ordered = tuple(str(name) for name in found)
        if names != ordered and sorted(names) == sorted(ordered):
            raise InvalidInput(
                "names",
                list(names),
                f"must keep the order of the run's own names: {', '.join(ordered)}",
                "Leave names= out: the run tells them.",
            )
    return names


def known(number: Any) -> float | None:
    """Return a number that a file tells; None where it tells none, or one that is not finite."""
    if number is None or not np.isfinite(float(number)):
        return None
    return float(number)


def read_json(path: pathlib.Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InvalidInput
        If it is empty or cut short.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise refuse(
            path, f"must be whole JSON ({error})", "It is empty or cut short; copy the run again."
        ) from error
