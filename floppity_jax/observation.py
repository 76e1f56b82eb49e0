"""One observed spectrum, checked on the way in, and its reader."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float  # not by way of floppity_jax.typing, which loads JAX

from floppity_jax.errors import InvalidInput


class Output(NamedTuple):
    """What a simulator must return: an array; or by name, one for each dataset.

    Attributes
    ----------
    names : tuple of str
        Of the datasets.
    sizes : tuple of int
        Length of each.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Length of all, one after the other."""
        return sum(self.sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """An observed dataset.

    Parameters
    ----------
    values : array (channels,)
        What was measured, in the unit that the simulator returns.
    errors : array (channels,), optional
        1-sigma Gaussian errors in the same unit. None means that the simulator itself is
        stochastic: nothing is added to it, and there is no likelihood. Where ``covariance`` is
        given, its diagonal has them.
    wavelength : array (channels,), optional
        Channel centres [um], increasing.
    bin_width : array (channels,), optional
        Full channel widths [um].
    name : str
        Name of the dataset, for tables and groups.
    unit : str
        Unit of ``values``, for labels.
    covariance : array (channels, channels), optional
        Of the noise, where that of different channels is correlated.

    Raises
    ------
    InvalidInput
        Where shapes differ, values are not finite, errors or widths are not positive,
        wavelengths do not increase, or a covariance is none.
    """

    values: Float[np.ndarray, " channels"]
    errors: Float[np.ndarray, " channels"] | None = None
    wavelength: Float[np.ndarray, " channels"] | None = None
    bin_width: Float[np.ndarray, " channels"] | None = None
    name: str = "spectrum"
    unit: str = ""
    covariance: Float[np.ndarray, "channels channels"] | None = None

    def __post_init__(self) -> None:
        for field in ("values", "errors", "wavelength", "bin_width"):
            given = getattr(self, field)
            if given is None:
                continue
            array = self._set(field, given)
            self._check_shape(field, array)
            self._check_each(field, array, np.isfinite(array), "must be finite")
        if self.covariance is not None:
            self._take_covariance()
        if self.errors is not None:
            self._check_each("errors", self.errors, self.errors > 0, "must be above 0")
        if self.bin_width is not None:
            self._check_each("bin_width", self.bin_width, self.bin_width > 0, "must be above 0")
        self._check_order()

    def _set(self, field: str, given: object) -> np.ndarray:
        array = np.array(given, dtype=np.float64)
        array.setflags(write=False)
        object.__setattr__(self, field, array)
        return array

    def _check_order(self) -> None:
        if self.wavelength is not None:
            increasing = np.diff(self.wavelength, prepend=-np.inf) > 0
            self._check_each("wavelength", self.wavelength, increasing, "must increase")

    def _take_covariance(self) -> None:
        """Check the covariance, and take the errors from it."""
        covariance = self._set("covariance", self.covariance)
        if covariance.shape != (self.n_channels, self.n_channels):
            raise InvalidInput(
                "covariance shape", covariance.shape,
                f"must be {(self.n_channels, self.n_channels)}", "Each channel has one row.",
            )  # fmt: skip
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=0):
            raise InvalidInput(
                "covariance",
                covariance,
                "must be symmetric",
                "Give (covariance + its transpose)/2.",
            )
        variance = np.diag(covariance)
        if self.errors is None and (variance > 0).all():
            self._set("errors", np.sqrt(variance))
        if self.errors is None or not np.allclose(self.errors**2, variance, rtol=1e-3, atol=0):
            raise InvalidInput(
                "covariance diagonal", variance,
                "must be above 0, and errors ** 2 where those are given",
                "Leave errors out: they are taken from the covariance.",
            )  # fmt: skip
        try:
            self.cholesky  # noqa: B018 computed once, here
        except np.linalg.LinAlgError:
            raise InvalidInput(
                "covariance", covariance, "must be positive definite",
                "Add the variance that each channel has of its own to its diagonal.",
            ) from None  # fmt: skip

    @functools.cached_property
    def cholesky(self) -> Float[np.ndarray, "channels channels"] | None:
        """Lower Cholesky factor of the covariance, where one was given."""
        if self.covariance is None:
            return None
        # In units of the errors: squares of small numbers may be too small for a factor.
        scale = np.sqrt(np.diag(self.covariance))
        return scale[:, None] * np.linalg.cholesky(self.covariance / np.outer(scale, scale))

    @property
    def parts(self) -> tuple[Observation, ...]:
        """The datasets: of a single one, itself."""
        return (self,)

    @property
    def output(self) -> Output:
        """What a simulator of it must return, where nothing changes the spectrum after that."""
        return Output(tuple(p.name for p in self.parts), tuple(p.n_channels for p in self.parts))

    @property
    def slices(self) -> tuple[slice, ...]:
        """Which of the channels are those of each dataset."""
        ends = np.cumsum([0, *(part.n_channels for part in self.parts)]).tolist()
        return tuple(slice(start, end) for start, end in itertools.pairwise(ends))

    def with_values(self, values: Float[np.ndarray, " channels"]) -> Observation:
        """Return what it would be, had these values been measured."""
        return dataclasses.replace(self, values=values)

    def _check_shape(self, field: str, array: np.ndarray) -> None:
        if array.ndim != 1 or array.size == 0:
            raise InvalidInput(
                f"{field} shape", array.shape, "must be (channels,)",
                "Give a one-dimensional array with a number for each channel.",
            )  # fmt: skip
        if array.shape != self.values.shape:
            raise InvalidInput(
                f"{field} shape", array.shape, f"must equal that of values, {self.values.shape}",
                "Each channel needs one of each.",
            )  # fmt: skip

    def _check_each(self, field: str, array: np.ndarray, good: np.ndarray, rule: str) -> None:
        if not good.all():
            first = int(np.argmin(good))
            raise InvalidInput(
                f"{field}[{first}]", float(array[first]), rule,
                f"{int((~good).sum())} of {array.size} channels break this rule: mend them, "
                "or drop those channels.",
            )  # fmt: skip

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.values.size


def read_observation(
    path: str | pathlib.Path,
    *,
    columns: Sequence[str] | None = None,
    name: str = "spectrum",
    unit: str = "",
) -> Observation:
    """Read a spectrum from whitespace-separated or CSV text.

    Lines that begin with ``#`` are comments; one line of column titles may precede the numbers.

    Parameters
    ----------
    path
        Text file.
    columns
        What the columns hold, from ``wavelength``, ``bin_width`` (both [um]), ``values``,
        ``errors``, or ``""`` for one to pass over. Unless given, three columns are
        ``wavelength, values, errors`` and four ``wavelength, bin_width, values, errors``.
        Where there is no ``bin_width``, channels are taken to meet half way.
    name, unit
        As in `Observation`.

    Raises
    ------
    InvalidInput
        Where the file is missing, a line does not hold numbers, or the count of columns is not
        the one asked for. What `Observation` refuses is refused here too.
    """
    path = pathlib.Path(path)
    table = _read_table(path)
    if columns is None:
        defaults = {
            3: ("wavelength", "values", "errors"),
            4: ("wavelength", "bin_width", "values", "errors"),
        }
        if table.shape[1] not in defaults:
            raise InvalidInput(
                f"number of columns of {path}", table.shape[1],
                "must be 3 (wavelength, value, error) or 4 (wavelength, bin width, value, error)",
                'Say what each column holds, with columns=("wavelength", "values", "errors", "").',
            )  # fmt: skip
        columns = defaults[table.shape[1]]
    known = ("wavelength", "bin_width", "values", "errors", "")
    if len(columns) != table.shape[1] or not set(columns) <= set(known) or "values" not in columns:
        raise InvalidInput(
            "columns", tuple(columns),
            f"must name each of the {table.shape[1]} columns of {path}, among them values",
            f"Choose from {known}.",
        )  # fmt: skip
    data = {column: table[:, i] for i, column in enumerate(columns) if column}
    if "wavelength" in data:
        data = _sort_by_wavelength(data)
        if "bin_width" not in data and len(table) > 1:
            data["bin_width"] = _widths_that_meet(data["wavelength"])
    return Observation(**data, name=name, unit=unit)


def _read_table(path: pathlib.Path) -> np.ndarray:
    if not path.is_file():
        raise InvalidInput("path", str(path), "must be a file", "Check the spelling and folder.")
    text = path.read_text(encoding="utf-8-sig")
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    rows: list[list[float]] = []
    for position, (number, line) in enumerate(lines):
        fields = next(csv.reader([line])) if "," in line else line.split()
        try:
            rows.append([float(field) for field in fields])
        except ValueError:
            if position == 0:  # a line of column titles
                continue
            raise InvalidInput(
                f"line {number} of {path}", line, "must hold numbers only",
                "Put a # before lines that are not data.",
            ) from None  # fmt: skip
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(
                f"line {number} of {path}", line,
                f"has {len(rows[-1])} columns where the first has {len(rows[0])}",
                "Every line needs the same number of columns.",
            )  # fmt: skip
    if not rows:
        raise InvalidInput("path", str(path), "holds no numbers", "Is it the right file?")
    return np.array(rows)


def _sort_by_wavelength(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn a table in decreasing wavelength round; any other disorder is left to be refused."""
    if np.all(np.diff(data["wavelength"]) < 0):
        return {column: values[::-1] for column, values in data.items()}
    return data


def _widths_that_meet(wavelength: np.ndarray) -> np.ndarray:
    """Full widths of channels whose edges lie half way between neighbouring centres."""
    middle = (wavelength[1:] + wavelength[:-1]) / 2
    first = 2 * wavelength[0] - middle[0]
    last = 2 * wavelength[-1] - middle[-1]
    return np.diff(np.concatenate([[first], middle, [last]]))
