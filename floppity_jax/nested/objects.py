"""What samplers hold in memory: dynesty's ``Results`` and nautilus' ``Sampler``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from floppity_jax.nested.tables import column_names, refuse
from floppity_jax.nested.tree import NestedRun

DYNESTY_NEEDS = "the results of a sampler: sampler.results"
NAUTILUS_NEEDS = "a nautilus.Sampler that has run"


def _is(value: Any, library: str, name: str) -> bool:
    """Tell a class of a library by its name, without importing the library."""
    return any(
        base.__module__.split(".")[0] == library and base.__name__ == name
        for base in type(value).__mro__
    )


def is_dynesty(value: Any) -> bool:
    """Return whether ``value`` is a ``dynesty.results.Results``."""
    return _is(value, "dynesty", "Results")


def read_dynesty(results: Any, names: Sequence[str] | None = None) -> NestedRun:
    """Read dynesty's results, which know no names.

    Raises
    ------
    InvalidInput
        If the last live points are missing, as they are before a run's end.
    """
    samples = np.asarray(results["samples"])
    if not results.isdynamic() and len(samples) < results["niter"] + results["nlive"]:
        raise refuse(
            results,
            f"must be of a finished run; it has {len(samples)} samples of {results['niter']} "
            f"iterations, so that its {results['nlive']} live points are not among them",
            "Let run_nested end, with add_live=True.",
        )
    return NestedRun(
        library="dynesty",
        version=version("dynesty"),
        names=column_names(names, None, samples.shape[1], results),
        theta=samples,
        log_weights=np.asarray(results["logwt"]) - results["logz"][-1],
        log_likelihood=np.asarray(results["logl"]),
        log_evidence=float(results["logz"][-1]),
        log_evidence_error=float(results["logzerr"][-1]),
        calls=int(np.sum(results["ncall"])),
    )


def is_nautilus(value: Any) -> bool:
    """Return whether ``value`` is a ``nautilus.Sampler``."""
    return _is(value, "nautilus", "Sampler")


def read_nautilus(sampler: Any, names: Sequence[str] | None = None) -> NestedRun:
    """Read nautilus' sampler.

    The evidence of importance nested sampling has the relative error 1/sqrt(effective sample size)
    (Lange 2023, doi:10.1093/mnras/stad2441).

    Raises
    ------
    InvalidInput
        If the sampler has not finished its exploration, before which its posterior is no estimate.
    """
    if not sampler.explored:
        raise refuse(
            sampler,
            f"must be of a finished run; this one still explored after {sampler.n_like:,} calls",
            "Call its run() without n_like_max or timeout, then read it.",
        )
    points, log_weights, log_likelihood = sampler.posterior()
    found = None
    if isinstance(points, dict):
        found, theta = list(points), np.stack(list(points.values()), 1)
    else:
        theta = np.asarray(points)
        if hasattr(sampler.prior, "keys"):
            free = zip(sampler.prior.keys, sampler.prior.dists, strict=True)
            found = [key for key, law in free if hasattr(law, "isf")]
    return NestedRun(
        library="nautilus",
        version=version("nautilus-sampler"),
        names=column_names(names, found, theta.shape[1], sampler),
        theta=theta,
        log_weights=log_weights,
        log_likelihood=log_likelihood,
        log_evidence=float(sampler.log_z),
        log_evidence_error=float(sampler.n_eff**-0.5),
        calls=int(sampler.n_like),
    )
