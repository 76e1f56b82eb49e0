"""Short texts that change where something does: to tell runs apart."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

DEPTH = 4  # how far into the attributes of an object a fingerprint looks


def fingerprint(simulator: Callable[..., Any]) -> str:
    """Short text that changes where the simulator does.

    Its own ``fingerprint()`` where it has one; else its name and a digest of its source and of the
    values it was made with: attributes, partial arguments, what a closure holds. Of these only
    numbers, texts, arrays, functions and collections of them count; what a function looks up in
    its module is not seen.
    """
    if hasattr(simulator, "fingerprint"):
        return str(simulator.fingerprint())
    subject = simulator
    while isinstance(subject, functools.partial):
        subject = subject.func
    subject = subject if inspect.isroutine(subject) else type(subject)
    name = f"{getattr(subject, '__module__', '')}.{getattr(subject, '__qualname__', '')}"
    text = hashlib.sha256("|".join(_describe(simulator, DEPTH)).encode()).hexdigest()
    return f"{name}:{text[:12]}"


def digest(*arrays: np.ndarray | None) -> str:
    """Short text that changes where an array does."""
    content = hashlib.sha256()
    for a in arrays:
        content.update(b"none" if a is None else f"{a.dtype}{a.shape}".encode())
        if a is not None and a.size:
            content.update(np.ascontiguousarray(a).data.cast("B"))
    return content.hexdigest()[:12]


def hash_of(settings: Any) -> str:
    """Sixteen hexadecimal digits that change with JSON-ready settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _describe(value: Any, depth: int) -> list[str]:
    """Say all that counts of a value."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return [repr(value)]
    if isinstance(value, os.PathLike):
        return [os.fspath(value)]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), str(value.shape), digest(value) if value.dtype != object else ""]
    if depth == 0:
        return [type(value).__qualname__]
    inner = functools.partial(_describe, depth=depth - 1)
    if isinstance(value, Mapping):
        return ["{", *(text for k, v in value.items() for text in (repr(k), *inner(v))), "}"]
    if isinstance(value, set | frozenset):
        return ["{", *sorted("|".join(inner(v)) for v in value), "}"]
    if isinstance(value, list | tuple):
        return ["(", *(text for v in value for text in inner(v)), ")"]
    if isinstance(value, functools.partial):
        return [*inner(value.func), *inner(value.args), *inner(value.keywords)]
    if isinstance(value, types.MethodType):
        return [*inner(value.__func__), *inner(value.__self__)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if not _empty(cell)]
        return [_source(value), *inner(cells), *inner([value.__defaults__, value.__kwdefaults__])]
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return [value.__name__]
    try:
        state = value.__getstate__()  # as it travels: slots too, and no caches
    except Exception:  # noqa: BLE001 what does not travel may still be told by its attributes
        state = getattr(value, "__dict__", {})
    return [_source(type(value)), *inner(state)]


def _empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 the only way to know
    except ValueError:
        return True
    return False


def _source(subject: Any) -> str:
    name = getattr(subject, "__qualname__", "")
    try:
        return name + inspect.getsource(subject)
    except (OSError, TypeError):
        code = getattr(subject, "__code__", None)
        return name + ("" if code is None else f"{code.co_code!r}{code.co_names!r}")
