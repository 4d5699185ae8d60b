"""Springs, interfaces, rigid-body motion and joint displacements for ChimeraX and PyMOL."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
