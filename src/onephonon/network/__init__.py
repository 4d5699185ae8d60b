"""The elastic network: bodies, contacts between their atoms, springs and force constants."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
