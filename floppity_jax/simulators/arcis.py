"""Adapter for ARCiS, the Fortran code of Min et al. (2020) for exoplanet atmospheres."""

import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.fingerprint import hash_of
from floppity_jax.observation import Observation
from floppity_jax.simulators.arcis_input import UNITS, read_input, read_spectrum
from floppity_jax.simulators.base import batched
from floppity_jax.simulators.columns import read_table
from floppity_jax.simulators.process import (
    check_given,
    check_scratch,
    check_timeout,
    find_executable,
    last_lines,
    run_logged,
)

_Path = str | os.PathLike[str]
_Spectra = dict[str, np.ndarray]


class ARCiS:
    """Run ARCiS on the parameters and observations of one of its input files.

    ARCiS runs in the folder of the input file, so that relative paths in it hold, on a copy of the
    file and a grid of parameters; what it writes goes to a new scratch folder. That is removed
    unless a model failed: then it stays, and the error names it.

    Parameters
    ----------
    input_file : path
        An input file as for an ARCiS retrieval, with ``fitpar`` blocks and ``obs1:file=...``.
    executable : path
        Looked up on PATH.
    batch : int
        Models of an ARCiS run. A run begins by reading opacities, which takes seconds to a minute;
        where that is long beside a model, let it compute several. 1 makes a plain simulator;
        more make a `batched` one, which returns NaN for a model that failed: the scratch folder
        stays and says why, in ``failures.txt``. A model that ends the run costs the others nothing:
        those that ARCiS had not begun are run again without it.
    threads : int
        OpenMP threads of each run (``OMP_NUM_THREADS``). A pool of processes fills the cores
        itself.
    proof : str or None
        File that ARCiS writes for a model only where it succeeded. For a model that failed it
        still writes a spectrum, that of the model before, so one without this file is refused.
        None trusts every spectrum.
    environment : mapping of str to str
        Added to the environment variables of the process.
    scratch : path, optional
        Folder in which the scratch folders are made; the system's temporary folder unless given.
    timeout : float, optional
        Time limit of a run, for each of its models [s].

    Attributes
    ----------
    parameters : tuple of str
        The names that a call needs, in the file's order, with its values (no logarithms).

    Raises
    ------
    InvalidInput
        Where an argument, the input file or an observation breaks a rule, or the executable is
        not found.
    """

    def __init__(
        self,
        input_file: _Path,
        *,
        executable: _Path = "ARCiS",
        batch: int = 1,
        threads: int = 1,
        proof: str | None = "mixingratios.dat",
        environment: Mapping[str, str] | None = None,
        scratch: _Path | None = None,
        timeout: float | None = None,
    ) -> None:
        for argument, count in (("batch", batch), ("threads", threads)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidInput(
                    argument, count, "must be a whole number above 0", "Leave it out for 1."
                )
        self.input_file = pathlib.Path(input_file).absolute()
        self._input = read_input(self.input_file)
        self.parameters = tuple(parameter.name for parameter in self._input.parameters)
        self._logarithmic = np.array([parameter.log for parameter in self._input.parameters])
        self._observed = {
            name: read_spectrum(file, name, UNITS.get(kind, ""))
            for name, (file, kind) in self._input.observations.items()
        }
        self.executable = find_executable("executable", executable)
        self.batch, self.threads, self.proof = batch, threads, proof
        self.environment = dict(environment or {})
        self.scratch = check_scratch(scratch)
        self.timeout = check_timeout(timeout)
        where = self.scratch or tempfile.gettempdir()
        if not re.fullmatch(r"[\w./+-]+", where, re.ASCII):
            raise InvalidInput(
                "scratch", where, "must hold only letters, digits and ._/+-",
                "ARCiS hands its output folder to a shell: choose another folder.",
            )  # fmt: skip
        if batch > 1:
            batched(self, size=batch)

    def priors(self) -> dict[str, Any]:
        """Return the priors of the input file, ready for ``Retrieval(parameters=...)``.

        Returns
        -------
        dict of str to Prior
            Log-uniform where the file has ``fitpar:log=.true.``, else uniform.
        """
        from floppity_jax.priors import LogUniform, Uniform  # SciPy, which workers do not need

        return {
            parameter.name: (LogUniform if parameter.log else Uniform)(
                parameter.low, parameter.high
            )
            for parameter in self._input.parameters
        }

    def observations(self) -> dict[str, Observation]:
        """Return the observations of the input file.

        Returns
        -------
        dict of str to Observation
            By ``obs1``, ``obs2``, ... Channels are sorted by wavelength, as the spectra are. Their
            widths come from the column of resolutions; where it is not complete there are none.
        """
        return {name: observation for name, (observation, _) in self._observed.items()}

    def fingerprint(self) -> str:
        """Hash of the input file, observations, executable, proof and environment.

        Files that the input file names, other than observations, are not looked into.
        """
        observed = {
            name: (file.read_text("utf-8", errors="replace"), kind)
            for name, (file, kind) in self._input.observations.items()
        }
        program = self.executable, os.path.getsize(self.executable)
        return hash_of(
            [
                str(self.input_file),
                self._input.text,
                observed,
                program,
                self.proof,
                self.environment,
            ]
        )

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Simulate.

        Parameters
        ----------
        parameters
            Exactly the names in `parameters`: ``{name: float}``, or ``{name: array (n,)}`` where
            ``batch`` is above 1.

        Returns
        -------
        array (channels,), or (n, channels) where ``batch`` is above 1
            In the unit of the observation; where there are several, a mapping from ``obs1``,
            ``obs2``, ... to such arrays. Rows of models that failed are NaN.

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing, or a logarithmic parameter is not above 0.
        SimulatorError
            Where every model failed.
        """
        results = self._simulate(self._grid(parameters))
        good = [result for result in results if not isinstance(result, str)]
        if not good:
            raise SimulatorError(results[0])
        failed = {name: np.full_like(spectrum, np.nan) for name, spectrum in good[0].items()}
        rows = [failed if isinstance(result, str) else result for result in results]
        spectra = {name: np.stack([row[name] for row in rows]) for name in failed}
        if self.batch == 1:
            spectra = {name: stacked[0] for name, stacked in spectra.items()}
        return spectra if len(spectra) > 1 else spectra["obs1"]

    def _grid(self, parameters: Mapping[str, Any]) -> np.ndarray:
        """Rows as ARCiS wants them: in its order, with log10 of the logarithmic ones."""
        check_given(parameters, self.parameters)
        columns = [np.atleast_1d(np.asarray(parameters[n], dtype=float)) for n in self.parameters]
        for name, column, log in zip(self.parameters, columns, self._logarithmic, strict=True):
            if log and not (column > 0).all():
                raise InvalidInput(
                    f"parameters[{name!r}]", column.min(), "must be above 0, for it is logarithmic",
                    "Give it a prior above 0, or fitpar:log=.false. in the input file.",
                )  # fmt: skip
        return np.stack(
            [
                np.log10(column) if log else column
                for column, log in zip(columns, self._logarithmic, strict=True)
            ],
            axis=1,
        )

    def _simulate(self, grid: np.ndarray) -> list[_Spectra | str]:
        """Spectra of each row, or the text of its failure."""
        results: dict[int, _Spectra | str] = {}
        waiting = list(range(len(grid)))
        while waiting:
            rows, waiting = waiting[: self.batch], waiting[self.batch :]
            # Each run settles a row at least, be it as a failure, so that this ends.
            results.update((rows[i], result) for i, result in self._run(grid[rows]).items())
            waiting = [row for row in rows if row not in results] + waiting
        return [results[row] for row in range(len(grid))]

    def _run(self, grid: np.ndarray) -> dict[int, _Spectra | str]:
        """One run of ARCiS: the rows that it began, or all as failures where it began none."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="arcis-", dir=self.scratch))
        copy, table, output = folder / "input.dat", folder / "grid.dat", folder / "output"
        # The last value of a key counts.
        copy.write_text(
            f"{self._input.text}\nmakeai=.true.\n", encoding="utf-8", errors="surrogateescape"
        )
        np.savetxt(table, grid, fmt="%.17g")
        failure = run_logged(
            [self.executable, str(copy), "-o", str(output), "-s", f"parametergridfile={table}"],
            folder,
            cwd=self.input_file.parent,
            environment={"OMP_NUM_THREADS": str(self.threads), **self.environment},
            timeout=None if self.timeout is None else self.timeout * len(grid),
        )
        reason = (
            f"ARCiS {failure or 'ended with exit code 0'}.{last_lines(folder).rstrip()}\n"
            f"The scratch folder is kept: {folder}"
        )
        models = {row: output / f"model{row + 1:06d}" for row in range(len(grid))}
        results: dict[int, _Spectra | str] = {}
        for row, model in models.items():
            if model.is_dir():
                try:
                    results[row] = self._read(model)
                except (OSError, SimulatorError) as error:
                    results[row] = f"{model.name}: {error}. {reason}"
        if not results:
            results = dict.fromkeys(models, f"ARCiS began no model. {reason}")
        failures = {result: None for result in results.values() if isinstance(result, str)}
        if failures:
            (folder / "failures.txt").write_text("\n\n".join(failures), encoding="utf-8")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return results

    def _read(self, model: pathlib.Path) -> _Spectra:
        if self.proof is not None and not (model / self.proof).is_file():
            raise SimulatorError(f"there is no {self.proof}, so ARCiS did not finish this model")
        spectra = {}
        for number, (name, (observation, order)) in enumerate(self._observed.items(), start=1):
            file = f"obs{number:03d}"
            wavelength, spectrum = read_table(model / file, [0, 1]).T
            if len(spectrum) != observation.n_channels:
                raise SimulatorError(
                    f"{file} holds {len(spectrum)} channels where the observation has "
                    f"{observation.n_channels}; ARCiS leaves out those beyond lmin and lmax unless "
                    "the input file has useobsgrid=.true."
                )
            assert observation.wavelength is not None
            if not np.allclose(wavelength[order], observation.wavelength, rtol=1e-4, atol=0):
                raise SimulatorError(f"{file} has other wavelengths than {name}:file")
            if not np.isfinite(spectrum).all():
                raise SimulatorError(f"{file} holds numbers that are not finite")
            spectra[name] = spectrum[order]
        return spectra
