"""A temperature that falls with height, which the embedded model does not have."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import floppity_jax as fp
from floppity_jax.simulators.slant import Levels, annulus_weights, slant_paths
from floppity_jax.simulators.transmission import (
    BACKGROUND,
    BAR_OVER_K,
    GAS_CONSTANT,
    MASS,
    MOLECULES,
    R_JUP,
    R_SUN,
    interpolate,
)


class TemperatureGradient(fp.simulators.IsothermalTransmission):
    """The embedded model's atmosphere, clear, with ``T`` at 10 mbar and so many K more a decade."""

    per_decade: ClassVar = 100.0  # [K]

    def _spectrum(self, theta: dict[str, jax.Array]) -> jax.Array:
        y = jnp.asarray(self._height)  # ln(10 bar / P), and 10 mbar lie at ln 1000
        slope = self.per_decade / np.log(10)
        temperature = theta["T"] + slope * (np.log(1000) - y)
        mixing = jnp.stack([theta[f"X_{gas}"] for gas in MOLECULES])
        background = 1 - mixing.sum()
        mass = background * sum(BACKGROUND[gas] * MASS[gas] for gas in BACKGROUND)
        mass += jnp.sum(mixing * jnp.array([MASS[gas] for gas in MOLECULES]))

        radius = theta["radius"] * R_JUP
        per_kelvin = GAS_CONSTANT / (mass * 10 ** theta["log_g"] * radius)
        mean = theta["T"] + slope * (np.log(1000) - y / 2)  # from the reference to each level
        kept = 1 - per_kelvin * mean * y  # R / r: d(R / r) = -(H / R) dy, gravity falling as 1/r^2
        at = Levels(1 / kept, per_kelvin * temperature / kept**2, kept**-2 - kept[0] ** -2)
        density = jnp.asarray(self._pressure) * (BAR_OVER_K / temperature)
        columns = radius * slant_paths(at, self._quadrature, self._step) * density

        h2, he = (background * BACKGROUND[gas] for gas in ("H2", "He"))
        cia = self._at_levels(self._ln_cia_temperature, self._ln_cia, temperature)
        pairs = h2 * (h2 * cia[:, 0] + he * cia[:, 1]) * density[:, None]
        transmission = jnp.exp(-columns @ (pairs + background * self._rayleigh))

        k = self._at_levels(self._ln_temperature, self._ln_k, temperature, self._in_pressure)
        passed = jnp.exp(-mixing[:, None, None] * jnp.tensordot(columns, k, 1))
        weights = jnp.asarray(self._g_weights)[:, None]
        transmission *= jnp.prod(jnp.sum(weights * passed, axis=2), axis=1)

        annuli = annulus_weights(jnp.zeros(()), y.size) * 2 * at.radius * at.slope * self._step
        area = at.radius[0] ** 2 + annuli @ (1 - transmission)
        scale = (radius / (self.star_radius * R_SUN)) ** 2
        return scale * jnp.asarray(self._channel_weights) @ area

    @staticmethod
    def _at_levels(
        grid: np.ndarray,
        table: np.ndarray,
        temperature: jax.Array,
        pressure: np.ndarray | None = None,
    ) -> jax.Array:
        """Cross sections (levels, ...) at each level's temperature, and pressure."""
        ln = jax.vmap(lambda t: interpolate(grid, table, jnp.log(t)))(temperature)
        if pressure is not None:
            ln = jnp.einsum("lp,lp...->l...", jnp.asarray(pressure), ln)
        return jnp.exp(ln)
