"""Units as they are written in files: of wavelength, wavenumber and depth."""

from typing import NamedTuple

from floppity_jax.errors import InvalidInput

_UM = {
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometers": 1.0,
    "micrometre": 1.0, "micrometres": 1.0, "nm": 1e-3, "nanometer": 1e-3, "nanometers": 1e-3,
    "nanometre": 1e-3, "nanometres": 1e-3, "angstrom": 1e-4, "angstroms": 1e-4, "å": 1e-4,
    "aa": 1e-4, "a": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip
_PER_CM = {
    "cm-1": 1.0, "cm^-1": 1.0, "cm**-1": 1.0, "cm^{-1}": 1.0, "cm^(-1)": 1.0, "1/cm": 1.0,
    "/cm": 1.0, "kayser": 1.0, "m-1": 1e-2, "m^-1": 1e-2, "m**-1": 1e-2, "1/m": 1e-2,
    "um-1": 1e4, "um^-1": 1e4, "um**-1": 1e4, "1/um": 1e4,
}  # fmt: skip
_DEPTH = {
    "ppm": 1e-6, "%": 1e-2, "percent": 1e-2, "pct": 1e-2, "1": 1.0, "fraction": 1.0,
    "dimensionless": 1.0, "unitless": 1.0, "none": 1.0, "-": 1.0,
    "10**-2": 1e-2, "10**-6": 1e-6, "10^-2": 1e-2, "10^-6": 1e-6, "1e-2": 1e-2,  # as FITS has them
    "1e-6": 1e-6,
}  # fmt: skip


class AxisUnit(NamedTuple):
    """Unit of the spectral axis: how many um, or cm^-1, it is."""

    scale: float
    is_wavenumber: bool


def plain(unit: str) -> str:
    """Return a unit without blanks, dollars and capitals, the micro sign as u."""
    unit = unit.strip().lower().replace(" ", "").replace("$", "").replace("\\mu", "u")
    return unit.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")


def axis_unit(unit: str, argument: str) -> AxisUnit:
    """Return the unit of a wavelength or wavenumber; InvalidInput where it is neither."""
    if plain(unit) in _UM:
        return AxisUnit(_UM[plain(unit)], is_wavenumber=False)
    if plain(unit) in _PER_CM:
        return AxisUnit(_PER_CM[plain(unit)], is_wavenumber=True)
    raise InvalidInput(
        argument, unit, "must be a unit of wavelength (um, nm, angstrom, m...) or of wavenumber",
        'Say which it is, with wavelength_unit="um" or "cm-1".',
    )  # fmt: skip


def depth_scale(unit: str) -> float | None:
    """Return the fraction that one ``unit`` of depth is; None for what is no unit of depth."""
    return _DEPTH.get(plain(unit))


def ends_titles(unit: str) -> bool:
    """Tell whether a title such as ``depth_ppm`` may end in this unit; one letter is too few."""
    return len(unit) > 1 and plain(unit) in _UM | _PER_CM | _DEPTH
