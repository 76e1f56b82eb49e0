"""Posterior samples that FlopPITy writes, one file a round: no evidence, equal weights."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from floppity_jax.nested.tables import column_names, read_table
from floppity_jax.nested.tree import NestedRun

NEEDS = "posterior_samples_round_<N>.txt; of a folder, the last round is read"
_FILE = re.compile(r"posterior_samples_round_(\d+)\.txt")


def recognise(path: pathlib.Path) -> bool:
    """Return whether ``path`` is such a file, or a folder that holds one."""
    return _last(path) is not None


def read(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read the samples of a round."""
    file = _last(path)
    assert file is not None
    theta = read_table(file)
    return NestedRun("floppity", column_names(names, None, theta.shape[1], file), theta)


def _last(path: pathlib.Path) -> pathlib.Path | None:
    files = path.iterdir() if path.is_dir() else [path]
    rounds = {
        int(found[1]): file
        for file in files
        if (found := _FILE.fullmatch(file.name)) and file.is_file()
    }
    return rounds[max(rounds)] if rounds else None
