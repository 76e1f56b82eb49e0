"""From units to coverage: arrays over planets, and what they say in numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.bulk_coverage.inference import RANKED
from experiments.bulk_coverage.planets import BOUND, PRIORS, scale_heights
from experiments.common import Unit
from floppity_jax.diagnostics.calibration import Calibration
from floppity_jax.diagnostics.uniformity import clopper_pearson

LEVELS = (0.5, 0.6827, 0.9545)
FEW = 100  # effective draws below which a rank is coarse
# log L of the truth over that of the best draw, above which the posterior has missed its mode. In
# the right posterior 2 (log L_max - log L) of a draw is chi square of 5: of ten draws, all lie 5
# below the maximum once in 1e11 times.
MISSED = 5.0


def missed(log_likelihood_truth: Any, log_likelihood_best: Any) -> np.ndarray:
    """Whether no draw comes near the likelihood of the truth."""
    return np.asarray(log_likelihood_truth) - np.asarray(log_likelihood_best) > MISSED


def calibration(
    ranks: Sequence[Unit], truth: Any, subject: str, ess: Any, outside: Any = False
) -> Calibration:
    """Ranks of one posterior of each planet.

    ``outside`` are those that missed the truth's mode. By their likelihood, which is the density
    that corrected and nested draws are ranked by, the truth is denser than all of them and would
    count as inside of every region: it lies outside of all.
    """
    credibility = np.array([r["credibility"] for r in ranks])
    return Calibration(
        names=tuple(PRIORS), subject=subject, truth=np.array(truth),
        credibility=np.where(outside, 1.0, credibility),
        pit=np.array([r["pit"] for r in ranks]), tarp=np.array([r["tarp"] for r in ranks]),
        ess=np.asarray(ess, float), simulator_calls=0,
    )  # fmt: skip


def by_round(found: dict[str, Unit], kind: str, draws: int) -> list[Calibration]:
    """Calibrations after each round, of ``"flow"`` or ``"corrected"`` posteriors."""
    planets = list(found.values())
    truth = [p["truth"] for p in planets]
    at_truth = [p["log_likelihood_truth"] for p in planets]
    made = []
    for index in range(len(planets[0]["rounds"])):
        rounds = [p["rounds"][index] for p in planets]
        ranks, subject = [r[kind] for r in rounds], f"{kind}, round {index + 1}"
        ess = [draws * r["warnings"]["efficiency"] for r in rounds]
        if kind == "flow":
            made.append(calibration(ranks, truth, subject, [RANKED] * len(ranks)))
        else:
            outside = missed(at_truth, [r["log_likelihood_best"] for r in rounds])
            made.append(calibration(ranks, truth, subject, ess, outside))
    return made


def of_nested(found: dict[str, Unit]) -> Calibration:
    """Of nautilus' posteriors."""
    runs = list(found.values())
    return calibration(
        [r["nested"] for r in runs], [r["truth"] for r in runs], "nautilus",
        [r["ess"] for r in runs],
        missed([r["log_likelihood_truth"] for r in runs], [r["log_likelihood_best"] for r in runs]),
    )  # fmt: skip


def told(calibration: Calibration) -> dict[str, Any]:
    """Coverage with its 95% interval, and the verdict."""
    curves = calibration.coverage(np.array(LEVELS))
    intervals = [clopper_pearson(round(c * calibration.n), calibration.n) for c in curves.density]
    found, verdict = calibration.credibility < 1, calibration.verdict
    arrays = {k: getattr(calibration, k)[found]
              for k in ("truth", "credibility", "pit", "tarp", "ess")}  # fmt: skip
    return {
        "n": calibration.n,
        "coverage": dict(zip(map(str, LEVELS), curves.density, strict=True)),
        "interval": dict(zip(map(str, LEVELS), intervals, strict=True)),
        "tarp": dict(zip(map(str, LEVELS), curves.distance, strict=True)),
        "verdict": verdict.reading,
        "p_value": verdict.p_value,
        "median_ess": np.median(calibration.ess),
        "missed": np.sum(~found),
        "verdict of the others": (
            dataclasses.replace(calibration, **arrays).verdict.reading if found.any() else None
        ),
        "few_draws": np.mean(calibration.ess < FEW),
    }


def physical(found: dict[str, Unit]) -> np.ndarray:
    """Whether each true planet can hold its atmosphere."""
    return scale_heights(np.array([p["truth"] for p in found.values()])) > BOUND


def beside(found: dict[str, Unit], others: dict[str, Unit]) -> dict[str, Any]:
    """Differences of ln Z, medians and widths, planet by planet, and what either took."""
    by_number = {name[-3:]: other for name, other in others.items()}
    pairs = [(run, by_number[k[-3:]]) for k, run in found.items() if k[-3:] in by_number]
    evidence = np.array([[a["log_evidence"], b["log_evidence"]] for a, b in pairs])
    q = np.array([[a["quantiles"], b["quantiles"]] for a, b in pairs])  # (n, 2, d, 3)
    width = q[..., 2] - q[..., 0]
    return {
        "efficiency": [
            run["rounds"][-1]["warnings"]["efficiency"] for run, _ in pairs if "rounds" in run
        ],
        "log_evidence_difference": evidence[:, 0, 0] - evidence[:, 1, 0],
        "combined_error": np.hypot(evidence[:, 0, 1], evidence[:, 1, 1]),
        "width_ratio": width[:, 0] / width[:, 1],
        "shift": (q[:, 0, :, 1] - q[:, 1, :, 1]) / (width[:, 1] / 2),
        "calls": [[a["simulator_calls"], b["simulator_calls"]] for a, b in pairs],
        "cpu_seconds": [[a["cpu_seconds"], b["cpu_seconds"]] for a, b in pairs],
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, 5% and 95%, and the ends."""
    q = np.nanquantile(np.ravel(list(values)), [0, 0.05, 0.5, 0.95, 1])
    return dict(zip(("least", "5%", "median", "95%", "most"), q, strict=True))
