"""The simulations of a round, kept as they come.

A round goes on until it has as many good spectra as were asked for: for those that fail, fresh
parameters are drawn. Whatever is finished is in the run directory within seconds, and is not
computed again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Generator, Mapping

import numpy as np

from floppity_jax.errors import RunDirectoryError
from floppity_jax.simulate import (
    Finished,
    Simulations,
    TooManyFailures,
    too_many_failures,
)
from floppity_jax.store import Arrays, NoDirectory, RunDirectory, read_arrays, read_manifest
from floppity_jax.typing import Float

KEEP_SECONDS = 0.5  # between two files of finished spectra

Directory = RunDirectory | NoDirectory
Run = Callable[
    [Float[np.ndarray, "n d"], np.ndarray], Generator[Finished, None, None]
]  # theta, and which rows
Report = Callable[[int, int], None]  # good and failed so far


def collect(
    directory: Directory,
    name: str,
    theta: Float[np.ndarray, "n d"],
    channels: int,
    run: Run,
    *,
    after: str = "",
    report: Report = lambda good, failed: None,
) -> Simulations:
    """Simulate what the pieces of ``name`` do not hold yet, and add pieces to them.

    Raises
    ------
    TooManyFailures
        Where ``run`` says so. The failed ones are forgotten then, to be run again when the reason
        is mended.
    """
    simulations = Simulations(np.full((len(theta), channels), np.nan), {})
    done = np.zeros(len(theta), bool)

    def take(finished: Finished) -> None:
        simulations.take(finished)
        done[finished.rows] = True
        report(int(done.sum()) - len(simulations.failures), len(simulations.failures))

    def keep(waiting: list[Finished]) -> None:
        directory.add_piece(name, _arrays(waiting), after=after)
        waiting.clear()

    for piece in directory.pieces(name, after=after):
        take(_finished(piece))
    waiting: list[Finished] = []
    kept_at = time.monotonic()
    try:
        with contextlib.closing(run(theta, np.flatnonzero(~done))) as results:
            for finished in results:
                if len(finished.rows):
                    take(finished)
                    waiting.append(finished)
                if waiting and time.monotonic() - kept_at > KEEP_SECONDS:
                    keep(waiting)
                    kept_at = time.monotonic()
    except TooManyFailures:
        forget_failures(directory, name, simulations, after=after)
        waiting.clear()
        raise
    finally:
        if waiting:
            keep(waiting)
    return simulations


def forget_failures(
    directory: Directory,
    name: str,
    simulations: Simulations,
    *,
    after: str,
) -> None:
    """Put a piece that holds the good spectra in the place of all pieces."""
    good = np.flatnonzero(np.isfinite(simulations.spectra).all(axis=1))
    if len(good):
        directory.replace_pieces(
            name, _arrays([Finished(good, simulations.spectra[good], {})]), after=after
        )
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
    batches = [] if start is None else [start]
    for attempt in itertools.count():
        total = sum(len(batch["z"]) for batch in batches)
        failed = sum(len(batch["failed_rows"]) for batch in batches)
        good = total - failed
        if good >= n or (batches and not len(batches[-1]["z"])):
            return _joined(batches)
        part = f"{name}.parts/{attempt:02d}"
        draws = directory.remember(
            f"{part}_proposal", functools.partial(propose, attempt, n - good), after=after
        )

        def report_sums(now: int, bad: int, good: int = good, failed: int = failed) -> None:
            report(good + now, failed + bad)

        simulations = collect(
            directory, part, draws["theta"], channels, run, after=after, report=report_sums
        )
        failed += len(simulations.failures)
        if failed > most_failures * (total + len(draws["z"])):
            texts = [text for batch in batches for text in batch["failure_texts"]]
            texts += simulations.failures.values()
            forget_failures(directory, part, simulations, after=after)
            raise too_many_failures(texts, total + len(draws["z"]))
        batches.append({**draws, **simulation_arrays(simulations)})
    raise AssertionError("unreachable")


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


def prior_simulations(path: str, problem: Mapping[str, object]) -> Arrays:
    """Read the first round of another run, whose parameters were drawn from the prior.

    Parameters
    ----------
    path
        Its run directory.
    problem
        What its manifest must say.

    Raises
    ------
    RunDirectoryError
        Where the folder holds no finished first round, or one of another problem.
    """
    stored = read_manifest(path)["configuration"]
    for key, value in problem.items():
        if stored.get(key) != json.loads(json.dumps(value)):
            raise RunDirectoryError(
                f"reuse = {path!r}: its {key} are not those of this run: {stored.get(key)} there, "
                f"{value} here. Leave reuse out."
            )
    file = pathlib.Path(path) / "simulations" / "round_01.npz"
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


def _joined(batches: list[Arrays]) -> Arrays:
    """Put batches one after the other; what is not an array of rows is that of the first."""
    starts = np.cumsum([0] + [len(batch["z"]) for batch in batches])
    return {
        **batches[0],
        **{key: np.concatenate([b[key] for b in batches])
           for key in ("z", "theta", "spectra", "failure_texts")},
        "failed_rows": np.concatenate(
            [batch["failed_rows"] + start for batch, start in zip(batches, starts, strict=False)]
        ),
    }  # fmt: skip
