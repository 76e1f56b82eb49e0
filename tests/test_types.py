"""The array annotations at public borders say what the functions do."""

import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

import floppity_jax as fp
from floppity_jax import proposals
from floppity_jax.flows import spline
from floppity_jax.measurement import Measurement
from floppity_jax.priors import ParameterSpace

SPACE = ParameterSpace({"a": (0.0, 1.0), "b": fp.Normal(0.0, 1.0)})
MEASUREMENT = Measurement(fp.Observation(np.zeros(4), np.ones(4)), SPACE)
THETA, Z = np.full((5, 2), 0.5), np.zeros((5, 2))
X, PARAMETERS = jnp.zeros((5, 2)), jnp.zeros((8, 5, 2))

CALLS = {
    "to_z": (ParameterSpace.to_z, (SPACE, THETA), (SPACE, THETA[0])),
    "to_theta": (ParameterSpace.to_theta, (SPACE, Z), (SPACE, Z[0])),
    "log_prior": (ParameterSpace.log_prior, (SPACE, THETA), (SPACE, THETA[:, 0])),
    "as_mapping": (ParameterSpace.as_mapping, (SPACE, THETA), (SPACE, THETA[0])),
    "log_likelihood": (
        Measurement.log_likelihood, (MEASUREMENT, np.zeros((5, 4)), THETA),
        (MEASUREMENT, np.zeros(4), THETA),
    ),
    "effective_sample_size": (proposals.effective_sample_size, (np.zeros(5),), (Z,)),
    "spline.forward": (spline.forward, (X, PARAMETERS, 5.0), (X, PARAMETERS[:, 0], 5.0)),
    "spline.inverse": (spline.inverse, (X, PARAMETERS, 5.0), (X, PARAMETERS[:, 0], 5.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_annotations_hold(name):
    function, good, bad = CALLS[name]
    checked = jaxtyped(typechecker=beartype)(function)
    assert checked(*good) is not None
    with pytest.raises(TypeCheckError):
        checked(*bad)
