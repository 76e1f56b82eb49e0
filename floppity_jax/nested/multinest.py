"""MultiNest's output files, by whatever code ran it: PyMultiNest, petitRADTRANS, TauREx, ARCiS.

The files are read directly: of their two tables one holds log L, the other -2 log L, and general
readers have confused them.
"""

from __future__ import annotations

import pathlib
import re
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
    "<root>.txt or <root>post_equal_weights.dat; beside them <root>stats.dat, <root>resume.dat and "
    "<root>params.json where they exist (the root may be empty, as ARCiS has it)"
)

_EQUAL, _STATS, _RESUME, _NAMES = "post_equal_weights.dat", "stats.dat", "resume.dat", "params.json"
_EVIDENCE = re.compile(
    r"^\s*(?:Nested Sampling )?Global (?:Log-)?Evidence\s*:\s*(\S+)\s*\+/-\s*(\S+)",
    re.MULTILINE | re.IGNORECASE,
)


def _roots(path: pathlib.Path) -> list[str]:
    """Return the roots that ``path`` may stand for: a folder, a root or one of a root's files."""
    if path.is_dir():
        found = {
            file.name.removesuffix(end)
            for end in (_EQUAL, _STATS)
            for file in path.iterdir()
            if file.name.endswith(end)
        }
        tables = [file for file in path.iterdir() if file.name.endswith(".txt")]
        if not found:
            found = {table.name.removesuffix(".txt") for table in tables if _is_weighted(table)}
        return sorted(f"{path}/{root}" for root in found)
    if path.is_file():
        if path.name.endswith(_EQUAL):
            return [str(path).removesuffix(_EQUAL)]
        return [str(path).removesuffix(".txt")] if _is_weighted(path) else []
    ends = (_EQUAL, ".txt")
    return [str(path)] if any(pathlib.Path(f"{path}{end}").exists() for end in ends) else []


def _is_weighted(path: pathlib.Path) -> bool:
    """Return whether a text file starts as MultiNest's table of weighted samples does."""
    with path.open(errors="replace") as file:
        first = file.readline()
    return bool(re.fullmatch(r"(\s+-?0?\.\d{18}(E[+-]\d\d|[+-]\d{3})){3,}\s*", first))


def recognise(path: pathlib.Path) -> bool:
    """Return whether a MultiNest run lies at ``path``."""
    return bool(_roots(path))


def read(path: pathlib.Path, names: Sequence[str] | None = None) -> NestedRun:
    """Read the run whose folder, root or table is ``path``.

    The evidence is that of plain nested sampling. Where importance nested sampling was on,
    MultiNest prints its estimate too (Feroz et al. 2019, arXiv:1306.2144), with an error that is
    known to be too small: a run of 18 parameters gives 1932.29 +- 0.32 and 1925.72 +- 0.05.

    Parameters
    ----------
    path
        Of a folder with one run, of its root, or of one of its tables.
    names
        Of the parameters; ``<root>params.json`` tells them in PyMultiNest and petitRADTRANS.

    Returns
    -------
    NestedRun
        From ``<root>.txt`` (weighted samples) or, without it, ``<root>post_equal_weights.dat``.

    Raises
    ------
    InvalidInput
        Where several runs share the folder, a table is missing, empty or cut short, or the run has
        not finished.
    """
    roots = _roots(path)
    if len(roots) > 1:
        shown = ", ".join(repr(pathlib.Path(root).name) for root in roots)
        raise refuse(path, f"must hold one run; found the roots {shown}",
                     f"Pass one of them: {roots[0]!r}.")  # fmt: skip
    root = roots[0] if roots else str(path)
    weighted, equal, stats, resume, named = (
        pathlib.Path(root + end) for end in (".txt", _EQUAL, _STATS, _RESUME, _NAMES)
    )
    if not weighted.exists() and not equal.exists():
        raise refuse(path, f"must have samples; found neither {weighted} nor {equal}",
                     f"MultiNest needs {NEEDS}.")  # fmt: skip
    calls = _calls(resume) if resume.exists() else None
    table = read_table(weighted if weighted.exists() else equal)
    if weighted.exists():
        weights, log_likelihood, theta = (
            log_weights(weighted, table[:, 0]),
            -table[:, 1] / 2,
            table[:, 2:],
        )
    else:
        weights, log_likelihood, theta = None, table[:, -1], table[:, :-1]
    evidence = _evidence(stats) if stats.exists() else (None, None)
    found = read_json(named) if named.exists() else None
    return NestedRun(
        library="multinest",
        names=column_names(names, found, theta.shape[1], named if found else path),
        theta=theta,
        log_weights=weights,
        log_likelihood=log_likelihood,
        log_evidence=evidence[0],
        log_evidence_error=evidence[1],
        calls=calls,
    )


def _evidence(path: pathlib.Path) -> tuple[float | None, float | None]:
    found = _EVIDENCE.search(path.read_text())
    if found is None:
        raise refuse(
            path,
            "must state the global log-evidence of nested sampling",
            "It is cut short; copy it again, or remove it to go on without an evidence.",
        )
    return known(found[1]), known(found[2])


def _calls(path: pathlib.Path) -> int:
    """Return the likelihood calls, the second number of the second line, of a finished run.

    Each mode has a line ``done, removed, ...`` of two logicals and two integers.
    """
    text = path.read_text()
    counts = re.search(r"^\s*\d+\s+(\d+)\s+\d+\s+\d+\s*$", text, re.MULTILINE)
    modes = re.findall(r"^\s*([TF])\s+[TF]\s+-?\d+\s+-?\d+\s*$", text, re.MULTILINE)
    if counts is None or not modes:
        raise refuse(path, "must state the counts and modes of a run",
                     "It is cut short; copy it again, or remove it to go on without the number of "
                     "likelihood calls.")  # fmt: skip
    if "F" in modes:
        raise refuse(path, "must be of a finished run; MultiNest has not converged in "
                     f"{modes.count('F')} of {len(modes)} modes after {int(counts[1]):,} calls",
                     "Let the run end (it resumes from its files), then read it.")  # fmt: skip
    return int(counts[1])
