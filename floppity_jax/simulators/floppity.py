"""Adapter for simulators written for FlopPITy 0.5."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.base import batched

_REMEDY = "Give the order in which the simulator reads its columns, as in names=['T', 'log_g']."


def from_floppity(
    function: Callable[..., Any],
    *,
    names: Sequence[str],
    observation: Any = None,
    batch: int = 1,
    **kwargs: Any,
) -> "FloppitySimulator":
    """Turn a FlopPITy simulator into one of ours.

    FlopPITy calls ``function(obs, parameters, thread=0, **kwargs)``, where ``obs`` maps a dataset's
    key to an array (channels, 3) of wavelength, value and error, and ``parameters`` is an array
    (n, parameters) whose columns carry no names. It gets back ``{key: array (n, channels)}``.

    Parameters
    ----------
    function
        The FlopPITy simulator. A pool of processes pickles it: define it in a module.
    names
        The parameters' names in the order of the columns that ``function`` reads.
    observation
        What ``function`` gets as ``obs``: one `floppity_jax.Observation` (passed under key 0, as
        FlopPITy numbers its first file), a mapping from key to observation or to an array
        (channels, >= 3), or None where ``function`` does not look at it.
    batch
        Parameter sets that ``function`` gets in a call, at most. Give 64, say, where it computes
        many about as fast as one; a batch is kept, and fails, as a whole.
    **kwargs
        Passed on to ``function`` (FlopPITy's ``simulator_kwargs``). ``thread`` is 0 unless given:
        a simulator that names its scratch files by thread needs a folder for each process.

    Returns
    -------
    FloppitySimulator
        A `batched` simulator: ``{name: array (n,)}`` to ``(n, channels)``, or to
        ``{key: (n, channels)}`` where ``function`` returns several datasets.

    Raises
    ------
    InvalidInput
        Where names repeat or are lacking, an observation has no wavelengths, or ``batch`` is no
        whole number above 0.
    """
    return batched(FloppitySimulator(function, names, observation, kwargs), size=batch)


@batched
class FloppitySimulator:
    """A FlopPITy simulator behind our convention; made by `from_floppity`."""

    def __init__(
        self,
        function: Callable[..., Any],
        names: Sequence[str],
        observation: Any,
        kwargs: Mapping[str, Any],
    ) -> None:
        if isinstance(names, str) or len(names) == 0 or len(set(names)) != len(names):
            raise InvalidInput("names", names, "must list each parameter once", _REMEDY)
        self.function = function
        self.parameters = tuple(names)
        self.kwargs = dict(kwargs)
        self.observations = _as_floppity(observation)

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Simulate.

        Parameters
        ----------
        parameters
            ``{name: array (n,)}``, exactly the names given to `from_floppity`.

        Returns
        -------
        array (n, channels), or a mapping of these where there are several datasets

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing.
        """
        if set(parameters) != set(self.parameters):
            raise InvalidInput(
                "parameters", sorted(parameters), f"must be {sorted(self.parameters)}", _REMEDY
            )
        columns = [np.asarray(parameters[name], dtype=float) for name in self.parameters]
        spectra = self.function(self.observations, np.stack(columns, axis=1), **self.kwargs)
        if isinstance(spectra, Mapping) and len(spectra) == 1:
            return next(iter(spectra.values()))
        return spectra


def _as_floppity(observation: Any) -> dict[Any, np.ndarray]:
    if observation is None:
        return {}
    several = observation if isinstance(observation, Mapping) else {0: observation}
    return {key: _columns(key, one) for key, one in several.items()}


def _columns(key: Any, observation: Any) -> np.ndarray:
    if isinstance(observation, np.ndarray):
        return observation
    errors = observation.errors
    columns = (
        observation.wavelength,
        observation.values,
        np.full_like(observation.values, np.nan) if errors is None else errors,
    )
    if observation.wavelength is None:
        raise InvalidInput(
            f"observation[{key!r}].wavelength", None, "must be given",
            "FlopPITy simulators read their wavelengths from the observation.",
        )  # fmt: skip
    return np.stack(columns, axis=1)
