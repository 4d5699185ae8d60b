from .core.errors import (
    FileError,
    GradientError,
    InputError,
    MapFileError,
    NetworkError,
    OnePhononError,
    StructureError,
)
from .crystal.cell import UnitCell
from .crystal.crystal import AtomLabel, Crystal
from .crystal.grid import MapGrid
from .crystal.reading import read_crystal
from .crystal.solvent import with_solvent
from .dynamics.lattice_model import LatticeModel
from .maps.diffuse import DiffuseMap
from .maps.io.registry import read_map, write_map
from .model.one_phonon import OnePhonon, OnePhononTorch
from .network.springs import SpringPlan
from .refine.fit import fit_springs
from .refine.settings import FitSettings

__version__: str

__all__ = [
    "AtomLabel",
    "Crystal",
    "DiffuseMap",
    "FileError",
    "FitSettings",
    "GradientError",
    "InputError",
    "LatticeModel",
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
