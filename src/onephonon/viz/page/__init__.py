"""A map as one HTML file: three dimensions, slices and read-out, in any browser, offline."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
