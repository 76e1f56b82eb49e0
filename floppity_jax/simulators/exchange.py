"""Which components of a `combine` can change places, and the draws in which they do."""

from collections.abc import Mapping, Sequence

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.priors import Fixed, ParameterSpace, Prior, Tied

_REMEDY = "Give the components the same priors, or leave their labels as they are."


def sort_components(
    theta: np.ndarray,
    space: ParameterSpace,
    groups: Mapping[str, Sequence[str]],
    order_by: str,
    fraction: str | None,
) -> np.ndarray:
    """Relabel the components of each draw so that one of their parameters ascends.

    Parameters
    ----------
    theta : array (n, d)
        Draws, in the order of ``space.names``.
    space
        The retrieval's parameters.
    groups
        For each private parameter its names, one for each component.
    order_by
        The private parameter whose values shall ascend.
    fraction
        The parameter that is the weight of the first of two components, if there is one.

    Returns
    -------
    array (n, d)

    Raises
    ------
    InvalidInput
        Where the shape is not (n, d), or the prior tells the components apart.
    """
    theta = np.asarray(theta, dtype=float)
    if theta.ndim != 2 or theta.shape[1] != len(space.names):
        raise InvalidInput(
            "theta shape", theta.shape, f"must be (n, {len(space.names)})",
            "Give posterior.sample(n) and posterior.space.",
        )  # fmt: skip
    moving = _exchangeable(space, groups, fraction)
    if order_by not in moving:
        first = groups[order_by][0]
        raise InvalidInput(
            f"parameters[{first!r}]", space.entries[first],
            "must be free for every component to order by it",
            "Order by a parameter of which each component has its own.",
        )  # fmt: skip
    return _relabel(theta, space.names, moving, order_by, fraction)


def _exchangeable(
    space: ParameterSpace, groups: Mapping[str, Sequence[str]], fraction: str | None
) -> dict[str, Sequence[str]]:
    """Refuse priors that change where components change places; return the groups that move.

    A group that is the same for all components, fixed or tied, has nothing to move.
    """
    entries = space.entries
    wanted = [name for group in groups.values() for name in group] + (
        [fraction] if fraction else []
    )
    if lacking := [name for name in wanted if name not in entries]:
        raise InvalidInput(
            "space", list(entries), f"must hold the combined simulator's parameters, {lacking} too",
            "Give the space of the retrieval that ran it: posterior.space.",
        )  # fmt: skip
    moving = {}
    for name, group in groups.items():
        own = [entries[each] for each in group]
        if all(isinstance(entry, Prior) for entry in own):
            if len({_law(entry) for entry in own}) > 1:
                raise InvalidInput(
                    f"priors of {name}", {each: _law(entries[each]) for each in group},
                    "must be the same for every component", _REMEDY,
                )  # fmt: skip
            moving[name] = group
        elif len({_root(space, each) for each in group}) > 1:
            raise InvalidInput(
                f"parameters of {name}", dict(zip(group, own, strict=True)),
                "must all be free, or all be the same", _REMEDY,
            )  # fmt: skip
    free = {each for group in moving.values() for each in group} | {fraction}
    for name, entry in entries.items():
        if isinstance(entry, Tied) and entry.other in free:
            raise InvalidInput(
                f"parameters[{name!r}]", entry.other, "must not be tied to one component", _REMEDY
            )
    if fraction and not _symmetric(entries[fraction]):
        raise InvalidInput(
            f"parameters[{fraction!r}]", entries[fraction], "must be symmetric about 1/2",
            "Uniform(0, 1) is; or leave the labels as they are.",
        )  # fmt: skip
    return moving


def _relabel(
    theta: np.ndarray,
    names: Sequence[str],
    moving: Mapping[str, Sequence[str]],
    order_by: str,
    fraction: str | None,
) -> np.ndarray:
    at = {name: column for column, name in enumerate(names)}
    columns = {name: [at[each] for each in group] for name, group in moving.items()}
    order = np.argsort(theta[:, columns[order_by]], axis=1, kind="stable")
    result = theta.copy()
    for group in columns.values():
        result[:, group] = np.take_along_axis(theta[:, group], order, axis=1)
    if fraction in at:
        swapped = order[:, 0] == 1
        result[swapped, at[fraction]] = 1 - theta[swapped, at[fraction]]
    return result


def _law(entry: Prior | Fixed | Tied) -> str:
    assert isinstance(entry, Prior)
    described = entry.describe()
    return f"{described['law']} {described['args']} {described['kwds']}"


def _root(space: ParameterSpace, name: str) -> str | float:
    """Find what decides a parameter's value: a number, or the free parameter it follows."""
    entry = space.entries[name]
    if isinstance(entry, Tied):
        return _root(space, entry.other)
    return entry.value if isinstance(entry, Fixed) else name


def _symmetric(entry: Prior | Fixed | Tied) -> bool:
    if isinstance(entry, Fixed):
        return entry.value == 0.5
    if isinstance(entry, Tied):
        return False
    x = np.linspace(0, 0.5, 101)
    return bool(np.allclose(entry.law.cdf(x), entry.law.sf(1 - x)))
