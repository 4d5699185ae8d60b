"""One-phonon diffuse X-ray scattering from protein crystals.

`OnePhonon` is the model; the modules below it are pure functions over frozen dataclasses.
"""

from .crystal import AtomLabel, Crystal
from .errors import InputError, MapFileError, NetworkError, OnePhononError, StructureError
from .lattice import UnitCell
from .model import OnePhonon
from .structures import read_crystal

#: The name under which the model is known from its predecessor.
OnePhononTorch = OnePhonon

__version__ = "0.1.0"

__all__ = [
    "AtomLabel",
    "Crystal",
    "InputError",
    "MapFileError",
    "NetworkError",
    "OnePhonon",
    "OnePhononError",
    "OnePhononTorch",
    "StructureError",
    "UnitCell",
    "__version__",
    "read_crystal",
]
