"""What the steps of an instrument have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation

Quantity = float | str  # a number, or the name of a parameter
Values = Mapping[str, Any]  # of the parameters, by name: arrays (n,)
Bounds = Mapping[str, tuple[float, float]]  # that a parameter cannot leave


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


def names_in(*quantities: Quantity) -> tuple[str, ...]:
    """Return the names among quantities."""
    return tuple(q for q in quantities if isinstance(q, str))


def column(xp: ModuleType, quantity: Quantity, values: Values) -> Any:
    """Return a quantity as an array (n, 1), or a number."""
    return values[quantity][:, None] if isinstance(quantity, str) else quantity


def check_quantity(
    argument: str, quantity: Quantity, bounds: Bounds, least: float = -math.inf
) -> None:
    """Refuse a number that is not finite, or a quantity that may fall below ``least``."""
    if isinstance(quantity, str):
        low, high = bounds[quantity]
        if low < least:
            raise InvalidInput(
                f"parameters[{quantity!r}]", (low, high),
                f"must not reach below {least:g}, being {argument}", "Narrow its prior.",
            )  # fmt: skip
    elif not (isinstance(quantity, int | float) and math.isfinite(quantity) and quantity >= least):
        rule = "must be a finite number or the name of a parameter"
        if least > -math.inf:
            rule += f", of at least {least:g}"
        raise InvalidInput(argument, quantity, rule, 'For example 0.5, or "offset".')
