"""How a simulated spectrum becomes data: through the instrument, with noise.

The likelihood, and noise for a stored spectrum, of everything outside of training, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.model import Instrument
from floppity_jax.instrument.step import Prediction
from floppity_jax.noise import (
    base_noise,
    correlated,
    covariance_of,
    draw_noise,
    require_errors,
    whiten_channels,
    whiten_rows,
)
from floppity_jax.observation import Observation, Output
from floppity_jax.priors import Fixed, ParameterSpace, Prior, Tied
from floppity_jax.typing import Float

ROWS = 256  # spectra that go through the instrument at a time
LARGEST = 2**24  # numbers in the covariances of these, at most
TYPICAL = 100  # simulations, at most, behind a typical covariance
FAR = 1e-9  # probability beyond each of what count as the bounds of a parameter without two


class Measurement:
    """How spectra become data.

    Parameters
    ----------
    observation
        What was measured.
    space
        The parameters, of the simulator and of the instrument.
    instrument
        What happens in between; nothing unless given.
    simulator_names
        The parameters that the simulator says it needs, where it does.

    Attributes
    ----------
    output : Output
        What the simulator must return.
    names : tuple of str
        The parameters that the instrument uses.
    nuisances : array of int
        Columns of the free parameters of which the simulator is not told: they cost no call of it.

    Raises
    ------
    InvalidInput
        Where the instrument does not fit the parameters or the observation.
    """

    def __init__(
        self,
        observation: Observation,
        space: ParameterSpace,
        instrument: Instrument | None = None,
        simulator_names: Sequence[str] | None = None,
    ) -> None:
        instrument = Instrument.of(instrument)
        self.observation, self.space, self.instrument = observation, space, instrument
        self.names = instrument.names
        if missing := [name for name in self.names if name not in space.all_names]:
            raise InvalidInput(
                "parameters", list(space.all_names),
                f"must hold what the instrument uses, {missing} too",
                "Give each a prior, or a number to fix it.",
            )  # fmt: skip
        if instrument.changes_noise:
            require_errors(observation)
        own = [name for name in self.names if name not in (simulator_names or ())]
        self.simulator_names = tuple(name for name in space.all_names if name not in own)
        if not self.simulator_names:
            raise InvalidInput(
                "parameters", list(space.all_names), "must hold one for the simulator",
                'Where it needs none, give it a number: {"any": 0.0}.',
            )  # fmt: skip
        felt = {_source(space, name) for name in self.simulator_names}
        self.nuisances = np.array([i for i, n in enumerate(space.names) if n not in felt], int)
        self.prepared = instrument.prepare(
            observation, {name: _bounds(space, name) for name in self.names}
        )
        if instrument.grid is None:
            self.output = observation.output
        else:
            self.output = Output(("spectrum",), (len(instrument.grid),))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of: `prepared` holds functions, which do not pickle."""
        return Measurement, (self.observation, self.space, self.instrument, self.simulator_names)

    def simulator_parameters(self, theta: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
        """Return what the simulator is called with."""
        mapping = self.space.as_mapping(theta)
        return {name: mapping[name] for name in self.simulator_names}

    def instrument_values(self, theta: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
        """Return the parameters of the instrument."""
        if not self.names:
            return {}
        mapping = self.space.as_mapping(theta)
        return {name: mapping[name] for name in self.names}

    def predict(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n channels"]:
        """Noise-free data of simulated spectra."""
        if self.instrument.trivial:
            return np.asarray(spectra, np.float64)
        means = [p.mean * self.prepared.unit for p in self._predictions(spectra, theta)]
        return _joined(means, self.observation.n_channels)

    def noisy(
        self,
        rng: np.random.Generator,
        spectra: Float[np.ndarray, "n k"],
        theta: Float[np.ndarray, "n d"],
    ) -> Float[np.ndarray, "n channels"]:
        """Return data with noise; where the simulator itself is stochastic, none is added."""
        unit, errors = self.prepared.unit, self.observation.errors
        if errors is None:
            return self.predict(spectra, theta)
        base = base_noise(self.observation, unit)
        data = [
            unit * (p.mean + draw_noise(np, p, base, rng.normal))
            for p in self._predictions(spectra, theta)
        ]
        return _joined(data, self.observation.n_channels)

    def log_likelihood(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n channels"]:
        """Gaussian log-likelihood, channel by channel.

        Parameters
        ----------
        spectra
            What the simulator returned, noise-free.
        theta
            The parameters of each.

        Returns
        -------
        array (n, channels)
            Sum over the last axis for the likelihood of a spectrum. Where noise is correlated, that
            of a channel is conditional on those before it.

        Raises
        ------
        NoLikelihoodError
            Where the observation has no errors.
        """
        residual, log_sd = self.whitened(spectra, theta)
        return -0.5 * residual**2 - log_sd - 0.5 * np.log(2 * np.pi)

    def residuals(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n channels"]:
        """Model minus observation, in deviations of the noise, which are independent.

        Raises
        ------
        NoLikelihoodError
            Where the observation has no errors.
        """
        return self.whitened(spectra, theta)[0]

    def typical_covariance(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "channels channels"] | None:
        """Mean covariance of the noise of simulations; None where channels are independent."""
        if self.observation.covariance is None and not self.instrument.correlates:
            return None
        unit, some = self.prepared.unit, slice(None, None, -(-len(theta) // TYPICAL))
        base = base_noise(self.observation, unit)
        total = np.zeros((base.shape[0], base.shape[0]))
        for p in self._predictions(spectra[some], theta[some]):
            for row in range(len(p.mean)):
                total += covariance_of(p, row, base)
        return total * (unit**2 / len(theta[some]))

    def whitened(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, "n channels"], Float[np.ndarray, "n channels"]]:
        """Residuals in deviations of the noise, and the logarithm of these.

        Raises
        ------
        NoLikelihoodError
            Where the observation has no errors.
        """
        errors = require_errors(self.observation)
        unit, n = self.prepared.unit, self.observation.n_channels
        values = self.observation.values / unit
        base = base_noise(self.observation, unit)
        parts = [
            whiten_rows(p, p.mean - values, base) if correlated(p, self.observation)
            else whiten_channels(p, p.mean - values, errors / unit)
            for p in self._predictions(spectra, theta)
        ]  # fmt: skip
        residual = _joined([part[0] for part in parts], n)
        return residual, _joined([part[1] for part in parts], n) + np.log(unit)

    def _predictions(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Iterator[Prediction]:
        prepared, spectra = self.prepared, np.asarray(spectra, np.float64)
        values = self.instrument_values(theta)
        n_rows = ROWS
        if self.instrument.correlates:
            n_rows = min(ROWS, 1 + LARGEST // self.observation.n_channels**2)
        for start in range(0, len(spectra), n_rows):
            rows = slice(start, start + n_rows)
            reduced = prepared.reduce(np, spectra[rows] / prepared.unit)
            yield prepared(np, reduced, {name: v[rows] for name, v in values.items()})


def _joined(parts: list[np.ndarray], channels: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, channels))


def _source(space: ParameterSpace, name: str) -> str:
    """Name of the parameter that a tied one equals; of any other, its own."""
    entry = space.entries[name]
    return entry.other if isinstance(entry, Tied) else name


def _bounds(space: ParameterSpace, name: str) -> tuple[float, float]:
    """Range that a parameter hardly ever leaves."""
    entry = space.entries[_source(space, name)]
    if isinstance(entry, Fixed):
        return entry.value, entry.value
    assert isinstance(entry, Prior)
    if np.isfinite(entry.support).all():
        return entry.support
    return float(entry.law.ppf(FAR)), float(entry.law.isf(FAR))
