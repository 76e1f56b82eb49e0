"""How a simulated spectrum becomes data: through the instrument, with noise.

The likelihood, and noise for a stored spectrum, of everything outside of training, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from floppity_jax.errors import InvalidInput, NoLikelihoodError
from floppity_jax.instrument.model import Instrument
from floppity_jax.instrument.step import Prediction
from floppity_jax.observation import Observation, Output
from floppity_jax.priors import Fixed, ParameterSpace, Tied
from floppity_jax.typing import Float

ROWS = 256  # spectra that go through the instrument at a time
TYPICAL = 100  # simulations, at most, behind a typical covariance
JITTER = 1e-6  # of the variance of correlated noise, where float32 draws it
FAR = 1e-9  # probability beyond what counts as the bound of a parameter without any


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
        Columns of the free parameters that it alone uses: they cost no simulator call.

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
        self.nuisances = np.array([i for i, n in enumerate(space.names) if n in own], int)
        self.prepared = instrument.prepare(
            observation, {name: _bounds(space, name) for name in self.names}
        )
        if instrument.grid is None:
            self.output = observation.output
        else:
            self.output = Output(("spectrum",), (len(instrument.grid),))

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
        residual, log_sd = self._whitened(spectra, theta)
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
        return self._whitened(spectra, theta)[0]

    def typical_covariance(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "channels channels"] | None:
        """Mean covariance of the noise of simulations; None where channels are independent."""
        if self.observation.covariance is None and not self.instrument.correlates:
            return None
        unit, some = self.prepared.unit, slice(None, None, -(-len(theta) // TYPICAL))
        base = base_noise(self.observation, unit)
        covariances = [
            _covariance(p, row, base)
            for p in self._predictions(spectra[some], theta[some])
            for row in range(len(p.mean))
        ]
        return np.mean(covariances, axis=0) * unit**2

    def _whitened(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals in deviations of the noise, and the logarithm of these."""
        errors = require_errors(self.observation)
        unit, n = self.prepared.unit, self.observation.n_channels
        values = self.observation.values / unit
        base = base_noise(self.observation, unit)
        parts = [
            _whiten(p, p.mean - values, base) if correlated(p, self.observation)
            else _scaled(p, p.mean - values, errors / unit)
            for p in self._predictions(spectra, theta)
        ]  # fmt: skip
        residual = _joined([part[0] for part in parts], n)
        return residual, _joined([part[1] for part in parts], n) + np.log(unit)

    def _predictions(
        self, spectra: Float[np.ndarray, "n k"], theta: Float[np.ndarray, "n d"]
    ) -> Iterator[Prediction]:
        raw = np.asarray(spectra, np.float64) / self.prepared.unit
        values = self.instrument_values(theta)
        for start in range(0, len(raw), ROWS):
            rows = slice(start, start + ROWS)
            yield self.prepared(np, raw[rows], {name: v[rows] for name, v in values.items()})


def require_errors(observation: Observation) -> Float[np.ndarray, " channels"]:
    """Return the errors of an observation.

    Raises
    ------
    NoLikelihoodError
        Where it has none.
    """
    if observation.errors is None:
        raise NoLikelihoodError(
            f"observation {observation.name!r} has errors=None (the simulator is stochastic), "
            "so there is no likelihood to correct or score by. Give its errors, or use the "
            "posterior as it is."
        )
    return observation.errors


def correlated(prediction: Prediction, observation: Observation) -> bool:
    """Whether the noise of different channels is correlated."""
    return (
        observation.covariance is not None
        or prediction.kernel is not None
        or prediction.templates.shape[2] > 0
    )


def base_noise(observation: Observation, unit: float) -> np.ndarray:
    """Deviations (channels,) of the noise as given, or its Cholesky factor (channels, channels)."""
    cholesky = observation.cholesky
    return (require_errors(observation) if cholesky is None else cholesky) / unit


def draw_noise(
    xp: ModuleType, prediction: Prediction, base: Any, normal: Callable[..., Any]
) -> Any:
    """Draw noise.

    Parameters
    ----------
    xp
        ``numpy`` or ``jax.numpy``.
    prediction
        Says what noise.
    base
        From `base_noise`.
    normal
        Draws standard normal numbers, given ``size=``.
    """
    mean, factor, extra, templates, kernel = prediction
    if base.ndim == 1:
        noise = xp.sqrt((factor * base) ** 2 + extra) * normal(size=mean.shape)
    else:
        noise = factor * (normal(size=mean.shape) @ base.T)
        noise = noise + xp.sqrt(extra) * normal(size=mean.shape)
    if templates.shape[2]:
        shares = normal(size=(len(mean), templates.shape[2]))
        noise = noise + xp.einsum("nck,nk->nc", templates, shares)
    if kernel is not None:
        size = JITTER * xp.einsum("ncc->n", kernel)[:, None, None] / mean.shape[1]
        root = xp.linalg.cholesky(kernel + (size + 1e-30) * xp.eye(mean.shape[1]))
        noise = noise + xp.einsum("ncd,nd->nc", root, normal(size=mean.shape))
    return noise


def _scaled(
    prediction: Prediction, residual: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whiten where each channel has noise of its own."""
    sd = np.sqrt((prediction.factor * errors) ** 2 + prediction.extra)
    return residual / sd, np.log(sd)


def _whiten(
    prediction: Prediction, residual: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whiten by the Cholesky factor of the covariance of each row."""
    _, factor, extra, templates, kernel = prediction
    white, log_sd = np.full_like(residual, np.nan), np.full_like(residual, np.nan)
    root = None
    same = kernel is None and not templates.shape[2] and (factor == 1).all() and not extra.any()
    for row in np.flatnonzero(np.isfinite(residual).all(axis=1)).tolist():
        if root is None or not same:
            whole = same and base.ndim == 2
            root = base if whole else np.linalg.cholesky(_covariance(prediction, row, base))
        white[row] = scipy.linalg.solve_triangular(root, residual[row], lower=True)
        log_sd[row] = np.log(np.diag(root))
    return white, log_sd


def _covariance(prediction: Prediction, row: int, base: np.ndarray) -> np.ndarray:
    """Return the covariance of the noise of one row."""
    _, factor, extra, templates, kernel = prediction
    given = np.diag(base**2) if base.ndim == 1 else base @ base.T
    covariance = factor[row][:, None] * given * factor[row] + np.diag(extra[row])
    covariance += templates[row] @ templates[row].T
    return covariance if kernel is None else covariance + kernel[row]


def _joined(parts: list[np.ndarray], channels: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, channels))


def _bounds(space: ParameterSpace, name: str) -> tuple[float, float]:
    """Range that a parameter hardly ever leaves."""
    entry = space.entries[name]
    if isinstance(entry, Tied):
        return _bounds(space, entry.other)
    if isinstance(entry, Fixed):
        return entry.value, entry.value
    low, high = entry.support
    low = low if np.isfinite(low) else float(entry.law.ppf(FAR))
    return low, high if np.isfinite(high) else float(entry.law.isf(FAR))
