"""A map as one interactive HTML file that works offline: 3-D view, slices and values."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
