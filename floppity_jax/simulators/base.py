"""What a simulator is.

A simulator is a callable that takes one mapping ``{name: float}`` and returns a noise-free
spectrum: an array ``(channels,)``, or a mapping from dataset name to such an array. It may be a
function, an object with ``__call__`` or a class of such objects. Two marks widen the convention:

=============  ========================  ====================  =============================
mark           takes                     returns               runs
=============  ========================  ====================  =============================
none           ``{name: float}``         ``(channels,)``       in the pool, one at a time
`batched`      ``{name: array (n,)}``    ``(n, channels)``     in the pool, a chunk at a time
`jax_batched`  ``{name: array (n,)}``    ``(n, channels)``     traced, on the device
=============  ========================  ====================  =============================
"""

import difflib
import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar, cast, overload

from floppity_jax.errors import InvalidInput

Kind = Literal["scalar", "batched", "jax_batched"]
_Simulator = TypeVar("_Simulator", bound=Callable[..., Any])
_MARK = "__floppity_kind__"
_SIZE = "__floppity_batch__"
BATCH = 64  # parameter sets of a call, unless the simulator says otherwise


@overload
def batched(simulator: _Simulator, *, size: int = BATCH) -> _Simulator: ...
@overload
def batched(*, size: int) -> Callable[[_Simulator], _Simulator]: ...
def batched(simulator: Any = None, *, size: int = BATCH) -> Any:
    """Mark a simulator that takes ``{name: array (n,)}`` and returns ``(n, channels)``.

    Parameters
    ----------
    simulator
        Function, callable object or class of callable objects; it is marked in place, so that it
        pickles as it did.
    size
        Parameter sets of a call, at most. A batch is the smallest piece of work: give fewer where
        one takes seconds, as in ``@batched(size=1)``.

    Raises
    ------
    InvalidInput
        Where the simulator cannot be called, or ``size`` is not a whole number above 0.
    """
    if not isinstance(size, int) or size < 1:
        raise InvalidInput("size", size, "must be a whole number above 0", "For example size=16.")
    if simulator is None:
        return functools.partial(batched, size=size)
    marked = _mark(simulator, "batched")
    setattr(marked, _SIZE, size)
    return marked


def jax_batched(simulator: _Simulator) -> _Simulator:
    """Mark a `batched` simulator that JAX can trace: it runs on the device, past the pool.

    Products of matrices are computed in full precision there, but for those that are given another
    by their own ``precision=``: GPUs round to three digits by default.

    Parameters
    ----------
    simulator
        As for `batched`.
    """
    return _mark(simulator, "jax_batched")


def simulator_kind(simulator: Callable[..., Any]) -> Kind:
    """Which of the three conventions a simulator follows.

    Parameters
    ----------
    simulator
        Any callable.

    Returns
    -------
    "scalar", "batched" or "jax_batched"

    Raises
    ------
    InvalidInput
        Where it cannot be called.
    """
    if not callable(simulator):
        raise InvalidInput(
            "simulator", simulator, "must be callable",
            "Give a function of one mapping {name: float} that returns a spectrum.",
        )  # fmt: skip
    return cast(Kind, getattr(simulator, _MARK, "scalar"))


def check_names(simulator: Callable[..., Any], names: Iterable[str]) -> None:
    """Hold the names of parameters against the simulator's own list, where it has one.

    Raises
    ------
    InvalidInput
        Where one is missing or unknown.
    """
    wanted = getattr(simulator, "parameters", None)
    if wanted is None:
        return
    given, wanted = set(names), set(wanted)
    missing, unknown = sorted(wanted - given), sorted(given - wanted)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(wanted), n=1)
        raise InvalidInput(
            "parameters", unknown, "must be known to the simulator",
            f"Did you mean {near[0]!r}?" if near else f"It knows {sorted(wanted)}.",
        )  # fmt: skip
    if missing:
        raise InvalidInput(
            "parameters", sorted(given), f"must hold what the simulator needs, {missing} too",
            "Give each a prior, or a number to fix it.",
        )  # fmt: skip


def batch_size(simulator: Callable[..., Any]) -> int:
    """Return how many parameter sets a `batched` simulator takes in a call, at most."""
    return getattr(simulator, _SIZE, BATCH)


def _mark(simulator: _Simulator, kind: Kind) -> _Simulator:
    if not callable(simulator):
        raise InvalidInput(
            "simulator", simulator, "must be callable",
            f"Put @{kind} on a function, or on a class that defines __call__.",
        )  # fmt: skip
    try:
        setattr(simulator, _MARK, kind)
    except AttributeError:
        raise InvalidInput(
            "simulator", simulator, "must be a function or an object that takes attributes",
            f"A method does not: put @{kind} on the class, and call it __call__.",
        ) from None  # fmt: skip
    return simulator
