"""Files of diffuse maps and of q-vectors; the format follows from the ending."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
