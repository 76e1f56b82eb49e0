"""What the flow is given of the rows of a batch: fresh noise at every step, never a frozen copy.

Where the data are a spectrum with Gaussian noise and nothing else, the noise of its projected
components is drawn. Where an instrument comes in between, its parameters are drawn too, and the
whole way from spectrum to data is gone at every step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from floppity_jax.compilation import full_precision
from floppity_jax.features import Features, context_of, in_unit, project
from floppity_jax.instrument.model import Prepared
from floppity_jax.measurement import ROWS, Measurement
from floppity_jax.noise import base_noise, draw_noise
from floppity_jax.typing import Array, Float, Int, Key

# Given a key, rows and which of them: their white parameters, and the inputs of the flow.
Draw = Callable[[Key, Any, Any], tuple[Array, Array]]


class ProjectedRows(NamedTuple):
    """Simulations as their components.

    Attributes
    ----------
    z : array (rows, d)
        Whitened parameters.
    components : array (rows, c)
        Projected noise-free spectra.
    scale : array (c,)
        Turns components with noise into inputs.
    noise : float
        Standard deviation of the noise on a component.
    """

    z: Float[Array, "rows d"]
    components: Float[Array, "rows c"]
    scale: Float[Array, " c"]
    noise: Float[Array, ""]


def pad_rows(array: np.ndarray, n_rows: int) -> Array:
    """Fill up to ``n_rows`` rows, in the precision of the device."""
    widths = [(0, n_rows - len(array))] + [(0, 0)] * (array.ndim - 1)
    return jnp.asarray(np.pad(array, widths), dtype=float)


def projected_rows(
    features: Features,
    spectra: Float[np.ndarray, "n channels"],
    z: Float[np.ndarray, "n d"],
    n_rows: int,
) -> ProjectedRows:
    """Bring simulations into the form in which `draw_projected` uses them."""
    return ProjectedRows(
        pad_rows(z, n_rows),
        pad_rows(project(features, spectra), n_rows),
        jnp.asarray(features.scale, float),
        jnp.asarray(features.noise, float),
    )


def draw_projected(key: Key, rows: Any, picked: Int[Array, " batch"]) -> tuple[Array, Array]:
    """Add noise to the components of `ProjectedRows`."""
    components = rows.components[picked]
    noise = rows.noise * jax.random.normal(key, components.shape)
    return rows.z[picked], (components + noise) * rows.scale


class MeasuredRows(NamedTuple):
    """Simulations as the simulator returned them.

    Attributes
    ----------
    z : array (rows, versions, d)
        Whitened parameters: for each simulation, several versions of those of the instrument.
    values : dict of str to array (rows, versions)
        Parameters of the instrument, in physical units.
    reduced : array (rows, m)
        What the instrument makes of the spectra that no parameter of its changes.
    base : array (channels,) or (channels, channels)
        Noise as given, from `measurement.base_noise`.
    features : Features
        The inputs of the flow, of data over that unit.
    """

    z: Float[Array, "rows versions d"]
    values: dict[str, Float[Array, "rows versions"]]
    reduced: Float[Array, "rows m"]
    base: Array
    features: Features


def measured_rows(
    measurement: Measurement,
    features: Features,
    spectra: Float[np.ndarray, "n k"],
    z: Float[np.ndarray, "n versions d"],
    values: Mapping[str, Float[np.ndarray, "n versions"]],
    n_rows: int,
) -> MeasuredRows:
    """Bring simulations into the form in which `DrawMeasured` uses them.

    Parameters
    ----------
    measurement
        How spectra become data.
    features
        Inputs of the flow.
    spectra
        What the simulator returned.
    z
        Whitened parameters.
    values
        Of the instrument's parameters.
    n_rows
        To fill up to.
    """
    unit = measurement.prepared.unit
    parts = np.array_split(spectra, -(-len(spectra) // ROWS))
    reduced = np.concatenate([measurement.prepared.reduce(np, part / unit) for part in parts])
    return MeasuredRows(
        pad_rows(z, n_rows),
        {name: pad_rows(each, n_rows) for name, each in values.items()},
        pad_rows(reduced, n_rows),
        jnp.asarray(base_noise(measurement.observation, unit), float),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, float), in_unit(features, unit)),
    )


@dataclasses.dataclass(frozen=True)
class DrawMeasured:
    """Draw the parameters of the instrument, and the data.

    Attributes
    ----------
    prepared : Prepared
        The instrument.
    """

    prepared: Prepared

    @full_precision
    def __call__(self, key: Key, rows: Any, picked: Int[Array, " batch"]) -> tuple[Array, Array]:
        """Return whitened parameters of `MeasuredRows`, and inputs of the flow."""
        key_version, key_noise = jax.random.split(key)
        version = jax.random.randint(key_version, picked.shape, 0, rows.z.shape[1])
        values = {name: each[picked, version] for name, each in rows.values.items()}
        prediction = self.prepared(jnp, rows.reduced[picked], values)
        keys = iter(jax.random.split(key_noise, 4))  # as many as `draw_noise` may ask for
        noise = draw_noise(
            jnp, prediction, rows.base, lambda size: jax.random.normal(next(keys), size)
        )
        data = prediction.mean + rows.features.noise * noise
        return rows.z[picked, version], context_of(jnp, rows.features, data)
