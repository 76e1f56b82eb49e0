"""A quantity of the instrument: a constant, or the name of a retrieved parameter."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput

Quantity = float | str
Bounds = Mapping[str, tuple[float, float]]  # that a parameter cannot leave


def names_of(*quantities: Quantity | None) -> tuple[str, ...]:
    """Names of the parameters among ``quantities``, each once."""
    return tuple(dict.fromkeys(q for q in quantities if isinstance(q, str)))


def range_of(argument: str, quantity: object, bounds: Bounds) -> tuple[float, float]:
    """Smallest and largest value that a quantity can take.

    Parameters
    ----------
    argument
        What the quantity is, for messages: "Rotation.vsini".
    quantity
        A number or a parameter's name.
    bounds
        Range of each parameter.

    Raises
    ------
    InvalidInput
        Where it is neither, the name has no bounds, or an end is not finite.
    """
    if isinstance(quantity, str):
        if quantity not in bounds:
            raise InvalidInput(
                argument, quantity, f"must be a retrieved parameter, one of {list(bounds)}",
                "Add the parameter, or give a number.",
            )  # fmt: skip
        low, high = bounds[quantity]
    elif isinstance(quantity, int | float | np.integer | np.floating):
        low = high = float(quantity)
    else:
        raise InvalidInput(
            argument, quantity, "must be a number or the name of a parameter", "Give one of them."
        )
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidInput(
            argument, (low, high), "must have finite bounds",
            "Give the parameter a prior with two ends: uniform, log-uniform, truncated normal.",
        )  # fmt: skip
    return float(low), float(high)


def value_of(quantity: Quantity, values: Mapping[str, Any]) -> Any:
    """Return the number, or the parameter's values as a column (n, 1)."""
    return values[quantity][:, None] if isinstance(quantity, str) else quantity


def check_quantity(argument: str, quantity: object, bounds: Bounds, least: float = -np.inf) -> None:
    """Refuse what is no quantity, or may fall below ``least``.

    Raises
    ------
    InvalidInput
        As `range_of`; and where the quantity, or the prior of the parameter, reaches too low.
    """
    low, high = range_of(argument, quantity, bounds)
    if low >= least:
        return
    if isinstance(quantity, str):
        raise InvalidInput(
            f"parameters[{quantity!r}]", (low, high),
            f"must not reach below {least:g}, being {argument}", "Narrow its prior.",
        )  # fmt: skip
    raise InvalidInput(argument, low, f"must be at least {least:g}", "Give a larger number.")
