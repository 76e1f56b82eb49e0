"""Adapter for TauREx 3 (Al-Refaie et al. 2021, ApJ 917, 37)."""

import difflib
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from floppity_jax.channels import check_covered, edges_of
from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.simulators.external import External, check_function


class TauREx(External):
    """A forward model of TauREx 3, averaged over the channels of an observation.

    Parameters are TauREx's own fitting parameters, by its names and in its units, and on a linear
    scale also where TauREx would fit the logarithm: the prior belongs to the retrieval. Channels
    are averaged by TauREx's ``FluxBinner``, evenly in wavenumber.

    Parameters
    ----------
    model
        A function without arguments that returns a TauREx forward model with its contributions,
        or the path of a parameter file (``.par``), of which the sections on fitting, observation,
        binning and optimizer are passed over. Paths inside the file are relative to the folder
        that the workers run in: write them in full.
    observation
        Anything with arrays ``wavelength`` and ``bin_width`` [um].
    parameters
        Names of the fitting parameters that the retrieval sets, fixed ones among them.

    Raises
    ------
    InvalidInput
        Where there is no such file, a name repeats, or the observation lacks channels.

    Examples
    --------
    ::

        def build():
            model = TransmissionModel(planet=Planet(), star=BlackbodyStar(radius=0.93))
            model.add_contribution(AbsorptionContribution())
            return model

        simulator = fp.simulators.TauREx(build, observation, parameters=["T", "planet_radius"])
    """

    units: ClassVar = {"T": "K", "planet_radius": "R_jup", "planet_mass": "M_jup"}
    code, package, install = "TauREx", "taurex", "pip install taurex"

    def __init__(
        self,
        model: Callable[[], Any] | str | os.PathLike[str],
        observation: Any,
        *,
        parameters: Sequence[str],
    ) -> None:
        self.source: Callable[[], Any] | pathlib.Path
        settings: dict[str, Any]
        if isinstance(model, str | os.PathLike):
            self.source = pathlib.Path(model).resolve()
            if not self.source.is_file():
                raise InvalidInput(
                    "model", str(model), "must be a parameter file or a function",
                    "Check the spelling and folder.",
                )  # fmt: skip
            settings = {"file": hashlib.sha256(self.source.read_bytes()).hexdigest()}
        else:
            check_function("model", model, "model(), and returns a TauREx forward model")
            self.source, settings = model, {"model": model}
        super().__init__(observation, parameters, settings)

    def _build(self) -> Any:
        from taurex.binning import FluxBinner
        from taurex.exceptions import InvalidModelException

        model = _read(self.source) if isinstance(self.source, pathlib.Path) else self.source()
        if not hasattr(model, "fittingParameters"):
            raise SimulatorError(
                f"the function or file given to TauREx made {model!r}; it must make a TauREx "
                "forward model, such as a TransmissionModel."
            )
        if not getattr(model, "built", False):
            model.build()
        _check_names(self.parameters, list(model.fittingParameters))
        low, high = 1e4 / self.right, 1e4 / self.left  # [1 / cm]
        try:
            native = np.sort(model.nativeWavenumberGrid)
        except InvalidModelException as error:
            raise SimulatorError(f"TauREx finds the model invalid: {error}.") from None
        edges = edges_of(native)
        check_covered(self.left, self.right, 1e4 / edges[-1], 1e4 / edges[0], self.code)
        # Compute no more than the channels need, and a point on either side.
        first, last = np.searchsorted(edges, [low.min(), high.max()])
        wanted = native[max(first - 2, 0) : last + 1]
        return model, FluxBinner((low + high) / 2, high - low), wanted

    def _simulate(self, model: Any, parameters: Mapping[str, float]) -> np.ndarray:
        from taurex.exceptions import InvalidModelException

        forward, binner, wanted = model
        try:
            for name in self.parameters:
                forward[name] = parameters[name]
            wavenumber, values = forward.model(wngrid=wanted)[:2]
        except InvalidModelException as error:
            raise SimulatorError(f"TauREx finds the model invalid: {error}.") from None
        binned = binner.bindown(wavenumber, values)[1]
        # The binner sorts its channels by wavenumber; hand them back in the observation's order.
        channels = np.empty_like(binned)
        channels[np.argsort(1e4 / self.right + 1e4 / self.left)] = binned
        return channels


def _read(path: pathlib.Path) -> Any:
    """Make the model of a parameter file, and set the paths of its opacities."""
    from taurex.parameter import ParameterParser

    parser = ParameterParser()
    parser.read(str(path))
    parser.setup_globals()
    return parser.generate_model()


def _check_names(wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0)
        raise InvalidInput(
            "parameters", unknown, "must be fitting parameters of the TauREx model",
            f"The nearest to {unknown[0]!r} are {nearest}; it has {sorted(known)}.",
        )  # fmt: skip
