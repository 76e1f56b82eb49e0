"""The simulator convention and the adapter for FlopPITy's simulators."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from floppity_jax import simulators
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators import batched, from_floppity, jax_batched, simulator_kind


def line(obs, parameters, thread=0, **kwargs):
    """A simulator in FlopPITy's signature: offset + slope * wavelength, for each dataset."""
    offset, slope = parameters.T
    scale = kwargs.get("scale", 1.0)
    return {
        key: scale * (offset[:, None] + slope[:, None] * data[:, 0]) for key, data in obs.items()
    }


def spectrum(n):
    return types.SimpleNamespace(
        wavelength=np.linspace(1, 2, n), values=np.zeros(n), errors=np.ones(n)
    )


def test_kind_of_functions_objects_and_classes():
    class Plain:
        def __call__(self, parameters):
            return parameters["a"]

    @jax_batched
    class Traced(Plain):
        pass

    one = Plain()
    assert simulator_kind(one) == "scalar"
    assert simulator_kind(batched(one)) == "batched"
    assert simulator_kind(Plain()) == "scalar"
    assert simulator_kind(Traced()) == "jax_batched"
    assert simulator_kind(batched(lambda parameters: parameters["a"])) == "batched"
    for refused in (simulator_kind, batched, jax_batched):
        with pytest.raises(InvalidInput, match="must be callable"):
            refused(3)


def test_from_floppity_puts_columns_in_the_given_order():
    data = spectrum(4)
    simulator = from_floppity(line, names=["offset", "slope"], observation=data, scale=2.0)
    theta = {"slope": np.array([1.0, 0.0, 2.0]), "offset": np.array([5.0, 6.0, 7.0])}
    expected = 2 * (theta["offset"][:, None] + theta["slope"][:, None] * data.wavelength)
    assert simulator_kind(simulator) == "batched"
    np.testing.assert_array_equal(simulator(theta), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(simulator))(theta), expected)


def test_from_floppity_with_several_datasets():
    several = {"red": spectrum(3), "blue": np.ones((5, 4))}
    simulator = from_floppity(line, names=["offset", "slope"], observation=several)
    got = simulator({"slope": np.array([1.0]), "offset": np.array([5.0])})
    np.testing.assert_array_equal(got["blue"], [[6.0] * 5])
    assert got["red"].shape == (1, 3)


def test_from_floppity_refuses():
    with pytest.raises(InvalidInput, match="once"):
        from_floppity(line, names=["a", "a"])
    with pytest.raises(InvalidInput, match="once"):
        from_floppity(line, names="ab")
    with pytest.raises(InvalidInput, match="must be \\['a', 'b'\\]"):
        from_floppity(line, names=["a", "b"])({"a": np.ones(1)})
    no_wavelength = types.SimpleNamespace(wavelength=None, values=np.ones(2), errors=None)
    with pytest.raises(InvalidInput, match="wavelength"):
        from_floppity(line, names=["a", "b"], observation=no_wavelength)


def test_convention_and_adapter_import_no_jax():
    code = (
        "import sys; from floppity_jax.simulators import base, floppity; "
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_simulators_offers_what_it_lists():
    for name in simulators.__all__:
        assert callable(getattr(simulators, name))
    assert simulator_kind(simulators.IsothermalTransmission) == "jax_batched"
    with pytest.raises(AttributeError, match="nothing"):
        _ = simulators.nothing
