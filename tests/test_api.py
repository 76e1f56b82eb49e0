"""The face that the package shows."""

import subprocess
import sys

import pytest

import floppity_jax as fp

DESIGNED = (
    "Ensemble Fixed FlowConfig Instrument LogNormal LogUniform Normal Observation Pool Posterior "
    "Retrieval Tied TrainingConfig TruncatedNormal Uniform batched calibrate calibrate_amortised "
    "compare compare_posteriors jax_batched join load_posterior noise_realisations read_nested "
    "read_observation run_ensemble simulators"
).split()


@pytest.mark.parametrize("name", DESIGNED)
def test_names_of_the_design(name):
    assert name in dir(fp)
    assert getattr(fp, name) is not None
    assert name == "simulators" or getattr(fp, name).__doc__


@pytest.mark.parametrize("name", ["IsothermalTransmission", "from_floppity", "simulator_kind"])
def test_names_of_the_simulators(name):
    assert callable(getattr(fp.simulators, name))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'Retrival'"):
        fp.Retrival  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Isothermal'"):
        fp.simulators.Isothermal  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import floppity_jax",
        "import floppity_jax.pool, floppity_jax.simulators",  # what a worker loads
        "import floppity_jax as fp; fp.Uniform, fp.Observation, fp.Pool, fp.batched",
        "import floppity_jax.cli",
    ],
)
def test_imports_stay_light(statement):
    heavy = "{'jax', 'flax', 'arviz', 'arviz_base', 'matplotlib', 'distrax', 'xarray'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
