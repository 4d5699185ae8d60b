"""One-phonon diffuse X-ray scattering from protein crystals.

`OnePhonon` is the model; the modules below it are pure functions over frozen dataclasses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    GradientError,
    InputError,
    MapFileError,
    NetworkError,
    OnePhononError,
    StructureError,
)

if TYPE_CHECKING:
    from .crystal import AtomLabel, Crystal
    from .formats import read_map, write_map
    from .lattice import UnitCell
    from .maps import DiffuseMap, MapGrid
    from .model import OnePhonon
    from .refine import FitSettings, fit_springs
    from .solvent import with_solvent
    from .springs import SpringPlan
    from .structures import read_crystal

    OnePhononTorch = OnePhonon

__version__ = "0.1.0"

#: Where each public name lives; imported when first asked for, so that the command line starts
#: without waiting for torch. `OnePhononTorch` is the name the model had in its predecessor.
_HOMES = {
    "AtomLabel": ("crystal", "AtomLabel"),
    "Crystal": ("crystal", "Crystal"),
    "DiffuseMap": ("maps", "DiffuseMap"),
    "FitSettings": ("refine", "FitSettings"),
    "MapGrid": ("maps", "MapGrid"),
    "OnePhonon": ("model", "OnePhonon"),
    "OnePhononTorch": ("model", "OnePhonon"),
    "SpringPlan": ("springs", "SpringPlan"),
    "UnitCell": ("lattice", "UnitCell"),
    "fit_springs": ("refine", "fit_springs"),
    "read_crystal": ("structures", "read_crystal"),
    "read_map": ("formats", "read_map"),
    "with_solvent": ("solvent", "with_solvent"),
    "write_map": ("formats", "write_map"),
}

__all__ = [
    "AtomLabel",
    "Crystal",
    "DiffuseMap",
    "FitSettings",
    "GradientError",
    "InputError",
    "MapFileError",
    "MapGrid",
    "NetworkError",
    "OnePhonon",
    "OnePhononError",
    "OnePhononTorch",
    "SpringPlan",
    "StructureError",
    "UnitCell",
    "__version__",
    "fit_springs",
    "read_crystal",
    "read_map",
    "with_solvent",
    "write_map",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return __all__
