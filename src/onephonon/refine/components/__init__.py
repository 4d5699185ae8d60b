"""Fits of sums of components of disorder to the voxels of a map."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
