"""What the steps of an instrument have in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from floppity_jax.instrument.quantities import Bounds
from floppity_jax.observation import Observation

Values = Mapping[str, Any]  # of the parameters, by name: arrays (n,)


class Prediction(NamedTuple):
    """What would be measured of model spectra, in a unit of ``unit``: its mean, and its noise.

    The noise has the covariance ``factor factor' * given + diag(extra) + templates templates' +
    kernel``, where ``given`` is that of the observation.

    Attributes
    ----------
    mean : array (n, channels)
        Without noise.
    factor : array (n, channels)
        On the errors as given.
    extra : array (n, channels)
        Variance that is added to theirs.
    templates : array (n, channels, k)
        Shapes of noise that all channels share, with their deviations.
    kernel : array (n, channels, channels) or None
        Covariance of correlated noise.
    """

    mean: Any
    factor: Any
    extra: Any
    templates: Any
    kernel: Any = None


class ChannelStep(Protocol):
    """A step that acts on the channels of a dataset."""

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work, before anything is simulated."""

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken; ``xp`` is numpy or jax.numpy."""
