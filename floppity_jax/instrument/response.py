"""Steps that change the spectrum itself: an offset, a scale."""

from __future__ import annotations

import dataclasses
from types import ModuleType

from floppity_jax.instrument.quantities import Bounds, Quantity, check_quantity, names_of, value_of
from floppity_jax.instrument.step import Prediction, Values
from floppity_jax.observation import Observation


@dataclasses.dataclass(frozen=True)
class Offset:
    """Add a constant to the spectrum.

    Parameters
    ----------
    value : float or str
        In the unit of the dataset.
    """

    value: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""
        return names_of(self.value)

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("Offset value", self.value, bounds)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        return prediction._replace(mean=prediction.mean + value_of(self.value, values) / unit)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Multiply the spectrum by a factor.

    Parameters
    ----------
    factor : float or str
        Of at least 0.
    """

    factor: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""
        return names_of(self.factor)

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("Scale factor", self.factor, bounds, 0.0)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        return prediction._replace(mean=prediction.mean * value_of(self.factor, values))
