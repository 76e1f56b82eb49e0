"""All steps of an instrument, in order: from what the simulator returns to what is measured."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.fingerprint import digest
from floppity_jax.instrument.quantities import Bounds
from floppity_jax.instrument.step import ChannelStep, Prediction, Values
from floppity_jax.observation import Observation
from floppity_jax.typing import Float

ALL = "*"  # the steps that all datasets share
MATRIX_ROWS = 256  # of a matrix that are made at a time


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
        self.steps = {name: tuple(each) for name, each in by_name.items()}
        for name, each in self.steps.items():
            for step in each:
                if not (_acts_on_grid(step) or hasattr(step, "apply")):
                    raise InvalidInput(
                        f"instrument[{name!r}]", step, "must hold steps",
                        'For example fp.instrument.Offset("offset").',
                    )  # fmt: skip
                if _acts_on_grid(step) and grid is None:
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
            not _acts_on_grid(step) and not isinstance(step, Offset | Scale)
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
        return {"steps": steps, "grid": digest(self.grid)}

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
        shared = self.steps.get(ALL, ())
        branches = []
        for part, channels in zip(observation.parts, observation.slices, strict=True):
            own = self.steps.get(part.name, ())
            on_grid = [step for step in (*shared, *own) if _acts_on_grid(step)]
            after = [step for step in own if not _acts_on_grid(step)]
            branches.append(self._branch(part, channels, on_grid, after, bounds))
        together = _on_channels([s for s in shared if not _acts_on_grid(s)], observation, bounds)
        unit = 1.0 if observation.errors is None else float(np.median(observation.errors))
        return Prepared(tuple(branches), together, unit)

    def _branch(
        self, part: Observation, channels: slice, on_grid: list[Any], after: list[Any],
        bounds: Bounds,
    ) -> Callable[[ModuleType, Any, Values, float], Prediction]:  # fmt: skip
        """Return what takes a spectrum of the simulator to a dataset."""
        if self.grid is None:
            to_channels = lambda xp, raw, values: raw[:, channels]  # noqa: E731
        else:
            to_channels = _through_grid(self.grid, part, on_grid, bounds)
        finish = _on_channels(after, part, bounds)

        def branch(xp: ModuleType, raw: Any, values: Values, unit: float) -> Prediction:
            mean = to_channels(xp, raw, values)
            none = xp.zeros_like(mean)
            start = Prediction(mean, none + 1, none, none[:, :, None][:, :, :0])
            return finish(xp, start, values, unit)

        return branch


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A function of spectra and instrument parameters that NumPy and JAX can both run.

    Attributes
    ----------
    branches, together : callable
        What is done for each dataset, and then for all.
    unit : float
        Spectra are divided by it, and what is predicted is in it: a typical error, so that
        float32 can hold its square, however small a flux.
    """

    branches: tuple[Callable[[ModuleType, Any, Values, float], Prediction], ...]
    together: Callable[[ModuleType, Prediction, Values, float], Prediction]
    unit: float

    def __call__(self, xp: ModuleType, raw: Any, values: Values) -> Prediction:
        """Predict what is measured.

        Parameters
        ----------
        xp
            ``numpy`` or ``jax.numpy``.
        raw : array (n, k)
            What the simulator returned, over ``unit``.
        values
            Of the instrument's parameters, arrays (n,).
        """
        parts = [branch(xp, raw, values, self.unit) for branch in self.branches]
        return self.together(xp, _stacked(xp, parts), values, self.unit)


def _acts_on_grid(step: Any) -> bool:
    return hasattr(step, "prepare")


def _on_channels(
    steps: Sequence[ChannelStep], observation: Observation, bounds: Bounds
) -> Callable[[ModuleType, Prediction, Values, float], Prediction]:
    for step in steps:
        step.check(observation, bounds)

    def apply(xp: ModuleType, prediction: Prediction, values: Values, unit: float) -> Prediction:
        for step in steps:
            prediction = step.apply(xp, prediction, values, observation, unit)
        return prediction

    return apply


def _through_grid(
    grid: Float[np.ndarray, " n"], part: Observation, steps: list[Any], bounds: Bounds
) -> Callable[[ModuleType, Any, Values], Any]:
    from floppity_jax.instrument.binning import binning

    if part.wavelength is None or part.bin_width is None:
        raise InvalidInput(
            f"wavelength and bin_width of {part.name!r}", None,
            "must be given where there is a grid",
            "They say which part of the grid each channel averages.",
        )  # fmt: skip
    _check_ends(grid, part, sum(step.reach(grid, bounds) for step in steps))
    prepared = [step.prepare(grid, bounds) for step in steps]
    left, right = part.wavelength - part.bin_width / 2, part.wavelength + part.bin_width / 2
    to_channels = binning(grid, left, right)

    def apply(xp: ModuleType, raw: Any, values: Values) -> Any:
        for step in prepared:
            raw = step(xp, raw, values)
        return to_channels(xp, raw)

    if any(step.names for step in steps):
        return apply
    # All are linear, and stay the same: one product with a matrix takes their place.
    size, rows = len(grid), range(0, len(grid), MATRIX_ROWS)
    matrix = np.concatenate([apply(np, np.eye(size)[i : i + MATRIX_ROWS], {}) for i in rows])
    return lambda xp, raw, values: raw @ xp.asarray(matrix, raw.dtype)


def _check_ends(grid: Float[np.ndarray, " n"], part: Observation, reach: float) -> None:
    """Refuse channels whose light may come from beyond the grid."""
    assert part.wavelength is not None
    assert part.bin_width is not None
    left, right = part.wavelength - part.bin_width / 2, part.wavelength + part.bin_width / 2
    low, high = grid[0] * (1 + reach), grid[-1] * (1 - reach)
    outside = (left < low) | (right > high)
    if reach and outside.any():
        raise InvalidInput(
            f"wavelength of {part.name!r}", part.wavelength[outside],
            f"must lie within {low:g} to {high:g} um, where broadening and shift by "
            f"{100 * reach:.2g}% of the wavelength do not reach the ends of the grid",
            "Let the model compute a wider range, or drop these channels.",
        )  # fmt: skip


def _stacked(xp: ModuleType, parts: list[Prediction]) -> Prediction:
    """Put datasets one after the other; noise that channels share stays within each."""
    if len(parts) == 1:
        return parts[0]
    widths = [part.mean.shape[1] for part in parts]
    counts = [part.templates.shape[2] for part in parts]
    total = sum(widths)
    starts = np.cumsum([0, *widths])
    templates = [
        xp.pad(part.templates, [(0, 0), (start, total - start - width), (0, 0)])
        for part, start, width in zip(parts, starts, widths, strict=False)
        if part.templates.shape[2]
    ]
    kernels = [
        xp.pad(part.kernel, [(0, 0), *[(int(start), int(total - start - width))] * 2])
        for part, start, width in zip(parts, starts, widths, strict=False)
        if part.kernel is not None
    ]
    mean, factor, extra = (
        xp.concatenate([getattr(part, field) for part in parts], axis=1)
        for field in ("mean", "factor", "extra")
    )
    none = mean[:, :, None][:, :, :0]
    return Prediction(
        mean, factor, extra,
        xp.concatenate(templates, axis=2) if sum(counts) else none,
        functools.reduce(lambda a, b: a + b, kernels) if kernels else None,
    )  # fmt: skip
