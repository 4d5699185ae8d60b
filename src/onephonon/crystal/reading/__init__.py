"""Structure files (PDB, mmCIF, plain or gzipped) read into a `Crystal`."""

from .reader import read_crystal

__all__ = ["read_crystal"]
