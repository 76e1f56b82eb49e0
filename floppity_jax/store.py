"""The run directory: a manifest, and one file for each finished piece of work.

Files are written under a temporary name and renamed, so one that is there is whole. They hold
plain arrays (`numpy.savez`), never pickles.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import uuid
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from floppity_jax.errors import RunDirectoryError

Arrays = dict[str, np.ndarray]

MANIFEST = "manifest.json"
LOCK = "lock"
UNFINISHED = ".unfinished"  # ending of a file that is being written
AFTER = "after"  # what the arrays of a file follow from, beside them
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PACKAGES = ("floppity_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "arviz-base")


class RunDirectoryWarning(UserWarning):
    """A file of a run directory was set aside."""


class RunDirectory:
    """A folder that holds a run, and from which it can be resumed.

    Use it as a context manager: inside, no other process can.

    Parameters
    ----------
    path
        The folder; made where it does not exist.
    configuration
        JSON-ready description of all that decides the result. ``simulations``, a number for each
        round, may grow from one run to the next, or shrink.
    resume
        Go on with the run that the folder holds.

    Raises
    ------
    RunDirectoryError
        Where the folder holds a run and ``resume`` is False, or a run with another configuration,
        or is in use.
    """

    def __init__(
        self, path: str | os.PathLike[str], configuration: Mapping[str, Any], *, resume: bool
    ) -> None:
        self.path = pathlib.Path(path).resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = self.path / MANIFEST
        # Through JSON and back, so that tuples and lists compare equal.
        configuration = json.loads(json.dumps(configuration))
        with self:
            if not manifest.exists():
                if any((self.path / part).exists() for part in ("simulations", "rounds")):
                    raise RunDirectoryError(
                        f"directory = {str(self.path)!r}: the folder holds parts of a run, but its "
                        f"{MANIFEST} is missing. Restore that, or choose another folder."
                    )
                self._write_manifest(configuration)
            elif not resume:
                raise RunDirectoryError(
                    f"directory = {str(self.path)!r}: the folder already holds a run. Go on with "
                    "it by resume=True (on the command line: floppity-jax resume), or choose "
                    "another."
                )
            else:
                self._check_same(configuration)
                self._warn_of_versions()
                self._write_manifest(configuration)
            for unfinished in self.path.rglob(f".*{UNFINISHED}"):
                unfinished.unlink()  # left by a process that was killed while it wrote

    def __enter__(self) -> RunDirectory:
        self._lock = open(self.path / LOCK, "a+")  # noqa: SIM115 closed by __exit__
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "another process"
            self._lock.close()
            raise RunDirectoryError(
                f"directory = {str(self.path)!r}: the folder is in use by {owner}. "
                "Wait for it to end, or choose another folder."
            ) from None
        except OSError as error:  # some network file systems
            warnings.warn(
                f"{self.path} cannot be locked ({error}): see to it that one process uses it.",
                RunDirectoryWarning,
                stacklevel=2,
            )
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}\n")
        self._lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
        # Not by closing alone: a process that is just being started may hold a copy.
        with contextlib.suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._lock.close()

    def _write_manifest(self, configuration: Mapping[str, Any]) -> None:
        content = {
            "configuration": configuration,
            "versions": _versions(),
        }
        text = json.dumps(content, indent=1).encode()
        write_atomically(self.path / MANIFEST, lambda file: file.write(text))

    def _warn_of_versions(self) -> None:
        before = read_manifest(self.path)["versions"]
        now = _versions()
        changes = [f"{k} {before.get(k)} to {v}" for k, v in now.items() if before.get(k) != v]
        if changes:
            warnings.warn(
                f"{self.path} was begun with other versions ({', '.join(changes)}): what follows "
                "may differ in its last digits from a run that was never interrupted.",
                RunDirectoryWarning,
                stacklevel=3,
            )

    def _check_same(self, configuration: Mapping[str, Any]) -> None:
        stored = read_manifest(self.path)["configuration"]
        differences = [
            f"{key}: {_short(stored.get(key))} in the folder, {_short(configuration.get(key))} now"
            for key in sorted(stored.keys() | configuration.keys())
            if stored.get(key) != configuration.get(key)
            and not (key == "simulations" and _extends(stored.get(key), configuration.get(key)))
        ]
        if differences:
            raise RunDirectoryError(
                f"directory = {str(self.path)!r} holds a run that was set up otherwise: "
                + "; ".join(differences)
                + ". Resume it with the same set-up, or choose another folder."
            )

    def remember(self, name: str, compute: Callable[[], Arrays], *, after: str = "") -> Arrays:
        """Return what is stored under ``name``; compute and store it where nothing is.

        Parameters
        ----------
        name
            Of the file, without its ending.
        compute
            Returns the arrays; it may use and add pieces of the same name, which go when it ends.
        after
            Digest of what the arrays follow from. What was stored after something else is set
            aside, and so is a damaged file, each with a warning.
        """
        path = self.path / f"{name}.npz"
        arrays = self._read(path, after)
        if arrays is None:
            arrays = compute()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, {**arrays, AFTER: np.array(after)})
        self.drop_pieces(name)
        return arrays

    def pieces(self, name: str, *, after: str = "") -> list[Arrays]:
        """Return what `add_piece` has stored under ``name``, in that order."""
        pieces = (self._read(path, after) for path in sorted(self._pieces(name).glob("*.npz")))
        return [piece for piece in pieces if piece is not None]

    def add_piece(self, name: str, arrays: Arrays, *, after: str = "") -> None:
        """Store a part of what is to become ``name``."""
        folder = self._pieces(name)
        folder.mkdir(parents=True, exist_ok=True)
        # Also past the numbers of those that were set aside.
        number = max((int(path.name[:6]) + 1 for path in folder.glob("[0-9]*")), default=0)
        write_arrays(folder / f"{number:06d}.npz", {**arrays, AFTER: np.array(after)})

    def replace_pieces(self, name: str, arrays: Arrays, *, after: str = "") -> None:
        """Store a piece, then remove those before it: whoever is killed between loses nothing."""
        before = list(self._pieces(name).glob("*.npz"))
        self.add_piece(name, arrays, after=after)
        for path in before:
            path.unlink()

    def drop_pieces(self, name: str) -> None:
        """Remove the pieces of ``name``."""
        shutil.rmtree(self._pieces(name), ignore_errors=True)

    def _pieces(self, name: str) -> pathlib.Path:
        return self.path / f"{name}.parts"

    def _read(self, path: pathlib.Path, after: str) -> Arrays | None:
        """Arrays of a file that is there, whole, and follows from what it should."""
        if not path.exists():
            return None
        try:
            arrays = read_arrays(path)
            if str(arrays.pop(AFTER, "")) == after:
                return arrays
            trouble = "stale"
            # No file by name: what follows from it is stale as well, and Python tells this once.
            told = (
                f"files in {path.parent} are set aside as *.stale, and computed again: they were "
                "computed from something else."
            )
        except RunDirectoryError as error:
            trouble = "damaged"
            told = f"{path} is set aside as {path.name}.damaged, and computed again: {error}."
        os.replace(path, path.with_name(f"{path.name}.{trouble}"))
        warnings.warn(told, RunDirectoryWarning, stacklevel=4)
        return None


class NoDirectory:
    """Stands in for a run directory where nothing is to be kept."""

    def __enter__(self) -> NoDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def remember(self, name: str, compute: Callable[[], Arrays], *, after: str = "") -> Arrays:
        """Compute."""
        return compute()

    def pieces(self, name: str, *, after: str = "") -> list[Arrays]:
        """Return nothing."""
        return []

    def add_piece(self, name: str, arrays: Arrays, *, after: str = "") -> None:
        """Do nothing."""

    def replace_pieces(self, name: str, arrays: Arrays, *, after: str = "") -> None:
        """Do nothing."""

    def drop_pieces(self, name: str) -> None:
        """Do nothing."""


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return versions | {"python": platform.python_version()}


def _extends(stored: Any, now: Any) -> bool:
    """Whether two lists of rounds agree as far as the shorter one goes."""
    return bool(stored and now) and all(a == b for a, b in zip(stored, now, strict=False))


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
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(f"{path.name} is damaged ({error})") from None


def write_arrays(path: pathlib.Path, arrays: Arrays) -> None:
    """Write arrays to one file."""
    # Not by keywords: numpy's stub takes an unknown one for allow_pickle.
    save: Callable[..., None] = np.savez
    write_atomically(path, lambda file: save(file, **arrays))


def write_atomically(path: pathlib.Path, write: Callable[[Any], Any]) -> None:
    """Write a file under a temporary name, force it to disk, then rename it.

    Raises
    ------
    RunDirectoryError
        Where there is no room for it; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{UNFINISHED}")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise RunDirectoryError(
                f"{path} could not be written ({error.strerror}). Everything written before is "
                "intact: make room, and resume."
            ) from error
        raise


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
