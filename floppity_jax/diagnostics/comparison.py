"""Two posteriors of one problem side by side, and whether they agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from floppity_jax.diagnostics.distances import (
    Distance,
    classifier_accuracy,
    independent,
    jensen_shannon,
    sliced_wasserstein,
)
from floppity_jax.diagnostics.sources import as_datatree, in_terms_of_reference, labels_of
from floppity_jax.errors import InvalidInput
from floppity_jax.summary import aligned, interval, is_log, parameters
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import pandas
    import xarray

# What agreeing means: differences that no conclusion would change by.
MOST_SHIFT = 0.1  # sigma
MOST_WIDENING = 0.05
MOST_DIVERGENCE = 2.0  # millinats above the floor
MOST_EVIDENCE = 2.0  # combined sigma
SURE = 3.0  # standard errors beyond a limit, for a difference not to be chance
BOOTSTRAP = 200

RULE = (
    f"agree: medians within {MOST_SHIFT} sigma, 68% widths within {MOST_WIDENING:.0%}, "
    f"Jensen-Shannon divergences at most {MOST_DIVERGENCE:.0f} millinats above chance, and ln Z "
    f"within {MOST_EVIDENCE:.0f} combined sigma; differ: beyond a limit by {SURE:.0f} standard "
    "errors, or ln Z beyond its limit; else there are too few draws to tell"
)


class Marginal(NamedTuple):
    """One parameter of a posterior beside that of the reference.

    Attributes
    ----------
    shift, shift_error : float
        Difference of the medians in units of half the 68% width of the reference.
    width, width_error : float
        Ratio of the 68% widths.
    divergence : Distance
        Jensen-Shannon, in millinats.
    """

    shift: float
    shift_error: float
    width: float
    width_error: float
    divergence: Distance


class Run(NamedTuple):
    """What is known of a whole posterior; None where it does not say.

    Attributes
    ----------
    label : str
        Its name.
    ess : float
        Effective number of independent draws.
    log_evidence, log_evidence_error : float or None
        Natural logarithm.
    calls : int or None
        Simulator calls.
    seconds : float or None
        Wall time.
    """

    label: str
    ess: float
    log_evidence: float | None
    log_evidence_error: float | None
    calls: int | None
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """A posterior beside the reference.

    Attributes
    ----------
    run : Run
        The posterior.
    marginals : dict of str to Marginal
        By parameter.
    accuracy, accuracy_error : float
        Of a classifier (C2ST): 0.5 where it cannot tell the two apart.
    wasserstein : Distance
        Sliced, in standard deviations of the reference.
    evidence : float or None
        Difference of ln Z in combined sigma.
    """

    run: Run
    marginals: dict[str, Marginal]
    accuracy: float
    accuracy_error: float
    wasserstein: Distance
    evidence: float | None

    @property
    def verdict(self) -> str:
        """Whether the two agree, and where not, in words; `RULE` says by what rule."""
        beyond, unsure = [], []
        for name, m in self.marginals.items():
            above, noise = m.divergence.value - m.divergence.floor, m.divergence.floor_95
            checks = (
                (abs(m.shift), m.shift_error, MOST_SHIFT, f"{name} by {m.shift:+.2f} sigma"),
                (abs(m.width - 1), m.width_error, MOST_WIDENING,
                 f"{name} by {m.width:.2f} in width"),
                (above, (noise - m.divergence.floor) / 1.645, MOST_DIVERGENCE,
                 f"{name} by {above:.1f} millinats"),
            )  # fmt: skip
            for value, error, limit, text in checks:
                if value > limit + SURE * error:
                    beyond.append(text)
                elif value > limit or error > limit:
                    unsure.append(f"{text} +- {error:.2g}")
        if self.evidence is not None and abs(self.evidence) > MOST_EVIDENCE:
            beyond.append(f"ln Z by {self.evidence:+.1f} sigma")
        if beyond:
            return "differ: " + ", ".join(beyond)
        if unsure:
            return "too few draws to tell: " + ", ".join(unsure)
        return "agree"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare_posteriors` found: ``str()`` of it is the table.

    Attributes
    ----------
    reference : Run
        What the others are held against.
    pairs : tuple of Pair
        One for each other posterior.
    """

    reference: Run
    pairs: tuple[Pair, ...]

    @property
    def verdict(self) -> str:
        """The verdict on each, and the rule."""
        lines = [f"{p.run.label} and {self.reference.label} {p.verdict}." for p in self.pairs]
        return "\n".join([*lines, f"({RULE}.)"])

    def __str__(self) -> str:
        blocks = [_table(pair) for pair in self.pairs]
        return "\n\n".join([*blocks, _runs([self.reference, *(p.run for p in self.pairs)]),
                            self.verdict])  # fmt: skip

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each posterior and parameter."""
        import pandas

        return pandas.DataFrame(self._records()).set_index(["posterior", "parameter"])

    def to_datatree(self) -> xarray.DataTree:
        """Return groups ``marginals`` (posterior, parameter) and ``joint`` (posterior)."""
        import xarray

        joint = {
            "c2st": [p.accuracy for p in self.pairs],
            "c2st_error": [p.accuracy_error for p in self.pairs],
            "sliced_wasserstein": [p.wasserstein.value for p in self.pairs],
            "sliced_wasserstein_floor": [p.wasserstein.floor for p in self.pairs],
            "log_evidence_difference": [
                np.nan if p.evidence is None else p.evidence for p in self.pairs
            ],
            "verdict": [p.verdict for p in self.pairs],
        }
        labels = {"posterior": [p.run.label for p in self.pairs]}
        tree = xarray.DataTree.from_dict(
            {
                "marginals": self.to_dataframe().to_xarray(),
                "joint": xarray.Dataset({k: ("posterior", v) for k, v in joint.items()}, labels),
            }
        )
        tree.attrs.update(reference=self.reference.label, rule=RULE)
        return tree

    def _records(self) -> list[dict[str, Any]]:
        return [
            {
                "posterior": pair.run.label, "parameter": name,
                "shift": m.shift, "shift_error": m.shift_error,
                "width": m.width, "width_error": m.width_error,
                "jsd": m.divergence.value, "jsd_floor": m.divergence.floor,
                "jsd_floor_95": m.divergence.floor_95,
            }
            for pair in self.pairs for name, m in pair.marginals.items()
        ]  # fmt: skip


def compare_posteriors(
    reference: Any,
    *others: Any,
    labels: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    log10: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Hold posteriors of the same problem against a reference, such as a nested-sampling run.

    Parameters
    ----------
    reference, *others
        Each a `Posterior`, an `Ensemble`, a DataTree, or a path: a ``.nc`` file, a run directory,
        or what `read_nested` reads.
    labels
        A name for each; unless given, that of the library or file.
    rename
        From names in the others to those of the reference.
    log10
        Parameters, by the reference's names, of which the others hold the decimal logarithm.
    seed
        Of what is drawn at random.

    Returns
    -------
    Comparison
        Of the parameters that all have by the same name. Those whose prior is logarithmic are
        compared in log10.

    Raises
    ------
    InvalidInput
        Where there is nothing to compare, a path holds no posterior, a name is not known, or a
        logarithm does not exist.
    """
    if not others:
        raise InvalidInput(
            "others", others, "must hold a posterior", "Give two posteriors or more."
        )
    trees = [as_datatree(each) for each in (reference, *others)]
    labels = labels_of((reference, *others), trees, labels)
    trees[1:] = in_terms_of_reference(trees[1:], rename, log10)
    draws = [parameters(tree) for tree in trees]
    names = [name for name in draws[0] if all(name in d for d in draws)]
    if not names:
        raise InvalidInput(
            "parameters", [list(d) for d in draws], "must have a name in common",
            'Say what they are called: rename={"theirs": "ours"} (on the command line: '
            "--rename theirs=ours).",
        )  # fmt: skip
    columns = [
        np.stack([_scaled(name, d[name], is_log(draws[0][name])) for name in names], axis=1)
        for d in draws
    ]
    runs = [_run(tree, label) for tree, label in zip(trees, labels, strict=True)]
    pairs = [
        _pair(seed, names, columns[0], runs[0], column, run)
        for column, run in zip(columns[1:], runs[1:], strict=True)
    ]
    return Comparison(runs[0], tuple(pairs))


def _scaled(name: str, variable: xarray.DataArray, in_log: bool) -> Float[np.ndarray, " n"]:
    """Return a parameter's draws as they are compared."""
    x = variable.to_numpy().ravel().astype(np.float64)
    if not in_log:
        return x
    if (x <= 0).any():
        raise InvalidInput(
            f"posterior[{name!r}]", float(x.min()), "must be above 0, to be compared in log10",
            f"Where it holds the logarithm, say so: log10=({name!r},) (on the command line: "
            f"--log10 {name}).",
        )  # fmt: skip
    return np.log10(x)


def _run(tree: xarray.DataTree, label: str) -> Run:
    known = tree.attrs
    seconds = known.get("seconds")
    if seconds is None:
        parts = [v for k, v in known.items() if str(k).startswith("seconds_")]
        seconds = sum(parts) if parts else None
    # A flow's own draws are as many as one likes, and independent.
    n = next(iter(tree["posterior"].data_vars.values())).size
    return Run(
        label, float(min(known.get("ess", n), n)), known.get("log_evidence"),
        known.get("log_evidence_error"), known.get("simulator_calls"), seconds,
    )  # fmt: skip


def _pair(
    seed: int,
    names: Sequence[str],
    a: Float[np.ndarray, "n d"],
    run_a: Run,
    b: Float[np.ndarray, "m d"],
    run_b: Run,
) -> Pair:
    rng = np.random.default_rng(seed)
    ess = (run_a.ess, run_b.ess)
    marginals = {
        name: _marginal(rng, a[:, i], b[:, i], ess) for i, name in enumerate(names)
    }  # fmt: skip
    accuracy, accuracy_error = classifier_accuracy(seed, a, b, ess)
    return Pair(
        run_b, marginals, accuracy, accuracy_error, sliced_wasserstein(rng, a, b, ess),
        evidence_difference(run_a, run_b),
    )  # fmt: skip


def _marginal(
    rng: np.random.Generator,
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    ess: tuple[float, float],
) -> Marginal:
    def measures(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        first, second = interval(a), interval(b)
        sigma = (first.plus + first.minus) / 2
        return (second.median - first.median) / sigma, (second.plus + second.minus) / 2 / sigma

    shift, width = measures(a, b)
    # Bootstrap, of as many draws as each sample is worth.
    sizes = independent(ess, (a, b))
    spread = np.std(
        [measures(*(rng.choice(x, n) for x, n in zip((a, b), sizes, strict=True)))
         for _ in range(BOOTSTRAP)], axis=0,
    )  # fmt: skip
    return Marginal(
        shift, float(spread[0]), width, float(spread[1]), jensen_shannon(rng, a, b, ess)
    )


def evidence_difference(a: Run, b: Run) -> float | None:
    """Difference of ln Z in combined sigma, where both are known."""
    if a.log_evidence is None or b.log_evidence is None:
        return None
    error = math.hypot(a.log_evidence_error or 0.0, b.log_evidence_error or 0.0)
    return float((b.log_evidence - a.log_evidence) / error) if error else None


def _table(pair: Pair) -> str:
    rows = [("parameter", "shift [sigma]", "68% width ratio", "JSD [mnat]", "of chance")]
    for name, m in pair.marginals.items():
        rows.append(
            (name, f"{m.shift:+.3f} +- {m.shift_error:.3f}",
             f"{m.width:.3f} +- {m.width_error:.3f}",
             f"{m.divergence.value:.2f}", f"{m.divergence.floor:.2f}")
        )  # fmt: skip
    lines = [pair.run.label, *aligned(rows)]
    lines.append(
        f"classifier accuracy (C2ST) {pair.accuracy:.3f} +- {pair.accuracy_error:.3f}, "
        f"sliced Wasserstein {pair.wasserstein.value:.3f} (of chance {pair.wasserstein.floor:.3f})"
    )
    if pair.evidence is not None:
        lines.append(f"ln Z differs by {pair.evidence:+.2f} combined sigma")
    return "\n".join(lines)


def _runs(runs: Sequence[Run]) -> str:
    rows = [("posterior", "ln Z", "effective draws", "simulator calls", "seconds")]
    for run in runs:
        evidence = "-"
        if run.log_evidence is not None:
            evidence = f"{run.log_evidence:.2f} +- {run.log_evidence_error or math.nan:.2f}"
        rows.append(
            (run.label, evidence, f"{run.ess:.0f}",
             "-" if run.calls is None else f"{int(run.calls):,}",
             "-" if run.seconds is None else f"{run.seconds:.0f}")
        )  # fmt: skip
    return "\n".join(aligned(rows))
