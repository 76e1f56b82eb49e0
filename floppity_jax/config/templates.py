"""Input files to start from: one for each code, with what it needs to run."""

from __future__ import annotations

import importlib.resources
import pathlib
from collections.abc import Mapping

from floppity_jax.config.from_arcis import from_arcis
from floppity_jax.config.reference import complete
from floppity_jax.errors import InvalidInput

# The input file of each code, and what goes beside it.
FILES = {
    "wasp39b": ("wasp39b.toml", "wasp39b_prism.csv"),
    "instruments": (
        "templates/instruments.toml", "templates/niriss.csv", "templates/nirspec.csv",
    ),
    "python": ("templates/python.toml", "templates/my_model.py", "wasp39b_prism.csv"),
    "command": (
        "templates/command.toml", "templates/my_program.py", "templates/my_program.template",
        "wasp39b_prism.csv",
    ),
    "arcis": ("templates/arcis.toml", "templates/wasp39b.in", "templates/wasp39b_prism.dat"),
    "taurex": ("templates/taurex.toml", "templates/taurex_model.py", "wasp39b_prism.csv"),
    "petitradtrans": (
        "templates/petitradtrans.toml", "templates/petitradtrans_model.py", "wasp39b_prism.csv",
    ),
}  # fmt: skip


def files_of(code: str, file: pathlib.Path) -> dict[pathlib.Path, str]:
    """Return the input file of a code, with all keys in it, and the files that go beside it.

    Parameters
    ----------
    code
        One of `FILES`.
    file
        Where the input file is to be; the others go into the same folder.
    """
    data = importlib.resources.files("floppity_jax") / "data"
    toml, *beside = FILES[code]
    texts = {file: complete((data / toml).read_text(encoding="utf-8"))}
    for name in beside:
        path = file.parent / pathlib.PurePosixPath(name).name
        texts[path] = (data / name).read_text(encoding="utf-8")
    return texts


def files_from_arcis(source: pathlib.Path, file: pathlib.Path) -> dict[pathlib.Path, str]:
    """Return the input file that an ARCiS input file is converted to.

    Raises
    ------
    InvalidInput
        Where ``source`` cannot be read, or asks for what has no counterpart.
    """
    return {file: complete(from_arcis(source, file.parent))}


def write(files: Mapping[pathlib.Path, str], *, force: bool = False) -> None:
    """Write files: all of them, or none where one is there already and ``force`` is not set.

    Raises
    ------
    InvalidInput
        Where a file is there already, or cannot be written.
    """
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise InvalidInput(
            "FILE", ", ".join(there), "must not be there yet",
            "Give another name or folder, or overwrite by --force.",
        )  # fmt: skip
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                "FILE", str(path), f"must be a file that can be written ({error.strerror})",
                "Give another name or folder.",
            ) from None  # fmt: skip
        if text.startswith("#!"):
            path.chmod(path.stat().st_mode | 0o111)
