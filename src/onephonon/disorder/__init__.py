"""Components of disorder: kinds of correlated motion beside, or instead of, lattice vibrations."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
