"""``[simulator]``: a dataclass for each forward model, with a method that makes it.

The names are those of `floppity_jax.simulators`, or ``"module:function"``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from floppity_jax import simulators
from floppity_jax.config.programs import ARCiS, CommandSimulator
from floppity_jax.config.values import Function, nearest
from floppity_jax.errors import InvalidInput
from floppity_jax.observation import Observation

Names = tuple[str, ...]
Simulator = Callable[..., Any]


class SimulatorSection(Protocol):
    """What each of them can do."""

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the simulator of the parameters ``names`` and the channels of ``observation``.

        These may be those of several datasets, one after the other and not sorted, or the cells of
        a grid (`floppity_jax.config.steps.cells_of`).
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own:
    """A function of yours.

    Attributes
    ----------
    name : str
        ``"module:function"``, looked for beside this file first: it takes ``{name: value}`` and
        returns a spectrum without noise, one number a channel. The run directory gets a copy of
        the module.
    """

    name: Function

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Return the function."""
        return self.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class IsothermalTransmission:
    """The embedded model: an isothermal, perhaps cloudy H2/He atmosphere with H2O and CO2.

    Attributes
    ----------
    name : str
        Which forward model.
    star_radius : float
        Radius of the star [R_sun].
    cloud : bool
        Adds the parameter ``log_P_cloud``: log10 of the pressure [bar] of an opaque grey deck.
    """

    name: Literal["IsothermalTransmission"]
    star_radius: float
    cloud: bool = False

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the model of the observation's channels."""
        return simulators.IsothermalTransmission.for_observation(
            observation, star_radius=self.star_radius, cloud=self.cloud
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TauREx:
    """TauREx 3, averaged over the channels; parameters are its fitting parameters.

    Attributes
    ----------
    name : str
        Which forward model.
    model : path or function
        A parameter file, ``"planet.par"``, with its paths in full, or a function
        ``"module:function"`` without arguments that returns the forward model.
    """

    name: Literal["TauREx"]
    model: Function | pathlib.Path

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the adapter."""
        _check_installed(simulators.TauREx)
        return simulators.TauREx(self.model, observation, parameters=names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PetitRADTRANS:
    """petitRADTRANS 3, averaged over the channels, by two functions of yours.

    Attributes
    ----------
    name : str
        Which forward model.
    build : function
        ``"module:function"`` without arguments that returns the Radtrans, once in each worker.
    spectrum : function
        ``"module:function"`` of the Radtrans and the parameters that returns wavelengths and what
        was observed.
    wavelength_unit : str
        Of these wavelengths.
    """

    name: Literal["PetitRADTRANS"]
    build: Function
    spectrum: Function
    wavelength_unit: Literal["cm", "um"] = "cm"

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the adapter."""
        _check_installed(simulators.PetitRADTRANS)
        return simulators.PetitRADTRANS(
            self.build, self.spectrum, observation, parameters=names,
            wavelength_unit=self.wavelength_unit,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PICASO:
    """PICASO's ``justdoit``, averaged over the channels, by two functions of yours.

    Attributes
    ----------
    name : str
        Which forward model.
    build : function
        ``"module:function"`` without arguments that returns the case and the opacities, once in
        each worker.
    update : function
        ``"module:function"`` of the case and the parameters that sets the atmosphere.
    calculation : str
        As in PICASO's ``spectrum``.
    output : str
        Which of PICASO's results was observed: its depth or flux ratio unless given.
    dimension : str
        As in PICASO's ``spectrum``.
    """

    name: Literal["PICASO"]
    build: Function
    update: Function
    calculation: Literal["transmission", "thermal", "reflected", "thermal+reflected"] = (
        "transmission"
    )
    output: str | None = None
    dimension: Literal["1d", "3d"] = "1d"

    def make(self, observation: Observation, names: Names) -> Simulator:
        """Make the adapter."""
        _check_installed(simulators.PICASO)
        return simulators.PICASO(
            self.build, self.update, observation, parameters=names,
            calculation=self.calculation, output=self.output, dimension=self.dimension,
        )  # fmt: skip


SIMULATORS = {
    section.__name__: section
    for section in (IsothermalTransmission, ARCiS, TauREx, PetitRADTRANS, PICASO, CommandSimulator)
}


def section_of(table: Mapping[str, Any]) -> type[SimulatorSection]:
    """Return the dataclass of a ``[simulator]`` table, by its name.

    Raises
    ------
    InvalidInput
        Where the name is none of those known.
    """
    name = table.get("name")
    if isinstance(name, str) and ":" in name:
        return Own
    if name not in SIMULATORS:
        raise InvalidInput(
            "simulator.name", name, f'must be "module:function" or one of {sorted(SIMULATORS)}',
            f'{nearest(str(name), SIMULATORS)} For a function spectrum in my_model.py, write '
            '"my_model:spectrum".',
        )  # fmt: skip
    return SIMULATORS[name]


def _check_installed(adapter: Any) -> None:
    """Refuse a code that is not there, without loading it here."""
    if adapter.package in sys.modules:
        return
    found = importlib.util.find_spec(adapter.package)
    if found is not None and found.origin is not None:  # a folder of data has no origin
        return
    raise InvalidInput(
        "name", adapter.code, f"needs {adapter.package}, which is not installed here",
        f"Install it: {adapter.install}",
    )  # fmt: skip
