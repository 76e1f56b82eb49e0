"""UltraNest's run folders."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from floppity_jax.nested.tables import column_names, known, log_weights, read_table
from floppity_jax.nested.tree import NestedRun

NEEDS = "info/results.json and chains/weighted_post.txt, as a finished run writes them"


def recognise(path: pathlib.Path) -> bool:
    """Return whether a finished UltraNest run lies in the folder ``path``."""
    needed = ("info/results.json", "chains/weighted_post.txt")
    return all((path / file).is_file() for file in needed)


def read(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read weighted samples and evidence of the run in the folder ``path``."""
    samples = path / "chains" / "weighted_post.txt"
    results = json.loads((path / "info" / "results.json").read_text())
    table = read_table(samples, header=1)
    theta = table[:, 2:]
    return NestedRun(
        library="ultranest",
        names=column_names(names, results.get("paramnames"), theta.shape[1], path),
        theta=theta,
        log_weights=log_weights(samples, table[:, 0]),
        log_likelihood=table[:, 1],
        log_evidence=known(results.get("logz")),
        log_evidence_error=known(results.get("logzerr")),
        calls=results.get("ncall"),
    )
