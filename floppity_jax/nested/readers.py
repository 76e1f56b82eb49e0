"""Runs of other programs, read into the DataTree that our own posteriors are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.nested import floppity, multinest, ultranest
from floppity_jax.nested.tables import column_names
from floppity_jax.nested.tree import NestedRun, nested_tree

if TYPE_CHECKING:
    import xarray


# Modules, each with NEEDS, recognise and read, in the order in which a folder is tried.
FORMATS: dict[str, Any] = {
    "ultranest": ultranest, "floppity": floppity, "multinest": multinest
}  # fmt: skip


def read_nested(
    run: Any,
    *,
    kind: str | None = None,
    names: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> xarray.DataTree:
    """Read a nested-sampling run of another program.

    Parameters
    ----------
    run
        Path of a MultiNest folder, root or table (also of petitRADTRANS, TauREx and ARCiS), of an
        UltraNest run folder, or of FlopPITy's samples; or a ``Results`` object of dynesty, whose
        files are pickles and are not opened here.
    kind
        ``"multinest"``, ``"ultranest"`` or ``"floppity"``; found out unless given.
    names
        Of the parameters, in the order of the columns, where the files do not tell.
    n
        Equally weighted draws; as many as there are effective samples unless given.
    seed
        Of the resampling.

    Returns
    -------
    xarray.DataTree
        As `floppity_jax.nested.tree.nested_tree` has it.

    Raises
    ------
    InvalidInput
        Where nothing that can be read is there, a file is cut short, or names are wrong.
    """
    if not isinstance(run, str | os.PathLike):
        return nested_tree(_dynesty(run, names), n=n, seed=seed)
    path = pathlib.Path(run)
    if kind is not None and kind not in FORMATS:
        raise InvalidInput("kind", kind, f"must be one of {list(FORMATS)}", "Or leave it out.")
    for name, reader in FORMATS.items():
        if kind == name or (kind is None and reader.recognise(path)):
            return nested_tree(reader.read(path, names), n=n, seed=seed)
    needs = "; ".join(f"{name}: {reader.NEEDS}" for name, reader in FORMATS.items())
    raise InvalidInput(
        "run", str(path), f"must hold a run that can be read; {_shown(path)}", f"Needed is {needs}."
    )


def _dynesty(results: Any, names: Sequence[str] | None) -> NestedRun:
    """Read a ``Results`` object of dynesty."""
    missing = [k for k in ("samples", "logwt", "logz", "logzerr", "ncall", "logl")
               if not hasattr(results, k)]  # fmt: skip
    if missing:
        raise InvalidInput(
            "run", type(results).__name__, f"must be a path or dynesty Results; it lacks {missing}",
            "Pass sampler.results.",
        )  # fmt: skip
    theta = np.asarray(results.samples)
    return NestedRun(
        library="dynesty",
        names=column_names(names, None, theta.shape[1], "results"),
        theta=theta,
        log_weights=np.asarray(results.logwt),
        log_likelihood=np.asarray(results.logl),
        log_evidence=float(results.logz[-1]),
        log_evidence_error=float(results.logzerr[-1]),
        calls=int(np.sum(results.ncall)),
    )


def _shown(path: pathlib.Path) -> str:
    if not path.exists():
        return "there is nothing"
    if path.is_file():
        return "it is a file of another kind"
    found = sorted(file.name for file in path.iterdir())
    return f"the folder holds {found[:10] or 'nothing'}" + (" and more" if len(found) > 10 else "")
