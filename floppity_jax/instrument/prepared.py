"""An instrument made ready for its data: a function that NumPy and JAX can both run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse

from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.binning import binning, binning_weights
from floppity_jax.instrument.quantities import Bounds
from floppity_jax.instrument.step import ChannelStep, Prediction, Values
from floppity_jax.observation import Observation
from floppity_jax.typing import Float

ALL = "*"  # the steps that all datasets share
ROWS = 256  # spectra that go through a step at a time
NEIGHBOURS = 8  # points that a step may look at beyond its reach

ToChannels = Callable[[ModuleType, Any, Values], Any]
OnChannels = Callable[[ModuleType, Prediction, Values, float], Prediction]


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What is predicted of spectra and instrument parameters.

    Attributes
    ----------
    matrix : array (k, m) or None
        What stays the same of the way from the grid to the channels: it is gone once, by `reduce`.
    keeps_grid : bool
        Whether the spectra on the grid are wanted, too: a parameter changes them.
    datasets : tuple of (callable, callable)
        From the reduced spectra to the channels of each dataset, and what is done there.
    together : callable
        What is done for all datasets together.
    unit : float
        Spectra are divided by it, and what is predicted is in it: a typical error, so that
        float32 can hold its square, however small a flux.
    """

    matrix: Float[np.ndarray, "k m"] | None
    keeps_grid: bool
    datasets: tuple[tuple[ToChannels, OnChannels], ...]
    together: OnChannels
    unit: float

    def reduce(self, xp: ModuleType, raw: Any) -> Any:
        """Do once what no parameter changes.

        Parameters
        ----------
        xp
            ``numpy`` or ``jax.numpy``.
        raw : array (n, k)
            What the simulator returned, over ``unit``.
        """
        if self.matrix is None:
            return raw
        if xp is np:
            channels = raw @ self.matrix.astype(raw.dtype)
        else:  # in full precision: GPUs round float32 products by default
            channels = xp.matmul(raw, xp.asarray(self.matrix, raw.dtype), precision="highest")
        return xp.concatenate([raw, channels], axis=1) if self.keeps_grid else channels

    def __call__(self, xp: ModuleType, reduced: Any, values: Values) -> Prediction:
        """Predict what is measured.

        Parameters
        ----------
        xp
            ``numpy`` or ``jax.numpy``.
        reduced : array (n, m)
            From `reduce`.
        values
            Of the instrument's parameters, arrays (n,).
        """
        parts = []
        for to_channels, on_channels in self.datasets:
            mean = to_channels(xp, reduced, values)
            none = xp.zeros_like(mean)
            start = Prediction(mean, none + 1, none, none[:, :, None][:, :, :0])
            parts.append(on_channels(xp, start, values, self.unit))
        return self.together(xp, _stacked(xp, parts), values, self.unit)


def prepare(
    steps: Mapping[str, Sequence[Any]],
    grid: Float[np.ndarray, " n"] | None,
    observation: Observation,
    bounds: Bounds,
) -> Prepared:
    """See `Instrument.prepare`."""
    shared = steps.get(ALL, ())
    ways, finishes, matrices = [], [], []
    on_grid = {
        part.name: [s for s in (*shared, *steps.get(part.name, ())) if acts_on_grid(s)]
        for part in observation.parts
    }
    keeps_grid = any(step.names for each in on_grid.values() for step in each)
    start = len(grid) if keeps_grid and grid is not None else 0
    for part, channels in zip(observation.parts, observation.slices, strict=True):
        own = on_grid[part.name]
        if grid is None:
            way = _picks(channels)
        elif any(step.names for step in own):
            way = _through_grid(grid, part, own, bounds)
        else:
            matrices.append(_matrix(grid, part, own, bounds))
            way = _picks(slice(start, start + part.n_channels))
            start += part.n_channels
        ways.append(way)
        after = [step for step in steps.get(part.name, ()) if not acts_on_grid(step)]
        finishes.append(_on_channels(after, part, bounds))
    return Prepared(
        np.concatenate(matrices, axis=1) if matrices else None,
        keeps_grid,
        tuple(zip(ways, finishes, strict=True)),
        _on_channels([s for s in shared if not acts_on_grid(s)], observation, bounds),
        1.0 if observation.errors is None else float(np.median(observation.errors)),
    )


def acts_on_grid(step: Any) -> bool:
    """Whether a step acts on the grid of the model, before channels are averaged."""
    return hasattr(step, "prepare")


def _picks(columns: slice) -> ToChannels:
    return lambda xp, reduced, values: reduced[:, columns]


def _matrix(
    grid: Float[np.ndarray, " n"], part: Observation, steps: list[Any], bounds: Bounds
) -> Float[np.ndarray, "n channels"]:
    """Return what steps without parameters, and the average over channels, come to.

    All are linear, and the steps reach only so far: impulses further apart do not meet, so that
    many go through at once.
    """
    weights = binning_weights(grid, *_ends(part))
    if not steps:
        return weights
    reach, n, point = _reach(grid, part, steps, bounds), len(grid), np.arange(len(grid))
    behind = point - np.searchsorted(grid, grid * (1 - reach))
    ahead = np.searchsorted(grid, grid * (1 + reach)) - point
    half = int(max(behind.max(), ahead.max())) + NEIGHBOURS * len(steps)
    period = 2 * half + 1
    responses = (point % period == np.arange(min(period, n))[:, None]).astype(float)
    for step in steps:
        step = step.prepare(grid, bounds)
        responses = np.concatenate(
            [step(np, rows, {}) for rows in np.array_split(responses, -(-len(responses) // ROWS))]
        )
    impulse = point[:, None] + np.arange(-half, half + 1)
    inside = (impulse >= 0) & (impulse < n)
    seen_at = np.broadcast_to(point[:, None], impulse.shape)[inside]
    values = responses[impulse[inside] % period, seen_at]
    whole = scipy.sparse.csr_array((values, (impulse[inside], seen_at)), shape=(n, n))
    return whole @ weights


def _on_channels(
    steps: Sequence[ChannelStep], observation: Observation, bounds: Bounds
) -> OnChannels:
    for step in steps:
        step.check(observation, bounds)

    def apply(xp: ModuleType, prediction: Prediction, values: Values, unit: float) -> Prediction:
        for step in steps:
            prediction = step.apply(xp, prediction, values, observation, unit)
        return prediction

    return apply


def _through_grid(
    grid: Float[np.ndarray, " n"], part: Observation, steps: list[Any], bounds: Bounds
) -> ToChannels:
    """Return what takes spectra on the grid to the channels of a dataset."""
    _reach(grid, part, steps, bounds)
    prepared = [step.prepare(grid, bounds) for step in steps]
    to_channels = binning(grid, *_ends(part))

    def apply(xp: ModuleType, reduced: Any, values: Values) -> Any:
        spectrum = reduced[:, : len(grid)]
        for step in prepared:
            spectrum = step(xp, spectrum, values)
        return to_channels(xp, spectrum)

    return apply


def _ends(part: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the channels of a dataset."""
    if part.wavelength is None or part.bin_width is None:
        raise InvalidInput(
            f"wavelength and bin_width of {part.name!r}", None,
            "must be given where there is a grid",
            "They say which part of the grid each channel averages.",
        )  # fmt: skip
    return part.wavelength - part.bin_width / 2, part.wavelength + part.bin_width / 2


def _reach(
    grid: Float[np.ndarray, " n"], part: Observation, steps: list[Any], bounds: Bounds
) -> float:
    """How far steps move light, in units of the wavelength.

    Channels that light would reach from beyond the grid are refused.
    """
    left, right = _ends(part)
    # One after the other: each moves what the one before it has moved.
    reach = 1 / math.prod(1 - step.reach(grid, bounds) for step in steps) - 1
    low, high = grid[0] * (1 + reach), grid[-1] * (1 - reach)
    outside = (left < low) | (right > high)
    if reach and outside.any():
        assert part.wavelength is not None
        raise InvalidInput(
            f"wavelength of {part.name!r}", part.wavelength[outside],
            f"must lie within {low:g} to {high:g} um, where broadening and shift by "
            f"{100 * reach:.2g}% of the wavelength do not reach the ends of the grid",
            "Let the model compute a wider range, or drop these channels.",
        )  # fmt: skip
    return reach


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
