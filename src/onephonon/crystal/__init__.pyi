from .brillouin_path import ZonePath, zone_path
from .cell import UnitCell, check_cell, numpy_cell
from .crystal import AtomLabel, Crystal
from .electron_density import ElectronDensity
from .grid import HklGrid, MapGrid, check_samplings
from .reading import read_crystal, read_electron_density
from .reindexing import Reindexing, check_reindexing_matrix, find_reindexings, parse_reindexing
from .remarks import Remark, remarks_text
from .solvent import with_solvent
from .symmetry import FRIEDEL, LAUE_CLASSES, find_group, laue_operators, triplet
from .zone import ZonePoints, find_zone_points, grid_zone_points, is_bragg, zone_mesh

__all__ = [
    "FRIEDEL",
    "LAUE_CLASSES",
    "AtomLabel",
    "Crystal",
    "ElectronDensity",
    "HklGrid",
    "MapGrid",
    "Reindexing",
    "Remark",
    "UnitCell",
    "ZonePath",
    "ZonePoints",
    "check_cell",
    "check_reindexing_matrix",
    "check_samplings",
    "find_group",
    "find_reindexings",
    "find_zone_points",
    "grid_zone_points",
    "is_bragg",
    "laue_operators",
    "numpy_cell",
    "parse_reindexing",
    "read_crystal",
    "read_electron_density",
    "remarks_text",
    "triplet",
    "with_solvent",
    "zone_mesh",
    "zone_path",
]
