"""Adapter for PICASO (Batalha et al. 2019, ApJ 878, 70)."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.channels import average
from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.simulators.external import External, check_function

_OUTPUT = {
    "transmission": "transit_depth",
    "thermal": "fpfs_thermal",
    "reflected": "fpfs_reflected",
    "thermal+reflected": "fpfs_total",
}


class PICASO(External):
    """A case of PICASO's ``justdoit``, averaged over the channels of an observation.

    Channels are averaged exactly and evenly in wavelength, each point standing for the interval
    half way to its neighbours. PICASO's own ``mean_regrid`` takes no bin widths, counts whole
    points and returns NaN for a channel without any.

    Parameters
    ----------
    build
        A function without arguments that returns ``(case, opacities)``: a ``justdoit.inputs``
        with planet, star and approximations, and the result of ``justdoit.opannection``. It runs
        once in each worker, for reading opacities takes long.
    update
        ``update(case, parameters)`` sets the atmosphere of one simulation. The case is a fresh
        copy each time, so that nothing is left over from the simulation before.
    observation
        Anything with arrays ``wavelength`` and ``bin_width`` [um].
    parameters
        Names that ``update`` reads.
    calculation
        As in PICASO's ``spectrum``: ``"transmission"``, ``"thermal"``, ``"reflected"`` or
        ``"thermal+reflected"``.
    output
        Which of PICASO's results was observed. Unless given, ``transit_depth``, or the planet's
        flux over the star's; ``"thermal"`` is the flux itself [erg/s/cm2/cm].
    dimension
        ``"1d"`` or ``"3d"``, as in PICASO.

    Raises
    ------
    InvalidInput
        Where an argument breaks one of these rules.
    """

    code, package, install = "PICASO", "picaso", "pip install picaso"

    def __init__(
        self,
        build: Callable[[], tuple[Any, Any]],
        update: Callable[[Any, Mapping[str, float]], object],
        observation: Any,
        *,
        parameters: Sequence[str],
        calculation: str = "transmission",
        output: str | None = None,
        dimension: str = "1d",
    ) -> None:
        check_function("build", build, "build(), and returns (case, opacities)")
        check_function("update", update, "update(case, parameters)")
        if calculation not in _OUTPUT:
            raise InvalidInput(
                "calculation", calculation, f"must be one of {list(_OUTPUT)}",
                "These are PICASO's own names.",
            )  # fmt: skip
        self.build, self.update = build, update
        self.options = {"calculation": calculation, "dimension": dimension}
        self.output = output or _OUTPUT[calculation]
        settings = {"build": build, "update": update, "output": self.output, **self.options}
        super().__init__(observation, parameters, settings)

    def _build(self) -> Any:
        return self.build()

    def _simulate(self, model: Any, parameters: Mapping[str, float]) -> np.ndarray:
        case, opacities = model
        case = copy.deepcopy(case)
        self.update(case, parameters)
        results = case.spectrum(opacities, **self.options)
        if self.output not in results:
            raise SimulatorError(
                f"PICASO returned {sorted(results)}, and no {self.output!r}. Choose one of these "
                "as output=."
            )
        values = results[self.output]
        if isinstance(values, list):  # of sentences on what the case lacks
            raise SimulatorError(f"PICASO has no {self.output}: {' '.join(map(str, values))}")
        wavelength = 1e4 / np.asarray(results["wavenumber"])
        return average(wavelength, values, self.left, self.right, self.code)
