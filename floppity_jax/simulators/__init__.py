"""Forward models: the simulator convention, the embedded model and adapters to other codes.

Each is imported when it is first used, so that a pool worker never loads JAX by accident.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from floppity_jax.simulators.arcis import ARCiS
    from floppity_jax.simulators.base import batched, jax_batched, simulator_kind
    from floppity_jax.simulators.building import per_worker
    from floppity_jax.simulators.columns import read_column, read_columns
    from floppity_jax.simulators.combined import combine
    from floppity_jax.simulators.command import CommandSimulator
    from floppity_jax.simulators.floppity import from_floppity
    from floppity_jax.simulators.opacity import OpacityTable, read_opacities
    from floppity_jax.simulators.petitradtrans import PetitRADTRANS
    from floppity_jax.simulators.picaso import PICASO
    from floppity_jax.simulators.taurex import TauREx
    from floppity_jax.simulators.transmission import IsothermalTransmission

_HOME = {
    "ARCiS": "arcis",
    "CommandSimulator": "command",
    "IsothermalTransmission": "transmission",
    "OpacityTable": "opacity",
    "PICASO": "picaso",
    "PetitRADTRANS": "petitradtrans",
    "TauREx": "taurex",
    "batched": "base",
    "combine": "combined",
    "from_floppity": "floppity",
    "jax_batched": "base",
    "per_worker": "building",
    "read_column": "columns",
    "read_columns": "columns",
    "read_opacities": "opacity",
    "simulator_kind": "base",
}

__all__ = [
    "ARCiS",
    "CommandSimulator",
    "IsothermalTransmission",
    "OpacityTable",
    "PICASO",
    "PetitRADTRANS",
    "TauREx",
    "batched",
    "combine",
    "from_floppity",
    "jax_batched",
    "per_worker",
    "read_column",
    "read_columns",
    "read_opacities",
    "simulator_kind",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
