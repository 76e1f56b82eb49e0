"""Training spread over several devices gives what one device gives."""

import os
import subprocess
import sys

SCRIPT = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from floppity_jax import density, training
from floppity_jax.batches import ProjectedRows
from floppity_jax.flows.config import FlowConfig

assert len(jax.local_devices()) == 8
rng = np.random.default_rng(0)
z = rng.normal(size=(300, 2))
x = np.concatenate([z @ rng.normal(size=(2, 2)), rng.normal(size=(300, 1))], axis=1)
rows = ProjectedRows(*(jnp.asarray(a, float) for a in (z, x, np.full(3, 0.5), 1.0)))
data = training.make_training_set(
    rows, -0.5 * (z**2).sum(1), np.ones(300), n_rows=300, validation_fraction=0.1
)
config_flow = FlowConfig(transforms=1, bins=4, width=16, blocks=1, members=1)
graph, parameters = density.new_flows(jax.random.key(1), 2, 3, config_flow)
config = training.TrainingConfig(batch_size=64, max_epochs=2, atoms=4)
spread = training._rows_sharding


def on_one(batch_size):
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("rows",))
    return NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))


for atomic in (False, True):
    losses = []
    for sharding, n in ((spread, 8), (on_one, 1)):
        training._rows_sharding = sharding
        fitted, record = training.fit(
            jax.random.key(0), graph, parameters, data, config, atomic=atomic
        )
        leaf = jax.tree.leaves(fitted)[0]
        assert len(leaf.sharding.device_set) == n
        losses.append(record.train_loss + record.validation_loss)
    # Sums in another order: float32 rounding, amplified over 32 steps of training.
    np.testing.assert_allclose(*losses, rtol=1e-4)
assert spread(64).num_devices == 8
assert spread(50).num_devices == 5  # as many as divide the batch
"""


def test_eight_devices_train_as_one():
    """In a process of its own: the number of devices is fixed when JAX starts."""
    flags = "--xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
    )
