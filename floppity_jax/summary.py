"""What tables and figures say of a parameter: its median and its central 68% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray

# Probability inside 1, 2 and 3 standard deviations of a normal law.
ONE_SIGMA, TWO_SIGMA, THREE_SIGMA = (math.erf(k / math.sqrt(2)) for k in (1, 2, 3))
# Levels of the quantiles that are kept of each round: ends of the central 95.4% and 68.3%, median.
QUANTILES = (
    (1 - TWO_SIGMA) / 2, (1 - ONE_SIGMA) / 2, 0.5, (1 + ONE_SIGMA) / 2, (1 + TWO_SIGMA) / 2,
)  # fmt: skip


class Interval(NamedTuple):
    """A median and the distances from it to the ends of the central 68% interval.

    Attributes
    ----------
    median, plus, minus : float
        In the unit of the draws; ``plus`` and ``minus`` are both positive.
    """

    median: float
    plus: float
    minus: float

    def digits(self, significant: int = 2) -> tuple[str, str, str]:
        """Median, plus and minus as text, to two digits of the smaller distance.

        Numbers from 0.001 to 100,000 are written out; others share the exponent of the median.
        """
        size = abs(self.median)
        power = 0 if size == 0 or 1e-3 <= size < 1e5 else math.floor(math.log10(size))
        scaled = [value / 10.0**power for value in self]
        smallest = min((value for value in scaled[1:] if value > 0), default=1.0)
        places = max(0, significant - 1 - math.floor(math.log10(smallest)))
        suffix = f"e{power:+03d}" if power else ""
        median, plus, minus = (f"{value:.{places}f}{suffix}" for value in scaled)
        return median, f"+{plus}", f"-{minus}"


def interval(draws: Float[np.ndarray, " n"]) -> Interval:
    """Median and central 68.3% interval of ``draws``."""
    tail = (1 - ONE_SIGMA) / 2
    low, median, high = np.quantile(draws, (tail, 0.5, 1 - tail))
    return Interval(float(median), float(high - median), float(median - low))


def is_log(variable: xarray.DataArray) -> bool:
    """Return whether a parameter is best read in log10, as its prior says."""
    return variable.attrs.get("scale", "linear") == "log"


def parameters(datatree: xarray.DataTree) -> dict[str, xarray.DataArray]:
    """Return the free parameters of the group ``posterior``, in their order."""
    return {str(name): variable for name, variable in datatree["posterior"].data_vars.items()}


def variable_name(name: str) -> str:
    """Name of a variable in a DataTree, where a slash (``C/O``) would be a path."""
    return name.replace("/", "_")


def rounds(datatree: xarray.DataTree) -> xarray.Dataset | None:
    """Return the group ``rounds``, where there is one with rounds in it."""
    if "rounds" not in datatree.children or not datatree["rounds"].sizes.get("round", 0):
        return None
    return datatree.children["rounds"].dataset


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its first row underlined."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
