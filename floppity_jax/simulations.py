"""The simulations of a round, kept as they come.

A round goes on until it has as many good spectra as were asked for: for those that fail, fresh
parameters are drawn. Whatever is finished is in the run directory within seconds, and is not
computed again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import time
from collections.abc import Callable, Generator, Mapping

import numpy as np

from floppity_jax.errors import RunDirectoryError
from floppity_jax.fingerprint import digest
from floppity_jax.simulate import (
    Finished,
    Simulations,
    TooManyFailures,
    too_many_failures,
)
from floppity_jax.store import Arrays, NoDirectory, RunDirectory, read_arrays, read_manifest
from floppity_jax.typing import Float

KEEP_SECONDS = 0.05  # at least, between two files of finished spectra
SPARING = 10.0  # and so many times what it takes to write one
MOST_PIECES = 500  # files of a round under way, before they are put together

Directory = RunDirectory | NoDirectory
# Runs given rows of theta.
Run = Callable[[Float[np.ndarray, "n d"], np.ndarray], Generator[Finished, None, None]]
Report = Callable[[int, int], None]  # good and failed so far


def collect(
    directory: Directory,
    name: str,
    theta: Float[np.ndarray, "n d"],
    channels: int,
    run: Run,
    *,
    report: Report = lambda good, failed: None,
) -> Simulations:
    """Simulate what the pieces of ``name`` do not hold yet, and add pieces to them.

    Raises
    ------
    TooManyFailures
        Where ``run`` says so. The failed ones are forgotten then, to be run again when the reason
        is mended.
    """
    under_way = _UnderWay(directory, name, theta, channels)
    report(*under_way.counts())
    try:
        with contextlib.closing(run(theta, np.flatnonzero(~under_way.done))) as results:
            for finished in results:
                if len(finished.rows):
                    under_way.take(finished)
                    report(*under_way.counts())
                under_way.keep_now_and_then()
    except TooManyFailures:
        under_way.waiting.clear()
        forget_failures(directory, name, theta, under_way.simulations)
        raise
    finally:
        under_way.keep()
    return under_way.simulations


class _UnderWay:
    """Simulations under way, and what of them the run directory has already."""

    def __init__(
        self, directory: Directory, name: str, theta: Float[np.ndarray, "n d"], channels: int
    ) -> None:
        self.directory, self.name = directory, name
        # Pieces belong to these parameters: whatever else was proposed once is not theirs.
        self.after = digest(theta)
        self.simulations = Simulations(np.full((len(theta), channels), np.nan), {})
        self.done = np.zeros(len(theta), bool)
        self.count = 0
        self.waiting: list[Finished] = []
        self.pieces = 0
        self.kept_at, self.spare = time.monotonic(), 0.0
        for piece in directory.pieces(name, after=self.after):
            self.take(_finished(piece))
        self.waiting.clear()

    def take(self, finished: Finished) -> None:
        """Put in its place what is not there yet: a batch may have been run again for one row."""
        new = ~self.done[finished.rows]
        rows = finished.rows[new]
        failures = {row: text for row, text in finished.failures.items() if not self.done[row]}
        finished = Finished(rows, finished.spectra[new], failures)
        self.simulations.take(finished)
        self.done[rows] = True
        self.count += len(rows)
        self.waiting.append(finished)

    def counts(self) -> tuple[int, int]:
        """Return how many are good, and how many failed."""
        return self.count - len(self.simulations.failures), len(self.simulations.failures)

    def keep_now_and_then(self) -> None:
        """Write what is waiting, but do not spend most of the time on writing."""
        if time.monotonic() - self.kept_at >= self.spare:
            self.keep()

    def keep(self) -> None:
        """Write what is waiting."""
        if not self.waiting:
            return
        start = time.monotonic()
        self.pieces += 1
        if self.pieces % MOST_PIECES:
            piece = _arrays(self.waiting)
            self.directory.add_piece(self.name, piece, after=self.after)
        else:
            rows = np.flatnonzero(self.done)
            spectra, failures = self.simulations
            piece = _arrays([Finished(rows, spectra[rows], failures)])
            self.directory.replace_pieces(self.name, piece, after=self.after)
        self.waiting.clear()
        self.kept_at = time.monotonic()
        self.spare = max(KEEP_SECONDS, SPARING * (self.kept_at - start))


def forget_failures(
    directory: Directory,
    name: str,
    theta: Float[np.ndarray, "n d"],
    simulations: Simulations,
) -> None:
    """Put a piece that holds the good spectra in the place of all pieces."""
    good = np.flatnonzero(np.isfinite(simulations.spectra).all(axis=1))
    if len(good):
        piece = _arrays([Finished(good, simulations.spectra[good], {})])
        directory.replace_pieces(name, piece, after=digest(theta))
    else:
        directory.drop_pieces(name)


def fill_round(
    directory: Directory,
    name: str,
    n: int,
    propose: Callable[[int, int], Arrays],
    channels: int,
    run: Run,
    *,
    most_failures: float,
    start: Arrays | None = None,
    after: str = "",
    report: Report = lambda good, failed: None,
) -> Arrays:
    """Simulate until ``n`` spectra are good, or nothing more is proposed.

    Parameters
    ----------
    directory, name
        Where finished spectra are kept while the round lasts.
    n
        Good spectra wanted.
    propose
        Returns the ``z``, ``theta`` and other arrays of ``n`` draws, given how often it has been
        asked before and ``n``.
    channels
        Of a spectrum.
    run
        Runs the simulator.
    most_failures
        Share of the simulations that may fail.
    start
        Simulations that are there already, as this function returns them.
    after
        Digest of what the proposals follow from.
    report
        Called with the numbers of good and of failed simulations.

    Returns
    -------
    dict of arrays
        ``z``, ``theta``, ``spectra``, ``failed_rows`` and ``failure_texts`` of all simulations,
        and what else was first proposed.

    Raises
    ------
    TooManyFailures
        Where a larger share fails.
    """
    parts = [] if start is None else [start]
    simulated: list[tuple[str, Arrays, Simulations]] = []
    try:
        while True:
            total = sum(len(part["z"]) for part in parts)
            failed = sum(len(part["failed_rows"]) for part in parts)
            if total - failed >= n or (simulated and not len(parts[-1]["z"])):
                return _joined(parts, n)
            if failed > most_failures * total:
                raise too_many_failures(np.concatenate([p["failure_texts"] for p in parts]), total)
            attempt = len(simulated)
            place = f"{name}.parts/{attempt:02d}"
            draws = directory.remember(
                f"{place}_proposal",
                functools.partial(propose, attempt, n - total + failed),
                after=after,
            )

            def report_sums(now: int, bad: int, before: int = total, failed: int = failed) -> None:
                report(before - failed + now, failed + bad)

            simulations = collect(
                directory, place, draws["theta"], channels, run, report=report_sums
            )
            simulated.append((place, draws, simulations))
            parts.append({**draws, **simulation_arrays(simulations)})
    except TooManyFailures:
        for place, draws, simulations in simulated:
            forget_failures(directory, place, draws["theta"], simulations)
        raise


def simulation_arrays(simulations: Simulations) -> Arrays:
    """Return the arrays that hold simulations in a file."""
    failures = sorted(simulations.failures.items())
    return {
        "spectra": simulations.spectra,
        "failed_rows": np.array([row for row, _ in failures], dtype=np.int64),
        "failure_texts": np.array([text for _, text in failures], dtype=np.str_),
    }


def simulations_of(arrays: Arrays) -> Simulations:
    """Return the simulations that `simulation_arrays` put into arrays."""
    texts = (str(text) for text in arrays["failure_texts"])
    return Simulations(
        arrays["spectra"], dict(zip(arrays["failed_rows"].tolist(), texts, strict=True))
    )


def first_round(path: str | os.PathLike[str]) -> pathlib.Path:
    """File of the first round of the run directory ``path``: it is there once that has ended."""
    return pathlib.Path(path) / "simulations" / "round_01.npz"


def prior_simulations(path: str, description: Mapping[str, object]) -> Arrays:
    """Read the first round of another run, whose parameters were drawn from the prior.

    Parameters
    ----------
    path
        Its run directory.
    description
        Of this run: of these entries the manifest of the other must have the same.

    Raises
    ------
    RunDirectoryError
        Where the folder holds no finished first round, or one of another problem.
    """
    stored = read_manifest(path)["configuration"]
    for key in ("parameters", "simulator", "simulator_parameters", "spectra"):
        value = json.loads(json.dumps(description[key]))
        if stored.get(key) != value:
            raise RunDirectoryError(
                f"reuse = {path!r}: its {key.replace('_', ' ')} are not those of this run: "
                f"{stored.get(key)} there, {value} here. Leave reuse out."
            )
    file = first_round(path)
    if not file.exists():
        raise RunDirectoryError(
            f"reuse = {path!r}: its first round has not ended. Resume that run first."
        )
    return read_arrays(file)


def _arrays(finished: list[Finished]) -> Arrays:
    failures = {row: text for part in finished for row, text in part.failures.items()}
    spectra = np.concatenate([part.spectra for part in finished])
    rows = np.concatenate([part.rows for part in finished])
    return {"rows": rows, **simulation_arrays(Simulations(spectra, failures))}


def _finished(piece: Arrays) -> Finished:
    simulations = simulations_of(piece)
    return Finished(piece["rows"], simulations.spectra, simulations.failures)


def _joined(parts: list[Arrays], n: int) -> Arrays:
    """Put parts one after the other, up to ``n`` good spectra.

    What is not an array of rows is that of the first.
    """
    starts = np.cumsum([0] + [len(part["z"]) for part in parts])
    pairs = list(zip(parts, starts, strict=False))
    failed = np.concatenate([part["failed_rows"] + start for part, start in pairs])
    good = np.ones(starts[-1], bool)
    good[failed] = False
    end = np.searchsorted(np.cumsum(good), n) + 1
    texts = np.concatenate([part["failure_texts"] for part in parts])
    joined = {key: np.concatenate([part[key] for part in parts])[:end]
              for key in ("z", "theta", "spectra")}  # fmt: skip
    return {
        **parts[0], **joined,
        "failed_rows": failed[failed < end], "failure_texts": texts[failed < end],
    }  # fmt: skip
