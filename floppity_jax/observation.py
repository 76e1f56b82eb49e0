"""One observed spectrum, checked on the way in."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float  # not by way of floppity_jax.typing, which loads JAX

from floppity_jax.errors import InvalidInput


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """An observed dataset.

    Parameters
    ----------
    values : array (channels,)
        What was measured, in the unit that the simulator returns.
    errors : array (channels,), optional
        1-sigma Gaussian errors in the same unit. None means that the simulator itself is
        stochastic: nothing is added to it, and there is no likelihood.
    wavelength : array (channels,), optional
        Channel centres [um], increasing.
    bin_width : array (channels,), optional
        Full channel widths [um].
    name : str
        Name of the dataset, for tables and groups.
    unit : str
        Unit of ``values``, for labels.

    Raises
    ------
    InvalidInput
        Where shapes differ, values are not finite, errors or widths are not positive, or
        wavelengths do not increase.
    """

    values: Float[np.ndarray, " channels"]
    errors: Float[np.ndarray, " channels"] | None = None
    wavelength: Float[np.ndarray, " channels"] | None = None
    bin_width: Float[np.ndarray, " channels"] | None = None
    name: str = "spectrum"
    unit: str = ""

    def __post_init__(self) -> None:
        for field in ("values", "errors", "wavelength", "bin_width"):
            given = getattr(self, field)
            if given is None:
                continue
            array = np.array(given, dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, field, array)
            self._check_shape(field, array)
            self._check_each(field, array, np.isfinite(array), "must be finite")
        if self.errors is not None:
            self._check_each("errors", self.errors, self.errors > 0, "must be above 0")
        if self.bin_width is not None:
            self._check_each("bin_width", self.bin_width, self.bin_width > 0, "must be above 0")
        if self.wavelength is not None:
            increasing = np.diff(self.wavelength, prepend=-np.inf) > 0
            self._check_each("wavelength", self.wavelength, increasing, "must increase")

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
