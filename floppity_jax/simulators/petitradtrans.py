"""Adapter for petitRADTRANS 3 (Mollière et al. 2019, A&A 627, A67)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from floppity_jax.channels import average_lines, check_covered, increasing
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.external import External, check_function

_IN_UM = {"cm": 1e4, "um": 1.0}


class PetitRADTRANS(External):
    """A model made with petitRADTRANS' ``Radtrans``, averaged over an observation's channels.

    Channels are averaged as by petitRADTRANS' ``rebin_spectrum_bin``: the points of the spectrum
    are joined by straight lines, and averaged evenly in wavelength. That function itself takes
    channels to follow one another, and is silently wrong where they overlap, as those of several
    datasets do.
    Let the wavelength boundaries of the ``Radtrans`` reach a little beyond the outermost channels.

    Parameters
    ----------
    build
        A function without arguments that returns the ``Radtrans``; it runs once in each worker,
        for reading opacities takes long.
    spectrum
        ``spectrum(radtrans, parameters)`` returns wavelengths (n,) and what was observed (n,):
        say ``(radii / star_radius)**2`` from ``calculate_transit_radii``. What follows, such as
        petitRADTRANS' own third value, is passed over.
    observation
        Anything with arrays ``wavelength`` and ``bin_width`` [um].
    parameters
        Names that ``spectrum`` reads.
    wavelength_unit
        Of the wavelengths that ``spectrum`` returns: ``"cm"``, as petitRADTRANS has them, or
        ``"um"``.

    Raises
    ------
    InvalidInput
        Where an argument breaks one of these rules.
    """

    code, package = "petitRADTRANS", "petitRADTRANS"
    install = "pip install petitRADTRANS (it needs a Fortran compiler)"

    def __init__(
        self,
        build: Callable[[], Any],
        spectrum: Callable[[Any, Mapping[str, float]], Any],
        observation: Any,
        *,
        parameters: Sequence[str],
        wavelength_unit: Literal["cm", "um"] = "cm",
    ) -> None:
        check_function("build", build, "build(), and returns a Radtrans")
        check_function(
            "spectrum", spectrum, "spectrum(radtrans, parameters), and returns two arrays"
        )
        if wavelength_unit not in _IN_UM:
            raise InvalidInput(
                "wavelength_unit", wavelength_unit, 'must be "cm" or "um"',
                "petitRADTRANS itself returns cm.",
            )  # fmt: skip
        self.build, self.spectrum, self.wavelength_unit = build, spectrum, wavelength_unit
        settings = {"build": build, "spectrum": spectrum, "unit": wavelength_unit}
        super().__init__(observation, parameters, settings)

    def _build(self) -> Any:
        return self.build()

    def _simulate(self, model: Any, parameters: Mapping[str, float]) -> np.ndarray:
        wavelength, values = self.spectrum(model, parameters)[:2]
        wavelength = np.asarray(wavelength) * _IN_UM[self.wavelength_unit]
        wavelength, values = increasing(wavelength, values, self.code)
        check_covered(self.left, self.right, wavelength[0], wavelength[-1], self.code)
        return average_lines(wavelength, values, self.left, self.right)
