"""Real space: Patterson maps of diffuse scattering, and what they say at each distance."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
