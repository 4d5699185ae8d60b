"""Scattering: q points, amplitudes, the one-phonon intensity, averages over voxels."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
