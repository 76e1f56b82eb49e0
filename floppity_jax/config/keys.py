"""The keys of a table, from what makes it: names, types and defaults, and the docstring's words."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

_ENTRY = re.compile(r"(\w+(?:, \w+)*)(?: : .*)?")
_HEADS = ("Attributes", "Parameters")


class Key(NamedTuple):
    """A key of a table.

    Attributes
    ----------
    hint : type
        Of its value (`floppity_jax.config.values`).
    default : object
        `inspect.Parameter.empty` where it must be given.
    text : str
        What it is for.
    """

    hint: Any
    default: Any
    text: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty


def keys_of(make: Callable[..., Any]) -> dict[str, Key]:
    """Return the keys of a table that is made by a dataclass or function."""
    hints, texts = typing.get_type_hints(make, include_extras=True), described(make)
    return {
        name: Key(hints[name], parameter.default, texts.get(name, ""))
        for name, parameter in inspect.signature(make).parameters.items()
    }


def described(make: Callable[..., Any]) -> dict[str, str]:
    """Read the descriptions of attributes or parameters in a numpydoc docstring."""
    lines = (inspect.getdoc(make) or "").splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following.startswith("---"):
            inside, names = line in _HEADS, []
        elif inside and (entry := _ENTRY.fullmatch(line)):
            names = entry.group(1).split(", ")
        elif names and line.startswith(" "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found
