"""Which column of a table holds what: as the user says, as the titles say, or by position."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles
from floppity_jax.spectra.table import Column, Table

ROLES = (
    "wavelength", "wavelength_low", "wavelength_high", "bin_width", "half_width", "values",
    "radius_ratio", "errors", "lower_errors", "upper_errors", "limits", "",
)  # fmt: skip
_CHANNEL = ("wavelength", "wavelength_low", "wavelength_high", "bin_width", "half_width")
_MEASURED = ("values", "radius_ratio")
_ERRORS = ("errors", "lower_errors", "upper_errors")
_BY_POSITION = {
    3: ("wavelength", "values", "errors"),
    4: ("wavelength", "bin_width", "values", "errors"),
}


def tells_spectrum(names: Sequence[str]) -> bool:
    """Tell whether titles say which column is the spectral axis and which the measured value."""
    found = {titles.role(name) for name in names}
    axis = {"wavelength", "wavenumber", "wavelength_low"}
    return bool(found & axis) and bool(found & set(_MEASURED))


def choose_columns(
    table: Table, columns: Sequence[str] | Mapping[str, str] | None
) -> dict[str, Column]:
    """Return the column for each role; InvalidInput where values or errors are not told apart.

    Parameters
    ----------
    table
        As read.
    columns
        Roles in the order of the columns, or by title, as in `read_observation`.
    """
    if isinstance(columns, Mapping):
        return _by_title(table, _as_mapped(table, columns))
    if columns is not None:
        return _as_listed(table, tuple(columns))
    if table.titled:
        return _by_title(table, {})
    return _by_position(table)


def _as_listed(table: Table, columns: tuple[str, ...]) -> dict[str, Column]:
    roles = [role for role in columns if role]
    if (
        len(columns) != len(table.columns)
        or not set(columns) <= set(ROLES)
        or len(set(roles)) != len(roles)
        or len({"values", "radius_ratio"} & set(roles)) != 1
    ):
        raise InvalidInput(
            "columns", columns,
            f"must name each of the {len(table.columns)} columns of {table.source} once, "
            "among them values",
            f"Choose from {ROLES}.",
        )  # fmt: skip
    return {role: column for role, column in zip(columns, table.columns, strict=True) if role}


def _by_position(table: Table) -> dict[str, Column]:
    count = len(table.columns)
    if table.unsplit:
        raise InvalidInput(
            f"titles of {table.source}", table.unsplit,
            f"must be as many as the columns, which are {count}",
            "Put a # before the line, or commas between titles of several words.",
        )  # fmt: skip
    if count not in _BY_POSITION:
        raise InvalidInput(
            f"number of columns of {table.source}", count,
            "must be 3 (wavelength, value, error) or 4 (wavelength, bin width, value, error) "
            "where no titles are known",
            'Say what each column holds, with columns=("wavelength", "values", "errors", "").',
        )  # fmt: skip
    if count == 4:
        _refuse_other_orders(table)
    return dict(zip(_BY_POSITION[count], table.columns, strict=True))


def _refuse_other_orders(table: Table) -> None:
    """Refuse four columns that are the edges first, or the width last as TauREx has it."""
    wavelength, second, _, fourth = (table.numbers(column) for column in table.columns)
    if len(wavelength) < 3:
        return
    apart = np.nanmedian(np.abs(np.diff(wavelength)))
    is_edge = np.all(second > wavelength)
    is_width = [0.3 < np.nanmedian(width) / apart < 3 for width in (second, fourth)]
    if is_edge or is_width == [False, True]:
        order = (
            ("wavelength_low", "wavelength_high", "values", "errors") if is_edge
            else ("wavelength", "values", "errors", "bin_width")
        )  # fmt: skip
        raise InvalidInput(
            f"second column of {table.source}", second.tolist(),
            f"must hold bin widths, where channels lie {apart:.3g} apart",
            f"If the order is another, say so: columns={order}.",
        )  # fmt: skip


def _as_mapped(table: Table, columns: Mapping[str, str]) -> dict[Column, str]:
    known = {titles.normal(column.title): column for column in table.columns if column.title}
    mapped: dict[Column, str] = {}
    for title, role in columns.items():
        column = known.get(titles.normal(titles.split_title(title)[0]))
        if column is None or role not in ROLES or (role and role in mapped.values()):
            raise InvalidInput(
                "columns", {title: role},
                "must give titles of the file a role each, and no role twice",
                f"The titles of {table.source} are {[c.title for c in table.columns]}, "
                f"the roles {ROLES}.",
            )  # fmt: skip
        mapped[column] = role
    return mapped


def _by_title(table: Table, given: dict[Column, str]) -> dict[str, Column]:
    """Go by the titles, save for the columns that were given a role."""
    chosen = {role: column for column, role in given.items() if role}
    rest = [column for column in table.columns if column.title and column not in given]
    for role in _CHANNEL:
        if role not in chosen and not (role == "half_width" and "bin_width" in chosen):
            matches = [column for column in rest if titles.role(column.title) == role]
            if role == "wavelength" and not matches:
                matches = [c for c in rest if titles.role(c.title) == "wavenumber"]
            if matches:
                chosen[role] = _only(table, matches, role)
    if not set(_MEASURED) & set(chosen):
        chosen |= _measured(table, rest)
    value = next(chosen[role] for role in _MEASURED if role in chosen)
    rest = [column for column in rest if column not in chosen.values()]
    if not set(_ERRORS) & set(chosen):
        chosen |= _errors(table, rest, value, titles.VALUES if "values" in chosen
                          else titles.RADIUS_RATIO)  # fmt: skip
    if "limits" not in chosen:
        flags = [c for c in rest if titles.is_limit(c.title, titles.stem(value.title))]
        if flags:
            chosen["limits"] = flags[0]
    return chosen


def _measured(table: Table, rest: list[Column]) -> dict[str, Column]:
    """Return the column of values: the fullest one, a depth before a ratio of radii."""
    found = [(c, titles.role(c.title)) for c in rest if titles.role(c.title) in _MEASURED]
    count = {column: np.isfinite(table.numbers(column)).sum() for column, _ in found}
    fullest = [(c, role) for c, role in found if count[c] == max(count.values())]
    for wanted in _MEASURED:
        matches = [column for column, role in fullest if role == wanted]
        if matches:
            column = _only(table, matches, wanted)
            if wanted == "radius_ratio":
                _warn_of_square(table, column)
            return {wanted: column}
    raise _unknown(table, "values")


def _warn_of_square(table: Table, column: Column) -> None:
    warnings.warn(
        f"{table.source} has the ratio of radii, {column.title}: its square, the transit depth, "
        f'is taken. To have it as it is, read with columns={{"{column.title}": "values"}}.',
        stacklevel=6,
    )


def _errors(table: Table, rest: list[Column], value: Column, others: str) -> dict[str, Column]:
    """Return the columns of errors: by the title of the value, by none, by another of its kind."""
    for stem in (titles.stem(value.title), "", others):
        found = {role: [c for c in rest if titles.error_role(c.title, stem) == role]
                 for role in _ERRORS}  # fmt: skip
        if found["errors"]:
            return {"errors": _only(table, found["errors"], "errors")}
        if found["lower_errors"] and found["upper_errors"]:
            return {role: _only(table, found[role], role) for role in _ERRORS[1:]}
    raise _unknown(table, "errors")


def _only(table: Table, matches: list[Column], role: str) -> Column:
    if len(matches) > 1:
        names = [column.title for column in matches]
        raise InvalidInput(
            f"titles of {table.source}", names, f"must name one column for {role}",
            f"Say which it is: columns={{{names[0]!r}: {role!r}, {names[1]!r}: ''}}.",
        )  # fmt: skip
    return matches[0]


def _unknown(table: Table, role: str) -> InvalidInput:
    names = [column.title for column in table.columns]
    return InvalidInput(
        f"titles of {table.source}", names, f"name no column that is known for {role}",
        f'Say which it is: columns={{"TITLE": "{role}"}}, or the roles of all columns in order.',
    )  # fmt: skip
