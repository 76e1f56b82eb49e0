"""The run directory: a manifest, and one file for each finished piece of work.

Files are written under a temporary name and renamed, so one that is there is whole. They hold
plain arrays (`numpy.savez`), never pickles.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import platform
import uuid
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from floppity_jax.errors import RunDirectoryError

Arrays = dict[str, np.ndarray]

MANIFEST = "manifest.json"
PACKAGES = ("floppity_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "arviz-base")


class RunDirectory:
    """A folder that holds a run, and from which it can be resumed.

    Parameters
    ----------
    path
        The folder; made where it does not exist.
    configuration
        JSON-ready description of all that decides the result.
    resume
        Go on with the run that the folder holds.

    Raises
    ------
    RunDirectoryError
        Where the folder holds a run and ``resume`` is False, or a run with another configuration.
    """

    def __init__(
        self, path: str | os.PathLike[str], configuration: Mapping[str, Any], *, resume: bool
    ) -> None:
        self.path = pathlib.Path(path)
        manifest = self.path / MANIFEST
        # Through JSON and back, so that tuples and lists compare equal.
        configuration = json.loads(json.dumps(configuration))
        if not manifest.exists():
            if any((self.path / part).exists() for part in ("simulations", "rounds")):
                raise RunDirectoryError(
                    f"directory = {str(self.path)!r}: the folder holds parts of a run, but its "
                    f"{MANIFEST} is missing. Restore that, or choose another folder."
                )
            self._start(manifest, configuration)
        elif not resume:
            raise RunDirectoryError(
                f"directory = {str(self.path)!r}: the folder already holds a run. Go on with it "
                "by resume=True (on the command line: floppity-jax resume), or choose another."
            )
        else:
            self._check_same(manifest, configuration)

    @staticmethod
    def _start(manifest: pathlib.Path, configuration: Mapping[str, Any]) -> None:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "configuration": configuration,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
        }
        write_atomically(manifest, lambda file: file.write(json.dumps(content, indent=1).encode()))

    @staticmethod
    def _check_same(manifest: pathlib.Path, configuration: Mapping[str, Any]) -> None:
        stored = read_manifest(manifest.parent)["configuration"]
        differences = [
            f"{key}: {_short(stored.get(key))} in the folder, {_short(configuration.get(key))} now"
            for key in sorted(stored.keys() | configuration.keys())
            if stored.get(key) != configuration.get(key)
        ]
        if differences:
            raise RunDirectoryError(
                f"directory = {str(manifest.parent)!r} holds a run that was set up otherwise: "
                + "; ".join(differences)
                + ". Resume it with the same set-up, or choose another folder."
            )

    def remember(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return what is stored under ``name``; compute and store it where nothing is."""
        path = self.path / f"{name}.npz"
        if path.exists():
            return read_arrays(path)
        arrays = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, arrays)
        return arrays


def read_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return configuration and versions of the run in a folder.

    Raises
    ------
    RunDirectoryError
        Where the folder holds no run, or its manifest is damaged.
    """
    path = pathlib.Path(directory) / MANIFEST
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise RunDirectoryError(
            f"directory = {str(directory)!r}: the folder holds no run ({MANIFEST} is missing)."
        ) from None
    except json.JSONDecodeError as error:
        raise RunDirectoryError(f"{path} is damaged ({error}). Restore it from a copy.") from None


def read_arrays(path: pathlib.Path) -> Arrays:
    """Arrays of one file.

    Raises
    ------
    RunDirectoryError
        Where the file is damaged.
    """
    try:
        # numpy leaves a file that it opened itself open where it is damaged.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(
            f"{path} is damaged ({error}). Move it away and resume: it is then computed again."
        ) from None


def write_arrays(path: pathlib.Path, arrays: Arrays) -> None:
    """Write arrays to one file."""
    # Not by keywords: numpy's stub takes an unknown one for allow_pickle.
    save: Callable[..., None] = np.savez
    write_atomically(path, lambda file: save(file, **arrays))


def write_atomically(path: pathlib.Path, write: Callable[[Any], Any]) -> None:
    """Write a file under a temporary name, force it to disk, then rename it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def fingerprint(simulator: Callable[..., Any]) -> str:
    """Short text that changes where the simulator does.

    Its own ``fingerprint()`` where it has one; else its name and a digest of its source.
    """
    if hasattr(simulator, "fingerprint"):
        return str(simulator.fingerprint())
    if isinstance(simulator, functools.partial):
        return f"{fingerprint(simulator.func)}{simulator.args!r}{simulator.keywords!r}"
    subject = simulator if inspect.isroutine(simulator) else type(simulator)
    try:
        source = inspect.getsource(subject)
    except (OSError, TypeError):
        source = ""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    return f"{getattr(subject, '__module__', '')}.{getattr(subject, '__qualname__', '')}:{digest}"


def digest(*arrays: np.ndarray | None) -> str:
    """Short text that changes where an array does."""
    content = b"|".join(b"none" if a is None else np.ascontiguousarray(a).tobytes() for a in arrays)
    return hashlib.sha256(content).hexdigest()[:12]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
