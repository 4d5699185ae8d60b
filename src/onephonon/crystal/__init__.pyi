from .brillouin_path import ZonePath, zone_path
from .cell import UnitCell
from .cell_parameters import cell_matrix, reciprocal_axes
from .crystal import AtomLabel, Crystal
from .grid import HklGrid
from .map_grid import MapGrid
from .reading import read_crystal
from .reindexing import Reindexing, find_reindexings, parse_reindexing, take_matrix
from .solvent import with_solvent
from .symmetry import LAUE_CLASSES, find_group, laue_operators, triplet
from .zone import ZonePoints, find_zone_points, is_bragg, zone_mesh

__all__ = [
    "LAUE_CLASSES",
    "AtomLabel",
    "Crystal",
    "HklGrid",
    "MapGrid",
    "Reindexing",
    "UnitCell",
    "ZonePath",
    "ZonePoints",
    "cell_matrix",
    "find_group",
    "find_reindexings",
    "find_zone_points",
    "is_bragg",
    "laue_operators",
    "parse_reindexing",
    "read_crystal",
    "reciprocal_axes",
    "take_matrix",
    "triplet",
    "with_solvent",
    "zone_mesh",
    "zone_path",
]
