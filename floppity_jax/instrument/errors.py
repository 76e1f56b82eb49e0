"""Steps that distrust the errors: each channel's own grows, independently of the others.

A factor multiplies the errors as they are given, in whatever order the steps come; variances are
added after it.
"""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType

from floppity_jax.instrument.quantities import Bounds, Quantity, check_quantity, names_of, value_of
from floppity_jax.instrument.step import Prediction, Values
from floppity_jax.observation import Observation


@dataclasses.dataclass(frozen=True)
class ErrorFactor:
    """Multiply the errors by a factor.

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
        check_quantity("ErrorFactor factor", self.factor, bounds, 0.0)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        return prediction._replace(factor=prediction.factor * value_of(self.factor, values))


@dataclasses.dataclass(frozen=True)
class ExtraError:
    """Add ``10**b`` to the variance of each channel (Line et al. 2015, ApJ 807, 183).

    Parameters
    ----------
    b : float or str
        Decimal logarithm of the variance, in the squared unit of the dataset. An extra error of
        100 ppm is b = -8.
    """

    b: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""
        return names_of(self.b)

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("ExtraError b", self.b, bounds)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        # The square of a small unit may be no float32: subtract logarithms.
        log_variance = value_of(self.b, values) - 2 * math.log10(unit)
        return prediction._replace(extra=prediction.extra + 10.0**log_variance)


@dataclasses.dataclass(frozen=True)
class ModelError:
    """Add a fraction of the model to the errors, in quadrature.

    Piette & Madhusudhan (2020, MNRAS 497, 5136) add it to account for what a model lacks.

    Parameters
    ----------
    fraction : float or str
        Of the model spectrum, at least 0.
    """

    fraction: Quantity

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that it uses."""
        return names_of(self.fraction)

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("ModelError fraction", self.fraction, bounds, 0.0)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        error = value_of(self.fraction, values) * prediction.mean
        return prediction._replace(extra=prediction.extra + error**2)
