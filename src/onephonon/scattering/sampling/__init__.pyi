from .base import QSample
from .bragg import bragg_distance, bragg_strata, near_bragg, nearest_bragg
from .detectors import Detector, DetectorSample, Scan, detector
from .grids import GridSample, grid
from .halos import BraggPeaks, HaloSample, halos, peak_strengths, strongest_peaks
from .minibatches import Minibatch, Strata, minibatch
from .paths import PathSample, path
from .shells import ShellSample, shell_radii, shells

__all__ = [
    "BraggPeaks",
    "Detector",
    "DetectorSample",
    "GridSample",
    "HaloSample",
    "Minibatch",
    "PathSample",
    "QSample",
    "Scan",
    "ShellSample",
    "Strata",
    "bragg_distance",
    "bragg_strata",
    "detector",
    "grid",
    "halos",
    "minibatch",
    "near_bragg",
    "nearest_bragg",
    "path",
    "peak_strengths",
    "shell_radii",
    "shells",
    "strongest_peaks",
]
