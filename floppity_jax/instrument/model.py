"""All steps of an instrument, in order: from what the simulator returns to what is measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.fingerprint import digest
from floppity_jax.instrument.prepared import ALL, Prepared, acts_on_grid, prepare
from floppity_jax.instrument.quantities import Bounds
from floppity_jax.observation import Observation
from floppity_jax.typing import Float


class Instrument:
    """What happens to a spectrum between the simulator and the data.

    Each dataset has steps of its own. First those that act on the grid of the model
    (`RadialVelocity`, `WavelengthShift`, `Rotation`, `Resolution`), in the order given; then the
    spectrum is averaged over the channels; then come those that act on channels (`Offset`,
    `Scale`), and on their noise (`ErrorFactor`, `ExtraError`, `ModelError`, `CorrelatedNoise`,
    `MarginalScale`, `MarginalOffset`), in the order given.

    Parameters
    ----------
    steps
        A list; or for several datasets, lists by the name of the dataset. Those of a list without
        a name, or under ``"*"``, are for all datasets together: a single offset that all share.
    grid : array (n,), optional
        Wavelengths of the model [um], increasing, where the simulator returns spectra on a grid of
        its own, one for all datasets. Unless given, the simulator returns the channels.

    Raises
    ------
    InvalidInput
        Where the grid does not increase, or a step acts on the grid and there is none.
    """

    def __init__(
        self,
        steps: Mapping[str, Sequence[Any]] | Sequence[Any] = (),
        *,
        grid: Float[np.ndarray, " n"] | None = None,
    ) -> None:
        by_name = steps if isinstance(steps, Mapping) else {ALL: steps}
        for name, each in by_name.items():
            if not isinstance(each, Sequence):
                raise InvalidInput(
                    f"instrument[{name!r}]", each, "must be a list of steps",
                    'For example [fp.instrument.Offset("offset")].',
                )  # fmt: skip
        self.steps = {name: tuple(each) for name, each in by_name.items()}
        for name, each in self.steps.items():
            for step in each:
                if not (acts_on_grid(step) or hasattr(step, "apply")):
                    raise InvalidInput(
                        f"instrument[{name!r}]", step, "must hold steps",
                        'For example fp.instrument.Offset("offset").',
                    )  # fmt: skip
                if acts_on_grid(step) and grid is None:
                    raise InvalidInput(
                        f"instrument[{name!r}]", step,
                        "acts on the grid of the model, so the grid must be given",
                        "Let the simulator return its own grid: fp.Instrument(steps, grid=...).",
                    )  # fmt: skip
        self.grid = None if grid is None else np.array(grid, np.float64)
        if self.grid is not None and not (
            self.grid.ndim == 1 and len(self.grid) > 1 and (np.diff(self.grid) > 0).all()
        ):
            raise InvalidInput(
                "grid", grid, "must be (n,) wavelengths that increase", "Sort it: np.sort(grid)."
            )
        self._prepared: dict[Hashable, Prepared] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but what is made ready: it holds functions, which do not pickle."""
        return {**self.__dict__, "_prepared": {}}

    @classmethod
    def of(cls, given: Any) -> Instrument:
        """Make one of what a `Retrieval` may be given."""
        return given if isinstance(given, cls) else cls(() if given is None else given)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that the steps use, each once."""
        every = [n for each in self.steps.values() for step in each for n in step.names]
        return tuple(dict.fromkeys(every))

    @property
    def trivial(self) -> bool:
        """Whether nothing happens."""
        return self.grid is None and not any(self.steps.values())

    @property
    def changes_noise(self) -> bool:
        """Whether the noise is another than that of the observation."""
        from floppity_jax.instrument.response import Offset, Scale

        return any(
            not acts_on_grid(step) and not isinstance(step, Offset | Scale)
            for each in self.steps.values()
            for step in each
        )

    @property
    def correlates(self) -> bool:
        """Whether it gives channels noise in common."""
        from floppity_jax.instrument.correlated import CorrelatedNoise
        from floppity_jax.instrument.marginal import MarginalOffset, MarginalScale

        shared = (CorrelatedNoise, MarginalOffset, MarginalScale)
        return any(isinstance(step, shared) for each in self.steps.values() for step in each)

    def describe(self) -> dict[str, Any]:
        """All that decides what it does, as JSON-ready values."""
        steps = {
            name: [[type(step).__name__, dataclasses.asdict(step)] for step in each]
            for name, each in self.steps.items()
        }
        text = json.dumps(steps, default=lambda number: number.item())  # of NumPy's, some are none
        return {"steps": json.loads(text), "grid": digest(self.grid)}

    @classmethod
    def from_description(
        cls, description: Mapping[str, Any], grid: Float[np.ndarray, " n"] | None
    ) -> Instrument:
        """Rebuild an instrument from what `describe` returned, and its grid."""
        from floppity_jax import instrument

        steps = {
            name: [getattr(instrument, kind)(**fields) for kind, fields in each]
            for name, each in description["steps"].items()
        }
        return cls(steps, grid=grid)

    def prepare(self, observation: Observation, bounds: Bounds) -> Prepared:
        """Check the steps against the data, and compute once what stays the same.

        Parameters
        ----------
        observation
            What was measured.
        bounds
            Lowest and highest value of each parameter in `names`.

        Raises
        ------
        InvalidInput
            Where a step does not fit, or names a dataset that there is not.
        """
        datasets = {part.name: part for part in observation.parts}
        if unknown := sorted(set(self.steps) - set(datasets) - {ALL}):
            raise InvalidInput(
                "instrument", unknown, f"must name datasets, {list(datasets)}",
                'Or "*", for all of them together.',
            )  # fmt: skip
        # The same again for other values: training is compiled for what is returned.
        of_datasets = (
            (p.name, p.n_channels, digest(p.errors, p.wavelength, p.bin_width))
            for p in observation.parts
        )
        key = (*of_datasets, *sorted(bounds.items()))
        if key not in self._prepared:
            self._prepared[key] = prepare(self.steps, self.grid, observation, bounds)
        return self._prepared[key]
