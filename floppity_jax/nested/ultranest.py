"""UltraNest's run folders."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from floppity_jax.nested.tables import (
    column_names,
    known,
    log_weights,
    read_json,
    read_table,
    refuse,
)
from floppity_jax.nested.tree import NestedRun

NEEDS = (
    "info/results.json and chains/weighted_post.txt (or chains/equal_weighted_post.txt), in the "
    "folder or in its only subfolder run1"
)

_RESULTS = pathlib.Path("info", "results.json")


def _runs(path: pathlib.Path) -> list[pathlib.Path]:
    """Return the run folders at ``path``, which may hold them as run1, run2..."""
    candidates = [path, *sorted(path.glob("run*"))] if path.is_dir() else []
    return [run for run in candidates if (run / "info").is_dir() and (run / "chains").is_dir()]


def recognise(path: pathlib.Path) -> bool:
    """Return whether an UltraNest run lies at ``path``."""
    return bool(_runs(path))


def read(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read a run folder.

    Parameters
    ----------
    path
        The folder of a run, or one that holds a single run.
    names
        In place of those in ``info/results.json``.

    Returns
    -------
    NestedRun

    Raises
    ------
    InvalidInput
        Where there are several runs, the run has not finished (it writes its results at its end),
        or a file is damaged.
    """
    runs = _runs(path)
    if len(runs) != 1:
        shown = ", ".join(run.name for run in runs) or "none"
        raise refuse(path, f"must hold one run; found {shown}", f"Pass one of them: {NEEDS}.")
    run = runs[0]
    if not (run / _RESULTS).exists():
        raise refuse(
            run,
            f"must be of a finished run; it has no {_RESULTS} yet",
            "Let the run end (resume=True goes on from its files), then read it.",
        )
    results = read_json(run / _RESULTS)
    weighted, equal = (
        run / "chains" / name for name in ("weighted_post.txt", "equal_weighted_post.txt")
    )
    if weighted.exists():
        table = read_table(weighted, header=1)
        weights, log_likelihood = log_weights(weighted, table[:, 0]), table[:, 1]
        theta = table[:, 2:]
    elif equal.exists():
        weights, log_likelihood, theta = None, None, read_table(equal, header=1)
    else:
        raise refuse(run, "must have samples in chains", f"UltraNest needs {NEEDS}.")
    return NestedRun(
        library="ultranest",
        names=column_names(names, results.get("paramnames"), theta.shape[1], run),
        theta=theta,
        log_weights=weights,
        log_likelihood=log_likelihood,
        log_evidence=known(results.get("logz")),
        log_evidence_error=known(results.get("logzerr")),
        calls=results.get("ncall"),
    )
