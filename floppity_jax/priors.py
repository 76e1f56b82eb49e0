"""Prior laws, and the parameter space in which the flow lives.

Each prior goes through its own distribution function to a standard normal,
``z = Phi^-1(F(theta))``: the prior of ``z`` is N(0, I) whatever its shape, and no draw can
fall outside the prior. The side of the distribution on which the probability is small is the
one that is computed, in float64 on the host, so that |z| up to 37 keeps its digits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float  # not by way of floppity_jax.typing, which loads JAX
from scipy import special, stats

from floppity_jax.errors import InvalidInput


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """A one-dimensional prior: a frozen `scipy.stats` law with a unit and a label.

    Parameters
    ----------
    law
        Frozen continuous `scipy.stats` distribution.
    unit
        Unit of the parameter, for tables and figures.
    label
        LaTeX label, for figures; the parameter's name where empty.
    """

    law: Any
    unit: str = ""
    label: str = ""

    @property
    def support(self) -> tuple[float, float]:
        """Lowest and highest value the parameter can take."""
        low, high = self.law.support()
        return float(low), float(high)

    @property
    def scale(self) -> str:
        """Return ``"log"`` where the parameter is best read in log10, else ``"linear"``."""
        return "log" if self.law.dist.name in ("loguniform", "reciprocal", "lognorm") else "linear"

    def to_z(self, theta: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Standard-normal coordinate of ``theta``; infinite outside the support."""
        lower, upper = self.law.cdf(theta), self.law.sf(theta)
        return np.where(lower < 0.5, special.ndtri(lower), -special.ndtri(upper))

    def to_theta(self, z: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Parameter value at the standard-normal coordinate ``z``, inside the support."""
        tail = special.ndtr(-np.abs(z))
        theta = np.where(z < 0, self.law.ppf(tail), self.law.isf(tail))
        return np.clip(theta, *self.support)

    def describe(self) -> dict[str, Any]:
        """Return what rebuilds this prior, as JSON-ready values."""
        return {
            "law": self.law.dist.name,
            "args": [float(a) for a in self.law.args],
            "kwds": {k: float(v) for k, v in self.law.kwds.items()},
            "unit": self.unit,
            "label": self.label,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Prior:
        """Rebuild a prior from what `describe` returned."""
        law = getattr(stats, description["law"])(*description["args"], **description["kwds"])
        return cls(law, description["unit"], description["label"])


def _check_bounds(law: str, low: float, high: float) -> None:
    value = (low, high)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidInput(law, value, "needs finite bounds", "Give two finite numbers.")
    if low == high:
        raise InvalidInput(
            law, value, "needs low < high, but both are equal", f"To fix a parameter, give {low!r}."
        )
    if low > high:
        raise InvalidInput(
            law, value, "needs low < high, but they are reversed", f"Write ({high!r}, {low!r})."
        )


def _check_positive(law: str, name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(
            f"{law} {name}", value, "must be finite and above 0", "Give a positive number."
        )


def _check_finite(argument: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidInput(argument, value, "must be a finite number", "Give one.")


def Uniform(low: float, high: float, *, unit: str = "", label: str = "") -> Prior:  # noqa: N802
    """Return the uniform law between ``low`` and ``high``."""
    _check_bounds("Uniform", low, high)
    return Prior(stats.uniform(low, high - low), unit, label)


def LogUniform(low: float, high: float, *, unit: str = "", label: str = "") -> Prior:  # noqa: N802
    """Return the law uniform in the logarithm between ``low`` and ``high``, both above 0."""
    _check_bounds("LogUniform", low, high)
    _check_positive("LogUniform", "low", low)
    return Prior(stats.loguniform(low, high), unit, label)


def Normal(mean: float, sd: float, *, unit: str = "", label: str = "") -> Prior:  # noqa: N802
    """Return the normal law of the given mean and standard deviation."""
    _check_finite("Normal mean", mean)
    _check_positive("Normal", "sd", sd)
    return Prior(stats.norm(mean, sd), unit, label)


def LogNormal(median: float, sd_log: float, *, unit: str = "", label: str = "") -> Prior:  # noqa: N802
    """Return the law whose ``ln theta`` is normal about ``ln median``, deviation ``sd_log``."""
    _check_positive("LogNormal", "median", median)
    _check_positive("LogNormal", "sd_log", sd_log)
    return Prior(stats.lognorm(sd_log, 0.0, median), unit, label)


def TruncatedNormal(  # noqa: N802
    mean: float, sd: float, low: float, high: float, *, unit: str = "", label: str = ""
) -> Prior:
    """Return the normal law cut to ``low`` .. ``high``."""
    _check_bounds("TruncatedNormal", low, high)
    _check_finite("TruncatedNormal mean", mean)
    _check_positive("TruncatedNormal", "sd", sd)
    return Prior(stats.truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd), unit, label)


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A parameter held at ``value``."""

    value: float


@dataclasses.dataclass(frozen=True)
class Tied:
    """A parameter that always equals the free or fixed parameter ``other``."""

    other: str


def as_prior(name: str, given: Any) -> Prior | Fixed | Tied:
    """Read one entry of ``parameters``.

    A prior, a ``(low, high)`` tuple (uniform), a number (fixed), another parameter's name
    (tied) or a frozen `scipy.stats` law.
    """
    argument = f"parameters[{name!r}]"
    if isinstance(given, Fixed):
        _check_finite(argument, given.value)
    if isinstance(given, Prior | Fixed | Tied):
        return given
    if isinstance(given, str):
        return Tied(given)
    if isinstance(given, bool):
        given = float("nan")
    if isinstance(given, int | float | np.number):
        if math.isfinite(given):
            return Fixed(float(given))
    elif isinstance(given, tuple | list) and len(given) == 2:
        _check_bounds(argument, *map(float, given))
        return Uniform(float(given[0]), float(given[1]))
    elif isinstance(getattr(given, "dist", None), stats.rv_continuous):
        return Prior(given)
    raise InvalidInput(
        argument,
        given,
        "must be a prior, a (low, high) tuple, a finite number, another parameter's name or a "
        "frozen continuous scipy.stats law",
        "For example fp.Uniform(0.8, 1.6) or fp.LogUniform(1e-12, 0.1).",
    )


class ParameterSpace:
    """Names, units, labels and priors of the parameters; ``theta`` <-> ``z``.

    Parameters
    ----------
    parameters : mapping of str to prior
        In the user's order; see `as_prior` for what an entry may be.

    Attributes
    ----------
    names : tuple of str
        The free parameters, in the order given: the columns of every ``theta`` and ``z``.
    all_names : tuple of str
        With the fixed and tied ones: what the simulator is called with.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not isinstance(parameters, Mapping) or not parameters:
            raise InvalidInput(
                "parameters", parameters, "must map at least one name to a prior",
                'For example {"T": fp.Uniform(300, 3000)}.',
            )  # fmt: skip
        self.entries = {name: as_prior(name, given) for name, given in parameters.items()}
        self.priors = {n: p for n, p in self.entries.items() if isinstance(p, Prior)}
        self.names = tuple(self.priors)
        self.all_names = tuple(self.entries)
        if not self.names:
            raise InvalidInput(
                "parameters", dict(parameters), "must have a free parameter",
                "Give at least one of them a prior.",
            )  # fmt: skip
        for name, entry in self.entries.items():
            if isinstance(entry, Tied) and isinstance(self.entries.get(entry.other, entry), Tied):
                raise InvalidInput(
                    f"parameters[{name!r}]", entry.other,
                    "must name a free or fixed parameter to be tied to",
                    f"Choose from {[n for n in self.names if n != name]}.",
                )  # fmt: skip

    def to_z(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Standard-normal coordinates of physical parameters; infinite outside the prior."""
        return np.stack([p.to_z(theta[:, i]) for i, p in enumerate(self.priors.values())], axis=1)

    def to_theta(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Physical parameters at standard-normal coordinates; always inside the prior."""
        z = np.asarray(z, dtype=np.float64)
        return np.stack([p.to_theta(z[:, i]) for i, p in enumerate(self.priors.values())], axis=1)

    def log_prior(self, theta: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Log of the prior density; minus infinity outside."""
        return sum(p.law.logpdf(theta[:, i]) for i, p in enumerate(self.priors.values()))

    def as_mapping(self, theta: Float[np.ndarray, "n d"]) -> dict[str, Float[np.ndarray, " n"]]:
        """Every parameter, free, fixed and tied, as the simulator wants it."""
        columns = dict(zip(self.names, np.asarray(theta, dtype=np.float64).T, strict=True))
        for name, entry in self.entries.items():
            if isinstance(entry, Fixed):
                columns[name] = np.full(len(theta), entry.value)
        for name, entry in self.entries.items():
            if isinstance(entry, Tied):
                columns[name] = columns[entry.other]
        return {name: columns[name] for name in self.all_names}

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON-ready values, in order."""
        return {
            name: entry.describe() if isinstance(entry, Prior) else dataclasses.asdict(entry)
            for name, entry in self.entries.items()
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> ParameterSpace:
        """Rebuild a space from what `describe` returned."""
        kinds = {"law": Prior.from_description, "value": lambda d: Fixed(d["value"]),
                 "other": lambda d: Tied(d["other"])}  # fmt: skip
        return cls(
            {n: next(make(d) for k, make in kinds.items() if k in d)
             for n, d in description.items()}
        )  # fmt: skip
