"""The observation that the chosen columns make."""

import warnings

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation
from floppity_jax.spectra import titles, units
from floppity_jax.spectra.channels import place_channels
from floppity_jax.spectra.table import Column, Table

_NEEDED = ("wavelength", "values", "radius_ratio", "errors", "lower_errors", "upper_errors")


def assemble(
    table: Table, chosen: dict[str, Column], name: str, unit: str, wavelength_unit: str | None
) -> Observation:
    """Return the observation; arguments and errors are those of `read_observation`."""
    numbers = {role: table.numbers(column) for role, column in chosen.items()}
    keep = _complete(table, numbers)
    data = place_channels(table.source, chosen, numbers, wavelength_unit, keep)
    data = {field: values[keep] for field, values in data.items()}
    kept = {role: values[keep] for role, values in numbers.items()}
    data["values"], errors, unit = _measured(table.source, chosen, kept, unit)
    if errors is not None:
        data["errors"] = errors
    return Observation(**_in_order(data), name=name, unit=unit)


def _complete(table: Table, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """Return which rows have a wavelength, a value and its error, and are no limit."""
    present = np.ones(len(table.places), dtype=bool)
    for role in _NEEDED:
        if role in numbers:
            present &= np.isfinite(numbers[role])
    limit = np.nan_to_num(numbers.get("limits", np.zeros(len(present)))) != 0
    keep = present & ~limit
    if not keep.any():
        raise InvalidInput(
            "path", table.source, "has no row with a wavelength, a value and its error",
            "Are they in other columns? Say which, with columns=.",
        )  # fmt: skip
    if not keep.all():
        rows = ", ".join(table.places[i] for i in np.flatnonzero(~keep)[:5])
        warnings.warn(
            f"{table.source}: {(~keep).sum()} of {keep.size} rows dropped, "
            f"{(~present).sum()} without a wavelength, value or error and "
            f"{(present & limit).sum()} limits ({rows}{', ...' if (~keep).sum() > 5 else ''}).",
            stacklevel=4,
        )
    return keep


def _measured(
    source: str, chosen: dict[str, Column], numbers: dict[str, np.ndarray], unit: str
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return values, errors and their unit: ``unit``, or else fractions or the flux of the file."""
    is_ratio = "values" not in chosen
    column = chosen["radius_ratio" if is_ratio else "values"]
    told = column.unit or titles.implied_unit(column.title)
    scale = units.depth_scale(told) if told else 1.0
    if scale is None and unit and units.plain(unit) != units.plain(told):
        raise InvalidInput(
            "unit", unit, f"must be that of {column.title} in {source}, {told}",
            "Leave unit out, and let the simulator return that.",
        )  # fmt: skip
    values = numbers["radius_ratio" if is_ratio else "values"] * (scale or 1.0)
    errors: dict[str, np.ndarray] = {
        role: numbers[role] * _error_scale(source, chosen[role], told, scale)
        for role in ("errors", "lower_errors", "upper_errors")
        if role in chosen
    }
    one = _one_error(source, errors)
    if is_ratio:
        values, one = values**2, None if one is None else 2 * np.abs(values) * one
    if scale is None:
        return values, one, unit or told
    wanted = units.depth_scale(unit) if told or is_ratio else None
    return values / (wanted or 1.0), None if one is None else one / (wanted or 1.0), unit


def _error_scale(source: str, column: Column, told: str, scale: float | None) -> float:
    """Return what takes errors to the unit of the values, which is ``told``."""
    if not column.unit or units.plain(column.unit) == units.plain(told):
        return scale or 1.0
    own = units.depth_scale(column.unit)
    if not told or scale is None or own is None:
        raise InvalidInput(
            f"unit of {column.title} in {source}", column.unit,
            f"must be that of the values, {told or 'for which the file tells none'}",
            "Write both columns in one unit.",
        )  # fmt: skip
    return own


def _one_error(source: str, errors: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return the error of each value: the mean of both sides where they differ."""
    if "errors" in errors or not errors:
        return errors.get("errors")
    if len(errors) == 1:
        raise InvalidInput(
            f"errors of {source}", sorted(errors), "must be those of both sides",
            'Name one column "errors" for errors that are the same on both.',
        )  # fmt: skip
    low, high = np.abs(errors["lower_errors"]), np.abs(errors["upper_errors"])
    uneven = np.maximum(low, high) > 2 * np.minimum(low, high)
    if uneven.any():
        warnings.warn(
            f"{source}: {uneven.sum()} of {uneven.size} channels have one error more than twice "
            "the other. Their mean is taken, and the likelihood is Gaussian.",
            stacklevel=5,
        )
    return (low + high) / 2


def _in_order(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn a table in decreasing wavelength round; any other disorder is left to be refused."""
    if "wavelength" in data and np.all(np.diff(data["wavelength"]) < 0):
        return {field: values[::-1] for field, values in data.items()}
    return data
