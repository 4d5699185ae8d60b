from .density_file import read_electron_density
from .reader import read_crystal

__all__ = ["read_crystal", "read_electron_density"]
