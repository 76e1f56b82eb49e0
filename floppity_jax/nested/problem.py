"""What a nested sampler explores: the log-likelihood over the unit cube, and its book-keeping.

Samplers see the unit cube alone, ``u = Phi(z)``: the prior is uniform there whatever its shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special

from floppity_jax.measurement import Measurement
from floppity_jax.noise import require_errors
from floppity_jax.pool import Pool
from floppity_jax.simulate import hopeless, simulate, too_many_failures
from floppity_jax.simulations import Directory
from floppity_jax.simulators.base import simulator_kind
from floppity_jax.typing import Float

FAILED = -1e100  # log-likelihood where the simulator fails: samplers want a finite number
END = 1e-16  # how near the ends of the unit interval a coordinate may come
WINDOW = 10_000  # calls over which the share of failures is watched
SMALLEST, LARGEST = 16, 256  # spectra of a compiled call, by powers of two
DEVICE_BATCH, POOL_BATCH = 128, 16
SAVE_SECONDS = 5.0  # between two savings of the counts


class Problem:
    """The log-likelihood of a retrieval over the unit cube.

    Calls, failures and seconds add up in ``store``, so that a run that goes on there counts those
    that came before.

    Parameters
    ----------
    simulator, measurement, pool
        Of the retrieval.
    store
        Where the counts are kept.

    Attributes
    ----------
    calls, failures : int
        Likelihood evaluations, each a run of the simulator, and how many of them failed.

    Raises
    ------
    NoLikelihoodError
        Where the observation has no errors.
    """

    def __init__(
        self,
        simulator: Callable[..., Any],
        measurement: Measurement,
        pool: Pool,
        store: Directory,
    ) -> None:
        require_errors(measurement.observation)
        self.simulator = simulator
        self.measurement = measurement
        self.space = measurement.space
        self.pool = pool
        self._store = store
        before = (store.pieces("calls") or [{"counts": np.zeros(3)}])[-1]["counts"]
        self.calls, self.failures = int(before[0]), int(before[1])
        self._began = self._saved = time.monotonic()
        self._seconds_before = float(before[2])
        self._recent, self._texts = 0, list[str]()

    @property
    def seconds(self) -> float:
        """Wall time, of what came before too."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def batch(self) -> int:
        """Points that are best handed over at once: the device, or every worker, is then busy."""
        if simulator_kind(self.simulator) == "jax_batched":
            return DEVICE_BATCH
        return max(POOL_BATCH, 4 * self.pool.slots())

    def to_theta(self, u: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Physical parameters at points of the unit cube, by the inverse of each prior's CDF."""
        return self.space.to_theta(special.ndtri(np.clip(u, END, 1 - END)))

    def log_likelihood(self, u: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log-likelihood at points of the unit cube; ``FAILED`` where the simulator fails.

        Raises
        ------
        TooManyFailures
            Where a larger share fails than the pool lets pass.
        """
        # Batches come in all sizes: those of the device are padded to the next power of two.
        chunk = int(np.clip(2 ** np.ceil(np.log2(max(1, len(u)))), SMALLEST, LARGEST))
        theta = self.to_theta(u)
        spectra, failures = simulate(
            self.simulator, self.measurement.simulator_parameters(theta), self.measurement.output,
            self.pool, device_chunk=chunk,
        )  # fmt: skip
        self.count(len(u), list(failures.values()))
        log_l = self.measurement.log_likelihood(spectra, theta).sum(axis=1)
        log_l[list(failures)] = FAILED
        return np.maximum(np.nan_to_num(log_l, nan=FAILED), FAILED)

    def save(self) -> None:
        """Keep the counts."""
        self._saved = time.monotonic()
        counts = np.array([self.calls, self.failures, self.seconds])
        self._store.replace_pieces("calls", {"counts": counts})

    def count(self, n: int, texts: Sequence[str] = ()) -> None:
        """Count evaluations, and those of them that failed, by what they said.

        Raises
        ------
        TooManyFailures
            Where a larger share fails than the pool lets pass.
        """
        self.calls += n
        self.failures += len(texts)
        if self._recent >= WINDOW:
            self._recent, self._texts = 0, []
        self._recent += n
        self._texts += texts
        if hopeless(len(self._texts), self._recent, self.pool.most_failures):
            raise too_many_failures(self._texts, self._recent)
        if time.monotonic() > self._saved + SAVE_SECONDS:
            self.save()
