"""Reads tables into sections, and gathers all that is wrong with them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from floppity_jax.config.keys import Key, keys_of
from floppity_jax.config.text import dump_key, read_key
from floppity_jax.config.values import fits, in_words, made_ready, mark, nearest, options
from floppity_jax.errors import FloppityError, InvalidInput

_Made = TypeVar("_Made")
CONFIG = "config.toml"  # the name that an input file has in a run directory


class Reader:
    """Reads the tables of one input file.

    Parameters
    ----------
    folder
        That of the input file.

    Attributes
    ----------
    problems : list of FloppityError
        What is wrong so far.
    kept : dict of tuple of str to object
        Values that differ in the run directory, by keys: where files lie, seen from there.
    copies : dict of pathlib.Path to str
        Files that the run directory is to have a copy of, and their names there.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder.resolve()
        self.problems: list[FloppityError] = []
        self.kept: dict[tuple[str, ...], Any] = {}
        self.copies: dict[pathlib.Path, str] = {}

    @contextlib.contextmanager
    def gathering(self, where: str = "", keys: Iterable[str] = ()) -> Iterator[None]:
        """Take up an error instead of raising it; ``where`` is put before the name that it has."""
        try:
            yield
        except InvalidInput as error:
            self.problems.append(_placed(error, where, keys))
        except FloppityError as error:  # says not where: once is enough
            if str(error) not in map(str, self.problems):
                self.problems.append(error)

    def refuse_unknown(self, given: Iterable[str], known: Iterable[str], where: str) -> None:
        """Take up each key that is not known, with the nearest that is."""
        known = list(known)
        for key in given:
            if key not in known:
                remedy = nearest(key, known, cutoff=0.4)
                self.problems.append(InvalidInput(f"{where}: key", key, "is not known", remedy))

    def table(self, value: Any, where: str) -> dict[str, Any] | None:
        """Return a value that is a table, else None."""
        if isinstance(value, dict):
            return value
        self.problems.append(
            InvalidInput(where, value, "must be a table", f"Write [{where}], then its keys.")
        )
        return None

    def section(
        self, make: Callable[..., _Made], table: Any, where: str, *, base: object = None
    ) -> _Made | None:
        """Make a section of its table; None where something is wrong with it.

        Parameters
        ----------
        make
            A dataclass or function; its annotated arguments are the keys.
        table
            What was given.
        where
            Name of the table, as TOML writes it.
        base
            A section that has the values of keys that are not given, instead of their defaults.
        """
        before = len(self.problems)
        if (table := self.table(table, where)) is None:
            return None
        keys = keys_of(make)
        self.refuse_unknown(table, keys, where)
        values = {name: getattr(base, name) for name in keys if base is not None}
        for name, key in keys.items():
            if name in table:
                with self.gathering():
                    values[name] = self._value(key, table[name], where, name)
            elif key.required:
                self.problems.append(
                    InvalidInput(
                        where, table, f"must have the key {name!r}", f"Add it under [{where}]."
                    )
                )
        made = None
        if all(name in values for name, key in keys.items() if key.required):
            made = self._make(make, keys, values, where)
        return made if len(self.problems) == before else None

    def _value(self, key: Key, value: Any, where: str, name: str) -> Any:
        """Check one value and make it ready; note what the run directory has in its place."""
        argument = f"{where}.{name}"
        if not fits(value, key.hint):
            choices = [c for option in options(key.hint) for c in getattr(option, "__args__", ())]
            remedy = "See the keys in docs/input_files.md."
            if isinstance(value, str) and value and all(isinstance(c, str) for c in choices):
                remedy = nearest(value, choices) or remedy
            raise InvalidInput(argument, value, f"must be {in_words(key.hint)}", remedy)
        ready = made_ready(value, key.hint, argument, self.folder)
        marked = mark(next(option for option in options(key.hint) if fits(value, option)))
        kept = self._copied(ready) if marked == "copied" else _as_toml(value, ready)
        if marked == "program" and os.sep in value:
            kept = ready
        if callable(ready):
            self._copy_modules()
        if kept != value:
            self.kept[read_key(f"{where}.{dump_key(name)}")] = kept
        return ready

    def _copied(self, path: pathlib.Path) -> str:
        """Return the name that a file has in the run directory."""
        taken = {CONFIG, *self.copies.values()}
        name = path.name if path.name not in taken else f"{len(taken)}_{path.name}"
        return self.copies.setdefault(path, name)

    def _copy_modules(self) -> None:
        """See to it that modules beside the input file are copied: all that have been imported."""
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        for path in {pathlib.Path(file).resolve() for file in files if file}:
            if path.parent == self.folder and path.suffix == ".py":
                self.copies[path] = path.name

    def _make(
        self,
        make: Callable[..., _Made],
        keys: Mapping[str, Key],
        values: dict[str, Any],
        where: str,
    ) -> _Made | None:
        """Make a section; where it refuses a value, note that and go on without it."""
        while True:
            try:
                return make(**values)
            except InvalidInput as error:
                self.problems.append(_placed(error, where, keys))
                name = _first_word(error.argument.removeprefix(f"{where}."))
                if name not in values or keys[name].required:
                    return None
                values = {key: value for key, value in values.items() if key != name}


def _placed(error: InvalidInput, where: str, keys: Iterable[str]) -> InvalidInput:
    """Return an error whose argument says in which table it stands."""
    argument = error.argument
    if not where or argument.startswith(where):
        return error
    joint = "." if _first_word(argument) in keys else ": "
    return InvalidInput(f"{where}{joint}{argument}", error.value, error.rule, error.remedy)


def _first_word(argument: str) -> str:
    return re.split(r"\W", argument, maxsplit=1)[0]


def _as_toml(value: Any, ready: Any) -> Any:
    """Return a value with its paths in full, wherever the run directory is."""
    if isinstance(ready, pathlib.Path):
        return str(ready)
    if isinstance(ready, list):
        return [_as_toml(v, r) for v, r in zip(value, ready, strict=True)]
    if isinstance(ready, dict):
        return {key: _as_toml(value[key], r) for key, r in ready.items()}
    return value
