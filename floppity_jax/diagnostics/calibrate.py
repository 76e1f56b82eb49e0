"""Run a retrieval on many synthetic observations whose true parameters are known.

Each observation is a unit of its own, in a folder of its own: any number of jobs can do their share
of the units in the same directory, and whatever was interrupted goes on from where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from tqdm.auto import tqdm

from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.diagnostics.ranks import Ranks
from floppity_jax.diagnostics.synthetic import draw_truth, observe, rank_corrected, rank_flow
from floppity_jax.errors import InvalidInput, RunDirectoryError, check_whole
from floppity_jax.noise import require_errors
from floppity_jax.retrieval import Retrieval
from floppity_jax.simulations import first_round
from floppity_jax.store import Arrays, read_arrays, write_arrays, write_atomically

SETTINGS = "calibration.json"
PRIOR = "prior"  # folder of the first round that all share
CORRECTED, FLOW = "corrected", "flow"  # posteriors that are ranked


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What all units share."""

    retrieval: Retrieval
    run: dict[str, Any]  # arguments of `Retrieval.run`
    importance_samples: int
    draws: int
    seed: int


def calibrate(
    retrieval: Retrieval,
    n: int = 100,
    *,
    rounds: int = 10,
    simulations: int | Sequence[int] = 1000,
    stop: Literal["converged"] | None = None,
    importance_samples: int = 0,
    draws: int = 1000,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
    resume: bool = False,
    units: Iterable[int] | None = None,
    reuse: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Calibration:
    """Test whether a retrieval's posteriors hold the truth as often as they say.

    ``n`` true parameter sets are drawn from the prior, and simulated; noise is added by the errors
    of the observation; each is retrieved by the settings of ``retrieval``, and the truth ranked in
    its posterior (see `Calibration`). The first round's simulations, drawn from the prior, are the
    same for all: they are made once. That costs ``n`` times the simulations of the later rounds and
    of importance sampling; `calibrate_amortised` tests the first round alone at no further call.

    Parameters
    ----------
    retrieval
        Whose settings are tested; of its observation the errors count, the values do not.
    n
        Synthetic observations. May grow when a calibration is resumed.
    rounds, simulations, stop
        As for `Retrieval.run`.
    importance_samples
        Simulator calls that correct each posterior. The corrected posteriors are ranked then, and
        those before in ``uncorrected``.
    draws
        Of each posterior, for ranks.
    seed
        Of truths, noise and runs: each unit has its own generator, by this and its number.
    directory
        Where units are kept, ``unit_000.npz`` for a finished one; nothing is kept unless given.
    resume
        Go on with what the directory holds, if anything.
    units
        Which of ``0 .. n - 1`` to run, for one of several jobs that share a directory, each with
        ``resume=True``. All that are missing unless given; ``units=()`` runs none. In any case all
        that are finished, by whichever job, are in what is returned.
    reuse
        Run directory whose first round serves all units, as in `Retrieval.run`; for example that
        of the real observation.
    progress
        Show a progress bar.

    Raises
    ------
    InvalidInput
        Where an argument breaks a rule.
    RunDirectoryError
        Where the directory holds another calibration, or this one without ``resume``; where another
        job runs one of the units; where no unit is finished.
    SimulatorError
        As for `Retrieval.run`.
    """
    for argument, value, least in (
        ("n", n, 1), ("draws", draws, 1), ("importance_samples", importance_samples, 0),
        ("seed", seed, 0),
    ):  # fmt: skip
        check_whole(argument, value, least, "Leave it out for the default.")
    chosen = range(n) if units is None else list(units)
    if outside := [unit for unit in chosen if unit not in range(n)]:
        raise InvalidInput("units", outside, f"must lie in 0 .. n - 1 = {n - 1}", "Or raise n.")
    if importance_samples:
        require_errors(retrieval.observation)
    counts = retrieval.counts(rounds, simulations)
    run = {"rounds": rounds, "simulations": counts, "stop": stop, "progress": False}
    settings = _Settings(retrieval, run, importance_samples, draws, seed)
    with kept_in(directory) as folder:
        description = retrieval.describe(counts, seed) | {
            "stop": stop, "importance_samples": importance_samples, "draws": draws,
            "reuse": reuse and os.path.abspath(reuse),
        }  # fmt: skip
        _claim(folder, description, resume)
        missing = [unit for unit in chosen if not _file(folder, unit).exists()]
        prior = folder / PRIOR if reuse is None else pathlib.Path(reuse)
        if missing and reuse is None:
            _prior_round(settings, prior)
        for unit in tqdm(missing, desc="observations", disable=not progress):
            write_arrays(_file(folder, unit), _run_unit(settings, unit, folder, prior))
        finished = [read_arrays(_file(folder, u)) for u in range(n) if _file(folder, u).exists()]
        if not finished:
            raise RunDirectoryError(f"{folder} holds no finished unit: run some of them first.")
        calls = sum(int(unit["simulator_calls"]) for unit in finished)
        if reuse is None:
            calls += len(read_arrays(first_round(folder / PRIOR))["z"])
        return _collected(settings, finished, calls)


def _run_unit(settings: _Settings, unit: int, folder: pathlib.Path, reuse: pathlib.Path) -> Arrays:
    """Retrieve one synthetic observation, and rank its truth."""
    retrieval = settings.retrieval
    rng_truth, rng_noise, rng_ranks, rng_run = (
        np.random.default_rng([settings.seed, unit, part]) for part in range(4)
    )
    place = folder / f"unit_{unit:03d}"
    truth = draw_truth(retrieval, rng_truth, place)
    z, spectrum = truth["z"], truth["spectrum"]
    observation = observe(rng_noise, retrieval.measurement, z, spectrum)
    seed = int(rng_run.integers(2**31))
    posterior = retrieval.with_observation(observation).run(
        seed=seed, directory=place, resume=True, reuse=reuse, **settings.run
    )
    key = jax.random.key(seed)
    arrays: Arrays = {
        "truth": retrieval.space.to_theta(z[None])[0],
        **_prefixed(FLOW, rank_flow(key, rng_ranks, posterior.density, z, settings.draws)),
        "flow_ess": np.array(settings.draws),
        "misfit": np.array(posterior.record.rounds[-1].misfit),
    }
    if settings.importance_samples:
        posterior = posterior.importance_sample(settings.importance_samples, seed)
        arrays |= _prefixed(CORRECTED, rank_corrected(rng_ranks, posterior, z, spectrum))
        arrays["corrected_ess"] = np.array(posterior.ess)
    calls = posterior.record.simulator_calls + int(truth["tries"])
    return {**arrays, "simulator_calls": np.array(calls)}


def _prior_round(settings: _Settings, place: pathlib.Path) -> None:
    """Simulate the first round that all units share; of several jobs, one does it."""
    with open(place.with_suffix(".lock"), "a") as lock:
        with contextlib.suppress(OSError):  # some network file systems; the run itself says so
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not first_round(place).exists():
            settings.retrieval.run(
                1, settings.run["simulations"][:1], seed=settings.seed, directory=place,
                resume=True, progress=False,
            )  # fmt: skip


def _claim(folder: pathlib.Path, description: dict[str, Any], resume: bool) -> None:
    """Write what is calibrated into the folder, or hold it against what is there."""
    path, now = folder / SETTINGS, json.loads(json.dumps(description))
    if not path.exists():
        text = json.dumps(now, indent=1).encode()
        write_atomically(path, lambda file: file.write(text))
        return
    if not resume:
        raise RunDirectoryError(
            f"directory = {str(folder)!r}: the folder already holds a calibration. Go on with it "
            "by resume=True, or choose another."
        )
    stored = json.loads(path.read_text())
    if differences := [key for key in now if stored.get(key) != now[key]]:
        raise RunDirectoryError(
            f"directory = {str(folder)!r} holds a calibration that was set up otherwise, in "
            f"{', '.join(differences)}. Resume it with the same set-up, or choose another folder."
        )


def _collected(settings: _Settings, finished: list[Arrays], calls: int) -> Calibration:
    """Put finished units together."""
    counts = settings.run["simulations"]
    shown = f"{counts[0]:,}" if len(set(counts)) == 1 else ", ".join(map("{:,}".format, counts))
    rounds = "1 round" if len(counts) == 1 else f"{len(counts)} rounds"
    subject = f"{rounds} of {shown} simulations ({settings.retrieval.method})"

    def together(which: str, subject: str, **others: Any) -> Calibration:
        columns: dict[str, Any] = {
            name: np.stack([unit[f"{which}_{name}"] for unit in finished])
            for name in (*Ranks._fields, "ess")
        }
        return Calibration(
            names=settings.retrieval.space.names, subject=subject,
            truth=np.stack([unit["truth"] for unit in finished]), **columns, **others,
        )  # fmt: skip

    flow = together(
        FLOW, subject, simulator_calls=calls - settings.importance_samples * len(finished),
        misfit=max(float(unit["misfit"]) for unit in finished),
    )  # fmt: skip
    if not settings.importance_samples:
        return flow
    corrected = f"{subject}, corrected by {settings.importance_samples:,} draws"
    return together(CORRECTED, corrected, simulator_calls=calls, uncorrected=flow)


def _prefixed(which: str, ranks: Ranks) -> Arrays:
    return {f"{which}_{name}": np.asarray(value) for name, value in ranks._asdict().items()}


def _file(folder: pathlib.Path, unit: int) -> pathlib.Path:
    return folder / f"unit_{unit:03d}.npz"


@contextlib.contextmanager
def kept_in(directory: str | os.PathLike[str] | None) -> Iterator[pathlib.Path]:
    """Give a folder, which is removed at the end where none was asked for."""
    if directory is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield pathlib.Path(temporary)
    else:
        folder = pathlib.Path(directory).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
