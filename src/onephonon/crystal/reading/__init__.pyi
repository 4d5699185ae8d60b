from .reader import read_crystal

__all__ = ["read_crystal"]
