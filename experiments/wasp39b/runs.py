"""The problem that both methods solve, and the file in which each leaves its result."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import pathlib

import numpy as np

from floppity_jax import config
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulate import simulate


@dataclasses.dataclass
class Run:
    """One sampling of the posterior.

    Attributes
    ----------
    draws : array (n, 5)
        Equally weighted, in physical units and the order of the parameters.
    info : dict
        ``log_evidence``, ``log_evidence_error``, ``simulator_calls``, ``seconds``, ``simulator``
        (its fingerprint, opacities included) and whatever else the method has to say.
    """

    draws: np.ndarray
    info: dict

    def save(self, path: pathlib.Path) -> None:
        """Write the run to one ``.npz`` file; float32 resolves each posterior 10^4 times over."""
        np.savez_compressed(path, draws=self.draws.astype(np.float32), info=json.dumps(self.info))

    @classmethod
    def read(cls, path: pathlib.Path) -> Run:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(file["draws"].astype(np.float64), json.loads(str(file["info"])))


def load_demo() -> config.Setup:
    """Read the input of ``floppity-jax demo`` from inside the package."""
    data = importlib.resources.files("floppity_jax") / "data"
    with importlib.resources.as_file(data) as folder:
        return config.load(folder / "wasp39b.toml")


def log_likelihood(retrieval: Retrieval, theta: np.ndarray) -> np.ndarray:
    """Gaussian log-likelihood (n,) of parameters (n, 5), as the package has it.

    A model that is not finite has no likelihood, as in `Posterior.importance_sample`.
    """
    parameters = retrieval.space.as_mapping(theta)
    spectra = simulate(retrieval.simulator, parameters, retrieval.observation, retrieval.pool)
    log_l = retrieval.measurement.log_likelihood(spectra.spectra, theta).sum(axis=1)
    return np.where(np.isfinite(log_l), log_l, -np.inf)
