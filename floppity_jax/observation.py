"""One observed spectrum, checked on the way in."""

from __future__ import annotations

import dataclasses
import functools
import itertools
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
        variance = np.diag(covariance)
        if self.errors is None and (variance > 0).all():
            self._set("errors", np.sqrt(variance))
        if self.errors is None or not np.allclose(self.errors**2, variance, rtol=1e-3, atol=0):
            raise InvalidInput(
                "covariance diagonal", variance,
                "must be above 0, and errors ** 2 where those are given",
                "Leave errors out: they are taken from the covariance.",
            )  # fmt: skip
        scale = np.sqrt(np.outer(variance, variance))
        if not np.allclose(covariance / scale, covariance.T / scale, rtol=0, atol=1e-6):
            raise InvalidInput(
                "covariance", covariance, "must be symmetric and finite",
                "Give (covariance + its transpose)/2.",
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
