"""Scattering amplitudes G(q) of bodies: one interface, direct sums and meshes."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
