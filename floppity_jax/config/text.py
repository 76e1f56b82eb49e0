"""Sets keys in the text of a TOML file, and leaves all else as it stands, comments included."""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from floppity_jax.errors import InvalidInput

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump(value: Any) -> str:
    """Write a value as TOML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(dump, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{dump_key(key)} = {dump(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def dump_key(key: str) -> str:
    """Write a key as TOML."""
    return key if _BARE.fullmatch(key) else dump(key)


def read_key(text: str) -> tuple[str, ...]:
    """Read a dotted key, such as ``parameters."cloud1:P".low``.

    Raises
    ------
    InvalidInput
        Where it is none.
    """
    keys: list[str] = []
    with contextlib.suppress(tomllib.TOMLDecodeError):
        table: Any = tomllib.loads(f"{text} = 0")
        while isinstance(table, dict):
            ((key, table),) = table.items()
            keys.append(key)
    if len(keys) < 2:
        raise InvalidInput(
            "key", text, "must be TABLE.KEY", "For example --set training.batch_size=50."
        )
    return tuple(keys)


def read_value(text: str) -> Any:
    """Read a value as TOML has it; what it has not is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def set_key(text: str, keys: Sequence[str], value: Any) -> str:
    """Return the text with one key set.

    Edits are tried until one reads back as it should, so that whatever TOML allows, from tables
    written inline to values of many lines, is either set or refused.

    Raises
    ------
    InvalidInput
        Where no edit does.
    """
    wanted = _with(tomllib.loads(text), keys, value)
    for candidate in _edits(text, keys, wanted):
        try:
            if tomllib.loads(candidate) == wanted:
                return candidate
        except tomllib.TOMLDecodeError:
            pass
    raise InvalidInput(
        ".".join(keys), value, "must be a key that this file lets be set from outside",
        f"Write it into the file, on a line of its own under [{'.'.join(keys[:-1])}].",
    )  # fmt: skip


def _with(tables: dict[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    tables = copy.deepcopy(tables)
    table = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise InvalidInput(
                ".".join(keys), value, f"must not lie in {key}, which is no table", "Give that."
            )
    table[keys[-1]] = value
    return tables


def _edits(text: str, keys: Sequence[str], wanted: Any) -> Iterator[str]:
    """Yield texts with the line of the key replaced, or of what holds it, or with one more."""
    inside = [wanted := wanted[key] for key in keys]
    lines = text.splitlines()
    for key, value in reversed(list(zip(keys, inside, strict=True))):
        for first, line in enumerate(lines):
            name, equals, old = line.partition("=")
            if equals and name[:1] != "#" and name.strip().endswith((key, f"'{key}'", dump(key))):
                new = f"{name}= {dump(value)}"
                yield _joined(lines[:first], new + _comment(old), lines[first + 1 :])
                for last in range(first + 2, len(lines) + 1):  # a value of several lines
                    yield _joined(lines[:first], new, lines[last:])
    table = ".".join(map(dump_key, keys[:-1]))
    new = f"{dump_key(keys[-1])} = {dump(inside[-1])}"
    for number, line in enumerate(lines, start=1):
        if re.sub(r"\s", "", line.partition("#")[0]) == f"[{table}]":
            yield _joined(lines[:number], new, lines[number:])
    yield _joined([*lines, "", f"[{table}]"], new, [])


def _comment(old: str) -> str:
    """Return the comment after a value, with the blanks before it."""
    for match in re.finditer(r"\s*#", old):
        with contextlib.suppress(tomllib.TOMLDecodeError):  # the # is a part of the value
            tomllib.loads(f"value = {old[: match.start()]}")
            return old[match.start() :]
    return ""


def _joined(before: Sequence[str], line: str, after: Sequence[str]) -> str:
    return "\n".join([*before, line, *after]) + "\n"
