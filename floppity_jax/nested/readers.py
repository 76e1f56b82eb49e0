"""Results of other programs as the DataTree that our own posteriors are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from floppity_jax.errors import InvalidInput
from floppity_jax.nested import multinest, objects, others, ultranest
from floppity_jax.nested.tree import NestedRun, nested_tree

if TYPE_CHECKING:
    import xarray


class Format(NamedTuple):
    """How one program's results are recognised and read.

    Attributes
    ----------
    recognise : callable
        Takes a path, or a program's own object, and tells whether it is of this kind.
    read : callable
        Takes the same and the names that the user gave, and returns a `NestedRun`.
    needs : str
        What the kind consists of.
    """

    recognise: Callable[[Any], bool]
    read: Callable[[Any, Sequence[str] | None], NestedRun]
    needs: str


FILES = {
    "multinest": Format(multinest.recognise, multinest.read, multinest.NEEDS),
    "ultranest": Format(ultranest.recognise, ultranest.read, ultranest.NEEDS),
    "floppity": Format(others.is_floppity, others.read_floppity, others.FLOPPITY_NEEDS),
    "bilby": Format(others.is_bilby, others.read_bilby, others.BILBY_NEEDS),
    "taurex": Format(others.is_taurex, others.read_taurex, others.TAUREX_NEEDS),
    "nautilus file": Format(
        others.is_nautilus_file, others.read_nautilus_file, others.NAUTILUS_NEEDS
    ),
}
OBJECTS = {
    "dynesty": Format(objects.is_dynesty, objects.read_dynesty, objects.DYNESTY_NEEDS),
    "nautilus": Format(objects.is_nautilus, objects.read_nautilus, objects.NAUTILUS_NEEDS),
}
FORMATS = FILES | OBJECTS


def read_nested(
    path_or_object: str | os.PathLike[str] | Any,
    *,
    kind: str | None = None,
    n: int | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> xarray.DataTree:
    """Read the posterior that another program found.

    Parameters
    ----------
    path_or_object
        A folder, the root of its files, a file, or a sampler's own object; files are never
        unpickled.
    kind
        Of results, a key of ``floppity_jax.nested.readers.FORMATS``; found out unless given.
    n
        Draws; unless given, as many as there are effective samples.
    seed
        Of the resampling of weighted samples.
    names
        Of the parameters, in the order of the columns. Unless given, those that the files tell, or
        else ``parameter_1``, ``parameter_2``...

    Returns
    -------
    xarray.DataTree
        Equally weighted draws; see `floppity_jax.nested.tree.nested_tree`. A name with ``/``, which
        DataTrees keep for groups, has ``_`` instead; its label keeps the name.

    Raises
    ------
    InvalidInput
        For results of no known kind or of several runs, for files that are empty or cut short, for
        a run that has not finished, and for names that do not fit.
    """
    if kind is not None and kind not in FORMATS:
        raise InvalidInput(
            "kind", kind, f"must be one of {', '.join(FORMATS)}", "Leave it out to have it found."
        )
    where: Any = path_or_object
    if isinstance(path_or_object, str | os.PathLike):
        where = pathlib.Path(path_or_object).expanduser()
    kind = _kind(where) if kind is None else kind
    if not FORMATS[kind].recognise(where):
        raise _unrecognised(where, {kind: FORMATS[kind]})
    return nested_tree(FORMATS[kind].read(where, names), n=n, seed=seed)


def _kind(where: Any) -> str:
    is_path = isinstance(where, pathlib.Path)
    formats = FILES if is_path else OBJECTS
    kinds = [kind for kind, format in formats.items() if format.recognise(where)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise InvalidInput("path_or_object", str(where), "must hold results of one kind; found "
                           + " and ".join(kinds), "Say which by kind=.")  # fmt: skip
    raise _unrecognised(where, formats)


def _unrecognised(where: Any, formats: dict[str, Format]) -> InvalidInput:
    needs = "; ".join(f"{kind}: {format.needs}" for kind, format in formats.items())
    return InvalidInput(
        "path_or_object",
        str(where) if isinstance(where, pathlib.Path) else type(where),
        f"must be results of {' or '.join(formats)}; found {_found(where)}",
        f"What each kind needs: {needs}.",
    )


def _found(where: Any) -> str:
    """Say what lies at a path."""
    if not isinstance(where, pathlib.Path):
        return f"an object of the type {type(where).__module__}.{type(where).__qualname__}"
    if where.is_file():
        return f"a file of {where.stat().st_size} bytes"
    if not where.is_dir():
        return "no file or folder there, nor files whose names start so"
    names = sorted(path.name for path in where.iterdir())
    return ", ".join(names[:15]) + (f" and {len(names) - 15} more" if len(names) > 15 else "") \
        if names else "an empty folder"  # fmt: skip
