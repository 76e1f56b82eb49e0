"""Several datasets as one observation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float  # not by way of floppity_jax.typing, which loads JAX

from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation


@dataclasses.dataclass(frozen=True, eq=False)
class JointObservation(Observation):
    """Several datasets, one after the other; made by `join`.

    Wavelengths need not increase from one to the next, and are None unless all have them.

    Attributes
    ----------
    datasets : tuple of Observation
        In order.
    """

    datasets: tuple[Observation, ...] = ()

    def _check_order(self) -> None:
        """Each dataset has been checked."""

    @property
    def parts(self) -> tuple[Observation, ...]:
        """The datasets."""
        return self.datasets

    def with_values(self, values: Float[np.ndarray, " channels"]) -> Observation:
        """Return what it would be, had these values been measured."""
        return join(
            [p.with_values(values[s]) for p, s in zip(self.parts, self.slices, strict=True)]
        )


def join(observations: Mapping[str, Observation] | Sequence[Observation]) -> Observation:
    """Join datasets into one observation: what a simulator of all of them is made for.

    A `Retrieval` joins what it is given by name in the same way.

    Parameters
    ----------
    observations
        By name; or in a list, each with a name of its own.

    Returns
    -------
    Observation
        The dataset itself where there is one alone.

    Raises
    ------
    InvalidInput
        Where there is none, two have the same name, or some have errors and some have none.
    """
    if isinstance(observations, Mapping):
        parts = [
            dataclasses.replace(o, name=str(name)) if isinstance(o, Observation) else o
            for name, o in observations.items()
        ]
    else:
        parts = list(observations) if isinstance(observations, Sequence) else [observations]
    if not parts or not all(type(part) is Observation for part in parts):
        raise InvalidInput(
            "observation", observations, "must be an Observation, or several by name",
            "Make each by fp.Observation(values, errors) or fp.read_observation(path).",
        )  # fmt: skip
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise InvalidInput(
            "names of the datasets", names, "must differ",
            'Give each its own: {"niriss": first, "nirspec": second}.',
        )  # fmt: skip
    with_errors = [part.name for part in parts if part.errors is not None]
    if with_errors and len(with_errors) < len(parts):
        raise InvalidInput(
            "datasets with errors", with_errors, f"must be all of {names}, or none",
            "Where the simulator adds noise to one, let it add noise to none.",
        )  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    covariance = None
    if any(part.covariance is not None for part in parts):
        covariance = scipy.linalg.block_diag(*[_covariance(part) for part in parts])
    return JointObservation(
        values=np.concatenate([part.values for part in parts]),
        errors=_joined(parts, "errors"),
        wavelength=_joined(parts, "wavelength"),
        bin_width=_joined(parts, "bin_width"),
        name="+".join(names),
        unit=parts[0].unit if len({part.unit for part in parts}) == 1 else "",
        covariance=covariance,
        datasets=tuple(parts),
    )


def _covariance(part: Observation) -> np.ndarray:
    if part.covariance is not None:
        return part.covariance
    assert part.errors is not None
    return np.diag(part.errors**2)


def _joined(parts: list[Observation], field: str) -> np.ndarray | None:
    arrays = [getattr(part, field) for part in parts]
    return None if any(array is None for array in arrays) else np.concatenate(arrays)
