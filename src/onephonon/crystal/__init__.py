"""The crystal: cell, symmetry, atoms, grids of Miller indices; reading structure files."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
