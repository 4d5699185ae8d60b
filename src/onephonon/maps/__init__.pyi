from .arithmetic import half_sets, scale, subtract
from .diffuse import ARRAYS, Array, DiffuseMap
from .interpolation import interpolate, sample_plane
from .isotropic import Isotropic, split_isotropic
from .lists import gridded, q_agree
from .radial import RadialProfile, bin_of, radial_average, shell_edges
from .regions import crop, crop_resolution, slice_plane
from .reindexing import reindex
from .resampling import resample
from .symmetrizing import Symmetrized, symmetrize

__all__ = [
    "ARRAYS",
    "Array",
    "DiffuseMap",
    "Isotropic",
    "RadialProfile",
    "Symmetrized",
    "bin_of",
    "crop",
    "crop_resolution",
    "gridded",
    "half_sets",
    "interpolate",
    "q_agree",
    "radial_average",
    "reindex",
    "resample",
    "sample_plane",
    "scale",
    "shell_edges",
    "slice_plane",
    "split_isotropic",
    "subtract",
    "symmetrize",
]
