"""Where the channels lie: centres and full widths in um, from what a file tells."""

import warnings

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles, units
from floppity_jax.spectra.table import Column

_FAR = 300.0  # um; a spectrum without a unit that lies beyond is in nm, angstrom or cm^-1


def place_channels(
    source: str,
    chosen: dict[str, Column],
    numbers: dict[str, np.ndarray],
    wavelength_unit: str | None,
    keep: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return ``wavelength`` and ``bin_width`` [um], the latter where known; empty without an axis.

    Parameters
    ----------
    source
        Name of the file, for messages.
    chosen
        Column of each role.
    numbers
        Of the same roles, (rows,) each.
    wavelength_unit
        Unit of all of them, where given.
    keep
        The rows that count. The others still part the channels beside them.
    """
    role = next((role for role in ("wavelength", "wavelength_low") if role in numbers), None)
    if role is None:
        return {}
    axis = _axis_unit(source, chosen[role], numbers[role], wavelength_unit)
    scaled = {
        role: numbers[role] * _scale(chosen[role], axis, wavelength_unit)
        for role in ("wavelength", "wavelength_low", "wavelength_high", "bin_width", "half_width")
        if role in numbers and _is_told(source, chosen[role], numbers[role][keep])
    }
    if "half_width" in scaled:
        scaled["bin_width"] = 2 * scaled["half_width"]
    if "wavelength_low" in scaled and "wavelength_high" in scaled:
        return _from_edges(scaled["wavelength_low"], scaled["wavelength_high"], axis)
    if "wavelength" not in scaled:
        raise InvalidInput(
            f"edges of channels of {source}", [chosen[role].title for role in scaled],
            "must be lower and upper ones", "Or give a column of wavelengths.",
        )  # fmt: skip
    centre, width = scaled["wavelength"], scaled.get("bin_width")
    if axis.is_wavenumber and width is not None:
        return _from_edges(centre - width / 2, centre + width / 2, axis)
    if axis.is_wavenumber:
        centre = 1e4 / centre
    if width is None:
        return _between_neighbours(centre)
    if "half_width" not in scaled:
        _warn_of_half_widths(source, chosen["bin_width"], centre, width)
    return {"wavelength": centre, "bin_width": width}


def _between_neighbours(centre: np.ndarray) -> dict[str, np.ndarray]:
    """Return channels that meet half way; one alone has no width."""
    known = np.isfinite(centre)
    if known.sum() < 2:
        return {"wavelength": centre}
    width = np.full(len(centre), np.nan)
    width[known] = _widths_that_meet(centre[known])
    return {"wavelength": centre, "bin_width": width}


def _widths_that_meet(centre: np.ndarray) -> np.ndarray:
    """Full widths of channels whose edges lie half way between neighbouring centres."""
    middle = (centre[1:] + centre[:-1]) / 2
    first = 2 * centre[0] - middle[0]
    last = 2 * centre[-1] - middle[-1]
    return np.abs(np.diff(np.concatenate([[first], middle, [last]])))


def _axis_unit(
    source: str, column: Column, numbers: np.ndarray, given: str | None
) -> units.AxisUnit:
    if given is not None:
        axis = units.axis_unit(given, "wavelength_unit")
    elif told := column.unit or titles.implied_unit(column.title):
        axis = units.axis_unit(told, f"unit of {column.title or 'wavelength'} in {source}")
    elif np.nanmedian(numbers) > _FAR:
        raise InvalidInput(
            f"median wavelength of {source}", float(np.nanmedian(numbers)),
            f"must be below {_FAR:g} where the file tells no unit, as it is then taken to be in um",
            'Give the unit, with wavelength_unit="nm", "angstrom", "cm-1" or "um".',
        )  # fmt: skip
    else:
        axis = units.AxisUnit(1.0, is_wavenumber=False)
    if axis.is_wavenumber and np.any(numbers <= 0):
        raise InvalidInput(
            f"least wavenumber of {source}", float(np.nanmin(numbers)), "must be above 0",
            "Drop that channel.",
        )  # fmt: skip
    return axis


def _scale(column: Column, axis: units.AxisUnit, given: str | None) -> float:
    """Return what takes a column to um or cm^-1, whichever the axis is in."""
    if given is not None or not column.unit:
        return axis.scale
    own = units.axis_unit(column.unit, f"unit of {column.title}")
    if own.is_wavenumber != axis.is_wavenumber:
        raise InvalidInput(
            f"unit of {column.title}", column.unit,
            "must be a wavelength's or a wavenumber's, as that of the centres is",
            f'Leave the column out: columns={{"{column.title}": ""}}.',
        )  # fmt: skip
    return own.scale


def _is_told(source: str, column: Column, numbers: np.ndarray) -> bool:
    """Tell whether a column is there at all; one with holes is refused, not filled."""
    missing = ~np.isfinite(numbers)
    if missing.any() and not missing.all():
        raise InvalidInput(
            f"{column.title or 'bin width'} of {source}", numbers.tolist(),
            f"must not be missing in some channels ({missing.sum()} of {missing.size})",
            f'Fill it in, or pass it over, columns={{"{column.title}": ""}}: channels then meet '
            "half way.",
        )  # fmt: skip
    return not missing.all()


def _from_edges(low: np.ndarray, high: np.ndarray, axis: units.AxisUnit) -> dict[str, np.ndarray]:
    """Return middles and widths in wavelength; edges in wavenumber change places."""
    if axis.is_wavenumber:
        low, high = 1e4 / high, 1e4 / low
    return {"wavelength": (low + high) / 2, "bin_width": high - low}


def _warn_of_half_widths(
    source: str, column: Column, centre: np.ndarray, width: np.ndarray
) -> None:
    """Warn of widths that fill half of the space, as the half-widths that Eureka! writes do."""
    known = np.isfinite(centre) & np.isfinite(width)
    if known.sum() < 3 or np.any(np.diff(centre[known]) == 0):
        return
    filled = width[known] / _widths_that_meet(centre[known])
    if np.all(np.abs(np.percentile(filled, [25, 50, 75]) - 0.5) < 0.05):
        roles = (
            f'{{"{column.title}": "half_width"}}' if column.title
            else '("wavelength", "half_width", "values", "errors")'
        )  # fmt: skip
        warnings.warn(
            f"bin widths of {source} fill half of the space between channels. Eureka! and POSEIDON "
            f"have half-widths there: if these are, read with columns={roles}.",
            stacklevel=5,
        )
