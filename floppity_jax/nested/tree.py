"""A nested-sampling run as the same DataTree that our own posteriors are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from floppity_jax.proposals import effective_sample_size, normalised, systematic
from floppity_jax.summary import variable_name
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray


class NestedRun(NamedTuple):
    """What a nested-sampling run came to.

    Attributes
    ----------
    library, version : str
        The sampler; ``version`` is empty where its files do not tell.
    names : tuple of str
        Free parameters: the columns of ``theta``.
    theta : array (n, d)
        Samples, in physical units.
    log_weights : array (n,) or None
        Log of their unnormalised posterior weights; None where all weigh the same.
    log_likelihood : array (n,) or None
        Of each sample.
    log_evidence, log_evidence_error : float or None
        Natural logarithm of the evidence, and its standard error.
    calls : int or None
        Evaluations of the likelihood.
    seconds : float or None
        Wall time.
    attributes : mapping of str to mapping
        By parameter: ``unit``, ``label`` (LaTeX) and ``scale`` (``"linear"`` or ``"log"``), each
        where it is known.
    """

    library: str
    names: tuple[str, ...]
    theta: Float[np.ndarray, "n d"]
    log_weights: Float[np.ndarray, " n"] | None = None
    log_likelihood: Float[np.ndarray, " n"] | None = None
    log_evidence: float | None = None
    log_evidence_error: float | None = None
    calls: int | None = None
    seconds: float | None = None
    version: str = ""
    attributes: Mapping[str, Mapping[str, str]] = {}


def nested_tree(run: NestedRun, *, n: int | None = None, seed: int = 0) -> xarray.DataTree:
    """Return equally weighted draws of a run, and what is known about it.

    ArviZ knows no weights, so weighted samples are resampled.

    Parameters
    ----------
    run
        The run.
    n
        Draws; as many as there are effective samples unless given, or, where all samples weigh the
        same, each of them once.
    seed
        Of the resampling.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (one chain) and, where known, ``sample_stats`` with
        ``log_likelihood``; attributes ``inference_library``, ``inference_library_version``, ``ess``
        and, where known, ``log_evidence``, ``log_evidence_error``, ``simulator_calls`` and
        ``seconds``.
    """
    from arviz_base import from_dict

    log_weights = np.zeros(len(run.theta)) if run.log_weights is None else run.log_weights
    ess = effective_sample_size(log_weights)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(systematic(rng, normalised(log_weights), n or round(ess)))
    groups: dict[str, dict[str, Any]] = {
        "posterior": {
            variable_name(name): run.theta[None, rows, i] for i, name in enumerate(run.names)
        }
    }
    if run.log_likelihood is not None:
        groups["sample_stats"] = {"log_likelihood": run.log_likelihood[None, rows]}
    tree = from_dict(groups)
    for name in run.names:
        tree["posterior"][variable_name(name)].attrs.update(
            {"unit": "", "label": name, "scale": "linear"} | dict(run.attributes.get(name, {}))
        )
    known = {
        "log_evidence": run.log_evidence,
        "log_evidence_error": run.log_evidence_error,
        "simulator_calls": run.calls,
        "seconds": run.seconds,
    }
    tree.attrs.update(
        inference_library=run.library,
        inference_library_version=run.version,
        ess=ess,
        **{key: value for key, value in known.items() if value is not None},
    )
    return tree
