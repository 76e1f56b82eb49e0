"""What a value of an input file may be, by type hint: whether it fits, in words, and made ready.

Beside the plain types of TOML there are a path (`pathlib.Path`), a function of the user's
(``Callable``, written ``"module:function"``), and the marked types below.
"""

from __future__ import annotations

import collections.abc
import difflib
import importlib
import os
import pathlib
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from floppity_jax.errors import InvalidInput
from floppity_jax.instrument.quantities import Quantity
from floppity_jax.simulators.process import find_executable

Copied = Annotated[pathlib.Path, "copied"]  # into the run directory
RunFolder = Annotated[pathlib.Path, "run directory"]  # of another run; looked into later
Program = Annotated[str, "program"]  # on PATH, or the path of one
Function = Callable[..., Any]

_FUNCTION = re.compile(r"[\w.]+:\w+")
_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    pathlib.Path: ("a path", "paths"),
    Program: ("an executable", "executables"),
    RunFolder: ("the path of a run directory", "paths of run directories"),
    Any: ("any value", "any values"),
}


def options(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, without None, which TOML cannot write."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(o for o in typing.get_args(hint) if o is not types.NoneType)
    return (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a TOML value is of a type; whole numbers pass as real ones."""
    kind = plain(hint)
    if len(options(kind)) > 1 or kind is not options(kind)[0]:
        return any(fits(value, option) for option in options(kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return value in arguments
    if origin in (list, collections.abc.Sequence):
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is tuple:
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(map(fits, value, arguments))
        )
    if origin is dict:
        return isinstance(value, dict) and all(fits(v, arguments[1]) for v in value.values())
    if origin is collections.abc.Callable:
        return isinstance(value, str) and _FUNCTION.fullmatch(value) is not None
    if kind is Any:
        return True
    if kind is pathlib.Path:
        return isinstance(value, str) and bool(value)
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, int | float if kind is float else kind)


def in_words(hint: Any, *, many: bool = False) -> str:
    """Say what a value must be."""
    if options(hint) == options(Quantity):
        return "a number or the name of a parameter"
    if len(options(hint)) > 1 or hint is not options(hint)[0]:
        return " or ".join(in_words(option, many=many) for option in options(hint))
    if hint in _WORDS:
        return _WORDS[hint][many]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f'"{choice}"' for choice in arguments)
    if origin in (list, collections.abc.Sequence):
        return f"{'lists' if many else 'a list'} of {in_words(arguments[0], many=True)}"
    if origin is tuple:
        return f"{len(arguments)} {in_words(arguments[0], many=True)}"
    if origin is dict:
        return f"{'tables' if many else 'a table'} of {in_words(arguments[1], many=True)}"
    if origin is collections.abc.Callable:
        return '"module:function"'
    return in_words(plain(hint), many=many)


def plain(hint: Any) -> Any:
    """Return a type without its mark."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def mark(hint: Any) -> str:
    """Return the mark of a type, or ""."""
    return typing.get_args(hint)[1] if typing.get_origin(hint) is Annotated else ""


def made_ready(value: Any, hint: Any, key: str, folder: pathlib.Path) -> Any:
    """Return a value that fits: paths found, functions imported.

    Parameters
    ----------
    value, hint
        What was given, and the type that it fits.
    key
        Its name, for messages.
    folder
        That of the input file: relative paths start there, and modules are looked for there first.

    Raises
    ------
    InvalidInput
        Where a file is not there or a function cannot be imported.
    """
    hint = next((option for option in options(hint) if fits(value, option)), hint)
    origin, arguments = typing.get_origin(plain(hint)), typing.get_args(plain(hint))
    if origin is list:
        return [made_ready(item, arguments[0], key, folder) for item in value]
    if origin is dict:
        return {k: made_ready(v, arguments[1], f"{key}.{k}", folder) for k, v in value.items()}
    if origin is collections.abc.Callable:
        return _imported(value, key, folder)
    if plain(hint) is pathlib.Path:
        path = pathlib.Path(os.path.abspath(folder / value))
        return path if mark(hint) == "run directory" else _existing(path, value, key)
    if mark(hint) == "program":
        beside = folder / value
        return find_executable(key, beside if os.sep in value and beside.exists() else value)
    return value


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return a sentence with the nearest name, or with all that are known."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=cutoff)
    if near:
        return f"Did you mean {folded[near[0]]!r}?"
    return f"Choose from {', '.join(folded.values())}." if folded else ""


def _existing(path: pathlib.Path, given: str, key: str) -> pathlib.Path:
    if not path.exists():
        folder = path.parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else "Check the spelling and folder."
        raise InvalidInput(key, given, f"must be a file that exists; there is no {path}", remedy)
    return path


def _imported(value: str, key: str, folder: pathlib.Path) -> Function:
    module, _, name = value.partition(":")
    # For good: the workers of a pool take the search path over, and import the module too.
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's module does
        there = (folder / f"{module}.py").is_file()
        raise InvalidInput(
            key, value, f"must be importable ({type(error).__name__}: {error})",
            f"Mend {module}.py." if there
            else f"Put {module}.py beside the input file, or install it in this environment.",
        ) from None  # fmt: skip
    if not callable(getattr(found, name, None)):
        functions = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
        raise InvalidInput(
            key, value, f"must name a function of {module}", nearest(name, functions)
        )
    return getattr(found, name)
