"""What the adapters to other atmospheric codes have in common.

A model is built once in each worker, then run for one set of parameters after another, and its
spectrum is averaged over the observation's channels. Only how to build it travels to a worker.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.fingerprint import fingerprint, hash_of


class External:
    """A model of another code, averaged over the channels of an observation.

    A subclass says how to `_build` the model, and how to `_simulate` one spectrum with it.

    Parameters
    ----------
    observation
        Anything with arrays ``wavelength`` and ``bin_width`` [um].
    parameters
        The names that a call takes: exactly these.
    settings
        All else that decides the spectrum, for the fingerprint: JSON-ready values, or functions.

    Raises
    ------
    InvalidInput
        Where a name repeats or none is given, or the observation lacks channels.
    """

    code: ClassVar[str]
    package: ClassVar[str]
    install: ClassVar[str]

    def __init__(
        self, observation: Any, parameters: Sequence[str], settings: Mapping[str, Any]
    ) -> None:
        names = () if isinstance(parameters, str) else tuple(parameters)
        if not names or len(set(names)) != len(names):
            raise InvalidInput(
                "parameters", parameters, "must list each parameter once",
                "Give the names that the retrieval has, as in parameters=['T', 'planet_radius'].",
            )  # fmt: skip
        for needed in ("wavelength", "bin_width"):
            if getattr(observation, needed, None) is None:
                raise InvalidInput(
                    f"observation.{needed}", None, "must be given",
                    f"The spectrum of {self.code} is averaged over channels [um].",
                )  # fmt: skip
        self.parameters = names
        centre = np.asarray(observation.wavelength, float)
        half = np.asarray(observation.bin_width, float) / 2
        self.left, self.right = centre - half, centre + half
        if not (self.left > 0).all():
            raise InvalidInput(
                "observation.wavelength - bin_width / 2", float(self.left.min()),
                "must be above 0", "Give wavelengths and full bin widths in um.",
            )  # fmt: skip
        self._settings = dict(settings)
        self._model: Any = None

    def set_up(self) -> None:
        """Import the code and build the model: once in each worker, before its first call.

        Call it yourself to see, before a run, whether the model can be built.

        Raises
        ------
        SimulatorError
            Where the code is not installed, or the model does not suit the observation.
        """
        if self._model is None:
            try:
                importlib.import_module(self.package)
            except ImportError as error:
                raise SimulatorError(
                    f"{self.code} cannot be imported ({error}). Install it where the simulations "
                    f"run: {self.install}"
                ) from None
            self._model = self._build()

    def __call__(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Simulate.

        Parameters
        ----------
        parameters
            ``{name: value}`` with exactly the names in `parameters`.

        Returns
        -------
        array (channels,), in the order of the observation

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing.
        SimulatorError
            Where the code finds the model invalid.
        """
        if set(parameters) != set(self.parameters):
            unknown = sorted(set(parameters) - set(self.parameters))
            missing = sorted(set(self.parameters) - set(parameters))
            raise InvalidInput(
                "parameters", sorted(parameters), f"must be {list(self.parameters)}",
                f"Unknown: {unknown}; missing: {missing}.",
            )  # fmt: skip
        self.set_up()
        return self._simulate(self._model, parameters)

    def fingerprint(self) -> str:
        """Hash of the settings, the user's functions and the code's version: 16 digits."""
        described = {
            name: fingerprint(value) if callable(value) else value
            for name, value in self._settings.items()
        }
        try:
            version = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed here"
        channels = self.left.tolist(), self.right.tolist()
        return hash_of([self.code, version, self.parameters, *channels, described])

    def _build(self) -> Any:
        """Make what a worker keeps."""
        raise NotImplementedError

    def _simulate(self, model: Any, parameters: Mapping[str, float]) -> np.ndarray:
        """Run what `_build` made; return the mean over each channel, from `left` to `right`."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}


def check_function(argument: str, function: Any, signature: str) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    InvalidInput
        With the call that is expected.
    """
    if not callable(function):
        raise InvalidInput(
            argument, function, "must be a function", f"It is called as {signature}."
        )
