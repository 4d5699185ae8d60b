"""Sampling of reciprocal space; each sample can restore the shape of its results.

Every function returns a `QSample`: q in 1/Å with 2*pi included, in the Cartesian frame of the
cell's matrix, and the shape and coordinates of the results.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
