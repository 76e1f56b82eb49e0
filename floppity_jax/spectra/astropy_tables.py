"""ECSV and FITS tables, read by astropy."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles
from floppity_jax.spectra.choice import tells_spectrum
from floppity_jax.spectra.table import Column, Table


def read_ecsv(path: pathlib.Path) -> Table:
    """Read an ECSV table; InvalidInput where it is damaged or astropy is not installed."""
    try:
        from astropy.table import Table as AstropyTable
        from astropy.units import UnitsWarning
    except ImportError:
        raise _without_astropy(path, "an ECSV table") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)  # ppm is none of astropy's
        try:
            table = AstropyTable.read(path, format="ascii.ecsv")
        except ValueError as error:
            raise _damaged(path, "ECSV", error) from None
        told = [
            "" if column.unit is None else str(column.unit) or "dimensionless"
            for column in table.columns.values()
        ]
    return _as_table(path, table.colnames, told, list(table.columns.values()))


def read_fits(path: pathlib.Path, table: str | int | None) -> Table:
    """Read a table of a FITS file.

    Parameters
    ----------
    path
        The file.
    table
        Name or number of the extension; unless given, the only table, or the only one whose titles
        tell a spectrum.

    Raises
    ------
    InvalidInput
        Where it is not known which table is meant, the file is damaged, or astropy is not
        installed.
    """
    try:
        from astropy.io import fits
    except ImportError:
        raise _without_astropy(path, "a FITS file") from None
    try:
        with fits.open(path, memmap=False) as extensions:
            found = {
                number: extension
                for number, extension in enumerate(extensions)
                if isinstance(extension, fits.BinTableHDU | fits.TableHDU)
            }
            chosen = found[_choose(path, found, table)]
            names, told = chosen.columns.names, [unit or "" for unit in chosen.columns.units]
            return _as_table(path, names, told, [chosen.data[name] for name in names])
    except (OSError, TypeError) as error:
        raise _damaged(path, "FITS", error) from None


def _choose(path: pathlib.Path, found: dict[int, Any], table: str | int | None) -> int:
    """Return the number of the table that is asked for."""
    if not found:
        raise InvalidInput(
            "path",
            str(path),
            "holds no table",
            "Images are not read: write the spectrum as a table.",
        )
    matches = [
        number
        for number, extension in found.items()
        if table is None or number == table or extension.name.lower() == str(table).lower()
    ]
    if table is None and len(matches) > 1:
        matches = [number for number in matches if tells_spectrum(found[number].columns.names)]
    if len(matches) != 1:
        names = {number: extension.name for number, extension in found.items()}
        raise InvalidInput(
            "table", table, f"must be one of the tables of {path}",
            f"Give a number or, where it is the only one of that name, the name, of: {names}.",
        )  # fmt: skip
    return matches[0]


def _as_table(
    path: pathlib.Path, names: Sequence[str], told: Sequence[str], columns: Sequence[Any]
) -> Table:
    arrays = [_as_column(column) for column in columns]
    if not arrays or not len(arrays[0]):
        raise InvalidInput("path", str(path), "holds no rows", "Is it the right file?")
    split = [titles.split_title(name) for name in names]
    rows = max(len(array) for array in arrays)
    return Table(
        str(path),
        tuple(
            Column(title, unit or own, array)
            for (title, own), unit, array in zip(split, told, arrays, strict=True)
            if len(array) == rows
        ),
        [f"row {row}" for row in range(1, rows + 1)],
    )


def _as_column(column: Any) -> list[Any]:
    """Return the cells of a column; one row that holds a vector is the column."""
    array = np.ma.asarray(column)
    if len(array) == 1 and array.ndim == 2:
        array = array[0]
    if array.ndim == 1 and array.dtype.kind in "biuf":
        return np.ma.filled(array.astype(np.float64), np.nan).tolist()  # type: ignore[no-any-return]
    return [str(cell) for cell in array]


def _without_astropy(path: pathlib.Path, what: str) -> InvalidInput:
    return InvalidInput(
        "path", str(path), f"is {what}, and astropy, which reads it, is not installed",
        "Install it by: pip install 'floppity_jax[fits]'",
    )  # fmt: skip


def _damaged(path: pathlib.Path, kind: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        "path", str(path), f"cannot be read as {kind} ({error})", "Is the file whole?"
    )
