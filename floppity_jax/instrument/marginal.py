"""A scale or an offset of the whole spectrum, integrated out instead of retrieved.

Of a quantity on which the spectrum depends linearly, with a normal prior, the likelihood can be
integrated in closed form: it adds ``deviation**2 * t t'`` to the covariance, with t what a change
of one unit does. The posterior of the other parameters is what it would be with the quantity
retrieved, at one dimension less. (The best value for each model, which is taken at times, has
neither prior nor uncertainty, and of it there is no evidence.)
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

from floppity_jax.instrument.quantities import Bounds, check_quantity
from floppity_jax.instrument.step import Prediction, Values
from floppity_jax.observation import Observation


@dataclasses.dataclass(frozen=True)
class MarginalScale:
    """Integrate over a factor on the spectrum, normal about 1.

    The factor is what an unknown distance, stellar radius, or (in emission) planetary radius does
    to a spectrum.

    Parameters
    ----------
    sd : float
        Standard deviation of the factor's prior, above 0.
    """

    sd: float
    names = ()

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("MarginalScale sd", self.sd, bounds, 0.0)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        return _with_template(xp, prediction, self.sd * prediction.mean)


@dataclasses.dataclass(frozen=True)
class MarginalOffset:
    """Integrate over an offset of the spectrum, normal about 0.

    Parameters
    ----------
    sd : float
        Standard deviation of its prior, above 0, in the unit of the dataset.
    """

    sd: float
    names = ()

    def check(self, observation: Observation, bounds: Bounds) -> None:
        """Refuse what would not work."""
        check_quantity("MarginalOffset sd", self.sd, bounds, 0.0)

    def apply(
        self, xp: ModuleType, prediction: Prediction, values: Values, observation: Observation,
        unit: float,
    ) -> Prediction:  # fmt: skip
        """Return the prediction with this step taken."""
        shape = xp.ones_like(prediction.mean) * (self.sd / unit)
        return _with_template(xp, prediction, shape)


def _with_template(xp: ModuleType, prediction: Prediction, shape: Any) -> Prediction:
    templates = xp.concatenate([prediction.templates, shape[:, :, None]], axis=2)
    return prediction._replace(templates=templates)
