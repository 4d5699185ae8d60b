"""Maps of diffuse intensity and what can be done with them, in NumPy.

Operations are pure functions: they return a new map whose history tells what was done. Missing
voxels are NaN, in and out. Large maps are worked on in slabs of their first axis.
"""

from .arithmetic import half_sets, scale, subtract
from .cell import cell_matrix, reciprocal_axes
from .diffuse import ARRAYS, Array, DiffuseMap
from .grid import MapGrid
from .gridding import gridded, q_agree
from .interpolation import interpolate, sample_plane
from .radial import RadialProfile, bin_of, radial_average, shell_edges, split_isotropic
from .regions import crop, crop_resolution, slice_plane
from .reindexing import reindex, take_matrix
from .resampling import resample
from .symmetry import LAUE_CLASSES, Symmetrized, find_group, laue_operators, symmetrize, triplet

__all__ = [
    "ARRAYS",
    "LAUE_CLASSES",
    "Array",
    "DiffuseMap",
    "MapGrid",
    "RadialProfile",
    "Symmetrized",
    "bin_of",
    "cell_matrix",
    "crop",
    "crop_resolution",
    "find_group",
    "gridded",
    "half_sets",
    "interpolate",
    "laue_operators",
    "q_agree",
    "radial_average",
    "reciprocal_axes",
    "reindex",
    "resample",
    "sample_plane",
    "scale",
    "shell_edges",
    "slice_plane",
    "split_isotropic",
    "subtract",
    "symmetrize",
    "take_matrix",
    "triplet",
]
