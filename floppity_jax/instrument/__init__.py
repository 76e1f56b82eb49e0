"""What happens to a spectrum after the simulator: the instrument, and its errors.

Each step is a class, and each of its quantities a number or the name of a parameter to retrieve.
A parameter that only the instrument uses costs no simulator call.
"""

from floppity_jax.instrument.broadening import Resolution, Rotation
from floppity_jax.instrument.correlated import CorrelatedNoise
from floppity_jax.instrument.errors import ErrorFactor, ExtraError, ModelError
from floppity_jax.instrument.marginal import MarginalOffset, MarginalScale
from floppity_jax.instrument.model import Instrument
from floppity_jax.instrument.response import Offset, Scale
from floppity_jax.instrument.shift import RadialVelocity, WavelengthShift

__all__ = [
    "CorrelatedNoise",
    "ErrorFactor",
    "ExtraError",
    "Instrument",
    "MarginalOffset",
    "MarginalScale",
    "ModelError",
    "Offset",
    "RadialVelocity",
    "Resolution",
    "Rotation",
    "Scale",
    "WavelengthShift",
]
