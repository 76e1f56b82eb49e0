"""The reader of observed spectra, whatever their format."""

from __future__ import annotations

import gzip
import os
import pathlib
from collections.abc import Mapping, Sequence

from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation
from floppity_jax.spectra.assemble import assemble
from floppity_jax.spectra.astropy_tables import read_ecsv, read_fits
from floppity_jax.spectra.choice import choose_columns
from floppity_jax.spectra.ipac import is_ipac, read_ipac
from floppity_jax.spectra.table import Table
from floppity_jax.spectra.text import read_text


def read_observation(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    name: str = "spectrum",
    unit: str = "",
    wavelength_unit: str | None = None,
    table: str | int | None = None,
) -> Observation:
    """Read a spectrum from text, CSV, ECSV, FITS or a table of the NASA Exoplanet Archive.

    The format is found from the content. Titles are compared without regard to capitals and
    punctuation, and units may stand in them, as in ``wavelength [nm]`` or ``depth (ppm)``.

    Parameters
    ----------
    path
        The file. Lines of text that begin with ``#`` are comments; ``.fits.gz`` is read as well.
    columns
        What the columns hold, where the titles do not tell: a role for each column in order, or
        roles by title, which go before what the titles say. Roles are ``wavelength`` (or
        wavenumber), ``bin_width``, ``half_width``, ``wavelength_low``, ``wavelength_high``,
        ``values``, ``radius_ratio``, ``errors``, ``lower_errors``, ``upper_errors``, ``limits``
        (not 0 where the value is one), and ``""`` for a column to pass over. Without known titles,
        three columns are ``wavelength, values, errors`` and four ``wavelength, bin_width, values,
        errors``.
    name
        As in `Observation`.
    unit
        Unit of the values. Where the file tells a unit of depth (ppm, percent), values are turned
        into ``"ppm"`` or ``"percent"`` if you ask for it, and else into fractions. Fluxes keep the
        unit of the file. Where the file tells none, values stay as they are and this is their
        label.
    wavelength_unit
        Unit of wavelengths and widths, or of wavenumbers, where the file tells none or a wrong one;
        um unless either tells.
    table
        Name or number of the extension of a FITS file, where several hold spectra.

    Returns
    -------
    Observation
        In um and increasing wavelength. Edges, and wavenumbers with their widths, are turned into
        the middle and the width of the channel in wavelength. Where there are neither widths nor
        edges, channels are taken to meet half way.

    Warns
    -----
    UserWarning
        Where rows without a value or error, or with a limit, are dropped; where lower and upper
        errors, of which the mean is taken, differ by more than a factor of 2; where a ratio of
        radii is squared; where bin widths look like half-widths.

    Raises
    ------
    InvalidInput
        Where the file is missing or damaged, it is not clear which columns are meant, a cell does
        not hold a number, a unit is not known, or astropy, which reads ECSV and FITS, is not
        installed. What `Observation` refuses is refused here too.
    """
    path = pathlib.Path(path)
    found = _read_table(path, table)
    return assemble(found, choose_columns(found, columns), name, unit, wavelength_unit)


def _read_table(path: pathlib.Path, table: str | int | None) -> Table:
    if not path.is_file():
        raise InvalidInput("path", str(path), "must be a file", "Check the spelling and folder.")
    if _is_fits(path):
        return read_fits(path, table)
    if table is not None:
        raise InvalidInput("table", table, f"is for FITS, and {path} is none", "Leave it out.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(
            "path", str(path), "must be text (UTF-8) or FITS", "Save the spectrum as either."
        ) from None
    if text.startswith("# %ECSV"):
        return read_ecsv(path)
    return (read_ipac if is_ipac(text) else read_text)(text, str(path))


def _is_fits(path: pathlib.Path) -> bool:
    for opener in (open, gzip.open):
        try:
            with opener(path, "rb") as file:
                if file.read(9) == b"SIMPLE  =":
                    return True
        except (OSError, EOFError):  # no gzip file, or a damaged one
            return False
    return False
