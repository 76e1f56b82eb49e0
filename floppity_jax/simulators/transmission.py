"""Transmission spectra of an isothermal atmosphere, in JAX: the embedded forward model."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from floppity_jax.channels import channel_weights, check_channels
from floppity_jax.errors import InvalidInput
from floppity_jax.simulators.base import jax_batched
from floppity_jax.simulators.opacity import (
    MOLECULES,
    PAIRS,
    OpacityTable,
    rayleigh_cross_sections,
    read_opacities,
)
from floppity_jax.simulators.slant import (
    annulus_weights,
    hydrostatic_levels,
    radius_at,
    slant_paths,
    slant_quadrature,
)
from floppity_jax.typing import Array, Float

R_JUP = 7.1492e9  # [cm], equatorial (IAU 2015 Resolution B3)
R_SUN = 6.957e10  # [cm], nominal (IAU 2015 Resolution B3)
GAS_CONSTANT = 8.314462618e7  # k / m_u [erg / (g K)]
BAR_OVER_K = 1e6 / 1.380649e-16 / 1e20  # 1 bar / k [1e20 K / cm3]
MASS = {"H2": 2.01588, "He": 4.002602, "H2O": 18.01528, "CO2": 44.0095}  # [g / mol]
BACKGROUND = {"H2": 0.85, "He": 0.15}  # by number; the protosolar He/H is about 0.09

# Densities are in units of 1e20 / cm3, and cross sections are scaled to match: the square of a
# density in cgs overflows in float32, and collision-induced absorption in cgs underflows.
_LN_10 = float(np.log(10))


@jax_batched
class IsothermalTransmission:
    """Transit depth of a planet with an isothermal H2/He atmosphere of uniform composition.

    The atmosphere is hydrostatic, its gravity falls with height, and it reaches from 100 bar, below
    which nothing shines through, to 1e-8 bar. Light is absorbed by H2O and CO2 (correlated k, the
    two gases taken as uncorrelated within a bin, so that their transmissions multiply), by
    collision-induced absorption of H2-H2 and H2-He, and scattered by H2 and He. Opacities are
    interpolated in ln k, linearly in ln P and ln T; outside the table those of its edge are used
    (under 100 K, too), while densities and heights follow the true T and P.

    Parameters
    ----------
    wavelength : array (channels,)
        Channel centres [um].
    bin_width : array (channels,)
        Full channel widths [um]. A channel averages the transit depth evenly over its width.
    star_radius : float
        [R_sun].
    cloud : bool
        Adds the parameter ``log_P_cloud``: the log10 of the pressure [bar] of an opaque grey deck.
    rayleigh : bool
        Whether H2 and He scatter.
    opacities : OpacityTable or path, optional
        Unless given, the table inside the package.
    levels : int
        Pressure levels, evenly spaced in ln P. Six to a decade bring a spectrum of WASP-39 b
        within 1.5 ppm of twenty; the error falls as the fourth power.
    pressure_range : (float, float)
        Pressures of the highest and the lowest level [bar]. An atmosphere that ended at 1e-6 bar
        would lack 100 to 200 ppm in the strongest bands of WASP-39 b (X_H2O 1e-3, X_CO2 1e-5 to
        1e-4); one that ends at 1e-8 lacks 3 to 10.
    reference_pressure : float
        Where ``radius`` and ``log_g`` hold [bar].

    Attributes
    ----------
    parameters : tuple of str
        The names that a call needs: ``T`` [K], ``X_H2O`` and ``X_CO2`` (volume mixing ratios),
        ``radius`` [R_jup = 71492 km], ``log_g`` (log10 of cm/s2) and, with a cloud,
        ``log_P_cloud``.
    units : dict of str to str
        Of the parameters that have one.

    Raises
    ------
    InvalidInput
        Where a channel leaves the opacity table, or an argument is not positive.
    """

    units: ClassVar = {"T": "K", "radius": "R_jup"}

    def __init__(
        self,
        wavelength: Float[np.ndarray, " channels"],
        bin_width: Float[np.ndarray, " channels"],
        *,
        star_radius: float,
        cloud: bool = False,
        rayleigh: bool = True,
        opacities: OpacityTable | str | pathlib.Path | None = None,
        levels: int = 61,
        pressure_range: tuple[float, float] = (1e-8, 100.0),
        reference_pressure: float = 10.0,
    ) -> None:
        wavelength = np.asarray(wavelength, dtype=np.float64)
        bin_width = np.asarray(bin_width, dtype=np.float64)
        table = opacities if isinstance(opacities, OpacityTable) else read_opacities(opacities)
        check_channels(wavelength, bin_width, table)
        top, bottom = pressure_range
        if not 0 < top < bottom:
            raise InvalidInput(
                "pressure_range", pressure_range, "must be (low, high) in bar, both above 0",
                "The usual range is (1e-8, 100.0).",
            )  # fmt: skip
        if not top < reference_pressure <= bottom:
            raise InvalidInput(
                "reference_pressure", reference_pressure, f"must lie in {pressure_range} bar",
                "Give a pressure inside pressure_range.",
            )  # fmt: skip
        if not star_radius > 0:
            raise InvalidInput(
                "star_radius", star_radius, "must be above 0", "Give it in solar radii."
            )
        if levels < 4:
            raise InvalidInput("levels", levels, "must be 4 or more", "Use the default.")
        self.wavelength, self.bin_width = wavelength, bin_width
        self.star_radius, self.cloud = float(star_radius), bool(cloud)
        self.parameters = ("T", *(f"X_{gas}" for gas in MOLECULES), "radius", "log_g")
        if cloud:
            self.parameters += ("log_P_cloud",)
        self._settings = {
            "model": "IsothermalTransmission 1",
            "wavelength": wavelength.tolist(),
            "bin_width": bin_width.tolist(),
            "star_radius": self.star_radius,
            "cloud": self.cloud,
            "rayleigh": bool(rayleigh),
            "levels": int(levels),
            "pressure_range": [float(top), float(bottom)],
            "reference_pressure": float(reference_pressure),
            "opacities": table.fingerprint(),
        }

        # What does not depend on the parameters is worked out here, once, in double precision.
        left, right = wavelength - bin_width / 2, wavelength + bin_width / 2
        table = table.within(left.min(), right.max())
        self._channel_weights = channel_weights(left, right, table.wavelength_edges)
        log_p = np.linspace(np.log(bottom), np.log(top), levels)
        self._pressure = np.exp(log_p)
        self._height = np.log(reference_pressure) - log_p
        self._step = float(self._height[1] - self._height[0])
        self._quadrature = slant_quadrature(levels, self._step)
        self._in_pressure = hat_weights(log_p, np.log(table.pressure))
        # (temperatures, pressures, molecules, g, bins): ln of the cross section [1e-20 cm2]
        ln_k = np.stack([table.log10_k[gas] for gas in MOLECULES]) * _LN_10 + 20 * _LN_10
        self._ln_k = np.ascontiguousarray(ln_k.transpose(1, 2, 0, 4, 3), np.float32)
        self._ln_temperature = np.log(table.temperature)
        self._g_weights = table.g_weights
        ln_cia = np.stack([table.log10_cia[pair] for pair in PAIRS], axis=1)
        self._ln_cia = (ln_cia * _LN_10 + 40 * _LN_10).astype(np.float32)
        self._ln_cia_temperature = np.log(table.cia_temperature)
        centre = (table.wavelength_edges[1:] + table.wavelength_edges[:-1]) / 2
        scattering = rayleigh_cross_sections(centre)
        self._rayleigh = 1e20 * float(rayleigh) * sum(
            BACKGROUND[gas] * scattering[gas] for gas in BACKGROUND
        )  # fmt: skip

    @classmethod
    def for_observation(
        cls, observation: Any, *, star_radius: float, **options: Any
    ) -> "IsothermalTransmission":
        """Make the model for the channels of an observation.

        Parameters
        ----------
        observation
            Anything with arrays ``wavelength`` and ``bin_width`` [um].
        star_radius
            [R_sun].
        **options
            Any other argument of the class.
        """
        for needed in ("wavelength", "bin_width"):
            if getattr(observation, needed, None) is None:
                raise InvalidInput(
                    f"observation.{needed}", None, "must be given",
                    f"This model needs the {needed} of each channel [um].",
                )  # fmt: skip
        return cls(
            observation.wavelength, observation.bin_width, star_radius=star_radius, **options
        )

    def fingerprint(self) -> str:
        """Hash of every setting and of the opacities: 16 hexadecimal digits."""
        text = json.dumps(self._settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __call__(self, parameters: Mapping[str, Float[Array, " n"]]) -> Float[Array, "n channels"]:
        """Compute transit depths.

        Parameters
        ----------
        parameters
            ``{name: array (n,)}`` with exactly the names in `parameters`.

        Returns
        -------
        array (n, channels)
            Transit depth, (R_planet / R_star)^2.

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing, or the arrays are not (n,) alike.
        """
        if set(parameters) != set(self.parameters):
            unknown = sorted(set(parameters) - set(self.parameters))
            missing = sorted(set(self.parameters) - set(parameters))
            raise InvalidInput(
                "parameters", sorted(parameters), f"must be {list(self.parameters)}",
                f"Unknown: {unknown}; missing: {missing}. log_P_cloud needs cloud=True.",
            )  # fmt: skip
        columns = {name: jnp.asarray(parameters[name], float) for name in self.parameters}
        shapes = {name: column.shape for name, column in columns.items()}
        if len(set(shapes.values())) != 1 or columns["T"].ndim != 1:
            raise InvalidInput(
                "parameters", shapes, "must hold arrays (n,), all of one length",
                "Wrap a single value as an array of one.",
            )  # fmt: skip
        # One spectrum at a time stays in a core's cache; an accelerator wants many at once.
        together = None if jax.default_backend() == "cpu" else 128
        return jax.lax.map(self._spectrum, columns, batch_size=together)

    def _spectrum(self, theta: dict[str, jax.Array]) -> jax.Array:
        temperature = theta["T"]
        dtype = temperature.dtype
        mixing = jnp.stack([theta[f"X_{gas}"] for gas in MOLECULES])
        background = jnp.maximum(1 - mixing.sum(), 0)
        mass = background * sum(BACKGROUND[gas] * MASS[gas] for gas in BACKGROUND)
        mass += jnp.sum(mixing * jnp.asarray([MASS[gas] for gas in MOLECULES], dtype))

        radius = theta["radius"] * R_JUP
        gravity = jnp.exp(theta["log_g"] * _LN_10)
        scale_height = GAS_CONSTANT * temperature / (mass * gravity * radius)  # in radii
        at = hydrostatic_levels(jnp.asarray(self._height, dtype), scale_height)
        density = jnp.asarray(self._pressure, dtype) * (BAR_OVER_K / temperature)
        columns = radius * slant_paths(at, self._quadrature, self._step) * density

        transmission = self._continuum(temperature, background, density, columns)
        ln_k = interpolate(self._ln_temperature, self._ln_k, jnp.log(temperature))
        ln_k = _matmul(jnp.asarray(self._in_pressure, dtype), ln_k)
        tau = _matmul(columns, jnp.exp(ln_k))
        # (levels, molecules, g, bins): mean over g, product over molecules
        passed = jnp.exp(-mixing[:, None, None] * tau)
        weights = jnp.asarray(self._g_weights, dtype)[:, None]
        transmission *= jnp.prod(jnp.sum(weights * passed, axis=2), axis=1)

        if self.cloud:
            deck = (np.log(self._pressure[0]) - theta["log_P_cloud"] * _LN_10) / self._step
            deck = jnp.clip(deck, 0, self._height.size - 1)
        else:
            deck = jnp.zeros((), dtype)
        opaque = radius_at(self._height[0] + deck * self._step, scale_height)
        annuli = annulus_weights(deck, self._height.size) * 2 * at.radius * at.slope * self._step
        area = opaque**2 + _matmul(annuli, 1 - transmission)
        scale = (radius / (self.star_radius * R_SUN)) ** 2
        return scale * _matmul(jnp.asarray(self._channel_weights, dtype), area)

    def _continuum(
        self, temperature: jax.Array, background: jax.Array, density: jax.Array, columns: jax.Array
    ) -> jax.Array:
        """Transmission (levels, bins) past scattering and collision-induced absorption."""
        h2, he = (background * BACKGROUND[gas] for gas in ("H2", "He"))
        cia = jnp.exp(interpolate(self._ln_cia_temperature, self._ln_cia, jnp.log(temperature)))
        pairs = h2 * (h2 * cia[0] + he * cia[1])
        scattering = background * jnp.asarray(self._rayleigh, temperature.dtype)
        return jnp.exp(
            -_matmul(columns, density)[:, None] * pairs - columns.sum(axis=1)[:, None] * scattering
        )


def interpolate(grid: np.ndarray, table: np.ndarray, at: jax.Array) -> jax.Array:
    """Interpolate linearly along the first axis of a table; beyond the grid, take its edge."""
    nodes = jnp.asarray(grid, at.dtype)
    at = jnp.clip(at, nodes[0], nodes[-1])
    low = jnp.clip(jnp.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    fraction = (at - nodes[low]) / (nodes[low + 1] - nodes[low])
    pair = jax.lax.dynamic_slice_in_dim(jnp.asarray(table, at.dtype), low, 2)
    return pair[0] + fraction * (pair[1] - pair[0])


def _matmul(matrix: jax.Array, table: jax.Array) -> jax.Array:
    """Contract with the first axis, in full precision: GPUs round float32 products by default."""
    return jnp.tensordot(matrix, table, 1, precision=jax.lax.Precision.HIGHEST)


def hat_weights(at: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Matrix (at, grid) of linear interpolation; beyond the grid it takes the edge."""
    return np.stack([np.interp(at, grid, unit) for unit in np.eye(grid.size)], axis=1)
