"""Posteriors to be compared, from wherever they are kept."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from floppity_jax.errors import InvalidInput
from floppity_jax.summary import parameters

if TYPE_CHECKING:
    import xarray

DRAWS = 20_000  # of a `Posterior` or `Ensemble`
OWN = ("posterior.nc", "nested.nc")  # what runs of this package leave in their folders


def as_datatree(posterior: Any) -> xarray.DataTree:
    """Read whatever holds a posterior: see `compare_posteriors`."""
    import xarray

    if isinstance(posterior, xarray.DataTree):
        return _with_posterior(posterior, "posterior")
    if hasattr(posterior, "to_datatree"):  # an ensemble too
        return posterior.to_datatree(DRAWS)
    if isinstance(posterior, str | os.PathLike):
        path = pathlib.Path(posterior).expanduser()
        own = (path / name for name in OWN)
        file = path if path.suffix == ".nc" else next((p for p in own if p.is_file()), None)
        if file is not None:
            return _open(file)
    from floppity_jax.nested.readers import read_nested

    return read_nested(posterior)


def _open(file: pathlib.Path) -> xarray.DataTree:
    import xarray

    if not file.is_file():
        raise InvalidInput("path", str(file), "must be a file", "Check the spelling.")
    try:
        with xarray.open_datatree(file, engine="h5netcdf") as tree:
            tree.load()
    except OSError as error:
        raise InvalidInput(
            "path", str(file), f"must be a DataTree in netCDF ({error})", "Is it the right file?"
        ) from None
    return _with_posterior(tree, str(file))


def _with_posterior(tree: xarray.DataTree, where: str) -> xarray.DataTree:
    if "posterior" not in tree.children:
        raise InvalidInput(
            where, tuple(tree.children), "must have the group posterior", "Is it the right one?"
        )
    return tree


def labels_of(
    given: Sequence[Any], trees: Sequence[xarray.DataTree], labels: Sequence[str] | None = None
) -> list[str]:
    """Return what each posterior is called: as asked for, or by its library or file."""
    if labels is not None:
        if len(labels) != len(trees):
            raise InvalidInput(
                "labels", list(labels), f"must name each of {len(trees)} posteriors", "One each."
            )
        return list(labels)
    found = [
        str(tree.attrs.get("inference_library")
            or (pathlib.Path(each).name if isinstance(each, str | os.PathLike) else "posterior"))
        for each, tree in zip(given, trees, strict=True)
    ]  # fmt: skip
    return [
        f"{label} {found[: i + 1].count(label)}" if found.count(label) > 1 else label
        for i, label in enumerate(found)
    ]


def in_terms_of_reference(
    trees: Sequence[xarray.DataTree],
    rename: Mapping[str, str] | None = None,
    log10: Sequence[str] = (),
) -> list[xarray.DataTree]:
    """Return posteriors whose parameters have the reference's names, and are not in log10.

    Parameters
    ----------
    trees
        Other than the reference, each with the group ``posterior``.
    rename, log10
        As for `compare_posteriors`.

    Raises
    ------
    InvalidInput
        Where none of them has a parameter that is to be renamed or taken out of log10, or two
        parameters would have one name.
    """
    rename = dict(rename or {})
    known = {name for tree in trees for name in parameters(tree)}
    _check_known("rename", rename, known)
    _check_known("log10", log10, {rename.get(name, name) for name in known})
    return [_translated(tree, rename, log10) for tree in trees]


def _check_known(argument: str, names: Sequence[str] | Mapping[str, str], known: set[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(
            argument, unknown, "must be parameters of what is compared with the reference",
            f"Choose from {sorted(known)}.",
        )  # fmt: skip


def _translated(
    tree: xarray.DataTree, rename: Mapping[str, str], log10: Sequence[str]
) -> xarray.DataTree:
    posterior = tree["posterior"].to_dataset()
    names = [rename.get(name, name) for name in parameters(tree)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(
            "rename", dict(rename), f"must leave {twice[0]!r} to one parameter",
            f"Choose another name; there are {list(parameters(tree))}.",
        )  # fmt: skip
    posterior = posterior.rename({k: v for k, v in rename.items() if k in posterior})
    changed = tree.copy()
    changed["posterior"] = posterior.assign(
        {name: 10.0 ** posterior[name] for name in log10 if name in posterior}
    )
    return changed
