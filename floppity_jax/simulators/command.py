"""Any executable as a simulator: input files from templates, output through a reader."""

import os
import pathlib
import shutil
import string
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.fingerprint import fingerprint, hash_of
from floppity_jax.simulators.process import (
    LOGS,
    check_given,
    check_scratch,
    check_timeout,
    find_executable,
    last_lines,
    run_logged,
)

_Path = str | os.PathLike[str]


class _Template(string.Template):
    """``$name``, ``${name}`` with any name in the braces (``${cloud1:P}``), ``$$`` for a dollar."""

    braceidpattern = r"[^${}\n]+"


class CommandSimulator:
    """Run an executable on input files that are filled in from templates.

    Each call gets a new working folder: the input files are written into it, the executable runs
    there, the reader reads its output, and the folder is removed. Where something fails it stays,
    and the error names it.

    Parameters
    ----------
    command : list of str
        The executable, looked up on PATH, and its arguments, in which placeholders are filled in.
        No shell reads it. Relative paths in the arguments are relative to the working folder.
    read : callable
        Takes the working folder (`pathlib.Path`) and returns the spectrum, an array (channels,),
        or a mapping from dataset name to such arrays; it may raise.
    inputs : mapping of str to str or path
        From the name of an input file, relative to the working folder, to its template: a text,
        or the path of a file that holds it. ``$name`` and ``${name}`` stand for the parameters;
        in braces a name may hold any character. A dollar is written ``$$``.
    parameters : sequence of str, optional
        The placeholders' names; a placeholder that is not among them is refused, and so is a name
        without a placeholder. Unless given, they are those of the templates and the arguments.
    files : sequence of paths, or mapping of str to path
        Files or folders that the executable needs in its working folder, under their own names or
        those of the mapping: symbolic links, unless ``copy`` is true.
    copy : bool
        Whether ``files`` are copied. An executable that changes them needs this: through a link
        it would change the original.
    number_format : str
        Format of the numbers; the default loses no digit.
    environment : mapping of str to str
        Added to the environment variables of the process.
    scratch : path, optional
        Folder in which the working folders are made; the system's temporary folder unless given.
    timeout : float, optional
        Time limit of a run [s]. The executable is killed at it, but not what it started itself.

    Attributes
    ----------
    parameters : tuple of str
        The names that a call needs.

    Raises
    ------
    InvalidInput
        Where an argument breaks one of these rules, or a file or the executable is not found.
    """

    def __init__(
        self,
        command: Sequence[_Path],
        *,
        read: Callable[[pathlib.Path], Any],
        inputs: Mapping[str, _Path] | None = None,
        parameters: Sequence[str] | None = None,
        files: Sequence[_Path] | Mapping[str, _Path] = (),
        copy: bool = False,
        number_format: str = ".17g",
        environment: Mapping[str, str] | None = None,
        scratch: _Path | None = None,
        timeout: float | None = None,
    ) -> None:
        if isinstance(command, str) or len(command) == 0:
            raise InvalidInput(
                "command", command, "must be a list of strings, the executable first",
                "Nothing goes through a shell: write ['model', '-v'], not 'model -v'.",
            )  # fmt: skip
        self.executable = find_executable("command[0]", command[0])
        self.arguments = tuple(os.fspath(argument) for argument in command[1:])
        self.inputs = {name: _template(name, given) for name, given in (inputs or {}).items()}
        if not isinstance(files, Mapping):
            files = {pathlib.Path(file).name: file for file in files}
        self.files = {name: os.path.abspath(file) for name, file in files.items()}
        self.copy = bool(copy)
        self._check_names()
        self.parameters = self._check_placeholders(parameters)
        self.number_format = number_format
        self._check_format()
        if not callable(read):
            raise InvalidInput(
                "read", read, "must be callable with the working folder",
                "For example read_column('spectrum.txt', 1).",
            )  # fmt: skip
        self.read = read
        self.environment = dict(environment or {})
        self.scratch = check_scratch(scratch)
        self.timeout = check_timeout(timeout)

    def _check_names(self) -> None:
        """Hold every file of the working folder against the folder's rules."""
        for argument, names in (("inputs", self.inputs), ("files", self.files)):
            for name in names:
                path = pathlib.PurePath(name)
                if path.is_absolute() or ".." in path.parts or not path.parts or name in LOGS:
                    raise InvalidInput(
                        f"{argument}[{name!r}]", name,
                        f"must be a name inside the working folder, other than {LOGS}",
                        "Give another name.",
                    )  # fmt: skip
        if both := sorted(set(self.inputs) & set(self.files)):
            raise InvalidInput(
                "files", both, "must not be in inputs too", "Take them out of one of the two."
            )
        for name, file in self.files.items():
            if not os.path.exists(file):
                raise InvalidInput(
                    f"files[{name!r}]", file, "must exist", "Check the spelling and folder."
                )

    def _check_placeholders(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """Return the parameters' names, in the order given or that of appearance."""
        texts = {f"inputs[{name!r}]": text for name, text in self.inputs.items()}
        texts |= {f"command[{i}]": text for i, text in enumerate(self.arguments, start=1)}
        found: dict[str, str] = {}
        for argument, text in texts.items():
            if not _Template(text).is_valid():
                raise InvalidInput(
                    argument, text, "must hold only placeholders $name and ${name}",
                    "Write $$ for a dollar.",
                )  # fmt: skip
            for name in _Template(text).get_identifiers():
                found.setdefault(name, argument)
        if not found:
            raise InvalidInput(
                "inputs", dict(self.inputs), "must hold a placeholder, or command must",
                "Write $T where the value of the parameter T belongs.",
            )  # fmt: skip
        if given is None:
            return tuple(found)
        names = [given] if isinstance(given, str) else list(given)
        if unknown := [name for name in found if name not in names]:
            raise InvalidInput(
                found[unknown[0]], f"${{{unknown[0]}}}", f"must be one of the parameters {names}",
                "Correct the placeholder, or add it to parameters; write $$ for a dollar.",
            )  # fmt: skip
        if unused := [name for name in names if name not in found]:
            raise InvalidInput(
                "parameters", unused, "must have a placeholder in inputs or command",
                "The output could not depend on it: add a placeholder, or leave it out.",
            )  # fmt: skip
        return tuple(names)

    def _check_format(self) -> None:
        try:
            float(format(0.5, self.number_format))
        except (TypeError, ValueError):
            raise InvalidInput(
                "number_format", self.number_format, "must be a format of numbers",
                "For example '.17g' or '.8e'.",
            ) from None  # fmt: skip

    def fingerprint(self) -> str:
        """Hash of what the output depends on: 16 hexadecimal digits.

        It covers the command, templates, reader, format and environment, and of ``files`` and the
        executable the paths and sizes: reading gigabytes of opacities would take too long.
        """
        files = {"": self.executable, **self.files}
        sizes = {name: (file, os.path.getsize(file)) for name, file in files.items()}
        settings = [
            self.arguments, self.inputs, self.parameters, sizes, self.copy, fingerprint(self.read),
            self.number_format, self.environment,
        ]  # fmt: skip
        return hash_of(settings)

    def __call__(self, parameters: Mapping[str, float]) -> Any:
        """Run the executable.

        Parameters
        ----------
        parameters
            ``{name: float}``, exactly the names in `parameters`.

        Returns
        -------
        What the reader returned: an array (channels,), or a mapping of these.

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing.
        SimulatorError
            Where the executable fails, takes too long, or leaves no output that can be read.
        """
        check_given(parameters, self.parameters)
        values = {
            name: format(float(parameters[name]), self.number_format) for name in self.parameters
        }
        folder = pathlib.Path(tempfile.mkdtemp(prefix="command-", dir=self.scratch))
        try:
            spectrum = self._run(folder, values)
        except Exception as error:
            raise SimulatorError(
                f"{str(error).rstrip()}\nThe working folder is kept: {folder}"
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        return spectrum

    def _run(self, folder: pathlib.Path, values: Mapping[str, str]) -> Any:
        for name, text in self.inputs.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(_Template(text).substitute(values), encoding="utf-8")
        for name, file in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if not self.copy:
                (folder / name).symlink_to(file)
            elif os.path.isdir(file):
                shutil.copytree(file, folder / name)
            else:
                shutil.copy(file, folder / name)
        arguments = [_Template(argument).substitute(values) for argument in self.arguments]
        failure = run_logged(
            [self.executable, *arguments], folder, cwd=folder,
            environment=self.environment, timeout=self.timeout,
        )  # fmt: skip
        program = os.path.basename(self.executable)
        if failure:
            raise SimulatorError(f"{program} {failure}.{last_lines(folder)}")
        try:
            return self.read(folder)
        except Exception as error:
            raise SimulatorError(
                f"{program} ended with exit code 0, but its output could not be read: "
                f"{type(error).__name__}: {error}.{last_lines(folder)}"
            ) from error


def _template(name: str, given: _Path) -> str:
    if isinstance(given, str):
        return given
    try:
        return pathlib.Path(given).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"inputs[{name!r}]", os.fspath(given), f"must be readable ({error.strerror})",
            "Give the path of a template, or its text as a str.",
        ) from None  # fmt: skip
