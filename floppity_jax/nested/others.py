"""Files of FlopPITy, bilby, TauREx 3 and nautilus."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.nested.tables import (
    column_names,
    known,
    log_weights,
    read_json,
    read_table,
    refuse,
)
from floppity_jax.nested.tree import NestedRun

FLOPPITY_NEEDS = "posterior_samples_round_<N>.txt, or a folder with them (the last round is read)"
BILBY_NEEDS = "a result as JSON, with posterior, log_evidence and search_parameter_keys"
TAUREX_NEEDS = "an HDF5 file with Output/Solutions/solution0 and Optimizer"
NAUTILUS_NEEDS = "a sampler, not its file: the file holds neither the prior nor physical parameters"

_ROUND = re.compile(r"posterior_samples_round_(\d+)\.txt")


def is_floppity(path: pathlib.Path) -> bool:
    """Return whether posterior samples of FlopPITy lie at ``path``."""
    files = path.iterdir() if path.is_dir() else [path] if path.is_file() else []
    return any(_ROUND.fullmatch(file.name) for file in files)


def read_floppity(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read the samples of a round of FlopPITy, the last one of a folder.

    Its first line names the parameters.
    """
    rounds = path.iterdir() if path.is_dir() else [path]
    found = {int(match[1]): file for file in rounds if (match := _ROUND.fullmatch(file.name))}
    if not found:
        raise refuse(path, "must have rounds of FlopPITy", f"FlopPITy needs {FLOPPITY_NEEDS}.")
    last = found[max(found)]
    text = last.read_text()
    first = text.splitlines()[0] if text.strip() else ""
    theta = read_table(last, header=int(first.startswith("#")))
    told = first[1:].split() if first.startswith("#") else None
    return NestedRun(
        library="floppity", names=column_names(names, told, theta.shape[1], last), theta=theta
    )


def is_bilby(path: pathlib.Path) -> bool:
    """Return whether ``path`` is a result of bilby."""
    if not path.is_file() or path.suffix != ".json":
        return False
    result = read_json(path)
    return isinstance(result, dict) and {"posterior", "search_parameter_keys"} <= set(result)


def read_bilby(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read the equally weighted posterior of a bilby result, its evidence and its labels."""
    result = read_json(path)
    keys = _content(result["search_parameter_keys"])
    table = _content(result["posterior"])
    if not table or not keys or not set(keys) <= set(table):
        raise refuse(path, f"must have a posterior of {', '.join(keys or ['its parameters'])}",
                     "The run has not finished, or the file is cut short.")  # fmt: skip
    theta = np.array([table[key] for key in keys], float).T
    used = column_names(names, keys, theta.shape[1], path)
    labels = _content(result.get("parameter_labels")) or keys
    priors = result.get("priors") or {}
    sampling_time = result.get("sampling_time")
    if isinstance(sampling_time, Mapping):
        sampling_time = sampling_time["__total_seconds__"]
    evaluations = known(result.get("num_likelihood_evaluations"))
    return NestedRun(
        library=f"bilby ({result.get('sampler')})",
        version=str(result.get("version") or "").removeprefix("bilby="),
        names=used,
        theta=theta,
        log_likelihood=(
            np.array(table["log_likelihood"], float) if "log_likelihood" in table else None
        ),
        log_evidence=known(result.get("log_evidence")),
        log_evidence_error=known(result.get("log_evidence_err")),
        calls=None if evaluations is None else int(evaluations),
        seconds=known(sampling_time),
        attributes={
            name: {"label": label} | _of_prior(priors.get(key))
            for name, key, label in zip(used, keys, labels, strict=True)
        },
    )


def _content(value: Any) -> Any:
    """Undo bilby's wrapping of tables and arrays in JSON."""
    return value["content"] if isinstance(value, Mapping) and "content" in value else value


def _of_prior(prior: Any) -> dict[str, str]:
    """Return the unit and the scale that one of bilby's priors tells."""
    if not isinstance(prior, Mapping):
        return {}
    unit = (prior.get("kwargs") or {}).get("unit")
    logarithmic = prior.get("__name__") in ("LogUniform", "LogNormal", "LogGaussian")
    return {"unit": unit or "", "scale": "log" if logarithmic else "linear"}


def _holds(path: pathlib.Path, *groups: str) -> bool:
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return all(group in file for group in groups)


def is_taurex(path: pathlib.Path) -> bool:
    """Return whether ``path`` is TauREx 3's output of a retrieval."""
    return _holds(path, "Output/Solutions", "Optimizer")


def read_taurex(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read the one solution of a TauREx 3 retrieval.

    Parameters fitted in log10 are named ``log_...`` there and stay so. TauREx writes the evidence
    of the solution's mode, but no log-likelihoods; with MultiNest's importance sampling it is that
    estimate (read MultiNest's own folder for the other).
    """
    import h5py

    with h5py.File(path) as file:
        solutions = list(file["Output/Solutions"])
        if len(solutions) != 1:
            raise refuse(path, f"must have one solution; found {', '.join(solutions) or 'none'}",
                         "Solutions are modes, each with weights of its own: read the sampler's "
                         "own files instead, or retrieve with multi_modes = False.")  # fmt: skip
        solution, optimizer = file["Output/Solutions"][solutions[0]], file["Optimizer"]
        if "tracedata" not in solution or "weights" not in solution:
            raise refuse(path, "must have tracedata and weights in its solution",
                         f"TauREx needs {TAUREX_NEEDS}.")  # fmt: skip
        theta, weights = solution["tracedata"][()], solution["weights"][()]
        statistics = {
            key.lower().replace("-", " "): value[()]
            for key, value in solution.get("Statistics", {}).items()
        }
        told, labels = (
            [row.decode() for row in optimizer[f"fit_parameter_{what}"][()].ravel()]
            for what in ("names", "latex")
        )
        sampler = optimizer["optimizer"][()].decode()
        version = str(file.attrs.get("program_version", ""))
    used = column_names(names, told, theta.shape[1], path)
    evidence, error = (
        known(statistics.get(f"local log evidence{end}", statistics.get(f"log evidence{end}")))
        for end in ("", " error")
    )
    return NestedRun(
        library=f"taurex ({sampler})",
        version=version,
        names=used,
        theta=theta,
        log_weights=log_weights(path, weights / weights.sum()),
        log_evidence=evidence,
        log_evidence_error=error,
        attributes={name: {"label": label} for name, label in zip(used, labels, strict=True)},
    )


def is_nautilus_file(path: pathlib.Path) -> bool:
    """Return whether ``path`` is a checkpoint of nautilus."""
    return _holds(path, "sampler/points_0", "bound_0")


def read_nautilus_file(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Refuse a checkpoint of nautilus: its points lie in the unit cube, its prior is not in it."""
    raise refuse(
        path,
        "must be more than a checkpoint of nautilus, whose points are those of the unit cube",
        f"Load it as nautilus.Sampler(prior, likelihood, filepath={str(path)!r}), which calls "
        "nothing, and pass that sampler.",
    )
