"""UltraNest on a retrieval, against posterior and evidence in closed form."""

import numpy as np
import pytest
from scipy import stats

import floppity_jax as fp
from floppity_jax.errors import InvalidInput, NoLikelihoodError

DESIGN = np.random.default_rng(0).normal(size=(2, 8)) / 2
ERROR = 0.3


@fp.jax_batched
def linear(parameters):
    import jax.numpy as jnp

    return jnp.stack([parameters["a"], parameters["b"]], axis=1) @ DESIGN


def _retrieval(errors=ERROR):
    values = np.array([0.4, -0.9]) @ DESIGN + ERROR * np.random.default_rng(1).normal(size=8)
    observation = fp.Observation(values, errors and np.full(8, errors))
    return fp.Retrieval(linear, {name: fp.Normal(0.0, 1.0) for name in "ab"}, observation)


@pytest.mark.filterwarnings("ignore")  # of the library
def test_ultranest_finds_posterior_and_evidence():
    """Within 4.5 standard errors each; the run says how many draws it is worth."""
    retrieval = _retrieval()
    tree = retrieval.nested("ultranest", live_points=400, progress=False)
    y = retrieval.observation.values
    covariance = DESIGN.T @ DESIGN + ERROR**2 * np.eye(8)
    exact = stats.multivariate_normal(np.zeros(8), covariance).logpdf(y)
    assert tree.attrs["log_evidence"] == pytest.approx(
        exact, abs=4.5 * tree.attrs["log_evidence_error"]
    )
    s = np.linalg.inv(np.eye(2) + DESIGN @ DESIGN.T / ERROR**2)
    mean, sd = s @ DESIGN @ y / ERROR**2, np.sqrt(np.diag(s))
    draws = np.stack([tree["posterior"][name].to_numpy().ravel() for name in "ab"], axis=1)
    ess = tree.attrs["ess"]
    assert (np.abs(draws.mean(axis=0) - mean) < 4.5 * sd / np.sqrt(ess)).all()
    assert (np.abs(draws.std(axis=0) / sd - 1) < 4.5 / np.sqrt(2 * ess)).all()
    assert tree.attrs["simulator_calls"] > ess
    assert tree.attrs["inference_library"] == "ultranest"


def test_what_cannot_be_run_is_refused():
    with pytest.raises(InvalidInput, match="must be one of"):
        _retrieval().nested("multinest")
    with pytest.raises(InvalidInput, match="must be an option of ultranest"):
        _retrieval().nested("ultranest", min_num_live_pionts=3)
    with pytest.raises(NoLikelihoodError):
        _retrieval(errors=None).nested()
